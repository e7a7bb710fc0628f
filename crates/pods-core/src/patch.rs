//! `POST /pods` and `PUT /pods/{pod_id}`: what a body says, and what it makes of a definition.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    Networking, PodDefinition, PodId, PodPolicy, StatusRequested, Tenant,
    definition::DEFAULT_QUEUE,
    ids::{entry_host, name_problems},
    input::{Field, Reader, Violations},
    limits::{COMMAND_BYTES_MAX, DESCRIPTION_MAX, ENVIRONMENT_BYTES_MAX, ENVIRONMENT_ENTRIES_MAX},
    networking,
    resources::ResourcesPatch,
    time_to_stop,
};

/// The fields that a body sets; each stands for the whole stored field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodPatch {
    /// See [`PodDefinition::image`].
    pub image: Field<String>,
    /// See [`PodDefinition::description`].
    pub description: Field<String>,
    /// See [`PodDefinition::command`].
    pub command: Field<Vec<String>>,
    /// See [`PodDefinition::arguments`].
    pub arguments: Field<Vec<String>>,
    /// See [`PodDefinition::environment_variables`].
    pub environment_variables: Field<BTreeMap<String, String>>,
    /// See [`PodDefinition::networking`].
    pub networking: Field<BTreeMap<String, Networking>>,
    /// See [`PodDefinition::resources`].
    pub resources: Field<ResourcesPatch>,
    /// See [`PodDefinition::compute_queue`].
    pub compute_queue: Field<String>,
    /// See [`PodDefinition::time_to_stop_default`].
    pub time_to_stop_default: Field<i32>,
    /// See [`PodDefinition::time_to_stop_instance`].
    pub time_to_stop_instance: Field<i32>,
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
        let patch = Self::read_members(&mut reader);
        reader.finish();
        violations.or(patch)
    }

    fn read_members(r: &mut Reader<'_>) -> Self {
        let mut patch = Self {
            image: r.string("image"),
            description: r.string("description"),
            command: r.strings("command"),
            arguments: r.strings("arguments"),
            environment_variables: r.string_map("environment_variables"),
            networking: Field::Absent,
            resources: Field::Absent,
            compute_queue: r.string("compute_queue"),
            time_to_stop_default: r.integer("time_to_stop_default"),
            time_to_stop_instance: r.integer("time_to_stop_instance"),
            status_requested: Field::Absent,
        };
        let text = "Input should be a valid string";
        let integer = "Input should be a valid integer";
        for (name, is_null, problem) in [
            ("image", patch.image == Field::Null, text),
            ("compute_queue", patch.compute_queue == Field::Null, text),
            ("time_to_stop_default", patch.time_to_stop_default == Field::Null, integer),
        ] {
            if is_null {
                r.push(name, problem);
            }
        }
        patch.networking = nested(r, "networking", networking::read);
        patch.resources = nested(r, "resources", ResourcesPatch::read);
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

    /// Whether the body names any field of the definition.
    pub fn touches_definition(&self) -> bool {
        *self != Self { status_requested: self.status_requested.clone(), ..Self::default() }
    }

    /// The names of the fields that the body sets, for the ledger `modified_fields`.
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

    /// The names that leave the ledger because the body resets them with `null`.
    pub fn reset_names(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        let mut note = |name, is_null: bool| {
            if is_null {
                names.push(name);
            }
        };
        note("description", self.description == Field::Null);
        note("environment_variables", self.environment_variables == Field::Null);
        note("networking", self.networking == Field::Null);
        note("resources", self.resources == Field::Null);
        names
    }

    fn presence(&self) -> [(&'static str, bool); 10] {
        [
            ("image", self.image.is_present()),
            ("description", self.description.is_present()),
            ("command", self.command.is_present()),
            ("arguments", self.arguments.is_present()),
            ("environment_variables", self.environment_variables.is_present()),
            ("networking", self.networking.is_present()),
            ("compute_queue", self.compute_queue.is_present()),
            ("time_to_stop_default", self.time_to_stop_default.is_present()),
            ("time_to_stop_instance", self.time_to_stop_instance.is_present()),
            ("status_requested", self.status_requested.is_present()),
        ]
    }

    /// The definition that results from applying the body over `stored` (a pod) or over the defaults (a create).
    ///
    /// # Errors
    /// Every rule that the result breaks.
    pub fn apply(
        &self,
        stored: &PodDefinition,
        home: Home<'_>,
        policy: &PodPolicy,
    ) -> Result<PodDefinition, Violations> {
        let mut v = Violations::default();
        let defaults = PodDefinition::with_resources(policy.resources.defaults());
        let mut result = PodDefinition {
            image: merged(&self.image, &stored.image, String::new),
            description: merged(&self.description, &stored.description, String::new),
            command: optional(&self.command, &stored.command),
            arguments: optional(&self.arguments, &stored.arguments),
            environment_variables: merged(
                &self.environment_variables,
                &stored.environment_variables,
                BTreeMap::new,
            ),
            networking: merged(&self.networking, &stored.networking, networking::default_entries),
            resources: match &self.resources {
                Field::Absent => stored.resources.clone(),
                Field::Null => defaults.resources.clone(),
                Field::Set(patch) => patch.over(defaults.resources.clone()),
            },
            compute_queue: merged(&self.compute_queue, &stored.compute_queue, || DEFAULT_QUEUE.to_owned()),
            time_to_stop_default: merged(&self.time_to_stop_default, &stored.time_to_stop_default, || {
                time_to_stop::DEFAULT_SECONDS
            }),
            time_to_stop_instance: optional(&self.time_to_stop_instance, &stored.time_to_stop_instance),
        };
        for (name, entry) in &mut result.networking {
            entry.url = entry_host(home.pod_id, name, home.tenant_host);
        }
        check(&result, home, policy, &mut v);
        v.or(result)
    }
}

fn nested<T>(r: &mut Reader<'_>, key: &str, read: fn(&[&str], Value, &mut Violations) -> T) -> Field<T> {
    match r.take(key) {
        Field::Absent => Field::Absent,
        Field::Null => Field::Null,
        Field::Set(value) => {
            let (place, violations) = r.nested(key);
            let place: Vec<&str> = place.iter().map(String::as_str).collect();
            Field::Set(read(&place, value, violations))
        }
    }
}

fn merged<T: Clone>(field: &Field<T>, stored: &T, default: impl FnOnce() -> T) -> T {
    match field {
        Field::Absent => stored.clone(),
        Field::Null => default(),
        Field::Set(value) => value.clone(),
    }
}

fn optional<T: Clone>(field: &Field<T>, stored: &Option<T>) -> Option<T> {
    match field {
        Field::Absent => stored.clone(),
        Field::Null => None,
        Field::Set(value) => Some(value.clone()),
    }
}

fn check(pod: &PodDefinition, home: Home<'_>, policy: &PodPolicy, v: &mut Violations) {
    if pod.image.is_empty() {
        v.rule(&["image"], "image is required");
    } else if let Err(problem) = policy.check_image(&pod.image) {
        v.rule(&["image"], problem);
    }
    if !pod.description.is_ascii() || pod.description.len() > DESCRIPTION_MAX {
        v.rule(
            &["description"],
            format!("description must be ASCII of at most {DESCRIPTION_MAX} characters"),
        );
    }
    for (name, list) in [("command", &pod.command), ("arguments", &pod.arguments)] {
        let bytes: usize = list.iter().flatten().map(|item| item.len() + 1).sum();
        if bytes > COMMAND_BYTES_MAX {
            v.rule(&[name], format!("{name} has {bytes} bytes, at most {COMMAND_BYTES_MAX} are possible"));
        }
    }
    check_environment(&pod.environment_variables, v);
    for (field, seconds) in [
        ("time_to_stop_default", Some(pod.time_to_stop_default)),
        ("time_to_stop_instance", pod.time_to_stop_instance),
    ] {
        if seconds.is_some_and(|seconds| !time_to_stop::valid(seconds)) {
            v.rule(&[field], format!("{field} must be -1 (unlimited) or at least 300 seconds"));
        }
    }
    policy.resources.check(&pod.resources, &["resources"], v);
    if !policy.compute_queues.contains(&pod.compute_queue) {
        let known = policy.compute_queues.join(", ");
        v.rule(&["compute_queue"], format!("compute_queue must be one of: {known}"));
    }
    for problem in name_problems(home.tenant, home.pod_id, pod.networking.keys().map(String::as_str)) {
        v.rule(&["pod_id"], problem);
    }
}

fn check_environment(environment: &BTreeMap<String, String>, v: &mut Violations) {
    let place = &["environment_variables"];
    let name_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let legal = |name: &str| {
        !name.is_empty()
            && name.len() <= 253
            && name.chars().all(name_character)
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name != "."
            && !name.starts_with("..")
    };
    if let Some(bad) = environment.keys().find(|name| !legal(name)) {
        let bad: String = bad.chars().take(60).collect();
        let rule = "names must be letters, digits, _ . - and not start with a digit";
        v.rule(place, format!("\"{bad}\" is no name that Kubernetes accepts: {rule}"));
    }
    let bytes: usize = environment.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    if environment.len() > ENVIRONMENT_ENTRIES_MAX || bytes > ENVIRONMENT_BYTES_MAX {
        v.rule(
            place,
            format!(
                "at most {ENVIRONMENT_ENTRIES_MAX} variables of {ENVIRONMENT_BYTES_MAX} bytes are possible"
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{image::ImageReference, resources::ResourceLimits};

    fn policy() -> PodPolicy {
        PodPolicy {
            resources: ResourceLimits::default(),
            compute_queues: vec!["default".into(), "gpu".into()],
            images: vec![ImageReference::parse("busybox").unwrap()],
        }
    }

    fn home(tenant: &Tenant) -> Home<'_> {
        Home { tenant, tenant_host: "dev.localhost", pod_id: "docpod" }
    }

    fn create(body: Value) -> Result<PodDefinition, Vec<String>> {
        let new = NewPod::read(body).map_err(|v| v.0)?;
        let tenant = Tenant::new("dev", "dev");
        let policy = policy();
        let defaults = PodDefinition::with_resources(policy.resources.defaults());
        new.patch.apply(&defaults, home(&tenant), &policy).map_err(|v| v.0)
    }

    fn update(stored: &PodDefinition, body: Value) -> Result<PodDefinition, Vec<String>> {
        let patch = PodPatch::read(body).map_err(|v| v.0)?;
        let tenant = Tenant::new("dev", "dev");
        patch.apply(stored, home(&tenant), &policy()).map_err(|v| v.0)
    }

    #[test]
    fn a_small_body_becomes_a_full_definition() {
        let pod = create(json!({"pod_id": "docpod", "image": "busybox"})).unwrap();
        assert_eq!(pod.networking["default"].url, "docpod.pods.dev.localhost");
        assert_eq!(pod.time_to_stop_default, 43_200);
        assert_eq!(pod.resources.cpu_request, 250);
    }

    #[test]
    fn the_untouched_form_of_tapis_ui_is_accepted() {
        let pod = create(json!({
            "pod_id": "docpod", "image": "busybox", "time_to_stop_default": "3600",
            "environment_variables": {"Key1": "Value1"},
            "networking": {"default": {"port": "5000", "protocol": "http"}},
            "resources": {"cpu_request": "", "cpu_limit": "", "mem_request": "", "mem_limit": "", "gpus": ""}
        }))
        .unwrap();
        assert_eq!(pod.time_to_stop_default, 3600);
        assert_eq!(pod.resources, Resources::default());
    }

    use crate::Resources;

    #[test]
    fn every_rule_of_a_create_is_reported() {
        let cases = [
            (json!({}), "body, pod_id: Field required"),
            (json!({"pod_id": "X"}), "body, pod_id: Value error, pod_id must have 3 to 64"),
            (json!({"pod_id": "docpod"}), "image: Value error, image is required"),
            (json!({"pod_id": "docpod", "image": "evil/x"}), "not on the list of allowed images"),
            (json!({"pod_id": "docpod", "image": "a:b:c"}), "not a valid reference"),
            (json!({"pod_id": "docpod", "image": 7}), "body, image: Input should be a valid string"),
            (
                json!({"pod_id": "docpod", "image": "busybox", "description": "ä"}),
                "description must be ASCII",
            ),
            (json!({"pod_id": "docpod", "image": "busybox", "status_requested": "on"}), "must be ON, OFF"),
            (
                json!({"pod_id": "docpod", "image": "busybox", "status_requested": "RESTART"}),
                "can be ON or OFF",
            ),
            (json!({"pod_id": "docpod", "image": "busybox", "time_to_stop_instance": 0}), "at least 300"),
            (json!({"pod_id": "docpod", "image": "busybox", "compute_queue": "x"}), "one of: default, gpu"),
            (
                json!({"pod_id": "docpod", "image": "busybox", "environment_variables": {"1A": "x"}}),
                "no name that",
            ),
            (json!({"pod_id": "docpod", "image": "busybox", "permissions": []}), "Extra inputs"),
            (json!({"pod_id": "docpod", "image": null}), "body, image: Input should be a valid string"),
            (
                json!({"pod_id": "docpod", "image": "busybox", "compute_queue": null}),
                "body, compute_queue: Input",
            ),
            (json!({"pod_id": "docpod", "time_to_stop_default": null}), "body, time_to_stop_default: Input"),
            (json!([1]), "expected a JSON object"),
        ];
        for (body, expected) in cases {
            let problems = create(body.clone()).unwrap_err();
            assert!(problems.iter().any(|line| line.contains(expected)), "{body}: {problems:?}");
        }
    }

    #[test]
    fn an_update_replaces_whole_fields_and_null_resets() {
        let stored = create(json!({
            "pod_id": "docpod", "image": "busybox", "description": "old", "command": ["sleep", "5"],
            "environment_variables": {"A": "1", "B": "2"}, "networking": {"api": {"port": 80}}
        }))
        .unwrap();
        let changed = update(&stored, json!({"environment_variables": {"A": "3"}})).unwrap();
        assert_eq!(changed.environment_variables, BTreeMap::from([("A".into(), "3".into())]));
        assert_eq!(changed.description, "old");
        let body = json!({"description": null, "command": null, "networking": null});
        let reset = update(&stored, body.clone()).unwrap();
        assert_eq!((reset.description.as_str(), reset.command.as_ref()), ("", None));
        assert!(reset.networking.contains_key("default"));
        assert_eq!(PodPatch::read(body).unwrap().reset_names(), ["description", "networking"]);
        assert_eq!(update(&stored, json!({})).unwrap(), stored);
        assert!(update(&stored, json!({"pod_id": "other"})).unwrap_err()[0].contains("Extra inputs"));
    }

    #[test]
    fn the_ledger_names_what_the_body_sets() {
        let patch =
            PodPatch::read(json!({"image": "busybox", "command": null, "resources": {"gpus": 1}})).unwrap();
        let names: Vec<String> = patch.ledger_names().into_iter().collect();
        assert_eq!(names, ["command", "image", "resources.gpus"]);
    }
}
