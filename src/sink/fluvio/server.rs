//! A server of a cluster: where it is, and how TLS is spoken with it.
//!
//! One policy of the profile holds for all servers. The SC has the profile's domain for a name, and
//! each SPU its own name in front of that, as the ordinary client has it.

use std::path::Path;
use std::sync::Arc;

use fluvio::FluvioClusterConfig;
use fluvio::config::{TlsCerts, TlsConfig, TlsPaths, TlsPolicy};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::base::error::{Context, Error, Result};
use crate::base::input;
use crate::base::tls::verifier::Demand;
use crate::base::tls::{self, ClientIdentity};

/// Where a server is, and who it must prove to be.
#[derive(Debug, Clone)]
pub struct FluvioServer {
    /// Host and port.
    pub address: String,
    policy: TlsPolicy,
    /// The name in its certificate; nothing is verified without one.
    name: Option<String>,
}

impl FluvioServer {
    /// The SC of a cluster.
    pub fn sc(cluster: &FluvioClusterConfig) -> FluvioServer {
        let name = match &cluster.tls {
            TlsPolicy::Verified(config) => Some(config.domain().to_owned()),
            TlsPolicy::Disabled | TlsPolicy::Anonymous => None,
        };
        FluvioServer {
            address: cluster.endpoint.clone(),
            policy: cluster.tls.clone(),
            name,
        }
    }

    /// An SPU of the cluster of this SC: where it is, and what the SC calls it.
    pub fn spu(&self, address: String, name: &str) -> FluvioServer {
        FluvioServer {
            address,
            policy: self.policy.clone(),
            name: self.name.as_ref().map(|domain| format!("{name}.{domain}")),
        }
    }

    /// What TLS needs, and the name that the server is told; None without TLS. The files are read
    /// anew each time.
    pub fn tls(&self) -> Result<Option<(Arc<ClientConfig>, ServerName<'static>)>> {
        let (demand, identity) = match (&self.policy, &self.name) {
            (TlsPolicy::Disabled, _) => return Ok(None),
            (TlsPolicy::Verified(config), Some(name)) => {
                let (demand, identity) = self.verified(config, name)?;
                (demand, Some(identity))
            }
            (TlsPolicy::Verified(_) | TlsPolicy::Anonymous, _) => (Demand::Nothing, None),
        };
        let config = tls::client_config(demand, identity, rustls::ALL_VERSIONS)
            .at(|| "TLS of the Fluvio profile".into())?;
        let host = self.address.rsplit_once(':').map(|(host, _)| host);
        let name = self.name.as_deref().or(host).unwrap_or_default();
        let name = ServerName::try_from(name.to_owned()).map_err(|e| {
            Error::config(format!("\"{name}\" is no name for a server"))
                .with_source(e)
                .with_hint("see \"domain\" in the Fluvio profile")
        })?;
        Ok(Some((Arc::new(config), name)))
    }

    fn verified(&self, config: &TlsConfig, name: &str) -> Result<(Demand, ClientIdentity)> {
        let certs = match config {
            TlsConfig::Inline(certs) => certs.clone(),
            TlsConfig::Files(paths) => read(paths)?,
        };
        let place = |what: &'static str| move || format!("{what} of the Fluvio profile");
        let roots = tls::roots(certs.ca_cert.as_bytes()).at(place("ca_cert"))?;
        let identity = ClientIdentity::from_pem(certs.cert.as_bytes(), certs.key.as_bytes())
            .at(place("cert and key"))?;
        Ok((Demand::RootAndHost(roots, name.to_owned()), identity))
    }
}

fn read(paths: &TlsPaths) -> Result<TlsCerts> {
    let read = |path: &Path| {
        input::read_text(path, input::PEM_BYTES).map_err(|e| {
            let what = format!(
                "cannot read {}, which the Fluvio profile names",
                path.display()
            );
            Error::config(what).with_source(e)
        })
    };
    Ok(TlsCerts {
        domain: paths.domain.clone(),
        key: read(&paths.key)?,
        cert: read(&paths.cert)?,
        ca_cert: read(&paths.ca_cert)?,
    })
}
