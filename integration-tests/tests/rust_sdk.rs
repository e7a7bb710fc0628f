//! A pod's whole life with the published Rust client: no answer fails to be read.
//!
//! Not called, because the client itself is broken there: `get_image` (it wants a string where every other client wants
//! the object), `exec_pod_commands` (its body cannot hold a command).

use std::{collections::HashMap, fmt::Debug, time::Duration};

use integration_tests::{Scene, await_condition, env::TokenWish, scene::HTTPD, wait::LIMIT};
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::json;
use tapis_pods::{
    TapisPods,
    apis::{Error, configuration::Configuration, images_api, templates_api},
    models,
};

/// The answer of a call that must succeed, or the reason, which holds the body that could not be read.
fn fine<T, E: Debug>(answer: Result<T, Error<E>>) -> T {
    answer.unwrap_or_else(|error| match error {
        Error::ResponseError(response) => panic!("{}: {}", response.status, response.content),
        other => panic!("{other:?}"),
    })
}

/// The status code of a refusal.
fn refused<T: Debug, E: Debug>(answer: Result<T, Error<E>>) -> u16 {
    match answer.expect_err("this call is refused") {
        Error::ResponseError(response) => response.status.as_u16(),
        other => panic!("{other:?}"),
    }
}

fn listed(permissions: &models::PermissionsModel) -> &[String] {
    permissions.permissions.as_deref().expect("permissions are a list")
}

/// The client's low level for an administrator in admin mode: its convenient one cannot send the header.
fn in_admin_mode(base_url: &str, token: &str) -> Configuration {
    let value = |text: &str| HeaderValue::from_str(text).expect("a token is a header value");
    let headers = HeaderMap::from_iter([
        ("x-tapis-token".parse().expect("a header name"), value(token)),
        ("x-pods-admin".parse().expect("a header name"), value("true")),
    ]);
    let client =
        reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).default_headers(headers);
    let client = client.build().expect("a client with two headers can be built");
    Configuration { base_path: base_url.to_owned(), client: client.into(), ..Configuration::default() }
}

async fn await_status(client: &TapisPods, pod_id: &str, wanted: &str) -> models::PodResponseModel {
    await_condition(&format!("pod {pod_id} becomes {wanted}"), LIMIT, || async {
        let pod = *fine(client.pods.get_pod(pod_id, None, None).await).result;
        if pod.status.as_deref() == Some(wanted) { Ok(pod) } else { Err(format!("{pod:?}")) }
    })
    .await
}

/// A test's caller, its administrator and the ids that it uses.
struct Sdk {
    scene: Scene,
    client: TapisPods,
    admin: Configuration,
    pod_id: String,
    template_id: String,
    image: String,
}

impl Sdk {
    async fn new() -> Self {
        let scene = Scene::new().await;
        // The client does not add /v3 by itself.
        let base_url = format!("{}/v3", scene.env.base_url);
        let client = TapisPods::new(&base_url, Some(&scene.alice.token)).expect("a client can be made");
        let root = scene.env.token(TokenWish { user: "root", ..TokenWish::default() });
        let admin = in_admin_mode(&base_url, &root);
        let (pod_id, template_id) = (scene.id("rs"), scene.id("rstpl"));
        let image = format!("example.org/rust/{}", scene.id("i"));
        scene.will_delete(&scene.alice, &pod_id);
        Self { scene, client, admin, pod_id, template_id, image }
    }

    async fn images(&self) {
        let image = |name: &str| models::NewImage {
            tenants: Some(vec!["dev".into()]),
            ..models::NewImage::new(name.to_owned())
        };
        let added = fine(images_api::add_image(&self.admin, image(&self.image)).await);
        assert_eq!(added.result.image, self.image);
        assert!(added.result.creation_ts.flatten().is_some());
        let other = format!("{}/b", self.image);
        let both = vec![image(&self.image), image(&other)];
        let added = fine(images_api::add_images(&self.admin, both, Some(true)).await);
        assert_eq!(added.result.iter().map(|image| image.image.as_str()).collect::<Vec<_>>(), [&other]);
        let update =
            models::UpdateImage { description: Some(Some("changed".into())), ..models::UpdateImage::new() };
        let changed = fine(images_api::update_image(&self.admin, &self.image, update).await);
        assert_eq!(changed.result.description.as_deref(), Some("changed"));
        let list = fine(self.client.images.get_images().await);
        assert!(list.result.iter().any(|image| image.image == self.image));
        for image in [&self.image, &other] {
            fine(images_api::delete_image(&self.admin, image).await);
        }
    }

