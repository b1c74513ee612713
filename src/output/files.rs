//! Files that results are written to: whole or not at all, and known to be writable before anything runs.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::failure::Failure;

/// What `--json=FILE` and `--output` name, if it is a file: `-` is standard output, as for most programs.
pub fn named(path: &Path) -> Option<&Path> {
    (path.as_os_str() != "-").then_some(path)
}

/// Puts `text` and a line break into the file `path`. A reader, and who comes after a crash, finds either what was
/// there before or all of the new text: it is written beside the file, and then takes its name.
///
/// # Errors
/// It can't be written; the message names it.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    replace(path, text).with_context(|| format!("writing {}", path.display()))
}

/// The same, before anything has run: when what `flag` names can't be written, the flag is wrong.
///
/// # Errors
/// Exit code 2, with what to do.
pub fn write_first(flag: &str, path: &Path, text: &str) -> anyhow::Result<()> {
    no_stdout(flag, path)?;
    of_flag(flag, path, replace(path, text))
}

/// Whether what `flag` names could be written; it stays as it is.
///
/// # Errors
/// Exit code 2, with what to do.
pub fn check(flag: &str, path: &Path) -> anyhow::Result<()> {
    no_stdout(flag, path)?;
    let beside = beside(path);
    let result = match fs::metadata(path) {
        Ok(there) if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(there) if !there.is_file() => Ok(()),
        _ => File::create(&beside).and_then(|_| fs::remove_file(&beside)),
    };
    of_flag(flag, path, result)
}

/// The same, and what an earlier run has left there goes: when this one breaks off, nobody is to take that for its
/// result.
///
/// # Errors
/// Exit code 2, with what to do.
pub fn clear(flag: &str, path: &Path) -> anyhow::Result<()> {
    check(flag, path)?;
    of_flag(flag, path, discard(path))
}

fn discard(path: &Path) -> io::Result<()> {
    match (fs::symlink_metadata(path), fs::metadata(path)) {
        (Ok(there), _) if there.is_file() => fs::remove_file(path),
        // The link stays, as when it is written.
        (Ok(_), Ok(there)) if there.is_file() => File::create(path).map(drop),
        _ => Ok(()),
    }
}

/// What is written as a file of its own can't share standard output with what is there already.
fn no_stdout(flag: &str, path: &Path) -> anyhow::Result<()> {
    match named(path) {
        Some(_) => Ok(()),
        None => Err(Failure::usage(format!("--{flag} -: name a file; to standard output goes --json alone"))),
    }
}

fn of_flag(flag: &str, path: &Path, result: io::Result<()>) -> anyhow::Result<()> {
    result.map_err(|error| {
        let folder = folder_of(path);
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => format!("make the folder {} first", folder.display()),
            io::ErrorKind::IsADirectory => "name a file in it".to_owned(),
            _ => format!("let this user write to {}, or name another place", folder.display()),
        };
        Failure::usage(format!("--{flag} {}: {error}: {remedy}", path.display()))
    })
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    // What a link points to is written, and the link stays.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(&path) {
        Ok(there) if there.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        // A device, a pipe: nothing can take its name.
        Ok(there) if !there.is_file() => return writeln!(File::options().write(true).open(&path)?, "{text}"),
        _ => {}
    }
    let beside = beside(&path);
    let written = File::create(&beside).and_then(|mut file| writeln!(file, "{text}"));
    written.and_then(|()| fs::rename(&beside, &path)).inspect_err(|_| {
        // There may be none; the error that counts is the first.
        let _ = fs::remove_file(&beside);
    })
}

/// In the same folder, since a file takes a name at once only within one file system.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.xml");
        for text in ["one", "two, longer", "3"] {
            write(&path, text).expect("it can be written");
            assert_eq!(fs::read_to_string(&path).expect("it is there"), format!("{text}\n"));
        }
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 1);
    }

    #[test]
    fn what_can_not_be_written_says_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let said = |result: anyhow::Result<()>| result.expect_err("it can't be").to_string();
        let absent = folder.path().join("no/a.xml");
        for error in [said(write_first("junit", &absent, "")), said(check("junit", &absent))] {
            assert!(error.starts_with("--junit ") && error.ends_with(" first"), "{error}");
        }
        for error in [said(write_first("junit", folder.path(), "")), said(check("junit", folder.path()))] {
            assert!(error.ends_with("name a file in it"), "{error}");
        }
        check("json", &folder.path().join("a.xml")).expect("it could be written");
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0, "it was only asked");
    }

    #[test]
    fn what_an_earlier_run_has_left_is_cleared() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.json");
        write(&path, "old").expect("it can be written");
        check("json", &path).expect("it could be written");
        assert!(path.exists(), "it was only asked");
        for _ in 0..2 {
            clear("json", &path).expect("it could be written");
            assert!(!path.exists());
        }
        assert!(clear("json", &folder.path().join("no/a.json")).is_err());
        assert!(clear("json", folder.path()).is_err() && folder.path().exists());
    }

    #[cfg(unix)]
    #[test]
    fn who_reads_while_it_is_written_sees_the_old_text_as_a_whole() {
        use std::io::Read as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.xml");
        write(&path, "old").expect("it can be written");
        let mut reader = File::open(&path).expect("it is there");
        write(&path, "new").expect("it can be written");
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("it is open");
        assert_eq!(text, "old\n");
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_stay_what_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let [file, link] = ["a.xml", "link.xml"].map(|name| folder.path().join(name));
        fs::write(&file, "old").expect("it can be written");
        std::os::unix::fs::symlink(&file, &link).expect("a link can be made");
        write(&link, "new").expect("it can be written");
        assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
        assert_eq!(fs::read_to_string(&file).expect("it is there"), "new\n");
        clear("json", &link).expect("it can be emptied");
        assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
        assert_eq!(fs::read_to_string(&file).expect("it is there"), "");
        write(Path::new("/dev/null"), "gone").expect("it can be written");
        clear("json", Path::new("/dev/null")).expect("there is nothing to clear");
        assert!(!fs::metadata("/dev/null").expect("it is there").is_file());
    }
}
