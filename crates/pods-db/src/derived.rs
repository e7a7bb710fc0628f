//! Templates of pods, for [`PodRow::derived`]: any number of pods costs one statement.

use diesel::{
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    sql_types::{Array, Jsonb, Text},
};
use diesel_async::RunQueryDsl;
use std::collections::BTreeSet;

use pods_core::{
    TemplateDefinition,
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
    let references: BTreeSet<&str> =
        references.into_iter().filter(|reference| !reference.is_empty()).collect();
    if references.is_empty() {
        return Ok(Tags::new());
    }
    let query = Chains {
        site_id: site_id.to_owned(),
        references: references.into_iter().map(str::to_owned).collect(),
    };
    let rows: Vec<(String, Json<TemplateDefinition>)> = query.load(conn).await?;
    Ok(rows.into_iter().map(|(reference, definition)| (reference, definition.0)).collect())
}

/// Derives one pod.
///
/// # Errors
/// [`DeriveError`].
pub async fn derive_one(conn: &mut Connection, row: &PodRow) -> Result<Derived, DeriveError> {
    let tags = tags(conn, &row.site_id, [row.definition.template.as_str()]).await?;
    Ok(row.derived(&tags)?)
}

/// The recursive statement, as a type of its own so that Postgres prepares it once for each connection.
#[derive(Debug, Clone, QueryId)]
struct Chains {
    site_id: String,
    references: Vec<String>,
}

impl Query for Chains {
    type SqlType = (Text, Jsonb);
}

impl<C> diesel::RunQueryDsl<C> for Chains {}

impl QueryFragment<Pg> for Chains {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> diesel::QueryResult<()> {
        // UNION leaves out what was found before, so that tags which refer to each other end the search. LATERAL
        // with LIMIT looks each parent up by its key; a plain join reads the whole table until there are statistics.
        out.push_sql(
            "WITH RECURSIVE found (reference, definition, parent) AS (\
             SELECT t.reference, t.definition, t.parent FROM template_tags AS t WHERE t.site_id = ",
        );
        out.push_bind_param::<Text, _>(&self.site_id)?;
        out.push_sql(" AND t.reference = ANY(");
        out.push_bind_param::<Array<Text>, _>(&self.references)?;
        out.push_sql(
            ") UNION SELECT p.reference, p.definition, p.parent FROM found, LATERAL (\
             SELECT t.reference, t.definition, t.parent FROM template_tags AS t \
             WHERE t.reference = found.parent AND t.site_id = ",
        );
        out.push_bind_param::<Text, _>(&self.site_id)?;
        out.push_sql(" LIMIT 1) AS p) SELECT reference, definition FROM found");
        Ok(())
    }
}
