//! Asks the edge as visitors do.

use actix_web::{
    App,
    body::to_bytes,
    http::{StatusCode, header},
    test::{TestRequest, call_service, init_service},
    web::Data,
};
use pods_db::Db;
use pods_runtime::{internal_http::Health, metrics::Metrics};

use super::*;
use crate::edge::{
    Config,
    auth::Logins,
    http::{Site, Sources},
    page::reader::Readers,
};

pub struct Answer {
    pub status: StatusCode,
    pub headers: header::HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Asks where nobody can log in.
pub async fn ask(board: &Arc<Board>, request: TestRequest) -> Answer {
    ask_with(board, strangers(), request).await
}

/// Nobody is logged in anywhere.
pub fn strangers() -> Readers {
    Readers::new(Db::connect("postgres://127.0.0.1:9/nowhere", 1).unwrap(), None)
}

/// What an edge with this board has.
pub fn sources(board: &Arc<Board>, readers: Readers, logins: Arc<Logins>) -> Sources {
    Sources {
        board: Arc::clone(board).into(),
        site: Data::new(Site { https_port: 8443, version: "test".to_owned() }),
        logins: logins.into(),
        readers: Data::new(readers),
        health: Data::new(Health::new()),
        metrics: Data::new(Metrics::new("edge")),
    }
}

pub async fn ask_with(board: &Arc<Board>, readers: Readers, request: TestRequest) -> Answer {
    ask_at(board, readers, Arc::new(logins().after_a_look()), request).await
}

pub async fn ask_at(
    board: &Arc<Board>,
    readers: Readers,
    logins: Arc<Logins>,
    request: TestRequest,
) -> Answer {
    let sources = sources(board, readers, logins);
    let service = init_service(App::new().configure(|app| sources.configure(app))).await;
    let response = call_service(&service, request.to_request()).await;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = String::from_utf8(to_bytes(response.into_body()).await.unwrap().to_vec()).unwrap();
    Answer { status, headers, body }
}

/// A visit of some page of a host.
pub fn visit(host: &str) -> TestRequest {
    TestRequest::get()
        .uri("/visitor/some/path?x=1")
        .insert_header(("X-Forwarded-Proto", "https"))
        .insert_header((header::HOST, host.to_owned()))
}

/// Logins at a platform that is away.
pub fn logins() -> Logins {
    let values = [
        ("PODS__SERVICE__SITE_ID", "tacc"),
        ("PODS__DATABASE__URL", "postgres://127.0.0.1:9/nowhere"),
        ("PODS__KUBERNETES__NAMESPACE", "pods"),
        ("PODS__TAPIS__BASE_URL", "http://127.0.0.1:9"),
        (
            "PODS__LOGINS__KEYS",
            "[{ id = \"test\", value = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\" }]",
        ),
        ("PODS__EDGE__BIND", "127.0.0.1:0"),
        ("PODS__EDGE__API_URL", "http://127.0.0.1:9"),
        ("PODS__EDGE__SELF_URL", "http://127.0.0.1:9"),
        ("PODS__EDGE__STATE_DIR", "/nowhere"),
    ];
    let values = values.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let config: Config = pods_runtime::config::load_from(None, values).unwrap();
    Logins::new(&config).unwrap()
}
