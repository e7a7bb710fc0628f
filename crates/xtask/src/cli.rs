//! The commands of `cargo xtask`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::app::{Profile, services};
use crate::paths::Ctx;
use crate::{chaos, control, dns_feed, fuzz, packages, test, up};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development environment, tests and benches of Pods")]
struct Cli {
    /// The checkout, when it is not the one of the current folder.
    #[arg(long, global = true, hide = true)]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Subcommand)]
enum Cmd {
    /// Brings the complete system up; does only what is missing.
    Up(up::Options),
    /// Stops everything and takes back what was changed on the machine.
    Down {
        /// Only the services of this profile; the shared parts go on.
        #[arg(long, value_parser = ["dev", "test", "scripted"])]
        profile: Option<String>,
        /// Also delete databases, streams, images and settings.
        #[arg(long)]
        data: bool,
    },
    /// What runs.
    Status,
    /// The output of one program.
    Logs {
        /// Its name, as in `status`.
        name: String,
        /// Go on showing what it writes.
        #[arg(short, long)]
        follow: bool,
        /// How many lines to begin with.
        #[arg(short = 'n', long, default_value_t = 100)]
        lines: usize,
        /// The profile.
        #[arg(long, default_value = "dev")]
        profile: String,
    },
    /// Prints a token of the development platform, alone on a line.
    Token {
        /// Whose.
        #[arg(long)]
        user: String,
        /// The tenant, `dev` when left out.
        #[arg(long)]
        tenant: Option<String>,
        /// Roles that the user gets, `pods_admin` for instance.
        #[arg(long)]
        role: Vec<String>,
        /// Life in seconds; negative: expired already.
        #[arg(long, allow_hyphen_values = true)]
        ttl: Option<i64>,
        /// `access` or `refresh`.
        #[arg(long)]
        kind: Option<String>,
        /// The profile.
        #[arg(long, default_value = "dev")]
        profile: String,
    },
    /// Signals for one program: what fault tests do.
    Proc {
        /// What to do.
        #[arg(value_enum)]
        action: control::Action,
        /// Its name, as in `status`.
        name: String,
        /// The profile; shared parts are found from any.
        #[arg(long, default_value = "dev")]
        profile: String,
        /// Do not wait until it serves.
        #[arg(long)]
        no_wait: bool,
    },
    /// Every check: format, lints, documentation, licences, unit, service and end-to-end tests.
    Test {
        /// Leave out what needs Kubernetes.
        #[arg(long)]
        fast: bool,
        /// Fault tests and the fuzzer in their long form.
        #[arg(long, conflicts_with = "fast")]
        full: bool,
    },
    /// Measures: docs/benches.md lists what.
    Bench {
        /// Which bench.
        name: String,
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// `api`: generated requests with valid tokens, judged by the served OpenAPI document. `routing`: generated pod
    /// definitions with hostile strings, given to Traefik.
    Fuzz {
        /// What to fuzz.
        name: String,
        /// How many requests at least, or how many definitions.
        #[arg(long)]
        cases: Option<u32>,
        /// Where the generator starts; the same one makes the same requests.
        #[arg(long)]
        seed: Option<u32>,
    },
    /// Users who change their minds while everything breaks; in the end all must be as they asked (docs/chaos.md).
    Chaos(chaos::Options),
    /// Installs and compiles everything that `up` and `test` need, and starts nothing.
    Prepare,
    /// Feeds the cluster's DNS server (started by `up`).
    #[command(hide = true)]
    DnsFeed(dns_feed::Options),
}

/// Reads the command line and does it.
pub fn run() -> Result<()> {
    let cli = Cli::parse();
    let ctx = || Ctx::find(cli.root.clone());
    match cli.command {
        Cmd::Up(options) => up::up(&ctx()?, &options),
        Cmd::Down { profile, data } => up::down(&ctx()?, profile.as_deref(), data),
        Cmd::Status => up::status(&ctx()?),
        Cmd::Logs { name, follow, lines, profile } => control::logs(&ctx()?, &profile, &name, follow, lines),
        Cmd::Token { user, tenant, role, ttl, kind, profile } => {
            let mut args = vec!["--user".to_owned(), user];
            args.extend(["--tenant".to_owned(), tenant.unwrap_or_else(|| "dev".to_owned())]);
            args.extend(role.into_iter().flat_map(|role| ["--role".to_owned(), role]));
            args.extend(ttl.map(|ttl| format!("--ttl={ttl}")));
            args.extend(kind.map(|kind| format!("--kind={kind}")));
            println!("{}", services::token(&Profile::new(&ctx()?, &profile)?, &args)?);
            Ok(())
        }
        Cmd::Proc { action, name, profile, no_wait } => {
            control::proc(&ctx()?, &profile, action, &name, no_wait)
        }
        Cmd::Test { fast, full } => test::test(&ctx()?, fast, full),
        Cmd::Bench { name, arguments } => test::bench(&ctx()?, &name, &arguments),
        Cmd::Fuzz { name, cases, seed } => fuzz::fuzz(&ctx()?, &name, cases, seed),
        Cmd::Chaos(options) => chaos::chaos(&ctx()?, &options),
        Cmd::Prepare => prepare(&ctx()?),
        Cmd::DnsFeed(options) => dns_feed::serve(&options),
    }
}

fn prepare(ctx: &Ctx) -> Result<()> {
    packages::ensure(ctx, packages::BASE)?;
    packages::ensure(ctx, packages::CLUSTER)?;
    packages::ensure(ctx, packages::TESTS)?;
    packages::tools(ctx)?;
    packages::test_python(ctx)?;
    packages::test_node(ctx)?;
    packages::fuzz_python(ctx)?;
    crate::k8s_build::ensure(ctx)?;
    test::cargo_tools(ctx)?;
    up::compile(ctx, &Profile::new(ctx, "dev")?, false)
}
