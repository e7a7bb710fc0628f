//! What an installation allows: the policy that requests are checked against.

use crate::{
    image::ImageRule,
    patch::check_image,
    resources::{Queue, ResourceLimits},
};

/// Most bytes of all environment variables of a pod together; they travel in one Kubernetes Secret.
pub const ENVIRONMENT_BYTES_MAX: usize = 256 * 1024;
/// Most environment variables of a pod.
pub const ENVIRONMENT_ENTRIES_MAX: usize = 1000;
/// Most bytes of `command`, of `arguments` and of the command of a probe, each.
pub const COMMAND_BYTES_MAX: usize = 128 * 1024;
/// Longest description, in characters.
pub const DESCRIPTION_MAX: usize = 404;
/// Most networking entries of a pod.
pub const NETWORKING_ENTRIES_MAX: usize = 4;

/// Most entries of `secret_map`.
pub const SECRET_MAP_ENTRIES_MAX: usize = 200;
/// Most bytes of all keys and values of `secret_map`.
pub const SECRET_MAP_BYTES_MAX: usize = 256 * 1024;
/// Longest key of `secret_map`, in characters.
pub const SECRET_KEY_MAX: usize = 128;
/// Fewest characters of `${pods:random:N}`.
pub const RANDOM_LENGTH_MIN: usize = 8;
/// Most characters of `${pods:random:N}`.
pub const RANDOM_LENGTH_MAX: usize = 128;
/// Most mounts of a pod.
pub const MOUNTS_MAX: usize = 20;
/// Most mounts and remembered removals that are stored with a pod.
pub const MOUNTS_STORED_MAX: usize = 100;
/// Longest mount path, in bytes.
pub const MOUNT_PATH_MAX: usize = 255;
/// Longest id of a volume, snapshot or claim, in characters.
pub const SOURCE_ID_MAX: usize = 128;
/// Longest path below a source, in bytes.
pub const SUB_PATH_MAX: usize = 255;
/// Longest name of a configuration file, in characters.
pub const CONFIG_FILENAME_MAX: usize = 255;
/// Most bytes of one `config_content`.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes of every `config_content` of a pod or a chain of templates together: each row and each start holds them.
pub const CONFIGS_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes of all values of a start together, and of all values of its secret map: what a Kubernetes Secret holds.
pub const RESOLVED_BYTES_MAX: usize = 1024 * 1024;
/// Most problems that the message of an impossible start names.
pub const PROBLEMS_MAX: usize = 10;
/// Most findings of one list of a report about placeholders; a full secret map has a place for each of its keys.
pub const FINDINGS_MAX: usize = SECRET_MAP_ENTRIES_MAX;
/// Most bytes of the patterns that one list of a report shows.
pub const FINDINGS_BYTES_MAX: usize = 32 * 1024;
/// Values of `${pods:random:N}` that a pod may hold before those that nothing asks for any more are dropped: a whole
/// secret map of the definition and one of the last start.
pub const RANDOM_VALUES_MAX: usize = 2 * SECRET_MAP_ENTRIES_MAX;
/// Most bytes of the environment and all ephemeral files together: they travel in one Kubernetes Secret of at most
/// 1 MiB, in which placeholders still grow to their values.
pub const STARTED_BYTES_MAX: usize = 896 * 1024;
/// Longest path of an HTTP probe, in characters.
pub const PROBE_PATH_MAX: usize = 1024;
/// Longest time of a probe, in seconds.
pub const PROBE_SECONDS_MAX: i32 = 86_400;
/// Largest threshold of a probe.
pub const PROBE_THRESHOLD_MAX: i32 = 10_000;
/// Most entries of `tenants` of an image.
pub const IMAGE_TENANTS_MAX: usize = 200;
/// Longest description of an image, in characters.
pub const IMAGE_DESCRIPTION_MAX: usize = 255;
/// Most images of one bulk request.
pub const IMAGES_BULK_MAX: usize = 1000;

/// The rules of an installation.
#[derive(Debug, Clone)]
pub struct PodPolicy {
    /// Bounds and defaults of resources.
    pub resources: ResourceLimits,
    /// The compute queues that exist.
    pub compute_queues: Vec<Queue>,
    /// Images that the configuration allows, beside the ones in the database.
    pub images: Vec<ImageRule>,
    /// The tenants that `*` stands for in the `tenants` of an image.
    pub main_tenants: Vec<String>,
}

impl PodPolicy {
    /// Whether a pod of a tenant may run an image, by the configuration and the rules of the database.
    ///
    /// # Errors
    /// A sentence for the user: the reference is malformed, or not allowed.
    pub fn check_image(&self, image: &str, stored: &[ImageRule], tenant_id: &str) -> Result<(), String> {
        check_image(image, self.images.iter().chain(stored), tenant_id, &self.main_tenants)
    }
}
