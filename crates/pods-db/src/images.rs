//! The allowlist of images of a site, besides those of the configuration.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};
use std::collections::HashSet;

use pods_core::image::{ImageReference, ImageRule};

use crate::{Connection, DbError, columns::Json, schema::images};

/// A row of `images`.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct ImageRow {
    pub site_id: String,
    pub canonical: String,
    pub repository: String,
    pub image: String,
    pub tenants: Vec<String>,
    pub description: String,
    pub added_by: String,
    pub creation_ts: DateTime<Utc>,
}

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = images, check_for_backend(diesel::pg::Pg))]
struct StoredImage {
    site_id: String,
    canonical: String,
    repository: String,
    image: String,
    tenants: Json<Vec<String>>,
    description: String,
    added_by: String,
    creation_ts: DateTime<Utc>,
}

impl From<StoredImage> for ImageRow {
    fn from(s: StoredImage) -> Self {
        Self {
            site_id: s.site_id,
            canonical: s.canonical,
            repository: s.repository,
            image: s.image,
            tenants: s.tenants.0,
            description: s.description,
            added_by: s.added_by,
            creation_ts: s.creation_ts,
        }
    }
}

/// What a new row holds.
#[derive(Debug, Clone)]
pub struct NewImageRow<'a> {
    /// The image.
    pub reference: &'a ImageReference,
    /// The same as typed.
    pub image: &'a str,
    /// Who may use it.
    pub tenants: Vec<String>,
    /// What it is.
    pub description: &'a str,
    /// The user who adds it.
    pub added_by: &'a str,
    /// The present.
    pub now: DateTime<Utc>,
}

/// What was added.
#[derive(Debug, Clone, PartialEq)]
pub struct Added {
    /// The new rows, in the order of the request.
    pub rows: Vec<ImageRow>,
    /// Images of the request, as typed, that are on the list already or twice in the request.
    pub duplicates: Vec<String>,
}

/// Why nothing was added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// These images, as typed, are on the list already or twice in the request.
    #[error("these images exist already: {}", .0.join(", "))]
    Duplicates(Vec<String>),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl ImageRow {
    /// Adds images, all or none; with `skip_duplicates` those that are new.
    ///
    /// # Errors
    /// [`AddError::Duplicates`] without `skip_duplicates`; a database error otherwise.
    pub async fn create_many(
        conn: &mut Connection,
        site_id: &str,
        new: &[NewImageRow<'_>],
        skip_duplicates: bool,
    ) -> Result<Added, AddError> {
        let (mut seen, mut rows, mut duplicates) = (HashSet::new(), Vec::new(), Vec::new());
        for image in new {
            let canonical = image.reference.canonical();
            if !seen.insert(canonical.clone()) {
                duplicates.push(image.image.to_owned());
                continue;
            }
            rows.push(StoredImage {
                site_id: site_id.to_owned(),
                canonical,
                repository: image.reference.repository_key(),
                image: image.image.to_owned(),
                tenants: Json(image.tenants.clone()),
                description: image.description.to_owned(),
                added_by: image.added_by.to_owned(),
                creation_ts: image.now,
            });
        }
        // Two requests with the same images in another order would wait for each other.
        let mut in_order = rows.clone();
        in_order.sort_unstable_by(|a, b| a.canonical.cmp(&b.canonical));
        conn.transaction(async |conn| {
            let inserted: Vec<String> = diesel::insert_into(images::table)
                .values(in_order)
                .on_conflict_do_nothing()
                .returning(images::canonical)
                .get_results(conn)
                .await?;
            let inserted: HashSet<String> = inserted.into_iter().collect();
            let (added, taken): (Vec<StoredImage>, Vec<StoredImage>) =
                rows.into_iter().partition(|row| inserted.contains(&row.canonical));
            duplicates.extend(taken.into_iter().map(|row| row.image));
            if !skip_duplicates && !duplicates.is_empty() {
                return Err(AddError::Duplicates(duplicates));
            }
            Ok(Added { rows: added.into_iter().map(ImageRow::from).collect(), duplicates })
        })
        .await
    }

    /// All rows of a site, by image.
    pub async fn list(conn: &mut Connection, site_id: &str) -> Result<Vec<ImageRow>, DbError> {
        let found: Vec<StoredImage> = images::table
            .filter(images::site_id.eq(site_id))
            .order(images::canonical)
            .select(StoredImage::as_select())
            .load(conn)
            .await?;
        Ok(found.into_iter().map(ImageRow::from).collect())
    }

    /// The row of an image.
    pub async fn find(
        conn: &mut Connection,
        site_id: &str,
        canonical: &str,
    ) -> Result<Option<ImageRow>, DbError> {
        let found: Option<StoredImage> = images::table
            .find((canonical, site_id))
            .select(StoredImage::as_select())
            .first(conn)
            .await
            .optional()?;
        Ok(found.map(ImageRow::from))
    }

    /// The rules about one repository ([`ImageReference::repository_key`]), which decide about its images.
    pub async fn rules_for(
        conn: &mut Connection,
        site_id: &str,
        repository: &str,
    ) -> Result<Vec<ImageRule>, DbError> {
        let found: Vec<(String, Json<Vec<String>>)> = images::table
            .filter(images::site_id.eq(site_id))
            .filter(images::repository.eq(repository))
            .select((images::canonical, images::tenants))
            .load(conn)
            .await?;
        Ok(found
            .into_iter()
            .filter_map(|(canonical, Json(tenants))| ImageRule::new(&canonical, tenants).ok())
            .collect())
    }

    /// Changes a row; `None` stays as it is. Answers the row after that, or `None` when there is none.
    pub async fn update(
        conn: &mut Connection,
        site_id: &str,
        canonical: &str,
        tenants: Option<Vec<String>>,
        description: Option<&str>,
    ) -> Result<Option<ImageRow>, DbError> {
        if tenants.is_none() && description.is_none() {
            return Self::find(conn, site_id, canonical).await;
        }
        let found: Option<StoredImage> = diesel::update(images::table.find((canonical, site_id)))
            .set((
                tenants.map(|tenants| images::tenants.eq(Json(tenants))),
                description.map(|text| images::description.eq(text.to_owned())),
            ))
            .returning(StoredImage::as_returning())
            .get_result(conn)
            .await
            .optional()?;
        Ok(found.map(ImageRow::from))
    }

    /// Removes a row; `false` when there is none.
    pub async fn delete(conn: &mut Connection, site_id: &str, canonical: &str) -> Result<bool, DbError> {
        let count = diesel::delete(images::table.find((canonical, site_id))).execute(conn).await?;
        Ok(count == 1)
    }
}
