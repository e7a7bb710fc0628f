//! The service under test and its callers.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Mutex,
};

use dev_tapis::{
    InProcess,
    tokens::{Kind, Subject},
};
use pods_api::{
    cluster::Cluster,
    feed::{self, Hub},
    log_feed::LogFeed,
    routes, serve,
    sse::{StreamLimits, Streams},
    state::{AppState, HttpPolicy},
};
use pods_core::{PodPolicy, image::ImageRule, resources::ResourceLimits};
use pods_db::{
    Connection, logs, outbox,
    pods::PodRow,
    testing::{TestDatabase, done, now},
    transitions::Change,
};
use pods_runtime::shutdown::CancellationToken;
use reqwest::{Client, Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tapis::{Tapis, TapisConfig};

use crate::conformance;

const HOST: &str = "dev.localhost:8080";
const OTHER_HOST: &str = "dev-two.localhost:8080";

/// A running API with a database and a platform of its own.
pub struct TestApp {
    pub database: TestDatabase,
    address: SocketAddr,
    platform: InProcess,
    client: Client,
    db: pods_db::Db,
    shutdown: CancellationToken,
}

/// What a test wants differently.
pub struct Setup {
    pub http: HttpPolicy,
    pub configure: fn(&mut actix_web::web::ServiceConfig),
    pub main_tenants: &'static [&'static str],
    pub streams: StreamLimits,
    pub cluster: Option<kube::Client>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            http: HttpPolicy::default(),
            configure: routes::configure,
            main_tenants: &["dev", "dev-two"],
            streams: StreamLimits::default(),
            cluster: None,
        }
    }
}

