//! The folder of a case: the configuration files of its processes, and what they write there themselves. Nobody else
//! may read it, because keys may stand in it. It is removed with all of it.

use std::fs::{self, DirBuilder};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sync::lock;

/// The folders that are there.
static PRESENT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// The number of the next one.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A folder that lives as long as this.
#[derive(Debug)]
pub(super) struct PrivateFolder {
    path: PathBuf,
}

impl PrivateFolder {
    /// Makes the folder, empty.
    ///
    /// # Errors
    /// The system's, with the path.
    pub(super) fn new() -> Result<PrivateFolder, String> {
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("echo-tester-{}-{number}", std::process::id()));
            match builder().create(&path) {
                Ok(()) => {
                    lock(&PRESENT).push(path.clone());
                    return Ok(PrivateFolder { path });
                }
                // Left behind by a process of the same id.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(format!("making the folder {}: {error}", path.display())),
            }
        }
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        lock(&PRESENT).retain(|path| *path != self.path);
        // What can't be removed is left to the system, which empties its folder of temporary files.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes every folder that is still there. For an exit that cannot wait.
pub(super) fn remove_all() {
    for path in lock(&PRESENT).drain(..) {
        let _ = fs::remove_dir_all(path);
    }
}

#[cfg(unix)]
fn builder() -> DirBuilder {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

#[cfg(not(unix))]
fn builder() -> DirBuilder {
    DirBuilder::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_removed_with_all_that_is_in_it() {
        let (folder, other) = (PrivateFolder::new().expect("it is made"), PrivateFolder::new().expect("it is made"));
        assert_ne!(folder.path(), other.path());
        let path = folder.path().to_owned();
        fs::create_dir(path.join("inner")).and_then(|()| fs::write(path.join("inner/a"), "b")).expect("it is writable");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o700);
        }
        drop(folder);
        assert!(!path.exists() && other.path().exists());
    }
}
