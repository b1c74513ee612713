//! TLS on the side of the client, by rustls: from the options of the user to what each connection is opened with.
//!
//! The cryptography is Graviola's, which is Rust and inline assembly: no build needs a C compiler for it.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// The options as the user gave them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// The certificates that are trusted; `None`: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// The server's certificate is not verified.
    pub insecure: bool,
    /// The name that the server is asked for; `None`: that of the target.
    pub sni: Option<String>,
    /// The protocols that are offered.
    pub alpn: Vec<String>,
    /// The client's own certificate, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What stands in the files of the options.
#[derive(Debug, Default)]
pub struct TlsFiles {
    /// The certificates that are trusted.
    pub trusted: Vec<CertificateDer<'static>>,
    /// The client's certificate chain, and its key.
    pub identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

/// What a connection over TLS is opened with.
#[derive(Clone, Debug)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// The certificate of the server is not verified.
    pub is_unverified: bool,
}

impl TlsClient {
    /// # Errors
    /// A certificate, the key or the name can't be used; in words, with what to do.
    pub fn new(options: &TlsOptions, files: TlsFiles, host: &str) -> Result<TlsClient, String> {
        let name = options.sni.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("'{name}' is no name that a server can be asked for: give one by --sni"))?;
        let provider = Arc::new(rustls_graviola::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?;
        let builder = if options.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        } else {
            let mut roots = RootCertStore::empty();
            if roots.add_parsable_certificates(files.trusted).0 == 0 {
                return Err("there is no certificate to trust: give one by --ca FILE, or --insecure".to_owned());
            }
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_webpki_verifier(verifier.map_err(|error| error.to_string())?)
        };
        let config = match files.identity {
            None => Ok(builder.with_no_client_auth()),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key),
        };
        let mut config = config.map_err(|error| format!("the client's certificate and key can't be used: {error}"))?;
        config.alpn_protocols = options.alpn.iter().map(|protocol| protocol.clone().into_bytes()).collect();
        // Each connection is opened alike, whatever came before it.
        config.resumption = Resumption::disabled();
        Ok(TlsClient { config: Arc::new(config), name, is_unverified: options.insecure })
    }

    /// Whether it offers protocols by ALPN.
    pub fn offers_alpn(&self) -> bool {
        !self.config.alpn_protocols.is_empty()
    }

    /// The state of a connection that has not said anything yet.
    ///
    /// # Errors
    /// That of rustls.
    pub fn connection(&self) -> Result<ClientConnection, rustls::Error> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone())
    }
}

/// What a failure of TLS means, and what to do.
pub fn explained(error: &rustls::Error) -> String {
    match remedy(error) {
        Some(remedy) => format!("TLS: {error}: {remedy}"),
        None => format!("TLS: {error}"),
    }
}

fn remedy(error: &rustls::Error) -> Option<&'static str> {
    use rustls::{AlertDescription, Error};
    Some(match error {
        Error::InvalidCertificate(error) => return for_certificate(error),
        Error::InvalidMessage(_) | Error::InappropriateHandshakeMessage { .. } => {
            "the server does not seem to speak TLS there: check the port"
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => "give one by --client-cert and --client-key",
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "the server speaks none of the protocols of --alpn: give one that it speaks, or none"
        }
        Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "the server knows no such name: give one that it knows by --sni NAME"
        }
        Error::AlertReceived(AlertDescription::ProtocolVersion) | Error::PeerIncompatible(_) => {
            "TLS 1.2 and 1.3 are spoken here: check which versions and ciphers the server is set to"
        }
        Error::AlertReceived(_) => "the server ended it: its log says why",
        _ => return None,
    })
}

fn for_certificate(error: &rustls::CertificateError) -> Option<&'static str> {
    use rustls::CertificateError;
    Some(match error {
        CertificateError::UnknownIssuer => {
            "nobody who is trusted has signed the certificate: give its issuer by --ca FILE, or --insecure"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate is for another name: ask for that name by --sni NAME, or give --insecure"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "renew the certificate, and check the clock of this machine; or give --insecure"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "check the clock of this machine, and that of the one that made the certificate; or give --insecure"
        }
        // The library has no name for it. It is what 'openssl req -x509' makes if it is not told otherwise.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the certificate is that of an authority (CA:TRUE), and no server may have it: make one with CA:FALSE, or \
             give --insecure"
        }
        _ => return None,
    })
}

/// Takes any certificate, as `--insecure` asks for. The server must still have its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