impl TestApp {
    pub async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    pub async fn start_with(setup: Setup) -> Self {
        pods_runtime::install_tls_provider();
        let database = TestDatabase::new().await;
        let platform = InProcess::start(|address| {
            format!(
                r#"
                site_id = "dev"
                tenants = [
                    {{ tenant_id = "dev", base_url = "http://{HOST}" }},
                    {{ tenant_id = "dev-two", base_url = "http://{OTHER_HOST}" }},
                    {{ tenant_id = "admin", base_url = "http://{address}", admin = true }},
                ]
                users = [{{ username = "root", password = "root", roles = ["pods_admin"] }}]
                services = [{{ name = "pods", password = "podspw" }}, {{ name = "files", password = "filespw" }}]
                "#
            )
        })
        .unwrap();

        let mut tapis = TapisConfig::at(format!("http://{}", platform.address()).parse().unwrap());
        tapis.service_password = "podspw".to_owned().into();
        let db = database.db();
        let shutdown = CancellationToken::new();
        let key = (String::from("test"), "00".repeat(32).into());
        let state_of_app = AppState {
            db: db.clone(),
            tapis: Tapis::new(&tapis, "dev").unwrap(),
            policy: PodPolicy {
                resources: ResourceLimits::default(),
                compute_queues: vec!["default".to_owned(), "gpu".to_owned()],
                images: vec![ImageRule::new("busybox", vec!["*".to_owned()]).unwrap()],
                main_tenants: setup.main_tenants.iter().map(|tenant| (*tenant).to_owned()).collect(),
            },
            keys: pods_secrets::KeyRing::parse([key]).unwrap(),
            http: setup.http,
            pods_port: 443,
            jupyter_template: "jupyterlab:noauth".to_owned(),
            streams: Streams::new(setup.streams, shutdown.clone()),
            cluster: setup.cluster.map(|client| Cluster::new(client, "pods")),
            events: Hub::default(),
            log_feed: LogFeed::default(),
        };
        let events = state_of_app.events.clone();
        let growth = state_of_app.log_feed.clone().run(db.url().to_owned(), shutdown.clone());
        tokio::spawn(growth);
        tokio::spawn(feed::reader::run(events, db.clone(), "dev".to_owned(), shutdown.clone()));
        let listener = socket();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve::server(listener, 1, state_of_app, setup.configure).unwrap());
        let redirects = reqwest::redirect::Policy::none();
        let client = Client::builder().no_proxy().redirect(redirects).build().unwrap();
        Self { database, address, platform, client, db, shutdown }
    }

    /// How many SQL statements the API has run so far.
    pub fn statements(&self) -> usize {
        self.db.statements()
    }

    /// The process is asked to stop: streams end.
    pub fn stop_streams(&self) {
        self.shutdown.cancel();
    }

    /// The platform is away from now on.
    pub async fn stop_platform(&self) {
        self.platform.stop().await;
    }

    pub fn token(&self, tenant: &str, user: &str, kind: Kind, seconds: i64) -> String {
        let subject = Subject {
            tenant_id: tenant.to_owned(),
            username: user.to_owned(),
            target_site: None,
            client_id: None,
            grant_type: "password",
        };
        self.platform.platform().mint(&subject, kind, seconds).unwrap()
    }

    /// A service token for this site.
    pub fn service_token(&self, service: &str) -> String {
        let subject = Subject {
            tenant_id: "admin".to_owned(),
            username: service.to_owned(),
            target_site: Some("dev".to_owned()),
            client_id: None,
            grant_type: "password",
        };
        self.platform.platform().mint(&subject, Kind::Access, 600).unwrap()
    }

    pub fn user(&self, name: &str) -> Caller<'_> {
        let token = self.token("dev", name, Kind::Access, 600);
        self.anonymous().with("x-tapis-token", token)
    }

    pub fn alice(&self) -> Caller<'_> {
        self.user("alice")
    }

    pub fn bob(&self) -> Caller<'_> {
        self.user("bob")
    }

    /// Holds the administrator role, but does not ask for its powers.
    pub fn admin(&self) -> Caller<'_> {
        self.user("root")
    }

    /// Holds the role and asks for its powers.
    pub fn admin_mode(&self) -> Caller<'_> {
        self.admin().with("x-pods-admin", "true")
    }

    /// Another alice: that of the other tenant.
    pub fn other_alice(&self) -> Caller<'_> {
        let token = self.token("dev-two", "alice", Kind::Access, 600);
        Caller { host: OTHER_HOST, ..self.anonymous() }.with("x-tapis-token", token)
    }

    pub fn anonymous(&self) -> Caller<'_> {
        Caller { app: self, host: HOST, headers: Vec::new() }
    }

    /// The row behind a pod of the tenant `dev`.
    pub async fn row(&self, pod_id: &str) -> PodRow {
        let tenant = pods_db::testing::tenant();
        PodRow::find(&mut *self.conn().await, &tenant, pod_id, "").await.unwrap().unwrap().0
    }

    /// Where the API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The objects of a deleted pod are gone.
    pub async fn tombstone_settles(&self, uid: uuid::Uuid) {
        let conn = &mut *self.conn().await;
        let row = PodRow::by_uid(conn, uid).await.unwrap().unwrap();
        assert!(row.deleted_at.is_some());
        done(conn, &row, Change::new(pods_core::transition::Event::ObjectsGone, now())).await;
    }

    /// Pods of alice, in one transaction.
    pub async fn create_rows(&self, count: usize) {
        let copies = format!(
            "WITH made AS (INSERT INTO pods SELECT (jsonb_populate_record(p, jsonb_build_object( \
               'uid', gen_random_uuid(), 'pod_id', 'copy' || n, 'k8_name', 'copy' || n))).* \
               FROM pods p, generate_series(1, {count}) n WHERE pod_id = 'web' RETURNING uid) \
             INSERT INTO pod_permissions (pod_uid, username, level) SELECT uid, 'alice', 'ADMIN' FROM made"
        );
        diesel_async::RunQueryDsl::execute(diesel::sql_query(copies), &mut *self.conn().await).await.unwrap();
    }

    /// The feed is pruned behind the back of its readers: all of it, and what comes next.
    pub async fn forget_changes(&self) {
        let pruned = "INSERT INTO leases (name, holder, epoch, expires_ts) \
            SELECT 'changes-pruned', '', pg_snapshot_xmin(pg_current_snapshot())::text::bigint, 'infinity'";
        diesel_async::RunQueryDsl::execute(diesel::sql_query(pruned), &mut *self.conn().await).await.unwrap();
    }

    /// Waits until the feed shows every change: other tests' transactions hold it back for a moment.
    pub async fn changes_settle(&self) {
        #[derive(diesel::QueryableByName)]
        struct Settled {
            #[diesel(sql_type = diesel::sql_types::Bool)]
            settled: bool,
        }
        let settled = "SELECT coalesce(bool_and(xid < pg_snapshot_xmin(pg_current_snapshot())), true) AS settled FROM changes";
        let conn = &mut *self.conn().await;
        let all = async {
            loop {
                let query = diesel::sql_query(settled);
                let row: Settled = diesel_async::RunQueryDsl::get_result(query, conn).await.unwrap();
                if row.settled {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), all).await.expect("the changes settle");
    }

    /// Does to a pod what the spawner or health would.
    pub async fn happens(&self, pod_id: &str, event: pods_core::transition::Event) -> PodRow {
        let row = self.row(pod_id).await;
        done(&mut *self.conn().await, &row, Change::new(event, now())).await
    }

    /// The container of the pod's current run writes.
    pub async fn write_log(&self, row: &PodRow, bytes: &[u8]) {
        self.write_log_at(row, bytes, now(), 0).await;
    }

    /// The same at some time, after `gap` bytes that were left out.
    pub async fn write_log_at(
        &self,
        row: &PodRow,
        bytes: &[u8],
        at: chrono::DateTime<chrono::Utc>,
        gap: i64,
    ) {
        let conn = &mut *self.conn().await;
        let run_id = row.instance_id.unwrap();
        let offset = logs::runs::place(conn, run_id).await.unwrap().unwrap().log_end + gap;
        let marks = [logs::Mark { offset, at }];
        let append = logs::Append {
            pod_uid: row.uid,
            run_id,
            offset,
            bytes,
            marks: &marks,
            resume_ts: at,
            resume_skip: 1,
        };
        let stored = logs::append(conn, None, &[append]).await.unwrap();
        assert_eq!(stored, logs::Stored::All { but: vec![] });
    }

    pub async fn conn(&self) -> impl std::ops::DerefMut<Target = Connection> {
        Wrapped(self.database.conn().await)
    }

    /// The reasons of the wake-ups since the last call.
    pub async fn wake_ups(&self) -> Vec<String> {
        let seen = Mutex::new(Vec::new());
        let publish = |row: outbox::OutboxRow| {
            seen.lock().unwrap().push(row.reason);
            async { true }
        };
        outbox::relay_once(&mut *self.conn().await, 1000, publish).await.unwrap();
        seen.into_inner().unwrap()
    }
}

