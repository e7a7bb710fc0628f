//! The command line of the development stand-in for the Tapis platform.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line answers there")]

use std::io::IsTerminal;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use dev_tapis::tokens::{Kind, Subject};
use dev_tapis::{Config, Platform};

/// A stand-in for the Tapis platform, for development and tests only.
///
/// It keeps passwords in plain text and hardens nothing: never use it in production.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer the platform's API.
    Serve(File),
    /// Print a token, alone on a line; the server need not run.
    Token(Token),
    /// Give a tenant a new key: every token it gave so far becomes worthless.
    RotateKey {
        #[command(flatten)]
        file: File,
        /// The tenant; left out, the first of the configuration.
        #[arg(long)]
        tenant: Option<String>,
    },
}

#[derive(Args)]
struct File {
    /// The configuration file.
    #[arg(long, env = "DEV_TAPIS_CONFIG")]
    config: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum TokenKind {
    Access,
    Refresh,
}

#[derive(Args)]
struct Token {
    #[command(flatten)]
    file: File,
    /// Whose token.
    #[arg(long)]
    user: String,
    /// The tenant; left out, the first of the configuration (with --service the administration tenant).
    #[arg(long)]
    tenant: Option<String>,
    /// Also grant this role to the user, for good; may be repeated.
    #[arg(long = "role")]
    roles: Vec<String>,
    /// Life in seconds; negative makes a token that is over already. Left out: four hours or as configured.
    #[arg(long, allow_negative_numbers = true)]
    ttl: Option<i64>,
    /// What the token is for.
    #[arg(long, value_enum, default_value = "access")]
    kind: TokenKind,
    /// Make it a service's token; --user is the service's name.
    #[arg(long)]
    service: bool,
    /// The site a service token is meant for; left out, the configuration's.
    #[arg(long, requires = "service")]
    target_site: Option<String>,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dev-tapis: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(file) => serve(&file),
        Command::Token(token) => print_token(&token),
        Command::RotateKey { file, tenant } => {
            let platform = open(&file)?;
            let tenant = tenant.unwrap_or_else(|| platform.config().tenants[0].tenant_id.clone());
            known(&platform, &tenant)?;
            platform.rotate_key(&tenant)
        }
    }
}

fn open(file: &File) -> anyhow::Result<Platform> {
    Platform::open(Config::read(&file.config)?)
}

fn known(platform: &Platform, tenant_id: &str) -> anyhow::Result<()> {
    if platform.config().tenant(tenant_id).is_none() {
        let names: Vec<_> =
            platform.config().tenants.iter().map(|tenant| tenant.tenant_id.as_str()).collect();
        bail!("there is no tenant {tenant_id}; the configuration has {}", names.join(", "));
    }
    Ok(())
}

fn serve(file: &File) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr).init();
    let platform = open(file)?;
    for tenant in &platform.config().tenants {
        platform.key(&tenant.tenant_id)?;
    }
    let bind = platform.config().bind.clone();
    let listener = TcpListener::bind(&bind).with_context(|| format!("cannot listen on {bind}"))?;
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    tracing::warn!(
        "dev-tapis listens on http://{address}: a DEVELOPMENT stand-in for Tapis, never for production"
    );
    let server = async move { dev_tapis::serve(listener, platform)?.await };
    actix_web::rt::System::new().block_on(server).context("the server ended with an error")
}

fn print_token(token: &Token) -> anyhow::Result<()> {
    let platform = open(&token.file)?;
    let config = platform.config();
    let default_tenant =
        if token.service { config.admin_tenant(&config.site_id) } else { config.tenants.first() };
    let tenant_id = match (&token.tenant, default_tenant) {
        (Some(given), _) => given.clone(),
        (None, Some(tenant)) => tenant.tenant_id.clone(),
        (None, None) => bail!("the site {} has no tenant; say --tenant", config.site_id),
    };
    known(&platform, &tenant_id)?;
    if !token.roles.is_empty() {
        platform.grant_roles(&tenant_id, &token.user, &token.roles)?;
    }
    let site = || token.target_site.clone().unwrap_or_else(|| config.site_id.clone());
    let subject = Subject {
        tenant_id,
        username: token.user.clone(),
        target_site: token.service.then(site),
        client_id: None,
        grant_type: "password",
    };
    let kind = match token.kind {
        TokenKind::Access => Kind::Access,
        TokenKind::Refresh => Kind::Refresh,
    };
    println!("{}", platform.mint(&subject, kind, token.ttl.unwrap_or(config.access_token_seconds))?);
    Ok(())
}
