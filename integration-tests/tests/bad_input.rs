//! Requests that must be refused: a clear 4xx, and nothing changed.

use integration_tests::{
    Caller, Scene,
    env::TokenWish,
    scene::{BUSYBOX, HTTPD},
};
use reqwest::Method;
use serde_json::{Value, json};

/// What could have changed: every pod of the tenant, without what time alone changes.
async fn all_pods(scene: &Scene, mine: &[&str]) -> Vec<Value> {
    let pods = scene.admin.in_admin_mode().get("/v3/pods").await.result();
    let pods = pods.as_array().expect("a list").iter();
    pods.filter(|pod| mine.iter().any(|id| pod["pod_id"] == *id)).cloned().collect()
}

#[tokio::test]
async fn without_a_good_token_nothing_is_answered() {
    let scene = Scene::new().await;
    let id = scene.id("token");
    scene.create(&scene.alice, json!({ "pod_id": id, "image": HTTPD, "status_requested": "OFF" })).await;
    let before = all_pods(&scene, &[&id]).await;

    let env = &scene.env;
    let alice = TokenWish { user: "alice", ..TokenWish::default() };
    let other = env.other_tenant().id.clone();
    let signed = scene.alice.token.rsplit_once('.').expect("a JWT has three parts").0.to_owned();
    let cases = [
        ("no token", String::new(), 401),
        ("nonsense", "abc".to_owned(), 401),
        ("expired", env.token(TokenWish { ttl: Some(-60), ..alice }), 401),
        ("refresh token", env.token(TokenWish { refresh: true, ..alice }), 401),
        ("wrong signature", format!("{signed}.{}", "A".repeat(342)), 401),
        ("no signature", format!("{signed}."), 401),
        ("another tenant's", env.token(TokenWish { tenant: &other, ..alice }), 403),
    ];
    let pod = format!("/v3/pods/{id}");
    let new = json!({ "pod_id": scene.id("never"), "image": HTTPD });
    for (name, token, code) in cases {
        let caller = scene.alice.with_token(token);
        let requests: [(Method, String, Option<&Value>); 8] = [
            (Method::GET, "/v3/pods".to_owned(), None),
            (Method::POST, "/v3/pods".to_owned(), Some(&new)),
            (Method::GET, pod.clone(), None),
            (Method::PUT, pod.clone(), Some(&new)),
            (Method::DELETE, pod.clone(), None),
            (Method::GET, format!("{pod}/start"), None),
            (Method::GET, format!("{pod}/logs"), None),
            (Method::GET, format!("{pod}/permissions"), None),
        ];
        for (method, path, body) in requests {
            let message = caller.send(method, &path, body).await.refused(code);
            assert!(!message.contains(&caller.token) || caller.token.len() < 4, "{name}: shows the token");
        }
    }
    assert_eq!(all_pods(&scene, &[&id]).await, before);
}

