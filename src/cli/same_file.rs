//! Two results in one file: the second would replace the first, and nobody would notice.

use std::path::Path;

use clap::ArgMatches;

/// The flags that name a file to write. A test compares the list with the declarations.
pub(super) const WRITTEN: &[&str] =
    &["json", "output", "junit", "markdown", "html", "csv", "write_baseline", "fault_log"];

/// The refusal of two flags that name the same file, if there are two.
pub(super) fn refusal(matches: &ArgMatches) -> Option<String> {
    let file = |id: &&'static str| {
        // Some commands have a switch of this name.
        if matches.try_get_one::<bool>(id).is_ok() {
            return None;
        }
        let mut values = matches.try_get_raw(id).ok().flatten()?;
        let path = Path::new(values.next()?);
        is_file(path).then_some((*id, path))
    };
    let files: Vec<(&str, &Path)> = WRITTEN.iter().filter_map(file).collect();
    let (i, (id, path)) = files.iter().enumerate().find(|(i, (_, path))| place_of(&files[..*i], path).is_some())?;
    let other = files[place_of(&files[..i], path)?].0;
    let flag = |id: &str| format!("--{}", id.replace('_', "-"));
    Some(format!("{} and {} name the same file, {}: give each its own", flag(other), flag(id), path.display()))
}

fn place_of(files: &[(&str, &Path)], path: &Path) -> Option<usize> {
    let absolute = |path: &Path| std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).ok();
    files.iter().position(|(_, other)| absolute(other) == absolute(path))
}

/// Whether a path is one whose content would be replaced: no standard output, device or pipe.
fn is_file(path: &Path) -> bool {
    !path.as_os_str().is_empty() && path.as_os_str() != "-" && path.metadata().map_or(true, |found| found.is_file())
}
