//! `modified_fields`, the ledger of what the user set: it beats the template (see [`crate::template::derive()`]).

use std::collections::BTreeSet;

use super::PodPatch;
use crate::{PodDefinition, input::Field};

impl PodPatch {
    /// The names of the fields that the body sets, for the ledger of a new pod. `resources` counts by its members.
    pub fn ledger_names(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = self
            .presence()
            .into_iter()
            .filter(|(_, present)| *present)
            .map(|(name, _)| name.to_owned())
            .collect();
        if let Field::Set(resources) = &self.resources {
            names.extend(resources.ledger_names());
        }
        names
    }

    /// The ledger after an update. What changed is added; in a pod with a template also what was set to the value
    /// it has, because from now on it beats the template. What `null` resets leaves, an empty `image` and `template`
    /// too, and of `resources` what the body does not name.
    pub fn ledger_after(
        &self,
        ledger: &BTreeSet<String>,
        before: &PodDefinition,
        after: &PodDefinition,
        status_changed: bool,
    ) -> BTreeSet<String> {
        let mut names = ledger.clone();
        if self.resources.is_present() {
            names.retain(|name| !is_resource(name));
        }
        for reset in self.reset_names() {
            names.remove(reset);
        }
        let sets = |name: &str| match name {
            "status_requested" => status_changed,
            name => !after.template.is_empty() || ledger.contains(name) || changed(name, before, after),
        };
        let set = self.ledger_names().into_iter().filter(|name| sets(name));
        let reset = self.reset_names();
        names.extend(set.filter(|name| !reset.contains(&name.as_str())));
        names
    }

    /// The names that leave the ledger, because the body gives the field back to the template or the default.
    pub fn reset_names(&self) -> Vec<&'static str> {
        [
            ("description", self.description == Field::Null),
            ("environment_variables", self.environment_variables == Field::Null),
            ("secret_map", self.secret_map == Field::Null),
            ("volume_mounts", self.volume_mounts == Field::Null),
            ("networking", self.networking == Field::Null),
            ("resources", self.resources == Field::Null),
            ("image", self.image.value().is_some_and(String::is_empty)),
            ("template", self.template.value().is_some_and(String::is_empty)),
            ("time_to_stop_instance", self.unset_time_to_stop),
        ]
        .into_iter()
        .filter_map(|(name, reset)| reset.then_some(name))
        .collect()
    }

    fn presence(&self) -> [(&'static str, bool); 15] {
        [
            ("image", self.image.is_present()),
            ("template", self.template.is_present()),
            ("description", self.description.is_present()),
            ("command", self.command.is_present()),
            ("arguments", self.arguments.is_present()),
            ("environment_variables", self.environment_variables.is_present()),
            ("secret_map", self.secret_map.is_present()),
            ("volume_mounts", self.volume_mounts.is_present()),
            ("template_overrides", self.template_overrides.is_present()),
            ("healthchecks", self.healthchecks.is_present()),
            ("networking", self.networking.is_present()),
            ("compute_queue", self.compute_queue.is_present()),
            ("time_to_stop_default", self.time_to_stop_default.is_present()),
            ("time_to_stop_instance", self.time_to_stop_instance.is_present()),
            ("status_requested", self.status_requested.is_present()),
        ]
    }
}

fn is_resource(name: &str) -> bool {
    name == "resources" || name.starts_with("resources.")
}

fn changed(name: &str, before: &PodDefinition, after: &PodDefinition) -> bool {
    match name {
        "image" => before.image != after.image,
        "template" => before.template != after.template,
        "description" => before.description != after.description,
        "command" => before.command != after.command,
        "arguments" => before.arguments != after.arguments,
        "environment_variables" => before.environment_variables != after.environment_variables,
        "secret_map" => before.secret_map != after.secret_map,
        "volume_mounts" => before.volume_mounts != after.volume_mounts,
        "template_overrides" => before.template_overrides != after.template_overrides,
        "healthchecks" => before.healthchecks != after.healthchecks,
        "networking" => before.networking != after.networking,
        "compute_queue" => before.compute_queue != after.compute_queue,
        "time_to_stop_default" => before.time_to_stop_default != after.time_to_stop_default,
        "time_to_stop_instance" => before.time_to_stop_instance != after.time_to_stop_instance,
        _ => before.resources != after.resources,
    }
}
