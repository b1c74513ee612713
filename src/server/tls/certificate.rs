//! A certificate for trials (RFC 5280), signed by its own key. It needs so few kinds of DER that they are written here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use graviola::hashing::Sha256;
use graviola::key_agreement::p256::StaticPrivateKey;
use graviola::signing::ecdsa::{P256, SigningKey};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Room for any of the encodings that the key writes.
const ROOM: usize = 512;

/// ecdsa-with-SHA256 (RFC 5758), without parameters.
const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// id-at-commonName (RFC 5280, A.1).
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// id-ce-subjectAltName.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// The version and the extensions of a certificate.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// Two kinds of a GeneralName.
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// Makes a key, and a certificate of it for `localhost`, the loopback addresses, and `ip`. It has no end, so that no
/// clock is read.
///
/// # Errors
/// The system gives no random numbers; in words.
pub(super) fn self_made(ip: Option<IpAddr>) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), String> {
    make(ip).map_err(|error| format!("no certificate could be made: {error:?}"))
}

fn make(ip: Option<IpAddr>) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), graviola::Error> {
    let key = SigningKey::<P256> { private_key: StaticPrivateKey::new_random()? };
    let mut room = [0; ROOM];
    let public = key.to_spki_der(&mut room)?.to_vec();
    let to_sign = to_be_signed(&public, serial()?, ip);
    let signature = key.sign_asn1::<Sha256>(&[&to_sign], &mut room)?;
    let signature = der(BIT_STRING, &[&[0], signature]);
    let certificate = der(SEQUENCE, &[&to_sign, &algorithm(), &signature]);
    let private = key.to_pkcs8_der(&mut room)?.to_vec();
    Ok((CertificateDer::from(certificate), PrivatePkcs8KeyDer::from(private).into()))
}

/// A positive number that no other certificate has.
fn serial() -> Result<[u8; 16], graviola::Error> {
    let mut serial = [0; 16];
    graviola::random::fill(&mut serial)?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

fn to_be_signed(public: &[u8], serial: [u8; 16], ip: Option<IpAddr>) -> Vec<u8> {
    let name = der(SEQUENCE, &[&der(OBJECT_ID, &[COMMON_NAME]), &der(UTF8_STRING, &[b"echo-tester"])]);
    let name = der(SEQUENCE, &[&der(SET, &[&name])]);
    // The end that means 'none' (RFC 5280, 4.1.2.5).
    let times = [der(UTC_TIME, &[b"200101000000Z"]), der(GENERALIZED_TIME, &[b"99991231235959Z"])];
    let validity = der(SEQUENCE, &[&times[0], &times[1]]);
    let names = der(SEQUENCE, &[&der(OBJECT_ID, &[SUBJECT_ALT_NAME]), &der(OCTET_STRING, &[&alternative_names(ip)])]);
    der(
        SEQUENCE,
        &[
            // Version 3.
            &der(VERSION, &[&der(INTEGER, &[&[2]])]),
            &der(INTEGER, &[&serial]),
            &algorithm(),
            &name,
            &validity,
            &name,
            public,
            &der(EXTENSIONS, &[&der(SEQUENCE, &[&names])]),
        ],
    )
}

fn alternative_names(ip: Option<IpAddr>) -> Vec<u8> {
    let mut ips = vec![IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    ips.extend(ip.filter(|ip| !ips.contains(ip)));
    let mut names = der(DNS_NAME, &[b"localhost"]);
    for ip in ips {
        names.extend(match ip {
            IpAddr::V4(ip) => der(IP_ADDRESS, &[&ip.octets()]),
            IpAddr::V6(ip) => der(IP_ADDRESS, &[&ip.octets()]),
        });
    }
    der(SEQUENCE, &[&names])
}

fn algorithm() -> Vec<u8> {
    der(SEQUENCE, &[&der(OBJECT_ID, &[ECDSA_WITH_SHA256])])
}

/// One value of DER (X.690, 8.1): its tag, its length, and what it consists of.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let significant = &length[content.len().leading_zeros() as usize / 8..];
    let mut value = vec![tag];
    match significant {
        [] => value.push(0),
        [short @ 0..=0x7f] => value.push(*short),
        long => {
            value.push(0x80 | long.len() as u8);
            value.extend(long);
        }
    }
    value.extend(content);
    value
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    #[test]
    fn lengths_are_written_in_their_shortest_form() {
        assert_eq!(der(4, &[]), [4, 0]);
        assert_eq!(der(4, &[&[7; 0x7f]])[..2], [4, 0x7f]);
        assert_eq!(der(4, &[&[7; 0x80]])[..3], [4, 0x81, 0x80]);
        assert_eq!(der(4, &[&[7; 0x100]])[..4], [4, 0x82, 1, 0]);
    }

    #[test]
    fn whoever_trusts_the_certificate_accepts_it_for_its_names_alone() {
        let (certificate, _) = self_made(Some([10, 1, 2, 3].into())).expect("there are random numbers");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("it is a certificate");
        let provider = Arc::new(rustls_graviola::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let verifier = verifier.expect("there is a root");
        let is_valid = |name: &str| {
            let name = ServerName::try_from(name).expect("it is a name");
            verifier.verify_server_cert(&certificate, &[], &name, &[], UnixTime::now()).is_ok()
        };
        for name in ["localhost", "127.0.0.1", "::1", "10.1.2.3"] {
            assert!(is_valid(name), "{name}");
        }
        assert!(!is_valid("echo.example") && !is_valid("10.1.2.4"));
    }

    #[test]
    fn no_two_certificates_are_alike() {
        let [one, other] = [(); 2].map(|()| self_made(None).expect("there are random numbers").0);
        assert_ne!(one, other);
    }
}
