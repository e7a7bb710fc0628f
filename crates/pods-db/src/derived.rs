//! Templates of pods, for [`PodRow::derived`]: any number of pods costs one statement.

use diesel::{
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    sql_types::{Array, Jsonb, Text},
};
use diesel_async::RunQueryDsl;
use futures::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet};

use pods_core::{
    Networking, TemplateDefinition,
    template::{ChainError, Derived, Tags},
};

use crate::{Connection, DbError, columns::Json, pods::PodRow};

/// Why one pod could not be derived.
#[derive(Debug, thiserror::Error)]
pub enum DeriveError {
    /// Its templates cannot be merged.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// The definitions of all tags that `references` build on, hidden ones included. One statement, however many
/// references there are and however deep they go; none when all of them are empty.
pub async fn tags<'a>(
    conn: &mut Connection,
    site_id: &str,
    references: impl IntoIterator<Item = &'a str>,
) -> Result<Tags, DbError> {
    load(conn, site_id, references, "t.definition", |_| ()).await
}

/// As [`tags`], without the contents of configuration files: for lists, which do not show them.
pub async fn tags_redacted<'a>(
    conn: &mut Connection,
    site_id: &str,
    references: impl IntoIterator<Item = &'a str>,
) -> Result<Tags, DbError> {
    load(conn, site_id, references, "t.definition", TemplateDefinition::redact_contents).await
}

/// As [`tags`], of each definition only its template and what routing needs.
pub async fn tags_for_routes<'a>(
    conn: &mut Connection,
    site_id: &str,
    references: impl IntoIterator<Item = &'a str>,
) -> Result<Tags, DbError> {
    const WITHOUT_THE_REST: &str =
        "t.definition - '{volume_mounts,environment_variables,secret_map,command,arguments}'::text[]";
    load(conn, site_id, references, WITHOUT_THE_REST, |_| ()).await
}

async fn load<'a>(
    conn: &mut Connection,
    site_id: &str,
    references: impl IntoIterator<Item = &'a str>,
    definition: &'static str,
    shorten: impl Fn(&mut TemplateDefinition),
) -> Result<Tags, DbError> {
    let references: BTreeSet<&str> =
        references.into_iter().filter(|reference| !reference.is_empty()).collect();
    if references.is_empty() {
        return Ok(Tags::new());
    }
    let query = Chains {
        definition,
        site_id: site_id.to_owned(),
        references: references.into_iter().map(str::to_owned).collect(),
    };
    let rows = query.load_stream::<(String, Json<TemplateDefinition>)>(conn).await?;
    // One by one while Postgres sends them, so that what is dropped is never all in memory.
    rows.map_ok(|(reference, Json(mut definition))| {
        shorten(&mut definition);
        (reference, definition)
    })
    .try_collect()
    .await
}

/// Derives one pod.
///
/// # Errors
/// [`DeriveError`].
pub async fn derive_one(conn: &mut Connection, row: &PodRow) -> Result<Derived, DeriveError> {
    let tags = tags(conn, &row.site_id, [row.definition.template.as_str()]).await?;
    Ok(row.derived(&tags)?)
}

/// The networking entries of a pod as they are now, merged with those of its templates: what routing follows.
///
/// # Errors
/// [`DeriveError`].
pub async fn networking(
    conn: &mut Connection,
    row: &PodRow,
) -> Result<BTreeMap<String, Networking>, DeriveError> {
    let tags = tags_for_routes(conn, &row.site_id, [row.definition.template.as_str()]).await?;
    Ok(row.entries(&tags)?)
}

/// Whether visitors are led to a pod's container at present. A pod that cannot be merged with its templates has no
/// routes.
pub async fn networking_live(conn: &mut Connection, row: &PodRow) -> Result<bool, DbError> {
    if !row.is_open() {
        return Ok(false);
    }
    match networking(conn, row).await {
        Ok(entries) => Ok(row.networking_live(&entries)),
        Err(DeriveError::Chain(_)) => Ok(false),
        Err(DeriveError::Db(error)) => Err(error),
    }
}

/// The recursive statement, as a type of its own so that Postgres prepares it once for each connection.
#[derive(Debug, Clone)]
struct Chains {
    /// The expression for what is read of each definition; `t` is the tag.
    definition: &'static str,
    site_id: String,
    references: Vec<String>,
}

impl QueryId for Chains {
    type QueryId = ();
    // The text tells the statements apart.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Chains {
    type SqlType = (Text, Jsonb);
}

impl<C> diesel::RunQueryDsl<C> for Chains {}

impl QueryFragment<Pg> for Chains {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> diesel::QueryResult<()> {
        // UNION leaves out what was found before, so that tags which refer to each other end the search. LATERAL
        // with LIMIT looks each parent up by its key; a plain join reads the whole table until there are statistics.
        out.push_sql("WITH RECURSIVE found (reference, definition, parent) AS (SELECT t.reference, ");
        out.push_sql(self.definition);
        out.push_sql(", t.parent FROM template_tags AS t WHERE t.site_id = ");
        out.push_bind_param::<Text, _>(&self.site_id)?;
        out.push_sql(" AND t.reference = ANY(");
        out.push_bind_param::<Array<Text>, _>(&self.references)?;
        out.push_sql(") UNION SELECT p.* FROM found, LATERAL (SELECT t.reference, ");
        out.push_sql(self.definition);
        out.push_sql(", t.parent FROM template_tags AS t WHERE t.reference = found.parent AND t.site_id = ");
        out.push_bind_param::<Text, _>(&self.site_id)?;
        out.push_sql(" LIMIT 1) AS p) SELECT reference, definition FROM found");
        Ok(())
    }
}
