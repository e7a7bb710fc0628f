//! Readiness of a program, and the ports it needs.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::run;

/// How a program says that it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ready {
    /// Accepts TCP connections.
    Tcp(SocketAddr),
    /// Answers 2xx; certificates are not checked.
    Http(String),
    /// The file (a socket) exists.
    File(PathBuf),
    /// A line of its log contains the text.
    Log(String),
}

/// A port that a program listens on, and the variable that moves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The number.
    pub number: u16,
    /// The environment variable that chooses another number.
    pub variable: String,
}

/// One look at a readiness condition.
pub fn is_ready(ready: &Ready, log: &Path) -> bool {
    match ready {
        Ready::Tcp(addr) => TcpStream::connect_timeout(addr, Duration::from_millis(300)).is_ok(),
        Ready::Http(url) => http_ok(url),
        Ready::File(path) => path.exists(),
        Ready::Log(text) => fs::read_to_string(log).is_ok_and(|found| found.contains(text)),
    }
}

/// Does the address answer 2xx?
pub fn http_ok(url: &str) -> bool {
    http_code(url).is_some_and(|code| (200..300).contains(&code))
}

/// The status code that the address answers with.
pub fn http_code(url: &str) -> Option<u16> {
    let mut curl = Command::new("curl");
    curl.args(["-sk", "--noproxy", "*", "--max-time", "2", "-o", "/dev/null", "-w", "%{http_code}", url]);
    run::output(&mut curl).ok()?.parse().ok()
}

/// Fails with the holder's name when a port is taken.
pub fn check_port(name: &str, port: &Port) -> Result<()> {
    let taken = || {
        TcpListener::bind(("127.0.0.1", port.number))
            .is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
    };
    // A program that just ended may hold it for an instant.
    let begun = std::time::Instant::now();
    while taken() {
        if begun.elapsed() > Duration::from_secs(2) {
            let filter = format!("sport = :{}", port.number);
            let out = run::output(Command::new("ss").args(["-Hltnp", &filter])).unwrap_or_default();
            let holder = holder(&out).unwrap_or_else(|| "another program".to_owned());
            bail!(
                "port {} ({name}) is taken by {holder}: stop it, or choose another port with {}=NUMBER",
                port.number,
                port.variable
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// `name (pid 7)` of a line of `ss -p`: `... users:(("name",pid=7,fd=3))`.
fn holder(line: &str) -> Option<String> {
    let (_, users) = line.split_once("users:((\"")?;
    let (name, rest) = users.split_once("\",pid=")?;
    let (pid, _) = rest.split_once(',')?;
    Some(format!("{name} (pid {pid})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder_and_the_way_out() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let port =
            Port { number: holder.local_addr().unwrap().port(), variable: "PODS_DEV_PORT_X".to_owned() };
        let error = check_port("edge", &port).unwrap_err().to_string();
        assert!(error.starts_with(&format!("port {} (edge) is taken by ", port.number)), "{error}");
        assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
        assert!(error.contains("PODS_DEV_PORT_X=NUMBER"), "{error}");
    }
}
