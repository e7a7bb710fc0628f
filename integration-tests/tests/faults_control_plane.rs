//! Everything is away but Traefik, the edge and Kubernetes: who visits a pod does not notice.

use std::time::{Duration, Instant};

use integration_tests::{
    Env, Scene, await_condition,
    browser::Browser,
    env::short,
    guarded::{self, SESSION},
    process::Outage,
    scene::PYTHON,
    traffic::{Traffic, Visit},
    wait::LIMIT,
    wire::{Socket, Wire},
};
use reqwest::{Client, Method};
use serde_json::json;

/// Two pods with their hosts, and who is logged in at the second.
struct Pods {
    open: String,
    open_host: String,
    guarded_host: String,
    alice: Browser,
}

impl Pods {
    async fn create(scene: &Scene) -> Self {
        let open = scene.httpd("open").await;
        let open_host = scene.env.pod_host(&open, "default");
        scene.visitor.await_page(&open_host, "/", 200, "It works").await;
        let (_, guarded_host) = guarded::pod(scene, "guarded", json!({})).await;
        let alice = Browser::new(&scene.env);
        let shown = alice.log_in(&alice.url(&guarded_host, "/"), "alice").await;
        assert_eq!(shown.code, 200, "{shown:?}");
        Self { open, open_host, guarded_host, alice }
    }

    fn visits(&self) -> Vec<Visit> {
        let session = self.alice.cookie(&self.guarded_host, SESSION).expect("alice is logged in");
        let cookie = Some(format!("{SESSION}={session}"));
        let visit = |what, host: &str, cookie: &Option<String>, fresh| Visit {
            what,
            host: host.to_owned(),
            path: "/".to_owned(),
            cookie: cookie.clone(),
            text: "It works",
            fresh,
        };
        vec![
            visit("open pod, one connection", &self.open_host, &None, false),
            visit("open pod, many connections", &self.open_host, &None, true),
            visit("session, one connection", &self.guarded_host, &cookie, false),
            visit("session, many connections", &self.guarded_host, &cookie, true),
        ]
    }
}

/// Connections to a pod that stay: a WebSocket and one to its TCP entry.
struct Wires {
    raw_host: String,
    socket: Socket,
    raw: Wire,
}

impl Wires {
    async fn open(scene: &Scene) -> Self {
        let id = scene.id("wires");
        let command = ["python3", "-u", "-c", include_str!("../networking/wires.py")];
        let networking = json!({ "default": { "port": 5000 }, "raw": { "protocol": "tcp", "port": 7000 } });
        let body = json!({ "pod_id": id, "image": PYTHON, "command": command, "networking": networking });
        scene.create(&scene.alice, body).await;
        scene.alice.await_status(&id, "AVAILABLE").await;
        let (host, raw_host) = (scene.env.pod_host(&id, "default"), scene.env.pod_host(&id, "raw"));
        scene.visitor.await_page(&host, "/", 200, "ready").await;
        let socket = Socket::open(connect(&scene.env, &host).await, "/ws", &[]).await;
        let socket = socket.expect("the WebSocket is opened");
        let raw = connect(&scene.env, &raw_host).await;
        Self { raw_host, socket, raw }
    }

    /// Says something over both, and over a new connection.
    async fn echo(&mut self, env: &Env) {
        self.socket.echo("still there").await;
        self.raw.echo("still there\n").await;
        connect(env, &self.raw_host).await.echo("new\n").await;
    }
}

async fn connect(env: &Env, host: &str) -> Wire {
    Wire::connect(env, env.https_port, host).await.expect("the proxy takes connections")
}

