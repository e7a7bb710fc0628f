//! The OpenAPI document against the routes and the table of permissions: nothing is served that is not documented,
//! nothing is documented that is not decided.

use std::collections::{BTreeMap, BTreeSet};

use pods_core::{
    Level,
    permission::{Action, Caller as Rights, Resource, decide},
    transition::Event,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{Answer, Caller, TestApp},
    conformance::document,
};

/// An operation of the document.
struct Operation {
    method: Method,
    path: &'static str,
    id: &'static str,
    has_body: bool,
}

fn operations() -> Vec<Operation> {
    let paths = document()["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| Operation {
            method: method.to_uppercase().parse().unwrap(),
            path,
            id: operation["operationId"].as_str().unwrap(),
            has_body: operation.get("requestBody").is_some(),
        })
    });
    all.collect()
}

fn action(id: &str) -> Option<Action> {
    Action::ALL.iter().copied().find(|action| action.as_str() == id)
}

/// Decisions that are no operations of their own.
const PARTS_OF_OPERATIONS: &[Action] = &[
    Action::ChangeStatusRequested,
    Action::ChangeForeignMounts,
    Action::GrantRestrictedPodPermission,
    Action::GrantRestrictedTemplatePermission,
    Action::GrantGroupPodPermission,
    Action::GrantGroupTemplatePermission,
    Action::ResolveSecrets,
    Action::UseTemplate,
    Action::SeeDependents,
];

#[test]
fn every_operation_has_an_action_and_every_action_an_operation() {
    let ids: Vec<&str> = operations().iter().map(|operation| operation.id).collect();
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(unique.len(), ids.len(), "operation ids are unique");
    let expected: BTreeSet<&str> = Action::ALL
        .iter()
        .filter(|action| !PARTS_OF_OPERATIONS.contains(action))
        .map(|action| action.as_str())
        .chain(pods_api::openapi::PUBLIC.iter().copied())
        .collect();
    assert_eq!(unique, expected);
}

#[test]
fn every_route_is_documented_and_every_documented_operation_has_a_route() {
    let mut documented: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for operation in operations() {
        let Some(path) = operation.path.strip_prefix("/v3/pods") else { panic!("{}", operation.path) };
        if operation.id != "healthcheck" {
            documented.entry(path).or_default().insert(method_name(&operation.method));
        }
    }
    let listed = pods_api::routes::listed();
    let mut served: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, methods) in &listed {
        // HEAD is GET without its body; GET operations that do something may be sent as POST too.
        let acts = ["/start", "/stop", "/restart"].iter().any(|end| path.ends_with(end));
        let methods =
            methods.iter().copied().filter(|method| *method != "HEAD" && !(acts && *method == "POST"));
        served.entry(path).or_default().extend(methods);
    }
    assert_eq!(served, documented);
}

fn method_name(method: &Method) -> &'static str {
    ["GET", "POST", "PUT", "DELETE"].into_iter().find(|name| method == name).unwrap()
}

#[test]
fn the_checked_in_document_is_the_served_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let served = pods_api::openapi::json();
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(path, served).unwrap();
    }
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        checked_in == served,
        "docs/openapi.json is out of date; run: UPDATE_OPENAPI=1 cargo nextest run -p pods-api the_checked_in_document"
    );
}

#[test]
fn every_part_of_the_document_is_described() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    for operation in operations() {
        let value = &document["paths"][operation.path][operation.method.as_str().to_lowercase()];
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        assert!(!text("summary").is_empty(), "{} has no summary", operation.id);
        assert!(value["tags"][0].is_string(), "{} has no tag", operation.id);
        for parameter in value["parameters"].as_array().into_iter().flatten() {
            assert!(
                !parameter["description"].as_str().unwrap_or_default().is_empty(),
                "{}: {} has no description",
                operation.id,
                parameter["name"]
            );
        }
        let responses = value["responses"].as_object().unwrap();
        for (code, response) in responses {
            // A redirect has no content.
            if code == "302" {
                continue;
            }
            assert!(
                !response["description"].as_str().unwrap_or_default().is_empty(),
                "{} {code}",
                operation.id
            );
            let content = response["content"].as_object().unwrap();
            // A stream of events is the only answer that is no JSON.
            let kinds = ["application/json", "text/event-stream"];
            let described = kinds.iter().filter_map(|kind| content.get(*kind));
            assert!(described.clone().count() > 0, "{} {code}", operation.id);
            assert!(described.clone().all(|kind| kind["schema"].is_object()), "{} {code}", operation.id);
            assert!(code == "200" || content.contains_key("application/json"), "{} {code}", operation.id);
        }
        let public = pods_api::openapi::PUBLIC.contains(&operation.id);
        assert_eq!(value.get("security").is_none(), public, "{}", operation.id);
        // A public one may have its own reason: `pod_auth` logs in whole pages only.
        assert!(public || responses.contains_key("401"), "{}", operation.id);
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (property, value) in schema["properties"].as_object().into_iter().flatten() {
            // Of a field that may be null, the description stands beside the reference.
            let text = |value: &Value| !value["description"].as_str().unwrap_or_default().is_empty();
            let described =
                text(value) || value["oneOf"].as_array().is_some_and(|parts| parts.iter().any(text));
            assert!(described, "{name}.{property} has no description");
        }
    }
    // tapipy reads the names of the fields from the top of a body.
    for operation in operations().iter().filter(|operation| operation.has_body) {
        let value = &document["paths"][operation.path][operation.method.as_str().to_lowercase()];
        let schema = &value["requestBody"]["content"]["application/json"]["schema"];
        let name = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
        match name.map(|name| &document["components"]["schemas"][name]) {
            Some(body) => assert!(body["properties"].is_object(), "{}: {body}", operation.id),
            None => assert_eq!(schema["type"], "array", "{}: {schema}", operation.id),
        }
    }
}

