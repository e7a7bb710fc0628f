//! What answers look like.

mod answers;
mod event;
mod explanation;
pub mod image;
mod kube_event;
mod pod;
pub mod schemas;
mod status;
pub mod template;

pub use answers::{
    CredentialsView, JupyterView, LogRunBegun, LogRunView, LogRunWithLogs, LogsView, PermissionsView,
};
pub use event::{PodEventView, PodGoneView};
#[cfg(test)]
pub use explanation::{DomainView, NextCallView};
pub use explanation::{EntryView, ExplanationView};
pub use kube_event::{EphemeralFileView, KubeEventView, PodEventsView};
pub use pod::{Configs, PodView};
pub use status::StatusContainerView;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serializer;

/// RFC 3339 in UTC with microseconds and `Z`.
pub(crate) fn timestamp<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Micros, true))
}

/// The same, or null.
pub(crate) fn optional_timestamp<S: Serializer>(
    at: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => timestamp(at, serializer),
        None => serializer.serialize_none(),
    }
}
