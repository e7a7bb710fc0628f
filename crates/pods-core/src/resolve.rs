//! What a start puts in the place of placeholders and references.
//!
//! | Where | What is replaced |
//! |---|---|
//! | a value of `secret_map` | `${pods:default:x}`, `${pods:random:N}`, `${pods:networking:..}`, `${pods:url}`, `${pods:tapis_url}`, `${pods:pod_id}`, `<<tapissecret_x>>` |
//! | a value of `environment_variables`, the content of a file | `${pods:secrets:KEY}`, `<<tapissecret_x>>` |
//! | a word of `command` and `arguments` | `<<tapissecret_x>>`: a reference to a variable of the container, so that the value stands in no Pod |
//!
//! Each text is looked at once: a value that is put in is never taken for a placeholder. A pod whose value cannot be
//! had does not start at all; starting it with a hole where a password should be helps nobody.

use std::{collections::BTreeMap, fmt};

use crate::{
    PodDefinition, VolumeMount,
    credentials::{Builtin, Credentials},
    ids::entry_host,
    mount::MountKind,
    patch::Home,
    placeholder::{LegacyPiece, NetworkingField, Pattern, Piece, legacy_pieces, pieces},
    reason::Reason,
};

/// Most bytes of all values of a start together: what a Kubernetes Secret holds.
pub const RESOLVED_BYTES_MAX: usize = 1024 * 1024;

/// What a container gets, every value in its place. `Debug` shows no value.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Resolved {
    /// The pod's own environment.
    pub environment: BTreeMap<String, String>,
    /// Variables that words of the command refer to; their names are none of the pod's own.
    pub variables: BTreeMap<String, String>,
    /// Replaces the image's entrypoint.
    pub command: Option<Vec<Word>>,
    /// Replaces the image's command.
    pub arguments: Option<Vec<Word>>,
    /// The files of `ephemeral` mounts.
    pub files: Vec<File>,
}

/// A word of a command.
pub type Word = Vec<Part>;

/// A part of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// This text, as the program shall see it.
    Text(String),
    /// The value of this variable of [`Resolved::variables`].
    Variable(String),
}

/// A file in the container.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Where it appears.
    pub path: String,
    /// What is in it.
    pub content: String,
    /// Its Unix permissions.
    pub mode: i32,
}

/// Why a start is impossible, for the user: which mount or key, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unavailable {
    /// The stable code.
    pub reason: Reason,
    /// The sentence; it never holds a value.
    pub message: String,
}

impl Unavailable {
    fn secret(message: impl Into<String>) -> Self {
        Self { reason: Reason::SecretUnavailable, message: message.into() }
    }
}

/// Whether a start of this definition has values that must stand in a Secret.
pub fn needs_secret(definition: &PodDefinition) -> bool {
    let words = definition.command.iter().chain(&definition.arguments).flatten();
    let mut pieces = words.flat_map(|word| legacy_pieces(word));
    !definition.environment_variables.is_empty()
        || mounts(definition).any(|(_, mount)| mount.kind == MountKind::Ephemeral)
        || pieces
            .any(|piece| matches!(piece, LegacyPiece::Name { name, .. } if Credentials::is_credential(name)))
}

/// Puts every value in its place.
///
/// # Errors
/// [`Unavailable`] with everything that is missing, storage first.
pub fn resolve(
    definition: &PodDefinition,
    credentials: &Credentials,
    home: Home<'_>,
) -> Result<Resolved, Unavailable> {
    let storage: Vec<String> =
        mounts(definition).filter_map(|(path, mount)| missing_storage(path, mount)).collect();
    if !storage.is_empty() {
        return Err(Unavailable { reason: Reason::StorageUnavailable, message: storage.join(". ") });
    }
    let mut problems = Vec::new();
    let mut values = BTreeMap::new();
    for (key, value) in secret_map(definition, credentials, home) {
        match value {
            Ok(value) => drop(values.insert(key, value)),
            Err(problem) => problems.push(problem.message),
        }
    }
    let context = Context { definition, credentials, home, values: &values };
    let mut inject = |place: String, text: &str| {
        let (text, mut missing) = context.inject(text);
        problems.extend(missing.drain(..).map(|what| format!("{place} {what}")));
        text
    };
    let environment: BTreeMap<String, String> = definition
        .environment_variables
        .iter()
        .map(|(name, text)| (name.clone(), inject(format!("environment variable {name}"), text)))
        .collect();
    let files: Vec<File> = mounts(definition)
        .filter(|(_, mount)| mount.kind == MountKind::Ephemeral)
        .map(|(path, mount)| File {
            path: path.to_owned(),
            content: inject(
                format!("the file \"{path}\""),
                mount.config_content.as_deref().unwrap_or_default(),
            ),
            mode: i32::from_str_radix(&mount.config_permissions, 8).unwrap_or(0o644) & 0o777,
        })
        .collect();
    if !problems.is_empty() {
        return Err(Unavailable::secret(problems.join(". ")));
    }
    let mut variables = Variables { taken: &environment, names: BTreeMap::new(), values: BTreeMap::new() };
    let mut words = |words: &Option<Vec<String>>| {
        words.as_ref().map(|words| words.iter().map(|word| context.word(word, &mut variables)).collect())
    };
    let (command, arguments) = (words(&definition.command), words(&definition.arguments));
    let variables = variables.values;
    let resolved = Resolved { environment, variables, command, arguments, files };
    match resolved.bytes() {
        bytes if bytes > RESOLVED_BYTES_MAX => Err(Unavailable {
            reason: Reason::Refused,
            message: format!(
                "environment_variables and the contents of files have {bytes} bytes once their placeholders are \
                 replaced, at most {RESOLVED_BYTES_MAX} are possible; shorten them"
            ),
        }),
        _ => Ok(resolved),
    }
}

