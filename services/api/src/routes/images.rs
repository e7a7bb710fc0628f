//! The list of images that pods may use. Administrators write it; every user reads what the tenant may use.

use actix_web::{HttpResponse, web::Data};
use chrono::Utc;
use pods_core::{
    Level,
    image::{ImageReference, NewImage, UpdateImage, tenants_allow},
    permission::{self, Action},
};
use pods_db::images::{ImageRow, NewImageRow};
use serde_json::{Map, json};

use crate::{
    body::JsonBody,
    caller::Caller,
    envelope::{success, success_with, unchanged},
    error::ApiError,
    openapi::{Envelope, bodies, params},
    paths::ImagePath,
    query::Query,
    state::AppState,
    view::image::ImageView,
};

/// The images that pods of the tenant may use, by name.
///
/// What the installation's configuration allows is listed too. Administrators with `X-Pods-Admin: true` see all of
/// the site.
#[utoipa::path(get, path = "/v3/pods/images", tag = "images",
    responses((status = 200, description = "The images", body = Envelope<Vec<ImageView>>)))]
pub async fn get_images(app: Data<AppState>, caller: Caller) -> Result<HttpResponse, ApiError> {
    let rows = ImageRow::list(&mut *app.db.get().await?, &caller.tenant.site_id).await?;
    let mut all: Vec<ImageView> = Vec::with_capacity(rows.len());
    for rule in &app.policy.images {
        let canonical = rule.reference.canonical();
        // An entry of the list says more about the same image, unless it hides it.
        let listed = |row: &ImageRow| row.canonical == canonical && open(&app, &caller, &row.tenants);
        if !rows.iter().any(listed) {
            all.push(rule.into());
        }
    }
    all.extend(rows.into_iter().map(ImageView::from));
    all.sort_by(|a, b| a.image.cmp(&b.image));
    let mut metadata = Map::new();
    if caller.admin_mode {
        let usable: Vec<&str> = all
            .iter()
            .filter(|image| open(&app, &caller, &image.tenants))
            .map(|image| image.image.as_str())
            .collect();
        let context = json!({
            "admin_mode": true, "user_accessible_images": usable, "msg": "All images of the site, as administrator."
        });
        metadata.insert("admin_context".to_owned(), context);
    } else {
        all.retain(|image| open(&app, &caller, &image.tenants));
    }
    Ok(success_with("Images retrieved successfully.", metadata, all))
}

/// Adds an image. For administrators with `X-Pods-Admin: true`.
///
/// Without a tag or digest every version of the image may be used, with one only that.
#[utoipa::path(post, path = "/v3/pods/images", tag = "images", request_body = bodies::NewImage,
    responses((status = 200, description = "The new entry", body = Envelope<ImageView>),
        (status = 409, description = "The image is in the list already")))]
pub async fn add_image(
    app: Data<AppState>,
    caller: Caller,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    permission::decide(caller.rights(), Level::None, Action::AddImage)?;
    let new = NewImage::read(body.value()?)?;
    let added = add(&app, &caller, std::slice::from_ref(&new), false).await?;
    let row = added.0.into_iter().next().ok_or_else(|| already_exist(&[new.image]))?;
    Ok(success("Image added successfully.", row))
}

/// Adds several images, all or none. For administrators with `X-Pods-Admin: true`.
///
/// With `skip_duplicates=true` images that are in the list already are left as they are, and named in `metadata`.
#[utoipa::path(post, path = "/v3/pods/images/bulk", tag = "images", params(params::SkipDuplicates),
    request_body = Vec<bodies::NewImage>,
    responses((status = 200, description = "The new entries", body = Envelope<Vec<ImageView>>),
        (status = 409, description = "Some are in the list already; the message names them, nothing was added")))]
pub async fn add_images(
    app: Data<AppState>,
    caller: Caller,
    query: Query,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    permission::decide(caller.rights(), Level::None, Action::AddImages)?;
    let skip_duplicates = query.flag("skip_duplicates", false)?;
    let new = NewImage::read_bulk(body.value()?)?;
    let (added, duplicates) = add(&app, &caller, &new, skip_duplicates).await?;
    let mut metadata = Map::new();
    if !duplicates.is_empty() {
        let plural = if duplicates.len() == 1 { "" } else { "s" };
        let notice = format!("{} duplicate{plural} skipped: {}", duplicates.len(), duplicates.join(", "));
        metadata.insert("notice".to_owned(), json!(notice));
    }
    let plural = if added.len() == 1 { "" } else { "s" };
    Ok(success_with(format!("{} image{plural} added.", added.len()), metadata, added))
}

async fn add(
    app: &AppState,
    caller: &Caller,
    new: &[NewImage],
    skip_duplicates: bool,
) -> Result<(Vec<ImageView>, Vec<String>), ApiError> {
    use pods_db::images::AddError;
    let now = Utc::now();
    let rows: Vec<NewImageRow> = new
        .iter()
        .map(|new| NewImageRow {
            reference: &new.reference,
            image: &new.image,
            tenants: new.tenants.clone(),
            description: &new.description,
            added_by: &caller.username,
            now,
        })
        .collect();
    let conn = &mut *app.db.get().await?;
    match ImageRow::create_many(conn, &caller.tenant.site_id, &rows, skip_duplicates).await {
        Ok(added) => Ok((added.rows.into_iter().map(ImageView::from).collect(), added.duplicates)),
        Err(AddError::Duplicates(duplicates)) => Err(already_exist(&duplicates)),
        Err(AddError::Db(error)) => Err(error.into()),
    }
}

