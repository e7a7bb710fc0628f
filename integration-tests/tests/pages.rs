//! The pages in place of a pod: their headers, their JSON form, and what whoever may read the pod sees in addition.

use std::collections::BTreeMap;

use integration_tests::{Scene, await_condition, browser::Browser, database, visit::Page, wait::LIMIT};
use reqwest::Method;
use serde_json::{Value, json, value::RawValue};

/// What a page must be, whoever asks: its state, its code, the seconds until it looks again, and its title.
struct Wanted {
    state: &'static str,
    code: u16,
    looks_again: Option<u32>,
    title: &'static str,
}

const STARTING: Wanted =
    Wanted { state: "starting", code: 503, looks_again: Some(5), title: "This pod is starting" };
const STOPPED: Wanted =
    Wanted { state: "stopped", code: 503, looks_again: None, title: "This pod is stopped" };
const FINISHED: Wanted =
    Wanted { state: "finished", code: 503, looks_again: None, title: "This pod has finished" };
const ERROR: Wanted =
    Wanted { state: "error", code: 503, looks_again: None, title: "This pod is not running" };
const DELETING: Wanted =
    Wanted { state: "deleting", code: 503, looks_again: Some(10), title: "This pod is being deleted" };
const UNKNOWN: Wanted =
    Wanted { state: "unknown", code: 404, looks_again: None, title: "There is no pod here" };
const NOT_HTTP: Wanted =
    Wanted { state: "not_http", code: 404, looks_again: None, title: "This is not a web page" };

/// What visitors ask for.
const WHERE: &str = "/some/where?x=1";

/// What stands in the definition of every pod here, and on no page.
const SECRETS: [&str; 5] = ["a secret plan", "alice", "busybox", "busyhttpd", "sesame"];

fn keeps_its_secrets(page: &Page, id: &str) {
    let headers = format!("{:?}", page.headers);
    for secret in SECRETS.iter().chain([&id]) {
        assert!(!page.text.contains(secret) && !headers.contains(secret), "{secret}: {page:?}");
    }
}

fn is_kept_by_nobody(page: &Page, wanted: &Wanted) {
    assert_eq!(page.code, wanted.code, "{page:?}");
    let seconds = wanted.looks_again.map(|seconds| seconds.to_string()).unwrap_or_default();
    assert_eq!(page.retry_after, seconds, "{page:?}");
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(page.header("x-robots-tag"), "noindex, nofollow");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert!(page.header("vary").contains("Accept"), "{page:?}");
}

/// Waits for the page and looks at both of its forms.
async fn check(scene: &Scene, id: &str, wanted: &Wanted) {
    let host = scene.env.pod_host(id, "default");
    let page = scene.visitor.await_page(&host, WHERE, wanted.code, wanted.title).await;
    let as_json = scene.visitor.ask(&host, WHERE, "application/json").await;
    check_forms(id, wanted, &page, &as_json);
}

/// Looks at what a page says to people and to programs.
fn check_forms(id: &str, wanted: &Wanted, page: &Page, as_json: &Page) {
    is_kept_by_nobody(page, wanted);
    keeps_its_secrets(page, id);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("script"), "{policy}");
    let refresh = wanted.looks_again.map(|seconds| format!("http-equiv=\"refresh\" content=\"{seconds}\""));
    assert_eq!(page.text.contains("http-equiv=\"refresh\""), refresh.is_some(), "{page:?}");
    assert!(refresh.is_none_or(|refresh| page.text.contains(&refresh)), "{page:?}");
    for needless in ["<script", "http://", "https://", " src="] {
        assert!(!page.text.contains(needless), "{needless}: {page:?}");
    }

    is_kept_by_nobody(as_json, wanted);
    keeps_its_secrets(as_json, id);
    assert_eq!(as_json.header("content-type"), "application/json");
    let body: Value = serde_json::from_str(&as_json.text).expect("the page is JSON");
    assert!(body["message"].as_str().is_some_and(|text| text.starts_with(wanted.title)), "{body}");
    assert_eq!(body["metadata"], json!({ "state": wanted.state, "retry_after": wanted.looks_again }));
    assert_eq!((&body["status"], &body["result"]), (&json!("error"), &Value::Null), "{body}");
    assert!(body["version"].is_string(), "{body}");
}

