//! `up` and `down`: the order of things.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::app::{PROFILES, Profile, Shared, build, config, services, traefik};
use crate::given::Given;
use crate::infra::kube::Cluster;
use crate::infra::{Infra, host, is_root, nats, node, postgres};
use crate::paths::Ctx;
use crate::{k8s_build, packages, ui};

/// Names of the shared programs, in the order of their start.
const INFRA: &[&str] = &[
    "postgres",
    "nats",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "containerd",
    "kube-proxy",
    "dnsmasq",
    "dns-feed",
    "kubelet",
];

/// Options of `up`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Build and run optimised programs.
    #[arg(long)]
    pub release: bool,
    /// Start the programs of the last `up` as they are.
    #[arg(long, conflicts_with = "release")]
    pub no_build: bool,
    /// Which set of services: `dev` for people, `test` for the end-to-end suite, `scripted` without containers.
    #[arg(long, default_value = "dev", value_parser = ["dev", "test", "scripted"])]
    pub profile: String,
    /// Only the shared parts: PostgreSQL, NATS, Kubernetes.
    #[arg(long)]
    pub infra: bool,
}

/// Which of the shared parts a command needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// PostgreSQL and NATS: service tests.
    Stores,
    /// Kubernetes too.
    Everything,
}

impl Need {
    /// What the services of a profile stand on.
    pub fn of(profile: &Profile) -> Self {
        if profile.is_scripted() { Self::Stores } else { Self::Everything }
    }
}

/// Brings the system up.
pub fn up(ctx: &Ctx, options: &Options) -> Result<()> {
    let given = Given::read(ctx);
    let profile = Profile::new(ctx, &options.profile)?;
    with_shared(ctx, &given, Need::of(&profile), |shared| {
        if options.infra {
            ui::say("up", "the shared parts run");
            return Ok(());
        }
        if profile.name == "test" {
            packages::test_python(ctx)?;
        }
        if !options.no_build {
            build::services(ctx, &profile, options.release)?;
        }
        services::up(ctx, &profile, shared)?;
        farewell(ctx, &profile)
    })
}

/// Brings the shared parts up and hands them on.
pub fn with_shared<T>(
    ctx: &Ctx,
    given: &Given,
    need: Need,
    then: impl FnOnce(&Shared) -> Result<T>,
) -> Result<T> {
    let _lock = lock(ctx)?;
    check_system(given)?;
    host::check_free(&ctx.dev)?;
    given.announce();
    if is_root() && packages::is_debian() {
        packages::ensure(ctx, packages::BASE)?;
    }
    let tools = packages::tools(ctx)?;
    let infra = Infra::open(ctx)?;
    own_copy(ctx)?;
    reap(ctx, &infra)?;
    if given.database_url.is_none() {
        postgres::ensure(&infra)?;
    }
    if given.nats_url.is_none() {
        nats::ensure(&infra, &tools)?;
    }
    if need == Need::Stores || given.kubeconfig.is_some() {
        return then(&Shared { infra: &infra, given, tools, cluster: None });
    }
    packages::ensure(ctx, packages::CLUSTER)?;
    let bin = k8s_build::ensure(ctx)?;
    host::claim(&infra, &ctx.dev)?;
    let cluster = Cluster::open(&infra, bin, &tools)?;
    cluster.control_plane()?;
    node::ensure(&cluster, &own_copy(ctx)?)?;
    cluster.wait_node()?;
    ui::say("kubernetes", format!("node is Ready; KUBECONFIG={}", cluster.admin()?.display()));
    then(&Shared { infra: &infra, given, tools, cluster: Some(&cluster) })
}

/// The shared parts of a running environment, without starting anything.
pub fn with_running<T>(ctx: &Ctx, infra: &Infra, then: impl FnOnce(&Shared) -> Result<T>) -> Result<T> {
    let given = Given::read(ctx);
    let tools = packages::tools(ctx)?;
    if given.kubeconfig.is_some() {
        return then(&Shared { infra, given: &given, tools, cluster: None });
    }
    let cluster = Cluster::open(infra, PathBuf::new(), &tools)?;
    then(&Shared { infra, given: &given, tools, cluster: Some(&cluster) })
}

