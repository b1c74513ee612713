//! What a bundled server speaks TLS with.

use std::net::IpAddr;

use super::tls_files;
use crate::config::CertificateSource;
use crate::failure::Failure;
use crate::server::tls::TlsServer;

/// The certificate of a server that listens at `ip`, and its key.
///
/// # Errors
/// A file can't be read, or what stands in it can't be used (exit code 2), or this machine can't encrypt (exit code 4).
pub fn of(source: &CertificateSource, ip: Option<IpAddr>) -> anyhow::Result<TlsServer> {
    tls_files::check_processor()?;
    match source {
        CertificateSource::SelfMade => {
            TlsServer::self_made(ip).map_err(|why| Failure::could_not_run(format!("--tls: {why}")))
        }
        CertificateSource::Files { certificate, key } => {
            let (chain, private) = (tls_files::certificates("--cert", certificate)?, tls_files::key("--key", key)?);
            TlsServer::new(chain, private).map_err(|why| {
                let (certificate, key) = (certificate.display(), key.display());
                Failure::usage(format!("--cert {certificate} --key {key}: {why}: give two that belong together"))
            })
        }
    }
}
