//! What builds on tags, and so stands in the way of their deletion.

use std::collections::BTreeMap;

use diesel::{
    prelude::*,
    sql_types::{Array, Nullable, Text},
};
use diesel_async::RunQueryDsl;

use crate::{Connection, DbError};

/// What builds on a tag.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dependents {
    /// Pods of all tenants of the site, by tenant and id.
    pub pods: Vec<DependentPod>,
    /// References of tags.
    pub tags: Vec<String>,
}

/// A pod that uses a tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DependentPod {
    /// Its tenant.
    pub tenant_id: String,
    /// Its id.
    pub pod_id: String,
}

impl Dependents {
    /// Whether nothing builds on it.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.tags.is_empty()
    }
}

/// What became of a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deletion {
    /// Deleted; pods and tags that build on it go on to work with what is hidden now.
    Done(Dependents),
    /// Something builds on it and nobody forced the deletion.
    Refused(Dependents),
    /// It was deleted meanwhile.
    Gone,
}

#[derive(QueryableByName)]
struct Dependent {
    #[diesel(sql_type = Text)]
    reference: String,
    #[diesel(sql_type = Nullable<Text>)]
    tenant_id: Option<String>,
    #[diesel(sql_type = Text)]
    name: String,
}

/// What builds directly on some tags, in one statement; a tag on which nothing builds is absent.
pub async fn dependents(
    conn: &mut Connection,
    site_id: &str,
    references: &[&str],
) -> Result<BTreeMap<String, Dependents>, DbError> {
    let rows: Vec<Dependent> = diesel::sql_query(
        "SELECT template AS reference, tenant_id, pod_id AS name FROM pods \
         WHERE site_id = $1 AND template = ANY($2) AND deleted_at IS NULL \
         UNION ALL SELECT parent, NULL, reference FROM template_tags \
         WHERE site_id = $1 AND parent = ANY($2) AND deleted_at IS NULL \
         ORDER BY 2, 3",
    )
    .bind::<Text, _>(site_id)
    .bind::<Array<Text>, _>(references)
    .load(conn)
    .await?;
    let mut found: BTreeMap<String, Dependents> = BTreeMap::new();
    for row in rows {
        let dependents = found.entry(row.reference).or_default();
        match row.tenant_id {
            Some(tenant_id) => dependents.pods.push(DependentPod { tenant_id, pod_id: row.name }),
            None => dependents.tags.push(row.name),
        }
    }
    Ok(found)
}
