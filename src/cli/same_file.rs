//! Two results in one file: the second would replace the first, and nobody would notice. The same goes for a result in
//! a file that is read.

use std::path::Path;

use clap::ArgMatches;

use crate::output::files::real_path;

/// The flags that name a file to write. A test compares the list with the declarations.
pub(super) const WRITTEN: &[&str] =
    &["json", "output", "junit", "markdown", "html", "csv", "write_baseline", "fault_log"];

/// The flags and arguments that name files to read.
pub(super) const READ: &[&str] =
    &["targets_file", "baseline", "files", "paths", "result", "ca", "client_cert", "client_key", "cert", "key"];

/// The refusal of two flags that name the same file, if there are two, and one of them would replace it.
pub(super) fn refusal(matches: &ArgMatches) -> Option<String> {
    let written: Vec<(&str, &Path)> = WRITTEN.iter().flat_map(|id| files(matches, id)).collect();
    let repeated =
        written.iter().enumerate().find_map(|(i, (id, path))| Some((place_of(&written[..i], path)?, *id, *path)));
    if let Some((other, id, path)) = repeated {
        let (other, id) = (flag(written[other].0), flag(id));
        return Some(format!("{other} and {id} name the same file, {}: give each its own", path.display()));
    }
    let mut read = READ.iter().flat_map(|id| files(matches, id));
    let (by, id, path) = read.find_map(|(by, path)| {
        let id = written[place_of(&written, path)?].0;
        // That list is read, and then written again.
        (by != "baseline" || id != "write_baseline").then_some((by, id, path))
    })?;
    let by = if matches!(by, "files" | "paths" | "result") { "this command".to_owned() } else { flag(by) };
    let (id, path) = (flag(id), path.display());
    Some(format!("{id} would replace {path}, which {by} reads: give it a file of its own"))
}

fn flag(id: &str) -> String {
    let name = if id == "targets_file" { "targets".to_owned() } else { id.replace('_', "-") };
    format!("--{name}")
}

/// The files that a flag or an argument names.
fn files<'m>(matches: &'m ArgMatches, id: &'static str) -> Vec<(&'static str, &'m Path)> {
    // Some commands have a switch of this name.
    if matches.try_get_one::<bool>(id).is_ok() {
        return Vec::new();
    }
    let values = matches.try_get_raw(id).ok().flatten().into_iter().flatten();
    values.map(Path::new).filter(|path| is_file(path)).map(|path| (id, path)).collect()
}

fn place_of(files: &[(&str, &Path)], path: &Path) -> Option<usize> {
    files.iter().position(|(_, other)| real_path(other) == real_path(path))
}

/// Whether a path is one whose content would be replaced: no standard output, device or pipe.
fn is_file(path: &Path) -> bool {
    !path.as_os_str().is_empty() && path.as_os_str() != "-" && path.metadata().map_or(true, |found| found.is_file())
}
