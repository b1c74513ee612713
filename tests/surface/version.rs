//! `--version` names the commit of a release build, and a build outside git works too.

use std::path::Path;
use std::process::Command;

/// What a command prints. It must succeed.
fn run(command: &mut Command) -> String {
    let output = command.output().expect("the command starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn git(folder: &Path, args: &[&str]) {
    let identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"];
    run(Command::new("git").arg("-C").arg(folder).args(identity).args(args));
}

/// The version, and the files whose change builds again, that the build script tells cargo about this folder.
fn built(script: &Path, folder: &Path, profile: &str) -> (String, Vec<String>) {
    let mut command = Command::new(script);
    command.env("CARGO_PKG_VERSION", "1.2.3").env("CARGO_MANIFEST_DIR", folder).env("PROFILE", profile);
    let said = run(&mut command);
    let all =
        |name: &str| said.lines().filter_map(|line| Some(line.strip_prefix(name)?.to_owned())).collect::<Vec<_>>();
    (all("cargo::rustc-env=BUILD_VERSION=").concat(), all("cargo::rerun-if-changed="))
}

#[test]
fn the_build_script_names_the_commit_of_its_own_checkout_only() {
    let root = tempfile::tempdir().expect("a temporary folder is created");
    let script = root.path().join("build-script");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
    run(Command::new("rustc").args(["--edition", "2024", "-o"]).arg(&script).arg(source));

    let folder = root.path().join("sources");
    std::fs::create_dir_all(folder.join("src")).expect("the folder is writable");
    std::fs::write(folder.join("Cargo.toml"), "# a package\n").expect("the folder is writable");
    let outside_git = ("1.2.3".to_owned(), vec!["build.rs".to_owned()]);
    assert_eq!(built(&script, &folder, "release"), outside_git);
    git(root.path(), &["init", "--quiet"]);
    git(root.path(), &["add", "sources"]);
    git(root.path(), &["commit", "--quiet", "-m", "another project"]);
    assert_eq!(built(&script, &folder, "release"), outside_git, "the commit is that of another project");

    git(&folder, &["init", "--quiet"]);
    git(&folder, &["add", "Cargo.toml"]);
    git(&folder, &["commit", "--quiet", "-m", "first"]);
    let commit = run(Command::new("git").arg("-C").arg(&folder).args(["show", "-s", "--abbrev=12", "--format=%h %cs"]));
    let (version, followed) = built(&script, &folder, "release");
    assert_eq!(version, format!("1.2.3 ({})", commit.trim()));
    assert!(followed.iter().all(|path| path == "build.rs" || Path::new(path).exists()), "{followed:?}");
    assert!(followed.iter().any(|path| path.ends_with("HEAD")), "{followed:?}");
    std::fs::write(folder.join("Cargo.toml"), "# changed\n").expect("the folder is writable");
    assert_eq!(built(&script, &folder, "release").0, format!("1.2.3 ({}, modified)", commit.trim()));

    let (version, followed) = built(&script, &folder, "debug");
    assert_eq!((version.as_str(), followed.as_slice()), ("1.2.3 (debug build)", &["build.rs".to_owned()][..]));
}
