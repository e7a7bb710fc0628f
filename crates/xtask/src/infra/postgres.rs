//! A private PostgreSQL: durability is switched off (the machine's crash may lose data, a killed process does not).

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Infra, is_root};
use crate::ports;
use crate::proc::{Ready, Spec, write_if_changed};
use crate::{run, ui};

/// Starts it; returns when it accepts connections and the role `pods` exists.
pub fn ensure(infra: &Infra) -> Result<()> {
    let bin = programs()?;
    let data = infra.state.data.join("postgres");
    let sockets = infra.state.run.join("postgres");
    let password_file = infra.dir.join("postgres-password");
    let port = ports::infra("postgres");
    if !data.join("PG_VERSION").exists() {
        ui::say("postgres", format!("new cluster in {}", data.display()));
        let _ = fs::remove_dir_all(&data);
        fs::create_dir_all(&data)?;
        own(&data)?;
        write_if_changed(&password_file, &infra.state.database_password)?;
        let mut init = as_postgres(&bin.join("initdb"));
        init.arg("-D").arg(&data).args([
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--username=postgres",
        ]);
        init.args(["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]);
        run::quiet(init.current_dir("/"))?;
    }
    fs::create_dir_all(&sockets)?;
    own(&sockets)?;
    let mut settings = String::from("# Written by cargo xtask up.\n");
    for (key, value) in [
        ("listen_addresses", "'127.0.0.1'".to_owned()),
        ("port", port.number.to_string()),
        ("unix_socket_directories", format!("'{}'", sockets.display())),
        ("fsync", "off".to_owned()),
        ("full_page_writes", "off".to_owned()),
        ("max_connections", "300".to_owned()),
        ("shared_buffers", "'128MB'".to_owned()),
        ("max_wal_size", "'512MB'".to_owned()),
        ("log_line_prefix", "'%m [%p] %d '".to_owned()),
    ] {
        settings.push_str(&format!("{key} = {value}\n"));
    }
    let conf = data.join("postgresql.auto.conf");
    write_if_changed(&conf, &settings)?;
    let mut argv: Vec<String> = Vec::new();
    if is_root() {
        argv.extend(["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"].map(str::to_owned));
    }
    argv.extend([bin.join("postgres").display().to_string(), "-D".to_owned(), data.display().to_string()]);
    let spec = Spec::new("postgres", &infra.logs(), argv)
        .stop_signal("INT")
        .ready(Ready::Tcp(([127, 0, 0, 1], port.number).into()))
        .port(&port)
        .lock(&data.join("postmaster.pid"))
        .depends_on(&[&conf]);
    infra.procs.ensure(&spec)?;
    run::wait_for("postgres", "answers", std::time::Duration::from_secs(60), || {
        run::succeeds(psql(infra, "postgres").args(["-c", "select 1"]))
    })?;
    role(infra)?;
    ui::say("postgres", format!("serves on 127.0.0.1:{}", port.number));
    Ok(())
}

/// The role the services use; it may create databases, which tests do.
fn role(infra: &Infra) -> Result<()> {
    let password = &infra.state.database_password;
    let sql = format!(
        "do $$ begin if not exists (select from pg_roles where rolname = 'pods') then \
         create role pods login createdb password '{password}'; end if; end $$;"
    );
    run::with_input(psql(infra, "postgres").args(["-v", "ON_ERROR_STOP=1"]), &sql).map(drop)
}

/// Creates a database when it is absent.
pub fn database(infra: &Infra, name: &str) -> Result<()> {
    let found = run::output(
        psql(infra, "postgres")
            .args(["-Atc", &format!("select 1 from pg_database where datname = '{name}'")]),
    )?;
    if found.is_empty() {
        run::quiet(psql(infra, "postgres").args(["-c", &format!("create database {name} owner pods")]))?;
        ui::say("postgres", format!("created database {name}"));
    }
    Ok(())
}

/// Drops a database and whatever is connected to it.
pub fn drop_database(infra: &Infra, name: &str) -> Result<()> {
    run::quiet(psql(infra, "postgres").args(["-c", &format!("drop database if exists {name} with (force)")]))
}

/// `psql` as the cluster's owner, over the socket.
pub fn psql(infra: &Infra, database: &str) -> Command {
    let mut command = as_postgres(&PathBuf::from("psql"));
    command.arg("-q").arg("-h").arg(infra.state.run.join("postgres"));
    command.arg("-p").arg(ports::infra("postgres").number.to_string());
    command.args(["-U", "postgres", "-d", database]).current_dir("/");
    command
}

/// The address of a database.
pub fn url(infra: &Infra, name: &str) -> String {
    format!(
        "postgres://pods:{}@127.0.0.1:{}/{name}",
        infra.state.database_password,
        ports::infra("postgres").number
    )
}

fn as_postgres(program: &PathBuf) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
    command
}

fn own(dir: &PathBuf) -> Result<()> {
    if is_root() {
        run::quiet(Command::new("chown").arg("postgres:postgres").arg(dir))?;
    }
    run::quiet(Command::new("chmod").arg("700").arg(dir))
}

/// The newest server programs of Debian's packages.
pub fn programs() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .context("no /usr/lib/postgresql: install Debian's package postgresql")?
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    found.sort();
    found
        .pop()
        .map(|(_, bin)| bin)
        .context("no PostgreSQL server in /usr/lib/postgresql: install Debian's postgresql")
}
