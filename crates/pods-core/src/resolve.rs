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

mod bounds;

use std::{borrow::Cow, collections::BTreeMap, fmt};

use crate::{
    PodDefinition, VolumeMount,
    credentials::{Builtin, Credentials},
    ids::entry_host,
    limits::RESOLVED_BYTES_MAX,
    mount::MountKind,
    patch::Home,
    placeholder::{LegacyPiece, NetworkingField, Pattern, Piece, legacy_pieces, pieces},
    reason::Reason,
};
use bounds::{Budget, Problems};

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

    fn too_large(what: &str) -> Self {
        let message = format!(
            "{what} would have more than {RESOLVED_BYTES_MAX} bytes once placeholders are replaced; shorten the texts \
             or the values of secret_map that they refer to"
        );
        Self { reason: Reason::Refused, message }
    }
}

/// Whether a start of this definition has values that must stand in a Secret.
pub fn needs_secret(definition: &PodDefinition) -> bool {
    !definition.environment_variables.is_empty()
        || mounts(definition).any(|(_, mount)| mount.kind == MountKind::Ephemeral)
        || command_holds_values(definition)
}

/// Whether words of the command have credentials put in when the container starts, so that the runtime may quote them.
pub fn command_holds_values(definition: &PodDefinition) -> bool {
    let words = definition.command.iter().chain(&definition.arguments).flatten();
    let mut pieces = words.flat_map(|word| legacy_pieces(word));
    pieces.any(|piece| matches!(piece, LegacyPiece::Name { name, .. } if Credentials::is_credential(name)))
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
    let mut problems = Problems::default();
    let mut values = BTreeMap::new();
    for (key, value) in secret_map(definition, credentials, home) {
        match value {
            Ok(value) => drop(values.insert(key, value)),
            Err(problem) if problem.reason == Reason::Refused => return Err(problem),
            Err(problem) => problems.push(problem.message),
        }
    }
    let context = Context { definition, credentials, home, values: &values };
    let mut budget = Budget::new("environment_variables and the contents of files");
    let mut inject = |place: String, text: &str| context.inject(&place, text, &mut budget, &mut problems);
    let mut environment = BTreeMap::new();
    for (name, text) in &definition.environment_variables {
        environment.insert(name.clone(), inject(environment_place(name), text)?);
    }
    let mut files = Vec::new();
    for (path, mount) in mounts(definition).filter(|(_, mount)| mount.kind == MountKind::Ephemeral) {
        let content = mount.config_content.as_deref().unwrap_or_default();
        files.push(File {
            path: path.to_owned(),
            content: inject(file_place(path), content)?,
            mode: i32::from_str_radix(&mount.config_permissions, 8).unwrap_or(0o644) & 0o777,
        });
    }
    problems.check()?;
    let mut variables = Variables { taken: &environment, names: BTreeMap::new(), values: BTreeMap::new() };
    let mut words = |words: &Option<Vec<String>>| {
        words.as_ref().map(|words| words.iter().map(|word| context.word(word, &mut variables)).collect())
    };
    let (command, arguments) = (words(&definition.command), words(&definition.arguments));
    let variables = variables.values;
    let resolved = Resolved { environment, variables, command, arguments, files };
    match resolved.bytes() {
        ..=RESOLVED_BYTES_MAX => Ok(resolved),
        _ => Err(Unavailable::too_large("environment_variables, files and credentials")),
    }
}

fn environment_place(name: &str) -> String {
    format!("environment variable {name}")
}

fn file_place(path: &str) -> String {
    format!("the file \"{path}\"")
}

/// Every value of the merged secret map, or why it cannot be had.
fn secret_map(
    definition: &PodDefinition,
    credentials: &Credentials,
    home: Home<'_>,
) -> BTreeMap<String, Result<String, Unavailable>> {
    let context = Context { definition, credentials, home, values: &BTreeMap::new() };
    let mut budget = Budget::new("the values of secret_map");
    let entries = definition.secret_map.iter();
    entries.map(|(key, text)| (key.clone(), context.value(key, text, &mut budget))).collect()
}

/// Puts the values of `secret_map` into it and where it is referred to, for somebody who may see them. What cannot be
/// had stays as it is and is told.
pub fn reveal(definition: &mut PodDefinition, credentials: &Credentials, home: Home<'_>) -> Vec<String> {
    let (mut values, mut errors) = (BTreeMap::new(), Vec::new());
    for (key, value) in secret_map(definition, credentials, home) {
        match value {
            Ok(value) => drop(values.insert(key, value)),
            Err(missing) => errors.push(missing.message),
        }
    }
    let mut budget = Budget::new("environment_variables and the contents of files");
    let environment = definition.environment_variables.iter_mut();
    let environment = environment.map(|(name, text)| (environment_place(name), text));
    let files = definition.volume_mounts.iter_mut();
    let files =
        files.filter_map(|(path, mount)| Some((file_place(path), mount.as_mut()?.config_content.as_mut()?)));
    for (place, text) in environment.chain(files) {
        match references(text, &values, &mut budget) {
            Ok(revealed) => *text = revealed,
            Err(problem) => {
                errors.push(format!("{place} and what follows it are shown as they are stored: {problem}"));
                break;
            }
        }
    }
    definition.secret_map.extend(values);
    errors
}