/// The objects that one caller is tried on.
struct Objects {
    pod: String,
    template: String,
    image: String,
}

impl Objects {
    /// Alice's, with `level` for `user` on them.
    async fn new(app: &TestApp, number: usize, grant: Option<(&str, Level)>) -> Self {
        let objects = Self {
            pod: format!("matrixpod{number}"),
            template: format!("matrixtpl{number}"),
            image: format!("matrix/image{number}"),
        };
        let alice = app.alice();
        alice.create(&objects.pod, json!({})).await;
        // A run, so that there is one to read the log of.
        for event in [Event::Start, Event::SpawnBegun, Event::Running, Event::Stop, Event::ObjectsGone] {
            app.happens(&objects.pod, event).await;
        }
        alice.post("/v3/pods/templates", json!({"template_id": objects.template})).await.ok();
        let tag = json!({"commit_message": "first", "pod_definition": {"image": "busybox"}});
        alice.post(&format!("/v3/pods/templates/{}/tags", objects.template), tag).await.ok();
        app.admin_mode()
            .post("/v3/pods/images", json!({"image": objects.image, "tenants": ["**"]}))
            .await
            .ok();
        if let Some((user, level)) = grant {
            let body = json!({"user": user, "level": level.as_str()});
            for path in
                [format!("/v3/pods/{}", objects.pod), format!("/v3/pods/templates/{}", objects.template)]
            {
                alice.post(&format!("{path}/permissions"), body.clone()).await.ok();
            }
        }
        objects
    }

