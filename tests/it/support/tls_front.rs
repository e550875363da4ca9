//! A server's TLS taken off in front of it: what makes a plain server one with TLS, or somebody in
//! the middle.
#![allow(dead_code)]

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use postgres_source::base::Demand;
use postgres_source::base::client_config;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::certificates::Pair;

/// Int32 length · Int32 code.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// What is spoken with the server behind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// The same without TLS, whatever it is.
    Plain,
    /// PostgreSQL's protocol, on both sides: TLS is asked for in front, and not used behind.
    PostgresPlain,
    /// The same, and behind it is used, too.
    PostgresTls,
}

/// It ends with all of its connections on drop.
pub struct TlsFront {
    port: u16,
    runtime: Option<Runtime>,
}

impl TlsFront {
    /// Shows this certificate on a port of its own. With a CA, clients must show one of that.
    pub fn start(target: &str, behind: Behind, pair: &Pair, client_ca: Option<&str>) -> TlsFront {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let acceptor = TlsAcceptor::from(Arc::new(server_config(pair, client_ca)));
        let target = target.to_owned();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, target) = (acceptor.clone(), target.clone());
                // A connection that fails is closed; its client knows.
                tokio::spawn(async move { relay(client, &target, behind, acceptor).await });
            }
        });
        TlsFront {
            port,
            runtime: Some(runtime),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn relay(
    mut client: TcpStream,
    target: &str,
    behind: Behind,
    acceptor: TlsAcceptor,
) -> io::Result<()> {
    if behind != Behind::Plain {
        let mut request = [0; 8];
        client.read_exact(&mut request).await?;
        if request != SSL_REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        client.write_all(b"S").await?;
    }
    let client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect(target).await?;
    if behind != Behind::PostgresTls {
        return copy(client, server).await;
    }
    server.write_all(&SSL_REQUEST).await?;
    let mut answer = [0];
    server.read_exact(&mut answer).await?;
    let config = client_config(Demand::Nothing, None, rustls::ALL_VERSIONS).expect("a config");
    let name = ServerName::try_from("behind").expect("a name");
    let server = TlsConnector::from(Arc::new(config))
        .connect(name, server)
        .await?;
    copy(client, server).await
}

async fn copy(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    mut server: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    copy_bidirectional(&mut client, &mut server)
        .await
        .map(|_| ())
}

fn server_config(pair: &Pair, client_ca: Option<&str>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring has them");
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            let ca = CertificateDer::from_pem_slice(ca.as_bytes()).expect("a certificate");
            roots.add(ca).expect("a CA");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let cert = CertificateDer::from_pem_slice(pair.cert.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
    builder
        .with_single_cert(vec![cert], key)
        .expect("they belong together")
}