    /// Makes the template with its tag `v1` and answers the tag.
    async fn templates(&self) -> models::TemplateTag {
        let (templates, permissions, id) =
            (&self.client.templates, &self.client.permissions, &*self.template_id);
        let new = models::NewTemplate {
            metatags: Some(vec!["rust".into()]),
            ..models::NewTemplate::new(id.to_owned())
        };
        let template = fine(templates.add_template(new).await);
        assert!(template.result.creation_ts.flatten().is_some());
        let update =
            models::UpdateTemplate { description: Some("changed".into()), ..models::UpdateTemplate::new() };
        let changed = fine(templates.update_template(id, update).await);
        assert_eq!(changed.result.description.as_deref(), Some("changed"));
        fine(templates.get_template(id, Some(false)).await);
        let list = fine(templates.list_templates(Some(false)).await);
        assert!(list.result.iter().any(|template| template.template_id == id));

        let mut mount = models::VolumeMountsValue::new(models::volume_mounts_value::Type::Ephemeral);
        mount.config_content = Some(Some("answer=42".into()));
        let definition = models::TemplateTagPodDefinition {
            image: Some(Some(HTTPD.into())),
            environment_variables: Some(HashMap::from([("FROM".into(), json!("the template"))])),
            volume_mounts: Some(HashMap::from([("/etc/rs.ini".into(), mount)])),
            ..models::TemplateTagPodDefinition::new()
        };
        let new = models::NewTemplateTag {
            tag: Some("v1".into()),
            ..models::NewTemplateTag::new(definition, "first".into())
        };
        let tag = *fine(templates.add_template_tag(id, new).await).result;
        let timestamp = tag.tag_timestamp.clone().expect("a tag has a timestamp");
        for tag_id in ["v1", &*timestamp] {
            let found = fine(templates.get_template_tag(id, tag_id, Some(true), Some(false)).await);
            assert_eq!(found.result.len(), 1, "{tag_id}");
        }
        for full in [true, false] {
            let tags = fine(templates.list_template_tags(id, Some(full), Some(true), Some(false)).await);
            assert_eq!(tags.result.len(), 1);
        }
        let everything = fine(templates.list_templates_and_tags(Some(true), Some(false)).await);
        assert_eq!(everything["result"][id]["tags"][0]["tag"], "v1");

        let grant = models::SetPermission::new("bob".into(), "READ".into());
        let granted = fine(permissions.set_template_permission(id, grant).await);
        assert_eq!(listed(&granted.result), ["alice:ADMIN", "bob:READ"]);
        fine(permissions.get_template_permissions(id).await);
        let left = fine(permissions.delete_template_permission(id, "bob").await);
        assert_eq!(listed(&left.result), ["alice:ADMIN"]);
        tag
    }

