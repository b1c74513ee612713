//! What TLS needs of this machine at either end: files of certificates and keys, and a processor that can encrypt.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};

use crate::failure::Failure;
use crate::output::files;
use crate::sys;

/// # Errors
/// The processor can't encrypt (exit code 4).
pub(super) fn check_processor() -> anyhow::Result<()> {
    if sys::can_encrypt() {
        return Ok(());
    }
    let needs = if cfg!(target_arch = "x86_64") { "AES, AVX2, ADX and BMI2" } else { "the AES instructions of ARMv8" };
    let remedy = "leave it out, or run this on another machine";
    Err(Failure::could_not_run(format!("--tls: it needs a processor with {needs}: {remedy}")))
}

/// The certificates in a file, at least one.
///
/// # Errors
/// The file can't be read, or has none (exit code 2).
pub(super) fn certificates(flag: &str, file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let path = file.to_owned();
    let read = move || CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match files::unless_interrupted(flag, file, read)?.map_err(|error| unusable(flag, file, &error))? {
        none if none.is_empty() => Err(unusable(flag, file, &pem::Error::NoItemsFound)),
        some => Ok(some),
    }
}

/// The key in a file.
///
/// # Errors
/// The file can't be read, or has none (exit code 2).
pub(super) fn key(flag: &str, file: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    let path = file.to_owned();
    let read = files::unless_interrupted(flag, file, move || PrivateKeyDer::from_pem_file(path))?;
    read.map_err(|error| unusable(flag, file, &error))
}

fn unusable(flag: &str, file: &Path, error: &pem::Error) -> anyhow::Error {
    let file = file.display();
    match error {
        pem::Error::Io(error) => Failure::usage(format!("{flag} {file}: {error}: give a file that can be read")),
        pem::Error::NoItemsFound => {
            let what = if flag.contains("key") { "private key" } else { "certificate" };
            Failure::usage(format!("{flag} {file}: it has no {what} in the PEM form (-----BEGIN …): give one that has"))
        }
        error => Failure::usage(format!("{flag} {file}: {error}: give a file in the PEM form (-----BEGIN …)")),
    }
}
