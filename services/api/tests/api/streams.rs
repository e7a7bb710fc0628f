//! What holds for every stream of server-sent events.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use actix_web::{HttpRequest, HttpResponse, web};
use dev_tapis::tokens::Kind;
use pods_api::{
    error::ApiError,
    routes,
    sse::{Event, StreamLimits},
    state::AppState,
};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::app::{Caller, Setup, TestApp};

/// What is waited for comes within this time.
const LIMIT: Duration = Duration::from_secs(20);
const PATH: &str = "/v3/pods/events";

/// An event that was received.
#[derive(Debug)]
pub struct Received {
    pub name: String,
    pub data: Value,
    pub id: Option<String>,
}

/// A client of a stream.
pub struct Stream {
    response: Response,
    buffer: String,
    /// Events, and ids without one.
    ready: VecDeque<Result<Received, String>>,
    /// The last id up to the last event that was taken.
    pub last_id: Option<String>,
    /// Events and comments so far.
    pub events: usize,
    pub comments: usize,
}

impl Stream {
    /// A stream that must be possible.
    pub async fn open(caller: &Caller<'_>, path: &str) -> Self {
        let response = caller.raw(Method::GET, path).await;
        if response.status() != 200 {
            panic!("{}: {}", response.status(), response.text().await.unwrap());
        }
        let (buffer, ready) = Default::default();
        Self { response, buffer, ready, last_id: None, events: 0, comments: 0 }
    }

    /// The next event, which must come.
    pub async fn event(&mut self) -> Received {
        self.next().await.expect("the stream ended")
    }

    /// The next event, or `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Received> {
        loop {
            match self.ready.pop_front() {
                Some(Ok(event)) => {
                    self.last_id = event.id.clone().or(self.last_id.take());
                    return Some(event);
                }
                Some(Err(id)) => self.last_id = Some(id),
                None if self.read().await => {}
                None => return None,
            }
        }
    }

    /// The next id that comes without an event.
    pub async fn next_id(&mut self) -> String {
        loop {
            match self.ready.pop_front() {
                Some(Ok(event)) => panic!("an event: {event:?}"),
                Some(Err(id)) => {
                    self.last_id = Some(id.clone());
                    return id;
                }
                None => assert!(self.read().await, "the stream ended"),
            }
        }
    }

    /// Reads a piece; false at the end.
    pub async fn read(&mut self) -> bool {
        let piece = tokio::time::timeout(LIMIT, self.response.chunk()).await.expect("nothing comes").unwrap();
        let Some(piece) = piece else { return false };
        self.buffer.push_str(std::str::from_utf8(&piece).unwrap());
        while let Some(end) = self.buffer.find("\n\n") {
            let block: String = self.buffer.drain(..end + 2).collect();
            self.block(&block);
        }
        true
    }

    fn block(&mut self, block: &str) {
        let (mut name, mut id, mut data) = (String::new(), None, Vec::new());
        for line in block.lines() {
            match line.split_once(':').map(|(field, value)| (field, value.trim_start())) {
                Some(("", _)) => self.comments += 1,
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("event", value)) => name = value.to_owned(),
                Some(("data", value)) => data.push(value.to_owned()),
                Some(("retry", _)) | None => {}
                Some((field, _)) => panic!("unknown field {field}"),
            }
        }
        if !name.is_empty() {
            self.events += 1;
            let data = data.join("\n");
            // Pieces of a log are plain text.
            let data = if name == "log" { data.into() } else { serde_json::from_str(&data).unwrap() };
            self.ready.push_back(Ok(Received { name, data, id }));
        } else if let Some(id) = id {
            self.ready.push_back(Err(id));
        }
    }
}

async fn app_with(streams: StreamLimits) -> TestApp {
    TestApp::start_with(Setup { streams, ..Setup::default() }).await
}

