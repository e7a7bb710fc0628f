//! `pods-api seed`: loads the standard templates (templates/README.md) into the database.
//!
//! Everything is one transaction, and loading again changes nothing: what exists is compared, what is missing is
//! added. What administrators changed stays: permissions are granted when a template is created and never again,
//! and a template of the same id that belongs to another tenant is left alone.

mod catalogue;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use anyhow::Context;
use chrono::{DateTime, Utc};
use diesel_async::{AsyncConnection, RunQueryDsl};
use pods_core::{Level, Tenant, permission::EVERYBODY, resources::ResourceLimits, template::tag_timestamp};
use pods_db::{
    Connection, Db,
    images::{ImageRow, NewImageRow},
    permissions::{self, Object},
    template_tags::{CreateTagError, Definitions, NewTagRow, TagRow},
    templates::{NewTemplateRow, TemplateChanges, TemplateRow},
};
use pods_runtime::config::{DatabaseConfig, ExposeSecret, LogConfig, ServiceConfig, TelemetryConfig, load};
use serde::Deserialize;

pub use catalogue::{Catalogue, Entry, Tag};

/// Options of `pods-api seed`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Folders with one YAML file per template; may be given several times.
    #[arg(long = "dir", default_value = "templates")]
    pub dirs: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    log: LogConfig,
    database: DatabaseConfig,
    service: ServiceConfig,
    tapis: tapis::TapisConfig,
    #[serde(default)]
    resources: ResourceLimits,
}

/// In whose name the templates are created.
#[derive(Debug, Clone)]
pub struct Owner {
    /// The service's own tenant.
    pub tenant: Tenant,
    /// The name of the service.
    pub username: String,
}

/// What a run changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loaded {
    /// Templates that did not exist.
    pub templates_created: usize,
    /// Templates whose description or metatags changed.
    pub templates_updated: usize,
    /// Tags that did not exist.
    pub tags_added: usize,
    /// Images that were not on the allowlist.
    pub images_added: usize,
}

/// Loads the files of `options`.
///
/// # Errors
/// A bad configuration, a file that is no template, or an unreachable database.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let config: Config = load()?;
    pods_runtime::telemetry::init(&config.log, &TelemetryConfig::default(), "pods-seed")?;
    let catalogue = Catalogue::read(&options.dirs)?;
    for problem in catalogue.problems(&config.resources) {
        // The others are of use all the same, and whoever makes a pod of this one is told the rule.
        tracing::warn!(template.problem = %problem, "a template cannot be used in this installation");
    }
    let owner = Owner {
        tenant: Tenant::new(config.service.site_id, config.tapis.service_tenant_id),
        username: config.tapis.service_name,
    };
    let db = Db::connect(config.database.url.expose_secret(), 1)?;
    let loaded = load_into(&mut *db.get().await?, &catalogue, &owner, Utc::now()).await?;
    tracing::info!(
        templates.created = loaded.templates_created,
        templates.updated = loaded.templates_updated,
        tags.added = loaded.tags_added,
        images.added = loaded.images_added,
        "the standard templates are loaded"
    );
    Ok(())
}

/// Adds to the database what is missing of the catalogue.
///
/// # Errors
/// The database failed; nothing was changed then.
pub async fn load_into(
    conn: &mut Connection,
    catalogue: &Catalogue,
    owner: &Owner,
    now: DateTime<Utc>,
) -> anyhow::Result<Loaded> {
    conn.transaction(async |conn| {
        // Two runs at once would both find a template missing.
        diesel::sql_query("SELECT pg_advisory_xact_lock(hashtext('pods seed'))").execute(conn).await?;
        let mut loaded = Loaded::default();
        let mut rows = Vec::new();
        for entry in &catalogue.entries {
            rows.push(ensure_template(conn, entry, owner, now, &mut loaded).await?);
            loaded.images_added += ensure_images(conn, entry, owner, now).await?;
        }
        for (entry, tag) in catalogue.tags() {
            let Some(row) = rows.iter().flatten().find(|row| row.template_id == entry.template.template_id)
            else {
                continue;
            };
            loaded.tags_added += usize::from(ensure_tag(conn, row, tag, owner).await?);
        }
        Ok(loaded)
    })
    .await
}

