//! Two replicas of the edge: whichever the proxy asks, its routes never go back in time.

use std::{
    path::Path,
    process::{Child, Command},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use integration_tests::{Env, Scene, await_condition, wait::LIMIT};
use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// As Traefik waits for its document.
const POLL_LIMIT: Duration = Duration::from_secs(5);
/// Between two polls of one edge.
const PAUSE: Duration = Duration::from_millis(20);

/// A way to the database that the test can cut.
struct Link {
    port: u16,
    open: watch::Sender<bool>,
}

impl Link {
    /// To the environment's database, with the address to use.
    async fn to_database(env: &Env) -> (Self, String) {
        let (before, rest) = env.database_url.rsplit_once('@').expect("the address has a password");
        let (target, path) = rest.split_once('/').expect("the address names a database");
        let link = Self::to(target.to_owned()).await;
        let database_url = format!("{before}@127.0.0.1:{}/{path}", link.port);
        (link, database_url)
    }

    async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it listens").port();
        let (open, state) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((inner, _)) = listener.accept().await {
                tokio::spawn(Self::carry(inner, target.clone(), state.clone()));
            }
        });
        Self { port, open }
    }

    async fn carry(mut inner: TcpStream, target: String, mut state: watch::Receiver<bool>) {
        if !*state.borrow_and_update() {
            return;
        }
        let Ok(mut outer) = TcpStream::connect(target).await else { return };
        tokio::select! {
            _ = copy_bidirectional(&mut inner, &mut outer) => {}
            _ = state.changed() => {}
        }
    }
}

/// A second edge, beside the one of the environment.
struct Edge {
    child: Child,
    url: String,
}

impl Edge {
    fn start(env: &Env, database_url: &str, port: u16, state_dir: &Path) -> Self {
        let process = &env.processes["pods-edge"];
        let child = Command::new(&process.argv[0])
            .args(&process.argv[1..])
            .envs(&process.env)
            .env("PODS__DATABASE__URL", database_url)
            .env("PODS__EDGE__BIND", format!("127.0.0.1:{port}"))
            .env("PODS__EDGE__STATE_DIR", state_dir)
            .env("PODS__EDGE__PEERS", format!("[\"{}\"]", env.edge_url.trim_start_matches("http://")))
            .spawn()
            .expect("an edge can be started");
        Self { child, url: format!("http://127.0.0.1:{port}") }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(status.expect("kill can be run").success(), "kill -{name}");
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// How far a document is: its place in the change feed, and the port that the newest change gave to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    cursor: (i64, i64),
    port: u16,
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(POLL_LIMIT).build().expect("a client can be built")
}

fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().expect("nobody panics with the lock")
}

/// Asks as Traefik does. `None`: there was no document, and Traefik would go on with what it has.
async fn poll(client: &reqwest::Client, url: &str, service: &str) -> Option<Place> {
    let answer = client.get(format!("{url}/traefik-config")).send().await.ok()?;
    if answer.status() != 200 {
        assert_eq!(answer.status(), 503, "{url}");
        return None;
    }
    let cursor = answer.headers()["x-pods-cursor"].to_str().expect("the cursor is text").to_owned();
    let number = |text: &str| text.parse::<i64>().expect("a cursor is two numbers");
    let (xid, id) = cursor.split_once('-').expect("a cursor is two numbers");
    let document: Value = serde_json::from_str(&answer.text().await.ok()?).expect("the document is JSON");
    let backend = &document["http"]["services"][service]["loadBalancer"]["servers"][0]["url"];
    let port = backend.as_str().and_then(|url| url.rsplit_once(':')?.1.parse().ok());
    let port = port.unwrap_or_else(|| panic!("{url} has no {service} at {cursor}: {backend}"));
    Some(Place { cursor: (number(xid), number(id)), port })
}

