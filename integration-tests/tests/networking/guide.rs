//! The examples of the guide's chapter as pods.

use integration_tests::{
    Caller, Scene, await_condition,
    browser::Browser,
    env::TokenWish,
    guarded,
    programs::BOLT_STUB,
    scene::{BUSYBOX, POSTGRES, PYTHON},
    wait::LIMIT,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{databases, start};

const WEB_SERVER: [&str; 6] = ["httpd", "-f", "-p", "8080", "-h", "/www"];

/// The `networking` that an example shows, word for word; a comma before a closing brace is no JSON.
pub fn shown(name: &str) -> Value {
    let guide: Value = serde_yaml_ng::from_str(include_str!("../../seeds/examples.yaml")).unwrap();
    let example = guide["examples"].as_array().unwrap().iter().find(|example| example["name"] == name);
    let text = example.unwrap()["text"].as_str().unwrap().replace(",\n}", "\n}");
    let body: Value = serde_json::from_str(&format!("{{{text}}}")).unwrap();
    body["networking"].clone()
}

/// A pod with the networking of an example and a web server on port 8080.
pub async fn web_pod(scene: &Scene, name: &str) -> String {
    let body = json!({ "image": BUSYBOX, "command": WEB_SERVER, "networking": shown(name) });
    start(scene, "guide", body).await
}

#[tokio::test]
async fn port_8080_over_http() {
    let scene = Scene::new().await;
    let id = web_pod(&scene, "networking-http").await;
    scene.visitor.await_page(&scene.env.pod_host(&id, "default"), "/", 200, "It works").await;
}

#[tokio::test]
async fn neo4j_with_its_browser_and_bolt() {
    let scene = Scene::new().await;
    let both = "httpd -p 7474 -h /www; exec python3 -u -c \"$0\" 7687";
    let body = json!({
        "image": PYTHON,
        "command": ["sh", "-c", both, BOLT_STUB],
        "networking": shown("networking-bolt"),
        "environment_variables": *databases::NEO4J_USER,
    });
    let id = start(&scene, "guide", body).await;
    scene.visitor.await_page(&scene.env.pod_host(&id, "default"), "/", 200, "It works").await;
    databases::neo4j_driver_works(&scene, &id, "bolt").await;
}

#[tokio::test]
async fn postgres_beside_the_main_host() {
    let scene = Scene::new().await;
    let body = json!({
        "image": POSTGRES,
        "networking": shown("networking-postgres"),
        "environment_variables": *databases::POSTGRES_USER,
    });
    let id = start(&scene, "guide", body).await;
    databases::psycopg2_works(&scene, &id, "postgres", true).await;
    let database = databases::Database::of(&scene, &id, "postgres").await;
    assert_eq!(database.psql("sslmode=require", "select 1").await.as_deref(), Ok("1"));
    let main = scene.visitor.https(&scene.env.pod_host(&id, "default"), "/").await;
    assert_eq!(main.code, 404, "the main host is free for another entry: {main:?}");
}

#[tokio::test]
async fn a_login_for_two_users_and_what_the_container_is_told() {
    let scene = Scene::new().await;
    let command = ["python3", "-u", "-c", guarded::ECHO, "8080"];
    let body = json!({ "image": PYTHON, "command": command, "networking": shown("networking-tapis-auth") });
    let id = start(&scene, "guide", body).await;
    let program = Browser::new(&scene.env);
    let url = program.url(&scene.env.pod_host(&id, "default"), "/");
    scene.visitor.await_page(&scene.env.pod_host(&id, "default"), "/", 302, "").await;
    for user in ["superuser", "originaluser"] {
        let token = scene.env.token(TokenWish { user, ..TokenWish::default() });
        let told = await_condition(&format!("{user} is let in"), LIMIT, || async {
            // The container may begin to listen a moment after it runs.
            let told = program.send(Method::GET, &url, &[("X-Tapis-Token", token.as_str())], &[]).await;
            if told.code == 200 { Ok(told) } else { Err(format!("{told:?}")) }
        })
        .await;
        guarded::is_told_word_for_word(&told, user);
    }
    let refused =
        program.send(Method::GET, &url, &[("X-Tapis-Token", scene.alice.token.as_str())], &[]).await;
    assert_eq!(refused.code, 403, "{refused:?}");
}

#[tokio::test]
async fn without_a_login_the_container_gets_what_was_sent() {
    let scene = Scene::new().await;
    let command = ["python3", "-u", "-c", guarded::ECHO, "8080"];
    let body = json!({ "image": PYTHON, "command": command, "networking": shown("networking-http") });
    let id = start(&scene, "guide", body).await;
    let host = scene.env.pod_host(&id, "default");
    scene.visitor.await_page(&host, "/", 200, "headers").await;
    let cookies = format!("theme=dark; {}=x; X-Tapis-Token=y", guarded::SESSION);
    let sent =
        [("X-Tapis-Token", scene.alice.token.as_str()), ("Cookie", &cookies), ("X-Tapis-Username", "z")];
    let program = Browser::new(&scene.env);
    let told = program.send(Method::GET, &program.url(&host, "/"), &sent, &[]).await;
    for (name, value) in sent {
        assert_eq!(guarded::echoed(&told, name), [value], "{told:?}");
    }
}

#[tokio::test]
async fn what_tapis_ui_shows_is_stored_and_returned() {
    let scene = Scene::new().await;
    let id = web_pod(&scene, "networking-tapis-ui").await;
    let fields = |pod: &Value| {
        let entry = &pod["networking"]["default"];
        ["", "_redirect", "_description"].map(|part| entry[format!("tapis_ui_uri{part}")].clone())
    };
    let wanted = fields(&json!({ "networking": shown("networking-tapis-ui") }));
    assert_eq!(wanted[0], "/admin");
    assert_eq!(fields(&scene.alice.pod(&id).await), wanted);
    assert_eq!(fields(&listed(&scene.alice, &id).await), wanted);
    // They are for TapisUI alone: the pod is reached as it would be without them.
    scene.visitor.await_page(&scene.env.pod_host(&id, "default"), "/", 200, "It works").await;

    let other = json!({ "networking": { "default": { "port": 8080, "tapis_ui_uri": "/lab" } } });
    scene.alice.put(&format!("/v3/pods/{id}"), other).await.result();
    assert_eq!(fields(&scene.alice.pod(&id).await), [json!("/lab"), json!(false), json!("")]);
}

async fn listed(caller: &Caller, id: &str) -> Value {
    let pods = caller.get("/v3/pods").await.result();
    pods.as_array().unwrap().iter().find(|pod| pod["pod_id"] == id).unwrap().clone()
}
