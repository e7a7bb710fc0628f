//! What is still unresolved in a pod, and what was probably meant otherwise: metadata of answers, never a reason to
//! refuse. Only the patterns themselves are shown, never the text around them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Findings, Pattern, Piece, legacy::single_angled, pieces, unknown_references};
use crate::{PodDefinition, limits::FINDINGS_MAX};

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

/// What is still unresolved in a definition. A text can have more patterns than an answer can show, so each list
/// names a pattern once for each key or file, and ends after [`FINDINGS_MAX`] of them.
pub fn unresolved(pod: &PodDefinition) -> Unresolved {
    let mut more = false;
    let secret_map_unresolved = of_map(&pod.secret_map, &mut more);
    let env_vars_unresolved = of_map(&pod.environment_variables, &mut more);
    let mut findings = Findings::default();
    let config_unresolved: Vec<ConfigPatterns> = contents(pod)
        .map(|(index, path, content)| ConfigPatterns {
            index,
            mount_path: path.to_owned(),
            patterns: found(index, content, &mut findings),
        })
        .filter(|entry| !entry.patterns.is_empty())
        .collect();
    more |= findings.more;
    let syntax_warnings = missing_colons(pod, &mut more);
    let counts = [
        (secret_map_unresolved.len(), "secret_map"),
        (env_vars_unresolved.len(), "environment_variables"),
        (config_unresolved.len(), "configuration files"),
        (syntax_warnings.len(), "syntax warnings"),
    ];
    let parts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} in {name}"))
        .collect();
    let has_unresolved = !parts.is_empty();
    let mut summary = match has_unresolved {
        false => "Nothing is unresolved.".to_owned(),
        true => format!("Patterns that a start resolves: {}.", parts.join(", ")),
    };
    if more {
        summary += " Not all are listed, there are more.";
    }
    Unresolved {
        has_unresolved,
        secret_map_unresolved,
        env_vars_unresolved,
        config_unresolved,
        syntax_warnings,
        summary,
    }
}

fn of_map(map: &BTreeMap<String, String>, more: &mut bool) -> Vec<KeyPatterns> {
    let mut findings = Findings::default();
    let patterns = map
        .iter()
        .enumerate()
        .map(|(number, (key, value))| KeyPatterns {
            key: key.clone(),
            patterns: found(number, value, &mut findings),
        })
        .filter(|entry| !entry.patterns.is_empty())
        .collect();
    *more |= findings.more;
    patterns
}

fn contents(pod: &PodDefinition) -> impl Iterator<Item = (usize, &str, &str)> {
    pod.volume_mounts
        .iter()
        .filter_map(|(path, mount)| Some((path.as_str(), mount.as_ref()?)))
        .enumerate()
        .filter_map(|(index, (path, mount))| Some((index, path, mount.config_content.as_deref()?)))
}

fn found<'t>(place: usize, text: &'t str, findings: &mut Findings<'t>) -> Vec<FoundPattern> {
    pieces(text)
        .filter_map(|piece| match piece {
            Piece::Pattern { text, pattern } if findings.admits(place, text) => {
                Some(FoundPattern { pattern: text.to_owned(), kind: kind(pattern) })
            }
            Piece::Text(_) | Piece::Pattern { .. } => None,
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
fn missing_colons(pod: &PodDefinition, more: &mut bool) -> Vec<SyntaxWarning> {
    let mut warnings = Vec::new();
    let mut findings = Findings::default();
    for (number, (location, text)) in texts(pod).enumerate() {
        for piece in pieces(text) {
            let Piece::Pattern { text, pattern: Pattern::Unknown } = piece else { continue };
            let Some((key, description)) = text
                .strip_prefix("${pods:secrets:")
                .and_then(|rest| rest.strip_suffix('}'))
                .and_then(|rest| rest.split_once('?'))
            else {
                continue;
            };
            if !findings.admits(number, text) {
                continue;
            }
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
    *more |= findings.more;
    warnings
}

/// `metadata.config_syntax_warnings`: texts of a definition that will not do what was probably meant. After the first
/// [`FINDINGS_MAX`] one line says that there are more.
pub fn config_syntax_warnings(pod: &PodDefinition) -> Vec<String> {
    let mut more = false;
    let mut warnings: Vec<String> = missing_colons(pod, &mut more)
        .into_iter()
        .map(|warning| {
            format!(
                "{}: {} has a missing colon; write {}",
                warning.location, warning.found, warning.suggestion
            )
        })
        .collect();
    let mut findings = Findings::default();
    for (number, (location, text)) in texts(pod).enumerate() {
        for piece in pieces(text) {
            let Piece::Pattern { text, pattern } = piece else { continue };
            if is_for_secret_map(pattern) && findings.admits(number, text) {
                warnings.push(format!(
                    "{location}: {text} is resolved in secret_map only and stays as it is here; put it into \
                     secret_map and refer to it with ${{pods:secrets:KEY}}"
                ));
            }
        }
    }
    more |= findings.more;
    let unknown = unknown_references(&pod.environment_variables, &pod.volume_mounts, &pod.secret_map);
    more |= unknown.len() == FINDINGS_MAX;
    for unknown in unknown {
        warnings.push(format!(
            "{}: refers to the key {} of secret_map, which does not exist; add it before the pod starts",
            unknown.place, unknown.key
        ));
    }
    let arguments = [("command", &pod.command), ("arguments", &pod.arguments)]
        .into_iter()
        .flat_map(|(name, list)| list.iter().flatten().map(move |item| (name.to_owned(), item.as_str())));
    let mut findings = Findings::default();
    for (number, (location, text)) in texts(pod).chain(arguments).enumerate() {
        for found in single_angled(text).into_iter().filter(|found| findings.admits(number, found)) {
            warnings.push(format!(
                "{location}: {found} has single angle brackets and stays as it is; write <{found}>"
            ));
        }
    }
    more |= findings.more || warnings.len() > FINDINGS_MAX;
    warnings.truncate(FINDINGS_MAX);
    if more {
        warnings.push("Not all of these warnings are listed, there are more.".to_owned());
    }
    warnings
}

/// Whether a pattern means something in `secret_map` alone.
fn is_for_secret_map(pattern: Pattern<'_>) -> bool {
    match pattern {
        Pattern::Default { .. }
        | Pattern::Required { .. }
        | Pattern::Random { .. }
        | Pattern::Networking { .. }
        | Pattern::PodUrl
        | Pattern::TapisUrl
        | Pattern::PodId
        | Pattern::Secret { .. } => true,
        Pattern::Reference { .. } | Pattern::Unknown => false,
    }
}
