//! Everything that a login needs.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::web::Data;
use dev_tapis::{
    InProcess,
    tokens::{Kind, Subject},
};
use pods_api::{
    answers::Answers,
    edge::{
        self,
        auth::Logins,
        board::Board,
        disk::Disk,
        feed::Feed,
        http::{Site, Sources},
        page::reader::Readers,
        peers::Peers,
    },
    feed::Hub,
    log_feed::LogFeed,
    routes::{self, auth::upkeep::Upkeep},
    serve,
    sse::{StreamLimits, Streams},
    state::{AppState, HttpPolicy},
};
use pods_core::{
    Level, Networking, PodPolicy, Tenant,
    definition::EffectivePod,
    image::ImageRule,
    resources::{Queue, ResourceLimits},
    routing::RoutingTable,
    transition::Event,
};
use pods_db::{
    permissions::{self, Object},
    pods::{NewPodRow, PodRow},
    testing::{self, TestDatabase},
    transitions::Change,
};
use pods_runtime::{
    internal_http::Health,
    metrics::Metrics,
    shutdown::{CancellationToken, Supervisor},
};
use pods_secrets::KeyRing;
use tapis::{Tapis, TapisConfig};

use crate::gone::Gone;

/// How long a test waits for what should come at once.
pub const LIMIT: Duration = Duration::from_secs(20);
pub const TENANT: &str = "dev";
/// Seconds that a request to the platform may take: it runs in this process, which a busy machine lets wait.
const PATIENCE: u64 = 60;

/// One edge process.
pub struct Replica {
    pub address: SocketAddr,
    pub logins: Arc<Logins>,
    shutdown: CancellationToken,
}

pub struct World {
    pub database: TestDatabase,
    pub platform: InProcess,
    /// Where the Authenticator of the tenant `gone` should be.
    pub gone: Gone,
    pub api: SocketAddr,
    pub tapis: Tapis,
    pub keys: KeyRing,
    pub edge: Replica,
    api_server: actix_web::dev::ServerHandle,
    folder: tempfile::TempDir,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn listener() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn tapis_config(address: SocketAddr) -> TapisConfig {
    let address: url::Url = format!("http://{address}").parse().unwrap();
    let mut config = TapisConfig::at(address.clone());
    config.security_kernel_url = Some(address);
    config.service_password = "podspw".to_owned().into();
    config.request_timeout_seconds = PATIENCE;
    config
}

impl World {
    pub async fn start() -> Self {
        pods_runtime::install_tls_provider();
        let database = TestDatabase::new().await;
        let gone = Gone::start().await;
        // Two tenants differ by how the one address is spelled.
        let platform = InProcess::start(|address| {
            let (port, gone) = (address.port(), gone.address);
            format!(
                r#"
                site_id = "dev"
                tenants = [
                    {{ tenant_id = "dev", base_url = "http://127.0.0.1:{port}" }},
                    {{ tenant_id = "two", base_url = "http://localhost:{port}" }},
                    {{ tenant_id = "gone", base_url = "http://{gone}" }},
                    {{ tenant_id = "admin", base_url = "http://admin.invalid", admin = true }},
                ]
                users = [
                    {{ username = "ann", password = "ann" }},
                    {{ username = "bob", password = "bob" }},
                ]
                services = [{{ name = "pods", password = "podspw" }}]
                "#
            )
        })
        .unwrap();
        // Made now, because nobody waits for them: it takes seconds on a busy machine.
        for tenant in ["dev", "two", "gone", "admin"] {
            platform.platform().key(tenant).unwrap();
        }
        let tapis = Tapis::new(&tapis_config(platform.address()), "dev").unwrap();
        let keys = KeyRing::parse([("k1".to_owned(), "07".repeat(32).into())]).unwrap();
        let (api, api_server) = start_api(&database, &tapis, &keys);
        let folder = tempfile::tempdir().unwrap();
        let edge = Replica::start(&database, &platform, api, folder.path().join("edge")).await;
        Self { database, platform, gone, api, tapis, keys, edge, api_server, folder }
    }

