//! What the tests of TLS at either end share: their certificates, and stunnel.

use tempfile::TempDir;

use crate::proxy::SystemProgram;

/// A file of the certificates of the tests.
pub(crate) fn pem(name: &str) -> String {
    format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A stunnel with a service of these lines, and the folder of its configuration; `None`: it is not installed.
pub(crate) fn stunnel(service: &str) -> Option<(SystemProgram, TempDir)> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("stunnel.conf");
    std::fs::write(&file, format!("foreground = yes\npid =\n[echo]\n{service}")).expect("the file can be written");
    Some((SystemProgram::start("stunnel", &[&file.display().to_string()])?, folder))
}
