//! The domain of Pods: what a pod is, what a request may say, who may do what, and which status follows which.
//!
//! Everything here is pure and synchronous. There is no HTTP, Kubernetes, NATS or SQL in this crate, the clock is
//! always a parameter, and every rule is tested in milliseconds. The processes around it observe, ask this crate
//! for a decision, and carry it out.

pub mod action_log;
pub mod credentials;
pub mod definition;
pub mod domains;
pub mod explain;
pub mod healthcheck;
pub mod ids;
pub mod image;
pub mod input;
pub mod limits;
pub mod lost;
pub mod mount;
pub mod networking;
pub mod patch;
pub mod permission;
pub mod phases;
pub mod placeholder;
pub mod pull_secret;
pub mod reason;
pub mod resolve;
pub mod resources;
pub mod routing;
pub mod status;
pub mod template;
pub mod time_to_stop;
pub mod transition;
pub mod visitor;

pub use definition::PodDefinition;
pub use healthcheck::Healthchecks;
pub use ids::{PodId, Tenant};
pub use limits::PodPolicy;
pub use mount::VolumeMount;
pub use networking::{Networking, Protocol};
pub use patch::{NewPod, PodPatch};
pub use permission::Level;
pub use resources::Resources;
pub use status::{Status, StatusRequested};
pub use template::{TemplateDefinition, TemplateOverrides};
