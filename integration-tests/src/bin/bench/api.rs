//! Requests per second, latency and CPU time of the API process, with some connections that are always busy.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use integration_tests::{Env, env::TokenWish, process};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::{
    derived,
    numbers::{judge, percentile},
    service,
};

/// The API process itself, past Traefik, as one user sees it.
pub struct Api {
    url: String,
    host: String,
    pid: u32,
}

impl Api {
    fn find(env: &Env) -> Result<Self> {
        let file = std::env::var("PODS_TEST_ENV").context("PODS_TEST_ENV is not set")?;
        let document: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
        let url = document["api_url"].as_str().context("env.json has no api_url")?.to_owned();
        let host = env.base_url.split("://").nth(1).unwrap_or_default().trim_end_matches('/').to_owned();
        Ok(Self { url, host, pid: service::pid(env, "pods-api")? })
    }

    /// A request of this user's.
    pub fn request(&self, client: &Client, method: Method, path: &str, token: &str) -> RequestBuilder {
        client
            .request(method, format!("{}{path}", self.url))
            .header("host", &self.host)
            .header("x-tapis-token", token)
    }
}

/// When a measurement ends.
#[derive(Clone, Copy)]
pub enum End {
    /// When this time is over.
    After(Duration),
    /// After so many requests.
    Count(usize),
}

/// Sends requests on each connection without a pause and prints what was seen; answers the CPU seconds of the API
/// process for 1000 requests.
pub async fn measure<F>(api: &Api, what: &str, connections: usize, end: End, request: F) -> Result<f64>
where
    F: Fn(&Client, usize) -> RequestBuilder,
{
    let next = AtomicUsize::new(0);
    let (begun, cpu) = (Instant::now(), service::cpu_seconds(api.pid)?);
    let connection = async || -> Result<Vec<f64>> {
        let client = Client::builder().no_proxy().pool_max_idle_per_host(1).build()?;
        let mut seen = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            match end {
                End::After(limit) if begun.elapsed() >= limit => return Ok(seen),
                End::Count(count) if number >= count => return Ok(seen),
                End::After(_) | End::Count(_) => {}
            }
            let sent = Instant::now();
            let response = request(&client, number).send().await.with_context(|| format!("{what} failed"))?;
            let status = response.status();
            let body = response.bytes().await?;
            ensure!(status == 200, "{what} answered {status}: {}", String::from_utf8_lossy(&body));
            seen.push(sent.elapsed().as_secs_f64() * 1000.0);
        }
    };
    let latencies: Vec<f64> =
        futures::future::try_join_all((0..connections).map(|_| connection())).await?.concat();
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), service::cpu_seconds(api.pid)? - cpu);
    let (p50, p99) = (percentile(&latencies, 50.0), percentile(&latencies, 99.0));
    let rate = latencies.len() as f64 / wall;
    println!(
        "{what}: {} requests, {rate:.0}/s, p50 {p50:.2} ms, p99 {p99:.2} ms, none failed",
        latencies.len()
    );
    Ok(cpu * 1000.0 / latencies.len() as f64)
}

/// A create that is measured.
pub struct Creates<'a> {
    /// What is printed.
    pub what: &'a str,
    /// Whose pods.
    pub token: &'a str,
    /// What the ids begin with.
    pub prefix: &'a str,
    /// How many.
    pub count: usize,
    /// The body without the id, by number.
    pub body: &'a dyn Fn(usize) -> Value,
}

/// The body of a pod with an image.
fn plain(status_requested: &str) -> Value {
    json!({
        "image": "busybox", "description": "a pod of the bench", "command": ["sleep", "3600"],
        "environment_variables": {"A": "1", "B": "2"}, "status_requested": status_requested,
    })
}

