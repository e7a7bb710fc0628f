//! What is still unresolved in a pod, and what was probably meant otherwise: metadata of answers, never a reason to
//! refuse. Only the patterns themselves are shown, never the text around them.

use serde::Serialize;

use super::{Pattern, Piece, legacy::single_angled, pieces, unknown_references};
use crate::PodDefinition;

/// `metadata.unresolved_patterns` of `GET /pods/{pod_id}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Unresolved {
    /// Whether anything below is not empty.
    pub has_unresolved: bool,
    /// Patterns in `secret_map`.
    pub secret_map_unresolved: Vec<KeyPatterns>,
    /// Patterns in `environment_variables`.
    pub env_vars_unresolved: Vec<KeyPatterns>,
    /// Patterns in configuration files, by the position of the mount.
    pub config_unresolved: Vec<ConfigPatterns>,
    /// Patterns that look like ours but are none.
    pub syntax_warnings: Vec<SyntaxWarning>,
    /// One sentence about all of it.
    pub summary: String,
}

/// Patterns of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyPatterns {
    /// Key of the map.
    pub key: String,
    /// What was found in its value.
    pub patterns: Vec<FoundPattern>,
}

/// Patterns of one configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigPatterns {
    /// Position of the mount, in the order of the paths.
    pub index: usize,
    /// The path of the mount.
    pub mount_path: String,
    /// What was found in its content.
    pub patterns: Vec<FoundPattern>,
}

/// A `${...}` and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoundPattern {
    /// The pattern itself.
    pub pattern: String,
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// A pattern that will not do what was meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SyntaxWarning {
    /// Where it stands.
    pub location: String,
    /// What is wrong.
    pub issue: &'static str,
    /// The text that was found.
    pub found: String,
    /// What to write instead.
    pub suggestion: String,
    /// Why.
    pub explanation: &'static str,
}

/// What is still unresolved in a definition.
pub fn unresolved(pod: &PodDefinition) -> Unresolved {
    let of_map = |map: &std::collections::BTreeMap<String, String>| {
        map.iter()
            .map(|(key, value)| KeyPatterns { key: key.clone(), patterns: found(value) })
            .filter(|entry| !entry.patterns.is_empty())
            .collect::<Vec<_>>()
    };
    let config: Vec<ConfigPatterns> = contents(pod)
        .map(|(index, path, content)| ConfigPatterns {
            index,
            mount_path: path.to_owned(),
            patterns: found(content),
        })
        .filter(|entry| !entry.patterns.is_empty())
        .collect();
    let mut report = Unresolved {
        secret_map_unresolved: of_map(&pod.secret_map),
        env_vars_unresolved: of_map(&pod.environment_variables),
        config_unresolved: config,
        syntax_warnings: missing_colons(pod),
        ..Unresolved::default()
    };
    let counts = [
        (report.secret_map_unresolved.len(), "secret_map"),
        (report.env_vars_unresolved.len(), "environment_variables"),
        (report.config_unresolved.len(), "configuration files"),
        (report.syntax_warnings.len(), "syntax warnings"),
    ];
    let parts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} in {name}"))
        .collect();
    report.has_unresolved = !parts.is_empty();
    report.summary = match parts.is_empty() {
        true => "Nothing is unresolved.".to_owned(),
        false => format!("Patterns that a start resolves: {}.", parts.join(", ")),
    };
    report
}

fn contents(pod: &PodDefinition) -> impl Iterator<Item = (usize, &str, &str)> {
    pod.volume_mounts
        .iter()
        .filter_map(|(path, mount)| Some((path.as_str(), mount.as_ref()?)))
        .enumerate()
        .filter_map(|(index, (path, mount))| Some((index, path, mount.config_content.as_deref()?)))
}

fn found(text: &str) -> Vec<FoundPattern> {
    pieces(text)
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Pattern { text, pattern } => {
                Some(FoundPattern { pattern: text.to_owned(), kind: kind(pattern) })
            }
        })
        .collect()
}