/// Puts values in the place of `${pods:secrets:KEY}`; references to other keys stay.
fn references(
    text: &str,
    values: &BTreeMap<String, String>,
    budget: &mut Budget,
) -> Result<String, Unavailable> {
    let mut replaced = String::new();
    for piece in pieces(text) {
        let text = match piece {
            Piece::Text(text) => text,
            Piece::Pattern { text, pattern: Pattern::Reference { key, .. } } => {
                values.get(key).map_or(text, String::as_str)
            }
            Piece::Pattern { text, .. } => text,
        };
        budget.push(&mut replaced, text)?;
    }
    Ok(replaced)
}

struct Context<'a> {
    definition: &'a PodDefinition,
    credentials: &'a Credentials,
    home: Home<'a>,
    values: &'a BTreeMap<String, String>,
}

impl Context<'_> {
    /// The value of one entry of the secret map.
    fn value(&self, key: &str, text: &str, budget: &mut Budget) -> Result<String, Unavailable> {
        let place = format!("secret_map key {key}");
        let unavailable = |problem: String| Unavailable::secret(format!("{place} {problem}"));
        self.replace(text, budget, |text, pattern| {
            Ok(Some(match pattern {
                Pattern::Secret { .. } => return Err(unavailable(no_secrets(text))),
                Pattern::Required { description } => {
                    return Err(unavailable(format!("needs a value ({description}): set it in secret_map")));
                }
                Pattern::Default { value, .. } => self.credentials.interpolate(value, self.home).into(),
                Pattern::Random { length } => {
                    let made = self.credentials.random_value(key, length).map(Into::into);
                    made.ok_or_else(|| {
                        unavailable("has no random value yet: restart the pod to get one".to_owned())
                    })?
                }
                Pattern::Networking { entry, field } => {
                    self.networking(entry, field).map(Cow::Owned).ok_or_else(|| {
                        unavailable(format!(
                            "names networking entry \"{entry}\", which the pod does not have"
                        ))
                    })?
                }
                Pattern::PodUrl => self.url().into(),
                Pattern::TapisUrl => tapis_url(&self.url()).to_owned().into(),
                Pattern::PodId => self.home.pod_id.into(),
                Pattern::Reference { .. } | Pattern::Unknown => return Ok(None),
            }))
        })
    }

    /// A text with its values; what of them is missing goes to `problems`.
    fn inject(
        &self,
        place: &str,
        text: &str,
        budget: &mut Budget,
        problems: &mut Problems,
    ) -> Result<String, Unavailable> {
        self.replace(text, budget, |text, pattern| {
            Ok(match pattern {
                Pattern::Reference { key, .. } => {
                    let value = self.values.get(key);
                    // A key whose own value is missing is reported for itself.
                    if value.is_none() && !self.definition.secret_map.contains_key(key) {
                        problems.push(format!(
                            "{place} refers to the key {key} of secret_map, which does not exist: add it to \
                             secret_map"
                        ));
                    }
                    Some(value.map(Into::into).unwrap_or_default())
                }
                Pattern::Secret { .. } => {
                    problems.push(format!("{place} {}", no_secrets(text)));
                    None
                }
                _ => None,
            })
        })
    }

    /// A text with what `value` gives for its patterns. Where that is nothing the pattern is text like any other, and
    /// built-in placeholders in it count.
    fn replace<'v>(
        &self,
        text: &str,
        budget: &mut Budget,
        mut value: impl FnMut(&str, Pattern<'_>) -> Result<Option<Cow<'v, str>>, Unavailable>,
    ) -> Result<String, Unavailable> {
        let mut replaced = String::new();
        let mut plain = String::new();
        for piece in pieces(text) {
            match piece {
                Piece::Text(text) => plain += text,
                Piece::Pattern { text, pattern } => match value(text, pattern)? {
                    Some(value) => {
                        self.push_plain(&mut replaced, &mut plain, budget)?;
                        budget.push(&mut replaced, &value)?;
                    }
                    None => plain += text,
                },
            }
        }
        self.push_plain(&mut replaced, &mut plain, budget)?;
        Ok(replaced)
    }

    /// Moves a text without patterns to the end of `target`, built-in placeholders replaced.
    fn push_plain(
        &self,
        target: &mut String,
        plain: &mut String,
        budget: &mut Budget,
    ) -> Result<(), Unavailable> {
        for piece in legacy_pieces(plain) {
            let text = match piece {
                LegacyPiece::Text(text) => text,
                LegacyPiece::Name { name, .. } => self.credentials.builtin(name, self.home).value(),
            };
            budget.push(target, text)?;
        }
        plain.clear();
        Ok(())
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
