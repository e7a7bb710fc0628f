//! The definition that a template tag holds: the fields of a pod, each of which it may leave unset.
//!
//! A field that equals its unset value (`null`, `{}`, queue `default`, a resource of 0 other than `gpus`) sets nothing:
//! a template cannot force them upon a pod.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{TemplateReference, merge::merge_chain};
use crate::{
    Networking, PodPolicy,
    definition::DEFAULT_QUEUE,
    healthcheck::Healthchecks,
    image::ImageReference,
    input::{Field, Reader, Violations},
    mount::{self, Mounts, Owner},
    networking, patch, placeholder,
    resources::{Resources, ResourcesPatch},
    time_to_stop,
};

/// Longest description in a template's definition, in characters.
pub const DESCRIPTION_MAX: usize = 255;

/// The `pod_definition` of a template tag. A field that equals its unset value sets nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TemplateDefinition {
    /// The container image.
    pub image: Option<String>,
    /// The template that this one builds on, pinned.
    pub template: Option<String>,
    /// What the pod is for.
    pub description: Option<String>,
    /// Replaces the image's entrypoint.
    pub command: Option<Vec<String>>,
    /// Replaces the image's command.
    pub arguments: Option<Vec<String>>,
    /// Environment of the container.
    pub environment_variables: BTreeMap<String, String>,
    /// Named values and placeholders.
    pub secret_map: BTreeMap<String, String>,
    /// Mounts by path; `None` removes the one of a deeper template.
    pub volume_mounts: Mounts,
    /// Seconds that each run may last; -1 is unlimited.
    pub time_to_stop_default: Option<i32>,
    /// The same for the current run only.
    pub time_to_stop_instance: Option<i32>,
    /// Networking entries by name.
    pub networking: BTreeMap<String, Networking>,
    /// Resources; what is `None` is not set.
    pub resources: ResourcesPatch,
    /// Name of the compute queue; `default` sets nothing.
    pub compute_queue: String,
    /// Probes.
    pub healthchecks: Option<Healthchecks>,
}

impl Default for TemplateDefinition {
    fn default() -> Self {
        Self {
            image: None,
            template: None,
            description: None,
            command: None,
            arguments: None,
            environment_variables: BTreeMap::new(),
            secret_map: BTreeMap::new(),
            volume_mounts: BTreeMap::new(),
            time_to_stop_default: None,
            time_to_stop_instance: None,
            networking: BTreeMap::new(),
            resources: ResourcesPatch::default(),
            compute_queue: DEFAULT_QUEUE.to_owned(),
            healthchecks: None,
        }
    }
}

impl TemplateDefinition {
    /// Reads the `pod_definition` object of a body and checks every rule that needs nothing but the object itself.
    /// `template` is still what the user wrote: whoever stores the definition resolves and pins it.
    pub fn read(place: &[&str], value: Value, violations: &mut Violations) -> Self {
        let mut reader = Reader::new(place, value, violations);
        let r = &mut reader;
        let definition = Self {
            image: not_empty(r.string("image")),
            template: not_empty(r.string("template")),
            description: given(r.string("description")),
            command: given(r.strings("command")),
            arguments: given(r.strings("arguments")),
            environment_variables: given(r.string_map("environment_variables")).unwrap_or_default(),
            secret_map: given(r.string_map("secret_map")).unwrap_or_default(),
            volume_mounts: given(r.object("volume_mounts", |place, value, violations| {
                mount::read(place, value, Owner::Template, violations)
            }))
            .unwrap_or_default(),
            time_to_stop_default: given(r.integer("time_to_stop_default")),
            time_to_stop_instance: given(r.integer("time_to_stop_instance")),
            networking: given(r.object("networking", networking::read_template)).unwrap_or_default(),
            resources: given(r.object("resources", ResourcesPatch::read)).unwrap_or_default(),
            compute_queue: not_empty(r.string("compute_queue")).unwrap_or_else(|| DEFAULT_QUEUE.to_owned()),
            healthchecks: given(r.object("healthchecks", Healthchecks::read)),
        };
        reader.finish();
        definition.check_fields(place, violations);
        definition
    }

    fn check_fields(&self, place: &[&str], v: &mut Violations) {
        let at = |field| [place, &[field]].concat();
        if let Some(Err(problem)) = self.image.as_deref().map(ImageReference::parse) {
            v.rule(&at("image"), problem.to_string());
        }
        if let Some(Err(problem)) = self.template.as_deref().map(TemplateReference::parse) {
            v.rule(&at("template"), problem.to_string());
        }
        if self.description.as_ref().is_some_and(|text| !text.is_ascii() || text.len() > DESCRIPTION_MAX) {
            let rule = format!("description must be ASCII of at most {DESCRIPTION_MAX} characters");
            v.rule(&at("description"), rule);
        }
        for (field, list) in [("command", &self.command), ("arguments", &self.arguments)] {
            patch::check_command(&at(field), list.as_deref().unwrap_or_default(), v);
        }
        patch::check_environment(&at("environment_variables"), &self.environment_variables, v);
        placeholder::check_secret_map(&at("secret_map"), &self.secret_map, Owner::Template, v);
        for (field, seconds) in [
            ("time_to_stop_default", self.time_to_stop_default),
            ("time_to_stop_instance", self.time_to_stop_instance),
        ] {
            if seconds.is_some_and(|seconds| !time_to_stop::valid(seconds)) {
                v.rule(&at(field), format!("{field} must be -1 (unlimited) or at least 300 seconds"));
            }
        }
        let queue_character = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if self.compute_queue.len() > 64 || !self.compute_queue.chars().all(queue_character) {
            v.rule(&at("compute_queue"), "compute_queue must be at most 64 lower-case letters and digits");
        }
    }

