//! Templates, site-wide: who may use one is said by its permissions.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};
use uuid::Uuid;

use pods_core::{Level, Tenant, permission::Holder, template::TemplateReference};

use crate::{
    Connection, DbError,
    columns::{Json, Word},
    constraints,
    permissions::{Object, grant},
    schema::{template_permissions, template_tags, templates},
    template_tags::{Definitions, Deletion, Dependents, TagRow, dependents},
};

/// A row of `templates` that is not hidden.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct TemplateRow {
    pub template_uid: Uuid,
    pub site_id: String,
    pub tenant_id: String,
    pub template_id: String,
    pub description: String,
    pub metatags: Vec<String>,
    pub archive_message: String,
    pub creation_ts: DateTime<Utc>,
    pub update_ts: DateTime<Utc>,
}

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = templates, check_for_backend(diesel::pg::Pg))]
struct StoredTemplate {
    template_uid: Uuid,
    site_id: String,
    tenant_id: String,
    template_id: String,
    description: String,
    metatags: Json<Vec<String>>,
    archive_message: String,
    creation_ts: DateTime<Utc>,
    update_ts: DateTime<Utc>,
}

/// A template and one of its permissions.
type WithEntry = (StoredTemplate, Option<(String, Word<Level>)>);

impl From<StoredTemplate> for TemplateRow {
    fn from(s: StoredTemplate) -> Self {
        Self {
            template_uid: s.template_uid,
            site_id: s.site_id,
            tenant_id: s.tenant_id,
            template_id: s.template_id,
            description: s.description,
            metatags: s.metatags.0,
            archive_message: s.archive_message,
            creation_ts: s.creation_ts,
            update_ts: s.update_ts,
        }
    }
}

/// What a new template holds.
#[derive(Debug, Clone)]
pub struct NewTemplateRow<'a> {
    /// The tenant of the request, which owns it.
    pub tenant: &'a Tenant,
    /// The id that the user chose.
    pub template_id: &'a str,
    /// What it is for.
    pub description: &'a str,
    /// Words to find it by.
    pub metatags: Vec<String>,
    /// What users of an outdated template should know.
    pub archive_message: &'a str,
    /// The user who becomes ADMIN.
    pub creator: &'a str,
    /// The present.
    pub now: DateTime<Utc>,
}

/// Why a template was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateTemplateError {
    /// A template of the site has this id.
    #[error("a template with this template_id already exists")]
    Exists,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// The fields to change; `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of TemplateRow")]
pub struct TemplateChanges {
    pub description: Option<String>,
    pub metatags: Option<Vec<String>>,
    pub archive_message: Option<String>,
}

/// What a reference leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Resolution {
    /// The site has no such template.
    NoTemplate,
    /// The template has no such tag. Only those who may read the template may be told.
    NoTag {
        /// The template.
        template: TemplateRow,
        /// What the user holds on it.
        level: Level,
    },
    /// A tag.
    Found(Box<Resolved>),
}

/// A reference that leads to a tag.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The template.
    pub template: TemplateRow,
    /// What the user holds on it.
    pub level: Level,
    /// The tag.
    pub tag: TagRow,
}

