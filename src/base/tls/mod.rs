//! TLS: what is trusted, who we are, and what went wrong, for every connection of the program.
//!
//! [`verifier`] decides which certificates of a server are accepted and [`certificate`] reads of
//! them what rustls does not tell; [`stream`] is an encrypted socket. The cryptography is ring's;
//! it is named for each connection, never set for the process.

pub(crate) mod certificate;
pub(crate) mod stream;
pub(crate) mod verifier;

use std::io;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error as TlsError, SupportedProtocolVersion,
};

use self::verifier::{Demand, OtherHost, Roots, Verifier, other};
use crate::base::error::{Error, Result};
use crate::base::input::{wide_encoding, without_mark};

/// The certificate by which a server knows us, with those between it and a root; and its key.
#[derive(Debug)]
pub struct ClientIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl ClientIdentity {
    /// Reads the text of PEM files. Errors show nothing of them.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<ClientIdentity> {
        let chain = certificates(chain)?;
        let secret = PrivateKeyDer::from_pem_slice(without_mark(key)).map_err(|e| {
            let is_locked = key.windows(9).any(|word| word == b"ENCRYPTED");
            match is_locked {
                true => Error::config("the private key is encrypted")
                    .with_hint("take the passphrase away: openssl pkey -in FILE -out NEW"),
                false => not_pem("no private key in PEM form", key).with_source(e),
            }
        })?;
        Ok(ClientIdentity { chain, key: secret })
    }
}

/// The error of a text without what it should have; it says so where another encoding is the reason.
fn not_pem(what: &str, text: &[u8]) -> Error {
    match wide_encoding(text) {
        Some(encoding) => Error::config(format!("{what}: it is {encoding}: save it as UTF-8")),
        None => Error::config(what),
    }
}

/// The certificates in the text of a PEM file, at least one.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(without_mark(pem)).collect();
    let found = found.map_err(|e| Error::config("cannot read a certificate").with_source(e))?;
    match found.is_empty() {
        true => Err(not_pem("no certificate in PEM form", pem)),
        false => Ok(found),
    }
}

/// The certificates that are trusted, in the text of a PEM file.
pub fn roots(pem: &[u8]) -> Result<Roots> {
    trust(certificates(pem)?)
}

/// The certificates that the system trusts, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
pub fn system_roots() -> Result<Roots> {
    let found = rustls_native_certs::load_native_certs();
    trust(found.certs).map_err(|error| {
        let error = match found.errors.first() {
            Some(first) => error.with_source(first.to_string()),
            None => error,
        };
        error.with_hint("install the package ca-certificates, or name a file")
    })
}

/// Trusts `certificates`; one that cannot be used does not stand in the way of the others.
fn trust(certificates: Vec<CertificateDer<'static>>) -> Result<Roots> {
    let (mut roots, mut last) = (Roots::none(), None);
    for certificate in certificates {
        if let Err(e) = roots.add(certificate) {
            last = Some(e);
        }
    }
    match (roots.is_empty(), last) {
        (false, _) => Ok(roots),
        (true, Some(e)) => Err(refusal(&e)),
        (true, None) => Err(Error::config("there is no certificate to trust")),
    }
}

/// The settings of one connection. Nothing is remembered from one to the next.
pub fn client_config(
    demand: Demand,
    identity: Option<ClientIdentity>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Verifier::new(&provider, demand));
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|e| Error::config("no version of TLS is allowed").with_source(e))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some(ClientIdentity { chain, key }) => config
            .with_client_auth_cert(chain, key)
            .map_err(unusable_identity)?,
    };
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// Adds which keys are taken: the cryptography only says that it takes no such one.
fn unusable_identity(error: TlsError) -> Error {
    let is_of_the_key = matches!(error, TlsError::General(_));
    let error = Error::config("our own certificate or its key cannot be used").with_source(error);
    match is_of_the_key {
        true => error.with_hint(
            "the key must be RSA of 2048 bits or more, ECDSA on P-256 or P-384 (not P-521), or Ed25519; \
             one without its public part is made whole: openssl ec -in FILE -out NEW",
        ),
        false => error,
    }
}

/// What an error of a [`stream::TlsStream`] means; None when it is not about TLS.
pub fn explain(error: &io::Error) -> Option<Error> {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<TlsError>())
        .map(refusal)
}

fn refusal(error: &TlsError) -> Error {
    match error {
        TlsError::InvalidCertificate(what) => certificate_refused(error, what),
        TlsError::AlertReceived(alert) => alerted(*alert),
        TlsError::InvalidMessage(_) => {
            Error::unreachable("what the server sends is not TLS").with_source(error.to_string())
        }
        _ => Error::unreachable("TLS failed").with_source(error.to_string()),
    }
}

