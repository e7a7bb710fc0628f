//! Container images made here, because no registry is asked for any: one layer with a static busybox, and in some of
//! them programs of this machine's Debian packages.

mod debian;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::{Infra, node};
use crate::{run, ui};

/// The image of pod sandboxes.
pub const PAUSE: &str = "docker.io/pods-dev/pause:1";

/// Grows when the content below changes, so that images are made again.
const VERSION: &str = "5";

struct Image {
    name: &'static str,
    command: &'static [&'static str],
    /// Adds to the root file system what the image has beside busybox.
    more: Option<fn(&Path) -> Result<()>>,
}

impl Image {
    const fn of_busybox(name: &'static str, command: &'static [&'static str]) -> Self {
        Self { name, command, more: None }
    }
}

const IMAGES: &[Image] = &[
    Image::of_busybox(PAUSE, &["/bin/sleep", "infinity"]),
    Image::of_busybox("docker.io/library/busybox:latest", &["sh"]),
    // Serves a page on port 5000, the default port of a pod; `/cgi-bin/env` shows the request it got.
    Image::of_busybox(
        "docker.io/library/busyhttpd:latest",
        &["/bin/httpd", "-f", "-v", "-p", "5000", "-h", "/www"],
    ),
    // What the user guide calls an image of the reader's own. It is not on the development allowlist.
    Image::of_busybox("docker.io/library/myimage:latest", &["sh"]),
    // Servers of tests are scripts that pods give as their command.
    Image { name: "docker.io/library/python:latest", command: &["python3"], more: Some(debian::python) },
    Image {
        name: "docker.io/library/postgres:latest",
        command: &["docker-entrypoint.sh", "postgres"],
        more: Some(debian::postgres),
    },
];

/// Names that users may give for the local images, for the development allowlist.
pub const ALLOWED: &[&str] = &["busybox", "busyhttpd", "python", "postgres"];

/// `ctr` on our containerd, in the namespace of Kubernetes.
pub fn ctr(infra: &Infra) -> Command {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(node::socket(infra)).args(["--namespace", "k8s.io"]);
    command
}

/// Makes and loads the images that containerd does not have.
pub fn ensure(infra: &Infra) -> Result<()> {
    let stamp = infra.state.data.join("images.version");
    let same = fs::read_to_string(&stamp).is_ok_and(|found| found == VERSION);
    let loaded = run::output(ctr(infra).args(["images", "ls", "-q"]))?;
    let loaded: Vec<&str> = loaded.lines().collect();
    let work = infra.state.data.join("images");
    for image in IMAGES.iter().filter(|image| !same || !loaded.contains(&image.name)) {
        let _ = fs::remove_dir_all(&work);
        let archive = build(&work, image)?;
        run::quiet(ctr(infra).args(["images", "import"]).arg(&archive))?;
        ui::say("images", format!("loaded {}", image.name));
    }
    let _ = fs::remove_dir_all(&work);
    fs::write(&stamp, VERSION)?;
    Ok(())
}

/// Writes a docker-archive and returns its path.
fn build(work: &Path, image: &Image) -> Result<PathBuf> {
    let root = work.join("root");
    fill(&root)?;
    if let Some(more) = image.more {
        more(&root)?;
    }
    let out = work.join("out");
    fs::create_dir_all(&out)?;
    let layer = out.join("layer.tar");
    run::quiet(
        Command::new("tar")
            .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "-cf"])
            .arg(&layer)
            .arg("-C")
            .arg(&root)
            .arg("."),
    )?;
    let digest = run::output(Command::new("sha256sum").arg(&layer))?;
    let digest = digest.split(' ').next().context("sha256sum without output")?;
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {
            "Env": ["PATH=/bin:/sbin:/usr/bin:/usr/sbin"],
            "Cmd": image.command,
            "WorkingDir": "/"
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
        "history": [{ "created": "2026-01-01T00:00:00Z", "created_by": "cargo xtask" }]
    });
    fs::write(out.join("config.json"), config.to_string())?;
    let manifest = json!([{ "Config": "config.json", "RepoTags": [image.name], "Layers": ["layer.tar"] }]);
    fs::write(out.join("manifest.json"), manifest.to_string())?;
    let archive = work.join("image.tar");
    run::quiet(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&out).args([
        "config.json",
        "layer.tar",
        "manifest.json",
    ]))?;
    Ok(archive)
}

/// A small root file system: busybox under all of its names, a page, a script that shows a request.
fn fill(root: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(root);
    for dir in [
        "bin",
        "etc",
        "tmp",
        "root",
        "home",
        "var/run",
        "var/log",
        "proc",
        "sys",
        "dev",
        "www/cgi-bin",
        "usr/bin",
    ] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    let busybox = root.join("bin/busybox");
    fs::copy("/bin/busybox", &busybox).context("no /bin/busybox: install Debian's busybox-static")?;
    fs::set_permissions(&busybox, fs::Permissions::from_mode(0o755))?;
    for name in run::output(Command::new("/bin/busybox").arg("--list"))?.lines() {
        // busybox lists itself too; a link of that name would point at itself.
        if name != "busybox" && !name.contains('/') {
            symlink("busybox", root.join("bin").join(name))?;
        }
    }
    symlink("../../bin/env", root.join("usr/bin/env"))?;
    // Examples of the user guide run bash; busybox's shell does what they want of it.
    program(&root.join("bin/bash"), "#!/bin/sh\nexec /bin/sh \"$@\"\n")?;
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    )?;
    fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    fs::write(root.join("www/index.html"), "<h1>It works</h1>\n")?;
    let env = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nenv\n";
    program(&root.join("www/cgi-bin/env"), env)
}

/// Writes a script that can be run.
fn program(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text)?;
    Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o755))?)
}
