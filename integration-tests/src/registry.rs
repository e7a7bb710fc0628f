//! Container registries that do not give an image, each in its way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What a registry says.
struct Reply {
    status: &'static str,
    headers: String,
    body: &'static str,
}

/// Says what a registry answers to a request line; `None` never answers.
type Behaviour = fn(&str) -> Option<Reply>;

const JSON: &str = "Content-Type: application/json\r\n";
const NOT_FOUND: &str = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;

/// Answers on a fixed port, because the image's name is on the allowlist of the profile `test`.
pub struct EmptyRegistry {
    requests: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl EmptyRegistry {
    /// The image it does not have, without a tag.
    pub const IMAGE: &str = "localhost:19099/nope";

    /// Starts it. `localhost` may mean either family.
    pub async fn start() -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let tasks = listen(19099, requests.clone(), empty).await;
        Self { requests, tasks }
    }

    /// How often it was asked for anything.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for EmptyRegistry {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// A registry whose repositories fail, each in the way that its name says, at `localhost:19097`.
pub struct FaultyRegistry {
    tasks: Vec<JoinHandle<()>>,
}

impl FaultyRegistry {
    /// Starts it.
    pub async fn start() -> Self {
        Self { tasks: listen(19097, Arc::default(), faulty).await }
    }
}

impl Drop for FaultyRegistry {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn listen(port: u16, requests: Arc<AtomicUsize>, behaviour: Behaviour) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        match TcpListener::bind(&address).await {
            Ok(listener) => tasks.push(tokio::spawn(serve(listener, requests.clone(), behaviour))),
            Err(error) if tasks.is_empty() => panic!("port {port} is needed for this test: {error}"),
            Err(_) => {}
        }
    }
    tasks
}

async fn serve(listener: TcpListener, requests: Arc<AtomicUsize>, behaviour: Behaviour) {
    while let Ok((stream, _)) = listener.accept().await {
        requests.fetch_add(1, Ordering::Relaxed);
        // A client that goes away early is no concern of ours.
        tokio::spawn(async move { answer(stream, behaviour).await.unwrap_or_default() });
    }
}

async fn answer(mut stream: TcpStream, behaviour: Behaviour) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let line = head.lines().next().unwrap_or_default();
    let Some(Reply { status, headers, body }) = behaviour(line) else {
        // Longer than any test waits; a client that gives up closes the connection.
        tokio::time::sleep(Duration::from_secs(600)).await;
        return Ok(());
    };
    let sent = if line.starts_with("HEAD") { "" } else { body };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\n{headers}Docker-Distribution-Api-Version: registry/2.0\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{sent}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

fn json(status: &'static str, body: &'static str) -> Option<Reply> {
    Some(Reply { status, headers: JSON.to_owned(), body })
}

fn empty(line: &str) -> Option<Reply> {
    if line.contains(" /v2/ ") { json("200 OK", "{}") } else { json("404 Not Found", NOT_FOUND) }
}

/// An image of which there is a variant for another processor only.
const OTHER_CHIP: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","size":428,"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000001","platform":{"architecture":"s390x","os":"linux"}}]}"#;
const OTHER_CHIP_DIGEST: &str = "14fc0bc29d047a56411fcc25c57d02b1ddc937cb607ac13fa5c2a349498fedb2";

fn faulty(line: &str) -> Option<Reply> {
    let path = line.split(' ').nth(1).unwrap_or_default();
    let repository = path.strip_prefix("/v2/").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    match repository {
        "private" => {
            // As registries do: a token is given to anybody, and it opens nothing.
            let challenge = "Www-Authenticate: Bearer realm=\"http://localhost:19097/token\",service=\"faulty\",\
                             scope=\"repository:private:pull\",error=\"insufficient_scope\"\r\n";
            let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
            Some(Reply { status: "401 Unauthorized", headers: format!("{JSON}{challenge}"), body })
        }
        "forbidden" => {
            json("403 Forbidden", r#"{"errors":[{"code":"DENIED","message":"requested access is denied"}]}"#)
        }
        "broken" => {
            json("500 Internal Server Error", r#"{"errors":[{"code":"UNKNOWN","message":"out of order"}]}"#)
        }
        "slow" => None,
        "otherchip" => {
            let kind = "Content-Type: application/vnd.docker.distribution.manifest.list.v2+json\r\n";
            let headers = format!("{kind}Docker-Content-Digest: sha256:{OTHER_CHIP_DIGEST}\r\n");
            Some(Reply { status: "200 OK", headers, body: OTHER_CHIP })
        }
        _ if path.starts_with("/token") => json("200 OK", r#"{"token":"anybody","access_token":"anybody"}"#),
        _ if path == "/v2/" => json("200 OK", "{}"),
        _ => json("404 Not Found", NOT_FOUND),
    }
}
