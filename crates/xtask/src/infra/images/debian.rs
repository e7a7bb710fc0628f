//! What images have of this machine's Debian packages: programs, the libraries that they load, folders.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::infra::postgres;
use crate::run;

/// The script that makes a database server of the programs.
const POSTGRES_START: &str = include_str!("postgres-start.sh");

/// Debian's Python with its standard library.
pub fn python(root: &Path) -> Result<()> {
    let program =
        fs::canonicalize("/usr/bin/python3").context("no /usr/bin/python3: install Debian's python3")?;
    let name = program.file_name().context("python3 is a file")?;
    let library = Path::new("/usr/lib").join(name);
    copy(root, &[&program, &library])?;
    for link in ["python3", "python"] {
        std::os::unix::fs::symlink(name, root.join("usr/bin").join(link))?;
    }
    // What C programs are built with is more than half of it.
    for part in entries(&within(root, &library))? {
        if part.file_name().is_some_and(|name| name.to_string_lossy().starts_with("config-")) {
            fs::remove_dir_all(part)?;
        }
    }
    let mut programs = entries(&library.join("lib-dynload"))?;
    programs.push(program);
    libraries(root, &programs)
}

/// Debian's PostgreSQL, started by a script that takes what the well-known image of that name takes.
pub fn postgres(root: &Path) -> Result<()> {
    let programs = postgres::programs()?;
    let home = programs.parent().context("the programs are in a folder of the version")?;
    let version = home.file_name().context("the folder has the version's name")?;
    let shared = Path::new("/usr/share/postgresql").join(version);
    let modules = entries(&home.join("lib"))?;
    // Compiling queries needs a compiler that is larger than everything else.
    let modules = modules.into_iter().filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".so") && !name.starts_with("llvmjit")
    });
    let others = ["/usr/bin/setpriv", "/usr/bin/openssl"].map(PathBuf::from);
    let binaries: Vec<PathBuf> = ["postgres", "initdb"]
        .map(|name| programs.join(name))
        .into_iter()
        .chain(others)
        .chain(modules)
        .collect();
    let mut all: Vec<&Path> = binaries.iter().map(PathBuf::as_path).collect();
    all.extend([shared.as_path(), Path::new("/etc/ssl/openssl.cnf")]);
    copy(root, &all)?;
    libraries(root, &binaries)?;
    // An empty one will do: the server knows UTC by itself.
    fs::create_dir_all(root.join("usr/share/zoneinfo"))?;
    fs::create_dir_all(root.join("usr/lib/ssl"))?;
    std::os::unix::fs::symlink("/etc/ssl/openssl.cnf", root.join("usr/lib/ssl/openssl.cnf"))?;
    for name in ["postgres", "initdb"] {
        std::os::unix::fs::symlink(programs.join(name), root.join("usr/bin").join(name))?;
    }
    super::program(&root.join("usr/bin/docker-entrypoint.sh"), POSTGRES_START)?;
    append(&root.join("etc/passwd"), "postgres:x:999:999::/var/lib/postgresql:/bin/sh\n")?;
    append(&root.join("etc/group"), "postgres:x:999:\n")
}

/// The same path below another root.
fn within(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let found = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(found.flatten().map(|entry| entry.path()).collect())
}

/// Copies files and folders to the same places below another root.
fn copy(root: &Path, paths: &[&Path]) -> Result<()> {
    for path in paths {
        let folder = within(root, path.parent().context("a root cannot be copied")?);
        fs::create_dir_all(&folder)?;
        run::quiet(Command::new("cp").args(["--archive", "--"]).arg(path).arg(folder))?;
    }
    Ok(())
}

/// Copies the libraries that programs load, and the program that loads them, as files without links.
fn libraries(root: &Path, programs: &[PathBuf]) -> Result<()> {
    let listed = run::output(Command::new("ldd").args(programs))?;
    for library in loaded(&listed) {
        let place = within(root, Path::new(library));
        if let Some(dir) = place.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::copy(library, &place).with_context(|| format!("cannot copy {library}"))?;
    }
    Ok(())
}

/// The paths that `ldd` names, each once; the programs that it was asked about end with a colon.
fn loaded(listed: &str) -> Vec<&str> {
    let mut paths: Vec<&str> =
        listed.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':')).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

fn append(file: &Path, line: &str) -> Result<()> {
    let text = fs::read_to_string(file)? + line;
    Ok(fs::write(file, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_in_the_answer_about_several_programs() {
        let listed = "/usr/bin/python3.11:\n\tlinux-vdso.so.1 (0x00007ffe)\n\
                      \tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n\
                      /usr/lib/python3.11/lib-dynload/_ssl.so:\n\tlibmissing.so => not found\n\
                      \tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f)\n";
        assert_eq!(loaded(listed), ["/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }
}
