//! What an installation allows: the policy that requests are checked against.

use crate::{image::ImageReference, resources::ResourceLimits};

/// Most bytes of all environment variables of a pod together; they travel in one Kubernetes Secret.
pub const ENVIRONMENT_BYTES_MAX: usize = 256 * 1024;
/// Most environment variables of a pod.
pub const ENVIRONMENT_ENTRIES_MAX: usize = 1000;
/// Most bytes of `command` and `arguments` together.
pub const COMMAND_BYTES_MAX: usize = 128 * 1024;
/// Longest description, in characters.
pub const DESCRIPTION_MAX: usize = 404;
/// Most networking entries of a pod.
pub const NETWORKING_ENTRIES_MAX: usize = 4;

/// The rules of an installation.
#[derive(Debug, Clone)]
pub struct PodPolicy {
    /// Bounds and defaults of resources.
    pub resources: ResourceLimits,
    /// Names of the compute queues that exist.
    pub compute_queues: Vec<String>,
    /// Images that may be run.
    pub images: Vec<ImageReference>,
}

impl PodPolicy {
    /// Whether an image may be run.
    ///
    /// # Errors
    /// A sentence for the user: the reference is malformed or not on the allowlist.
    pub fn check_image(&self, image: &str) -> Result<(), String> {
        let reference = ImageReference::parse(image).map_err(|error| error.to_string())?;
        if self.images.iter().any(|row| reference.is_covered_by(row)) {
            Ok(())
        } else {
            Err(format!(
                "image \"{image}\" is not on the list of allowed images; ask an administrator to add it"
            ))
        }
    }
}
