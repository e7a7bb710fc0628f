//! What answers about pods say besides the pod.

use std::collections::BTreeMap;

use pods_core::{
    PodDefinition,
    mount::{self, MountKind, Mounts},
    placeholder,
    template::merge_chain,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::check::Plan;

/// Adds a member, unless there is nothing to say.
pub(super) fn add(metadata: &mut Map<String, Value>, key: &str, value: impl Serialize) {
    let value = serde_json::to_value(value).unwrap_or(Value::Null);
    let empty = match &value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    if !empty {
        metadata.insert(key.to_owned(), value);
    }
}

/// `template_placeholders`, or `available_placeholders` for a pod without a template.
pub(super) fn add_placeholders(metadata: &mut Map<String, Value>, derived: &PodDefinition) {
    let placeholders = placeholder::placeholders(&derived.secret_map);
    let key = if derived.template.is_empty() { "available_placeholders" } else { "template_placeholders" };
    if key == "template_placeholders"
        || !(placeholders.required.is_empty() && placeholders.optional.is_empty())
    {
        add(metadata, key, placeholders.texts());
    }
}

/// `unresolved_patterns`, when there are any.
pub(super) fn add_unresolved(metadata: &mut Map<String, Value>, definition: &PodDefinition) {
    let unresolved = placeholder::unresolved(definition);
    if unresolved.has_unresolved {
        add(metadata, "unresolved_patterns", unresolved);
    }
}

/// Everything that a create or update tells about the pod that it stored.
pub(super) fn about(plan: &Plan, warnings: Vec<String>) -> Map<String, Value> {
    let mut metadata = Map::new();
    add_placeholders(&mut metadata, &plan.derived);
    add(&mut metadata, "config_syntax_warnings", placeholder::config_syntax_warnings(&plan.derived));
    add(&mut metadata, "volume_placeholders", volume_placeholders(plan));
    add(&mut metadata, "mounted_by", mounted_by(&plan.derived.volume_mounts));
    add_unresolved(&mut metadata, &plan.derived);
    add(&mut metadata, "warnings", [warnings, plan.warnings.clone()].concat());
    metadata
}

#[derive(Serialize)]
struct VolumePlaceholders {
    resolved: Vec<Resolved>,
    unresolved: Vec<mount::VolumePlaceholder>,
}

#[derive(Serialize)]
struct Resolved {
    mount_path: String,
    mount_type: MountKind,
    original_placeholder: String,
    resolved_to: String,
}

/// What became of the placeholders that the templates have instead of volumes.
fn volume_placeholders(plan: &Plan) -> Option<VolumePlaceholders> {
    let offered = merge_chain(&plan.chain()).volume_mounts;
    let mut resolved = Vec::new();
    for (path, original) in offered.iter().filter_map(|(path, mount)| Some((path, mount.as_ref()?))) {
        let now = plan.derived.volume_mounts.get(path).and_then(Option::as_ref);
        if let (Some(_), Some(placeholder), Some(now)) = (original.placeholder(), &original.source_id, now)
            && now.placeholder().is_none()
            && let Some(source_id) = &now.source_id
        {
            resolved.push(Resolved {
                mount_path: path.clone(),
                mount_type: now.kind,
                original_placeholder: placeholder.clone(),
                resolved_to: source_id.clone(),
            });
        }
    }
    let unresolved = mount::placeholders(&plan.derived.volume_mounts);
    (!resolved.is_empty() || !unresolved.is_empty()).then_some(VolumePlaceholders { resolved, unresolved })
}

fn mounted_by(mounts: &Mounts) -> BTreeMap<&str, &str> {
    let present = mounts.iter().filter_map(|(path, mount)| Some((path, mount.as_ref()?)));
    present.filter_map(|(path, mount)| Some((path.as_str(), mount.mounted_by.as_deref()?))).collect()
}
