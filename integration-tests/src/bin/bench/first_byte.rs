//! How long after it is AVAILABLE a new pod answers at its public address, with thousands of routes beside it.
//!
//! The other routes are copies of a running pod's row, with names of their own. They lie in a table of the bench's, and
//! an edge of the bench's sees them together with the real rows: health would start two thousand pods again that it does
//! not find in Kubernetes. This edge leads a Traefik of the bench's, which has the environment's settings. All else is the
//! environment's own: who starts the pods, and who says that they are AVAILABLE.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures::{StreamExt, TryStreamExt};
use integration_tests::{Env, Scene, events::EventStream, proxy::Proxy, scene::HTTPD};
use reqwest::{Certificate, Client};
use serde_json::{Value, json};
use tokio_postgres::Client as Database;
use uuid::Uuid;

use crate::{
    edge::Edge,
    latency::{Seen, hear},
    numbers::{judge, percentile},
    service,
};

/// Seconds.
const P99: f64 = 2.0;
const LIMIT: Duration = Duration::from_secs(60);
/// Between two tries of a visitor.
const PAUSE: Duration = Duration::from_millis(20);
const SCHEMA: &str = "bench_first_byte";
/// In the settings of Traefik.
const POLL: &str = "pollInterval: ";

/// What is asked for.
#[derive(Debug, Args)]
pub struct Options {
    /// How many live routes there are besides.
    #[arg(long, default_value_t = 2000)]
    routes: usize,
    /// How many pods are started.
    #[arg(long, default_value_t = 100)]
    starts: usize,
    /// How many at a time.
    #[arg(long, default_value_t = 2)]
    parallel: usize,
    /// How often Traefik asks for its routes; left out, as the environment's does.
    #[arg(long)]
    poll_interval: Option<String>,
}

