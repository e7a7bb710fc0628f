//! `env.json`: everything a test needs to know of a running profile.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{Profile, Shared, TENANTS, services, text, traefik};
use crate::packages;
use crate::paths::Ctx;
use crate::proc::{Procs, write_atomically};

/// Writes the document.
pub fn write(ctx: &Ctx, profile: &Profile, shared: &Shared) -> Result<()> {
    let mut processes = Map::new();
    for (layer, procs) in [("infra", &shared.infra.procs), (profile.name.as_str(), &profile.procs)] {
        describe(&mut processes, layer, procs);
    }
    let tenants: Vec<Value> =
        TENANTS.iter().map(|id| json!({ "id": id, "base_url": profile.base_url(id) })).collect();
    let kubeconfig = if profile.is_scripted() { profile.scripted_kubeconfig() } else { shared.admin()? };
    let document = json!({
        "profile": profile.name,
        "site_id": "dev",
        "base_url": profile.base_url("dev"),
        "tenants": tenants,
        "http_port": profile.port("web").number,
        "https_port": profile.port("websecure").number,
        "ca_file": text(&traefik::authority(ctx)?.ca()),
        "kubeconfig": text(&kubeconfig),
        "scripted_url": profile.is_scripted().then(|| profile.local_url("scripted-kube")),
        "kubectl": text(&shared.tools.join("kubectl")),
        "namespace": profile.namespace(),
        "database_url": shared.database_url(&profile.database())?,
        "nats_url": shared.nats_url(),
        "stream": profile.stream(),
        "api_url": profile.local_url("api"),
        "api_internal_url": profile.local_url("api-internal"),
        "edge_url": profile.local_url("edge"),
        "dns_dir": text(&profile.dns_dir()),
        "spawner_internal_url": profile.local_url("spawner-internal"),
        "health_internal_url": profile.local_url("health-internal"),
        "spawner_internal_urls": internal_urls(profile, "spawner-internal"),
        "health_internal_urls": internal_urls(profile, "health-internal"),
        "dev_tapis_url": profile.local_url("dev-tapis"),
        "config_file": text(&profile.config_file()),
        "xtask": text(&ctx.dev.join("bin/xtask")),
        "bin_dir": text(&profile.dir.join("bin")),
        "python": text(&packages::test_python_path(ctx)),
        "node_modules": text(&packages::test_node_modules(ctx)),
        "processes": processes,
    });
    write_atomically(&profile.env_file(), &(serde_json::to_string_pretty(&document)? + "\n"))
}

/// The internal listeners of a replicated process.
fn internal_urls(profile: &Profile, port: &str) -> Vec<String> {
    (1..=services::REPLICAS).map(|number| profile.local_url(&services::replica(port, number))).collect()
}

fn describe(into: &mut Map<String, Value>, layer: &str, procs: &Procs) {
    for record in procs.all() {
        let spec = &record.spec;
        into.insert(
            spec.name.clone(),
            json!({
                "layer": layer,
                "pid_file": text(&procs.pid_file(&spec.name)),
                "log_file": text(&spec.log),
                "argv": spec.argv,
                "env": spec.env,
            }),
        );
    }
}
