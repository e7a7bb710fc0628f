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

/// What an update changed, as `path: old→new` for up to eight leaves. Values of environment variables, secret maps
/// and configuration files are hidden, because people put passwords there.
pub fn changes(old: &PodDefinition, new: &PodDefinition) -> String {
    let (old, new) = (serde_json::to_value(old), serde_json::to_value(new));
    let mut found = Vec::new();
    if let (Ok(old), Ok(new)) = (old, new) {
        leaves(&mut Vec::new(), &old, &new, &mut found);
    }
    let more = found.len().saturating_sub(CHANGES_SHOWN);
    found.truncate(CHANGES_SHOWN);
    let mut text = found.join(", ");
    if more > 0 {
        text += &format!(" (+{more} more)");
    }
    text
}

fn leaves<'v>(path: &mut Vec<&'v str>, old: &'v Value, new: &'v Value, found: &mut Vec<String>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                path.push(name);
                leaves(path, a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null), found);
                path.pop();
            }
        }
        _ if is_hidden(path) => {
            let what = match (old, new) {
                (Value::Null, _) => "set",
                (_, Value::Null) => "removed",
                _ => "changed",
            };
            found.push(format!("{}: {what}", path.join(".")));
        }
        _ => found.push(format!("{}: {}→{}", path.join("."), shown(old), shown(new))),
    }
}

/// Whether the values at a path may be secret.
fn is_hidden(path: &[&str]) -> bool {
    matches!(
        path,
        ["environment_variables" | "secret_map", ..]
            | ["template_overrides", "secret_map", ..]
            | [.., "config_content"]
            | ["networking", _, "tapis_auth_response_headers", ..]
    )
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        // Members may be secret.
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
    use crate::{
        Resources, TemplateOverrides,
        mount::{MountKind, VolumeMount},
    };

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

    #[test]
    fn nothing_that_may_be_a_password_is_shown() {
        let old = PodDefinition::with_resources(Resources::default());
        let mut new = old.clone();
        let secret = "hunter2".to_owned();
        new.secret_map.insert("DB.PASS".into(), secret.clone());
        let mut mount = VolumeMount::new(MountKind::Ephemeral);
        mount.config_content = Some(secret.clone());
        new.volume_mounts.insert("/etc/app.ini".into(), Some(mount.clone()));
        let overrides =
            TemplateOverrides { secret_map: [("A".into(), secret.clone())].into(), ..Default::default() };
        new.template_overrides = Some(overrides.clone());
        let added = changes(&old, &new);
        assert!(added.contains("secret_map.DB.PASS: set"), "{added}");
        assert!(added.contains("volume_mounts./etc/app.ini: none→{…}"), "{added}");
        let mut newer = new.clone();
        newer.secret_map.insert("DB.PASS".into(), "hunter22".into());
        mount.config_content = Some("hunter22".into());
        newer.volume_mounts.insert("/etc/app.ini".into(), Some(mount));
        let mut overrides = overrides;
        overrides.secret_map.insert("A".into(), "hunter22".into());
        newer.template_overrides = Some(overrides);
        let changed = changes(&new, &newer);
        assert!(changed.contains("volume_mounts./etc/app.ini.config_content: changed"), "{changed}");
        assert!(changed.contains("template_overrides.secret_map.A: changed"), "{changed}");
        let removed = changes(&newer, &old);
        for text in [added, changed, removed] {
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