    /// Checks the rules that need more than the object: the bounds of the installation, and that every
    /// `${pods:secrets:KEY}` names a key of this definition or of one that it builds on (`deeper`, closest first).
    pub fn check(
        &self,
        place: &[&str],
        deeper: &[&TemplateDefinition],
        policy: &PodPolicy,
        v: &mut Violations,
    ) {
        let filled = self.resources.filled(&policy.resources.defaults());
        policy.resources.check(&filled, &[place, &["resources"]].concat(), v);
        let chain: Vec<&TemplateDefinition> = std::iter::once(self).chain(deeper.iter().copied()).collect();
        let merged = merge_chain(&chain);
        patch::check_sizes(place, &merged.secret_map, &merged.volume_mounts, v);
        for unknown in placeholder::unknown_references(
            &self.environment_variables,
            &self.volume_mounts,
            &merged.secret_map,
        ) {
            v.rule(
                &[place, &[unknown.place.as_str()]].concat(),
                format!(
                    "\"${{pods:secrets:{key}}}\" names no key of secret_map; add {key} to the secret_map of this \
                     definition or of a template that it builds on",
                    key = unknown.key
                ),
            );
        }
    }

    /// What an answer shows: no removed mounts, and contents of configuration files only when they are asked for.
    #[must_use]
    pub fn shown(&self, include_configs: bool) -> Self {
        let mut shown = self.clone();
        shown.volume_mounts.retain(|_, mount| mount.is_some());
        if !include_configs {
            shown.redact_contents();
        }
        shown
    }

    /// Drops the contents of configuration files, of which only the length is left, for lists.
    pub fn redact_contents(&mut self) {
        mount::redact(&mut self.volume_mounts);
    }
}

fn given<T>(field: Field<T>) -> Option<T> {
    match field {
        Field::Set(value) => Some(value),
        Field::Absent | Field::Null => None,
    }
}

fn not_empty(field: Field<String>) -> Option<String> {
    given(field).filter(|text| !text.is_empty())
}

impl ResourcesPatch {
    /// What is set, without the zeros that set nothing.
    #[must_use]
    pub(super) fn set(&self) -> Self {
        let set = |value: Option<i32>| value.filter(|value| *value != 0);
        Self {
            cpu_request: set(self.cpu_request),
            cpu_limit: set(self.cpu_limit),
            mem_request: set(self.mem_request),
            mem_limit: set(self.mem_limit),
            ephemeral_storage_request: set(self.ephemeral_storage_request),
            ephemeral_storage_limit: set(self.ephemeral_storage_limit),
            gpus: self.gpus,
        }
    }

    /// Every field filled in. A request or limit that is not set takes its default, or follows the side that is set
    /// where the default would leave the request above the limit.
    pub(super) fn filled(&self, defaults: &Resources) -> Resources {
        self.filled_after(defaults, self)
    }

    /// The same, where only the sides that `leading` sets are followed.
    pub(super) fn filled_after(&self, defaults: &Resources, leading: &Self) -> Resources {
        let (set, leading) = (self.set(), leading.set());
        let mut filled = set.over(defaults.clone());
        for (request, limit, request_set, limit_set) in [
            (
                &mut filled.cpu_request,
                &mut filled.cpu_limit,
                (set.cpu_request, leading.cpu_request),
                (set.cpu_limit, leading.cpu_limit),
            ),
            (
                &mut filled.mem_request,
                &mut filled.mem_limit,
                (set.mem_request, leading.mem_request),
                (set.mem_limit, leading.mem_limit),
            ),
        ] {
            follow(request, limit, request_set, limit_set);
        }
        // -1 leaves a side of ephemeral storage unset, which is below every limit and above every request.
        if filled.ephemeral_storage_limit >= 0 {
            follow(
                &mut filled.ephemeral_storage_request,
                &mut filled.ephemeral_storage_limit,
                (set.ephemeral_storage_request, leading.ephemeral_storage_request),
                (set.ephemeral_storage_limit, leading.ephemeral_storage_limit),
            );
        }
        filled
    }
}

/// A side: what is set, and what of that is followed.
type Side = (Option<i32>, Option<i32>);

fn follow(request: &mut i32, limit: &mut i32, request_side: Side, limit_side: Side) {
    if *request > *limit {
        match (request_side, limit_side) {
            ((_, Some(_)), (None, _)) => *limit = *request,
            ((None, _), (_, Some(_))) => *request = *limit,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
