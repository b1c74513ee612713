//! Files that results are written to. A file is written whole or not at all, and whether it can be written is checked
//! before anything runs. A file that no other can replace is written in place.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::interrupt;
use crate::output::pipes;

/// The path, unless it is `-`, which stands for standard output as in most programs.
pub(crate) fn unless_stdout(path: &Path) -> Option<&Path> {
    (path.as_os_str() != "-").then_some(path)
}

/// The path as a report names it.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Writes `text` and a line break to the file `path`. A reader finds either the old content or all of the new, even
/// after a crash: the text goes to a temporary file in the same folder, which is then renamed. A file that can't be
/// replaced that way is written in place.
///
/// `flag` names the file, and so does an error.
///
/// # Errors
/// Exit code 4, with what to do: the command line was right before the run.
pub(crate) fn write(flag: &str, path: &Path, text: &str) -> anyhow::Result<()> {
    replace(path, text).map_err(|error| Failure::could_not_run(told(flag, path, &error)))
}

/// The longest file of settings, such as a scenario: what it takes in memory is a multiple of that.
pub(crate) const MOST_SETTINGS: u64 = 4 << 20;
/// The longest result. One that holds a page of findings for each of a thousand cases is far shorter.
pub(crate) const MOST_RESULT: u64 = 256 << 20;

/// Reads a file that the user named, of at most `most` bytes; `what` says as what: `--targets`, `reading`.
///
/// # Errors
/// Exit code 2, with what to do; 130: the user interrupted, as a pipe may have nothing to read for ever.
pub(crate) fn read(what: &str, path: &Path, most: u64) -> anyhow::Result<String> {
    let refused = |why: &str| Failure::usage(format!("{what} {}: {why}", path.display()));
    let file = path.to_owned();
    let read = unless_interrupted(what, path, move || {
        let mut text = String::new();
        File::open(file).and_then(|file| file.take(most + 1).read_to_string(&mut text)).map(|_| text)
    });
    match read? {
        Err(error) => Err(refused(&format!("{error}: {}", remedy_for_reading(&error)))),
        // A device may have no end.
        Ok(text) if text.len() as u64 > most => {
            let most = most >> 20;
            Err(refused(&format!("it has more than {most} MiB: name a file that echo-tester or you have written")))
        }
        Ok(text) => Ok(without_mark(text)),
    }
}

/// The text without the byte order mark that some editors and shells of Windows write before UTF-8.
pub(crate) fn without_mark(text: String) -> String {
    text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)
}

/// Reads the file `path` by `read`, which may block; `what` says as what.
///
/// # Errors
/// The user interrupted: exit code 130. There is no thread for it: exit code 4.
pub(crate) fn unless_interrupted<T: Send + 'static>(
    what: &str,
    path: &Path,
    read: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    interrupt::unless_requested(read).map_err(|error| {
        let path = path.display();
        match error.kind() {
            io::ErrorKind::Interrupted => {
                Failure::interrupted(format!("{what} {path}: interrupted before it was read"))
            }
            _ => Failure::could_not_run(format!("{what} {path}: {error}")),
        }
    })
}

/// What to do about a file or a folder that cannot be read.
pub(crate) fn remedy_for_reading(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "check its name",
        io::ErrorKind::PermissionDenied => "make it readable for this user",
        io::ErrorKind::InvalidData => "save it in UTF-8",
        io::ErrorKind::IsADirectory => "name a file in it",
        _ => "name a file that can be read",
    }
}

/// Like [`write()`], for a result that is not complete yet. A pipe gets only the complete one: its reader could not
/// tell them apart.
///
/// # Errors
/// Exit code 4, with what to do.
pub(crate) fn write_so_far(flag: &str, path: &Path, text: &str) -> anyhow::Result<()> {
    if pipes::is_pipe(path) { Ok(()) } else { write(flag, path, text) }
}

/// Like [`write_so_far`], before anything runs: if the file cannot be written, `flag` is wrong. A pipe is held open for
/// the complete result.
///
/// # Errors
/// Exit code 2, with what to do.
pub(crate) fn begin(flag: &str, path: &Path, text: &str) -> anyhow::Result<()> {
    if pipes::is_pipe(path) { check_writable(flag, path) } else { write_before_run(flag, path, text) }
}

/// Makes the file, empty, or opens a pipe or a device, for what is written as it comes.
///
/// # Errors
/// Exit code 2, with what to do.
pub(crate) fn create(flag: &str, path: &Path) -> anyhow::Result<File> {
    refuse_stdout(flag, path)?;
    open_empty(path).map_err(|error| usage_error(flag, path, &error))
}

/// The same, with the error of the system.
pub(super) fn open_empty(path: &Path) -> io::Result<File> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    pipes::open(path, File::options().write(true).create(true).truncate(true))
}

