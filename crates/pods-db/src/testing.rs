//! A database of its own for each test, cloned from a migrated template and dropped with the value.
//!
//! The template's name carries a fingerprint of `migrations/`, so it is built once per state of them, whichever
//! test process comes first.

mod given;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::{Db, PooledConnection};

pub use given::*;

/// The variable that names a database on the server to use; its role may create databases.
pub const URL_VARIABLE: &str = "PODS_TEST_DATABASE_URL";
/// Two processes that want the template at once wait for each other here.
const LOCK: i64 = 0x7465_7374;
/// Databases of tests that were killed are dropped after this time.
const LEFTOVER_AFTER: Duration = Duration::from_secs(3600);
const PREFIX: &str = "pods_t_";
/// Nobody's transaction lasts so long.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// A migrated, empty database.
#[derive(Debug)]
pub struct TestDatabase {
    server: String,
    name: String,
    db: Db,
}

impl TestDatabase {
    /// Creates one. Needs a multi-thread runtime.
    ///
    /// # Panics
    /// When the server cannot be used: a test that cannot run fails.
    pub async fn new() -> Self {
        let server = std::env::var(URL_VARIABLE).unwrap_or_else(|_| {
            panic!(
                "{URL_VARIABLE} is not set; run the tests with `cargo xtask test`, which provides Postgres"
            )
        });
        Self::create(server).await.expect("the server of PODS_TEST_DATABASE_URL can be used for tests")
    }

    async fn create(server: String) -> Result<Self> {
        let admin = connect(&server).await?;
        let template = migrated(&server, &admin).await?;
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let name = format!("{PREFIX}{seconds}_{}", Uuid::new_v4().simple());
        admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await?;
        let db = Db::connect(&with_database(&server, &name)?, 8)?;
        Ok(Self { server, name, db })
    }

    /// A pool of eight connections.
    pub fn db(&self) -> Db {
        self.db.clone()
    }

    /// A connection.
    ///
    /// # Panics
    /// When there is none.
    pub async fn conn(&self) -> PooledConnection {
        self.db.get().await.expect("the test's database answers")
    }

    /// Its address.
    pub fn url(&self) -> &str {
        self.db.url()
    }

    /// Waits until the change feed shows every change and every cursor taken from now on lies beyond all of them:
    /// transactions of other tests on the same server hold the feed back for a moment.
    ///
    /// # Panics
    /// When they hold it back for a minute.
    pub async fn changes_settle(&self) {
        let settled = "SELECT coalesce((SELECT max(xid::text::bigint) FROM changes), 0) < xmin \
             AND coalesce((SELECT epoch FROM leases WHERE name = 'changes-pruned'), 0) < xmin \
             FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin) feed";
        let settle = async {
            let client = connect(self.db.url()).await?;
            while !client.query_one(settled, &[]).await?.get::<_, bool>(0) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok::<_, anyhow::Error>(())
        };
        let settled = tokio::time::timeout(SETTLE_LIMIT, settle).await;
        settled.expect("the changes settle").expect("the test's database answers");
    }

    /// Ends every other connection to the database, as a restart of Postgres would, and refuses new ones until
    /// [`TestDatabase::come_back`].
    ///
    /// # Panics
    /// When the server cannot be used.
    pub async fn go_away(&self) {
        self.allow_connections(false).await;
        let admin = connect(&self.server).await.expect("the server of the tests answers");
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
        admin.execute(end, &[&self.name]).await.expect("the role of the tests may end its own sessions");
    }

    /// The end of [`TestDatabase::go_away`].
    ///
    /// # Panics
    /// When the server cannot be used.
    pub async fn come_back(&self) {
        self.allow_connections(true).await;
    }

    async fn allow_connections(&self, allow: bool) {
        let admin = connect(&self.server).await.expect("the server of the tests answers");
        let sql = format!("ALTER DATABASE {} ALLOW_CONNECTIONS {allow}", self.name);
        admin.batch_execute(&sql).await.expect("the role of the tests may change its databases");
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, sql) =
            (self.server.clone(), format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        // The test's own runtime may be ending: the drop gets one of its own.
        let dropped = std::thread::spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { Ok(connect(&server).await?.batch_execute(&sql).await?) })
        });
        // A database that stays is dropped by a later run.
        let _leftover = dropped.join();
    }
}

async fn connect(url: &str) -> Result<Client> {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.context("Postgres cannot be reached")?;
    tokio::spawn(connection);
    Ok(client)
}

async fn migrated(server: &str, admin: &Client) -> Result<String> {
    let name = format!("pods_template_{:016x}", fingerprint()?);
    let exists = "SELECT FROM pg_database WHERE datname = $1";
    if !admin.query(exists, &[&name]).await?.is_empty() {
        return Ok(name);
    }
    admin.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await?;
    if admin.query(exists, &[&name]).await?.is_empty() {
        drop_leftovers(admin).await?;
        let building = format!("{name}_building");
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {building} WITH (FORCE)")).await?;
        admin.batch_execute(&format!("CREATE DATABASE {building}")).await?;
        crate::migrate::run(&with_database(server, &building)?).await?;
        // The connections of the migration may take a moment to end.
        admin
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
                &[&building],
            )
            .await?;
        let mut tries = 0;
        while let Err(error) =
            admin.batch_execute(&format!("ALTER DATABASE {building} RENAME TO {name}")).await
        {
            tries += 1;
            anyhow::ensure!(tries < 50, "the template could not be named: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    admin.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await?;
    Ok(name)
}

/// Databases of tests that did not live to drop them.
async fn drop_leftovers(admin: &Client) -> Result<()> {
    let oldest = SystemTime::now().duration_since(UNIX_EPOCH)?.saturating_sub(LEFTOVER_AFTER).as_secs();
    for row in
        admin.query("SELECT datname FROM pg_database WHERE starts_with(datname, $1)", &[&PREFIX]).await?
    {
        let name: String = row.get(0);
        let born = name.split('_').nth(2).and_then(|seconds| seconds.parse::<u64>().ok());
        if born.is_some_and(|born| born < oldest) {
            admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        }
    }
    Ok(())
}

fn fingerprint() -> Result<u64> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations"));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).context("migrations/ is readable")? {
        let up = entry?.path().join("up.sql");
        if up.exists() {
            files.push((up.clone(), std::fs::read(&up)?));
        }
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    for (path, content) in files {
        (path.parent().and_then(Path::file_name), content).hash(&mut hasher);
    }
    Ok(hasher.finish())
}

fn with_database(url: &str, name: &str) -> Result<String> {
    let (base, query) = url.split_once('?').map_or((url, String::new()), |(b, q)| (b, format!("?{q}")));
    let (server, _) = base.rsplit_once('/').context("the address of the database has a path")?;
    Ok(format!("{server}/{name}{query}"))
}