fn certificate_refused(error: &TlsError, what: &CertificateError) -> Error {
    use CertificateError::{
        Expired, ExpiredContext, NotValidYet, NotValidYetContext, UnknownIssuer,
        UnsupportedSignatureAlgorithmContext,
    };
    const CLOCK: &str = "have the server's certificate renewed; or is this machine's clock wrong?";
    if let Some(host) = other::<OtherHost>(error) {
        return Error::config(host.to_string()).with_hint(
            "connect by a name that is in the certificate, or have it made anew for this host; \
             something that poses as the server looks the same",
        );
    }
    let refused = |what: &str| Error::config(format!("the server's certificate {what}"));
    match (what, other::<webpki::Error>(error)) {
        (ExpiredContext { not_after, .. }, _) => {
            refused(&format!("expired at {}", utc(*not_after))).with_hint(CLOCK)
        }
        (NotValidYetContext { not_before, .. }, _) => {
            refused(&format!("is not valid before {}", utc(*not_before))).with_hint(CLOCK)
        }
        (Expired, _) => refused("is expired").with_hint(CLOCK),
        (NotValidYet, _) => refused("is not valid yet").with_hint(CLOCK),
        (UnknownIssuer, _) => refused("is not signed by one that is trusted").with_hint(
            "the file of root certificates must hold the CA that signed it, or a self-signed \
             certificate itself; the server must send the certificates in between",
        ),
        (UnsupportedSignatureAlgorithmContext { .. }, _) => {
            refused("is signed with an algorithm that is not taken, such as SHA-1 or P-521")
                .with_hint("have it made anew with RSA and SHA-256, or ECDSA on P-256 or P-384")
        }
        (_, Some(webpki::Error::UnsupportedCertVersion)) => {
            refused("is of X.509 version 1, which is not taken").with_hint(
                "have it made anew as version 3: openssl req -x509 -addext subjectAltName=DNS:host",
            )
        }
        (_, Some(webpki::Error::CaUsedAsEndEntity)) => refused("is that of a CA").with_hint(
            "have one made for the server, with basicConstraints CA:FALSE; or trust this very one, \
             in the file of root certificates",
        ),
        _ => refused("is refused").with_source(error.to_string()),
    }
}

/// The error of a connection that the other side has ended with an alert.
fn alerted(alert: AlertDescription) -> Error {
    use AlertDescription as A;
    match alert {
        A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateRevoked
        | A::CertificateExpired
        | A::CertificateUnknown
        | A::UnknownCA
        | A::AccessDenied
        | A::CertificateRequired
        | A::DecryptError => {
            Error::config(format!("the server refuses our certificate: {alert:?}")).with_hint(
                "it must be signed by a CA that the server trusts, be valid, and belong to its key",
            )
        }
        A::HandshakeFailure | A::ProtocolVersion | A::InsufficientSecurity => {
            let error = Error::config(format!("no TLS that both sides take: {alert:?}"));
            error.with_hint("this program has TLS 1.2 and 1.3 with AES-GCM and ChaCha20-Poly1305")
        }
        A::NoApplicationProtocol => Error::config(
            "the server does not offer PostgreSQL over this TLS: NoApplicationProtocol",
        ),
        _ => Error::unreachable(format!("the server ends TLS: {alert:?}")),
    }
}

fn utc(time: UnixTime) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(time.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key that nothing was ever signed with.
    const P_521: &str = "\
-----BEGIN PRIVATE KEY-----
MIHuAgEAMBAGByqGSM49AgEGBSuBBAAjBIHWMIHTAgEBBEIAEdAJdP//CYoDxm6+
V50WSBQ49TBy7mQMAGEXXafysZ9BbPpjzhdNtrnk4AcWeDeQynwn3wnF68Nr5ZnL
gmqDXWahgYkDgYYABABVQRn3oR04jqz/vlCd9+ZptbuLvMlu9tdTIWq86J+2CTna
voLOOIaM/H6Bw1QPOy5BAemhlYMyIK1p4U6V2b4yLAFtr6H3EfEExg7YEVLuOmRS
5WGitnaS1nawa/fh18obUSChMC7D5xocfc9dBtk902RhIpEKQ5pnEOMI8fjIlF9B
Xw==
-----END PRIVATE KEY-----
";

    /// A key without its public part.
    const P_256_PRIVATE_PART: &str = "\
-----BEGIN EC PRIVATE KEY-----
MDECAQEEIHQ7OZaYLuRDZ7ZqAQgrU9MJ0mHa11msOIQXuIy40M6poAoGCCqGSM49
AwEH
-----END EC PRIVATE KEY-----
";

    #[test]
    fn keys_that_are_not_taken_are_told_which_are() {
        let own = rcgen::generate_simple_self_signed(vec!["u".into()]).unwrap();
        let chain = own.cert.pem();
        for key in [P_521, P_256_PRIVATE_PART] {
            let identity = ClientIdentity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
            let versions = rustls::ALL_VERSIONS;
            let error = client_config(Demand::Nothing, Some(identity), versions).unwrap_err();
            let hint = error.hint().unwrap_or_default();
            assert!(
                hint.contains("not P-521") && hint.contains("openssl ec"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_mark_of_an_editor_does_not_hide_what_comes_first() {
        let own = rcgen::generate_simple_self_signed(vec!["u".into()]).unwrap();
        let marked = |pem: String| format!("\u{feff}{pem}").into_bytes();
        let (chain, key) = (
            marked(own.cert.pem()),
            marked(own.signing_key.serialize_pem()),
        );
        let identity = ClientIdentity::from_pem(&chain, &key).unwrap();
        client_config(Demand::Nothing, Some(identity), rustls::ALL_VERSIONS).unwrap();
        assert_eq!(certificates(&chain).unwrap().len(), 1);
        for empty in ["", " \n", "\u{feff}"] {
            let error = certificates(empty.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, "no certificate in PEM form");
            let error = ClientIdentity::from_pem(&chain, empty.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with("no private key in PEM form"));
        }
    }
}
