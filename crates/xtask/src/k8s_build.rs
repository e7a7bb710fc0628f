//! Kubernetes from Debian's source package, built once into the cache.
//!
//! Debian 12 has no binary packages of the control plane, but its source package builds all of it with Debian's
//! own Go. The result is kept outside the checkout, so that a clean checkout does not pay for it again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths::Ctx;
use crate::{packages, run, ui};

const VERSION: &str = "1.20.2";
const PROGRAMS: &[&str] =
    &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"];

/// The folder with the five programs; builds them when the cache does not have them.
pub fn ensure(ctx: &Ctx) -> Result<PathBuf> {
    let bin = ctx.cache.join(format!("kubernetes-{VERSION}"));
    if PROGRAMS.iter().all(|name| bin.join(name).exists()) {
        return Ok(bin);
    }
    if packages::os_release("VERSION_CODENAME").as_deref() != Some("bookworm") {
        bail!(
            "Kubernetes {VERSION} is built from Debian 12's sources: use Debian 12, or give your own cluster with KUBECONFIG"
        );
    }
    ui::say(
        "kubernetes",
        format!("not in the cache: building {VERSION} from Debian's source (about 5 minutes on 2 cores)"),
    );
    packages::ensure(ctx, packages::BUILD)?;
    let work = ctx.cache.join("kubernetes-build");
    let log = ctx.cache.join("kubernetes-build.log");
    let tree = work.join("gopath/src/k8s.io/kubernetes");
    if !tree.join("unpacked").exists() {
        let _ = fs::remove_dir_all(&work);
        fs::create_dir_all(tree.parent().expect("the tree has a parent"))?;
        fetch(&work, &log)?;
        unpack(&work, &tree, &log)?;
        fs::write(tree.join("unpacked"), "")?;
    }
    let go = Go { work: &work, tree: &tree, log: &log };
    go.openapi()?;
    let out = work.join("bin");
    go.programs(&out)?;
    let _ = fs::remove_dir_all(&bin);
    fs::rename(&out, &bin).context("cannot move the new programs into the cache")?;
    // Go marks nothing read-only in GOPATH mode, so this removes everything.
    fs::remove_dir_all(&work).context("cannot remove the build folder")?;
    ui::say("kubernetes", format!("programs are in {}", bin.display()));
    Ok(bin)
}

/// Downloads the source package with the machine's own apt entries, `deb-src` instead of `deb`.
fn fetch(work: &Path, log: &Path) -> Result<()> {
    let parts = work.join("apt/parts");
    let lists = work.join("apt/lists");
    fs::create_dir_all(&parts)?;
    fs::create_dir_all(lists.join("partial"))?;
    let mut found = false;
    let mut entries = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(dir) = fs::read_dir("/etc/apt/sources.list.d") {
        entries.extend(dir.flatten().map(|entry| entry.path()));
    }
    for path in entries {
        let (Some(name), Ok(text)) = (path.file_name(), fs::read_to_string(&path)) else { continue };
        let text = match path.extension().and_then(|ext| ext.to_str()) {
            Some("sources") => source_stanzas(&text),
            Some("list") => source_lines(&text),
            _ => continue,
        };
        if !text.is_empty() {
            found = true;
            fs::write(parts.join(name), text)?;
        }
    }
    if !found {
        bail!(
            "no apt entry for Debian bookworm main was found in /etc/apt: Kubernetes' source comes from there"
        );
    }
    let options = |command: &mut Command| {
        command
            .arg("-o")
            .arg("Dir::Etc::sourcelist=/dev/null")
            .arg("-o")
            .arg(format!("Dir::Etc::sourceparts={}", parts.display()))
            .arg("-o")
            .arg(format!("Dir::State::lists={}", lists.display()))
            .args(["-o", "APT::Sandbox::User=root", "-o", "pkgCacheFile=", "-o", "srcpkgCacheFile="]);
    };
    let mut update = Command::new("apt-get");
    options(&mut update);
    run::logged("kubernetes", "list of source packages", log, update.arg("update"))?;
    let mut source = Command::new("apt-get");
    options(&mut source);
    source.args(["source", "--download-only", "kubernetes"]).current_dir(work);
    run::logged("kubernetes", "source package", log, &mut source)
}

/// Deb822 stanzas of the release itself, as source entries.
fn source_stanzas(text: &str) -> String {
    text.split("\n\n")
        .filter(|stanza| {
            let value = |key: &str| {
                stanza.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().to_owned()
            };
            value("Suites:").split_whitespace().any(|suite| suite == "bookworm")
                && value("Components:").split_whitespace().any(|component| component == "main")
        })
        .map(|stanza| {
            let lines =
                stanza.lines().map(|line| if line.starts_with("Types:") { "Types: deb-src" } else { line });
            lines.collect::<Vec<_>>().join("\n")
        })
        .map(|stanza| stanza + "\n\n")
        .collect()
}