/// Every value of the merged secret map, or why it cannot be had.
pub fn secret_map(
    definition: &PodDefinition,
    credentials: &Credentials,
    home: Home<'_>,
) -> BTreeMap<String, Result<String, Unavailable>> {
    let context = Context { definition, credentials, home, values: &BTreeMap::new() };
    let entries = definition.secret_map.iter();
    entries.map(|(key, text)| (key.clone(), context.value(key, text).map_err(Unavailable::secret))).collect()
}

/// Puts values in the place of `${pods:secrets:KEY}`; references to other keys stay.
pub fn references(text: &str, values: &BTreeMap<String, String>) -> String {
    let value = |piece| match piece {
        Piece::Text(text) => text,
        Piece::Pattern { text, pattern: Pattern::Reference { key, .. } } => {
            values.get(key).map_or(text, String::as_str)
        }
        Piece::Pattern { text, .. } => text,
    };
    pieces(text).into_iter().map(value).collect()
}

struct Context<'a> {
    definition: &'a PodDefinition,
    credentials: &'a Credentials,
    home: Home<'a>,
    values: &'a BTreeMap<String, String>,
}

impl Context<'_> {
    /// The value of one entry of the secret map.
    fn value(&self, key: &str, text: &str) -> Result<String, String> {
        let place = format!("secret_map key {key}");
        self.replace(text, |text, pattern| {
            Ok(Some(match pattern {
                Pattern::Secret { .. } => return Err(format!("{place} {}", no_secrets(text))),
                Pattern::Required { description } => {
                    return Err(format!("{place} needs a value ({description}): set it in secret_map"));
                }
                Pattern::Default { value, .. } => self.credentials.interpolate(value, self.home),
                Pattern::Random { .. } => {
                    let made = self.credentials.random.get(key).cloned();
                    made.ok_or_else(|| {
                        format!("{place} has no random value yet: restart the pod to get one")
                    })?
                }
                Pattern::Networking { entry, field } => self.networking(entry, field).ok_or_else(|| {
                    format!("{place} names networking entry \"{entry}\", which the pod does not have")
                })?,
                Pattern::PodUrl => self.url(),
                Pattern::TapisUrl => tapis_url(&self.url()).to_owned(),
                Pattern::PodId => self.home.pod_id.to_owned(),
                Pattern::Reference { .. } | Pattern::Unknown => return Ok(None),
            }))
        })
    }

    /// A text with its values, and what of them is missing.
    fn inject(&self, text: &str) -> (String, Vec<String>) {
        let mut missing = Vec::new();
        let value = self.replace(text, |text, pattern| {
            Ok::<_, std::convert::Infallible>(match pattern {
                Pattern::Reference { key, .. } => {
                    let value = self.values.get(key);
                    // A key whose own value is missing is reported for itself.
                    if value.is_none() && !self.definition.secret_map.contains_key(key) {
                        missing.push(format!(
                            "refers to the key {key} of secret_map, which does not exist: add it to secret_map"
                        ));
                    }
                    Some(value.cloned().unwrap_or_default())
                }
                Pattern::Secret { .. } => {
                    missing.push(no_secrets(text));
                    None
                }
                _ => None,
            })
        });
        let Ok(value) = value;
        (value, missing)
    }

    /// A text with what `value` gives for its patterns. Where that is nothing the pattern is text like any other, and
    /// built-in placeholders in it count.
    fn replace<E>(
        &self,
        text: &str,
        mut value: impl FnMut(&str, Pattern<'_>) -> Result<Option<String>, E>,
    ) -> Result<String, E> {
        let mut replaced = String::new();
        let mut plain = String::new();
        for piece in pieces(text) {
            match piece {
                Piece::Text(text) => plain += text,
                Piece::Pattern { text, pattern } => match value(text, pattern)? {
                    Some(value) => {
                        replaced += &self.credentials.interpolate(&std::mem::take(&mut plain), self.home);
                        replaced += &value;
                    }
                    None => plain += text,
                },
            }
        }
        replaced += &self.credentials.interpolate(&plain, self.home);
        Ok(replaced)
    }

    fn networking(&self, entry: &str, field: NetworkingField) -> Option<String> {
        let entry = self.definition.networking.get(entry)?;
        Some(match field {
            NetworkingField::Url | NetworkingField::Hostname => entry.url.clone(),
            NetworkingField::Port => entry.port.to_string(),
            NetworkingField::Protocol => entry.protocol.to_string(),
            NetworkingField::TapisUrl => tapis_url(&entry.url).to_owned(),
        })
    }

    fn url(&self) -> String {
        let stored = || self.definition.networking.get("default").map(|entry| entry.url.clone());
        match self.home.tenant_host {
            "" => stored().unwrap_or_default(),
            host => entry_host(self.home.pod_id, "default", host),
        }
    }

    fn word(&self, text: &str, variables: &mut Variables<'_>) -> Word {
        let part = |piece| match piece {
            LegacyPiece::Text(text) => Part::Text(text.to_owned()),
            LegacyPiece::Name { name, .. } => match self.credentials.builtin(name, self.home) {
                Builtin::Public(value) => Part::Text(value.to_owned()),
                Builtin::Credential { name, value } => Part::Variable(variables.name(name, value)),
            },
        };
        legacy_pieces(text).into_iter().map(part).collect()
    }
}

