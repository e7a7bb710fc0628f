//! Tags of templates: immutable definitions, hidden rather than removed while something builds on them.

mod dependents;
mod read;

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};
use uuid::Uuid;

use pods_core::{
    TemplateDefinition, Tenant,
    template::{PinnedReference, reference::tag_timestamp},
};

use crate::{
    Connection, DbError,
    columns::Json,
    constraints,
    schema::{template_tags, templates},
    templates::TemplateRow,
};
pub use dependents::{Deletion, DependentPod, Dependents, dependents};
pub use read::Definitions;

/// A row of `template_tags` that is not hidden.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct TagRow {
    pub site_id: String,
    pub reference: String,
    pub template_uid: Uuid,
    pub tenant_id: String,
    pub tag: String,
    pub tag_timestamp: String,
    pub definition: TemplateDefinition,
    pub commit_message: String,
    pub description: String,
    pub archive_message: String,
    pub added_by: String,
    pub creation_ts: DateTime<Utc>,
}

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = template_tags, check_for_backend(diesel::pg::Pg))]
struct StoredTag {
    site_id: String,
    reference: String,
    template_uid: Uuid,
    tenant_id: String,
    tag: String,
    tag_timestamp: String,
    definition: Json<TemplateDefinition>,
    commit_message: String,
    description: String,
    archive_message: String,
    added_by: String,
    creation_ts: DateTime<Utc>,
}

impl From<StoredTag> for TagRow {
    fn from(s: StoredTag) -> Self {
        Self {
            site_id: s.site_id,
            reference: s.reference,
            template_uid: s.template_uid,
            tenant_id: s.tenant_id,
            tag: s.tag,
            tag_timestamp: s.tag_timestamp,
            definition: s.definition.0,
            commit_message: s.commit_message,
            description: s.description,
            archive_message: s.archive_message,
            added_by: s.added_by,
            creation_ts: s.creation_ts,
        }
    }
}

/// What a new tag holds.
#[derive(Debug, Clone)]
pub struct NewTagRow<'a> {
    /// The template that gets it.
    pub template: &'a TemplateRow,
    /// The tenant of the request.
    pub tenant: &'a Tenant,
    /// The name, such as `latest`.
    pub tag: &'a str,
    /// The checked definition; its own template is pinned.
    pub definition: TemplateDefinition,
    /// Why it was added.
    pub commit_message: &'a str,
    /// What it is.
    pub description: &'a str,
    /// What users of an outdated tag should know.
    pub archive_message: &'a str,
    /// The user who adds it.
    pub added_by: &'a str,
    /// The present, which becomes part of the reference.
    pub now: DateTime<Utc>,
}

/// Why a tag was not added.
#[derive(Debug, thiserror::Error)]
pub enum CreateTagError {
    /// The template was deleted meanwhile.
    #[error("the template does not exist any more")]
    TemplateGone,
    /// The template that the definition builds on was deleted meanwhile.
    #[error("the template that the tag builds on does not exist any more")]
    ParentGone,
    /// Tags of this name fill all of the next [`AHEAD_MAX`] seconds.
    #[error("too many tags of this name were added in a short time")]
    TooMany,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// How far the time stamp of a tag may be ahead of its creation, in seconds.
pub const AHEAD_MAX: i64 = 60;

impl TagRow {
    /// The id of the template.
    pub fn template_id(&self) -> &str {
        self.reference.split_once(':').map_or(self.reference.as_str(), |(template_id, _)| template_id)
    }

    /// Adds a tag. Its time stamp has whole seconds: where the same tag was added in the same second, it gets the
    /// next free one, at most [`AHEAD_MAX`] seconds from now.
    ///
    /// # Errors
    /// [`CreateTagError`]; nothing was written then.
    pub async fn create(conn: &mut Connection, new: NewTagRow<'_>) -> Result<TagRow, CreateTagError> {
        let mut row = StoredTag::new(new);
        conn.transaction(async |conn| {
            lock_parents(conn, &row).await?;
            row.move_to_free_second(conn).await?;
            match row.insert(conn).await? {
                true => Ok(row.into()),
                false => Err(CreateTagError::TooMany),
            }
        })
        .await
    }

    /// Adds a tag with exactly this time stamp; `None` when there is one already, which stays as it is.
    ///
    /// # Errors
    /// [`CreateTagError`].
    pub async fn create_at(
        conn: &mut Connection,
        new: NewTagRow<'_>,
    ) -> Result<Option<TagRow>, CreateTagError> {
        let row = StoredTag::new(new);
        conn.transaction(async |conn| {
            lock_parents(conn, &row).await?;
            Ok(row.insert(conn).await?.then(|| row.into()))
        })
        .await
    }

