//! Pods merged with their templates: for lists, for one pod, and `GET /pods/{pod_id}/derived`.

use std::collections::{BTreeMap, HashMap};

use actix_web::{HttpResponse, web::Data};
use pods_core::{
    Level, PodDefinition,
    credentials::Credentials,
    permission::{self, Action},
    resolve,
};
use pods_db::{
    Connection,
    credentials::{self as stored, SealedCredentials},
    derived,
    pods::PodRow,
};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{credentials, load_with_level, metadata};
use crate::{
    caller::Caller,
    envelope::success_with,
    error::ApiError,
    openapi::{Envelope, params},
    paths::PodIdPath,
    query::Query,
    state::AppState,
    view::{Configs, PodView},
};

/// How far pods are merged for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// As their users stored them.
    Stored,
    /// With their templates.
    Lite,
    /// With their templates, and with credentials in the place of `<<tapissecret_x>>` for those who may see them.
    Full,
}

impl Mode {
    /// What the query parameters `derived` and `derived_lite` ask for; the lite form wins.
    pub(super) fn read(query: &Query) -> Result<Self, ApiError> {
        let [full, lite] = query.flags([("derived", false), ("derived_lite", false)])?;
        Ok(match (full, lite) {
            (_, true) => Mode::Lite,
            (true, false) => Mode::Full,
            (false, false) => Mode::Stored,
        })
    }

    /// `derived` and `derived_mode` of the metadata.
    pub(super) fn describe(self, metadata: &mut Map<String, Value>) {
        let name = match self {
            Mode::Stored => return,
            Mode::Lite => "lite",
            Mode::Full => "full",
        };
        metadata.insert("derived".to_owned(), Value::Bool(true));
        metadata.insert("derived_mode".to_owned(), name.into());
    }
}

/// Pods as they are shown, and what their readers should know.
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// Each pod with its definition.
    pub(super) pods: Vec<(PodRow, PodDefinition)>,
    /// One text for each pod that does not derive any more and is shown as stored.
    pub(super) warnings: Vec<String>,
}

/// Merges any number of pods with at most two statements.
pub(super) async fn merge(
    app: &AppState,
    conn: &mut Connection,
    caller: &Caller,
    pods: Vec<(PodRow, Level)>,
    mode: Mode,
) -> Result<Merged, ApiError> {
    let mut merged = Merged::default();
    if mode == Mode::Stored {
        merged.pods = pods.into_iter().map(|(pod, _)| with_stored_definition(pod)).collect();
        return Ok(merged);
    }
    let references = pods.iter().map(|(pod, _)| pod.definition.template.as_str());
    let tags = derived::tags(conn, &caller.tenant.site_id, references).await?;
    let mut in_need = Vec::new();
    for (pod, level) in pods {
        match pod.derived(&tags) {
            Ok(derived) => {
                if mode == Mode::Full && may_see_credentials(caller, level) && mentions(&derived.definition) {
                    in_need.push(pod.uid);
                }
                merged.pods.push((pod, derived.definition));
            }
            Err(error) => {
                merged.warnings.push(format!(
                    "Pod '{}' is shown as it is stored, because it cannot be derived: {error}.",
                    pod.pod_id
                ));
                merged.pods.push(with_stored_definition(pod));
            }
        }
    }
    if !in_need.is_empty() {
        let sealed = stored::get_many(conn, &in_need).await?;
        fill_in(app, &mut merged.pods, &sealed);
    }
    Ok(merged)
}

fn with_stored_definition(pod: PodRow) -> (PodRow, PodDefinition) {
    let definition = pod.definition.clone();
    (pod, definition)
}

fn may_see_credentials(caller: &Caller, level: Level) -> bool {
    permission::decide(caller.rights(), level, Action::GetPodCredentials).is_ok()
}

/// Whether a credential is asked for at all.
fn mentions(definition: &PodDefinition) -> bool {
    definition.environment_variables.values().any(|value| value.contains("<<"))
}

