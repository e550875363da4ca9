//! Which certificates of a server are accepted: any, those that lead to a root, or of these only
//! the ones for a host.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::certificate::Certificate;

/// The certificates that are trusted.
#[derive(Debug, Clone)]
pub struct Roots {
    store: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
}

/// The check of a server's certificate.
#[derive(Debug)]
pub struct Verifier {
    algorithms: WebPkiSupportedAlgorithms,
    demand: Demand,
}

/// What is demanded of a certificate. That the server has its key is demanded in any case.
#[derive(Debug)]
pub enum Demand {
    /// Any certificate will do.
    Nothing,
    /// The certificate leads to a root.
    Root(Roots),
    /// The certificate leads to a root and is for this host, a name or an address.
    RootAndHost(Roots, String),
}

/// A certificate that is in order but for another host.
#[derive(Debug)]
pub(super) struct OtherHost {
    host: String,
    names: Vec<String>,
}

impl Roots {
    /// Roots of which there are none yet: nothing is trusted.
    pub fn none() -> Roots {
        Roots {
            store: RootCertStore::empty(),
            certificates: Vec::new(),
        }
    }

    /// Trusts one more.
    pub fn add(&mut self, certificate: CertificateDer<'static>) -> Result<(), Error> {
        self.store.add(certificate.clone())?;
        self.certificates.push(certificate);
        Ok(())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// Whether the certificate itself is among the roots.
    fn has(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.contains(certificate)
    }
}

impl Verifier {
    /// A verifier by the algorithms of `provider`.
    pub fn new(provider: &rustls::crypto::CryptoProvider, demand: Demand) -> Verifier {
        Verifier {
            algorithms: provider.signature_verification_algorithms,
            demand,
        }
    }

    fn check_chain(
        &self,
        roots: &Roots,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let checked = verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &roots.store,
            intermediates,
            now,
            self.algorithms.all,
        );
        match checked {
            // A self-signed certificate is made as one of a CA if nothing else is said. As a root it
            // vouches for itself; that it is valid now was checked before.
            Err(error) if is_of_a_ca(&error) && roots.has(end_entity) => Ok(()),
            checked => checked,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.demand {
            Demand::Nothing => {}
            Demand::Root(roots) => self.check_chain(roots, end_entity, intermediates, now)?,
            Demand::RootAndHost(roots, host) => {
                self.check_chain(roots, end_entity, intermediates, now)?;
                check_host(end_entity, host)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn check_host(end_entity: &CertificateDer<'_>, host: &str) -> Result<(), Error> {
    let certificate = Certificate::parse(end_entity).ok_or(CertificateError::BadEncoding)?;
    if certificate.is_for(host) {
        return Ok(());
    }
    let other = OtherHost {
        host: host.to_owned(),
        names: certificate.names(),
    };
    Err(CertificateError::Other(OtherError(Arc::new(other))).into())
}

fn is_of_a_ca(error: &Error) -> bool {
    matches!(
        other::<webpki::Error>(error),
        Some(webpki::Error::CaUsedAsEndEntity)
    )
}

/// The error of this type within one that rustls has no variant for.
pub(super) fn other<T: std::error::Error + 'static>(error: &Error) -> Option<&T> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => other.0.downcast_ref(),
        _ => None,
    }
}

impl fmt::Display for OtherHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = match self.names.is_empty() {
            true => "nobody".to_owned(),
            false => self.names.join(", "),
        };
        write!(
            f,
            "the server's certificate is for {names}, not for {}",
            self.host
        )
    }
}

impl std::error::Error for OtherHost {}
