//! What a definition becomes when its templates are merged into it, and whether that may run.

use std::collections::BTreeSet;

use pods_core::{
    PodDefinition, TemplateDefinition, Tenant,
    image::ImageReference,
    input::Violations,
    networking,
    patch::{Home, check_derived, check_stored},
    template::{self, Tags},
};
use pods_db::{Connection, DbError, derived, images::ImageRow, pods::PodRow};

use crate::{error::ApiError, state::AppState};

/// A checked definition.
#[derive(Debug)]
pub(in crate::routes) struct Plan {
    /// What a start would use.
    pub(super) derived: PodDefinition,
    /// What the user should know about the merge.
    pub(super) warnings: Vec<String>,
    reference: String,
    tags: Tags,
}

impl Plan {
    /// The templates below the pod, closest first.
    pub(super) fn chain(&self) -> Vec<&TemplateDefinition> {
        // It was walked when the plan was made.
        template::chain(&self.reference, &self.tags).unwrap_or_default()
    }

    /// What the pod was until now, merged with its templates; as stored when it could not be derived any more.
    pub(super) fn before(&self, pod: &PodRow) -> PodDefinition {
        pod.derived(&self.tags).map_or_else(|_| pod.definition.clone(), |derived| derived.definition)
    }
}

/// What is checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proposal<'a> {
    /// The pod's place.
    pub(super) home: Home<'a>,
    /// The definition as it would be stored.
    pub(super) definition: &'a PodDefinition,
    /// The fields that the user set.
    pub(super) ledger: &'a BTreeSet<String>,
    /// Whether the image or the template was touched; an image that is no longer allowed must not stand in the way of
    /// other changes.
    pub(super) image_touched: bool,
    /// The template until now, whose tags [`Plan::before`] needs; empty without one.
    pub(super) old_template: &'a str,
}

/// Merges and checks a definition.
///
/// # Errors
/// Every rule that the merged definition breaks (400); 409 when the templates cannot be merged.
pub(super) async fn plan(
    app: &AppState,
    conn: &mut Connection,
    proposal: Proposal<'_>,
) -> Result<Plan, ApiError> {
    let Proposal { home, definition, ledger, image_touched, old_template } = proposal;
    let references = [definition.template.as_str(), old_template];
    let tags = derived::tags(conn, &home.tenant.site_id, references).await?;
    let merged = template::derive(definition, ledger, &template::chain(&definition.template, &tags)?, home);
    let mut violations = Violations::default();
    // check_derived says that an image is needed.
    if image_touched && !merged.definition.image.is_empty() {
        check_image(app, conn, home.tenant, (&["image"], &merged.definition.image), &mut violations).await?;
    }
    check_stored(definition, &mut violations);
    check_derived(&merged.definition, home, &app.policy, &mut violations);
    let tenants = app.tapis.directory().tenants();
    let hosts = tenants.iter().map(|tenant| tenant.host()).chain([home.tenant_host]);
    networking::check_domains(&merged.definition.networking, hosts, &mut violations);
    let reference = definition.template.clone();
    Ok(violations.or(Plan { derived: merged.definition, warnings: merged.warnings, reference, tags })?)
}

/// Whether a tenant may run the image that stands at `place` of a request.
pub(in crate::routes) async fn check_image(
    app: &AppState,
    conn: &mut Connection,
    tenant: &Tenant,
    (place, image): (&[&str], &str),
    violations: &mut Violations,
) -> Result<(), DbError> {
    let rules = match ImageReference::parse(image) {
        Ok(reference) => ImageRow::rules_for(conn, &tenant.site_id, &reference.repository_key()).await?,
        // The check below says what is wrong with it.
        Err(_) => Vec::new(),
    };
    if let Err(problem) = app.policy.check_image(image, &rules, &tenant.tenant_id) {
        violations.rule(place, problem);
    }
    Ok(())
}