#[tokio::test]
async fn bad_bodies_are_refused_with_the_field_that_is_wrong() {
    let scene = Scene::new().await;
    let id = scene.id("bodies");
    scene.create(&scene.alice, json!({ "pod_id": id, "image": HTTPD, "status_requested": "OFF" })).await;
    let before = all_pods(&scene, &[&id]).await;

    // What is wrong, the members of the body, a word of the message. A null pod_id is left out.
    let new = scene.id("new");
    let long = "a".repeat(64);
    let cases = [
        (json!({ "image": HTTPD }), "pod_id"),
        (json!({ "pod_id": new, "image": HTTPD, "colour": "red" }), "colour"),
        (json!({ "pod_id": new, "image": HTTPD, "description": 7 }), "description"),
        (json!({ "pod_id": new, "image": HTTPD, "command": "sh" }), "command"),
        (json!({ "pod_id": new, "image": HTTPD, "environment_variables": ["A=1"] }), "environment_variables"),
        (json!({ "pod_id": new, "image": HTTPD, "time_to_stop_default": "soon" }), "time_to_stop_default"),
        (json!({ "pod_id": new, "image": HTTPD, "time_to_stop_default": 5 }), "time_to_stop_default"),
        (json!({ "pod_id": new, "image": HTTPD, "resources": { "cpu_request": "much" } }), "cpu_request"),
        (json!({ "pod_id": new, "image": HTTPD, "resources": { "cpu_limit": 10_000_000 } }), "cpu_limit"),
        (json!({ "pod_id": new, "image": HTTPD, "resources": { "wheels": 4 } }), "wheels"),
        (json!({ "pod_id": new, "image": HTTPD, "networking": [] }), "networking"),
        (json!({ "pod_id": new, "image": HTTPD, "networking": { "default": { "port": 0 } } }), "port"),
        (
            json!({ "pod_id": new, "image": HTTPD, "networking": { "default": { "protocol": "udp" } } }),
            "protocol",
        ),
        (json!({ "pod_id": new, "image": HTTPD, "status_requested": "PAUSE" }), "status_requested"),
        (json!({ "pod_id": new, "image": HTTPD, "compute_queue": "unheardof" }), "compute_queue"),
        (json!({ "pod_id": new, "image": "not/on/the/list" }), "image"),
        (json!({ "pod_id": new, "image": "Not An Image" }), "image"),
        (json!({ "pod_id": "ab", "image": HTTPD }), "pod_id"),
        (json!({ "pod_id": "1abc", "image": HTTPD }), "pod_id"),
        (json!({ "pod_id": "Upper", "image": HTTPD }), "pod_id"),
        (json!({ "pod_id": "with-hyphen", "image": HTTPD }), "pod_id"),
        (json!({ "pod_id": "with.dot", "image": HTTPD }), "pod_id"),
        (json!({ "pod_id": 12, "image": HTTPD }), "pod_id"),
        (json!({ "pod_id": "templates", "image": HTTPD }), "pod_id"),
        (json!({ "pod_id": long, "image": HTTPD }), "too long"),
        (json!({ "pod_id": new, "image": HTTPD, "networking": { &long: { "port": 5000 } } }), "too long"),
        (json!([]), "object"),
        (json!("pod"), "object"),
    ];
    for (body, word) in cases {
        let message = scene.alice.post("/v3/pods", body.clone()).await.refused(400);
        assert!(message.contains(word), "{body}: {message}");
        let Value::Object(mut members) = body else { continue };
        members.remove("pod_id");
        if members.len() > 1 {
            let message = scene.alice.put(&format!("/v3/pods/{id}"), members.into()).await.refused(400);
            assert!(message.contains(word), "PUT: {message}");
        }
    }
    let broken = reqwest::Client::builder().no_proxy().build().unwrap();
    let broken = broken
        .post(format!("{}/v3/pods", scene.env.base_url))
        .header("X-Tapis-Token", &scene.alice.token)
        .header("Content-Type", "application/json")
        .body("{\"pod_id\": ");
    assert_eq!(broken.send().await.unwrap().status(), 400, "broken JSON");
    assert_eq!(all_pods(&scene, &[&id, &new]).await, before);
}

#[tokio::test]
async fn requests_that_do_not_fit_the_state_are_refused() {
    let scene = Scene::new().await;
    let id = scene.httpd("state").await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    let before = all_pods(&scene, &[&id]).await;

    let again = json!({ "pod_id": id, "image": BUSYBOX });
    scene.alice.post("/v3/pods", again.clone()).await.refused(409);
    // The id belongs to the tenant, whoever asks.
    scene.bob.post("/v3/pods", again).await.refused(409);
    scene.alice.get(&format!("/v3/pods/{id}/start")).await.refused(409);

    let unknown = scene.id("unknown");
    for path in ["", "/start", "/stop", "/restart", "/logs", "/permissions"] {
        scene.alice.get(&format!("/v3/pods/{unknown}{path}")).await.refused(404);
    }
    scene.alice.put(&format!("/v3/pods/{unknown}"), json!({ "description": "x" })).await.refused(404);
    scene.alice.delete(&format!("/v3/pods/{unknown}")).await.refused(404);
    scene.alice.get(&format!("/v3/pods/{id}/nothing")).await.refused(404);
    scene.alice.send(Method::PATCH, &format!("/v3/pods/{id}"), None).await.refused(405);

    let last = scene.alice.delete(&format!("/v3/pods/{id}/permissions/alice")).await;
    assert!(last.refused(400).contains("ADMIN"));
    assert_eq!(all_pods(&scene, &[&id]).await, before);
    assert_eq!(scene.cluster.pods_of(&id).await.len(), 1);
}

