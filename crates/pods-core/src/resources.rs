//! Resources of a pod: CPU in millicores, memory and ephemeral storage in MiB, whole GPUs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::input::{Field, Reader, Violations};

/// The value of an ephemeral-storage field that is not set on the container.
pub const NOT_SET: i32 = -1;

/// The resources of a pod, every field filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// CPU that is reserved, in millicores.
    pub cpu_request: i32,
    /// CPU that may be used, in millicores.
    pub cpu_limit: i32,
    /// Memory that is reserved, in MiB.
    pub mem_request: i32,
    /// Memory that may be used, in MiB.
    pub mem_limit: i32,
    /// Ephemeral storage that is reserved, in MiB; -1 sets none.
    pub ephemeral_storage_request: i32,
    /// Ephemeral storage that may be used, in MiB; -1 sets none.
    pub ephemeral_storage_limit: i32,
    /// GPUs.
    pub gpus: i32,
}

impl Default for Resources {
    fn default() -> Self {
        ResourceLimits::default().defaults()
    }
}

/// Bounds and defaults of an installation, section `[resources]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResourceLimits {
    /// Smallest CPU value, in millicores.
    pub minimum_pod_cpu_val: i32,
    /// Largest CPU value, in millicores.
    pub maximum_pod_cpu_val: i32,
    /// CPU request of a pod that names none, in millicores.
    pub default_pod_cpu_request: i32,
    /// CPU limit of a pod that names none, in millicores.
    pub default_pod_cpu_limit: i32,
    /// Smallest memory value, in MiB.
    pub minimum_pod_mem_val: i32,
    /// Largest memory value, in MiB.
    pub maximum_pod_mem_val: i32,
    /// Memory request of a pod that names none, in MiB.
    pub default_pod_mem_request: i32,
    /// Memory limit of a pod that names none, in MiB.
    pub default_pod_mem_limit: i32,
    /// Smallest ephemeral storage value, in MiB.
    pub minimum_pod_ephemeral_storage_val: i32,
    /// Largest ephemeral storage value, in MiB.
    pub maximum_pod_ephemeral_storage_val: i32,
    /// Ephemeral storage request of a pod that names none, in MiB or -1.
    pub default_pod_ephemeral_storage_request: i32,
    /// Ephemeral storage limit of a pod that names none, in MiB or -1.
    pub default_pod_ephemeral_storage_limit: i32,
    /// Most GPUs of a pod.
    pub maximum_pod_gpu_val: i32,
}

impl Default for ResourceLimits {
    fn default() -> Self {
        Self {
            minimum_pod_cpu_val: 250,
            maximum_pod_cpu_val: 6000,
            default_pod_cpu_request: 250,
            default_pod_cpu_limit: 2000,
            minimum_pod_mem_val: 256,
            maximum_pod_mem_val: 12_288,
            default_pod_mem_request: 256,
            default_pod_mem_limit: 3072,
            minimum_pod_ephemeral_storage_val: 1,
            maximum_pod_ephemeral_storage_val: 18_432,
            default_pod_ephemeral_storage_request: NOT_SET,
            default_pod_ephemeral_storage_limit: NOT_SET,
            maximum_pod_gpu_val: 1,
        }
    }
}

impl ResourceLimits {
    /// The resources of a pod that names none.
    pub fn defaults(&self) -> Resources {
        Resources {
            cpu_request: self.default_pod_cpu_request,
            cpu_limit: self.default_pod_cpu_limit,
            mem_request: self.default_pod_mem_request,
            mem_limit: self.default_pod_mem_limit,
            ephemeral_storage_request: self.default_pod_ephemeral_storage_request,
            ephemeral_storage_limit: self.default_pod_ephemeral_storage_limit,
            gpus: 0,
        }
    }