/// Polls one edge again and again. No answer is behind one that any edge gave before the question was asked.
struct Poller {
    given: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Poller {
    fn of(url: &str, service: &str, newest: &Arc<Mutex<Place>>, over: &Arc<AtomicBool>) -> Self {
        let (given, refused) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counts = (Arc::clone(&given), Arc::clone(&refused));
        let (url, service) = (url.to_owned(), service.to_owned());
        let (newest, over) = (Arc::clone(newest), Arc::clone(over));
        let task = tokio::spawn(async move {
            let client = client();
            while !over.load(Ordering::Relaxed) {
                let before = *lock(&newest);
                match poll(&client, &url, &service).await {
                    Some(now) => {
                        let behind = now.cursor < before.cursor || now.port < before.port;
                        assert!(!behind, "{url} says {now:?}, and {before:?} was said before");
                        let mut newest = lock(&newest);
                        *newest = (*newest).max(now);
                        counts.0.fetch_add(1, Ordering::Relaxed);
                    }
                    None => {
                        counts.1.fetch_add(1, Ordering::Relaxed);
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { given, refused, task }
    }

    async fn ended(self) -> (usize, usize) {
        self.task.await.expect("no document was behind");
        (self.given.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }
}

/// Waits until an edge without a database says why it gives no document.
async fn await_refusal(client: &reqwest::Client, url: &str) {
    await_condition("the copy on disk is refused", LIMIT, || async {
        let answer =
            client.get(format!("{url}/traefik-config")).send().await.map_err(|error| format!("{error:?}"))?;
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        assert_eq!(status, 503, "{text}");
        if text.contains("another replica served more") { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_edges_never_go_back_in_time_whatever_becomes_of_one() {
    let scene = Scene::new().await;
    let id = scene.id("edges");
    let entries = |port: u16| json!({ "default": { "port": 5000 }, "moving": { "port": port } });
    scene
        .create(&scene.alice, json!({ "pod_id": id, "image": "busyhttpd", "networking": entries(6000) }))
        .await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    let host = scene.env.pod_host(&id, "default");
    scene.visitor.await_page(&host, "/", 200, "It works").await;
    let service = format!("pods-{}-dev-{id}-moving", scene.env.site_id);

    let (link, database_url) = Link::to_database(&scene.env).await;
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let start = || Edge::start(&scene.env, &database_url, port, folder.path());
    let second = start();
    let url = second.url.clone();
    let client = client();
    let awaits = async |wanted: Option<u16>| {
        await_condition(&format!("the second edge says {wanted:?}"), LIMIT, || async {
            let said = poll(&client, &url, &service).await.map(|place| place.port);
            if said == wanted { Ok(()) } else { Err(format!("{said:?}")) }
        })
        .await;
    };
    awaits(Some(6000)).await;

    let newest = Arc::new(Mutex::new(Place { cursor: (0, 0), port: 6000 }));
    let over = Arc::new(AtomicBool::new(false));
    let pollers = [&scene.env.edge_url, &url].map(|url| Poller::of(url, &service, &newest, &over));
    let mut moved = 6000;
    let mut advance = async || {
        for _ in 0..5 {
            moved += 1;
            let body = json!({ "networking": entries(moved) });
            scene.alice.put(&format!("/v3/pods/{id}"), body).await.result();
        }
        moved
    };
    for _ in 0..3 {
        let port = advance().await;
        awaits(Some(port)).await;
    }
    // It sleeps, and wakes up knowing less than the other has said meanwhile.
    second.signal("STOP");
    advance().await;
    let port = advance().await;
    second.signal("CONT");
    awaits(Some(port)).await;
    // It cannot see the database: it says nothing rather than what it knew.
    link.open.send_replace(false);
    advance().await;
    awaits(None).await;
    let port = advance().await;
    awaits(None).await;
    link.open.send_replace(true);
    awaits(Some(port)).await;
    // It dies, and comes back with what it had on disk: too old, as the other one says.
    drop(second);
    advance().await;
    link.open.send_replace(false);
    let _third = start();
    await_refusal(&client, &url).await;
    let port = advance().await;
    link.open.send_replace(true);
    awaits(Some(port)).await;

    over.store(true, Ordering::Relaxed);
    let [first, second] = pollers;
    let ((given, _), (also_given, refused)) = (first.ended().await, second.ended().await);
    println!("the first edge gave {given} documents, the second {also_given} and refused {refused} times");
    assert!(given > 0 && also_given > 0 && refused > 0, "{given} {also_given} {refused}");
    assert_eq!(scene.visitor.https(&host, "/").await.code, 200, "the proxy leads to the pod all the while");
}
