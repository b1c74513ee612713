//! TLS at the server's end, by rustls with Graviola's cryptography, as at the client's.
//!
//! - [`TlsServer`]: the certificate and the key that each connection is opened with; its own ones, or made now.
//! - `certificate`: makes a certificate for trials, which nobody has signed but its own key.
//! - `stream`: TLS over a socket whose calls block, for the model that has a thread for each connection.

mod certificate;
mod stream;

use std::net::IpAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;

pub(super) use stream::TlsOverBlocking;

/// What each connection over TLS is opened with.
#[derive(Clone, Debug)]
pub struct TlsServer {
    config: Arc<ServerConfig>,
}

impl TlsServer {
    /// A server with this certificate chain, its own one first, and its key.
    ///
    /// # Errors
    /// They can't be used, or do not belong together; in words.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<TlsServer, String> {
        let provider = Arc::new(rustls_graviola::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?.with_no_client_auth();
        let mut config = builder.with_single_cert(chain, key).map_err(|error| error.to_string())?;
        // Each connection is opened alike, whatever came before it.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(TlsServer { config: Arc::new(config) })
    }

    /// A server with a certificate that is made now, for `localhost`, the loopback addresses, and `ip`.
    ///
    /// # Errors
    /// The system gives no random numbers; in words.
    pub fn self_made(ip: Option<IpAddr>) -> Result<TlsServer, String> {
        let (certificate, key) = certificate::self_made(ip)?;
        TlsServer::new(vec![certificate], key)
    }
}