    /// Checks every bound and that no request is above its limit.
    pub fn check(&self, resources: &Resources, place: &[&str], violations: &mut Violations) {
        let not_set_is_possible = self.default_pod_ephemeral_storage_request == NOT_SET
            || self.default_pod_ephemeral_storage_limit == NOT_SET;
        for family in self.families(resources) {
            for (name, value) in [(family.request_name, family.request), (family.limit_name, family.limit)] {
                let skipped = family.may_be_unset && not_set_is_possible && value == NOT_SET;
                if !skipped && !(family.minimum..=family.maximum).contains(&value) {
                    let place = [place, &[name]].concat();
                    let (low, high, unit) = (family.minimum, family.maximum, family.unit);
                    violations.rule(
                        &place,
                        format!(
                            "resources.{name} out of bounds: {value} {unit} is not within {low} and {high}"
                        ),
                    );
                }
            }
            let unset = family.may_be_unset && (family.request == NOT_SET || family.limit == NOT_SET);
            if !unset && family.request > family.limit {
                violations.rule(
                    place,
                    format!(
                        "resources.{} ({}) must not be larger than resources.{} ({})",
                        family.request_name, family.request, family.limit_name, family.limit
                    ),
                );
            }
        }
        if !(0..=self.maximum_pod_gpu_val).contains(&resources.gpus) {
            let place = [place, &["gpus"]].concat();
            let most = self.maximum_pod_gpu_val;
            violations.rule(
                &place,
                format!("resources.gpus out of bounds: {} is not within 0 and {most}", resources.gpus),
            );
        }
    }

    fn families(&self, resources: &Resources) -> [Family; 3] {
        [
            Family {
                request_name: "cpu_request",
                limit_name: "cpu_limit",
                unit: "millicores",
                request: resources.cpu_request,
                limit: resources.cpu_limit,
                minimum: self.minimum_pod_cpu_val,
                maximum: self.maximum_pod_cpu_val,
                may_be_unset: false,
            },
            Family {
                request_name: "mem_request",
                limit_name: "mem_limit",
                unit: "MiB",
                request: resources.mem_request,
                limit: resources.mem_limit,
                minimum: self.minimum_pod_mem_val,
                maximum: self.maximum_pod_mem_val,
                may_be_unset: false,
            },
            Family {
                request_name: "ephemeral_storage_request",
                limit_name: "ephemeral_storage_limit",
                unit: "MiB",
                request: resources.ephemeral_storage_request,
                limit: resources.ephemeral_storage_limit,
                minimum: self.minimum_pod_ephemeral_storage_val,
                maximum: self.maximum_pod_ephemeral_storage_val,
                may_be_unset: true,
            },
        ]
    }
}

/// A compute queue, as far as a definition can be checked against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// The name that pods use.
    pub name: String,
    /// The most GPUs of one kind that it gives to a pod; kinds do not add up.
    pub most_gpus: i32,
}

impl Queue {
    /// Checks that the queue gives as many GPUs.
    ///
    /// # Errors
    /// [`QueueError`]; its text is for the user.
    pub fn check_gpus(&self, asked: i32) -> Result<(), QueueError> {
        let (queue, most) = (self.name.clone(), self.most_gpus);
        match asked {
            ..=0 => Ok(()),
            _ if asked <= most => Ok(()),
            _ if most > 0 => Err(QueueError::Gpus { asked, queue, most }),
            _ => Err(QueueError::NoGpus { asked, queue }),
        }
    }
}

/// The queue cannot give what the pod asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The queue has no GPUs at all.
    #[error(
        "{asked} GPUs are requested, but compute queue \"{queue}\" has none; set resources.gpus to 0 or use another queue"
    )]
    NoGpus {
        /// How many the pod asks for.
        asked: i32,
        /// The name of the queue.
        queue: String,
    },
    /// More GPUs of one kind than the queue gives.
    #[error(
        "{asked} GPUs are requested, but compute queue \"{queue}\" gives at most {most}; ask for fewer or use another queue"
    )]
    Gpus {
        /// How many the pod asks for.
        asked: i32,
        /// The name of the queue.
        queue: String,
        /// How many of one kind the queue gives.
        most: i32,
    },
}

struct Family {
    request_name: &'static str,
    limit_name: &'static str,
    unit: &'static str,
    request: i32,
    limit: i32,
    minimum: i32,
    maximum: i32,
    may_be_unset: bool,
}

/// What a body or a template says about each resource; `None` is not set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourcesPatch {
    /// See [`Resources::cpu_request`].
    pub cpu_request: Option<i32>,
    /// See [`Resources::cpu_limit`].
    pub cpu_limit: Option<i32>,
    /// See [`Resources::mem_request`].
    pub mem_request: Option<i32>,
    /// See [`Resources::mem_limit`].
    pub mem_limit: Option<i32>,
    /// See [`Resources::ephemeral_storage_request`].
    pub ephemeral_storage_request: Option<i32>,
    /// See [`Resources::ephemeral_storage_limit`].
    pub ephemeral_storage_limit: Option<i32>,
    /// See [`Resources::gpus`].
    pub gpus: Option<i32>,
}