/// One command at a time changes the environment.
fn lock(ctx: &Ctx) -> Result<fs::File> {
    fs::create_dir_all(&ctx.dev)?;
    let file = fs::File::options().create(true).append(true).open(ctx.dev.join("lock"))?;
    if file.try_lock().is_err() {
        ui::say("up", "another `cargo xtask` is changing the environment: waiting for it");
        file.lock()?;
    }
    Ok(file)
}

fn check_system(given: &Given) -> Result<()> {
    if given.everything() || (is_root() && packages::is_debian()) {
        return Ok(());
    }
    let why = if is_root() { "this is not Debian" } else { "you are not root" };
    bail!(
        "{why}: the environment installs packages and runs a Kubernetes of its own, which needs root on Debian 12. \
         Elsewhere give the parts you have: KUBECONFIG, DATABASE_URL and NATS_URL, all three"
    );
}

/// After a crash: takes away what the dead node left, and ends programs of ours that no record knows.
fn reap(ctx: &Ctx, infra: &Infra) -> Result<()> {
    let alive = |name: &str| infra.procs.get(name).is_some_and(|record| record.alive());
    let claimed = host::Owner::read().is_some_and(|owner| owner.dev == ctx.dev);
    if claimed && !alive("kubelet") && !alive("containerd") {
        node::remove(infra)?;
    }
    let marked = host::marked(&ctx.dev);
    // A shim leaves containerd's family on purpose, and runs runc for as long as a container is being ended.
    let shims = marked.iter().filter(|(_, name)| name.starts_with("containerd-shim")).map(|(pid, _)| *pid);
    let known: Vec<i32> = layers(ctx, infra)?
        .iter()
        .flat_map(|procs| procs.all())
        .filter(crate::proc::Record::alive)
        .map(|record| record.pid)
        .chain(shims)
        .collect();
    let strays = marked.iter().filter(|(pid, _)| !known.iter().any(|known| host::descends(*pid, *known)));
    for (pid, name) in strays {
        ui::say("machine", format!("ending {name} (pid {pid}), which a crash left behind"));
        host::end(&[*pid]);
    }
    Ok(())
}

/// The records of every layer, shared parts first.
pub fn layers(ctx: &Ctx, infra: &Infra) -> Result<Vec<crate::proc::Procs>> {
    let profiles = PROFILES.iter().map(|name| Ok(Profile::new(ctx, name)?.procs));
    std::iter::once(Ok(infra.procs.clone())).chain(profiles).collect()
}

/// A copy of this program beside the environment: it can be replaced by a new build while the copy runs.
fn own_copy(ctx: &Ctx) -> Result<PathBuf> {
    let copy = ctx.dev.join("bin/xtask");
    let own = std::env::current_exe().context("cannot find this program")?;
    if own != copy && fs::read(&own)? != fs::read(&copy).unwrap_or_default() {
        let part = ctx.dev.join("bin/xtask.part");
        fs::create_dir_all(ctx.dev.join("bin"))?;
        fs::copy(&own, &part)?;
        fs::rename(&part, &copy)?;
    }
    Ok(copy)
}

