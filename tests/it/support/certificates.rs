//! Certificates made for one test process, and the files that hold them.
#![allow(dead_code)]

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SignatureAlgorithm, date_time_ymd,
};

use super::connector::temp_dir;
use super::postgres::{Postgres, write_private};
use std::path::PathBuf;
use tempfile::TempDir;

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

/// A certificate of a CA, which signs others.
pub struct Authority {
    pub cert: String,
    issuer: Issuer<'static, KeyPair>,
}

/// When a certificate is valid.
#[derive(Clone, Copy)]
pub enum Validity {
    Now,
    Past,
    Future,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = params(&[], name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("a certificate of a CA");
        Authority {
            cert: cert.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for these hosts, names and addresses.
    pub fn server(&self, hosts: &[&str]) -> Pair {
        self.sign(params(hosts, "a server"), &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// The same with this common name.
    pub fn server_named(&self, hosts: &[&str], name: &str) -> Pair {
        self.sign(params(hosts, name), &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub fn server_valid(&self, hosts: &[&str], validity: Validity) -> Pair {
        let mut params = params(hosts, "a server");
        match validity {
            Validity::Now => {}
            Validity::Past => params.not_after = date_time_ymd(2001, 2, 3),
            Validity::Future => params.not_before = date_time_ymd(2199, 2, 3),
        }
        self.sign(params, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// One that could itself sign others.
    pub fn server_ca(&self, hosts: &[&str]) -> Pair {
        let mut params = params(hosts, "a server");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self.sign(params, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// A certificate that proves that one is this user.
    pub fn client(&self, user: &str) -> Pair {
        let mut params = params(&[], user);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// A PostgreSQL that shows this certificate, and asks whoever comes for one of this CA's;
    /// `method` decides who is let in.
    pub fn postgres(&self, server: &Pair, method: &str) -> Postgres {
        Postgres::start_with(
            &[("ssl", "on"), ("ssl_ca_file", "ca.crt")],
            &format!("hostssl all all 127.0.0.1/32 {method}\n"),
            &[
                ("server.crt", &server.cert),
                ("server.key", &server.key),
                ("ca.crt", &self.cert),
            ],
        )
    }

    fn sign(&self, params: CertificateParams, algorithm: &'static SignatureAlgorithm) -> Pair {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A certificate that signs itself: as that of a CA, as `openssl req -x509` makes it, or not.
pub fn self_signed(hosts: &[&str], is_ca: IsCa) -> Pair {
    self_signed_with(hosts, is_ca, &rcgen::PKCS_ECDSA_P256_SHA256)
}

pub fn self_signed_with(
    hosts: &[&str],
    is_ca: IsCa,
    algorithm: &'static SignatureAlgorithm,
) -> Pair {
    let mut params = params(hosts, "a server");
    params.is_ca = is_ca;
    let key = KeyPair::generate_for(algorithm).expect("a key");
    let cert = params.self_signed(&key).expect("a certificate");
    Pair {
        cert: cert.pem(),
        key: key.serialize_pem(),
    }
}

fn params(hosts: &[&str], name: &str) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("names of hosts");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2200, 1, 1);
    params
}

/// Files of a client, which go away on drop.
pub struct Files(TempDir);

impl Files {
    pub fn new() -> Files {
        Files(temp_dir("certificates-"))
    }

    /// Writes a file that only its owner may read.
    pub fn write(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.0.path().join(name);
        write_private(&path, contents);
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}