impl TemplateRow {
    /// Stores a new template with its creator's permission.
    ///
    /// # Errors
    /// [`CreateTemplateError::Exists`] when the id is taken; a database error otherwise.
    pub async fn create(
        conn: &mut Connection,
        new: NewTemplateRow<'_>,
    ) -> Result<TemplateRow, CreateTemplateError> {
        let row = StoredTemplate {
            template_uid: Uuid::new_v4(),
            site_id: new.tenant.site_id.clone(),
            tenant_id: new.tenant.tenant_id.clone(),
            template_id: new.template_id.to_owned(),
            description: new.description.to_owned(),
            metatags: Json(new.metatags),
            archive_message: new.archive_message.to_owned(),
            creation_ts: new.now,
            update_ts: new.now,
        };
        let result: Result<(), DbError> = conn
            .transaction(async |conn| {
                diesel::insert_into(templates::table).values(row.clone()).execute(conn).await?;
                grant(conn, Object::Template(row.template_uid), new.creator, Level::Admin).await
            })
            .await;
        match result {
            Ok(()) => Ok(row.into()),
            Err(error) if constraints::is_taken(&error, &["templates_template_id_key"]) => {
                Err(CreateTemplateError::Exists)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The template and the level that a user of `tenant` holds on it.
    pub async fn find(
        conn: &mut Connection,
        tenant: &Tenant,
        template_id: &str,
        username: &str,
    ) -> Result<Option<(TemplateRow, Level)>, DbError> {
        if !template_id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            // No template can have it, and Postgres refuses some of it (NUL).
            return Ok(None);
        }
        let holder = Holder { tenant, username };
        let found: Vec<WithEntry> = templates::table
            .left_join(
                template_permissions::table.on(template_permissions::template_uid
                    .eq(templates::template_uid)
                    .and(template_permissions::username.eq_any(holder.keys()))),
            )
            .filter(templates::site_id.eq(&tenant.site_id))
            .filter(templates::template_id.eq(template_id))
            .filter(templates::deleted_at.is_null())
            .select((
                StoredTemplate::as_select(),
                (template_permissions::username, template_permissions::level).nullable(),
            ))
            .load(conn)
            .await?;
        Ok(with_levels(found, holder).pop())
    }

    /// The template of an id.
    pub async fn live(
        conn: &mut Connection,
        site_id: &str,
        template_id: &str,
    ) -> Result<Option<TemplateRow>, DbError> {
        let found: Option<StoredTemplate> = templates::table
            .filter(templates::site_id.eq(site_id))
            .filter(templates::template_id.eq(template_id))
            .filter(templates::deleted_at.is_null())
            .select(StoredTemplate::as_select())
            .first(conn)
            .await
            .optional()?;
        Ok(found.map(TemplateRow::from))
    }

    /// The templates on which a user of `tenant` holds READ or more, by id, with that level.
    pub async fn list_readable(
        conn: &mut Connection,
        tenant: &Tenant,
        username: &str,
    ) -> Result<Vec<(TemplateRow, Level)>, DbError> {
        let holder = Holder { tenant, username };
        let found: Vec<WithEntry> = templates::table
            .inner_join(template_permissions::table)
            .filter(template_permissions::username.eq_any(holder.keys()))
            .filter(templates::site_id.eq(&tenant.site_id))
            .filter(templates::deleted_at.is_null())
            .select((
                StoredTemplate::as_select(),
                (template_permissions::username, template_permissions::level).nullable(),
            ))
            .load(conn)
            .await?;
        let mut readable = with_levels(found, holder);
        readable.retain(|(_, level)| *level >= Level::Read);
        Ok(readable)
    }

    /// All templates of a site, by id: for administrators.
    pub async fn list_all(conn: &mut Connection, site_id: &str) -> Result<Vec<TemplateRow>, DbError> {
        let found: Vec<StoredTemplate> = templates::table
            .filter(templates::site_id.eq(site_id))
            .filter(templates::deleted_at.is_null())
            .order(templates::template_id)
            .select(StoredTemplate::as_select())
            .load(conn)
            .await?;
        Ok(found.into_iter().map(TemplateRow::from).collect())
    }

    /// Changes fields; answers the row after that, or `None` when it was deleted meanwhile.
    pub async fn update(
        conn: &mut Connection,
        template_uid: Uuid,
        changes: TemplateChanges,
        now: DateTime<Utc>,
    ) -> Result<Option<TemplateRow>, DbError> {
        let found: Option<StoredTemplate> =
            diesel::update(templates::table.find(template_uid).filter(templates::deleted_at.is_null()))
                .set((
                    changes.description.map(|text| templates::description.eq(text)),
                    changes.metatags.map(|words| templates::metatags.eq(Json(words))),
                    changes.archive_message.map(|text| templates::archive_message.eq(text)),
                    templates::update_ts.eq(now),
                ))
                .returning(StoredTemplate::as_returning())
                .get_result(conn)
                .await
                .optional()?;
        Ok(found.map(TemplateRow::from))
    }

    /// Deletes a template with all of its tags. While pods or tags of other templates build on them this needs
    /// `force`.
    pub async fn delete(
        conn: &mut Connection,
        template: &TemplateRow,
        force: bool,
        now: DateTime<Utc>,
    ) -> Result<Deletion, DbError> {
        conn.transaction(async |conn| {
            // The row first: while it is locked no tag can be added.
            let locked: Option<Uuid> = templates::table
                .find(template.template_uid)
                .filter(templates::deleted_at.is_null())
                .select(templates::template_uid)
                .for_update()
                .first(conn)
                .await
                .optional()?;
            if locked.is_none() {
                return Ok(Deletion::Gone);
            }
            // Then the tags, in an order that is the same for everybody: while they are locked nothing new can
            // build on them.
            let live = || {
                template_tags::table
                    .filter(template_tags::template_uid.eq(template.template_uid))
                    .filter(template_tags::deleted_at.is_null())
            };
            let tags: Vec<String> = live()
                .order(template_tags::reference)
                .select(template_tags::reference)
                .for_update()
                .load(conn)
                .await?;
            let references: Vec<&str> = tags.iter().map(String::as_str).collect();
            let mut found = Dependents::default();
            for one in dependents(conn, &template.site_id, &references).await?.into_values() {
                found.pods.extend(one.pods);
                found.tags.extend(one.tags.into_iter().filter(|tag| !tags.contains(tag)));
            }
            found.pods.sort_unstable();
            found.tags.sort_unstable();
            if !force && !found.is_empty() {
                return Ok(Deletion::Refused(found));
            }
            diesel::update(live()).set(template_tags::deleted_at.eq(now)).execute(conn).await?;
            diesel::update(templates::table.find(template.template_uid))
                .set(templates::deleted_at.eq(now))
                .execute(conn)
                .await?;
            Ok(Deletion::Done(found))
        })
        .await
    }

    /// Removes what was deleted before `before` and on which nothing builds any more, be it a deleted pod that
    /// still has a tombstone. Of tags that build on each other the outermost goes first, the next in a later call.
    pub async fn purge(conn: &mut Connection, before: DateTime<Utc>) -> Result<usize, DbError> {
        let tags = diesel::sql_query(
            "DELETE FROM template_tags AS t WHERE t.deleted_at < $1 \
             AND NOT EXISTS (SELECT FROM pods WHERE pods.site_id = t.site_id AND pods.template = t.reference) \
             AND NOT EXISTS (SELECT FROM template_tags AS other \
                             WHERE other.site_id = t.site_id AND other.parent = t.reference)",
        )
        .bind::<diesel::sql_types::Timestamptz, _>(before)
        .execute(conn)
        .await?;
        let templates = diesel::sql_query(
            "DELETE FROM templates WHERE deleted_at < $1 AND NOT EXISTS \
             (SELECT FROM template_tags WHERE template_tags.template_uid = templates.template_uid)",
        )
        .bind::<diesel::sql_types::Timestamptz, _>(before)
        .execute(conn)
        .await?;
        Ok(tags + templates)
    }
}

/// What a user's reference leads to: the newest tag of its name where it names no time stamp.
pub async fn resolve(
    conn: &mut Connection,
    tenant: &Tenant,
    username: &str,
    reference: &TemplateReference,
) -> Result<Resolution, DbError> {
    let Some((template, level)) = TemplateRow::find(conn, tenant, &reference.template_id, username).await?
    else {
        return Ok(Resolution::NoTemplate);
    };
    let tag = match reference.tag_timestamp() {
        Some(exact) => TagRow::find(conn, template.template_uid, &exact, Definitions::Whole).await?.pop(),
        None => TagRow::newest(conn, template.template_uid, &reference.tag).await?,
    };
    Ok(match tag {
        Some(tag) => Resolution::Found(Box::new(Resolved { template, level, tag })),
        None => Resolution::NoTag { template, level },
    })
}

/// One entry a template, by id, with the highest of the levels that count for `holder`.
fn with_levels(found: Vec<WithEntry>, holder: Holder<'_>) -> Vec<(TemplateRow, Level)> {
    let mut levels: BTreeMap<String, (TemplateRow, Level)> = BTreeMap::new();
    for (template, entry) in found {
        let level = entry
            .map_or(Level::None, |(key, level)| holder.level_on_template(&template.tenant_id, &key, level.0));
        let (_, highest) =
            levels.entry(template.template_id.clone()).or_insert_with(|| (template.into(), Level::None));
        *highest = level.max(*highest);
    }
    levels.into_values().collect()
}