/// Runs the bench; answers whether the target is met.
pub async fn run(options: Options) -> Result<bool> {
    ensure!(options.starts > 0 && options.parallel > 0, "at least one start is needed");
    let scene = Scene::new().await;
    let db = service::connect(&scene.env.database_url).await?;
    let result = measure(&scene, &db, &options).await;
    db.batch_execute(&format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")).await?;
    let times = result?;
    println!("{} starts, {} at a time, {} routes besides", times.len(), options.parallel, options.routes);
    let at = |percent| percentile(&times, percent);
    println!(
        "  AVAILABLE -> first byte: median {:.2} s, p90 {:.2} s, {:.2} to {:.2} s",
        at(50.0),
        at(90.0),
        at(0.0),
        at(100.0)
    );
    Ok(judge("AVAILABLE -> first byte, p99", at(99.0), P99, "s"))
}

async fn measure(scene: &Scene, db: &Database, options: &Options) -> Result<Vec<f64>> {
    let seed = scene.httpd("benchseed").await;
    scene.alice.await_status(&seed, "AVAILABLE").await;
    let last = copies(db, &seed, options.routes).await?;
    let env = &scene.env;
    let edge = Edge::start(env, &seeing_copies(&env.database_url)).await?;
    let (theirs, ours) = (format!("{}/traefik-config", env.edge_url), format!("{}/traefik-config", edge.url));
    let mut changes = vec![(theirs, ours)];
    changes.extend(
        options.poll_interval.as_ref().map(|interval| (poll_interval(env), format!("{POLL}{interval}"))),
    );
    let changes: Vec<(&str, &str)> = changes.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    let proxy = Proxy::start(env, &changes)?;
    let visitor = Visitor::new(env, &proxy)?;
    for host in [env.pod_host(&last, "default"), env.pod_host(&seed, "default")] {
        visitor.is_routed(&host).await?;
    }

    let seen = Seen::new();
    let events = EventStream::open(env, &scene.alice, "/v3/pods/events").await?;
    let hearing = tokio::spawn(hear(events, seen.clone()));
    let starts = futures::stream::iter(0..options.starts).map(|_| start(scene, &seen, &visitor));
    let times = starts.buffer_unordered(options.parallel).try_collect().await;
    hearing.abort();
    times
}

/// Seconds from AVAILABLE to the first byte of a new pod.
async fn start(scene: &Scene, seen: &Seen, visitor: &Visitor) -> Result<f64> {
    let id = scene.id("bench");
    scene.try_create(&scene.alice, json!({ "pod_id": id, "image": HTTPD })).await.result();
    let available = seen.when("available", &id).await?;
    let host = scene.env.pod_host(&id, "default");
    let begun = Instant::now();
    let first = loop {
        let (at, page) = visitor.look(&host).await;
        if page.as_ref().is_ok_and(|(code, text)| *code == 200 && text.contains("It works")) {
            break at;
        }
        ensure!(begun.elapsed() < LIMIT, "{host} is not reached within {LIMIT:?}: {page:?}");
        tokio::time::sleep(PAUSE).await;
    };
    scene.alice.delete(&format!("/v3/pods/{id}")).await.result();
    scene.cluster.await_nothing_of(&id).await;
    Ok(first.duration_since(available).as_secs_f64())
}

/// The setting as it stands in the environment's file.
fn poll_interval(env: &Env) -> String {
    let settings = env
        .processes
        .get("traefik")
        .and_then(|process| process.argv.last()?.split_once('=').map(|(_, file)| file.to_owned()))
        .and_then(|file| std::fs::read_to_string(file).ok())
        .unwrap_or_default();
    let found = settings.split(POLL).nth(1).and_then(|rest| rest.split([',', ' ', '\n', '}']).next());
    format!("{POLL}{}", found.unwrap_or_default())
}

/// Makes so many copies of a pod's row where no other process sees them; answers the last id.
async fn copies(db: &Database, seed: &str, routes: usize) -> Result<String> {
    db.batch_execute(&format!(
        "DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}; \
         CREATE TABLE {SCHEMA}.copies (LIKE public.pods); \
         CREATE VIEW {SCHEMA}.pods AS SELECT * FROM public.pods UNION ALL SELECT * FROM {SCHEMA}.copies"
    ))
    .await?;
    let sql = "SELECT k8_name, networking::text FROM pods WHERE pod_id = $1 AND deleted_at IS NULL";
    let row = db.query_one(sql, &[&seed]).await.context("the seed has a row")?;
    let (k8_name, networking): (String, String) = (row.get(0), row.get(1));
    ensure!(
        networking.contains(seed) && k8_name.contains(seed),
        "names contain the id: {k8_name} {networking}"
    );
    // As long as the id of the seed, so that all rows have the same size.
    let width = seed.len() - "bench".len();
    let ids: Vec<String> = (0..routes.max(1)).map(|number| format!("bench{number:0width$}")).collect();
    let copies: Vec<Value> = ids
        .iter()
        .map(|id| -> Result<Value> {
            let networking: Value = serde_json::from_str(&networking.replace(seed, id))?;
            Ok(json!({
                "pod_id": id, "uid": Uuid::now_v7(), "k8_name": k8_name.replace(seed, id), "networking": networking,
            }))
        })
        .collect::<Result<_>>()?;
    let sql = format!(
        "INSERT INTO {SCHEMA}.copies SELECT (jsonb_populate_record(NULL::public.pods, to_jsonb(seed) || copy)).* \
         FROM jsonb_array_elements($1::text::jsonb) AS copy, public.pods AS seed \
         WHERE seed.pod_id = $2 AND seed.deleted_at IS NULL"
    );
    db.execute(&sql, &[&Value::Array(copies).to_string(), &seed]).await.context("rows cannot be copied")?;
    ids.into_iter().last().context("there is a copy")
}

/// The same database for a process that is to see the copies, too.
fn seeing_copies(url: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}options=-c%20search_path%3D{SCHEMA}%2Cpublic")
}

/// Somebody who has never been there: each look is a connection of its own.
struct Visitor {
    http: Client,
    port: u16,
}

impl Visitor {
    fn new(env: &Env, proxy: &Proxy) -> Result<Self> {
        let ca = Certificate::from_pem(&std::fs::read(&env.ca_file)?)?;
        let http = Client::builder()
            .no_proxy()
            .tls_certs_merge([ca])
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(10))
            .build()?;
        Ok(Self { http, port: proxy.https_port })
    }

    /// When the answer began, and what it is.
    async fn look(&self, host: &str) -> (Instant, Result<(u16, String)>) {
        let answer = self.http.get(format!("https://{host}:{}/", self.port)).send().await;
        let at = Instant::now();
        let whole = async {
            let answer = answer?;
            Ok((answer.status().as_u16(), answer.text().await?))
        };
        (at, whole.await)
    }

    /// Waits until Traefik has a route, whether or not there is a container at its end.
    async fn is_routed(&self, host: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            let page = self.look(host).await.1;
            if page.as_ref().is_ok_and(|(code, _)| matches!(code, 200 | 502)) {
                return Ok(());
            }
            ensure!(begun.elapsed() < LIMIT, "{host} has no route within {LIMIT:?}: {page:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
