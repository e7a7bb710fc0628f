//! A real client against the server behind a socket.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures::{AsyncReadExt, Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Event as KubeEvent, Pod, Secret};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::watcher::{self, Event},
};
use scripted_kube::{Cluster, serve, state::Mode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

struct Server {
    cluster: Cluster,
    client: Client,
    address: SocketAddr,
}

async fn server() -> Server {
    let cluster = Cluster::new(Mode::Scripted, false);
    {
        let mut state = cluster.state();
        state.add_namespace("n");
        state.add_node("a");
        state.add_node("b");
        state.settings.retry_ms = 50;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve::serve(cluster.clone(), listener));
    tokio::spawn(cluster.clone().run());
    let mut config = Config::new(format!("http://{address}").parse().unwrap());
    // A test wants to see the answers as they are.
    config.default_retry = false;
    let client = Client::try_from(config).unwrap();
    Server { cluster, client, address }
}

impl Server {
    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "n")
    }

    async fn create(&self, name: &str, image: &str) -> Pod {
        let pod = json!({
            "metadata": {"name": name, "labels": {"app": "x"}},
            "spec": {
                "terminationGracePeriodSeconds": 2, "restartPolicy": "Never",
                "containers": [{"name": "c", "image": image, "resources": {"requests": {"cpu": "100m"}}}],
            },
        });
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap()
    }

    async fn until(&self, name: &str, what: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let found = self.pods().get_opt(name).await.unwrap();
            let value = serde_json::to_value(found).unwrap();
            if what(&value) {
                return value;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{name}: {value}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Whether a Pod looks as expected.
type Look = Box<dyn Fn(&Value) -> bool>;

fn state(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]
}

async fn next<T>(stream: &mut (impl Stream<Item = Result<T, watcher::Error>> + Unpin)) -> T {
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, stream.next()).await.expect("an event in time").expect("no end").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_is_told_to_end_and_goes() {
    let server = server().await;
    let made = server.create("p", "busybox").await;
    let pod = server
        .until("p", |pod| {
            pod["status"]["conditions"].as_array().is_some_and(|all| {
                all.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
            })
        })
        .await;
    assert_eq!(pod["status"]["phase"], "Running");
    assert!(pod["spec"]["nodeName"].is_string());
    let events: Api<KubeEvent> = Api::namespaced(server.client.clone(), "n");
    let about = format!("involvedObject.uid={}", made.metadata.uid.clone().unwrap());
    let listed = events.list(&ListParams::default().fields(&about)).await.unwrap();
    let mut reasons: Vec<String> = listed.items.into_iter().filter_map(|event| event.reason).collect();
    reasons.sort();
    assert_eq!(reasons, ["Created", "Pulled", "Pulling", "Scheduled", "Started"]);

    let other = Preconditions { uid: Some("another".to_owned()), resource_version: None };
    let wrong = DeleteParams { preconditions: Some(other), ..DeleteParams::default() };
    assert!(
        matches!(server.pods().delete("p", &wrong).await, Err(kube::Error::Api(status)) if status.code == 409)
    );
    server.pods().delete("p", &DeleteParams::background()).await.unwrap();
    assert!(!server.until("p", |_| true).await["metadata"]["deletionTimestamp"].is_null());
    server.until("p", Value::is_null).await;
    let again = server.pods().create(&PostParams::default(), &made).await;
    assert!(again.is_ok(), "the name is free again: {again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_scenario_looks_as_the_real_thing() {
    let server = server().await;
    let waiting = |reason: &'static str| move |pod: &Value| state(pod)["waiting"]["reason"] == reason;
    let ended = |code: i64, reason: &'static str| {
        move |pod: &Value| {
            state(pod)["terminated"]["exitCode"] == code && state(pod)["terminated"]["reason"] == reason
        }
    };
    let failed = |reason: &'static str| {
        move |pod: &Value| pod["status"]["phase"] == "Failed" && pod["status"]["reason"] == reason
    };
    let cases: Vec<(&str, Look)> = vec![
        ("image-not-found", Box::new(waiting("ErrImagePull"))),
        ("image-denied", Box::new(waiting("ImagePullBackOff"))),
        ("image-invalid", Box::new(waiting("InvalidImageName"))),
        ("create-error", Box::new(waiting("CreateContainerConfigError"))),
        ("cannot-start", Box::new(ended(128, "StartError"))),
        ("exit-0-after-0", Box::new(ended(0, "Completed"))),
        ("crash", Box::new(ended(1, "Error"))),
        ("oom", Box::new(ended(137, "OOMKilled"))),
        ("evicted-memory", Box::new(failed("Evicted"))),
        ("node-refused", Box::new(failed("OutOfcpu"))),
        ("preempted", Box::new(Value::is_null)),
        (
            "unschedulable-gpu",
            Box::new(|pod| {
                let why = pod["status"]["conditions"][0]["message"].as_str().unwrap_or_default();
                why.contains("2 Insufficient nvidia.com/gpu")
            }),
        ),
    ];
    for (scenario, _) in &cases {
        server.create(scenario, &format!("registry.test/scripted/{scenario}:latest")).await;
    }
    for (scenario, expected) in &cases {
        server.until(scenario, expected).await;
    }
    for (scenario, code) in [("quota", 403), ("denied", 403), ("invalid", 422)] {
        let pod = json!({"metadata": {"name": scenario}, "spec": {"containers": [
            {"name": "c", "image": format!("scripted/{scenario}")}]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let answer = server.pods().create(&PostParams::default(), &pod).await;
        assert!(matches!(answer, Err(kube::Error::Api(status)) if status.code == code), "{scenario}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_after_a_cut_and_lists_again_when_its_version_is_gone() {
    let server = server().await;
    server.create("first", "busybox").await;
    server.until("first", |pod| pod["status"]["phase"] == "Running").await;
    let config = watcher::Config::default().labels("app=x").page_size(1);
    let mut events = watcher::watcher(server.pods(), config).default_backoff_for_tests();
    assert!(matches!(next(&mut events).await, Event::Init));
    assert!(matches!(next(&mut events).await, Event::InitApply(_)));
    assert!(matches!(next(&mut events).await, Event::InitDone));

    server.cluster.cut_watches("pods", false);
    server.create("second", "busybox").await;
    let mut seen = Vec::new();
    while !seen.contains(&"second".to_owned()) {
        match events.next().await.unwrap() {
            Ok(Event::Apply(pod)) => seen.push(pod.metadata.name.unwrap()),
            Ok(Event::Init) => panic!("a cut is no reason to list again"),
            Ok(_) | Err(_) => {}
        }
    }
    server.cluster.cut_watches("pods", true);
    server.pods().delete("first", &DeleteParams::default().grace_period(0)).await.unwrap();
    server.cluster.cut_watches("pods", true);
    let mut listed: Option<Vec<String>> = None;
    loop {
        match events.next().await.unwrap() {
            Ok(Event::Init) => listed = Some(Vec::new()),
            Ok(Event::InitApply(pod)) => listed.as_mut().unwrap().push(pod.metadata.name.unwrap()),
            Ok(Event::InitDone) if listed.as_ref().is_some_and(|names| names == &["second"]) => break,
            Ok(_) | Err(_) => {}
        }
    }
}

/// Errors are followed by another attempt at once.
trait Unbacked: Sized {
    fn default_backoff_for_tests(
        self,
    ) -> futures::stream::BoxStream<'static, Result<Event<Pod>, watcher::Error>>;
}

impl<S> Unbacked for S
where
    S: Stream<Item = Result<Event<Pod>, watcher::Error>> + Send + 'static,
{
    fn default_backoff_for_tests(
        self,
    ) -> futures::stream::BoxStream<'static, Result<Event<Pod>, watcher::Error>> {
        self.boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_and_as_metadata() {
    let server = server().await;
    for number in 0..5 {
        server.create(&format!("p{number}"), "busybox").await;
    }
    let mut names = Vec::new();
    let mut parameters = ListParams::default().labels("app=x").limit(2);
    loop {
        let page = server.pods().list(&parameters).await.unwrap();
        assert!(page.items.len() <= 2);
        names.extend(page.items.into_iter().filter_map(|pod| pod.metadata.name));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(names, ["p0", "p1", "p2", "p3", "p4"]);

    let secrets: Api<Secret> = Api::namespaced(server.client.clone(), "n");
    let secret = json!({"metadata": {"name": "s", "labels": {"app": "x"}}, "stringData": {"a": "b"}});
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    let listed = secrets.list_metadata(&ListParams::default().labels("app=x")).await.unwrap();
    assert_eq!(listed.items.len(), 1);
    let owner = server.pods().get_metadata("p0").await.unwrap().metadata.uid;
    let patch = json!({"metadata": {"ownerReferences": [
        {"apiVersion": "v1", "kind": "Pod", "name": "p0", "uid": owner}]}});
    secrets.patch_metadata("s", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    server.pods().delete("p0", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert!(secrets.get_opt("s").await.unwrap().is_none(), "what is owned goes with its owner");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_followed_to_the_end_of_its_container() {
    let server = server().await;
    server.create("p", "scripted/exit-3-after-1").await;
    server.until("p", |pod| state(pod)["running"].is_object()).await;
    let parameters = LogParams { follow: true, timestamps: true, ..LogParams::default() };
    let mut text = String::new();
    let mut reader = Box::pin(server.pods().log_stream("p", &parameters).await.unwrap());
    tokio::time::timeout(Duration::from_secs(20), reader.read_to_string(&mut text)).await.unwrap().unwrap();
    let lines: Vec<&str> =
        text.lines().filter_map(|line| line.split_once(' ')).map(|(_, line)| line).collect();
    assert_eq!(lines, ["scripted: the container runs", "scripted: the container ends with code 3"]);
    let end = LogParams { tail_lines: Some(1), ..LogParams::default() };
    assert_eq!(server.pods().logs("p", &end).await.unwrap(), "scripted: the container ends with code 3\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_lost_and_pods_with_them() {
    let server = server().await;
    server.cluster.state().settings.node_eviction_s = 0;
    server.create("p", "busybox").await;
    let pod = server.until("p", |pod| pod["status"]["phase"] == "Running").await;
    let node = pod["spec"]["nodeName"].as_str().unwrap().to_owned();
    assert!(server.cluster.state().set_node(&node, Some("Unknown"), None));
    let pod = server.until("p", |pod| !pod["metadata"]["deletionTimestamp"].is_null()).await;
    assert_eq!(pod["status"]["phase"], "Running", "nobody knows what became of it");
    assert!(server.cluster.state().set_node(&node, Some("True"), None));
    server.until("p", Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_injects_faults_and_outages() {
    let server = server().await;
    let control = async |path: &str, body: Value| {
        let request = http::Request::post(format!("http://{}/_control/{path}", server.address));
        let request =
            request.header("content-type", "application/json").body(body.to_string().into_bytes()).unwrap();
        server.client.request::<Value>(request).await
    };
    let fault = json!({"method": "GET", "kind": "pods", "name": "p", "times": 1,
        "status": {"code": 503, "reason": "ServiceUnavailable", "message": "not now"}});
    control("faults", fault).await.unwrap();
    server.create("p", "busybox").await;
    assert!(matches!(server.pods().get("p").await, Err(kube::Error::Api(status)) if status.code == 503));
    assert!(server.pods().get("p").await.is_ok());
    assert!(control("faults", json!({"method": "GET"})).await.is_err());

    control("reachable", json!({"reachable": false})).await.unwrap();
    assert!(server.pods().get("p").await.is_err());
    control("reachable", json!({"reachable": true})).await.unwrap();
    server.until("p", |pod| pod["status"]["phase"] == "Running").await;
    control("pods", json!({"labels": "app=x", "scenario": "exit-7"})).await.unwrap();
    server.until("p", |pod| state(pod)["terminated"]["exitCode"] == 7).await;

    let pods = server.pods();
    let mut watch = pods.watch(&kube::api::WatchParams::default(), "0").await.unwrap().boxed();
    assert!(watch.try_next().await.unwrap().is_some(), "what exists is told first");
    control("watches", json!({"cut": true})).await.unwrap();
    assert!(watch.next().await.is_none_or(|event| event.is_err()));
}
