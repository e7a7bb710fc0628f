//! Requests that cross each other.

use std::time::{Duration, SystemTime};

use futures::{StreamExt, stream};
use integration_tests::{Scene, await_condition, cluster::runs, wait::LIMIT};
use serde_json::json;

/// A small generator that a printed seed repeats (splitmix64).
struct Random(u64);

impl Random {
    /// From `PODS_SEED`, else from the clock; prints the seed.
    #[expect(clippy::print_stderr, reason = "the seed of a failed test is shown with its output")]
    fn new() -> Self {
        let given = std::env::var("PODS_SEED").ok().and_then(|text| text.parse().ok());
        let clock = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |passed| passed.as_nanos() as u64);
        let seed = given.unwrap_or_else(clock);
        eprintln!("PODS_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (value ^ (value >> 31)) % limit
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_right_after_a_create_leaves_nothing_running() {
    let scene = Scene::new().await;
    let times = if integration_tests::env::short() { 10 } else { 50 };
    let mut random = Random::new();
    // Most starts take less than a second; some delays are long enough for AVAILABLE.
    let cases: Vec<(String, u64)> =
        (0..times).map(|at| (scene.id(&format!("race{at}x")), random.below(1500))).collect();
    stream::iter(&cases)
        .for_each_concurrent(4, async |(id, delay)| {
            scene.create(&scene.alice, json!({ "pod_id": id, "image": "busyhttpd" })).await;
            // The delay is what this test varies; it waits for nothing.
            tokio::time::sleep(Duration::from_millis(*delay)).await;
            scene.alice.act(id, "stop").await;
            scene.alice.await_status(id, "STOPPED").await;
            let left = scene.cluster.pods_of(id).await;
            let running = left.iter().filter(|pod| runs(pod)).count();
            assert_eq!((left.len(), running), (0, 0), "{id} is STOPPED after {delay} ms and has Pods");
        })
        .await;
    // Nobody came late.
    for (id, delay) in &cases {
        assert_eq!(scene.alice.pod(id).await["status"], "STOPPED", "{id} after {delay} ms");
        assert_eq!(scene.cluster.objects_of(id).await, [""; 0], "{id} after {delay} ms");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_owner_of_an_id_gets_nothing_of_the_former() {
    let scene = Scene::new().await;
    for round in 0..3 {
        let id = scene.id("owner");
        let host = scene.env.pod_host(&id, "default");
        let pod = |name: &str| {
            let script = "mkdir /tmp/www; echo \"page of $OWNER\" > /tmp/www/index.html; echo \"log of $OWNER\"; \
                trap 'exit 0' TERM; httpd -f -p 5000 -h /tmp/www & while :; do sleep 0.1; done";
            json!({ "pod_id": id, "image": "busybox", "command": ["sh", "-c", script],
                "environment_variables": { "OWNER": name } })
        };
        scene.create(&scene.alice, pod("alice")).await;
        scene.alice.grant(&id, "dave", "READ").await;
        scene.alice.await_status(&id, "AVAILABLE").await;
        scene.visitor.await_page(&host, "/", 200, "page of alice").await;
        await_condition("the log of alice", LIMIT, || async {
            let log = scene.alice.logs(&id).await;
            if log == "log of alice\n" { Ok(()) } else { Err(log) }
        })
        .await;

        scene.alice.delete(&format!("/v3/pods/{id}")).await.result();
        let new = scene.create(&scene.bob, pod("bob")).await;
        assert_eq!(new["status"], "REQUESTED", "round {round}");
        await_condition("bob's pod runs", LIMIT, || async {
            scene.alice.get(&format!("/v3/pods/{id}")).await.refused(403);
            let logs = scene.bob.logs(&id).await;
            assert!(!logs.contains("alice"), "round {round}: {logs}");
            let actions = scene.bob.action_logs(&id).await.join("\n");
            assert!(!actions.contains("alice"), "round {round}: {actions}");
            let permissions = scene.bob.get(&format!("/v3/pods/{id}/permissions")).await.result();
            assert_eq!(permissions["permissions"], json!(["bob:ADMIN"]), "round {round}");
            let pod = scene.bob.pod(&id).await;
            assert_ne!(pod["status"], "ERROR", "{pod}");
            if pod["status"] == "AVAILABLE" { Ok(()) } else { Err(pod["status"].to_string()) }
        })
        .await;
        let page = await_condition("a page of the new pod", LIMIT, || async {
            let page = scene.visitor.https(&host, "/").await;
            assert!(!page.text.contains("alice"), "round {round}: the old container answers: {page:?}");
            if page.code == 200 { Ok(page) } else { Err(format!("{page:?}")) }
        })
        .await;
        assert_eq!(page.text, "page of bob\n");
        await_condition("the log of bob", LIMIT, || async {
            let log = scene.bob.logs(&id).await;
            if log == "log of bob\n" { Ok(()) } else { Err(log) }
        })
        .await;
        assert_eq!(scene.cluster.pods_of(&id).await.len(), 1, "round {round}");
        scene.bob.delete(&format!("/v3/pods/{id}")).await.result();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_at_once_end_as_the_last_one_wants() {
    let scene = Scene::new().await;
    let id = scene.httpd("many").await;
    let path = format!("/v3/pods/{id}");
    let actions = ["stop", "start", "restart", "stop", "restart", "start"].repeat(5);
    stream::iter(actions)
        .for_each_concurrent(6, |action| {
            let path = format!("{path}/{action}");
            let alice = &scene.alice;
            async move {
                let answer = alice.get(&path).await;
                assert!(matches!(answer.code, 200 | 409), "{answer:?}");
            }
        })
        .await;
    scene.alice.act(&id, "restart").await;
    await_condition("one Pod runs", LIMIT, || async {
        let (pod, pods) = (scene.alice.pod(&id).await, scene.cluster.pods_of(&id).await);
        let fine = pod["status"] == "AVAILABLE" && pods.len() == 1 && runs(&pods[0]);
        if fine { Ok(()) } else { Err(format!("{} with {} Pods", pod["status"], pods.len())) }
    })
    .await;
    scene.alice.act(&id, "stop").await;
    scene.alice.await_status(&id, "STOPPED").await;
    scene.cluster.await_nothing_of(&id).await;
}