/// Waits until somebody without a session is told that nobody can log in at the moment.
async fn await_no_login(env: &Env, host: &str) {
    await_condition("a new login gets a 503 page", LIMIT, || async {
        let stranger = Browser::new(env);
        let shown = stranger.get(&stranger.url(host, "/")).await;
        assert_ne!(shown.code, 200, "open to everybody: {shown:?}");
        if shown.code == 503 && shown.text.contains("<html") { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
}

/// Waits until the API answers alice again.
async fn await_api(scene: &Scene, pod_id: &str) {
    let path = format!("/v3/pods/{pod_id}");
    await_condition("the API answers again", LIMIT, || async {
        match scene.alice.try_send(Method::GET, &path, None).await {
            Ok(answer) if answer.code == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_control_plane_no_request_of_a_visitor_fails() {
    let scene = Scene::new().await;
    let away = Duration::from_secs(if short() { 20 } else { 300 });
    let pods = Pods::create(&scene).await;
    let mut wires = Wires::open(&scene).await;
    wires.echo(&scene.env).await;
    let traffic = Traffic::start(&scene.env, pods.visits());
    let outages = [
        Outage::stop_all(&scene.env, "pods-api"),
        Outage::stop_all(&scene.env, "pods-health"),
        Outage::stop_all(&scene.env, "pods-spawner"),
        Outage::stop(&scene.env, "nats"),
        Outage::stop(&scene.env, "postgres"),
    ];
    let begun = Instant::now();
    await_no_login(&scene.env, &pods.guarded_host).await;
    // As often as a person would.
    let mut turns = tokio::time::interval(Duration::from_secs(1));
    while begun.elapsed() < away {
        turns.tick().await;
        wires.echo(&scene.env).await;
        let stranger = Browser::new(&scene.env);
        let shown = stranger.get(&stranger.url(&pods.guarded_host, "/")).await;
        assert_eq!(shown.code, 503, "{shown:?}");
        let program = [("Accept", "application/json")];
        let shown = stranger.send(Method::GET, &stranger.url(&pods.guarded_host, "/"), &program, &[]).await;
        assert_eq!(shown.code, 503, "{shown:?}");
        let page = scene.visitor.https(&pods.guarded_host, "/").await;
        assert!(!page.retry_after.is_empty(), "{page:?}");
    }
    // What the others need comes back first.
    for outage in outages.into_iter().rev() {
        outage.end();
    }
    await_api(&scene, &pods.open).await;
    let back = Browser::new(&scene.env);
    await_condition("bob can go to the login again", LIMIT, || async {
        let shown = back.get(&back.url(&pods.guarded_host, "/")).await;
        if shown.code == 302 { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
    for tally in traffic.finish().await {
        println!("{}: {} requests, {} failed", tally.what, tally.requests, tally.failed);
        assert_eq!(tally.failed, 0, "{} of {} failed: {:#?}", tally.failed, tally.requests, tally.failures);
        // Half as many as were meant to come: what is answered slowly is not answered.
        assert!(tally.requests as u64 >= 10 * away.as_secs(), "{tally:?}");
    }
}

/// What the first edge serves to Traefik now; nothing while it does not.
async fn document(client: &Client, env: &Env) -> Option<String> {
    let answer = client.get(format!("{}/traefik-config", env.edge_url)).send().await.ok()?;
    if answer.status() == 200 { answer.text().await.ok() } else { None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_edge_serves_its_copy_only_while_postgres_is_away() {
    let scene = Scene::new().await;
    let env = &scene.env;
    let pods = Pods::create(&scene).await;
    let client = Client::builder().no_proxy().build().unwrap();
    let before = document(&client, env).await.expect("the edge serves a document");
    assert!(before.contains(&pods.open_host));

    let postgres = Outage::stop(env, "postgres");
    await_condition("an edge that lost Postgres leaves the word to others", LIMIT, || async {
        match document(&client, env).await {
            None => Ok(()),
            Some(_) => Err("it serves a document".to_owned()),
        }
    })
    .await;
    Outage::kill_all(env, "pods-edge").end();
    let copy = await_condition("the restarted edge serves its copy", LIMIT, || async {
        document(&client, env).await.ok_or_else(|| "no document".to_owned())
    })
    .await;
    assert_eq!(copy, before, "byte by byte what was served last");
    scene.visitor.await_page(&pods.open_host, "/", 200, "It works").await;
    // It kept which sessions were revoked, too.
    let shown = pods.alice.get(&pods.alice.url(&pods.guarded_host, "/")).await;
    assert_eq!(shown.code, 200, "alice's session goes on: {shown:?}");
    await_no_login(env, &pods.guarded_host).await;
    let unknown = scene.visitor.https(&env.pod_host(&scene.id("nobody"), "default"), "/").await;
    assert_eq!(unknown.code, 503, "it may have been created meanwhile: {unknown:?}");

    // The world goes on while no edge runs, and Postgres is there when the edge comes back.
    let edges = Outage::kill_all(env, "pods-edge");
    postgres.end();
    await_api(&scene, &pods.open).await;
    scene.alice.act(&pods.open, "stop").await;
    scene.alice.await_status(&pods.open, "STOPPED").await;
    let watching = tokio::spawn({
        let (client, env, host) = (client.clone(), env.clone(), pods.open_host.clone());
        async move {
            loop {
                if let Some(document) = document(&client, &env).await {
                    return !document.contains(&host);
                }
            }
        }
    });
    edges.end();
    assert!(watching.await.unwrap(), "the first document is not the copy");
    scene.visitor.await_page(&pods.open_host, "/", 503, "is stopped").await;
    let shown = pods.alice.get(&pods.alice.url(&pods.guarded_host, "/")).await;
    assert_eq!(shown.code, 200, "{shown:?}");
}