/// Like [`write()`], for a file that is written before anything runs: if it cannot be written, `flag` is wrong.
///
/// # Errors
/// Exit code 2, with what to do.
pub(crate) fn write_before_run(flag: &str, path: &Path, text: &str) -> anyhow::Result<()> {
    refuse_stdout(flag, path)?;
    replace(path, text).map_err(|error| usage_error(flag, path, &error))
}

/// Checks that the file that `flag` names can be written. It is left as it is; a pipe is held open for its result.
///
/// # Errors
/// Exit code 2, with what to do.
pub(crate) fn check_writable(flag: &str, path: &Path) -> anyhow::Result<()> {
    refuse_stdout(flag, path)?;
    let temporary = temporary_path(&real_path(path));
    let result = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(metadata) if !metadata.is_file() => pipes::hold(path),
        found => match File::create(&temporary).and_then(|_| fs::remove_file(&temporary)) {
            Err(error) if found.is_ok() && is_fixed(&error) => File::options().write(true).open(path).map(drop),
            result => result,
        },
    };
    result.map_err(|error| usage_error(flag, path, &error))
}

/// Like [`check_writable`], and removes the result of an earlier run. If this run is cut short, nobody can take the old
/// result for the new one.
///
/// # Errors
/// Exit code 2, with what to do.
pub(crate) fn clear(flag: &str, path: &Path) -> anyhow::Result<()> {
    check_writable(flag, path)?;
    discard(path).map_err(|error| usage_error(flag, path, &error))
}

fn discard(path: &Path) -> io::Result<()> {
    match (fs::symlink_metadata(path), fs::metadata(path)) {
        (Ok(metadata), _) if metadata.is_file() => match fs::remove_file(path) {
            Err(error) if is_fixed(&error) => File::create(path).map(drop),
            result => result,
        },
        // A link to a file: the file is emptied and the link stays, as `replace` does.
        (Ok(_), Ok(metadata)) if metadata.is_file() => File::create(path).map(drop),
        _ => Ok(()),
    }
}

/// Refuses `-` for results that cannot share standard output with the text that goes there.
fn refuse_stdout(flag: &str, path: &Path) -> anyhow::Result<()> {
    match unless_stdout(path) {
        Some(_) => Ok(()),
        None => {
            let remedy = "name a file; only --json and --output can use standard output";
            Err(Failure::usage(format!("--{flag} -: {remedy}")))
        }
    }
}

/// Whether there is no room for a file, which is no mistake of the command line.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn usage_error(flag: &str, path: &Path, error: &io::Error) -> anyhow::Error {
    let message = told(flag, path, error);
    if is_full(error) { Failure::could_not_run(message) } else { Failure::usage(message) }
}

/// Why a file could not be written, and what to do.
pub(super) fn told(flag: &str, path: &Path, error: &io::Error) -> String {
    let folder = folder_of(path);
    let remedy = match error.kind() {
        io::ErrorKind::FileTooLarge => "raise the limit for the size of a file (ulimit -f)".to_owned(),
        _ if is_full(error) => "free some space there, or name another place".to_owned(),
        io::ErrorKind::NotFound => format!("create the folder {} first", folder.display()),
        io::ErrorKind::IsADirectory => "name a file in it".to_owned(),
        io::ErrorKind::BrokenPipe => "start its reader first, and let it read to the end".to_owned(),
        io::ErrorKind::Interrupted => "its reader did not read on".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "name another place".to_owned(),
        _ => format!("make {} writable for this user, or name another place", folder.display()),
    };
    format!("--{flag} {}: {error}: {remedy}", path.display())
}

