//! Where each field of a derived pod comes from.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{TemplateDefinition, merge::merge_chain};
use crate::{
    PodDefinition, Resources, Status, StatusRequested, definition::DEFAULT_QUEUE, mount,
    resources::ResourcesPatch,
};

/// Everything that the questions below are answered from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The pod's id.
    pub pod_id: &'a str,
    /// Its status.
    pub status: Status,
    /// What the user wants it to be.
    pub status_requested: StatusRequested,
    /// What is stored.
    pub definition: &'a PodDefinition,
    /// `modified_fields`.
    pub ledger: &'a BTreeSet<String>,
    /// Its templates, closest first.
    pub chain: &'a [&'a TemplateDefinition],
    /// What it becomes with them.
    pub derived: &'a PodDefinition,
    /// The installation's resources of a pod that names none.
    pub defaults: &'a Resources,
}

/// What a user set on a pod, beside what its templates say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodOverrides {
    /// The pod's id.
    pub pod_id: String,
    /// The pinned template reference.
    pub template: Option<String>,
    /// The pod's status.
    pub status: Status,
    /// The names of the fields that the user set.
    pub modified_fields: BTreeSet<String>,
    /// The value of each of these fields; resources in one object.
    pub overrides: BTreeMap<String, Value>,
}

/// Where the fields of a pod come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodProvenance {
    /// The pod's id.
    pub pod_id: String,
    /// The pinned template reference.
    pub template: Option<String>,
    /// Whether the pod has a template.
    pub has_template: bool,
    /// The names of the fields that the user set.
    pub modified_fields: BTreeSet<String>,
    /// How many fields come from where.
    pub summary: Summary,
    /// By name of the field.
    pub fields: BTreeMap<&'static str, FieldOrigin>,
}

/// How many fields come from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// Set on the pod.
    pub pod: usize,
    /// Set by a template.
    pub template: usize,
    /// Set by nobody.
    pub default: usize,
}

/// Where a field comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The user set it on the pod.
    Pod,
    /// A template sets it to something else than the default.
    Template,
    /// Nobody set it.
    Default,
}

/// One field of [`PodProvenance`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldOrigin {
    /// Where the value comes from.
    pub source: Source,
    /// Whether the user set the field, or a part of it, on the pod.
    pub in_modified_fields: bool,
    /// Whether a template of the chain sets it.
    pub template_provides: bool,
    /// What is stored on the pod.
    pub pod_value: Value,
    /// What the templates say; null when they do not set it.
    pub template_value: Value,
    /// What a start uses.
    pub derived_value: Value,
}

/// The fields that [`provenance`] reports on.
pub const FIELDS: [&str; 15] = [
    "image",
    "command",
    "arguments",
    "environment_variables",
    "secret_map",
    "volume_mounts",
    "networking",
    "resources",
    "healthchecks",
    "compute_queue",
    "time_to_stop_default",
    "time_to_stop_instance",
    "description",
    "status_requested",
    "template_overrides",
];

/// The answer to "what did the user set on this pod?".
pub fn overrides(origin: &Origin<'_>) -> PodOverrides {
    let mut stored = members(&shown(origin.definition));
    stored.insert("pod_id".to_owned(), Value::from(origin.pod_id));
    stored.insert("status_requested".to_owned(), Value::from(origin.status_requested.as_str()));
    let mut overrides = BTreeMap::new();
    for name in origin.ledger {
        match name.split_once('.') {
            Some((field, part)) => {
                if let Some(value) = stored.get(field).and_then(|object| object.get(part)) {
                    let parts =
                        overrides.entry(field.to_owned()).or_insert_with(|| Value::Object(Map::new()));
                    parts[part] = value.clone();
                }
            }
            None => {
                if let Some(value) = stored.get(name) {
                    overrides.insert(name.clone(), value.clone());
                }
            }
        }
    }
    PodOverrides {
        pod_id: origin.pod_id.to_owned(),
        template: template(origin),
        status: origin.status,
        modified_fields: origin.ledger.clone(),
        overrides,
    }
}

