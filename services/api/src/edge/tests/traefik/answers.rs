//! What becomes of answers: streams, compression, and who answers where no pod does.

use reqwest::{Response, StatusCode, header::CONTENT_ENCODING};
use tokio::time::timeout;

use super::{
    rules::{Stage, guarded},
    stage::EVENTS,
    *,
};

/// Longer than anything takes that is not held back.
const LIMIT: Duration = Duration::from_secs(20);
/// What browsers send.
const BROWSER: &str = "gzip, deflate, br, zstd";

/// A running pod with one entry.
fn running(pod_id: &str, entry: Networking) -> RoutedPod {
    let entry = Networking { url: host(pod_id), ..entry };
    RoutedPod {
        networking: BTreeMap::from([("default".to_owned(), entry)]),
        ..pod(pod_id, Status::Available)
    }
}

impl Stage {
    async fn get(&self, host: &str, path: &str, accept_encoding: &str) -> Response {
        let url = format!("https://{host}:{}{path}", self.traefik.websecure);
        let request = self.client.get(url).header("Accept-Encoding", accept_encoding);
        timeout(LIMIT, request.send()).await.expect("the head is held back").unwrap()
    }
}

async fn event(stream: &mut Response) -> String {
    let chunk = timeout(LIMIT, stream.chunk()).await.expect("the event is held back").unwrap();
    String::from_utf8(chunk.expect("the stream goes on").to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_pass_one_by_one() {
    let plain = Networking { proxy_compression: false, ..Networking::default() };
    let stage = Stage::new(&[running("shop", Networking::default()), running("plain", plain)]).await;

    // Traefik holds the head of what it might compress until it has seen the first byte.
    EVENTS[0].add_permits(1);
    let mut stream = stage.get(&host("shop"), "/events/0", BROWSER).await;
    assert!(!stream.headers().contains_key(CONTENT_ENCODING), "{stream:?}");
    for number in 1..4 {
        assert_eq!(event(&mut stream).await, format!("data: {number}\n\n"));
        EVENTS[0].add_permits(1);
    }

    // Without compression the head comes before the first event.
    let mut stream = stage.get(&host("plain"), "/events/1", BROWSER).await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    EVENTS[1].add_permits(1);
    assert_eq!(event(&mut stream).await, "data: 1\n\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_compressed_as_the_entry_says() {
    let usual = Networking::default;
    let only = |name: &str| vec![name.to_owned()];
    let pods = [
        ("aaa", usual()),
        ("bbb", Networking { proxy_compression_encodings: only("br"), ..usual() }),
        ("ccc", Networking { proxy_compression_excluded_content_types: only("text/plain"), ..usual() }),
        ("ddd", Networking { proxy_compression_min_response_body_bytes: 5000, ..usual() }),
        ("eee", Networking { proxy_compression: false, ..usual() }),
    ];
    let stage = Stage::new(&pods.map(|(id, entry)| running(id, entry))).await;
    for (id, accepted, expected) in [
        ("aaa", "gzip", Some("gzip")),
        ("aaa", "br", Some("br")),
        ("aaa", BROWSER, Some("zstd")),
        ("aaa", "identity", None),
        ("bbb", BROWSER, Some("br")),
        ("bbb", "gzip", None),
        ("ccc", BROWSER, None),
        ("ddd", BROWSER, None),
        ("eee", BROWSER, None),
    ] {
        let answer = stage.get(&host(id), "/large", accepted).await;
        let encoding = answer.headers().get(CONTENT_ENCODING).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(encoding.as_deref(), expected, "{id} {accepted}");
        let length = answer.bytes().await.unwrap().len();
        assert_eq!(length < 1000, expected.is_some(), "{id} {accepted}: {length} bytes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_is_at_the_platforms_hosts_and_nowhere_else() {
    let stopped = RoutedPod { status: Status::Stopped, live: false, ..guarded() };
    let stage = Stage::new(&[stopped]).await;
    // Nobody listens where the API should be, which the edge has words for.
    let answer = stage.get("dev.example.org", "/v3/pods", "identity").await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(answer.text().await.unwrap(), "edge /error-handler/502");
    // At a domain of a user's own it is the pod's pages that answer, also while it does not run.
    for host in ["shop.example.com".to_owned(), host("shop")] {
        let answer = stage.get(&host, "/v3/pods", "identity").await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.text().await.unwrap(), "edge /visitor/v3/pods", "{host}");
        let answer = get(stage.traefik.web, &host, "/v3/pods").await.unwrap();
        assert!(answer.ends_with("edge /visitor/v3/pods"), "{host}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_pod_answers_at_its_domain_whatever_the_path() {
    let stage = Stage::new(&[guarded()]).await;
    let answer = stage.get("shop.example.com", "/v3/pods", "identity").await;
    assert!(answer.text().await.unwrap().starts_with("pod /v3/pods\n"));
    let answer = get(stage.traefik.web, "shop.example.com", "/v3/pods").await.unwrap();
    assert!(answer.ends_with("edge /visitor/v3/pods"), "{answer}");
}
