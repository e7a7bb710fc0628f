//! Pods merged with their templates: for lists, for one pod, and `GET /pods/{pod_id}/derived`.

use std::collections::HashMap;

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
#[derive(Debug)]
pub(super) struct Merged<T> {
    /// What was made of each pod.
    pub(super) pods: Vec<T>,
    /// One text for each pod that does not derive any more and is shown as stored.
    pub(super) warnings: Vec<String>,
}

/// The pods to merge.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Each with the level that the caller holds on it.
    pub(super) pods: Vec<(PodRow, Level)>,
    /// How far.
    pub(super) mode: Mode,
    /// Whether the contents of the templates' configuration files matter; they can be large.
    pub(super) contents: bool,
}

/// Merges any number of pods with at most two statements. `show` makes of each pod, of what its definition has become and
/// of whether visitors are led to it what is kept of it, one by one.
pub(super) async fn merge<T>(
    app: &AppState,
    conn: &mut Connection,
    caller: &Caller,
    Wanted { pods, mode, contents }: Wanted,
    mut show: impl FnMut(PodRow, PodDefinition, bool) -> T,
) -> Result<Merged<T>, ApiError> {
    let mut merged = Merged { pods: Vec::with_capacity(pods.len()), warnings: Vec::new() };
    let mut sealed = HashMap::new();
    let site_id = &caller.tenant.site_id;
    // Whether visitors are led to a pod is a matter of the merged entries, whatever is shown.
    let merges = |pod: &PodRow| mode != Mode::Stored || pod.is_open();
    let merged_pods = pods.iter().map(|(pod, _)| pod).filter(|pod| merges(pod));
    let references = merged_pods.map(|pod| pod.definition.template.as_str());
    let tags = match mode {
        Mode::Stored => derived::tags_for_routes(conn, site_id, references).await?,
        Mode::Lite | Mode::Full if contents => derived::tags(conn, site_id, references).await?,
        Mode::Lite | Mode::Full => derived::tags_redacted(conn, site_id, references).await?,
    };
    if mode == Mode::Full {
        let shown = pods.iter().filter(|(_, level)| may_see_credentials(caller, *level));
        let shown: Vec<Uuid> = shown.map(|(pod, _)| pod.uid).collect();
        sealed = stored::get_many(conn, &shown).await?;
    }
    for (mut pod, _) in pods {
        let live = pod.is_open() && pod.entries(&tags).is_ok_and(|entries| pod.networking_live(&entries));
        let derived = match mode {
            Mode::Stored => None,
            Mode::Lite | Mode::Full => match pod.derived(&tags) {
                Ok(derived) => Some(derived.definition),
                Err(error) => {
                    merged.warnings.push(format!(
                        "Pod '{}' is shown as it is stored, because it cannot be derived: {error}.",
                        pod.pod_id
                    ));
                    None
                }
            },
        };
        let definition = match derived {
            Some(mut definition) => {
                fill_in(app, &pod, &mut definition, sealed.get(&pod.uid));
                definition
            }
            None => take_definition(&mut pod),
        };
        merged.pods.push(show(pod, definition, live));
    }
    Ok(merged)
}

/// What is stored, without a copy: nobody looks at the row's own afterwards.
fn take_definition(pod: &mut PodRow) -> PodDefinition {
    let empty = PodDefinition::with_resources(pod.definition.resources.clone());
    std::mem::replace(&mut pod.definition, empty)
}

fn may_see_credentials(caller: &Caller, level: Level) -> bool {
    permission::decide(caller.rights(), level, Action::GetPodCredentials).is_ok()
}

/// Whether a credential is asked for at all.
fn mentions(definition: &PodDefinition) -> bool {
    definition.environment_variables.values().any(|value| value.contains("<<"))
}

/// A pod whose credentials are missing or cannot be opened keeps its placeholders.
fn fill_in(app: &AppState, pod: &PodRow, definition: &mut PodDefinition, sealed: Option<&SealedCredentials>) {
    if let Some(sealed) = sealed
        && mentions(definition)
        && let Ok(credentials) = credentials::open(app, pod.uid, sealed)
    {
        interpolate(pod, definition, &credentials);
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
    let live = pod.networking_live(&derived.definition.networking);
    let view = PodView::new(pod, derived.definition, live, configs);
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
    let errors = resolve::reveal(definition, credentials, pod.home(&tenant));
    metadata.insert("secrets_resolved".to_owned(), Value::Bool(true));
    metadata::add(metadata, "secret_resolution_errors", errors);
}
