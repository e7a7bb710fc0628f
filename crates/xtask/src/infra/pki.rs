//! A certificate authority of the environment, and certificates signed by it, made with `openssl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::proc::write_if_changed;
use crate::run;

/// A certificate authority in a folder.
#[derive(Clone, Debug)]
pub struct Authority {
    dir: PathBuf,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Certificate, PEM.
    pub cert: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

impl Authority {
    /// The authority in `dir`, made when it is new.
    pub fn open(dir: PathBuf, name: &str) -> Result<Self> {
        fs::create_dir_all(&dir)?;
        run::quiet(Command::new("chmod").arg("700").arg(&dir))?;
        write_if_changed(&dir.join("openssl.cnf"), "[req]\ndistinguished_name = dn\n[dn]\n")?;
        let authority = Self { dir };
        let ca = authority.pair("ca");
        if !ca.cert.exists() {
            run::quiet(
                authority
                    .request(&ca, &format!("/CN={name}"))
                    .args(["-addext", "basicConstraints=critical,CA:TRUE"])
                    .args(["-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"])
                    .args(["-addext", "subjectKeyIdentifier=hash"]),
            )?;
        }
        Ok(authority)
    }

    /// The authority's own certificate.
    pub fn ca(&self) -> PathBuf {
        self.pair("ca").cert
    }

    fn pair(&self, name: &str) -> Pair {
        Pair { cert: self.dir.join(format!("{name}.crt")), key: self.dir.join(format!("{name}.key")) }
    }

    fn request(&self, pair: &Pair, subject: &str) -> Command {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        command.args(["-sha256", "-days", "3650", "-subj", subject]);
        command.arg("-config").arg(self.dir.join("openssl.cnf"));
        command.arg("-keyout").arg(&pair.key).arg("-out").arg(&pair.cert);
        command
    }

    /// A certificate for `subject` (`/O=group/CN=user`) with the given alternative names; made again when they change.
    pub fn issue(&self, name: &str, subject: &str, names: &[String]) -> Result<Pair> {
        let pair = self.pair(name);
        let wanted = format!("{subject}\n{}\n", names.join("\n"));
        let stamp = self.dir.join(format!("{name}.for"));
        if pair.cert.exists() && fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
            return Ok(pair);
        }
        let ca = self.pair("ca");
        let mut command = self.request(&pair, subject);
        command.arg("-CA").arg(&ca.cert).arg("-CAkey").arg(&ca.key);
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        command.args(["-addext", "keyUsage=critical,digitalSignature,keyEncipherment"]);
        command.args(["-addext", "extendedKeyUsage=serverAuth,clientAuth"]);
        if !names.is_empty() {
            command.arg("-addext").arg(format!("subjectAltName={}", names.join(",")));
        }
        run::quiet(&mut command)?;
        fs::write(stamp, wanted)?;
        Ok(pair)
    }
}

/// An RSA key and its public half, for service account tokens.
pub fn rsa_pair(dir: &Path) -> Result<(PathBuf, PathBuf)> {
    let (key, public) = (dir.join("service-account.key"), dir.join("service-account.pub"));
    if !public.exists() {
        run::quiet(Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048"))?;
        run::quiet(
            Command::new("openssl").args(["rsa", "-pubout", "-in"]).arg(&key).arg("-out").arg(&public),
        )?;
    }
    Ok((key, public))
}
