//! What is behind Traefik: an edge that gives it a document and lets everybody in, and a pod that says what it was
//! asked.

use std::{convert::Infallible, net::TcpListener};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::*;

/// The stand-in for the edge.
#[derive(Clone)]
pub struct Edge {
    document: Arc<std::sync::Mutex<Vec<u8>>>,
    /// What it was asked besides for the document.
    pub asked: Arc<std::sync::Mutex<Vec<String>>>,
}

async fn edge(request: HttpRequest, edge: web::Data<Edge>) -> HttpResponse {
    let header = |name: &str| {
        request.headers().get(name).map_or("", |value| value.to_str().unwrap_or_default()).to_owned()
    };
    let path = request.uri().path();
    if path == "/traefik-config" {
        let document = edge.document.lock().unwrap().clone();
        return HttpResponse::Ok().content_type("application/json").body(document);
    }
    let asked = format!(
        "{path} of {} {}://{}{}",
        header("x-forwarded-method"),
        header("x-forwarded-proto"),
        header("x-forwarded-host"),
        header("x-forwarded-uri")
    );
    edge.asked.lock().unwrap().push(asked);
    if path.starts_with("/forward-auth") {
        return HttpResponse::Ok()
            .insert_header(("Cookie", "theme=dark"))
            .insert_header(("X-Tapis-Username", "alice"))
            .insert_header(("Not-Configured", "x"))
            .finish();
    }
    HttpResponse::Ok().body(format!("edge {path}"))
}

/// How many events the pod may send, for each of its streams.
pub static EVENTS: [Semaphore; 2] = [Semaphore::const_new(0), Semaphore::const_new(0)];

/// One event for each permit. The head comes before all of them.
fn events(stream: &'static Semaphore) -> HttpResponse {
    let events = futures::stream::unfold(1, move |number: u32| async move {
        stream.acquire().await.ok()?.forget();
        Some((Ok::<_, Infallible>(web::Bytes::from(format!("data: {number}\n\n"))), number + 1))
    });
    HttpResponse::Ok().content_type("text/event-stream").streaming(events)
}

/// Says what it was asked for, headers included. `/large` is 4000 bytes, `/events/<n>` a stream of events.
async fn echo(request: HttpRequest) -> HttpResponse {
    match request.path() {
        "/events/0" => return events(&EVENTS[0]),
        "/events/1" => return events(&EVENTS[1]),
        "/large" => return HttpResponse::Ok().content_type("text/plain").body("large ".repeat(4000 / 6)),
        _ => {}
    }
    let mut text = format!("pod {}\n", request.uri());
    for (name, value) in request.headers() {
        text += &format!("{name}: {}\n", value.to_str().unwrap_or_default());
    }
    HttpResponse::Ok().content_type("text/plain").body(text)
}

/// Both, and the table that the document is made from.
pub struct Backstage {
    pub edge: Edge,
    table: RoutingTable,
    edge_port: u16,
    pod_port: u16,
}

impl Backstage {
    /// Starts both; the document has these pods.
    pub fn new(settings: RoutingSettings, pods: &[RoutedPod]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pod_port = listener.local_addr().unwrap().port();
        let server = HttpServer::new(|| App::new().default_service(web::to(echo)));
        tokio::spawn(server.workers(1).disable_signals().listen(listener).unwrap().run());
        Self::before(pod_port, settings, pods)
    }

    /// Starts the edge only; what the pods are is the caller's.
    pub fn before(pod_port: u16, settings: RoutingSettings, pods: &[RoutedPod]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let edge_port = listener.local_addr().unwrap().port();
        let state = Edge { document: Arc::default(), asked: Arc::default() };
        let data = web::Data::new(state.clone());
        let server =
            HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(edge)));
        tokio::spawn(server.workers(1).disable_signals().listen(listener).unwrap().run());
        let edge_url = format!("http://127.0.0.1:{edge_port}");
        let table = RoutingTable::new(RoutingSettings { edge_url, ..settings }).unwrap();
        let mut stage = Self { edge: state, table, edge_port, pod_port };
        stage.set(pods);
        stage
    }

    /// Where Traefik finds the document.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/traefik-config", self.edge_port)
    }

    /// Adds pods to the document, or takes over their changes.
    pub fn set(&mut self, pods: &[RoutedPod]) {
        for pod in pods {
            self.table.set(pod);
        }
        // Names of the cluster mean nothing here.
        let mut document: Value = serde_json::from_slice(&self.table.render()).unwrap();
        let here = format!("127.0.0.1:{}", self.pod_port);
        for section in ["http", "tcp"] {
            let services = document.pointer_mut(&format!("/{section}/services"));
            for service in
                services.and_then(Value::as_object_mut).into_iter().flat_map(|all| all.values_mut())
            {
                let server = &mut service["loadBalancer"]["servers"][0];
                if section == "tcp" {
                    server["address"] = here.clone().into();
                } else if server["url"].as_str().unwrap().starts_with("http://pods-") {
                    server["url"] = format!("http://{here}").into();
                }
            }
        }
        *self.edge.document.lock().unwrap() = serde_json::to_vec(&document).unwrap();
    }
}