fn kind(pattern: Pattern<'_>) -> &'static str {
    match pattern {
        Pattern::Secret { .. } => "user_secret",
        Pattern::Reference { .. } => "secret_map_reference",
        Pattern::Default { .. } => "default_placeholder",
        Pattern::Required { .. } => "required_placeholder",
        Pattern::Networking { .. } => "networking_reference",
        Pattern::PodUrl => "pod_url",
        Pattern::TapisUrl => "tapis_url",
        Pattern::PodId => "pod_id",
        Pattern::Random { .. } => "random_password",
        Pattern::Unknown => "unknown",
    }
}

/// Every text in which references are resolved, with its place.
fn texts(pod: &PodDefinition) -> impl Iterator<Item = (String, &str)> {
    let variables = pod
        .environment_variables
        .iter()
        .map(|(name, value)| (format!("environment_variables.{name}"), value.as_str()));
    let contents =
        contents(pod).map(|(_, path, content)| (format!("volume_mounts.{path}.config_content"), content));
    variables.chain(contents)
}

/// `${pods:secrets:KEY?text}`: the colon before the question mark is missing.
fn missing_colons(pod: &PodDefinition) -> Vec<SyntaxWarning> {
    let mut warnings = Vec::new();
    for (location, text) in texts(pod) {
        for piece in pieces(text) {
            let Piece::Pattern { text, pattern: Pattern::Unknown } = piece else { continue };
            let Some((key, description)) = text
                .strip_prefix("${pods:secrets:")
                .and_then(|rest| rest.strip_suffix('}'))
                .and_then(|rest| rest.split_once('?'))
            else {
                continue;
            };
            warnings.push(SyntaxWarning {
                location: location.clone(),
                issue: "missing colon",
                found: text.to_owned(),
                suggestion: format!("${{pods:secrets:{}:?{description}}}", key.trim_end_matches(':')),
                explanation: "The description of a reference begins with :? and this text begins with ? alone, \
                              so it is not recognised and stays as it is.",
            });
        }
    }
    warnings
}

/// `metadata.config_syntax_warnings`: texts of a definition that will not do what was probably meant.
pub fn config_syntax_warnings(pod: &PodDefinition) -> Vec<String> {
    let mut warnings: Vec<String> = missing_colons(pod)
        .into_iter()
        .map(|warning| {
            format!(
                "{}: {} has a missing colon; write {}",
                warning.location, warning.found, warning.suggestion
            )
        })
        .collect();
    for (location, text) in texts(pod) {
        for piece in pieces(text) {
            let Piece::Pattern { text, pattern } = piece else { continue };
            if matches!(
                pattern,
                Pattern::Default { .. }
                    | Pattern::Required { .. }
                    | Pattern::Random { .. }
                    | Pattern::Networking { .. }
                    | Pattern::PodUrl
                    | Pattern::TapisUrl
                    | Pattern::PodId
                    | Pattern::Secret { .. }
            ) {
                warnings.push(format!(
                    "{location}: {text} is resolved in secret_map only and stays as it is here; put it into \
                     secret_map and refer to it with ${{pods:secrets:KEY}}"
                ));
            }
        }
    }
    for unknown in unknown_references(&pod.environment_variables, &pod.volume_mounts, &pod.secret_map) {
        warnings.push(format!(
            "{}: refers to the key {} of secret_map, which does not exist; add it before the pod starts",
            unknown.place, unknown.key
        ));
    }
    let arguments = [("command", &pod.command), ("arguments", &pod.arguments)]
        .into_iter()
        .flat_map(|(name, list)| list.iter().flatten().map(move |item| (name.to_owned(), item.as_str())));
    for (location, text) in texts(pod).chain(arguments) {
        for found in single_angled(text) {
            warnings.push(format!(
                "{location}: {found} has single angle brackets and stays as it is; write <{found}>"
            ));
        }
    }
    warnings
}
