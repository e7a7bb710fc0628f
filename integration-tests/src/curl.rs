//! Requests that no client library sends: paths and headers as they are written here, in either version of HTTP.

use std::path::PathBuf;

use tokio::process::Command;

use crate::{browser::Shown, env::Env, script::PROXIES};

/// Debian's curl, with the environment's authority.
#[derive(Debug, Clone)]
pub struct Curl {
    ca_file: PathBuf,
}

impl Curl {
    /// One that trusts the environment's authority.
    pub fn new(env: &Env) -> Self {
        Self { ca_file: env.ca_file.clone() }
    }

    /// One request with more options; nothing is followed and no path is tidied up.
    pub async fn get(&self, url: &str, options: &[&str]) -> Shown {
        let mut command = Command::new("curl");
        for name in PROXIES {
            command.env_remove(name);
        }
        command.args(["--silent", "--show-error", "--path-as-is", "--globoff", "--max-time", "30"]);
        command.args(["--write-out", "\n%{http_code} %{redirect_url}"]).arg("--cacert").arg(&self.ca_file);
        let output = command.args(options).arg(url).output().await.expect("curl is installed");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "curl {options:?} {url}: {complaint}");
        let answer = String::from_utf8_lossy(&output.stdout);
        let (text, said) = answer.rsplit_once('\n').expect("curl says the code");
        let (code, location) = said.split_once(' ').unwrap_or((said, ""));
        Shown {
            url: url.to_owned(),
            code: code.parse().expect("a code is a number"),
            location: location.to_owned(),
            text: text.to_owned(),
        }
    }
}
