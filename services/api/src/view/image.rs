//! Entries of the list of allowed images in answers.

use chrono::{DateTime, Utc};
use pods_core::image::ImageRule;
use pods_db::images::ImageRow;
use serde::Serialize;
use utoipa::ToSchema;

use super::optional_timestamp;

/// Who added what the installation's configuration allows.
const CONFIGURATION: &str = "configuration";

/// An image that pods may use.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Image)]
pub struct ImageView {
    /// The image as it was added; one with a tag or digest allows that one only.
    #[schema(example = "library/redis")]
    pub image: String,
    /// Who may use it: ids of tenants, `*` (the main tenants), `**` (all tenants), `-tenant` (not this one).
    #[schema(example = json!(["*"]))]
    pub tenants: Vec<String>,
    /// What the image is for.
    pub description: String,
    /// When it was added; null for what the installation's configuration allows.
    #[serde(serialize_with = "optional_timestamp")]
    #[schema(required = true)]
    pub creation_ts: Option<DateTime<Utc>>,
    /// The administrator who added it, or `configuration`.
    pub added_by: String,
}

impl From<ImageRow> for ImageView {
    fn from(row: ImageRow) -> Self {
        Self {
            image: row.image,
            tenants: row.tenants,
            description: row.description,
            creation_ts: Some(row.creation_ts),
            added_by: row.added_by,
        }
    }
}

impl From<&ImageRule> for ImageView {
    fn from(rule: &ImageRule) -> Self {
        Self {
            image: rule.image.clone(),
            tenants: rule.tenants.clone(),
            description: String::new(),
            creation_ts: None,
            added_by: CONFIGURATION.to_owned(),
        }
    }
}
