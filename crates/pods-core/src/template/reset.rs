//! Taking back what a user set on a pod.

use std::collections::BTreeSet;

use super::{TemplateDefinition, derive, provenance::sets};
use crate::{PodDefinition, Resources, patch::Home};

/// The fields that can be reset to what the template says.
pub const RESETTABLE: [&str; 12] = [
    "volume_mounts",
    "environment_variables",
    "secret_map",
    "networking",
    "resources",
    "template_overrides",
    "healthchecks",
    "command",
    "arguments",
    "image",
    "description",
    "compute_queue",
];

/// Why fields cannot be reset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResetError {
    /// There is nothing to go back to.
    #[error("this pod has no template, so there is nothing to reset its fields to; change them with PUT")]
    NoTemplate,
    /// No field is named.
    #[error("fields must name at least one of: {}", RESETTABLE.join(", "))]
    NoFields,
    /// A field that does not exist or belongs to the pod alone.
    #[error("field \"{0}\" cannot be reset; fields can be: {names}", names = RESETTABLE.join(", "))]
    Field(String),
}

/// Forgets that the user set `fields` and stores what the templates say instead. Mounts are stored without those of
/// the templates, so they become empty. A result that equals the input means that there was nothing to reset.
///
/// # Errors
/// [`ResetError`].
pub fn reset_fields(
    definition: &PodDefinition,
    ledger: &BTreeSet<String>,
    fields: &[String],
    chain: &[&TemplateDefinition],
    home: Home<'_>,
    defaults: &Resources,
) -> Result<(PodDefinition, BTreeSet<String>), ResetError> {
    if chain.is_empty() {
        return Err(ResetError::NoTemplate);
    }
    if fields.is_empty() {
        return Err(ResetError::NoFields);
    }
    if let Some(unknown) = fields.iter().find(|field| !RESETTABLE.contains(&field.as_str())) {
        return Err(ResetError::Field(unknown.chars().take(60).collect()));
    }
    let has_something = |field: &&String| {
        sets(ledger, field)
            || field.as_str() == "volume_mounts" && !definition.volume_mounts.is_empty()
            || field.as_str() == "template_overrides" && definition.template_overrides.is_some()
    };
    let fields: Vec<&String> = fields.iter().filter(has_something).collect();
    let mut reset = definition.clone();
    let mut ledger = ledger.clone();
    let fresh = PodDefinition::with_resources(defaults.clone());
    for field in &fields {
        copy(field, &fresh, &mut reset);
        ledger.retain(|name| name.split('.').next() != Some(field.as_str()));
    }
    let derived = derive(&reset, &ledger, chain, home).definition;
    for field in fields {
        if field != "volume_mounts" {
            copy(field, &derived, &mut reset);
        }
    }
    Ok((reset, ledger))
}

/// Sets every field that the user did not set to its default. Called when the template of a pod changes, so that no
/// value of the old one, stored by [`reset_fields`], stays behind.
pub fn unset_to_defaults(definition: &mut PodDefinition, ledger: &BTreeSet<String>, defaults: &Resources) {
    let fresh = PodDefinition::with_resources(defaults.clone());
    let own_mounts = ["volume_mounts", "template_overrides", "resources"];
    for field in RESETTABLE.into_iter().filter(|field| !own_mounts.contains(field)) {
        if !ledger.contains(field) {
            copy(field, &fresh, definition);
        }
    }
    let (resources, fresh) = (&mut definition.resources, fresh.resources);
    for (name, value, default) in [
        ("resources.cpu_request", &mut resources.cpu_request, fresh.cpu_request),
        ("resources.cpu_limit", &mut resources.cpu_limit, fresh.cpu_limit),
        ("resources.mem_request", &mut resources.mem_request, fresh.mem_request),
        ("resources.mem_limit", &mut resources.mem_limit, fresh.mem_limit),
        (
            "resources.ephemeral_storage_request",
            &mut resources.ephemeral_storage_request,
            fresh.ephemeral_storage_request,
        ),
        (
            "resources.ephemeral_storage_limit",
            &mut resources.ephemeral_storage_limit,
            fresh.ephemeral_storage_limit,
        ),
        ("resources.gpus", &mut resources.gpus, fresh.gpus),
    ] {
        if !ledger.contains("resources") && !ledger.contains(name) {
            *value = default;
        }
    }
}

fn copy(field: &str, from: &PodDefinition, to: &mut PodDefinition) {
    match field {
        "volume_mounts" => to.volume_mounts.clone_from(&from.volume_mounts),
        "environment_variables" => to.environment_variables.clone_from(&from.environment_variables),
        "secret_map" => to.secret_map.clone_from(&from.secret_map),
        "networking" => to.networking.clone_from(&from.networking),
        "resources" => to.resources.clone_from(&from.resources),
        "template_overrides" => to.template_overrides.clone_from(&from.template_overrides),
        "healthchecks" => to.healthchecks.clone_from(&from.healthchecks),
        "command" => to.command.clone_from(&from.command),
        "arguments" => to.arguments.clone_from(&from.arguments),
        "image" => to.image.clone_from(&from.image),
        "description" => to.description.clone_from(&from.description),
        "compute_queue" => to.compute_queue.clone_from(&from.compute_queue),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
