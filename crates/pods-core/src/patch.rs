//! `POST /pods` and `PUT /pods/{pod_id}`: what a body says, what it makes of a definition, and what the result must
//! satisfy once its templates are merged into it.
//!
//! A request goes through three steps, so that a template can supply what a rule demands:
//! 1. [`NewPod::read`] or [`PodPatch::read`]: the shape and grammar of each field.
//! 2. [`PodPatch::apply`]: the new stored definition. It checks nothing.
//! 3. [`check_stored`], and [`check_derived`] and [`check_image`], on the definition after the merge (see [`crate::template`]).

mod apply;
mod check;
mod ledger;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    Healthchecks, Networking, PodId, StatusRequested, TemplateOverrides, Tenant,
    input::{Field, Reader, Violations},
    mount::{self, Mounts, Owner},
    networking, placeholder,
    resources::ResourcesPatch,
};

pub use apply::Apply;
pub use check::{check_command, check_derived, check_environment, check_image, check_stored};
pub(crate) use check::{check_contents, check_sizes};

/// The fields that a body sets; each stands for the whole stored field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodPatch {
    /// See [`PodDefinition::image`](crate::PodDefinition::image); empty falls back to the template's.
    pub image: Field<String>,
    /// The reference as typed, not pinned; empty removes the template.
    pub template: Field<String>,
    /// See [`PodDefinition::description`](crate::PodDefinition::description).
    pub description: Field<String>,
    /// See [`PodDefinition::command`](crate::PodDefinition::command).
    pub command: Field<Vec<String>>,
    /// See [`PodDefinition::arguments`](crate::PodDefinition::arguments).
    pub arguments: Field<Vec<String>>,
    /// See [`PodDefinition::environment_variables`](crate::PodDefinition::environment_variables).
    pub environment_variables: Field<BTreeMap<String, String>>,
    /// See [`PodDefinition::secret_map`](crate::PodDefinition::secret_map).
    pub secret_map: Field<BTreeMap<String, String>>,
    /// See [`PodDefinition::volume_mounts`](crate::PodDefinition::volume_mounts).
    pub volume_mounts: Field<Mounts>,
    /// Whether `volume_mounts` adds to the stored mounts instead of replacing them.
    pub merge_mounts: bool,
    /// See [`PodDefinition::template_overrides`](crate::PodDefinition::template_overrides).
    pub template_overrides: Field<TemplateOverrides>,
    /// See [`PodDefinition::healthchecks`](crate::PodDefinition::healthchecks).
    pub healthchecks: Field<Healthchecks>,
    /// See [`PodDefinition::networking`](crate::PodDefinition::networking).
    pub networking: Field<BTreeMap<String, Networking>>,
    /// See [`PodDefinition::resources`](crate::PodDefinition::resources).
    pub resources: Field<ResourcesPatch>,
    /// See [`PodDefinition::compute_queue`](crate::PodDefinition::compute_queue).
    pub compute_queue: Field<String>,
    /// See [`PodDefinition::time_to_stop_default`](crate::PodDefinition::time_to_stop_default).
    pub time_to_stop_default: Field<i32>,
    /// See [`PodDefinition::time_to_stop_instance`](crate::PodDefinition::time_to_stop_instance).
    pub time_to_stop_instance: Field<i32>,
    /// Whether an update clears `time_to_stop_instance`: a form whose field was emptied sends an empty text.
    pub unset_time_to_stop: bool,
    /// What the user wants the pod to be.
    pub status_requested: Field<StatusRequested>,
}

/// The body of `POST /pods`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPod {
    /// The id of the new pod.
    pub pod_id: PodId,
    /// Everything else.
    pub patch: PodPatch,
}

/// Where a definition lives; it decides host names and name lengths.
#[derive(Debug, Clone, Copy)]
pub struct Home<'a> {
    /// The tenant of the pod.
    pub tenant: &'a Tenant,
    /// Host of the tenant's base URL, without scheme and port.
    pub tenant_host: &'a str,
    /// The pod's id.
    pub pod_id: &'a str,
}

impl NewPod {
    /// Reads the body of `POST /pods`.
    ///
    /// # Errors
    /// Every problem of the body.
    pub fn read(body: Value) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let mut reader = Reader::new(&["body"], body, &mut violations);
        let pod_id = reader.required_string("pod_id").and_then(|text| match PodId::parse(&text) {
            Ok(pod_id) => Some(pod_id),
            Err(problem) => {
                reader.rule("pod_id", problem.to_string());
                None
            }
        });
        let patch = PodPatch::read_members(&mut reader);
        if patch.status_requested == Field::Set(StatusRequested::Restart) {
            reader.rule("status_requested", "a new pod can be ON or OFF");
        }
        reader.finish();
        match pod_id {
            Some(pod_id) => violations.or(Self { pod_id, patch }),
            None => Err(violations),
        }
    }
}