    async fn created(&self, tag: &models::TemplateTag) {
        let (pods, id) = (&self.client.pods, &*self.pod_id);
        let new = || models::NewPod {
            template: Some(format!("{}:v1", self.template_id)),
            description: Some("of rust".into()),
            environment_variables: Some(HashMap::from([("MINE".into(), json!("1"))])),
            secret_map: Some(HashMap::from([("WORD".into(), "literal".into())])),
            template_overrides: Some(Some(HashMap::from([(
                "volume_mounts".into(),
                json!({ "/etc/rs.ini": { "config_content": "answer=43" } }),
            )]))),
            time_to_stop_default: Some(-1),
            ..models::NewPod::new(id.to_owned())
        };
        let created = fine(pods.create_pod(new()).await).result;
        let pinned = format!("{}:{}", self.template_id, tag.tag_timestamp.as_deref().unwrap_or_default());
        assert_eq!(created.template.as_deref(), Some(&*pinned));
        assert_eq!(refused(pods.create_pod(new()).await), 409);
        assert_eq!(refused(pods.get_pod(&format!("{id}x"), None, None).await), 404);
        let list = fine(pods.list_pods().await);
        assert!(list.result.iter().any(|pod| pod.pod_id == id));
        let running = await_status(&self.client, id, "AVAILABLE").await;
        assert!(running.start_instance_ts.flatten().is_some());
        let derived = fine(pods.get_derived_pod(id, Some(true), Some(false)).await).result;
        assert_eq!(derived.image.as_deref(), Some(HTTPD));
        let mounts = derived.volume_mounts.expect("a pod has mounts");
        assert_eq!(mounts["/etc/rs.ini"].config_content, Some(Some("answer=43".into())));
        let credentials = fine(pods.get_pod_credentials(id).await).result;
        assert_eq!(credentials.user_username, id);
        let logs = fine(pods.get_pod_logs(id).await).result;
        assert!(!logs.action_logs.unwrap_or_default().is_empty());
    }

    async fn changed(&self) {
        let (pods, permissions, id) = (&self.client.pods, &self.client.permissions, &*self.pod_id);
        let update = || models::UpdatePod {
            description: Some(Some("changed".into())),
            image: Some(HTTPD.into()),
            ..models::UpdatePod::new()
        };
        let changed = fine(pods.update_pod(id, update()).await);
        assert_eq!((changed.status.as_str(), changed.result.image.as_deref()), ("success", Some(HTTPD)));
        let unchanged = fine(pods.update_pod(id, update()).await);
        assert_eq!(unchanged.status, "error");
        let grant = models::SetPermission::new("bob".into(), "USER".into());
        let granted = fine(permissions.set_pod_permission(id, grant).await);
        assert_eq!(listed(&granted.result), ["alice:ADMIN", "bob:USER"]);
        fine(permissions.get_pod_permissions(id).await);
        fine(permissions.delete_pod_permission(id, "bob").await);
        let save = models::NewTemplateTagFromPod {
            tag: Some("saved".into()),
            ..models::NewTemplateTagFromPod::new("from the pod".into(), self.template_id.clone())
        };
        let saved = fine(pods.save_pod_as_template_tag(id, save).await);
        assert_eq!(saved.result.tag.as_deref(), Some("saved"));
    }

    async fn stopped_and_started(&self) {
        let (pods, id) = (&self.client.pods, &*self.pod_id);
        fine(pods.stop_pod(id).await);
        await_status(&self.client, id, "STOPPED").await;
        fine(pods.start_pod(id).await);
        await_status(&self.client, id, "AVAILABLE").await;
        fine(pods.restart_pod(id, Some(true)).await);
        await_status(&self.client, id, "AVAILABLE").await;
    }

    async fn deleted(&self) {
        let (pods, id) = (&self.client.pods, &*self.pod_id);
        assert_eq!(fine(pods.delete_pod(id).await).result, "");
        assert_eq!(refused(pods.get_pod(id, None, None).await), 404);
        let deleted =
            templates_api::delete_template_tag(&self.admin, &self.template_id, "saved", Some(false)).await;
        assert!(fine(deleted).result.flatten().is_some());
        assert_eq!(fine(self.client.templates.delete_template(&self.template_id).await).result, "");
    }
}

#[tokio::test]
async fn every_answer_can_be_read() {
    let sdk = Sdk::new().await;
    sdk.images().await;
    let tag = sdk.templates().await;
    sdk.created(&tag).await;
    sdk.changed().await;
    sdk.stopped_and_started().await;
    fine(sdk.client.misc.healthcheck().await);
    let ensured = fine(sdk.client.jupyter.ensure_jupyter_pod().await);
    let jupyter = ensured["result"]["pod_id"].as_str().expect("the answer names the pod").to_owned();
    fine(sdk.client.pods.delete_pod(&jupyter).await);
    sdk.deleted().await;
    sdk.scene.cluster.await_nothing_of(&sdk.pod_id).await;
}
