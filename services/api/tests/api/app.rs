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
    answers::Answers,
    cluster::Cluster,
    feed::{self, Hub},
    log_feed::LogFeed,
    routes, serve,
    sse::{StreamLimits, Streams},
    state::{AppState, HttpPolicy},
};
use pods_core::{
    PodPolicy,
    image::ImageRule,
    resources::{Queue, ResourceLimits},
};
use pods_db::{
    Connection, logs, outbox,
    pods::PodRow,
    testing::{TestDatabase, done, now},
    transitions::Change,
};
use pods_runtime::shutdown::CancellationToken;
use reqwest::Client;
use tapis::{Tapis, TapisConfig};

pub use crate::caller::{Answer, Caller};

const HOST: &str = "dev.localhost:8080";
const OTHER_HOST: &str = "dev-two.localhost:8080";

/// A running API with a database and a platform of its own.
pub struct TestApp {
    pub database: TestDatabase,
    address: SocketAddr,
    platform: InProcess,
    pub client: Client,
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
    /// Roles are asked for each time, so that a withdrawn one counts at once.
    pub forget_roles: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            http: HttpPolicy::default(),
            configure: routes::configure,
            main_tenants: &["dev", "dev-two"],
            streams: StreamLimits::default(),
            cluster: None,
            forget_roles: false,
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
        // The platform runs in this process, which a busy machine lets wait.
        tapis.request_timeout_seconds = 60;
        if setup.forget_roles {
            tapis.role_cache_seconds = 0;
        }
        let db = database.db();
        let shutdown = CancellationToken::new();
        let key = (String::from("test"), "00".repeat(32).into());
        let state_of_app = AppState {
            db: db.clone(),
            tapis: Tapis::new(&tapis, "dev").unwrap(),
            policy: PodPolicy {
                resources: ResourceLimits::default(),
                compute_queues: [("default", 1), ("gpu", 1), ("cpu", 0)]
                    .map(|(name, most_gpus)| Queue { name: name.to_owned(), most_gpus })
                    .to_vec(),
                images: vec![ImageRule::new("busybox", vec!["*".to_owned()]).unwrap()],
                main_tenants: setup.main_tenants.iter().map(|tenant| (*tenant).to_owned()).collect(),
            },
            keys: pods_secrets::KeyRing::parse([key]).unwrap(),
            http: setup.http,
            pods_port: 443,
            jupyter_template: "jupyterlab:noauth".to_owned(),
            streams: Streams::new(setup.streams, shutdown.clone()),
            cluster: setup.cluster.map(|client| Cluster::new(client, "pods")),
            answers: Answers::default(),
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

    /// Gives or takes the administrator role of a user of the tenant `dev`.
    pub fn administers(&self, user: &str, does: bool) {
        let platform = self.platform.platform();
        match does {
            true => platform.grant_roles("dev", user, &["pods_admin".to_owned()]).unwrap(),
            false => platform.revoke_roles("dev", user).unwrap(),
        }
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

    /// Pods of alice whose ids begin with `name`, in one transaction: copies of `web`.
    pub async fn create_rows(&self, name: &str, count: usize) {
        let copies = format!(
            "WITH made AS (INSERT INTO pods SELECT (jsonb_populate_record(p, jsonb_build_object( \
               'uid', gen_random_uuid(), 'pod_id', '{name}' || n, 'k8_name', '{name}' || n))).* \
               FROM pods p, generate_series(1, {count}) n WHERE pod_id = 'web' RETURNING uid) \
             INSERT INTO pod_permissions (pod_uid, username, level) SELECT uid, 'alice', 'ADMIN' FROM made"
        );
        diesel_async::RunQueryDsl::execute(diesel::sql_query(copies), &mut *self.conn().await).await.unwrap();
    }

    /// The feed is pruned behind the back of its readers: all of it, and what comes next.
    pub async fn forget_changes(&self) {
        // This transaction itself: no reader has come further while it runs.
        let pruned = "INSERT INTO leases (name, holder, epoch, expires_ts) \
            SELECT 'changes-pruned', '', pg_current_xact_id()::text::bigint, 'infinity'";
        diesel_async::RunQueryDsl::execute(diesel::sql_query(pruned), &mut *self.conn().await).await.unwrap();
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
