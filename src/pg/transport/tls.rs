//! TLS with a PostgreSQL server as libpq has it: from the settings of the URL and the files that
//! they name, which are read anew for each connection
//! ([SSL support](https://www.postgresql.org/docs/current/libpq-ssl.html)).

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};

use crate::base::error::{Context, Error, Result};
use crate::base::input::{self, Links};
use crate::base::tls::verifier::{Demand, Roots};
use crate::base::tls::{self, ClientIdentity};
use crate::pg::params::ssl::{RootCert, Ssl, SslMode, TlsVersion};

/// The protocol's name within TLS, by which a server on a shared port knows what is meant.
pub const PROTOCOL: &[u8] = b"postgresql";

/// The permission bits that a private key may not have: of a file of root's, which a group may read, and
/// of any other.
const FORBIDDEN_OF_ROOT: u32 = 0o037;
const FORBIDDEN: u32 = 0o077;

/// The settings of TLS with one host.
pub struct TlsSettings {
    /// The configuration of rustls.
    pub config: ClientConfig,
    /// The name that the server is told we connect to.
    pub name: ServerName<'static>,
    /// Whether the server's certificate is verified.
    pub is_verified: bool,
}

impl TlsSettings {
    /// Reads the files that `ssl` names.
    pub fn read(ssl: &Ssl, host: &str) -> Result<TlsSettings> {
        let roots = roots(ssl)?;
        let is_verified = roots.is_some();
        let demand = match roots {
            None => Demand::Nothing,
            Some(roots) if ssl.mode == SslMode::VerifyFull => {
                if host.is_empty() {
                    return Err(Error::config(
                        "sslmode=verify-full needs the name of the host",
                    ));
                }
                Demand::RootAndHost(roots, host.to_owned())
            }
            Some(roots) => Demand::Root(roots),
        };
        let mut config = tls::client_config(demand, identity(ssl)?, &versions(ssl))?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.enable_sni = ssl.sni;
        Ok(TlsSettings {
            config,
            name: server_name(host),
            is_verified,
        })
    }
}

/// The roots that are trusted. Whoever has a file of roots means it to be used, whatever the mode; who
/// has none and wants no verification gets none.
fn roots(ssl: &Ssl) -> Result<Option<Roots>> {
    let must_verify = ssl.mode >= SslMode::VerifyCa;
    let path = match &ssl.root_cert {
        Some(RootCert::System) => return tls::system_roots().map(Some),
        Some(RootCert::File(path)) => path,
        None if must_verify => {
            return Err(Error::config("there is no file of root certificates").with_hint(
                "name the CA's certificate with sslrootcert=FILE in the database URL, or put it \
                 into ~/.postgresql/root.crt; sslrootcert=system takes what the system trusts",
            ));
        }
        None => return Ok(None),
    };
    let place = || format!("root certificate file {}", path.display());
    match read(path) {
        Ok(pem) => tls::roots(&pem).map(Some).at(place),
        Err(e) if is_missing(&e) && !must_verify => {
            log::debug!("{}: {e}: certificates are not verified", place());
            Ok(None)
        }
        Err(e) => Err(Error::config("cannot be read").with_source(e)).at(place),
    }
}

/// Our certificate and its key, if there is a certificate: one that is not there is not asked for.
fn identity(ssl: &Ssl) -> Result<Option<ClientIdentity>> {
    let Some(path) = &ssl.cert else {
        return Ok(None);
    };
    let place = || format!("certificate file {}", path.display());
    let chain = match read(path) {
        Ok(chain) => chain,
        Err(e) if is_missing(&e) => return Ok(None),
        Err(e) => return Err(Error::config("cannot be read").with_source(e)).at(place),
    };
    let key = ssl.key.as_ref().ok_or_else(|| {
        let error = Error::config("has no private key beside it");
        error.with_hint("name it with sslkey in the database URL")
    });
    let key = key.at(place)?;
    let place = || format!("{}, private key file {}", place(), key.display());
    check_permissions(key).at(place)?;
    let secret = read(key).map_err(|e| Error::config("cannot be read").with_source(e));
    ClientIdentity::from_pem(&chain, &secret.at(place)?)
        .map(Some)
        .at(place)
}

/// Refuses a private key that others can read.
fn check_permissions(key: &Path) -> Result<()> {
    let found = fs::metadata(key)
        .map_err(|e| Error::config("is not there beside the certificate").with_source(e))?;
    if !found.is_file() {
        return Err(Error::config("is not a regular file"));
    }
    let forbidden = match found.uid() {
        0 => FORBIDDEN_OF_ROOT,
        _ => FORBIDDEN,
    };
    if found.mode() & forbidden != 0 {
        return Err(Error::config("can be read by others")
            .with_hint("chmod 600, or 640 if it belongs to root"));
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    input::read(path, input::PEM_BYTES, Links::Follow)
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn versions(ssl: &Ssl) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::V1_2, &TLS12), (TlsVersion::V1_3, &TLS13)];
    let allowed = all.into_iter().filter(|(version, _)| {
        *version >= ssl.min_version && ssl.max_version.is_none_or(|max| *version <= max)
    });
    allowed.map(|(_, version)| version).collect()
}

/// The name for the server. A host that can be no name of one is not sent; our verifier knows the host.
fn server_name(host: &str) -> ServerName<'static> {
    ServerName::try_from(host.to_owned())
        .unwrap_or_else(|_| IpAddr::V4(Ipv4Addr::UNSPECIFIED).into())
}