fn already_exist(duplicates: &[String]) -> ApiError {
    ApiError::Conflict(format!("In the list of images already exists: {}.", duplicates.join(", ")))
}

/// An image that pods of the tenant may use. Without an entry for the tag or digest, the one for all versions.
#[utoipa::path(get, path = "/v3/pods/images/{image_id}", tag = "images",
    responses((status = 200, description = "The entry", body = Envelope<ImageView>)))]
pub async fn get_image(
    app: Data<AppState>,
    caller: Caller,
    image_id: ImagePath,
) -> Result<HttpResponse, ApiError> {
    let site_id = &caller.tenant.site_id;
    let conn = &mut *app.db.get().await?;
    for canonical in exact_and_untagged(&image_id)? {
        let row = ImageRow::find(conn, site_id, &canonical).await?.map(ImageView::from);
        let rule = app.policy.images.iter().find(|rule| rule.reference.canonical() == canonical);
        let visible = |image: &ImageView| caller.admin_mode || open(&app, &caller, &image.tenants);
        let found = row.into_iter().chain(rule.map(ImageView::from)).find(visible);
        if let Some(image) = found {
            return Ok(success("Image retrieved successfully.", image));
        }
    }
    Err(ApiError::no_image(&image_id))
}

/// Changes the fields that the body names. For administrators with `X-Pods-Admin: true`.
///
/// An image with a tag or digest that has no entry of its own means the entry of the image without it.
#[utoipa::path(put, path = "/v3/pods/images/{image_id}", tag = "images", request_body = bodies::UpdateImage,
    responses((status = 200, body = Envelope<ImageView>, description = "The entry after the change; with status \
        \"error\" when the body changes nothing"),
        (status = 409, description = "The image is allowed by the installation's configuration")))]
pub async fn update_image(
    app: Data<AppState>,
    caller: Caller,
    image_id: ImagePath,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    permission::decide(caller.rights(), Level::None, Action::UpdateImage)?;
    let UpdateImage { tenants, description } = UpdateImage::read(body.value()?)?;
    let conn = &mut *app.db.get().await?;
    let site_id = &caller.tenant.site_id;
    let meant = exact_and_untagged(&image_id)?;
    let mut found = None;
    for canonical in &meant {
        found = ImageRow::find(conn, site_id, canonical).await?;
        if found.is_some() || is_configured(&app, canonical) {
            break;
        }
    }
    let before = found.ok_or_else(|| absent(&app, &image_id, &meant))?;
    let canonical = before.canonical.clone();
    let tenants = tenants.value().filter(|tenants| **tenants != before.tenants).cloned();
    let description = description.value().filter(|text| **text != before.description).map(String::as_str);
    if tenants.is_none() && description.is_none() {
        return Ok(unchanged(
            "No changes were made: the image is like this already.",
            ImageView::from(before),
        ));
    }
    let after = ImageRow::update(conn, site_id, &canonical, tenants, description)
        .await?
        .ok_or_else(|| ApiError::no_image(&image_id))?;
    Ok(success("Image updated successfully.", ImageView::from(after)))
}

/// Removes an image. For administrators with `X-Pods-Admin: true`. Pods that use it go on; new ones cannot.
///
/// The image has to be named as its entry is: with a tag or digest only the entry with the same one is removed.
#[utoipa::path(delete, path = "/v3/pods/images/{image_id}", tag = "images",
    responses((status = 200, description = "The image", body = Envelope<String>),
        (status = 409, description = "The image is allowed by the installation's configuration")))]
pub async fn delete_image(
    app: Data<AppState>,
    caller: Caller,
    image_id: ImagePath,
) -> Result<HttpResponse, ApiError> {
    permission::decide(caller.rights(), Level::None, Action::DeleteImage)?;
    let [canonical, _] = exact_and_untagged(&image_id)?;
    let conn = &mut *app.db.get().await?;
    match ImageRow::delete(conn, &caller.tenant.site_id, &canonical).await? {
        true => Ok(success("Image deleted successfully.", image_id.as_str())),
        false => Err(absent(&app, &image_id, &[canonical])),
    }
}

/// Whether pods of the caller's tenant may use what these tenants may use.
fn open(app: &AppState, caller: &Caller, tenants: &[String]) -> bool {
    tenants_allow(tenants, &caller.tenant.tenant_id, &app.policy.main_tenants)
}

/// What an id in a path means: the entry of exactly this image, or of the image without its tag and digest.
fn exact_and_untagged(image_id: &str) -> Result<[String; 2], ApiError> {
    let reference = ImageReference::parse(image_id).map_err(|_| ApiError::no_image(image_id))?;
    let exact = reference.canonical();
    Ok([exact, ImageReference { tag: None, digest: None, ..reference }.canonical()])
}

fn is_configured(app: &AppState, canonical: &str) -> bool {
    app.policy.images.iter().any(|rule| rule.reference.canonical() == canonical)
}

/// Why there is no entry to change.
fn absent(app: &AppState, image_id: &str, looked_for: &[String]) -> ApiError {
    match looked_for.iter().find(|canonical| is_configured(app, canonical)) {
        Some(configured) => ApiError::Conflict(format!(
            "Image '{configured}' is allowed by the installation's configuration; it is changed there."
        )),
        None => ApiError::no_image(image_id),
    }
}
