//! What becomes of requests while a container does not listen yet, or takes a request and says nothing.

use std::path::Path;

use reqwest::{Client, Method, Response, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener as Listener, TcpSocket, TcpStream},
};

use super::{rules::Stage, stage::Backstage, *};

/// Longer than all attempts take.
const LIMIT: Duration = Duration::from_secs(20);

fn shop() -> RoutedPod {
    let entry = Networking { url: host("shop"), ..Networking::default() };
    RoutedPod {
        networking: BTreeMap::from([("default".to_owned(), entry)]),
        ..pod("shop", Status::Available)
    }
}

/// A port of this machine that refuses connections until somebody listens.
fn closed() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// A container: what it was asked, and how it answers. It hears one request on each connection.
#[derive(Clone)]
struct Container {
    asked: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Container {
    fn start(listener: Listener) -> Self {
        let container = Self { asked: Arc::default() };
        let this = container.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(this.clone().hear(stream));
            }
        });
        container
    }

    /// Says so at `/`, says goodbye after an upgrade at `/upgrade`, and nothing anywhere else.
    async fn hear(self, mut stream: TcpStream) {
        let request = read(&mut stream).await;
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let first = request.lines().next().unwrap_or_default();
        self.asked.lock().unwrap().push(format!("{first}: {body}"));
        let answer = match path.as_str() {
            "/upgrade" => {
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\ngoodbye"
            }
            "/silent" => return,
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nheard",
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.sort();
        asked
    }
}

/// A whole request.
async fn read(stream: &mut TcpStream) -> String {
    let mut request = String::new();
    let complete = |request: &str| {
        let (head, body) = request.split_once("\r\n\r\n")?;
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        (body.len() >= length.map_or(0, |length| length.parse().unwrap())).then_some(())
    };
    while complete(&request).is_none() {
        let mut piece = vec![0; 4096];
        let count = stream.read(&mut piece).await.unwrap();
        assert_ne!(count, 0, "Traefik sent half a request: {request:?}");
        request.push_str(std::str::from_utf8(&piece[..count]).unwrap());
    }
    request
}

/// Traefik says each new attempt in its log.
async fn await_retry(log: &Path, path: &str) {
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if text.lines().any(|line| line.contains("New attempt 2") && line.contains(path)) {
            return;
        }
        assert!(begun.elapsed() < LIMIT, "{path} is not asked for again within {LIMIT:?}: {text}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_listens_a_moment_later_gets_each_request_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("traefik.log");
    let options = ["--log.level=DEBUG".to_owned(), format!("--log.filepath={}", log.display())];
    let (socket, port) = closed();
    let stage = Stage::with(Backstage::before(port, settings(), &[shop()]), &[shop()], &options).await;
    let ask = |method: Method, path: &str, body: &'static str| {
        let url = format!("https://{}:{}{path}", host("shop"), stage.traefik.websecure);
        tokio::spawn(stage.client.request(method, url).body(body).send())
    };
    let (got, posted) = (ask(Method::GET, "/get", ""), ask(Method::POST, "/post", "a body"));
    for path in ["/get", "/post"] {
        await_retry(&log, path).await;
    }
    let container = Container::start(socket.listen(16).unwrap());
    for answer in [got, posted] {
        let answer = answer.await.unwrap().unwrap();
        assert_eq!((answer.status(), answer.text().await.unwrap().as_str()), (StatusCode::OK, "heard"));
    }
    assert_eq!(container.asked(), ["GET /get HTTP/1.1: ", "POST /post HTTP/1.1: a body"]);
}

/// A stage whose pod is a container that listens.
async fn open() -> (Stage, Container) {
    let (socket, port) = closed();
    let container = Container::start(socket.listen(16).unwrap());
    (Stage::with(Backstage::before(port, settings(), &[shop()]), &[shop()], &[]).await, container)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_container_has_heard_it_is_not_asked_again() {
    let (stage, container) = open().await;
    let url = format!("https://{}:{}/silent", host("shop"), stage.traefik.websecure);
    for (method, heard) in
        [(Method::GET, "GET /silent HTTP/1.1: "), (Method::POST, "POST /silent HTTP/1.1: a body")]
    {
        let body = if method == Method::POST { "a body" } else { "" };
        let answer = stage.client.request(method, &url).body(body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(container.asked(), [heard]);
    }
}

/// Asks for an upgrade, which HTTP/2 does not know.
async fn upgraded(stage: &Stage) -> Response {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], stage.traefik.websecure));
    let client = Client::builder().danger_accept_invalid_certs(true).http1_only().no_proxy();
    let client = client.resolve(&host("shop"), address).build().unwrap();
    let request = client.get(format!("https://{}:{}/upgrade", host("shop"), stage.traefik.websecure));
    let request = request.header("Connection", "Upgrade").header("Upgrade", "websocket");
    let request = request.header("Sec-WebSocket-Version", "13");
    request.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==").send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_socket_that_ends_is_not_opened_again() {
    let (stage, container) = open().await;
    let answer = upgraded(&stage).await;
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut heard = Vec::new();
    answer.upgrade().await.unwrap().read_to_end(&mut heard).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), "goodbye");
    // And Traefik lives on.
    let url = format!("https://{}:{}/", host("shop"), stage.traefik.websecure);
    assert_eq!(stage.client.get(url).send().await.unwrap().text().await.unwrap(), "heard");
    assert_eq!(container.asked(), ["GET / HTTP/1.1: ", "GET /upgrade HTTP/1.1: "]);
}
