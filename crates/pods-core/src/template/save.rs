//! Making a template definition of a pod.

use std::collections::{BTreeMap, BTreeSet};

use super::{TemplateDefinition, definition::DESCRIPTION_MAX};
use crate::{
    Networking, PodDefinition,
    definition::DEFAULT_QUEUE,
    mount::{MountKind, Mounts},
    placeholder::{self, Pattern},
    resources::ResourcesPatch,
};

/// What the user set on a pod, as the definition of a template tag that builds on the pod's own template.
///
/// A template is read by others. Each value of `secret_map` and each volume or snapshot becomes a placeholder that
/// whoever uses the template fills in, networking loses its addresses and custom domains, and credentials are not part
/// of a definition at all. Everything else goes along as it is, also a password that the user wrote into
/// `environment_variables`, a command or a file: the API names those places. `template_overrides` go in as plain
/// mounts (taken from `derived`) and secrets, because a template cannot have overrides.
pub fn as_template_definition(
    definition: &PodDefinition,
    ledger: &BTreeSet<String>,
    derived: &PodDefinition,
) -> TemplateDefinition {
    let own = |field: &str| ledger.contains(field);
    let mut secret_map = BTreeMap::new();
    let mut volume_mounts = Mounts::new();
    if let Some(overrides) = &definition.template_overrides {
        secret_map.extend(as_placeholders(&overrides.secret_map));
        for path in overrides.volume_mounts.keys() {
            if let Some(mount) = derived.volume_mounts.get(path) {
                volume_mounts.insert(path.clone(), mount.clone());
            }
        }
    }
    if own("secret_map") {
        secret_map.extend(as_placeholders(&definition.secret_map));
    }
    volume_mounts.extend(definition.volume_mounts.iter().map(|(path, mount)| (path.clone(), mount.clone())));
    TemplateDefinition {
        image: Some(definition.image.clone()).filter(|image| own("image") && !image.is_empty()),
        template: Some(definition.template.clone()).filter(|reference| !reference.is_empty()),
        description: own("description")
            .then(|| definition.description.chars().take(DESCRIPTION_MAX).collect()),
        command: definition.command.clone().filter(|_| own("command")),
        arguments: definition.arguments.clone().filter(|_| own("arguments")),
        environment_variables: only(own("environment_variables"), &definition.environment_variables),
        secret_map,
        volume_mounts: without_owner(volume_mounts),
        time_to_stop_default: own("time_to_stop_default").then_some(definition.time_to_stop_default),
        time_to_stop_instance: definition.time_to_stop_instance.filter(|_| own("time_to_stop_instance")),
        networking: without_addresses(only(own("networking"), &definition.networking)),
        resources: resources(definition, &own),
        compute_queue: Some(definition.compute_queue.clone())
            .filter(|_| own("compute_queue"))
            .unwrap_or_else(|| DEFAULT_QUEUE.to_owned()),
        healthchecks: definition.healthchecks.clone().filter(|_| own("healthchecks")),
    }
}

fn only<T: Clone>(own: bool, map: &BTreeMap<String, T>) -> BTreeMap<String, T> {
    if own { map.clone() } else { BTreeMap::new() }
}

fn as_placeholders(secret_map: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let placeholder = |key: &String, value: &String| match placeholder::whole(value) {
        Some(Pattern::Required { .. }) => value.clone(),
        _ => format!("${{:?Value of {key}}}"),
    };
    secret_map.iter().map(|(key, value)| (key.clone(), placeholder(key, value))).collect()
}

fn without_owner(mut mounts: Mounts) -> Mounts {
    for (path, mount) in &mut mounts {
        let Some(mount) = mount else { continue };
        mount.mounted_by = None;
        // A closing brace would end the placeholder.
        let path = path.replace('}', ")");
        match mount.kind {
            _ if mount.placeholder().is_some() => {}
            MountKind::TapisVolume => mount.source_id = Some(format!("${{:?Volume for {path}}}")),
            MountKind::TapisSnapshot => mount.source_id = Some(format!("${{:?Snapshot for {path}}}")),
            // A claim is part of the cluster, not of a user; a file has no source.
            MountKind::Pvc | MountKind::Ephemeral => {}
        }
    }
    mounts
}

fn without_addresses(mut networking: BTreeMap<String, Networking>) -> BTreeMap<String, Networking> {
    for entry in networking.values_mut() {
        entry.url.clear();
        entry.custom_domain.clear();
        entry.custom_domain_verified = false;
    }
    networking
}

fn resources(definition: &PodDefinition, own: &impl Fn(&str) -> bool) -> ResourcesPatch {
    let all = own("resources");
    let set = |name: &str, value: i32| (all || own(name)).then_some(value);
    let resources = &definition.resources;
    ResourcesPatch {
        cpu_request: set("resources.cpu_request", resources.cpu_request),
        cpu_limit: set("resources.cpu_limit", resources.cpu_limit),
        mem_request: set("resources.mem_request", resources.mem_request),
        mem_limit: set("resources.mem_limit", resources.mem_limit),
        ephemeral_storage_request: set(
            "resources.ephemeral_storage_request",
            resources.ephemeral_storage_request,
        ),
        ephemeral_storage_limit: set("resources.ephemeral_storage_limit", resources.ephemeral_storage_limit),
        gpus: set("resources.gpus", resources.gpus),
    }
}

#[cfg(test)]
mod tests;
