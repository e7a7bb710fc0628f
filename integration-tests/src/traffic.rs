//! Visitors who come all the time, and what went wrong for them.

use std::time::Duration;

use reqwest::{Certificate, Client, redirect::Policy};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior},
};

use crate::env::Env;

/// Between two requests of a visitor.
const PAUSE: Duration = Duration::from_millis(50);
/// More failures are counted, but not told.
const TOLD: usize = 20;

/// A page that is asked for again and again.
#[derive(Debug, Clone)]
pub struct Visit {
    /// What failures are told under.
    pub what: &'static str,
    /// The host.
    pub host: String,
    /// The path.
    pub path: String,
    /// Cookies.
    pub cookie: Option<String>,
    /// What the page contains.
    pub text: &'static str,
    /// Whether each request has a connection of its own.
    pub fresh: bool,
}

/// What became of the requests of a visitor.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Which visit.
    pub what: &'static str,
    /// How many requests.
    pub requests: usize,
    /// How many of them failed.
    pub failed: usize,
    /// The first failures.
    pub failures: Vec<String>,
}

/// Visitors; they go when it is dropped.
#[derive(Debug)]
pub struct Traffic {
    over: watch::Sender<bool>,
    visitors: Vec<JoinHandle<Tally>>,
}

impl Traffic {
    /// Lets one visitor come for each visit, twenty times a second.
    pub fn start(env: &Env, visits: Vec<Visit>) -> Self {
        let (over, _) = watch::channel(false);
        let visitors = visits.into_iter().map(|visit| {
            let client = client(env, visit.fresh);
            let port = env.https_port;
            tokio::spawn(come(client, port, visit, over.subscribe()))
        });
        Self { visitors: visitors.collect(), over }
    }

    /// Lets them go, and answers what they met.
    pub async fn finish(self) -> Vec<Tally> {
        self.over.send_replace(true);
        let mut tallies = Vec::new();
        for visitor in self.visitors {
            tallies.push(visitor.await.expect("a visitor does not panic"));
        }
        tallies
    }
}

fn client(env: &Env, fresh: bool) -> Client {
    let ca = std::fs::read(&env.ca_file).expect("the environment has an authority");
    let ca = Certificate::from_pem(&ca).expect("the authority is a certificate");
    let mut client = Client::builder()
        .no_proxy()
        .tls_certs_merge([ca])
        .redirect(Policy::none())
        .timeout(Duration::from_secs(10));
    if fresh {
        client = client.pool_max_idle_per_host(0);
    }
    client.build().expect("a client can be built")
}

async fn come(client: Client, port: u16, visit: Visit, mut over: watch::Receiver<bool>) -> Tally {
    let begun = Instant::now();
    let url = format!("https://{}:{port}{}", visit.host, visit.path);
    let mut tally = Tally { what: visit.what, requests: 0, failed: 0, failures: Vec::new() };
    let mut turns = tokio::time::interval(PAUSE);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = over.wait_for(|over| *over) => return tally,
            _ = turns.tick() => {}
        }
        tally.requests += 1;
        if let Err(failure) = once(&client, &url, &visit).await {
            tally.failed += 1;
            if tally.failures.len() < TOLD {
                let second = begun.elapsed().as_secs_f64();
                tally.failures.push(format!("{} after {second:.2} s: {failure}", visit.what));
            }
        }
    }
}

async fn once(client: &Client, url: &str, visit: &Visit) -> Result<(), String> {
    let mut request = client.get(url).header("Accept", "text/html");
    if let Some(cookie) = &visit.cookie {
        request = request.header("Cookie", cookie);
    }
    let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
    let code = answer.status();
    let text = answer.text().await.map_err(|error| format!("{error:?}"))?;
    match code.as_u16() == 200 && text.contains(visit.text) {
        true => Ok(()),
        false => Err(format!("{code}: {text}")),
    }
}