/// Names for values that words refer to.
struct Variables<'a> {
    taken: &'a BTreeMap<String, String>,
    names: BTreeMap<&'static str, String>,
    values: BTreeMap<String, String>,
}

impl Variables<'_> {
    fn name(&mut self, credential: &'static str, value: &str) -> String {
        if let Some(name) = self.names.get(credential) {
            return name.clone();
        }
        let free = |name: &String| !self.taken.contains_key(name) && !self.values.contains_key(name);
        let name = (1_u32..).map(|n| format!("PODS_SECRET_{n}")).find(free).unwrap_or_default();
        self.values.insert(name.clone(), value.to_owned());
        self.names.insert(credential, name.clone());
        name
    }
}

impl Resolved {
    /// Every value.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        let variables = self.environment.values().chain(self.variables.values());
        variables.chain(self.files.iter().map(|file| &file.content)).map(String::as_str)
    }

    /// Bytes of all values together.
    fn bytes(&self) -> usize {
        self.values().map(str::len).sum()
    }
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolved")
            .field("environment", &self.environment.keys())
            .field("variables", &self.variables.keys())
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The mounts that there are; removals are none.
fn mounts(definition: &PodDefinition) -> impl Iterator<Item = (&str, &VolumeMount)> {
    definition.volume_mounts.iter().filter_map(|(path, mount)| Some((path.as_str(), mount.as_ref()?)))
}

fn missing_storage(path: &str, mount: &VolumeMount) -> Option<String> {
    let what = match mount.kind {
        MountKind::Ephemeral => return None,
        MountKind::TapisVolume => "volume",
        MountKind::TapisSnapshot => "snapshot",
        MountKind::Pvc => "claim",
    };
    if let Some(description) = mount.placeholder() {
        return Some(format!("mount \"{path}\" needs a {what} ({description}): set its source_id"));
    }
    let source = mount.source_id.as_deref().unwrap_or_default();
    Some(format!(
        "mount \"{path}\" needs the {what} \"{source}\", and this service cannot mount {what}s at present: remove the \
         mount (set \"{path}\" to null in volume_mounts) and start the pod again"
    ))
}

fn no_secrets(reference: &str) -> String {
    format!(
        "needs the secret {reference}, and this service cannot read secrets at present: set a value or \
         ${{pods:random:32}} in secret_map and start the pod again"
    )
}

/// The tenant's host: what follows `.pods.` in the host of a pod.
fn tapis_url(url: &str) -> &str {
    url.split_once(".pods.").map_or("", |(_, host)| host)
}

#[cfg(test)]
mod tests;