    /// Another edge process with the same keys.
    pub async fn another_edge(&self) -> Replica {
        let folder = self.folder.path().join(uuid::Uuid::new_v4().to_string());
        Replica::start(&self.database, &self.platform, self.api, folder).await
    }

    /// An edge process that starts with what the first one would leave on disk if it were killed now.
    pub async fn edge_from_disk(&self, peers: &[SocketAddr]) -> Replica {
        let (from, to) =
            (self.folder.path().join("edge"), self.folder.path().join(uuid::Uuid::new_v4().to_string()));
        until("the first edge has written down what it knows", async || {
            ["routing.journal", "revocations.journal"].iter().all(|name| from.join(name).exists())
        })
        .await;
        std::fs::create_dir(&to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
        let replica = Replica::begin(&self.database, &self.platform, self.api, to, peers);
        until("the edge listens", async || tokio::net::TcpStream::connect(replica.address).await.is_ok())
            .await;
        replica
    }

    /// The API is away from now on.
    pub async fn stop_api(&self) {
        self.api_server.stop(false).await;
    }

    /// A pod of ann with these entries, known to the edge.
    pub async fn pod(&self, pod_id: &str, entries: &[(&str, Networking)]) -> PodRow {
        self.pod_of(TENANT, pod_id, entries).await
    }

    pub async fn pod_of(&self, tenant_id: &str, pod_id: &str, entries: &[(&str, Networking)]) -> PodRow {
        let tenant = Tenant::new("dev", tenant_id);
        let domain = format!("{tenant_id}.example.org");
        let networking: BTreeMap<String, Networking> = entries
            .iter()
            .map(|(name, entry)| {
                let url = pods_core::ids::entry_host(pod_id, name, &domain);
                ((*name).to_owned(), Networking { url, ..entry.clone() })
            })
            .collect();
        let mut definition = testing::definition();
        definition.networking = networking;
        let effective = EffectivePod { definition: definition.clone() };
        let new = NewPodRow {
            tenant_host: &domain,
            definition,
            effective,
            creator: "ann",
            ..testing::new_pod(&tenant, pod_id, false)
        };
        let pod = PodRow::create(&mut *self.database.conn().await, new).await.unwrap();
        let network = entries[0].0;
        until("the edge knows the pod", async || self.edge.knows(&pod, network).await).await;
        pod
    }

    pub async fn delete(&self, pod: &PodRow) {
        testing::done(&mut *self.database.conn().await, pod, Change::new(Event::Delete, testing::now()))
            .await;
    }

    /// Gives a level, as the API does: the pod's revision grows with it.
    pub async fn grant(&self, pod: &PodRow, user: &str, level: Level) {
        let tenant = pod.tenant();
        let request = permissions::Request {
            object: Object::Pod(pod.uid),
            tenant: &tenant,
            actor: "ann",
            log: None,
            now: testing::now(),
        };
        permissions::set(&mut *self.database.conn().await, &request, user, level, |_| Ok(())).await.unwrap();
    }

    pub fn token(&self, tenant: &str, user: &str, seconds: i64) -> String {
        let subject = Subject {
            tenant_id: tenant.to_owned(),
            username: user.to_owned(),
            target_site: None,
            client_id: None,
            grant_type: "password",
        };
        self.platform.platform().mint(&subject, Kind::Access, seconds).unwrap()
    }

    pub fn upkeep(&self) -> Upkeep {
        Upkeep::new(self.database.db(), self.tapis.clone(), self.keys.clone())
    }
}

fn start_api(
    database: &TestDatabase,
    tapis: &Tapis,
    keys: &KeyRing,
) -> (SocketAddr, actix_web::dev::ServerHandle) {
    let state = AppState {
        db: database.db(),
        tapis: tapis.clone(),
        policy: PodPolicy {
            resources: ResourceLimits::default(),
            compute_queues: vec![Queue { name: "default".to_owned(), most_gpus: 0 }],
            images: vec![ImageRule::new("busybox", vec!["*".to_owned()]).unwrap()],
            main_tenants: vec![TENANT.to_owned()],
        },
        keys: keys.clone(),
        http: HttpPolicy::default(),
        pods_port: 443,
        jupyter_template: String::new(),
        streams: Streams::new(StreamLimits::default(), CancellationToken::new()),
        cluster: None,
        answers: Answers::default(),
        events: Hub::default(),
        log_feed: LogFeed::default(),
    };
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let server = serve::server(listener, 1, state, routes::configure).unwrap();
    let handle = server.handle();
    tokio::spawn(server);
    (address, handle)
}

impl Replica {
    async fn start(
        database: &TestDatabase,
        platform: &InProcess,
        api: SocketAddr,
        folder: std::path::PathBuf,
    ) -> Self {
        let replica = Self::begin(database, platform, api, folder, &[]);
        until("the edge can log somebody in", async || replica.logins.can_log_in()).await;
        replica
    }

