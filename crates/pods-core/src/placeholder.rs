//! The values of `secret_map`, placeholders and references (docs/templates.md, "Placeholders").
//!
//! A value of `secret_map` is a literal, or one of these; several may also stand inside of a longer value:
//!
//! | Text | Meaning | Inside of a longer value |
//! |---|---|---|
//! | `${secret:name}`, `${secret:user:name}` | a stored secret; the short form becomes the long one when it is written | yes |
//! | `${:?text}` | must be given by whoever uses the template | yes |
//! | `${pods:default:value}`, `${pods:default:value:?text}` | may be given; an empty default is an empty text | yes |
//! | `${pods:random:N}` | N random characters, generated once for the pod | no |
//! | `${pods:networking:<entry>:<field>}`, `${pods:url}`, `${pods:tapis_url}`, `${pods:pod_id}` | where the pod is reached | yes |
//!
//! `environment_variables` and `config_content` refer to a key with `${pods:secrets:KEY}` or
//! `${pods:secrets:KEY:?text}`. Everything else is text, so `${HOME}` in a configuration file stays as it is.

mod legacy;
mod pattern;
mod report;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{
    input::Violations,
    limits::{
        FINDINGS_BYTES_MAX, FINDINGS_MAX, RANDOM_LENGTH_MAX, RANDOM_LENGTH_MIN, SECRET_KEY_MAX,
        SECRET_MAP_BYTES_MAX, SECRET_MAP_ENTRIES_MAX,
    },
    mount::{Mounts, Owner},
};

pub use legacy::{LegacyPiece, legacy_pieces};
pub use pattern::{NetworkingField, Pattern, Piece, Pieces, pieces, whole};
pub use report::{
    ConfigPatterns, FoundPattern, KeyPatterns, SyntaxWarning, Unresolved, config_syntax_warnings, unresolved,
};

/// Replaces `${secret:name}` by `${secret:<actor>:name}` everywhere in `text`, so that it goes on meaning the
/// secret of whoever wrote it. Where the name of the user cannot stand in a pattern the short form stays, which
/// [`crate::patch::check_stored`] refuses.
pub fn expand_secrets(text: &str, actor: &str) -> String {
    let mut expanded = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Pattern { text, pattern: Pattern::Secret { user: None, name } } => {
                let long = format!("${{secret:{actor}:{name}}}");
                let means_it = whole(&long) == Some(Pattern::Secret { user: Some(actor), name });
                expanded += if means_it { &long } else { text };
            }
            Piece::Pattern { text, .. } | Piece::Text(text) => expanded += text,
        }
    }
    expanded
}

/// [`expand_secrets`] for every value of a map.
pub fn expand_map(map: &mut BTreeMap<String, String>, actor: &str) {
    for value in map.values_mut().filter(|value| value.contains("${secret:")) {
        *value = expand_secrets(value, actor);
    }
}

/// Whether a text has a `${secret:name}` that names no user.
pub(crate) fn has_short_secret(text: &str) -> bool {
    text.contains("${secret:")
        && pieces(text)
            .any(|piece| matches!(piece, Piece::Pattern { pattern: Pattern::Secret { user: None, .. }, .. }))
}

/// Checks the keys and values of a `secret_map`.
pub fn check_secret_map(
    place: &[&str],
    map: &BTreeMap<String, String>,
    owner: Owner,
    violations: &mut Violations,
) {
    check_size(place, map, violations);
    for (key, value) in map {
        if !is_key(key) {
            let key: String = key.chars().take(60).collect();
            violations.rule(
                place,
                format!(
                    "secret_map key \"{key}\" must be alphanumeric, with _ and - allowed, and have at most \
                     {SECRET_KEY_MAX} characters"
                ),
            );
        } else if let Err(problem) = check_value(value, owner) {
            violations.rule(&[place, &[key]].concat(), problem);
        }
    }
}

/// Checks how large a `secret_map` is: one of a body, or one that several were merged into.
pub fn check_size(place: &[&str], map: &BTreeMap<String, String>, violations: &mut Violations) {
    let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    if map.len() > SECRET_MAP_ENTRIES_MAX || bytes > SECRET_MAP_BYTES_MAX {
        violations.rule(
            place,
            format!(
                "secret_map can have at most {SECRET_MAP_ENTRIES_MAX} entries of {SECRET_MAP_BYTES_MAX} bytes \
                 together, those of templates included"
            ),
        );
    }
}

fn is_key(key: &str) -> bool {
    key.len() <= SECRET_KEY_MAX
        && key.contains(|c: char| c.is_ascii_alphanumeric())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

fn check_value(value: &str, owner: Owner) -> Result<(), String> {
    for piece in pieces(value) {
        let Piece::Pattern { text, pattern } = piece else { continue };
        match pattern {
            Pattern::Secret { .. } if owner == Owner::Template => {
                return Err("a template must not refer to the secret of a user; use a placeholder like \
                            ${:?Password of the database}, which whoever uses the template fills in"
                    .to_owned());
            }
            Pattern::Random { .. } if text != value => {
                return Err("${pods:random:N} must be the whole value".to_owned());
            }
            Pattern::Random { length } if !(RANDOM_LENGTH_MIN..=RANDOM_LENGTH_MAX).contains(&length) => {
                return Err(format!(
                    "${{pods:random:N}} needs N between {RANDOM_LENGTH_MIN} and {RANDOM_LENGTH_MAX}"
                ));
            }
            Pattern::Unknown if text.starts_with("${pods:default:") => {
                return Err(
                    "a default is ${pods:default:value} or ${pods:default:value:?description}; the value \
                            cannot contain a colon"
                        .to_owned(),
                );
            }
            Pattern::Unknown if text.starts_with("${pods:random:") => {
                return Err("a random value is ${pods:random:N} with a number N".to_owned());
            }
            Pattern::Secret { .. }
            | Pattern::Required { .. }
            | Pattern::Default { .. }
            | Pattern::Random { .. }
            | Pattern::Networking { .. }
            | Pattern::PodUrl
            | Pattern::TapisUrl
            | Pattern::PodId
            | Pattern::Reference { .. }
            | Pattern::Unknown => {}
        }
    }
    // Whatever the grammar of a name says: nothing that begins like a reference may stay in a template.
    match owner == Owner::Template && value.contains("${secret:") {
        true => Err("a template must not contain ${secret:...}".to_owned()),
        false => Ok(()),
    }
}

/// The keys that `${pods:secrets:KEY}` refers to in a text.
pub fn references(text: &str) -> impl Iterator<Item = &str> {
    pieces(text).filter_map(|piece| match piece {
        Piece::Pattern { pattern: Pattern::Reference { key, .. }, .. } => Some(key),
        _ => None,
    })
}

/// A reference to a key that the secret map does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownReference {
    /// Where it stands, for example `environment_variables, DB_PASS`.
    pub place: String,
    /// The key that is missing.
    pub key: String,
}

