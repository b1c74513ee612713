//! Tells the program which commit it was built from, for `--version`.
//!
//! Only a release build asks git: a debug build that followed every commit would be built again after each one. Where
//! there is no git, or the sources are no checkout of their own, the version stands alone; that is no error.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let version = variable("CARGO_PKG_VERSION");
    let about = match variable("PROFILE").as_str() {
        "release" => commit(Path::new(&variable("CARGO_MANIFEST_DIR"))),
        _ => Some("debug build".to_owned()),
    };
    let about = about.map_or_else(String::new, |about| format!(" ({about})"));
    println!("cargo::rustc-env=BUILD_VERSION={version}{about}");
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// The commit of the sources in this folder, its date, and whether they differ from it.
fn commit(folder: &Path) -> Option<String> {
    let root = git(folder, &["rev-parse", "--show-toplevel"])?;
    // A copy of the sources inside another repository is no part of that one's history.
    if Path::new(&root).canonicalize().ok()? != folder.canonicalize().ok()? {
        return None;
    }
    let about = git(folder, &["show", "--no-patch", "--abbrev=12", "--format=%h %cs", "HEAD"])?;
    let changes = git(folder, &["status", "--porcelain", "--untracked-files=no"])?;
    follow(folder);
    Some(if changes.is_empty() { about } else { format!("{about}, modified") })
}

/// Builds again when the commit or the sources change.
fn follow(folder: &Path) {
    let branch = git(folder, &["symbolic-ref", "--quiet", "HEAD"]);
    let in_git = ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref());
    let in_git = in_git.filter_map(|name| Some(folder.join(git(folder, &["rev-parse", "--git-path", name])?)));
    let sources = ["src", "Cargo.toml", "Cargo.lock"].map(|name| folder.join(name));
    // A file that does not exist would count as changed each time.
    for path in in_git.chain(sources).filter(|path: &PathBuf| path.exists()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

/// What git says; `None` if it fails, or is not there.
fn git(folder: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(folder).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
