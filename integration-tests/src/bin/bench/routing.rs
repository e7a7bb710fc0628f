//! Routes of thousands of pods: what the document costs, and what a login costs each request.

mod load;
mod process;
mod render;
mod stand;
mod visitors;

use anyhow::Result;
use clap::Args;
use pods_core::{Networking, Protocol, Status, Tenant, ids, routing::RoutedPod};
use uuid::Uuid;

/// What is asked for.
#[derive(Debug, Args)]
pub struct Options {
    /// How many pods, each with two networking entries.
    #[arg(long, default_value_t = 10_000)]
    pods: usize,
    /// Polls of an unchanged document in each of five rounds.
    #[arg(long, default_value_t = 200)]
    polls: usize,
    /// Rounds of requests.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each kind of request in a round.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Only what needs no running system.
    #[arg(long, conflicts_with = "visitors_only")]
    rendering_only: bool,
    /// Only the requests of visitors.
    #[arg(long)]
    visitors_only: bool,
}

/// Runs all of it.
pub async fn run(options: Options) -> Result<bool> {
    let mut met = options.visitors_only || render::run(options.pods)?;
    if !options.rendering_only && !options.visitors_only {
        met &= process::run(options.pods, options.polls).await?;
    }
    if !options.rendering_only {
        met &= visitors::run(options.rounds, options.seconds).await?;
    }
    Ok(met)
}

const TENANT_HOST: &str = "dev.example.org";

/// A running pod with two entries: half of the pods have a login on one, a tenth speaks TCP on the other.
fn pod(number: usize, port: i32) -> RoutedPod {
    let tenant = Tenant::new("bench", "dev");
    let pod_id = format!("bench{number:05}");
    let uid = Uuid::from_u128((number as u128 + 1) << 64);
    let entry = |network: &str, entry: Networking| {
        let url = ids::entry_host(&pod_id, network, TENANT_HOST);
        (network.to_owned(), Networking { url, port, ..entry })
    };
    let guarded = Networking {
        tapis_auth: number.is_multiple_of(2),
        tapis_auth_excluded_paths: vec!["/assets".to_owned()],
        ..Networking::default()
    };
    let second = match number % 10 {
        0 => Networking { protocol: Protocol::Tcp, proxy_compression: false, ..Networking::default() },
        _ => Networking {
            cors_allow_origins: vec![format!("https://app{}.example.org", number % 50)],
            ..Networking::default()
        },
    };
    RoutedPod {
        k8_name: ids::k8_name(&tenant, &pod_id, uid),
        tenant_host: TENANT_HOST.to_owned(),
        status: Status::Available,
        live: true,
        networking: [entry("default", guarded), entry("admin", second)].into(),
        problem: None,
        permissions: [("alice".to_owned(), pods_core::Level::Admin)].into(),
        tenant,
        pod_id,
        uid,
    }
}
