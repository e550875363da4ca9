//! What rustls does not tell of a certificate: the names in it, and the hash of its signature.
//!
//! Only for certificates that rustls has parsed or will refuse; whatever is odd has no names and no
//! hash here ([X.509](https://www.rfc-editor.org/rfc/rfc5280#section-4.1)).

use std::net::IpAddr;

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0] EXPLICIT` in a structure: the version of a certificate, the hash of RSASSA-PSS.
const CONTEXT_0: u8 = 0xa0;
/// `[3] EXPLICIT`: the extensions of a certificate.
const CONTEXT_3: u8 = 0xa3;
/// dNSName and iPAddress of a GeneralName.
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Certificate ::= SEQUENCE { TBSCertificate, AlgorithmIdentifier, BIT STRING }
#[derive(Debug, Clone, Copy)]
pub struct Certificate<'a> {
    whole: &'a [u8],
    subject: &'a [u8],
    extensions: &'a [u8],
    signature_algorithm: Der<'a>,
}

impl<'a> Certificate<'a> {
    /// Finds the parts of a certificate in DER.
    pub fn parse(der: &'a [u8]) -> Option<Certificate<'a>> {
        let mut certificate = Der(Der(der).read(SEQUENCE)?);
        let mut tbs = Der(certificate.read(SEQUENCE)?);
        let signature_algorithm = Der(certificate.read(SEQUENCE)?);
        // Of version 1 if there is no version.
        let _ = tbs.read(CONTEXT_0);
        tbs.read(INTEGER)?; // serial number
        tbs.read(SEQUENCE)?; // signature algorithm once more
        tbs.read(SEQUENCE)?; // issuer
        tbs.read(SEQUENCE)?; // validity
        let subject = tbs.read(SEQUENCE)?;
        tbs.read(SEQUENCE)?; // public key
        let mut extensions: &[u8] = &[];
        for (tag, value) in tbs {
            if tag == CONTEXT_3 {
                extensions = Der(value).read(SEQUENCE)?;
            }
        }
        Some(Certificate {
            whole: der,
            subject,
            extensions,
            signature_algorithm,
        })
    }

    /// Whether this is a certificate for `host`, as libpq sees it: by a subject alternative name; by
    /// the common name only when none is of the host's kind.
    pub fn is_for(&self, host: &str) -> bool {
        let address = host.parse::<IpAddr>().ok();
        let address = address.map(|address| match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        });
        let kind = match address {
            Some(_) => IP_ADDRESS,
            None => DNS_NAME,
        };
        let names = self.alternative_names();
        let is_named = names.iter().any(|(tag, name)| match *tag {
            DNS_NAME => name_matches(name, host),
            _ => Some(*name) == address.as_deref(),
        });
        let has_kind = names.iter().any(|(tag, _)| *tag == kind);
        let common_name = self.common_name().filter(|_| !has_kind);
        is_named || common_name.is_some_and(|name| name_matches(name, host))
    }

    /// The names in it, for people.
    pub fn names(&self) -> Vec<String> {
        let names = self.alternative_names();
        let mut shown: Vec<String> = names.into_iter().map(show).collect();
        if shown.is_empty() {
            shown.extend(self.common_name().map(|name| show((DNS_NAME, name))));
        }
        shown
    }

    /// Hashes the certificate by the function of its signature, but never a weak one
    /// ([tls-server-end-point](https://www.rfc-editor.org/rfc/rfc5929#section-4.1)). None when its
    /// signature has no such function: Ed25519.
    pub fn end_point(&self) -> Option<Vec<u8>> {
        let whole = self.whole;
        Some(match signature_hash(self.signature_algorithm)? {
            Hash::Sha224 => Sha224::digest(whole).to_vec(),
            Hash::Sha256 => Sha256::digest(whole).to_vec(),
            Hash::Sha384 => Sha384::digest(whole).to_vec(),
            Hash::Sha512 => Sha512::digest(whole).to_vec(),
        })
    }

    /// The names of hosts and their addresses: tag and value.
    fn alternative_names(&self) -> Vec<(u8, &'a [u8])> {
        let mut extensions = Der(self.extensions);
        while let Some(extension) = extensions.read(SEQUENCE) {
            let mut extension = Der(extension);
            if extension.read(OID) != Some(SUBJECT_ALT_NAME) {
                continue;
            }
            let _ = extension.read(BOOLEAN); // whether it is critical
            let value = extension.read(OCTET_STRING).unwrap_or_default();
            let names = Der(Der(value).read(SEQUENCE).unwrap_or_default());
            return names
                .filter(|(tag, _)| matches!(*tag, DNS_NAME | IP_ADDRESS))
                .collect();
        }
        Vec::new()
    }

    /// The first common name of the subject.
    fn common_name(&self) -> Option<&'a [u8]> {
        let mut names = Der(self.subject);
        while let Some(set) = names.read(SET) {
            let mut set = Der(set);
            while let Some(attribute) = set.read(SEQUENCE) {
                let mut attribute = Der(attribute);
                if attribute.read(OID) == Some(COMMON_NAME) {
                    return attribute.next().map(|(_, value)| value);
                }
            }
        }
        None
    }
}

/// Whether `pattern` is the host, or has a wildcard in the place of the host's first label. A name with a
/// zero byte in it matches nothing: hosts have none.
fn name_matches(pattern: &[u8], host: &str) -> bool {
    let host = host.as_bytes();
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(rest) = pattern.strip_prefix(b"*").filter(|rest| rest.len() > 1) else {
        return false;
    };
    let Some(label) = host.len().checked_sub(rest.len()).filter(|len| *len > 0) else {
        return false;
    };
    rest[0] == b'.' && host[label..].eq_ignore_ascii_case(rest) && !host[..label].contains(&b'.')
}

fn show((tag, name): (u8, &[u8])) -> String {
    if tag == IP_ADDRESS {
        if let Ok(v4) = <[u8; 4]>::try_from(name) {
            return IpAddr::from(v4).to_string();
        }
        if let Ok(v6) = <[u8; 16]>::try_from(name) {
            return IpAddr::from(v6).to_string();
        }
    }
    String::from_utf8_lossy(name).into_owned()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// AlgorithmIdentifier ::= SEQUENCE { OBJECT IDENTIFIER, parameters }
fn signature_hash(mut algorithm: Der<'_>) -> Option<Hash> {
    /// 1.2.840.113549.1.1
    const PKCS_1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    /// 1.2.840.10045.4
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
    let oid = algorithm.read(OID)?;
    if let Some(ecdsa) = oid.strip_prefix(ECDSA) {
        return match ecdsa {
            [1] | [3, 2] => Some(Hash::Sha256),
            [3, 1] => Some(Hash::Sha224),
            [3, 3] => Some(Hash::Sha384),
            [3, 4] => Some(Hash::Sha512),
            _ => None,
        };
    }
    match oid.strip_prefix(PKCS_1)? {
        // MD5 and SHA-1 are replaced.
        [4 | 5 | 11] => Some(Hash::Sha256),
        [12] => Some(Hash::Sha384),
        [13] => Some(Hash::Sha512),
        [14] => Some(Hash::Sha224),
        [10] => pss_hash(Der(algorithm.read(SEQUENCE).unwrap_or_default())),
        _ => None,
    }
}

/// RSASSA-PSS-params ::= SEQUENCE { [0] hash AlgorithmIdentifier DEFAULT SHA-1, ... }
fn pss_hash(mut parameters: Der<'_>) -> Option<Hash> {
    /// 2.16.840.1.101.3.4.2
    const SHA_2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
    let Some(hash) = parameters.read(CONTEXT_0) else {
        return Some(Hash::Sha256);
    };
    let oid = Der(Der(hash).read(SEQUENCE)?).read(OID)?;
    match oid.strip_prefix(SHA_2) {
        Some([2]) => Some(Hash::Sha384),
        Some([3]) => Some(Hash::Sha512),
        Some([4]) => Some(Hash::Sha224),
        Some([1]) => Some(Hash::Sha256),
        // 1.3.14.3.2.26, SHA-1
        _ if oid == [0x2b, 0x0e, 0x03, 0x02, 0x1a] => Some(Hash::Sha256),
        _ => None,
    }
}

/// A row of values: Byte1 tag · length in 1 to 5 bytes · value.
#[derive(Debug, Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value if it has this tag; else it stays.
    fn read(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut rest = *self;
        let (found, value) = rest.next()?;
        (found == tag).then(|| {
            *self = rest;
            value
        })
    }
}

impl<'a> Iterator for Der<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // The bytes of the length follow, as many as this says; more than four are of no certificate.
            0x81..=0x84 => {
                let (len, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let len = len
                    .iter()
                    .fold(0, |len, byte| len << 8 | usize::from(*byte));
                (len, rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_libpq() {
        let cases = [
            ("db.example.com", "DB.Example.Com", true),
            ("db.example.com", "db.example.co", false),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "a.db.example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "example.com", false),
            ("d*.example.com", "db.example.com", false),
            ("*", "db", false),
            ("*.", "db.", false),
            ("*db", "xdb", false),
            ("db.example.com\0.evil.com", "db.example.com", false),
        ];
        for (pattern, host, matches) in cases {
            assert_eq!(
                name_matches(pattern.as_bytes(), host),
                matches,
                "{pattern} {host}"
            );
        }
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        let pkcs_1 = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];
        let rsa = |last: u8| [&pkcs_1[..], &[last, 5, 0]].concat();
        let ecdsa = [0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
        let sha_512 = [
            0x30, 15, 0xa0, 13, 0x30, 11, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3,
        ];
        let pss = |parameters: &[u8]| [&pkcs_1[..], &[10], parameters].concat();
        let cases = [
            (rsa(4), Some(Hash::Sha256)),
            (rsa(5), Some(Hash::Sha256)),
            (rsa(11), Some(Hash::Sha256)),
            (rsa(12), Some(Hash::Sha384)),
            (rsa(13), Some(Hash::Sha512)),
            (rsa(14), Some(Hash::Sha224)),
            (ecdsa.to_vec(), Some(Hash::Sha384)),
            (pss(&sha_512), Some(Hash::Sha512)),
            (pss(&[0x30, 0]), Some(Hash::Sha256)),
            // Ed25519
            (vec![6, 3, 0x2b, 0x65, 0x70], None),
            (vec![6, 30, 1], None),
        ];
        for (algorithm, hash) in cases {
            assert_eq!(signature_hash(Der(&algorithm)), hash, "{algorithm:x?}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        let cases: [&[u8]; 5] = [
            b"",
            &[0x30],
            &[0x30, 0x85, 1, 1, 1, 1, 1],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 2, 0x30, 0],
        ];
        for der in cases {
            assert!(Certificate::parse(der).is_none(), "{der:x?}");
        }
    }
}
