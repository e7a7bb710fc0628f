//! A container registry that has no image.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

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
        let mut tasks = Vec::new();
        for address in ["127.0.0.1:19099", "[::1]:19099"] {
            match TcpListener::bind(address).await {
                Ok(listener) => tasks.push(tokio::spawn(serve(listener, requests.clone()))),
                Err(error) if tasks.is_empty() => panic!("port 19099 is needed for this test: {error}"),
                Err(_) => {}
            }
        }
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

async fn serve(listener: TcpListener, requests: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        requests.fetch_add(1, Ordering::Relaxed);
        // A client that goes away early is no concern of ours.
        tokio::spawn(async { answer(stream).await.unwrap_or_default() });
    }
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let (status, body) = if head.contains(" /v2/ ") {
        ("200 OK", "{}")
    } else {
        ("404 Not Found", r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#)
    };
    let sent = if head.starts_with("HEAD") { "" } else { body };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nDocker-Distribution-Api-Version: registry/2.0\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{sent}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
