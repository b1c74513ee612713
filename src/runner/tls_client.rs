//! The files that the options of TLS name, and what connections are secured with.

use std::sync::Mutex;

use super::tls_files;
use crate::failure::Failure;
use crate::sync::lock;
use crate::transport::{TlsClient, TlsFiles, TlsOptions};

/// What was read for these options and this host, because suites and waits ask again and again.
static KNOWN: Mutex<Vec<(TlsOptions, String, TlsClient)>> = Mutex::new(Vec::new());

/// What connections to the host are secured with.
///
/// # Errors
/// A file can't be read, or what stands in it can't be used (exit code 2), or this machine can't encrypt (exit code 4).
pub(super) fn of(options: &TlsOptions, host: &str) -> anyhow::Result<TlsClient> {
    tls_files::check_processor()?;
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
        Some(file) => tls_files::certificates("--ca", file)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let identity = match &options.identity {
        None => None,
        Some((certificate, key)) => {
            let private = tls_files::key("--client-key", key)?;
            Some((tls_files::certificates("--client-cert", certificate)?, private))
        }
    };
    Ok(TlsFiles { trusted, identity })
}