/// One-line entries of the release itself, as source entries.
fn source_lines(text: &str) -> String {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("deb "))
        .filter(|rest| rest.split_whitespace().any(|word| word == "bookworm"))
        .filter(|rest| rest.split_whitespace().any(|word| word == "main"))
        .map(|rest| format!("deb-src {rest}\n"))
        .collect()
}

fn unpack(work: &Path, tree: &Path, log: &Path) -> Result<()> {
    let dsc = fs::read_dir(work)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ext| ext == "dsc"))
        .context("apt-get source left no .dsc file")?;
    let mut command = Command::new("dpkg-source");
    command.args(["--no-check", "-x"]).arg(dsc).arg(tree);
    run::logged("kubernetes", "unpacking", log, &mut command)
}

struct Go<'a> {
    work: &'a Path,
    tree: &'a Path,
    log: &'a Path,
}

impl Go<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new("go");
        command
            .current_dir(self.tree)
            .env("GOPATH", self.work.join("gopath"))
            .env("GOCACHE", self.work.join("gocache"))
            .env("GO111MODULE", "off")
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "")
            .env_remove("GOROOT");
        command
    }

    /// The generated API description that the source package leaves out.
    fn openapi(&self) -> Result<()> {
        let target = self.tree.join("pkg/generated/openapi/zz_generated.openapi.go");
        if target.exists() {
            return Ok(());
        }
        let generator = self.work.join("openapi-gen");
        let mut build = self.command();
        build.arg("build").arg("-o").arg(&generator).arg("./vendor/k8s.io/kube-openapi/cmd/openapi-gen");
        run::logged("kubernetes", "building openapi-gen", self.log, &mut build)?;
        let inputs = self.openapi_packages()?;
        let mut generate = self.command();
        generate.env("PATH", std::env::var("PATH").unwrap_or_default());
        let mut tool = Command::new(&generator);
        for (key, value) in generate.get_envs() {
            if let Some(value) = value {
                tool.env(key, value);
            }
        }
        tool.current_dir(self.tree)
            .arg("--logtostderr")
            .args(["-O", "zz_generated.openapi", "-p", "k8s.io/kubernetes/pkg/generated/openapi"])
            .arg("--go-header-file")
            .arg(self.header()?)
            .arg("--output-base")
            .arg(self.work.join("gopath/src"))
            .arg("-r")
            .arg(self.work.join("openapi-violations.txt"))
            .arg("-i")
            .arg(inputs.join(","));
        run::logged("kubernetes", "generating the API description", self.log, &mut tool)
    }

    fn header(&self) -> Result<PathBuf> {
        let header = self.work.join("header.txt");
        fs::write(&header, "")?;
        Ok(header)
    }

    /// Every package that carries the tag, by import path.
    fn openapi_packages(&self) -> Result<Vec<String>> {
        let mut grep = Command::new("grep");
        grep.current_dir(self.tree).args(["-rlE", r"\+k8s:openapi-gen=", "--include=*.go"]);
        grep.args(["pkg", "vendor/k8s.io", "staging/src/k8s.io"]);
        // grep ends with 2 when one of the folders is absent; what it found is judged instead.
        let out = grep.output().context("cannot run grep")?;
        let mut found: Vec<String> = String::from_utf8_lossy(&out.stdout)
            .lines()
            .filter_map(|file| file.rsplit_once('/').map(|(dir, _)| dir.to_owned()))
            .filter(|dir| {
                !["pkg/apis/abac", "sample-", "code-generator", "/testdata", "kube-openapi/cmd", "/examples/"]
                    .iter()
                    .any(|skip| dir.contains(skip))
            })
            .map(|dir| match dir.strip_prefix("staging/src/") {
                Some(rest) => format!("k8s.io/kubernetes/vendor/{rest}"),
                None => format!("k8s.io/kubernetes/{dir}"),
            })
            .collect();
        found.sort();
        found.dedup();
        if found.len() < 20 {
            bail!(
                "only {} packages with an API description were found in {}",
                found.len(),
                self.tree.display()
            );
        }
        Ok(found)
    }

    fn programs(&self, out: &Path) -> Result<()> {
        fs::create_dir_all(out)?;
        let version = "k8s.io/kubernetes/vendor/k8s.io/component-base/version";
        let plain = "k8s.io/component-base/version";
        let mut flags = String::from("-s -w");
        for package in [version, plain] {
            flags.push_str(&format!(
                " -X {package}.gitVersion=v{VERSION} -X {package}.gitMajor=1 -X {package}.gitMinor=20"
            ));
        }
        for name in PROGRAMS {
            if out.join(name).exists() {
                continue;
            }
            let mut build = self.command();
            build.arg("build").arg("-ldflags").arg(&flags).arg("-o").arg(out.join(name));
            build.arg(format!("k8s.io/kubernetes/cmd/{name}"));
            run::logged("kubernetes", &format!("building {name}"), self.log, &mut build)?;
        }
        Ok(())
    }
}
