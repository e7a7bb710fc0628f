//! `chaos`: users who change their minds while everything breaks, in the profile `test` or `scripted`.

use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

use crate::app::{Profile, build, services};
use crate::given::Given;
use crate::paths::Ctx;
use crate::up::{self, Need};
use crate::{gate, ports, run, test, ui};

/// Which Kubernetes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The real one, with containers that run.
    #[default]
    Real,
    /// A pretended one, with thousands of pods.
    Scripted,
}

/// Options of `chaos`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How long requests and faults go on.
    #[arg(long, default_value_t = 10.0)]
    pub minutes: f64,
    /// How many pods have users; 60 when left out, 2000 with `--cluster scripted`.
    #[arg(long)]
    pub pods: Option<usize>,
    /// Where chance begins, as a run printed it.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Requests in a second, all pods together.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Which Kubernetes.
    #[arg(long, value_enum, default_value_t)]
    pub cluster: Kind,
    /// No faults: only the users.
    #[arg(long)]
    pub calm: bool,
    /// Leave the pods as they are in the end.
    #[arg(long)]
    pub keep: bool,
    /// Run optimised programs.
    #[arg(long)]
    pub release: bool,
    /// The programs of the last `up` and the last `chaos` as they are.
    #[arg(long)]
    pub no_build: bool,
}

impl Options {
    /// What `cargo xtask test` runs.
    pub fn short() -> Self {
        Self {
            minutes: 1.0,
            pods: Some(20),
            seed: None,
            rate: None,
            cluster: Kind::Real,
            calm: false,
            keep: false,
            release: false,
            no_build: false,
        }
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![format!("--minutes={}", self.minutes)];
        arguments.extend(self.pods.map(|pods| format!("--pods={pods}")));
        arguments.extend(self.seed.map(|seed| format!("--seed={seed}")));
        arguments.extend(self.rate.map(|rate| format!("--rate={rate}")));
        arguments.extend(self.calm.then(|| "--calm".to_owned()));
        arguments.extend(self.keep.then(|| "--keep".to_owned()));
        arguments
    }
}

/// Brings the profile up, runs it, and leaves everything as it was.
pub fn chaos(ctx: &Ctx, options: &Options) -> Result<()> {
    let before = test::running(ctx)?;
    let name = if options.cluster == Kind::Real { "test" } else { "scripted" };
    let ran = services::running(&Profile::new(ctx, name)?);
    let result = in_profile(ctx, options, &Profile::new(ctx, name)?);
    if ran && options.cluster == Kind::Real {
        ui::say("chaos", "spawner and health go back to the API server itself");
        let plain = Profile::new(ctx, name)?;
        up::with_shared(ctx, &Given::read(ctx), Need::of(&plain), |shared| {
            services::up(ctx, &plain, shared)
        })?;
    }
    test::put_back(ctx, &before, result.is_ok())?;
    result
}

fn in_profile(ctx: &Ctx, options: &Options, profile: &Profile) -> Result<()> {
    let mut arguments = options.arguments();
    let mut profile = profile.clone();
    let given = Given::read(ctx);
    if profile.is_scripted() {
        arguments.push(format!("--scripted={}", profile.local_url("scripted-kube")));
    } else if given.kubeconfig.is_none() {
        let (listen, control) = (profile.port("kube-gate").number, profile.port("kube-gate-control").number);
        gate::open(listen, control, ports::infra("kube-apiserver").number)?;
        profile.kube_server = Some(format!("https://127.0.0.1:{listen}"));
        arguments.push(format!("--gate=127.0.0.1:{control}"));
    } else {
        ui::say("chaos", "in a cluster that was given, connections to its API server are not cut");
    }
    if !options.no_build {
        let mut build = build::cargo(ctx);
        build.args(["build", "-p", "integration-tests", "--bin", "chaos"]);
        if options.release {
            build.arg("--release");
        }
        run::shown(&mut build)?;
    }
    let folder = if options.release { "release" } else { "debug" };
    let program = build::target_dir(ctx)?.join(folder).join("chaos");
    up::with_shared(ctx, &given, Need::of(&profile), |shared| {
        if !options.no_build {
            build::services(ctx, &profile, options.release)?;
        }
        services::up(ctx, &profile, shared)
    })?;
    run::shown(Command::new(program).args(arguments).env("PODS_TEST_ENV", profile.env_file()))
}