/// The row of a template; `None` when the id belongs to another tenant.
async fn ensure_template(
    conn: &mut Connection,
    entry: &Entry,
    owner: &Owner,
    now: DateTime<Utc>,
    loaded: &mut Loaded,
) -> anyhow::Result<Option<TemplateRow>> {
    let (template_id, fields) = (&entry.template.template_id, &entry.template.fields);
    let Some(row) = TemplateRow::live(conn, &owner.tenant.site_id, template_id).await? else {
        let new = NewTemplateRow {
            tenant: &owner.tenant,
            template_id,
            description: &fields.description,
            metatags: fields.metatags.clone(),
            archive_message: "",
            creator: &owner.username,
            now,
        };
        let row = TemplateRow::create(conn, new).await?;
        permissions::grant(conn, Object::Template(row.template_uid), EVERYBODY, Level::Read).await?;
        loaded.templates_created += 1;
        return Ok(Some(row));
    };
    if row.tenant_id != owner.tenant.tenant_id {
        tracing::warn!(
            template.id = %template_id,
            template.tenant = %row.tenant_id,
            "a template of this id belongs to another tenant and is left alone"
        );
        return Ok(None);
    }
    if (&row.description, &row.metatags) != (&fields.description, &fields.metatags) {
        let changes = TemplateChanges {
            description: Some(fields.description.clone()),
            metatags: Some(fields.metatags.clone()),
            archive_message: None,
        };
        TemplateRow::update(conn, row.template_uid, changes, now).await?;
        loaded.templates_updated += 1;
    }
    Ok(Some(row))
}

async fn ensure_images(
    conn: &mut Connection,
    entry: &Entry,
    owner: &Owner,
    now: DateTime<Utc>,
) -> anyhow::Result<usize> {
    let rows: Vec<NewImageRow<'_>> = entry
        .images
        .iter()
        .map(|image| NewImageRow {
            reference: &image.reference,
            image: &image.image,
            tenants: image.tenants.clone(),
            description: &image.description,
            added_by: &owner.username,
            now,
        })
        .collect();
    if rows.is_empty() {
        return Ok(0);
    }
    Ok(ImageRow::create_many(conn, &owner.tenant.site_id, &rows, true).await?.rows.len())
}

/// Adds a tag, if it is missing and can be.
async fn ensure_tag(
    conn: &mut Connection,
    template: &TemplateRow,
    tag: &Tag,
    owner: &Owner,
) -> anyhow::Result<bool> {
    let new = NewTagRow {
        template,
        tenant: &owner.tenant,
        tag: &tag.tag.tag,
        definition: tag.tag.pod_definition.clone(),
        commit_message: &tag.tag.commit_message,
        description: &tag.tag.description,
        archive_message: "",
        added_by: &owner.username,
        now: tag.at,
    };
    match TagRow::create_at(conn, new).await {
        Ok(Some(_)) => Ok(true),
        Ok(None) => {
            // What an administrator deleted by force is hidden as long as something uses it, and is not shown again
            // behind his back.
            let key = tag_timestamp(&tag.tag.tag, tag.at);
            if TagRow::find(conn, template.template_uid, &key, Definitions::Absent).await?.is_empty() {
                tracing::warn!(
                    template.id = %template.template_id,
                    template.tag = %key,
                    "this tag was deleted and pods or tags still use it; it stays hidden"
                );
            }
            Ok(false)
        }
        Err(CreateTagError::ParentGone) => {
            tracing::warn!(
                template.id = %template.template_id,
                template.tag = %tag.tag.tag,
                "the template that this tag builds on was deleted; the tag is not added"
            );
            Ok(false)
        }
        Err(error) => {
            Err(error).with_context(|| format!("template {}, tag {}", template.template_id, tag.tag.tag))
        }
    }
}