    fn begin(
        database: &TestDatabase,
        platform: &InProcess,
        api: SocketAddr,
        folder: std::path::PathBuf,
        peers: &[SocketAddr],
    ) -> Self {
        let address = listener().local_addr().unwrap();
        let config = serde_json::json!({
            "service": {"site_id": "dev"},
            "database": {"url": database.url()},
            "kubernetes": {"namespace": "pods"},
            "tapis": {"base_url": format!("http://{}", platform.address()),
                      "request_timeout_seconds": PATIENCE},
            "logins": {"keys": [{"id": "s1", "value": "05".repeat(32)}]},
            "edge": {"bind": address, "api_url": format!("http://{api}"), "self_url": format!("http://{address}"),
                     "state_dir": folder, "peers": peers},
        });
        let config: edge::Config = serde_json::from_value(config).unwrap();
        let disk = Disk::open(&config.edge.state_dir);
        let saved = disk.load(config.edge.copy_absence);
        let board = Board::new(RoutingTable::new(config.routing_settings()).unwrap(), saved);
        let board = Arc::new(board.with_peers(Peers::new(&config.edge.peers).unwrap()));
        let logins = Arc::new(Logins::new(&config).unwrap());
        let mut supervisor = Supervisor::new();
        let shutdown = supervisor.token();
        logins.start(&mut supervisor);
        let feed = Feed::new(database.db(), "dev".to_owned(), Arc::clone(&board), disk);
        tokio::spawn(feed.run(shutdown.clone()));
        let readers = Readers::new(database.db(), Some(logins.who()));
        let sources = Sources {
            board: board.into(),
            site: Data::new(Site { https_port: config.edge.https_port, version: config.service.version }),
            logins: Arc::clone(&logins).into(),
            readers: Data::new(readers),
            health: Data::new(Health::new()),
            metrics: Data::new(Metrics::new("edge")),
        };
        tokio::spawn(edge::http::serve(config.edge.bind, sources, shutdown.clone()));
        tokio::spawn(supervisor.run());
        Self { address, logins, shutdown }
    }

    /// Ends the process.
    pub fn stop(&self) {
        self.shutdown.cancel();
    }

    /// Whether the edge has a gate for an entry.
    pub async fn knows(&self, pod: &PodRow, network: &str) -> bool {
        let url = format!("http://{}/forward-auth/{}/{network}", self.address, pod.uid);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        // Without what Traefik says about the request the entry is known, and nothing else.
        client.get(url).send().await.is_ok_and(|answer| answer.status() == 404)
    }
}

/// Waits for a condition.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < LIMIT, "within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// An entry behind a login.
pub fn entry(allowed: &[&str]) -> Networking {
    Networking {
        tapis_auth: true,
        tapis_auth_allowed_users: allowed.iter().map(|name| (*name).to_owned()).collect(),
        tapis_auth_response_headers: BTreeMap::from([
            ("X-Tapis-Username".to_owned(), "<<tapisusername>>".to_owned()),
            ("X-Tapis-Tenant".to_owned(), "<<tapistenantid>>".to_owned()),
            ("X-Tapis-Site".to_owned(), "<<tapissiteid>>".to_owned()),
            ("Internal".to_owned(), "<<tapisusername>>.<<tapistenantid>>.<<tapissiteid>>".to_owned()),
            ("pods_service_accepts-underscores".to_owned(), "tip#2".to_owned()),
        ]),
        tapis_auth_return_path: "/welcome".to_owned(),
        ..Networking::default()
    }
}