    /// Sends an operation in a form that changes as little as possible: bodies that are refused once they are read.
    async fn send(&self, caller: &Caller<'_>, operation: &Operation) -> Answer {
        let path = operation
            .path
            .replace("{pod_id}", &self.pod)
            .replace("{template_id}", &self.template)
            .replace("{tag_id}", "latest")
            .replace("{image_id}", &self.image)
            .replace("{run_index}", "1")
            .replace("{user}", "zoe");
        let body = operation.has_body.then(|| b"{\"bogus\": 1}".to_vec());
        caller.send(operation.method.clone(), &path, body).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_is_decided_as_the_table_says() {
    let app = TestApp::start().await;
    let role = Rights { admin_role: true, admin_mode: false };
    let mode = Rights { admin_role: true, admin_mode: true };
    let service = |user: &str| {
        let token = app.service_token("files");
        app.anonymous().with("x-tapis-token", token).with("x-tapis-tenant", "dev").with("x-tapis-user", user)
    };
    let callers = [
        ("a stranger", app.user("carol"), None, Rights::USER),
        ("NONE", app.user("carol"), Some(("carol", Level::None)), Rights::USER),
        ("READ", app.user("carol"), Some(("carol", Level::Read)), Rights::USER),
        ("USER", app.user("carol"), Some(("carol", Level::User)), Rights::USER),
        ("ADMIN", app.user("carol"), Some(("carol", Level::Admin)), Rights::USER),
        ("a service for a stranger", service("carol"), None, Rights::USER),
        ("a service for a reader", service("carol"), Some(("carol", Level::Read)), Rights::USER),
        ("an administrator without the header", app.admin(), None, role),
        ("an administrator with READ, without the header", app.admin(), Some(("root", Level::Read)), role),
        ("an administrator with the header", app.admin_mode(), None, mode),
    ];
    let mut operations = operations();
    // Deletions last, the objects around them after what is in them.
    operations.sort_by_key(|operation| {
        (operation.method == Method::DELETE, std::cmp::Reverse(operation.path.len()))
    });
    for (number, (name, caller, grant, rights)) in callers.into_iter().enumerate() {
        let objects = Objects::new(&app, number, grant).await;
        let held = grant.map_or(Level::None, |(_, level)| level);
        for operation in &operations {
            let answer = objects.send(&caller, operation).await;
            let Some(action) = action(operation.id) else {
                let expected = if operation.id == "healthcheck" { 200 } else { 404 };
                assert_eq!(answer.status.as_u16(), expected, "{}: {}", operation.id, answer.body);
                continue;
            };
            let level = if action.resource() == Resource::Image { Level::None } else { held };
            let allowed = decide(rights, level, action).is_ok();
            let code = answer.status.as_u16();
            assert_eq!(code != 403, allowed, "{} by {name}: {}", operation.id, answer.body);
            assert!([200, 400, 403, 409].contains(&code), "{} by {name}: {}", operation.id, answer.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_and_other_tenants_get_nowhere() {
    let app = TestApp::start().await;
    let objects = Objects::new(&app, 0, None).await;
    let before = app.alice().get(&format!("/v3/pods/{}", objects.pod)).await.ok();
    for operation in operations() {
        let Some(action) = action(operation.id) else { continue };
        let nobody = objects.send(&app.anonymous(), &operation).await;
        assert_eq!(nobody.status.as_u16(), 401, "{}: {}", operation.id, nobody.body);
        let other = objects.send(&app.other_alice(), &operation).await;
        let code = other.status.as_u16();
        let expected = match action.resource() {
            // Alice of the other tenant has the name of the owner, and nothing else.
            Resource::Pod if operation.path.contains("{pod_id}") => 404,
            _ if decide(Rights::USER, Level::None, action).is_err() => 403,
            _ => code,
        };
        assert_eq!(code, expected, "{}: {}", operation.id, other.body);
        assert!(code < 500, "{}: {}", operation.id, other.body);
    }
    assert_eq!(app.alice().get(&format!("/v3/pods/{}", objects.pod)).await.ok(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_error_tells_anything_about_other_tenants() {
    let app = TestApp::start().await;
    // The other tenant has objects of the same ids, full of words that nobody here may see.
    let other = app.other_alice();
    let grant = json!({"user": "canaryuser", "level": "ADMIN"});
    other.create("samepod", json!({"description": "canary", "environment_variables": {"A": "canary"}})).await;
    other.post("/v3/pods/samepod/permissions", grant.clone()).await.ok();
    other.post("/v3/pods/templates", json!({"template_id": "sametpl", "description": "canary"})).await.ok();
    let tag =
        json!({"commit_message": "canary", "tag": "canary", "pod_definition": {"description": "canary"}});
    other.post("/v3/pods/templates/sametpl/tags", tag).await.ok();
    other.post("/v3/pods/templates/sametpl/permissions", grant).await.ok();
    // And it uses a template of ours.
    app.alice().post("/v3/pods/templates", json!({"template_id": "ourtpl"})).await.ok();
    let tag = json!({"commit_message": "ours", "pod_definition": {"image": "busybox"}});
    app.alice().post("/v3/pods/templates/ourtpl/tags", tag).await.ok();
    let everybody = json!({"user": "**", "level": "READ"});
    app.admin_mode().post("/v3/pods/templates/ourtpl/permissions", everybody).await.ok();
    let user_of_ours = json!({"pod_id": "canarypod", "template": "ourtpl", "status_requested": "OFF"});
    other.post("/v3/pods", user_of_ours).await.ok();

    let objects = |template: &str| Objects {
        pod: "samepod".to_owned(),
        template: template.to_owned(),
        image: "unknown".to_owned(),
    };
    let mut refused = 0;
    for objects in [objects("sametpl"), objects("ourtpl")] {
        for operation in operations() {
            for caller in [app.alice(), app.bob(), app.anonymous()] {
                let answer = objects.send(&caller, &operation).await;
                let text = format!("{} {:?}", answer.body, answer.headers);
                for canary in ["canary", "dev-two"] {
                    assert!(!text.contains(canary), "{}: {text}", operation.id);
                }
                refused += usize::from(!answer.status.is_success());
            }
        }
    }
    assert!(refused > 100, "only {refused} errors were looked at");
    // Ids that are taken elsewhere are free here, except those that are the site's.
    app.alice().create("samepod", json!({})).await;
    app.alice().post("/v3/pods/templates", json!({"template_id": "sametpl"})).await.is(409, "already exists");
}
