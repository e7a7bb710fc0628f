//! Lines of a pod's action log: who did what, and what the service noticed.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::PodDefinition;

/// Most lines that are kept for a pod; older ones are dropped.
pub const LINES_MAX: i64 = 1000;
/// Longest line, in characters.
pub const LINE_MAX: usize = 1000;
const CHANGES_SHOWN: usize = 8;
const VALUE_SHOWN: usize = 60;

/// A line as users see it: `YY/MM/DD HH:MM: text`, in UTC.
pub fn line(at: DateTime<Utc>, text: &str) -> String {
    format!("{}: {text}", at.format("%y/%m/%d %H:%M"))
}

/// What an update changed, as `path: old→new` for up to eight leaves. Values of environment variables are hidden,
/// because people put passwords there.
pub fn changes(old: &PodDefinition, new: &PodDefinition) -> String {
    let (old, new) = (serde_json::to_value(old), serde_json::to_value(new));
    let mut found = Vec::new();
    if let (Ok(old), Ok(new)) = (old, new) {
        leaves(String::new(), &old, &new, &mut found);
    }
    let more = found.len().saturating_sub(CHANGES_SHOWN);
    found.truncate(CHANGES_SHOWN);
    let mut text = found.join(", ");
    if more > 0 {
        text += &format!(" (+{more} more)");
    }
    text
}

fn leaves(path: String, old: &Value, new: &Value, found: &mut Vec<String>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let null = Value::Null;
                leaves(path, a.get(name).unwrap_or(&null), b.get(name).unwrap_or(&null), found);
            }
        }
        _ if path.starts_with("environment_variables") => {
            let what = match (old, new) {
                (Value::Null, _) => "set",
                (_, Value::Null) => "removed",
                _ => "changed",
            };
            found.push(format!("{path}: {what}"));
        }
        _ => found.push(format!("{path}: {}→{}", shown(old), shown(new))),
    }
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(_) => "{…}".to_owned(),
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    };
    match text.char_indices().nth(VALUE_SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Resources;

    #[test]
    fn lines_carry_the_minute() {
        assert_eq!(line(DateTime::UNIX_EPOCH, "x"), "70/01/01 00:00: x");
    }

    #[test]
    fn changes_name_leaves_and_hide_the_environment() {
        let old = PodDefinition::with_resources(Resources::default());
        let mut new = old.clone();
        new.description = "d".repeat(100);
        new.resources.gpus = 1;
        new.environment_variables.insert("PASS".into(), "hunter2".into());
        let text = changes(&old, &new);
        assert!(text.contains("resources.gpus: 0→1"), "{text}");
        assert!(text.contains("environment_variables.PASS: set"), "{text}");
        assert!(!text.contains("hunter2") && text.contains('…'), "{text}");
    }
}
