//! The envelope of every answer, for the document. What is really written is in [`crate::envelope`].

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

/// A successful answer.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what crate::envelope writes")]
pub struct Envelope<T: ToSchema> {
    /// What was done, in one sentence.
    message: String,
    /// Details about the answer; `{}` when there are none.
    metadata: Metadata,
    /// The answer itself.
    result: T,
    /// `error` when a request to change an object changed nothing; `result` is the object as it is.
    status: EnvelopeStatus,
    /// The version of the service.
    #[schema(example = "0.1.0")]
    version: String,
}

/// Whether a request did what it asked for.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes what crate::envelope writes")]
pub enum EnvelopeStatus {
    /// It did.
    Success,
    /// It changed nothing.
    Error,
}

/// An empty object.
#[derive(ToSchema)]
pub struct Nothing {}

/// Details about an answer. Operations add further keys.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what handlers write")]
pub struct Metadata {
    /// With `X-Pods-Admin: true` in lists: which of the objects are the administrator's own.
    #[schema(required = false)]
    admin_context: AdminContext,
    /// What the caller should know.
    #[schema(required = false)]
    warnings: Vec<String>,
    /// After an update: what has to be done for the change to take effect.
    #[schema(required = false)]
    note: Vec<String>,
    /// Whether templates were merged into the result.
    #[schema(required = false)]
    derived: bool,
    /// How: `lite` leaves placeholders, `full` puts in their values.
    #[schema(required = false)]
    derived_mode: String,
    /// Texts that look like placeholders and are none.
    #[schema(required = false)]
    config_syntax_warnings: Vec<String>,
    /// Placeholders of the template's `secret_map`: `required` ones must be given, `optional` ones have a default.
    #[schema(required = false, value_type = Object)]
    template_placeholders: BTreeMap<String, Value>,
    /// The same for a pod without a template.
    #[schema(required = false, value_type = Object)]
    available_placeholders: BTreeMap<String, Value>,
    /// Placeholders that have no value yet.
    #[schema(required = false, value_type = Object)]
    unresolved_patterns: BTreeMap<String, Value>,
}

/// What an administrator sees more than a user would.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what handlers write")]
pub struct AdminContext {
    /// Always true.
    admin_mode: bool,
    /// Ids that the administrator may also read without the header.
    #[schema(required = false)]
    user_accessible_ids: Vec<String>,
    /// The same for images.
    #[schema(required = false)]
    user_accessible_images: Vec<String>,
    /// An explanation.
    msg: String,
}
