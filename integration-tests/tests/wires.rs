//! Long wires through the real proxy: WebSockets, server-sent events, silent connections, gibibytes.
//!
//! The container is a Python program (`networking/wires.py`).
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use integration_tests::{
    Env, Scene, await_condition,
    browser::Browser,
    guarded::SESSION,
    process,
    proxy::Proxy,
    scene::PYTHON,
    script::PROXIES,
    wait::LIMIT,
    wire::{Socket, Wire},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

const SERVER: &str = include_str!("../networking/wires.py");
const GIBIBYTE: u64 = 1024 * 1024 * 1024;

/// A running pod of the program, its proxy included: its id and its host.
async fn pod(scene: &Scene, prefix: &str, default: Value) -> (String, String) {
    let id = scene.id(prefix);
    let networking = json!({ "default": default, "raw": { "protocol": "tcp", "port": 7000 } });
    let body = json!({
        "pod_id": id, "image": PYTHON, "command": ["python3", "-u", "-c", SERVER], "networking": networking,
    });
    scene.create(&scene.alice, body).await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    let host = scene.env.pod_host(&id, "default");
    (id, host)
}

/// One that is open to everybody.
async fn open(scene: &Scene) -> (String, String) {
    let (id, host) = pod(scene, "wires", json!({ "protocol": "http", "port": 5000 })).await;
    scene.visitor.await_page(&host, "/", 200, "ready").await;
    (id, host)
}

/// One behind a login: its host, and the cookie of alice's session.
async fn guarded(scene: &Scene) -> (String, String) {
    let entry = json!({
        "protocol": "http",
        "port": 5000,
        "tapis_auth": true,
        "tapis_auth_response_headers": { "X-Tapis-Username": "<<tapisusername>>" },
    });
    let (_, host) = pod(scene, "guardedwires", entry).await;
    let browser = Browser::new(&scene.env);
    let url = browser.url(&host, "/");
    await_condition("strangers are led to the login", LIMIT, || async {
        let shown = browser.get(&url).await;
        if shown.code == 302 { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
    await_condition("alice is let in", LIMIT, || async {
        // The container may begin to listen a moment after it runs.
        let shown = browser.get(&url).await;
        let shown = if shown.code == 302 { browser.log_in(&url, "alice").await } else { shown };
        if shown.code == 200 { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
    let session = browser.cookie(&host, SESSION).expect("a login makes a session");
    (host, format!("{SESSION}={session}"))
}

/// Server-sent events as curl gets them: over HTTP/2, and compressed when the proxy compresses.
struct Events {
    lines: Lines<BufReader<ChildStdout>>,
    _curl: Child,
}

fn curl(env: &Env) -> Command {
    let mut command = Command::new("curl");
    for name in PROXIES {
        command.env_remove(name);
    }
    command.args(["--silent", "--show-error", "--fail", "--cacert"]).arg(&env.ca_file);
    command.kill_on_drop(true);
    command
}

fn url(env: &Env, host: &str, path: &str) -> String {
    format!("https://{host}:{}{path}", env.https_port)
}

impl Events {
    fn open(env: &Env, host: &str, cookie: Option<&str>) -> Self {
        let mut command = curl(env);
        command.args(["--http2", "--no-buffer", "--compressed", "--header", "Accept: text/event-stream"]);
        command.args(cookie.iter().flat_map(|cookie| ["--cookie", cookie]));
        let mut curl = command.arg(url(env, host, "/events")).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(curl.stdout.take().unwrap()).lines();
        Self { lines, _curl: curl }
    }

    /// The data of the next event, which comes although nothing comes after it.
    async fn next(&mut self) -> String {
        let next = async {
            loop {
                let line = self.lines.next_line().await.unwrap().expect("the stream goes on");
                if let Some(data) = line.strip_prefix("data: ") {
                    return data.to_owned();
                }
            }
        };
        tokio::time::timeout(LIMIT, next).await.expect("an event comes in time")
    }
}

/// A WebSocket and a stream of events, each both ways.
async fn both_pass(scene: &Scene, host: &str, cookie: Option<&str>) {
    let env = &scene.env;
    let origin = url(env, host, "");
    // Browsers say where the page is from that opens a WebSocket.
    let headers: Vec<(&str, &str)> =
        cookie.map(|cookie| ("Cookie", cookie)).into_iter().chain([("Origin", origin.as_str())]).collect();
    let wire = Wire::connect(env, env.https_port, host).await.unwrap();
    let mut socket = Socket::open(wire, "/ws", &headers).await.expect("the WebSocket is opened");
    socket.echo("one").await;
    socket.echo(&"a long text ".repeat(10_000)).await;
    let heard = socket.ask("headers").await;
    assert!(!heard.contains(SESSION), "the pod sees the session: {heard}");
    assert_eq!(heard.contains("x-tapis-username: alice"), cookie.is_some(), "{heard}");

    let mut events = Events::open(env, host, cookie);
    assert_eq!(events.next().await, "ready");
    let browser = Browser::new(env);
    if let Some((name, value)) = cookie.and_then(|cookie| cookie.split_once('=')) {
        browser.set_cookie(host, name, value);
    }
    for word in ["first", "second", "third"] {
        let told = browser.get(&browser.url(host, &format!("/tick?{word}"))).await;
        assert_eq!((told.code, told.text.as_str()), (200, "told 1\n"), "{told:?}");
        assert_eq!(events.next().await, word);
        socket.echo(word).await;
    }
    socket.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_sockets_and_events_pass() {
    let scene = Scene::new().await;
    let (_, host) = open(&scene).await;
    both_pass(&scene, &host, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_sockets_and_events_pass_behind_a_login() {
    let scene = Scene::new().await;
    let (host, cookie) = guarded(&scene).await;
    both_pass(&scene, &host, Some(&cookie)).await;
    for headers in [&[][..], &[("Cookie", "__Host-tapis-pods-session=forged")]] {
        let wire = Wire::connect(&scene.env, scene.env.https_port, &host).await.unwrap();
        let refused = Socket::open(wire, "/ws", headers).await.err();
        assert_eq!(refused, Some(302), "whoever has no session is led to the login");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_events_is_open_before_its_first_event() {
    let scene = Scene::new().await;
    let env = &scene.env;
    // Where the proxy may compress it holds the head of an answer back until its first byte.
    let entry = json!({ "protocol": "http", "port": 5000, "proxy_compression": false });
    let (_, host) = pod(&scene, "quietwires", entry).await;
    scene.visitor.await_page(&host, "/", 200, "ready").await;
    let mut events = Wire::connect(env, env.https_port, &host).await.unwrap();
    let browser = [("Accept", "text/event-stream"), ("Accept-Encoding", "gzip, deflate, br, zstd")];
    events.ask_with("/events?quiet", &browser).await;
    let head = events.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/event-stream"), "{head}");
    let told = scene.visitor.https(&host, "/tick?late").await;
    assert_eq!((told.code, told.text.as_str()), (200, "told 1\n"), "{told:?}");
    events.until("data: late").await;
}

/// What is said in the environment's settings, and what it is shortened to.
const HOUR: &str = "idleTimeout: 3600s";
const SHORT: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_connection_lives_an_hour() {
    let scene = Scene::new().await;
    let env = &scene.env;
    let (id, host) = open(&scene).await;
    let (guarded_host, cookie) = guarded(&scene).await;
    // The same Traefik with a shorter hour.
    let short = format!("idleTimeout: {}s", SHORT.as_secs());
    let proxy = Proxy::start(env, &[(HOUR, &short)]).expect("the environment's hour is shortened");
    let port = proxy.https_port;
    await_condition("the second proxy knows the pods", LIMIT, || async {
        for host in [&host, &guarded_host] {
            let mut wire = Wire::connect(env, port, host).await.map_err(|error| error.to_string())?;
            wire.ask("/").await;
            let status = wire.until("\r\n").await;
            if !(status.contains(" 200 ") || status.contains(" 302 ")) {
                return Err(format!("{host}: {status}"));
            }
        }
        Ok(())
    })
    .await;

    let wire = async |host: &str| Wire::connect(env, port, host).await.unwrap();
    let mut raw = wire(&env.pod_host(&id, "raw")).await;
    raw.echo("before\n").await;
    let mut socket = Socket::open(wire(&host).await, "/ws", &[]).await.unwrap();
    socket.echo("before").await;
    let headers = [("Cookie", cookie.as_str())];
    let mut guarded_socket = Socket::open(wire(&guarded_host).await, "/ws", &headers).await.unwrap();
    guarded_socket.echo("before").await;
    let mut events = wire(&host).await;
    events.ask("/events").await;
    events.until("data: ready").await;
    let mut kept = wire(&host).await;
    kept.ask("/").await;
    kept.until("ready\n").await;
    let silent = Instant::now();

    // Only what has no request under way is ended, and that not before its time.
    kept.ended(LIMIT).await;
    let lived = silent.elapsed();
    // The proxy may have begun to count a moment before this test did.
    assert!(lived + Duration::from_millis(500) >= SHORT, "a connection was ended after {lived:?}");
    raw.echo("after\n").await;
    socket.echo("after").await;
    guarded_socket.echo("after").await;
    let mut tick = wire(&host).await;
    tick.ask("/tick?after").await;
    tick.until("told 1\n").await;
    events.until("data: after").await;
}

/// The resident memory of the proxy and the edges, looked at again and again until it is dropped.
struct Memory {
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// The memory of one process, in KiB.
#[derive(Debug, Clone)]
struct Seen {
    name: String,
    pid: u32,
    before: u64,
    most: u64,
}

impl Memory {
    fn watch(env: &Env) -> Self {
        let names = ["traefik".to_owned()].into_iter().chain(process::replicas(env, "pods-edge"));
        let seen = names.map(|name| {
            let pid = process::pid(env, &name).unwrap();
            let before = process::resident_kib(pid).unwrap();
            Seen { name, pid, before, most: before }
        });
        let memory = Self { over: Arc::default(), seen: Arc::new(Mutex::new(seen.collect())) };
        let (over, seen) = (Arc::clone(&memory.over), Arc::clone(&memory.seen));
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                for process in seen.lock().unwrap().iter_mut() {
                    process.most = process.most.max(process::resident_kib(process.pid).unwrap());
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        memory
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Sends and fetches so many bytes; the version of HTTP is an option of curl's.
async fn up_and_down(env: &Env, host: &str, cookie: &str, version: &str, bytes: u64) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("zeros");
    // Takes no room on the disk.
    std::fs::File::create(&file).unwrap().set_len(bytes).unwrap();
    let mut up = curl(env);
    up.args([version, "--max-time", "600", "--cookie", cookie, "--upload-file"]).arg(&file);
    let up = up.arg(url(env, host, "/upload")).output().await.unwrap();
    let said = String::from_utf8_lossy(&up.stdout);
    assert_eq!(said, format!("took {bytes}\n"), "{}", String::from_utf8_lossy(&up.stderr));

    let mut down = curl(env);
    down.args([version, "--max-time", "600", "--cookie", cookie, "--output", "/dev/null"]);
    down.args(["--write-out", "%{size_download}"]);
    let down = down.arg(url(env, host, &format!("/download?{bytes}"))).output().await.unwrap();
    let said = String::from_utf8_lossy(&down.stdout);
    assert_eq!(said, bytes.to_string(), "{}", String::from_utf8_lossy(&down.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_up_and_down_costs_no_memory() {
    let scene = Scene::new().await;
    let env = &scene.env;
    let (host, cookie) = guarded(&scene).await;
    let (_, open_host) = open(&scene).await;
    let memory = Memory::watch(env);
    up_and_down(env, &host, &cookie, "--http2", GIBIBYTE).await;
    up_and_down(env, &open_host, "none=1", "--http1.1", GIBIBYTE).await;
    for Seen { name, before, most, .. } in memory.seen() {
        let grown = most - before;
        println!("{name}: {before} KiB before, at most {grown} KiB more");
        assert!(grown < 32 * 1024, "{name} grew by {grown} KiB from {before}");
    }
}
