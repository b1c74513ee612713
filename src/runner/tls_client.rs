//! The files that the options of TLS name, and what connections are secured with.

use std::path::Path;
use std::sync::Mutex;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};

use crate::failure::Failure;
use crate::sync::lock;
use crate::transport::{TlsClient, TlsFiles, TlsOptions};

/// What was read for these options and this host, because suites and waits ask again and again.
static KNOWN: Mutex<Vec<(TlsOptions, String, TlsClient)>> = Mutex::new(Vec::new());

/// What connections to the host are secured with.
///
/// # Errors
/// A file can't be read, or what stands in it can't be used (exit code 2).
pub(super) fn of(options: &TlsOptions, host: &str) -> anyhow::Result<TlsClient> {
    let mut known = lock(&KNOWN);
    if let Some((_, _, client)) = known.iter().find(|(of, at, _)| of == options && at == host) {
        return Ok(client.clone());
    }
    let client =
        TlsClient::new(options, files(options)?, host).map_err(|why| Failure::usage(format!("--tls: {why}")))?;
    known.push((options.clone(), host.to_owned(), client.clone()));
    Ok(client)
}

fn files(options: &TlsOptions) -> anyhow::Result<TlsFiles> {
    let trusted = match &options.ca {
        _ if options.insecure => Vec::new(),
        Some(file) => certificates("--ca", file)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let identity = match &options.identity {
        None => None,
        Some((certificate, key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable("--client-key", key, &error))?;
            Some((certificates("--client-cert", certificate)?, private))
        }
    };
    Ok(TlsFiles { trusted, identity })
}

/// The certificates in a file, at least one.
fn certificates(flag: &str, file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match all.map_err(|error| unusable(flag, file, &error))? {
        none if none.is_empty() => Err(unusable(flag, file, &pem::Error::NoItemsFound)),
        some => Ok(some),
    }
}

fn unusable(flag: &str, file: &Path, error: &pem::Error) -> anyhow::Error {
    Failure::usage(format!("{flag} {}: {error}: give a file in the PEM form (-----BEGIN …)", file.display()))
}