/// The answer to "where does each field of this pod come from?".
pub fn provenance(origin: &Origin<'_>) -> PodProvenance {
    let templates = merge_chain(origin.chain);
    let provided = provided(&templates);
    let pod_values = members(&shown(origin.definition));
    let derived_values = members(&shown(origin.derived));
    let template_values = members(&templates.shown(false));
    let defaults = members(&PodDefinition::with_resources(origin.defaults.clone()));
    let value = |values: &Map<String, Value>, field: &str| match field {
        "status_requested" => Value::from(origin.status_requested.as_str()),
        _ => values.get(field).cloned().unwrap_or_default(),
    };
    let mut summary = Summary::default();
    let fields = FIELDS
        .into_iter()
        .map(|field| {
            let in_modified_fields = sets(origin.ledger, field);
            let template_provides = provided.contains(&field);
            let template_value = if template_provides { value(&template_values, field) } else { Value::Null };
            let source = if in_modified_fields {
                Source::Pod
            } else if template_provides && differs(&template_value, &value(&defaults, field)) {
                Source::Template
            } else {
                Source::Default
            };
            match source {
                Source::Pod => summary.pod += 1,
                Source::Template => summary.template += 1,
                Source::Default => summary.default += 1,
            }
            let origin = FieldOrigin {
                source,
                in_modified_fields,
                template_provides,
                pod_value: value(&pod_values, field),
                template_value,
                derived_value: value(&derived_values, field),
            };
            (field, origin)
        })
        .collect();
    PodProvenance {
        pod_id: origin.pod_id.to_owned(),
        template: template(origin),
        has_template: !origin.definition.template.is_empty(),
        modified_fields: origin.ledger.clone(),
        summary,
        fields,
    }
}

/// Whether the ledger has the field or a part of it.
pub(super) fn sets(ledger: &BTreeSet<String>, field: &str) -> bool {
    ledger.iter().any(|name| name.split('.').next() == Some(field))
}

fn template(origin: &Origin<'_>) -> Option<String> {
    Some(origin.definition.template.clone()).filter(|reference| !reference.is_empty())
}

/// The definition as an answer shows it.
fn shown(definition: &PodDefinition) -> PodDefinition {
    let mut shown = definition.clone();
    shown.volume_mounts.retain(|_, mount| mount.is_some());
    for mount in shown.volume_mounts.values_mut().flatten() {
        *mount = mount::redacted(mount);
    }
    for replaced in
        shown.template_overrides.iter_mut().flat_map(|overrides| overrides.volume_mounts.values_mut())
    {
        replaced.config_content = replaced.config_content.as_deref().map(mount::redaction);
        replaced.mounted_by = None;
    }
    shown
}

fn members(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(members)) => members,
        // Definitions are objects with text keys, which is all that JSON asks for.
        _ => Map::new(),
    }
}

fn provided(templates: &TemplateDefinition) -> Vec<&'static str> {
    [
        ("image", templates.image.is_some()),
        ("command", templates.command.is_some()),
        ("arguments", templates.arguments.is_some()),
        ("environment_variables", !templates.environment_variables.is_empty()),
        ("secret_map", !templates.secret_map.is_empty()),
        ("volume_mounts", templates.volume_mounts.values().any(Option::is_some)),
        ("networking", !templates.networking.is_empty()),
        ("resources", templates.resources != ResourcesPatch::default()),
        ("healthchecks", templates.healthchecks.is_some()),
        ("compute_queue", templates.compute_queue != DEFAULT_QUEUE),
        ("time_to_stop_default", templates.time_to_stop_default.is_some()),
        ("time_to_stop_instance", templates.time_to_stop_instance.is_some()),
        ("description", templates.description.is_some()),
    ]
    .into_iter()
    .filter_map(|(field, provides)| provides.then_some(field))
    .collect()
}

/// Whether the templates say something else than the default; of an object such as `resources` they may set a part.
fn differs(template: &Value, default: &Value) -> bool {
    match (template, default) {
        (Value::Object(template), Value::Object(default)) => {
            template.iter().any(|(key, value)| !value.is_null() && default.get(key) != Some(value))
        }
        _ => template != default,
    }
}

#[cfg(test)]
mod tests;