impl ResourcesPatch {
    /// Reads the `resources` object of a body.
    pub fn read(place: &[&str], value: Value, violations: &mut Violations) -> Self {
        let mut reader = Reader::new(place, value, violations);
        let mut integer = |key: &str| match reader.integer(key) {
            Field::Set(value) => Some(value),
            Field::Absent | Field::Null => None,
        };
        let patch = Self {
            cpu_request: integer("cpu_request"),
            cpu_limit: integer("cpu_limit"),
            mem_request: integer("mem_request"),
            mem_limit: integer("mem_limit"),
            ephemeral_storage_request: integer("ephemeral_storage_request"),
            ephemeral_storage_limit: integer("ephemeral_storage_limit"),
            gpus: integer("gpus"),
        };
        reader.finish();
        patch
    }

    /// Fills what the body leaves out from the installation's defaults.
    pub fn over(&self, defaults: Resources) -> Resources {
        Resources {
            cpu_request: self.cpu_request.unwrap_or(defaults.cpu_request),
            cpu_limit: self.cpu_limit.unwrap_or(defaults.cpu_limit),
            mem_request: self.mem_request.unwrap_or(defaults.mem_request),
            mem_limit: self.mem_limit.unwrap_or(defaults.mem_limit),
            ephemeral_storage_request: self
                .ephemeral_storage_request
                .unwrap_or(defaults.ephemeral_storage_request),
            ephemeral_storage_limit: self.ephemeral_storage_limit.unwrap_or(defaults.ephemeral_storage_limit),
            gpus: self.gpus.unwrap_or(defaults.gpus),
        }
    }

    /// The names `resources.<field>` of what the body sets, for the ledger of modified fields.
    pub fn ledger_names(&self) -> Vec<String> {
        [
            ("cpu_request", self.cpu_request),
            ("cpu_limit", self.cpu_limit),
            ("mem_request", self.mem_request),
            ("mem_limit", self.mem_limit),
            ("ephemeral_storage_request", self.ephemeral_storage_request),
            ("ephemeral_storage_limit", self.ephemeral_storage_limit),
            ("gpus", self.gpus),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|_| format!("resources.{name}")))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(body: Value) -> Vec<String> {
        let limits = ResourceLimits::default();
        let mut violations = Violations::default();
        let place = ["body", "resources"];
        let patch = ResourcesPatch::read(&place, body, &mut violations);
        limits.check(&patch.over(limits.defaults()), &place, &mut violations);
        violations.0
    }

    #[test]
    fn a_queue_gives_the_gpus_that_it_has() {
        let queue = |most_gpus| Queue { name: "q".to_owned(), most_gpus };
        for (most, asked) in [(0, 0), (0, -1), (2, 0), (2, 2)] {
            assert_eq!(queue(most).check_gpus(asked), Ok(()), "{asked} of {most}");
        }
        let problem = |most, asked| queue(most).check_gpus(asked).unwrap_err().to_string();
        assert!(problem(0, 1).contains("\"q\" has none"));
        assert!(problem(2, 3).contains("\"q\" gives at most 2"));
    }

    #[test]
    fn defaults_are_within_bounds() {
        assert!(problems(json!({})).is_empty());
        assert!(problems(json!({"cpu_request": "", "gpus": ""})).is_empty());
        assert!(problems(json!({"cpu_request": "500", "gpus": 1.0})).is_empty());
    }

    #[test]
    fn each_rule_names_its_field() {
        assert!(
            problems(json!({"cpu_request": 3000}))[0].contains("must not be larger than resources.cpu_limit")
        );
        assert!(problems(json!({"mem_limit": 99_999}))[0].contains("mem_limit out of bounds"));
        assert!(
            problems(json!({"ephemeral_storage_request": 0}))[0]
                .contains("ephemeral_storage_request out of bounds")
        );
        assert!(problems(json!({"gpus": 2}))[0].contains("gpus out of bounds"));
        assert!(problems(json!({"cpu_request": "250m"}))[0].contains("valid integer"));
        assert!(problems(json!({"cpus": 1}))[0].contains("Extra inputs"));
        assert!(problems(json!([]))[0].contains("expected a JSON object"));
    }
}