/// One row of the permission table: which levels may do it.
struct Operation {
    method: Method,
    path: &'static str,
    body: Option<Value>,
    allowed: &'static [&'static str],
}

#[tokio::test]
async fn each_level_may_do_what_the_permission_table_says() {
    let scene = Scene::new().await;
    let id = scene.id("levels");
    scene.create(&scene.alice, json!({ "pod_id": id, "image": HTTPD, "status_requested": "OFF" })).await;
    let operation = |method, path, body, allowed| Operation { method, path, body, allowed };
    let (read, user, admin): (&[&str], &[&str], &[&str]) =
        (&["READ", "USER", "ADMIN"], &["USER", "ADMIN"], &["ADMIN"]);
    // The last ones change what the others look at.
    let table = [
        operation(Method::GET, "", None, read),
        operation(Method::GET, "/logs", None, read),
        operation(Method::GET, "/permissions", None, user),
        operation(Method::PUT, "", Some(json!({ "description": "by LEVEL" })), user),
        operation(Method::POST, "/permissions", Some(json!({ "user": "dave", "level": "READ" })), admin),
        operation(Method::DELETE, "/permissions/dave", None, admin),
        operation(Method::PUT, "", Some(json!({ "status_requested": "ON" })), admin),
        operation(Method::GET, "/restart", None, admin),
        operation(Method::GET, "/stop", None, admin),
        operation(Method::PUT, "", Some(json!({ "status_requested": "RESTART" })), admin),
        operation(Method::DELETE, "", None, admin),
    ];
    for level in ["nothing", "NONE", "READ", "USER", "ADMIN"] {
        if level != "nothing" {
            scene.alice.grant(&id, "bob", level).await;
        }
        let listed = scene.bob.get("/v3/pods").await.result();
        let listed = listed.as_array().unwrap().iter().any(|pod| pod["pod_id"] == id);
        assert_eq!(listed, read.contains(&level), "GET /pods with {level}");
        for row in &table {
            let body = row.body.clone().map(|mut body| {
                if let Some(text) = body.get_mut("description") {
                    *text = json!(format!("by {level}"));
                }
                body
            });
            let allowed = row.allowed.contains(&level);
            let before = scene.alice.get(&format!("/v3/pods/{id}")).await;
            let answer = scene
                .bob
                .send(row.method.clone(), &format!("/v3/pods/{id}{}", row.path), body.as_ref())
                .await;
            if allowed {
                answer.result();
            } else {
                let message = answer.refused(403);
                assert!(!message.contains("alice"), "{message}");
                assert_eq!(scene.alice.pod(&id).await, before.result());
            }
        }
    }
    scene.alice.get(&format!("/v3/pods/{id}")).await.refused(404);
    scene.cluster.await_nothing_of(&id).await;
}

#[tokio::test]
async fn administrators_need_the_role_and_the_header() {
    let scene = Scene::new().await;
    let id = scene.id("adminmode");
    scene.create(&scene.alice, json!({ "pod_id": id, "image": HTTPD, "status_requested": "OFF" })).await;
    let path = format!("/v3/pods/{id}");
    scene.bob.in_admin_mode().get(&path).await.refused(403);
    scene.admin.get(&path).await.refused(403);
    assert_eq!(scene.admin.in_admin_mode().get(&path).await.result()["pod_id"], id);
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let scene = Scene::new().await;
    let id = scene.id("tenants");
    scene.create(&scene.alice, json!({ "pod_id": id, "image": HTTPD, "status_requested": "OFF" })).await;
    let other = scene.env.other_tenant().clone();
    let token = scene.env.token(TokenWish { user: "alice", tenant: &other.id, ..TokenWish::default() });
    let namesake = Caller::new("alice of the other tenant", &other.base_url, token);
    namesake.get(&format!("/v3/pods/{id}")).await.refused(404);
    namesake.delete(&format!("/v3/pods/{id}")).await.refused(404);
    // The same id is free there.
    let body = json!({ "pod_id": id, "image": HTTPD, "status_requested": "OFF" });
    scene.create(&namesake, body).await;
    assert_eq!(
        namesake
            .get("/v3/pods")
            .await
            .result()
            .as_array()
            .unwrap()
            .iter()
            .filter(|pod| pod["pod_id"] == id)
            .count(),
        1
    );
}
