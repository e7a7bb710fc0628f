//! Template references of pods, pinned to one immutable tag for the caller.

use pods_core::template::PinnedReference;
use pods_db::Connection;

use super::super::templates::{archive_warnings, resolve};
use crate::{caller::Caller, error::ApiError};

/// A reference that names exactly one tag.
#[derive(Debug)]
pub(super) struct Pinned {
    /// `template_id:tag@YYYY-MM-DD-HH:MM:SS`.
    pub(super) reference: String,
    /// What the template's owners want its users to know.
    pub(super) warnings: Vec<String>,
}

/// Looks a reference up for the caller, who needs READ on the template that it names.
pub(super) async fn pin(conn: &mut Connection, caller: &Caller, text: &str) -> Result<Pinned, ApiError> {
    let resolved = resolve(conn, caller, &["template"], text).await?;
    let warnings = archive_warnings(&resolved);
    Ok(Pinned { reference: resolved.tag.reference, warnings })
}

/// The newest tag of the same name as a pinned one.
pub(super) async fn pin_newest(
    conn: &mut Connection,
    caller: &Caller,
    pinned: &str,
) -> Result<Pinned, ApiError> {
    let pinned = PinnedReference::parse(pinned)
        .map_err(|error| ApiError::invalid(&["template"], format!("Value error, {error}")))?;
    pin(conn, caller, &pinned.unpinned().to_string()).await
}