fn replace(named: &Path, text: &str) -> io::Result<()> {
    // The target of a link is written, and the link stays.
    let path = real_path(named);
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        // A device or a pipe must not be replaced by a file.
        Ok(metadata) if !metadata.is_file() => return pipes::write(named, text),
        _ => {}
    }
    let temporary = temporary_path(&path);
    let written = File::create(&temporary).and_then(|mut file| writeln!(file, "{text}"));
    let replaced = written.and_then(|()| fs::rename(&temporary, &path)).inspect_err(|_| {
        // The temporary file may not exist. The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    });
    match replaced {
        Err(error) if is_fixed(&error) && path.is_file() => write_in_place(&path, text),
        result => result,
    }
}

/// Whether a file can't be replaced by another one for this reason, but perhaps be written: it is a mount point itself,
/// as `docker run -v FILE:FILE` makes it, or its folder can't be written.
fn is_fixed(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(error.kind(), ResourceBusy | CrossesDevices | PermissionDenied | ReadOnlyFilesystem)
}

/// Writes a file that no other can replace. A part of a text could be taken for the whole, so nothing of it stays if
/// not all can be written.
fn write_in_place(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    writeln!(file, "{text}").inspect_err(|_| {
        // The first error is the one to report.
        let _ = file.set_len(0);
    })
}

/// Where a file is or will be, whatever links lead there.
pub(crate) fn real_path(path: &Path) -> PathBuf {
    /// More than Linux follows (path_resolution(7)).
    const MOST_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        if let Ok(real) = fs::canonicalize(&path) {
            return real;
        }
        // It is not there yet, but a link to it may be.
        let Ok(target) = fs::read_link(&path) else { break };
        path = folder_of(&path).join(target);
    }
    match (fs::canonicalize(folder_of(&path)), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

/// A file in the same folder, because a rename is atomic only within one file system.
fn temporary_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).expect("the file exists")
    }

    fn count_entries(folder: &tempfile::TempDir) -> usize {
        fs::read_dir(folder.path()).expect("the folder exists").count()
    }

    fn new_folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder is created")
    }

    #[test]
    fn a_file_is_replaced_and_no_temporary_file_remains() {
        let folder = new_folder();
        let path = folder.path().join("a.xml");
        for text in ["one", "two, longer", "3"] {
            write("json", &path, text).expect("the file is writable");
            assert_eq!(read(&path), format!("{text}\n"));
        }
        assert_eq!(count_entries(&folder), 1);
    }

    #[test]
    fn a_path_that_cannot_be_written_is_answered_with_a_remedy() {
        let folder = new_folder();
        let message = |result: anyhow::Result<()>| result.expect_err("the path is not writable").to_string();
        let absent = folder.path().join("no/a.xml");
        for error in [message(write_before_run("junit", &absent, "")), message(check_writable("junit", &absent))] {
            assert!(error.starts_with("--junit ") && error.ends_with(" first"), "{error}");
        }
        for error in
            [message(write_before_run("junit", folder.path(), "")), message(check_writable("junit", folder.path()))]
        {
            assert!(error.ends_with("name a file in it"), "{error}");
        }
        check_writable("json", &folder.path().join("a.xml")).expect("the file is writable");
        assert_eq!(count_entries(&folder), 0, "a check leaves nothing behind");
    }

    #[test]
    fn clearing_removes_the_result_of_an_earlier_run() {
        let folder = new_folder();
        let path = folder.path().join("a.json");
        write("json", &path, "old").expect("the file is writable");
        check_writable("json", &path).expect("the file is writable");
        assert!(path.exists(), "a check removes nothing");
        for _ in 0..2 {
            clear("json", &path).expect("the file is writable");
            assert!(!path.exists());
        }
        assert!(clear("json", &folder.path().join("no/a.json")).is_err());
        assert!(clear("json", folder.path()).is_err() && folder.path().exists());
    }

    #[test]
    fn a_file_that_can_not_be_replaced_is_written_in_place() {
        let folder = new_folder();
        let path = folder.path().join("a.xml");
        fs::write(&path, "a longer old text").expect("the file is writable");
        write_in_place(&path, "new").expect("the file is writable");
        assert_eq!(read(&path), "new\n");
        let kinds = [io::ErrorKind::ResourceBusy, io::ErrorKind::CrossesDevices, io::ErrorKind::ReadOnlyFilesystem];
        assert!(kinds.into_iter().all(|kind| is_fixed(&kind.into())) && !is_fixed(&io::ErrorKind::StorageFull.into()));
    }

    #[cfg(unix)]
    #[test]
    fn a_reader_during_a_write_sees_all_of_the_old_text() {
        use std::io::Read as _;
        let folder = new_folder();
        let path = folder.path().join("a.xml");
        write("json", &path, "old").expect("the file is writable");
        let mut reader = File::open(&path).expect("the file exists");
        write("json", &path, "new").expect("the file is writable");
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("the old file is still open");
        assert_eq!(text, "old\n");
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_are_not_replaced_by_files() {
        let folder = new_folder();
        let [file, link] = ["a.xml", "link.xml"].map(|name| folder.path().join(name));
        let is_link = || fs::symlink_metadata(&link).expect("the link exists").is_symlink();
        fs::write(&file, "old").expect("the file is writable");
        std::os::unix::fs::symlink(&file, &link).expect("a link is created");
        write("json", &link, "new").expect("the link's target is writable");
        assert!(is_link());
        assert_eq!(read(&file), "new\n");
        clear("json", &link).expect("the link's target is writable");
        assert!(is_link());
        assert_eq!(read(&file), "");
        fs::remove_file(&file).expect("it is there");
        write("json", &link, "later").expect("the link's target is writable");
        assert!(is_link());
        assert_eq!(read(&file), "later\n");
        write("json", Path::new("/dev/null"), "gone").expect("the device is writable");
        clear("json", Path::new("/dev/null")).expect("a device holds nothing to clear");
        assert!(!fs::metadata("/dev/null").expect("the device exists").is_file());
    }
}
