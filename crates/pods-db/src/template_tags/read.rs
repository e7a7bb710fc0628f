//! Finders of tags. A definition may hold megabytes of configuration files, so lists say how much of it they need.

use std::collections::HashMap;

use diesel::{dsl::sql, pg::Pg, prelude::*, sql_types::Jsonb};
use diesel_async::RunQueryDsl;
use futures::TryStreamExt;
use uuid::Uuid;

use super::{StoredTag, TagRow};
use crate::{Connection, DbError, schema::template_tags};

/// How much of the definitions is read with some tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Definitions {
    /// Everything.
    Whole,
    /// Without the contents of configuration files; a text that says how long they are stands in their place.
    Redacted,
    /// Nothing: [`TagRow::definition`] is empty.
    Absent,
}

type Query<'q> = template_tags::BoxedQuery<'q, Pg>;

impl TagRow {
    /// The tag that a pinned reference names, also when it or its template was deleted since.
    pub async fn of_reference(
        conn: &mut Connection,
        site_id: &str,
        reference: &str,
    ) -> Result<Option<TagRow>, DbError> {
        let found: Option<StoredTag> = template_tags::table
            .find((reference, site_id))
            .select(StoredTag::as_select())
            .first(conn)
            .await
            .optional()?;
        Ok(found.map(TagRow::from))
    }

    /// The tags of a template, newest first.
    pub async fn list(
        conn: &mut Connection,
        template_uid: Uuid,
        definitions: Definitions,
    ) -> Result<Vec<TagRow>, DbError> {
        let live = newest_first().filter(template_tags::template_uid.eq(template_uid));
        load(conn, live, definitions).await
    }

    /// The tags of some templates in one statement, newest first each.
    pub async fn list_many(
        conn: &mut Connection,
        template_uids: &[Uuid],
        definitions: Definitions,
    ) -> Result<HashMap<Uuid, Vec<TagRow>>, DbError> {
        let live = newest_first().filter(template_tags::template_uid.eq_any(template_uids));
        let mut tags: HashMap<Uuid, Vec<TagRow>> = HashMap::new();
        for tag in load(conn, live, definitions).await? {
            tags.entry(tag.template_uid).or_default().push(tag);
        }
        Ok(tags)
    }

    /// The tags that `tag_id` names: all of a name, or with `@` the one with that time stamp. Newest first.
    pub async fn find(
        conn: &mut Connection,
        template_uid: Uuid,
        tag_id: &str,
        definitions: Definitions,
    ) -> Result<Vec<TagRow>, DbError> {
        if tag_id.contains('\0') {
            // No tag can have it, and Postgres refuses it.
            return Ok(Vec::new());
        }
        let live = newest_first().filter(template_tags::template_uid.eq(template_uid));
        let named = match tag_id.contains('@') {
            true => live.filter(template_tags::tag_timestamp.eq(tag_id)),
            false => live.filter(template_tags::tag.eq(tag_id)),
        };
        load(conn, named, definitions).await
    }

    /// The newest tag of a name, with its whole definition.
    pub async fn newest(
        conn: &mut Connection,
        template_uid: Uuid,
        tag: &str,
    ) -> Result<Option<TagRow>, DbError> {
        let named = newest_first()
            .filter(template_tags::template_uid.eq(template_uid))
            .filter(template_tags::tag.eq(tag))
            .limit(1);
        Ok(load(conn, named, Definitions::Whole).await?.pop())
    }
}

fn newest_first<'q>() -> Query<'q> {
    template_tags::table
        .filter(template_tags::deleted_at.is_null())
        .order((template_tags::creation_ts.desc(), template_tags::tag_timestamp.desc()))
        .into_boxed()
}

/// Contents are dropped row by row while Postgres sends them, so that they are never all in memory.
async fn load(
    conn: &mut Connection,
    query: Query<'_>,
    definitions: Definitions,
) -> Result<Vec<TagRow>, DbError> {
    if definitions == Definitions::Absent {
        let rows = query.select((
            template_tags::site_id,
            template_tags::reference,
            template_tags::template_uid,
            template_tags::tenant_id,
            template_tags::tag,
            template_tags::tag_timestamp,
            sql::<Jsonb>("'{}'::jsonb"),
            template_tags::commit_message,
            template_tags::description,
            template_tags::archive_message,
            template_tags::added_by,
            template_tags::creation_ts,
        ));
        return rows.load_stream::<StoredTag>(conn).await?.map_ok(TagRow::from).try_collect().await;
    }
    let rows = query.select(StoredTag::as_select()).load_stream::<StoredTag>(conn).await?;
    rows.map_ok(|stored| {
        let mut row = TagRow::from(stored);
        if definitions == Definitions::Redacted {
            row.definition.redact_contents();
        }
        row
    })
    .try_collect()
    .await
}
