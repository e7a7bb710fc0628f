//! Rows that tests begin with.

use std::collections::BTreeSet;

use chrono::{DateTime, SubsecRound, Utc};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use pods_core::{PodDefinition, Resources, TemplateDefinition, Tenant, definition::EffectivePod};
use uuid::Uuid;

use crate::{
    Connection,
    credentials::SealedCredentials,
    pods::{NewDefinition, NewPodRow, PodRow, RunLimits},
    template_tags::{NewTagRow, TagRow},
    templates::{NewTemplateRow, TemplateRow},
    transitions::{Applied, Change, apply},
};

/// The tenant of most tests.
pub fn tenant() -> Tenant {
    Tenant::new("dev", "dev")
}

/// The present, as precisely as Postgres stores it.
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

/// A definition with an image and nothing else.
pub fn definition() -> PodDefinition {
    PodDefinition { image: "busybox".to_owned(), ..PodDefinition::with_resources(Resources::default()) }
}

/// What creates a pod of alice.
pub fn new_pod<'a>(tenant: &'a Tenant, pod_id: &'a str, start: bool) -> NewPodRow<'a> {
    NewPodRow {
        uid: Uuid::new_v4(),
        tenant,
        tenant_host: "dev.localhost",
        pod_id,
        definition: definition(),
        effective: EffectivePod { definition: definition() },
        modified_fields: BTreeSet::from(["pod_id".to_owned()]),
        credentials: SealedCredentials { key_id: "test".to_owned(), sealed: b"sealed".to_vec() },
        start,
        creator: "alice",
        label: "'alice'",
        now: now(),
    }
}

/// A new, empty template of alice in [`tenant`].
///
/// # Panics
/// When it cannot be created.
pub async fn template(conn: &mut Connection, template_id: &str) -> TemplateRow {
    let new = NewTemplateRow {
        tenant: &tenant(),
        template_id,
        description: "",
        metatags: Vec::new(),
        archive_message: "",
        creator: "alice",
        now: now(),
    };
    TemplateRow::create(conn, new).await.expect("the template can be created")
}

/// What adds a tag of alice.
pub fn new_tag<'a>(
    template: &'a TemplateRow,
    tenant: &'a Tenant,
    tag: &'a str,
    definition: TemplateDefinition,
) -> NewTagRow<'a> {
    NewTagRow {
        template,
        tenant,
        tag,
        definition,
        commit_message: "a test",
        description: "",
        archive_message: "",
        added_by: "alice",
        now: now(),
    }
}

/// A new tag of alice.
///
/// # Panics
/// When it cannot be added.
pub async fn tag(
    conn: &mut Connection,
    template: &TemplateRow,
    tag: &str,
    definition: TemplateDefinition,
) -> TagRow {
    let tenant = Tenant::new(&template.site_id, &template.tenant_id);
    TagRow::create(conn, new_tag(template, &tenant, tag, definition)).await.expect("the tag can be added")
}

/// Stores another definition, as the API does for a pod without a template; `None` when the row has moved on.
///
/// # Panics
/// When the database refuses.
pub async fn update(conn: &mut Connection, row: &PodRow, definition: PodDefinition) -> Option<PodRow> {
    let new = NewDefinition {
        old_limits: RunLimits::of(&row.definition),
        new_limits: RunLimits::of(&definition),
        definition,
        modified_fields: row.modified_fields.clone(),
        tenant_host: &row.tenant_host,
        now: now(),
    };
    PodRow::update_definition(conn, row, new).await.expect("the definition can be stored")
}

/// Removes a tag's row although something builds on it, as a damaged database would: the constraints go first.
///
/// # Panics
/// When the database refuses.
pub async fn forget_tag(conn: &mut Connection, reference: &str) {
    conn.batch_execute(
        "ALTER TABLE pods DROP CONSTRAINT IF EXISTS pods_template_fkey; \
         ALTER TABLE template_tags DROP CONSTRAINT IF EXISTS template_tags_parent_fkey",
    )
    .await
    .expect("the role of the tests owns the tables");
    diesel::sql_query("DELETE FROM template_tags WHERE reference = $1")
        .bind::<diesel::sql_types::Text, _>(reference)
        .execute(conn)
        .await
        .expect("the tag can be removed");
}

/// A new pod of alice in [`tenant`].
///
/// # Panics
/// When it cannot be created.
pub async fn pod(conn: &mut Connection, pod_id: &str, start: bool) -> PodRow {
    PodRow::create(conn, new_pod(&tenant(), pod_id, start)).await.expect("the pod can be created")
}

/// Applies a change that must be possible.
///
/// # Panics
/// When it is not.
pub async fn done(conn: &mut Connection, row: &PodRow, change: Change<'_>) -> PodRow {
    match apply(conn, row, change).await.expect("the database answers") {
        Applied::Done(row) => *row,
        other => panic!("the change of {} was not applied: {other:?}", row.pod_id),
    }
}
