//! Template references of pods, pinned to one immutable tag for the caller.

use pods_core::permission::{self, Action};
use pods_db::{Connection, template_tags::TagRow, templates::TemplateRow};

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

/// The newest tag of the same name in the same template. A template that took over the name of a deleted one is
/// somebody else's, and no user of the old one asked for it.
pub(super) async fn pin_newest(
    conn: &mut Connection,
    caller: &Caller,
    pinned: &str,
) -> Result<Pinned, ApiError> {
    let gone = || {
        ApiError::Conflict(format!(
            "There is no newer tag to take: \"{pinned}\" or its template was deleted. Name another template."
        ))
    };
    let site_id = &caller.tenant.site_id;
    let tag = TagRow::of_reference(conn, site_id, pinned).await?.ok_or_else(gone)?;
    let found = TemplateRow::find(conn, &caller.tenant, tag.template_id(), &caller.username).await?;
    let (template, level) =
        found.filter(|(template, _)| template.template_uid == tag.template_uid).ok_or_else(gone)?;
    permission::decide(caller.rights(), level, Action::UseTemplate)?;
    let newest = TagRow::newest(conn, template.template_uid, &tag.tag).await?.ok_or_else(gone)?;
    Ok(Pinned { reference: newest.reference, warnings: Vec::new() })
}