/// What one list of a report names: each text once for each place that it stands in, and no more than fits.
#[derive(Debug, Default)]
struct Findings<'t> {
    named: BTreeSet<(usize, &'t str)>,
    bytes: usize,
    /// Whether something was left out.
    more: bool,
}

impl<'t> Findings<'t> {
    /// Whether to name `text`, which stands in the place with this number.
    fn admits(&mut self, place: usize, text: &'t str) -> bool {
        if self.named.contains(&(place, text)) {
            return false;
        }
        if self.named.len() == FINDINGS_MAX || self.bytes + text.len() > FINDINGS_BYTES_MAX {
            self.more = true;
            return false;
        }
        self.bytes += text.len();
        self.named.insert((place, text))
    }
}

/// References of environment variables and configuration files to keys that `secret_map` does not have, the first
/// [`FINDINGS_MAX`].
pub fn unknown_references(
    environment: &BTreeMap<String, String>,
    mounts: &Mounts,
    secret_map: &BTreeMap<String, String>,
) -> Vec<UnknownReference> {
    let variables =
        environment.iter().map(|(name, value)| (format!("environment_variables, {name}"), value.as_str()));
    let contents = mounts.iter().filter_map(|(path, mount)| {
        let content = mount.as_ref()?.config_content.as_deref()?;
        Some((format!("volume_mounts, {path}, config_content"), content))
    });
    let mut unknown = Vec::new();
    let mut findings = Findings::default();
    for (number, (place, text)) in variables.chain(contents).enumerate() {
        for key in references(text).filter(|key| !secret_map.contains_key(*key)) {
            if findings.admits(number, key) {
                unknown.push(UnknownReference { place: place.clone(), key: key.to_owned() });
            }
        }
    }
    unknown
}

/// A value that somebody has to, or may, give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    /// Key of the secret map.
    pub key: String,
    /// What the template says about the value.
    pub description: String,
    /// What is used when nobody gives one; `None` for a required value.
    pub default: Option<String>,
}

/// What is still open in a secret map.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placeholders {
    /// Must be given before the pod can start.
    pub required: Vec<Placeholder>,
    /// Have a default.
    pub optional: Vec<Placeholder>,
}

/// [`Placeholders`] as answers show them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PlaceholderTexts {
    /// Values that must be given.
    pub required: Vec<String>,
    /// Values that may be given.
    pub optional: Vec<String>,
}

/// What is still open in a (merged) secret map, the first [`FINDINGS_MAX`] of each kind.
pub fn placeholders(secret_map: &BTreeMap<String, String>) -> Placeholders {
    let mut found = Placeholders::default();
    let (mut required, mut optional) = (Findings::default(), Findings::default());
    for (number, (key, value)) in secret_map.iter().enumerate() {
        for piece in pieces(value) {
            let Piece::Pattern { text, pattern } = piece else { continue };
            match pattern {
                Pattern::Required { .. } if !required.admits(number, text) => {}
                Pattern::Default { .. } if !optional.admits(number, text) => {}
                Pattern::Required { description } => found.required.push(Placeholder {
                    key: key.clone(),
                    description: description.to_owned(),
                    default: None,
                }),
                Pattern::Default { value, description } => found.optional.push(Placeholder {
                    key: key.clone(),
                    description: description.unwrap_or_default().to_owned(),
                    default: Some(value.to_owned()),
                }),
                _ => {}
            }
        }
    }
    found
}

impl Placeholders {
    /// Whether nothing is open.
    pub fn is_empty(&self) -> bool {
        self.required.is_empty() && self.optional.is_empty()
    }

    /// The texts that answers show.
    pub fn texts(&self) -> PlaceholderTexts {
        let required = |open: &Placeholder| format!("{}: REQUIRED: {}", open.key, open.description);
        let optional = |open: &Placeholder| {
            let default = open.default.as_deref().unwrap_or_default();
            match open.description.as_str() {
                "" => format!("{}: Default: '{default}'", open.key),
                description => format!("{}: {description} Default: '{default}'", open.key),
            }
        };
        PlaceholderTexts {
            required: self.required.iter().map(required).collect(),
            optional: self.optional.iter().map(optional).collect(),
        }
    }
}

/// The keys whose value is `${pods:random:N}`, with the number of characters that they need.
pub fn random_keys(secret_map: &BTreeMap<String, String>) -> Vec<(String, usize)> {
    secret_map
        .iter()
        .filter_map(|(key, value)| match whole(value) {
            Some(Pattern::Random { length }) => Some((key.clone(), length)),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
