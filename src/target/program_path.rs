//! Where the program of a command is: servers often stand in a folder that is not in the PATH of every user.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Folders of servers that a user's PATH may lack.
const MORE_FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// The program of this name in PATH or in the system's sbin folders; the file or folder, if the name is a path. `None`:
/// there is none.
pub fn find(program: &str) -> Option<PathBuf> {
    in_path(program).or_else(|| in_more_folders(program))
}

/// What to start for this program: the name itself if PATH has it, or if no folder does.
pub(super) fn of_command(program: &str) -> OsString {
    match in_path(program) {
        Some(_) => program.into(),
        None => in_more_folders(program).map_or_else(|| program.into(), PathBuf::into_os_string),
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    if is_path(program) {
        return Some(PathBuf::from(program)).filter(|path| path.exists());
    }
    env::split_paths(&env::var_os("PATH")?).find_map(|folder| in_folder(&folder, program))
}

fn in_more_folders(program: &str) -> Option<PathBuf> {
    let folders = MORE_FOLDERS.iter().filter(|_| cfg!(unix) && !is_path(program));
    folders.into_iter().find_map(|folder| in_folder(Path::new(folder), program))
}

fn in_folder(folder: &Path, program: &str) -> Option<PathBuf> {
    let names = [program.to_owned(), format!("{program}{}", env::consts::EXE_SUFFIX)];
    names.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

fn is_path(program: &str) -> bool {
    program.contains(std::path::is_separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_its_name_or_by_its_path() {
        let own = env::current_exe().expect("the test's own path is known").display().to_string();
        assert!(find(&own).is_some() && find(&format!("{own}-missing")).is_none());
        assert_eq!(find("no-such-program-anywhere"), None);
        assert_eq!(of_command("no-such-program-anywhere"), "no-such-program-anywhere", "its error names it");
        let shell = if cfg!(windows) { "cmd" } else { "sh" };
        assert!(find(shell).is_some() && of_command(shell) == shell);
    }
}