/// Pods whose credentials are missing or cannot be opened keep their placeholders.
fn fill_in(app: &AppState, pods: &mut [(PodRow, PodDefinition)], sealed: &HashMap<Uuid, SealedCredentials>) {
    for (pod, definition) in pods {
        if let Some(sealed) = sealed.get(&pod.uid)
            && let Ok(credentials) = credentials::open(app, pod.uid, sealed)
        {
            interpolate(pod, definition, &credentials);
        }
    }
}

fn interpolate(pod: &PodRow, definition: &mut PodDefinition, credentials: &Credentials) {
    let tenant = pod.tenant();
    credentials.interpolate_all(&mut definition.environment_variables, pod.home(&tenant));
}

/// The pod merged with its templates: what the next start uses.
///
/// In `environment_variables`, `<<tapissecret_x>>` and `<<TAPIS_x>>` are replaced by the pod's credentials for callers
/// with USER and above; READ sees the placeholders. Administrators of the service can have `secret_map` resolved as a
/// start would.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/derived", tag = "pods",
    params(params::IncludeConfigs, params::ResolveSecrets, params::RevealWriteOnly),
    responses((status = 200, description = "The merged pod", body = Envelope<PodView>),
        (status = 409, description = "A template of the pod does not exist any more")))]
pub async fn get_derived_pod(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
    query: Query,
) -> Result<HttpResponse, ApiError> {
    let [include_configs, resolve_secrets, reveal_write_only] = query.flags([
        ("include_configs", false),
        ("resolve_secrets", false),
        ("reveal_write_only", false),
    ])?;
    let secrets = resolve_secrets || reveal_write_only;
    let rights = if secrets { caller.rights_with_role(&app).await? } else { caller.rights() };
    let mut conn = app.db.get().await?;
    let (pod, level) = load_with_level(&mut conn, &caller, &pod_id, Action::GetDerivedPod).await?;
    if secrets {
        permission::decide(rights, level, Action::ResolveSecrets)?;
    }
    let mut derived = derived::derive_one(&mut conn, &pod).await?;
    let mut metadata = Map::new();
    if !derived.definition.template.is_empty() {
        metadata::add_placeholders(&mut metadata, &derived.definition);
    }
    metadata::add(&mut metadata, "warnings", &derived.warnings);
    if resolve_secrets || may_see_credentials(&caller, level) && mentions(&derived.definition) {
        let credentials = credentials::of_pod(&app, &mut conn, &pod).await?;
        interpolate(&pod, &mut derived.definition, &credentials);
        if resolve_secrets {
            resolve_all(&pod, &mut derived.definition, &credentials, &mut metadata);
        }
    }
    let configs = if include_configs { Configs::Shown } else { Configs::Redacted };
    let view = PodView::new(pod, derived.definition, configs);
    Ok(success_with("Derived pod retrieved successfully.", metadata, view))
}

/// Puts the values of `secret_map` where a start would; what does not resolve stays and is named.
fn resolve_all(
    pod: &PodRow,
    definition: &mut PodDefinition,
    credentials: &Credentials,
    metadata: &mut Map<String, Value>,
) {
    let tenant = pod.tenant();
    let (mut values, mut errors) = (BTreeMap::new(), Vec::new());
    for (key, value) in resolve::secret_map(definition, credentials, pod.home(&tenant)) {
        match value {
            Ok(value) => {
                values.insert(key, value);
            }
            Err(missing) => errors.push(missing.to_string()),
        }
    }
    for text in definition.environment_variables.values_mut() {
        *text = resolve::references(text, &values);
    }
    for mount in definition.volume_mounts.values_mut().flatten() {
        mount.config_content = mount.config_content.take().map(|text| resolve::references(&text, &values));
    }
    definition.secret_map.extend(values);
    metadata.insert("secrets_resolved".to_owned(), Value::Bool(true));
    metadata::add(metadata, "secret_resolution_errors", errors);
}