    /// Deletes a tag. While something builds on it this needs `force`.
    pub async fn delete(
        conn: &mut Connection,
        tag: &TagRow,
        force: bool,
        now: DateTime<Utc>,
    ) -> Result<Deletion, DbError> {
        conn.transaction(async |conn| {
            let locked: Option<String> = template_tags::table
                .find((&tag.reference, &tag.site_id))
                .filter(template_tags::deleted_at.is_null())
                .select(template_tags::reference)
                .for_update()
                .first(conn)
                .await
                .optional()?;
            if locked.is_none() {
                return Ok(Deletion::Gone);
            }
            let found = dependents(conn, &tag.site_id, &[&tag.reference]).await?;
            let found = found.into_values().next().unwrap_or_default();
            if !force && !found.is_empty() {
                return Ok(Deletion::Refused(found));
            }
            diesel::update(template_tags::table.find((&tag.reference, &tag.site_id)))
                .set(template_tags::deleted_at.eq(now))
                .execute(conn)
                .await?;
            Ok(Deletion::Done(found))
        })
        .await
    }
}

/// A time in every form in which a tag carries it.
struct StoredStamp {
    at: DateTime<Utc>,
    tag_timestamp: String,
    reference: String,
}

impl StoredTag {
    fn new(new: NewTagRow<'_>) -> Self {
        let mut row = Self {
            site_id: new.template.site_id.clone(),
            reference: new.template.template_id.clone(),
            template_uid: new.template.template_uid,
            tenant_id: new.tenant.tenant_id.clone(),
            tag: new.tag.to_owned(),
            tag_timestamp: String::new(),
            definition: Json(new.definition),
            commit_message: new.commit_message.to_owned(),
            description: new.description.to_owned(),
            archive_message: new.archive_message.to_owned(),
            added_by: new.added_by.to_owned(),
            creation_ts: new.now,
        };
        row.stamp(row.stamped(new.now));
        row
    }

    /// What the columns that carry the time hold at `at`.
    fn stamped(&self, at: DateTime<Utc>) -> StoredStamp {
        let template_id = self.reference.split(':').next().unwrap_or_default();
        let tag_timestamp = tag_timestamp(&self.tag, at);
        let reference = PinnedReference::new(template_id, &tag_timestamp).to_string();
        StoredStamp { at, tag_timestamp, reference }
    }

    fn stamp(&mut self, stamp: StoredStamp) {
        self.creation_ts = stamp.at;
        self.tag_timestamp = stamp.tag_timestamp;
        self.reference = stamp.reference;
    }

    /// Takes the first second from now on that no tag of this name has, be it a hidden one, in one statement. Who
    /// adds a tag has locked the template, so that the second stays free.
    async fn move_to_free_second(&mut self, conn: &mut Connection) -> Result<(), CreateTagError> {
        let now = self.creation_ts;
        let seconds: Vec<StoredStamp> =
            (0..=AHEAD_MAX).map(|ahead| self.stamped(now + TimeDelta::seconds(ahead))).collect();
        let taken: Vec<String> = template_tags::table
            .filter(template_tags::reference.eq_any(seconds.iter().map(|stamp| &stamp.reference)))
            .filter(template_tags::site_id.eq(&self.site_id))
            .select(template_tags::reference)
            .load(conn)
            .await?;
        // A tag that builds on one of the same name from the same second cannot be called like it either.
        let taken: BTreeSet<&str> =
            taken.iter().map(String::as_str).chain(self.definition.0.template.as_deref()).collect();
        let free = seconds.into_iter().find(|stamp| !taken.contains(stamp.reference.as_str()));
        self.stamp(free.ok_or(CreateTagError::TooMany)?);
        Ok(())
    }

    /// `false` when the reference is taken, be it by a hidden tag.
    async fn insert(&self, conn: &mut Connection) -> Result<bool, CreateTagError> {
        let inserted = diesel::insert_into(template_tags::table)
            .values(self.clone())
            .on_conflict((template_tags::reference, template_tags::site_id))
            .do_nothing()
            .execute(conn)
            .await;
        match inserted {
            Ok(count) => Ok(count == 1),
            Err(error) if constraints::is_missing(&error, &["template_tags_parent_fkey"]) => {
                Err(CreateTagError::ParentGone)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Neither the template nor the tag that the new one builds on can be deleted until the transaction ends, and nobody
/// else can add a tag to the template.
async fn lock_parents(conn: &mut Connection, row: &StoredTag) -> Result<(), CreateTagError> {
    let live: Option<Uuid> = templates::table
        .find(row.template_uid)
        .filter(templates::deleted_at.is_null())
        .select(templates::template_uid)
        .for_no_key_update()
        .first(conn)
        .await
        .optional()?;
    if live.is_none() {
        return Err(CreateTagError::TemplateGone);
    }
    match hold(conn, &row.site_id, row.definition.0.template.as_deref().unwrap_or_default()).await? {
        true => Ok(()),
        false => Err(CreateTagError::ParentGone),
    }
}

/// Keeps a tag from being deleted until the transaction ends; `false` when it is deleted already. An empty
/// reference is no tag and needs nothing.
pub(crate) async fn hold(conn: &mut Connection, site_id: &str, reference: &str) -> Result<bool, DbError> {
    if reference.is_empty() {
        return Ok(true);
    }
    let live: Option<String> = template_tags::table
        .find((reference, site_id))
        .filter(template_tags::deleted_at.is_null())
        .select(template_tags::reference)
        .for_share()
        .first(conn)
        .await
        .optional()?;
    Ok(live.is_some())
}
