//! `POST /pods/{pod_id}/save_pod_as_template_tag`.

use actix_web::{HttpResponse, web::Data};
use chrono::Utc;
use pods_core::{
    permission::Action,
    template::{NewTemplateTag, NewTemplateTagFromPod, as_template_definition},
};
use pods_db::{action_logs, derived};

use super::{
    super::{template_tags, templates},
    load,
};
use crate::{
    body::JsonBody,
    caller::Caller,
    envelope::success_with,
    error::ApiError,
    openapi::{Envelope, bodies},
    paths::PodIdPath,
    state::AppState,
    view::template::{Detail, TagView},
};

/// Makes a template tag of what the user set on a pod.
///
/// Values of `secret_map` and ids of volumes become placeholders that users of the tag fill. ADMIN on the pod, USER on
/// the template and READ on the template that the pod builds on are needed.
#[utoipa::path(post, path = "/v3/pods/{pod_id}/save_pod_as_template_tag", tag = "pods",
    request_body = bodies::NewTemplateTagFromPod,
    responses((status = 200, description = "The new tag", body = Envelope<TagView>),
        (status = 409, description = "A template of the pod does not exist any more")))]
pub async fn save_pod_as_template_tag(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let conn = &mut *app.db.get().await?;
    let pod = load(conn, &caller, &pod_id, Action::SavePodAsTemplateTag).await?;
    let NewTemplateTagFromPod { template_id, tag, commit_message } =
        NewTemplateTagFromPod::read(body.value()?)?;
    let (template, _) =
        templates::load(conn, &caller, caller.rights(), &template_id, Action::AddTemplateTag).await?;
    let derived = derived::derive_one(conn, &pod).await?.definition;
    let pod_definition = as_template_definition(&pod.definition, &pod.modified_fields, &derived);
    let new = NewTemplateTag { tag, commit_message, description: String::new(), pod_definition };
    let (tag, metadata) = template_tags::store_tag(&app, conn, &caller, &template, new).await?;
    let text = format!("'{}' saved pod as template tag {}", caller.label(), tag.reference);
    action_logs::add(conn, pod.uid, Utc::now(), &text).await?;
    let view = TagView::new(tag, Detail::Definition);
    Ok(success_with("Pod saved as template tag successfully.", metadata, view))
}