/// Opens streams until one is possible.
async fn eventually(caller: &Caller<'_>) -> Stream {
    let begun = Instant::now();
    loop {
        let response = caller.raw(Method::HEAD, PATH).await;
        if response.status() == 200 {
            return Stream::open(caller, PATH).await;
        }
        assert!(begun.elapsed() < LIMIT, "{}", response.status());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_so_many_streams_and_the_process_so_many() {
    // Long heartbeats: that a client is gone is noticed without writing to it.
    let heartbeat = Duration::from_secs(600);
    let app = app_with(StreamLimits { per_user: 2, total: 3, heartbeat, ..StreamLimits::default() }).await;
    let first = Stream::open(&app.alice(), PATH).await;
    let _second = Stream::open(&app.alice(), PATH).await;
    let refused = app.alice().get(PATH).await;
    refused.is(429, "2 streams open");
    assert!(refused.headers.contains_key("retry-after"));
    let third = Stream::open(&app.other_alice(), PATH).await;
    app.bob().get(PATH).await.is(503, "as many streams as it may");
    app.bob().get("/v3/pods").await.ok();
    drop(first);
    let _fourth = eventually(&app.alice()).await;
    app.alice().get(PATH).await.is(429, "2 streams open");
    drop(third);
    eventually(&app.bob()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_broken_by_comments() {
    let app =
        app_with(StreamLimits { heartbeat: Duration::from_millis(50), ..StreamLimits::default() }).await;
    // Before anything can come: comments may wait for whoever reads late.
    let begun = Instant::now();
    let mut stream = Stream::open(&app.alice(), PATH).await;
    while stream.comments < 6 {
        assert!(stream.read().await, "the stream ended");
    }
    assert!(begun.elapsed() >= Duration::from_millis(200), "they come at their time");
    assert_eq!(stream.events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_the_process_stops_and_when_a_token_expires() {
    let app = TestApp::start().await;
    // First, so that everything that a first request waits for is there when the short life begins.
    let mut long = Stream::open(&app.alice(), PATH).await;
    let token = app.token("dev", "bob", Kind::Access, 5);
    let mut short = Stream::open(&app.anonymous().with("x-tapis-token", token), PATH).await;
    let end = short.event().await;
    assert_eq!((end.name.as_str(), &end.data["reason"]), ("end", &json!("token_expired")));
    assert!(short.next().await.is_none());
    let begun = Instant::now();
    app.stop_streams();
    let end = long.event().await;
    assert_eq!((end.name.as_str(), &end.data["reason"]), ("end", &json!("shutdown")));
    assert!(long.last_id.is_some(), "and where to go on");
    assert!(long.next().await.is_none());
    assert!(begun.elapsed() < Duration::from_secs(10), "at once, and not with the next heartbeat");
    app.alice().get(PATH).await.is(503, "restarts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_lasts_a_limited_time() {
    let app =
        app_with(StreamLimits { lifetime: Duration::from_millis(300), ..StreamLimits::default() }).await;
    let mut stream = Stream::open(&app.alice(), PATH).await;
    assert_eq!(stream.event().await.data["reason"], "lifetime");
    assert!(stream.next().await.is_none());
}

/// Sends as much as the client takes.
async fn flood(
    app: web::Data<AppState>,
    caller: pods_api::caller::Caller,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let slot = app.streams.open(&caller)?;
    Ok(slot.stream(&request, |out| async move {
        loop {
            out.send(Event::new("much").data("x".repeat(64 * 1024))).await;
        }
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_loses_the_connection() {
    // Long enough to be refused in the meantime.
    let unread = Duration::from_secs(5);
    let configure = |config: &mut web::ServiceConfig| {
        config.route("/flood", web::get().to(flood));
        routes::configure(config);
    };
    let streams = StreamLimits { per_user: 1, unread, ..StreamLimits::default() };
    let app = TestApp::start_with(Setup { streams, configure, ..Setup::default() }).await;
    let token = app.token("dev", "alice", Kind::Access, 600);
    let mut socket = TcpStream::connect(app.address()).unwrap();
    let request =
        format!("GET /flood HTTP/1.1\r\nHost: dev.localhost:8080\r\nX-Tapis-Token: {token}\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut first = [0; 12];
    socket.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    app.alice().get(PATH).await.is(429, "close one first");
    eventually(&app.alice()).await;
}