struct Wrapped(pods_db::PooledConnection);

impl std::ops::Deref for Wrapped {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl std::ops::DerefMut for Wrapped {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}

fn socket() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// Somebody who sends requests.
#[derive(Clone)]
pub struct Caller<'a> {
    app: &'a TestApp,
    host: &'static str,
    headers: Vec<(&'static str, String)>,
}

impl Caller<'_> {
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body.to_string().into_bytes())).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(body.to_string().into_bytes())).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    /// Creates a pod that must be possible to create.
    pub async fn create(&self, pod_id: &str, more: Value) -> Value {
        let mut body = json!({"pod_id": pod_id, "image": "busybox", "status_requested": "OFF"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.post("/v3/pods", body).await.ok()
    }

    /// Gives somebody a level on a pod.
    pub async fn grant(&self, pod_id: &str, user: &str, level: &str) {
        self.post(&format!("/v3/pods/{pod_id}/permissions"), json!({"user": user, "level": level}))
            .await
            .ok();
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Answer {
        let mut request =
            self.app.client.request(method.clone(), format!("http://{}{path}", self.app.address));
        request = request.header("host", self.host);
        let typed = self.headers.iter().any(|(name, _)| *name == "content-type");
        if body.is_some() && !typed {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        if headers.get("content-type").is_some_and(|kind| kind == "text/event-stream") {
            // It has no end; that it begins is the answer.
            assert_eq!(status, StatusCode::OK);
            return Answer { status, headers, body: Value::Null };
        }
        let bytes = response.bytes().await.unwrap();
        let body = if method == Method::HEAD {
            assert!(bytes.is_empty(), "HEAD has no body");
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                panic!("{status} {path}: {error}: {}", String::from_utf8_lossy(&bytes))
            })
        };
        let answer = Answer { status, headers, body };
        if method != Method::HEAD {
            answer.check_envelope();
            conformance::check(&method, path, answer.status, &answer.body);
        }
        answer
    }

    /// A request whose answer may be anything: a preflight, a page.
    pub async fn raw(&self, method: Method, path: &str) -> reqwest::Response {
        let mut request = self.app.client.request(method, format!("http://{}{path}", self.app.address));
        request = request.header("host", self.host);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.send().await.unwrap()
    }
}

/// What came back; every body is an envelope.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    fn check_envelope(&self) {
        assert_eq!(self.headers["content-type"], "application/json", "exactly, without a charset");
        let members: Vec<&str> = self.body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["message", "metadata", "result", "status", "version"]);
        assert!(self.body["metadata"].is_object() && self.body["version"].is_string(), "{}", self.body);
        if self.status.is_success() {
            assert!(self.body["message"].is_string(), "{}", self.body);
        } else {
            assert_eq!((&self.body["status"], &self.body["result"]), (&json!("error"), &Value::Null));
            assert!(!self.message().is_empty());
        }
    }

    /// The result of a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        assert_eq!(self.body["status"], "success", "{}", self.body);
        self.body["result"].clone()
    }

    /// That the answer is an error of this code whose message contains `text`.
    #[track_caller]
    pub fn is(&self, code: u16, text: &str) {
        assert_eq!(self.status.as_u16(), code, "{}", self.body);
        let message = self.message();
        assert!(message.to_lowercase().contains(&text.to_lowercase()), "{text:?} is not in {message:?}");
    }

    /// The same for a body that breaks rules: 400 and an array of lines.
    #[track_caller]
    pub fn is_invalid(&self, text: &str) {
        assert!(self.body["message"].is_array(), "{}", self.body);
        self.is(400, text);
    }

    /// The message, lines joined.
    pub fn message(&self) -> String {
        match &self.body["message"] {
            Value::String(text) => text.clone(),
            Value::Array(lines) => {
                lines.iter().map(|line| line.as_str().unwrap()).collect::<Vec<_>>().join("\n")
            }
            other => panic!("a message is text or a list of texts: {other}"),
        }
    }
}