/// Stops everything, or one profile only.
pub fn down(ctx: &Ctx, only: Option<&str>, data: bool) -> Result<()> {
    let _lock = lock(ctx)?;
    let Some(infra) = Infra::existing(ctx) else {
        ui::say("down", "nothing was started in this checkout");
        return Ok(());
    };
    if let Some(name) = only {
        let profile = Profile::new(ctx, name)?;
        services::stop(&profile)?;
        if data {
            with_running(ctx, &infra, |shared| services::erase(&profile, shared))?;
        }
        ui::say("down", format!("profile {name} is stopped"));
        return Ok(());
    }
    for name in PROFILES.iter().rev() {
        services::stop(&Profile::new(ctx, name)?)?;
    }
    node::remove(&infra)?;
    for name in INFRA.iter().rev() {
        infra.procs.stop(name)?;
    }
    let left: Vec<i32> = host::marked(&ctx.dev).into_iter().map(|(pid, _)| pid).collect();
    host::end(&left);
    host::release(&ctx.dev);
    let _ = fs::remove_dir_all(&infra.state.run);
    if data {
        let _ = fs::remove_dir_all(&infra.state.data);
        for part in ["infra", "dev", "test", "scripted", "tls"] {
            let _ = fs::remove_dir_all(ctx.dev.join(part));
        }
    }
    ui::say(
        "down",
        if data { "everything is stopped and deleted" } else { "everything is stopped; data is kept" },
    );
    Ok(())
}

/// The last words of `up`: what to try.
fn farewell(ctx: &Ctx, profile: &Profile) -> Result<()> {
    let user = config::USERS[0];
    let mut token = "cargo xtask token --user alice".to_owned();
    if profile.name != "dev" {
        token.push_str(&format!(" --profile {}", profile.name));
    }
    // Proves that a token can be made before a person is told to make one.
    services::token(profile, &["--user".to_owned(), user.to_owned()])?;
    let base = profile.base_url("dev");
    if profile.is_scripted() {
        let control = profile.local_url("scripted-kube");
        println!(
            "\nPods is up: {base}   (Kubernetes is pretended: {control}/_control/state)\n\nexport JWT=$({token})"
        );
        return Ok(());
    }
    let ca = traefik::authority(ctx)?.ca();
    let port = profile.port("websecure").number;
    let docs = format!("{base}/v3/pods/docs");
    println!(
        "\nPods is up: {base}   (users {}: the password is the name; API description: {docs})\n\
         CA certificate: {}\n\n\
         export JWT=$({token})\n\
         curl -sH \"X-Tapis-Token: $JWT\" -H 'Content-Type: application/json' {base}/v3/pods -d '{{\"pod_id\": \"hello\", \"image\": \"busyhttpd\"}}'\n\
         curl -sH \"X-Tapis-Token: $JWT\" {base}/v3/pods/hello\n\
         curl --cacert {} https://hello.pods.dev.localhost:{port}/",
        config::USERS.join(", "),
        ca.display(),
        ca.display(),
    );
    Ok(())
}

/// What runs, with pids and memory.
pub fn status(ctx: &Ctx) -> Result<()> {
    let Some(infra) = Infra::existing(ctx) else {
        println!("nothing was started in this checkout");
        return Ok(());
    };
    println!("{:<8} {:<24} {:>8} {:>9}  state", "layer", "name", "pid", "RSS");
    let names = std::iter::once(&"shared").chain(PROFILES);
    for (layer, procs) in names.zip(layers(ctx, &infra)?) {
        for record in procs.all() {
            let ready = record
                .spec
                .ready
                .as_ref()
                .is_none_or(|ready| crate::ready::is_ready(ready, &record.spec.log));
            let state = match (record.alive(), ready) {
                (true, _) if record.paused() => "paused (`up` or `proc cont` lets it go on)",
                (true, true) => "serves",
                (true, false) => "runs, does not answer",
                (false, _) => "stopped",
            };
            let memory = if record.alive() { crate::proc::memory(record.pid) } else { 0.0 };
            println!("{layer:<8} {:<24} {:>8} {memory:>5.0} MiB  {state}", record.spec.name, record.pid);
        }
    }
    for name in PROFILES {
        let profile = Profile::new(ctx, name)?;
        if services::running(&profile) {
            println!("\n{name}: {}   documents: {}", profile.base_url("dev"), profile.env_file().display());
        }
    }
    Ok(())
}

/// Compiles the services without starting anything.
pub fn compile(ctx: &Ctx, profile: &Profile, release: bool) -> Result<()> {
    build::services(ctx, profile, release)
}
