//! Tags of templates: immutable definitions, hidden rather than removed while something builds on them.

mod dependents;

use std::collections::HashMap;

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
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl TagRow {
    /// The id of the template.
    pub fn template_id(&self) -> &str {
        self.reference.split_once(':').map_or(self.reference.as_str(), |(template_id, _)| template_id)
    }

    /// Adds a tag. Its time stamp has whole seconds: where the same tag was added in the same second, it gets the
    /// next free one.
    ///
    /// # Errors
    /// [`CreateTagError`]; nothing was written then.
    pub async fn create(conn: &mut Connection, new: NewTagRow<'_>) -> Result<TagRow, CreateTagError> {
        let mut row = StoredTag::new(new);
        conn.transaction(async |conn| {
            lock_parents(conn, &row).await?;
            while !row.insert(conn).await? {
                row.stamp(row.creation_ts + TimeDelta::seconds(1));
            }
            Ok(row.into())
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

    /// The tags of a template, newest first.
    pub async fn list(conn: &mut Connection, template_uid: Uuid) -> Result<Vec<TagRow>, DbError> {
        let found = template_tags::table
            .filter(template_tags::template_uid.eq(template_uid))
            .filter(template_tags::deleted_at.is_null())
            .order((template_tags::creation_ts.desc(), template_tags::tag_timestamp.desc()))
            .select(StoredTag::as_select())
            .load(conn)
            .await?;
        Ok(found.into_iter().map(TagRow::from).collect())
    }

    /// The tags of some templates in one statement, newest first each.
    pub async fn list_many(
        conn: &mut Connection,
        template_uids: &[Uuid],
    ) -> Result<HashMap<Uuid, Vec<TagRow>>, DbError> {
        let found = template_tags::table
            .filter(template_tags::template_uid.eq_any(template_uids))
            .filter(template_tags::deleted_at.is_null())
            .order((template_tags::creation_ts.desc(), template_tags::tag_timestamp.desc()))
            .select(StoredTag::as_select())
            .load(conn)
            .await?;
        let mut tags: HashMap<Uuid, Vec<TagRow>> = HashMap::new();
        for tag in found {
            tags.entry(tag.template_uid).or_default().push(tag.into());
        }
        Ok(tags)
    }

    /// The tags that `tag_id` names: all of a name, or with `@` the one with that time stamp. Newest first.
    pub async fn find(
        conn: &mut Connection,
        template_uid: Uuid,
        tag_id: &str,
    ) -> Result<Vec<TagRow>, DbError> {
        if tag_id.contains('\0') {
            // No tag can have it, and Postgres refuses it.
            return Ok(Vec::new());
        }
        let live = template_tags::table
            .filter(template_tags::template_uid.eq(template_uid))
            .filter(template_tags::deleted_at.is_null())
            .order((template_tags::creation_ts.desc(), template_tags::tag_timestamp.desc()))
            .select(StoredTag::as_select());
        let found: Vec<StoredTag> = match tag_id.contains('@') {
            true => live.filter(template_tags::tag_timestamp.eq(tag_id)).load(conn).await?,
            false => live.filter(template_tags::tag.eq(tag_id)).load(conn).await?,
        };
        Ok(found.into_iter().map(TagRow::from).collect())
    }

    /// The newest tag of a name.
    pub async fn newest(
        conn: &mut Connection,
        template_uid: Uuid,
        tag: &str,
    ) -> Result<Option<TagRow>, DbError> {
        let found: Option<StoredTag> = template_tags::table
            .filter(template_tags::template_uid.eq(template_uid))
            .filter(template_tags::deleted_at.is_null())
            .filter(template_tags::tag.eq(tag))
            .order((template_tags::creation_ts.desc(), template_tags::tag_timestamp.desc()))
            .select(StoredTag::as_select())
            .first(conn)
            .await
            .optional()?;
        Ok(found.map(TagRow::from))
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
        row.stamp(new.now);
        row
    }

    /// Makes `at` its time, in every column that carries it.
    fn stamp(&mut self, at: DateTime<Utc>) {
        let template_id = self.reference.split(':').next().unwrap_or_default().to_owned();
        self.creation_ts = at;
        self.tag_timestamp = tag_timestamp(&self.tag, at);
        self.reference = PinnedReference::new(&template_id, &self.tag_timestamp).to_string();
    }

    /// `false` when the reference is taken, be it by a hidden tag.
    async fn insert(&self, conn: &mut Connection) -> Result<bool, CreateTagError> {
        if self.definition.0.template.as_deref() == Some(self.reference.as_str()) {
            // It builds on a tag of the same name from the same second.
            return Ok(false);
        }
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

/// Neither the template nor the tag that the new one builds on can be deleted until the transaction ends.
async fn lock_parents(conn: &mut Connection, row: &StoredTag) -> Result<(), CreateTagError> {
    let live: Option<Uuid> = templates::table
        .find(row.template_uid)
        .filter(templates::deleted_at.is_null())
        .select(templates::template_uid)
        .for_share()
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
