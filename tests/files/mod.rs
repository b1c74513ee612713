//! Temporary folders with files, for tests of the program.

/// A folder with these files.
pub(crate) fn folder<T: AsRef<[u8]>>(files: &[(&str, T)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder is created");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("the file is writable");
    }
    folder
}

/// The path of a file in the folder.
pub(crate) fn path(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).to_str().expect("the path is UTF-8").to_owned()
}