/// A pod with everything that no page may tell.
async fn create(scene: &Scene, prefix: &str, more: Value) -> String {
    let id = scene.id(prefix);
    let mut body = json!({
        "pod_id": id,
        "image": "busyhttpd",
        "description": "a secret plan",
        "environment_variables": { "OPEN": "sesame" },
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    scene.create(&scene.alice, body).await;
    id
}

#[tokio::test]
async fn every_state_has_its_page_and_tells_strangers_nothing_else() {
    let scene = Scene::new().await;
    let shell = |script: &str| json!({ "image": "busybox", "command": ["sh", "-c", script] });
    let never = json!({ "exec_command": ["false"], "initial_delay_seconds": 0, "period_seconds": 1 });
    let unready = create(&scene, "unready", json!({ "healthchecks": { "readiness": never } })).await;
    let failed = create(&scene, "failed", shell("echo sesame; exit 3")).await;
    let finished = create(&scene, "finished", shell("exit 0")).await;
    let tcp = json!({ "networking": { "default": { "protocol": "tcp", "port": 5000 } } });
    let tcp = create(&scene, "bytes", tcp).await;
    let off = create(&scene, "off", json!({ "status_requested": "OFF" })).await;
    check(&scene, &off, &STOPPED).await;
    check(&scene, &scene.id("nobody"), &UNKNOWN).await;
    scene.alice.await_status(&unready, "AVAILABLE").await;
    check(&scene, &unready, &STARTING).await;
    assert_eq!(scene.alice.pod(&unready).await["networking_live"], false);
    check(&scene, &failed, &ERROR).await;
    check(&scene, &finished, &FINISHED).await;
    scene.alice.await_status(&tcp, "AVAILABLE").await;
    // With TLS its host leads to the container, whatever that speaks.
    let host = scene.env.pod_host(&tcp, "default");
    let [page, as_json] =
        ["text/html", "application/json"].map(|form| scene.visitor.plain(&host, WHERE, form));
    check_forms(&tcp, &NOT_HTTP, &page.await, &as_json.await);
    scene.alice.delete(&format!("/v3/pods/{off}")).await.result();
    check(&scene, &off, &DELETING).await;
}

/// The JSON form of the page that the browser's user sees.
async fn json_form(browser: &Browser, url: &str) -> Value {
    let shown = browser.send(Method::GET, url, &[("Accept", "application/json")], &[]).await;
    assert_eq!(shown.code, 503, "{shown:?}");
    serde_json::from_str(&shown.text).expect("the page is JSON")
}

#[tokio::test]
async fn whoever_may_read_the_pod_logs_in_from_the_page_and_sees_why() {
    let scene = Scene::new().await;
    let more = json!({ "image": "busybox", "command": ["sh", "-c", "exit 3"] });
    let id = create(&scene, "why", more).await;
    check(&scene, &id, &ERROR).await;
    let host = scene.env.pod_host(&id, "default");
    let alice = Browser::new(&scene.env);
    let url = alice.url(&host, "/lab?x=1");
    let stranger = alice.get(&url).await;
    let link = "/.well-known/tapis-pods/login?return=%2Flab%3Fx%3D1";
    assert!(stranger.text.contains(&format!("href=\"{link}\"")), "{stranger:?}");

    let shown = alice.log_in(&alice.url(&host, link), "alice").await;
    assert_eq!((shown.code, shown.url.as_str()), (503, url.as_str()), "{shown:?}");
    let explained = scene.alice.get(&format!("/v3/pods/{id}/explain")).await.result();
    let code = explained["code"].as_str().unwrap();
    for part in ["What is known", id.as_str(), code, "logged in as <strong>alice</strong>", "Log out"] {
        assert!(shown.text.contains(part), "{part}: {shown:?}");
    }
    let result = json_form(&alice, &url).await["result"].clone();
    for field in ["pod_id", "status", "code", "message", "who_can_act", "next_call", "networking"] {
        assert_eq!(result[field], explained[field], "{field}");
    }

    // Somebody else of the tenant may log in, and sees no more until somebody lets him read.
    let bob = Browser::new(&scene.env);
    let shown = bob.log_in(&bob.url(&host, link), "bob").await;
    assert!(shown.text.contains("You are logged in as <strong>bob</strong>"), "{shown:?}");
    assert!(!shown.text.contains("What is known") && !shown.text.contains(code), "{shown:?}");
    assert_eq!(json_form(&bob, &url).await["result"], Value::Null);
    scene.alice.grant(&id, "bob", "READ").await;
    let result = await_condition("bob sees the explanation", LIMIT, || async {
        let result = json_form(&bob, &url).await["result"].clone();
        if result.is_null() { Err("nothing".to_owned()) } else { Ok(result) }
    });
    let result = result.await;
    // Its logs are the next thing to look at, and READ is enough for them.
    assert_eq!((&result["code"], &result["next_call"]), (&explained["code"], &explained["next_call"]));
    scene.alice.delete(&format!("/v3/pods/{id}/permissions/bob")).await.result();
    await_condition("bob sees the explanation no more", LIMIT, || async {
        let result = json_form(&bob, &url).await["result"].clone();
        if result.is_null() { Ok(()) } else { Err(result.to_string()) }
    })
    .await;

    let (logout, origin) = (alice.url(&host, "/.well-known/tapis-pods/logout"), alice.url(&host, ""));
    let shown = alice.send(Method::POST, &logout, &[("Origin", &origin)], &[]).await;
    assert_eq!(shown.code, 200, "{shown:?}");
    assert_eq!(alice.get(&url).await.text, stranger.text, "she is a stranger again");
}

/// The members of the routing document as they stand in it, by section, kind and name.
type Document = BTreeMap<String, BTreeMap<String, BTreeMap<String, Box<RawValue>>>>;

async fn document(scene: &Scene) -> Result<Document, String> {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client can be built");
    let url = format!("{}/traefik-config", scene.env.edge_url);
    let answer = client.get(url).send().await.map_err(|error| format!("{error:?}"))?;
    // While the database is slow there is no document, which is no fault.
    let answer = answer.error_for_status().map_err(|error| error.to_string())?;
    let text = answer.text().await.map_err(|error| error.to_string())?;
    Ok(serde_json::from_str(&text).expect("the document is JSON"))
}

/// What the document says of a service's name: its text in each kind of members.
fn said_of(document: &Document, name: &str) -> Vec<String> {
    let kinds = document["http"].iter();
    kinds.filter_map(|(kind, members)| Some(format!("{kind} {}", members.get(name)?.get()))).collect()
}

#[tokio::test]
async fn an_entry_that_cannot_be_routed_is_left_out_alone_and_says_why() {
    let scene = Scene::new().await;
    let networking = json!({ "default": { "port": 5000 }, "second": { "port": 5000 } });
    let id = create(&scene, "spoilt", json!({ "networking": networking })).await;
    let neighbour = scene.httpd("neighbour").await;
    for id in [&id, &neighbour] {
        scene.alice.await_status(id, "AVAILABLE").await;
        scene.visitor.await_page(&scene.env.pod_host(id, "default"), "/", 200, "It works").await;
    }
    let second = scene.env.pod_host(&id, "second");
    scene.visitor.await_page(&second, "/", 200, "It works").await;
    let before = await_condition("a document", LIMIT, || document(&scene)).await;
    let services: Vec<&str> = before["http"]["services"].keys().map(String::as_str).collect();
    let of = |id: &str, end: &str| {
        let found = services.iter().find(|name| name.contains(id) && name.ends_with(end));
        (*found.unwrap_or_else(|| panic!("{id}{end} among {services:?}"))).to_owned()
    };
    let kept = [of(&id, &id), of(&neighbour, &neighbour)];
    let spoilt = of(&id, "-second");

    // The API would refuse it; an older version of the service might not have.
    database::set_networking(&scene.env, &id, "second", "ip_allow_list", "[\"everybody\"]").await;
    let after = await_condition("the entry is left out", LIMIT, || async {
        let document = document(&scene).await?;
        if said_of(&document, &spoilt).is_empty() { Ok(document) } else { Err("it is there".to_owned()) }
    })
    .await;
    for name in &kept {
        assert_eq!(said_of(&after, name), said_of(&before, name), "{name}");
        assert_eq!(said_of(&after, name).len(), 2, "a router and a service");
    }
    let page = scene.visitor.await_page(&second, "/", 503, "This pod cannot be reached").await;
    keeps_its_secrets(&page, &id);
    assert_eq!(scene.visitor.https(&scene.env.pod_host(&id, "default"), "/").await.code, 200);

    let explained = scene.alice.get(&format!("/v3/pods/{id}/explain")).await.result();
    let entry = &explained["networking"][1];
    assert_eq!((&entry["name"], &entry["live"]), (&json!("second"), &json!(false)), "{explained}");
    let reason = "ip_allow_list: \"everybody\" is no network";
    assert!(entry["message"].as_str().unwrap().contains(reason), "{explained}");
    assert!(explained["hints"].to_string().contains("Networking entry \\\"second\\\""), "{explained}");
    let live = async || scene.alice.pod(&id).await["networking_live"].clone();
    assert_eq!(live().await, true, "the other entry is reached");
    database::set_networking(&scene.env, &id, "default", "ip_allow_list", "[\"everybody\"]").await;
    assert_eq!(live().await, false);
    scene
        .visitor
        .await_page(&scene.env.pod_host(&id, "default"), "/", 503, "This pod cannot be reached")
        .await;

    // What the owner writes then counts.
    let networking = json!({ "networking": { "default": { "port": 5000 }, "second": { "port": 5000 } } });
    scene.alice.put(&format!("/v3/pods/{id}"), networking).await.result();
    scene.visitor.await_page(&second, "/", 200, "It works").await;
}