/// Runs the bench; answers whether every target is met.
pub async fn run(seconds: u64, connections: usize) -> Result<bool> {
    let env = Env::load();
    let api = Api::find(&env)?;
    let run: String = uuid::Uuid::new_v4().simple().to_string().chars().take(6).collect();
    let tokens: Vec<(usize, String)> = [1, 100, 1000]
        .into_iter()
        .map(|count| {
            let user = format!("bench{run}x{count}");
            (count, env.token(TokenWish { user: &user, ..TokenWish::default() }))
        })
        .collect();
    let token =
        |kind: &str| env.token(TokenWish { user: &format!("bench{run}{kind}"), ..TokenWish::default() });
    let (waking, deriving) = (token("on"), token("derived"));
    // The starts must wait, so that only the API is measured.
    let spawners = process::replicas(&env, "pods-spawner");
    for spawner in &spawners {
        service::signal(&env, "pause", spawner)?;
    }
    let mut measured = all(&api, &run, &tokens, &waking, seconds, connections).await;
    if let Ok(met) = measured {
        let time = End::After(Duration::from_secs(seconds));
        measured = derived::list(&api, &run, &deriving, connections, time).await.map(|fast| fast && met);
    }
    println!("deleting what was made");
    let mut all_tokens: Vec<&str> = tokens.iter().map(|(_, token)| token.as_str()).collect();
    all_tokens.extend([&*waking, &*deriving]);
    let deleted = delete_all(&api, &all_tokens, connections).await;
    let templates = derived::delete_templates(&api, &run, &deriving).await;
    for spawner in &spawners {
        service::signal(&env, "cont", spawner)?;
    }
    let met = measured?;
    deleted?;
    templates?;
    Ok(met)
}

async fn all(
    api: &Api,
    run: &str,
    tokens: &[(usize, String)],
    waking: &str,
    seconds: u64,
    connections: usize,
) -> Result<bool> {
    let mut met = true;
    let time = End::After(Duration::from_secs(seconds));
    for (count, token) in tokens {
        let creates = Creates {
            what: &format!("POST /pods (OFF, {count})"),
            token,
            prefix: &format!("b{run}n{count}p"),
            count: *count,
            body: &|_| plain("OFF"),
        };
        let cpu = create(api, connections, creates).await?;
        println!("  CPU seconds for 1000: {cpu:.3}");
    }
    let unit = "CPU-s/1000";
    let creates = Creates {
        what: "POST /pods (ON, with instance and wake-up)",
        token: waking,
        prefix: &format!("b{run}on"),
        count: 600,
        body: &|_| plain("ON"),
    };
    met &= judge("create", create(api, connections, creates).await?, 0.6, unit);
    let (_, one) = &tokens[0];
    let path = format!("/v3/pods/b{run}n1p0");
    let get = |client: &Client, _| api.request(client, Method::GET, &path, one);
    met &= judge("get", measure(api, "GET /pods/{id}", connections, time, get).await?, 0.15, unit);
    for ((count, token), target) in tokens.iter().zip([0.15, 1.5, 15.0]) {
        let list = |client: &Client, _| api.request(client, Method::GET, "/v3/pods", token);
        let cpu = measure(api, &format!("GET /pods with {count}"), connections, time, list).await?;
        met &= judge(&format!("list of {count}"), cpu, target, unit);
    }
    Ok(met)
}

/// Creates the pods; answers the CPU seconds of the API process for 1000.
pub async fn create(api: &Api, connections: usize, creates: Creates<'_>) -> Result<f64> {
    let request = |client: &Client, number| {
        let mut body = (creates.body)(number);
        body["pod_id"] = format!("{}{number}", creates.prefix).into();
        api.request(client, Method::POST, "/v3/pods", creates.token).json(&body)
    };
    measure(api, creates.what, connections, End::Count(creates.count), request).await
}

async fn delete_all(api: &Api, tokens: &[&str], connections: usize) -> Result<()> {
    let client = Client::builder().no_proxy().build()?;
    for token in tokens {
        let list: Value = api.request(&client, Method::GET, "/v3/pods", token).send().await?.json().await?;
        let ids: Vec<&str> = list["result"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|pod| pod["pod_id"].as_str())
            .collect();
        let delete = |client: &Client, number: usize| {
            api.request(client, Method::DELETE, &format!("/v3/pods/{}", ids[number]), token)
        };
        measure(api, "DELETE /pods/{id}", connections, End::Count(ids.len()), delete).await?;
    }
    Ok(())
}