impl PodPatch {
    /// Reads the body of `PUT /pods/{pod_id}`.
    ///
    /// # Errors
    /// Every problem of the body.
    pub fn read(body: Value) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let mut reader = Reader::new(&["body"], body, &mut violations);
        let unset_time_to_stop = reader.is_blank("time_to_stop_instance");
        let patch = Self { unset_time_to_stop, ..Self::read_members(&mut reader) };
        reader.finish();
        violations.or(patch)
    }

    /// Reads the body of `POST /pods/{pod_id}/volumes`: mounts that are added to the stored ones, path by path.
    ///
    /// # Errors
    /// Every problem of the body.
    pub fn read_volumes(body: Value) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let mut reader = Reader::new(&["body"], body, &mut violations);
        let volume_mounts = reader.object("volume_mounts", read_mounts);
        match volume_mounts {
            Field::Absent if !reader.is_noted("volume_mounts") => {
                reader.push("volume_mounts", "Field required");
            }
            Field::Null => reader.push("volume_mounts", "Input should be a valid dictionary"),
            Field::Absent | Field::Set(_) => {}
        }
        reader.finish();
        violations.or(Self { volume_mounts, merge_mounts: true, ..Self::default() })
    }

    fn read_members(r: &mut Reader<'_>) -> Self {
        let mut patch = Self {
            image: r.string("image"),
            template: r.string("template"),
            description: r.string("description"),
            command: r.strings("command"),
            arguments: r.strings("arguments"),
            environment_variables: r.string_map("environment_variables"),
            secret_map: r.string_map("secret_map"),
            volume_mounts: r.object("volume_mounts", read_mounts),
            template_overrides: r.object("template_overrides", TemplateOverrides::read),
            healthchecks: r.object("healthchecks", Healthchecks::read),
            networking: r.object("networking", networking::read),
            resources: r.object("resources", ResourcesPatch::read),
            compute_queue: r.string("compute_queue"),
            time_to_stop_default: r.integer("time_to_stop_default"),
            time_to_stop_instance: r.integer("time_to_stop_instance"),
            ..Self::default()
        };
        patch.refuse_nulls(r);
        if let Field::Set(map) = &patch.secret_map {
            let (place, violations) = r.nested("secret_map");
            let place: Vec<&str> = place.iter().map(String::as_str).collect();
            placeholder::check_secret_map(&place, map, Owner::Pod, violations);
        }
        patch.status_requested = match r.string("status_requested") {
            Field::Set(text) => match text.parse() {
                Ok(value) => Field::Set(value),
                Err(_) => {
                    r.rule("status_requested", "must be ON, OFF or RESTART");
                    Field::Absent
                }
            },
            Field::Null => {
                r.push("status_requested", "Input should be ON, OFF or RESTART");
                Field::Absent
            }
            Field::Absent => Field::Absent,
        };
        patch
    }

    /// `null` resets a field, or is a value of it; these have neither.
    fn refuse_nulls(&self, r: &mut Reader<'_>) {
        for (name, is_null, problem) in [
            ("image", self.image == Field::Null, "Input should be a valid string"),
            ("template", self.template == Field::Null, "Input should be a valid string"),
            ("compute_queue", self.compute_queue == Field::Null, "Input should be a valid string"),
            (
                "time_to_stop_default",
                self.time_to_stop_default == Field::Null,
                "Input should be a valid integer",
            ),
        ] {
            if is_null {
                r.push(name, problem);
            }
        }
    }

    /// Whether the body names any field of the definition.
    pub fn touches_definition(&self) -> bool {
        *self != Self { status_requested: self.status_requested.clone(), ..Self::default() }
    }

    /// Whether the body may change which image is run; only then the list of allowed images is asked.
    pub fn touches_image(&self) -> bool {
        self.image.is_present() || self.template.is_present()
    }

    /// The reference that the body names, which has to be resolved and pinned for [`Apply::template`].
    pub fn template_reference(&self) -> Option<&str> {
        self.template.value().map(String::as_str).filter(|reference| !reference.is_empty())
    }
}

fn read_mounts(place: &[&str], value: Value, violations: &mut Violations) -> Mounts {
    mount::read(place, value, Owner::Pod, violations)
}

#[cfg(test)]
mod tests;
