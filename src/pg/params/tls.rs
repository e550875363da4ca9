//! The parameters of TLS and of authentication, read into [`Ssl`] with libpq's rules.

use std::path::{Path, PathBuf};

use super::settings::Settings;
use super::ssl::{
    AuthMethod, ChannelBinding, Negotiation, RequireAuth, RootCert, Ssl, SslMode, TlsVersion,
};
use crate::base::error::{Error, Result};

const MODES: [(&str, SslMode); 6] = [
    ("disable", SslMode::Disable),
    ("allow", SslMode::Allow),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    ("verify-ca", SslMode::VerifyCa),
    ("verify-full", SslMode::VerifyFull),
];

const METHODS: [(&str, AuthMethod); 7] = [
    ("none", AuthMethod::None),
    ("password", AuthMethod::Password),
    ("md5", AuthMethod::Md5),
    ("gss", AuthMethod::Gss),
    ("sspi", AuthMethod::Sspi),
    ("scram-sha-256", AuthMethod::ScramSha256),
    ("oauth", AuthMethod::OAuth),
];

/// Reads the parameters; `home` is where the files are that have a place of their own.
pub fn read(settings: &Settings, home: Option<&Path>) -> Result<Ssl> {
    refuse_what_is_not_there(settings)?;
    let own = |name: &str| home.map(|home| home.join(".postgresql").join(name));
    let root_cert = match settings.text("sslrootcert") {
        Some("system") => Some(RootCert::System),
        Some(path) => Some(RootCert::File(path.into())),
        None => own("root.crt")
            .filter(|path| path.exists())
            .map(RootCert::File),
    };
    let negotiation = settings.choice(
        "sslnegotiation",
        &[
            ("postgres", Negotiation::Postgres),
            ("direct", Negotiation::Direct),
        ],
    )?;
    let (cert, key) = certificate(settings, own)?;
    let channel_binding = settings.choice(
        "channel_binding",
        &[
            ("disable", ChannelBinding::Disable),
            ("prefer", ChannelBinding::Prefer),
            ("require", ChannelBinding::Require),
        ],
    )?;
    let sni = settings.choice("sslsni", &[("0", false), ("1", true)])?;
    let (min_version, max_version) = versions(settings)?;
    let ssl = Ssl {
        mode: mode(settings, &root_cert)?,
        root_cert,
        cert,
        key,
        negotiation: negotiation.unwrap_or(Negotiation::Postgres),
        sni: sni.unwrap_or(true),
        min_version,
        max_version,
        channel_binding: channel_binding.unwrap_or(ChannelBinding::Prefer),
        require_auth: require_auth(settings)?,
    };
    if ssl.negotiation == Negotiation::Direct && ssl.mode < SslMode::Require {
        return Err(too_weak(
            "sslnegotiation=direct",
            "require, verify-ca or verify-full",
        ));
    }
    let revoked = own("root.crl").filter(|path| path.exists() && ssl.mode >= SslMode::Require);
    match revoked {
        Some(path) => Err(Error::config(format!(
            "{}: lists of revoked certificates are not supported",
            path.display()
        ))
        .with_hint("libpq would use this file: move it away, or set HOME to another directory")),
        None => Ok(ssl),
    }
}

fn mode(settings: &Settings, root_cert: &Option<RootCert>) -> Result<SslMode> {
    let mode = settings.choice("sslmode", &MODES)?;
    match (root_cert, mode) {
        (Some(RootCert::System), Some(mode)) if mode < SslMode::VerifyFull => {
            Err(too_weak("sslrootcert=system", "verify-full"))
        }
        (Some(RootCert::System), _) => Ok(SslMode::VerifyFull),
        (_, mode) => Ok(mode.unwrap_or(SslMode::Prefer)),
    }
}

fn too_weak(parameter: &str, modes: &str) -> Error {
    Error::config(format!(
        "the sslmode is too weak for {parameter}: use {modes}"
    ))
}

/// Our certificate and its key.
fn certificate(
    settings: &Settings,
    own: impl Fn(&str) -> Option<PathBuf>,
) -> Result<(Option<PathBuf>, Option<PathBuf>)> {
    let is_sent = settings.choice("sslcertmode", &[("disable", false), ("allow", true)])?;
    if is_sent == Some(false) {
        return Ok((None, None));
    }
    let named = |name: &str| settings.text(name).map(PathBuf::from);
    let cert = named("sslcert").or_else(|| own("postgresql.crt").filter(|path| path.exists()));
    let key = cert
        .as_ref()
        .and_then(|_| named("sslkey").or_else(|| own("postgresql.key")));
    Ok((cert, key))
}

fn versions(settings: &Settings) -> Result<(TlsVersion, Option<TlsVersion>)> {
    let version = |name: &str| -> Result<Option<Option<TlsVersion>>> {
        let expected = "TLSv1.2 or TLSv1.3";
        let found = settings
            .text(name)
            .map(|text| match &*text.to_ascii_lowercase() {
                "tlsv1" | "tlsv1.1" => Ok(None),
                "tlsv1.2" => Ok(Some(TlsVersion::V1_2)),
                "tlsv1.3" => Ok(Some(TlsVersion::V1_3)),
                _ => Err(settings.invalid(name, expected)),
            });
        found.transpose()
    };
    let min = version("ssl_min_protocol_version")?.flatten();
    let min = min.unwrap_or(TlsVersion::V1_2);
    let max = match version("ssl_max_protocol_version")? {
        Some(None) => {
            return Err(settings.invalid("ssl_max_protocol_version", "TLSv1.2 or TLSv1.3"));
        }
        max => max.flatten(),
    };
    match max {
        Some(max) if max < min => {
            let expected = "no less than ssl_min_protocol_version";
            Err(settings.invalid("ssl_max_protocol_version", expected))
        }
        max => Ok((min, max)),
    }
}

/// Parses `a,b`, these methods, or `!a,!b`, all but these.
fn require_auth(settings: &Settings) -> Result<RequireAuth> {
    let listed = settings.list("require_auth");
    if listed.is_empty() {
        return Ok(RequireAuth::default());
    }
    let names: Vec<_> = METHODS.iter().map(|(name, _)| *name).collect();
    let invalid = |expected: &str| settings.invalid("require_auth", expected);
    let refused = listed.iter().filter(|name| name.starts_with('!')).count();
    if refused != 0 && refused != listed.len() {
        return Err(invalid("\"!\" before each method or before none"));
    }
    let mut methods: Vec<AuthMethod> = Vec::new();
    for name in &listed {
        let name = name.trim_start_matches('!');
        let found = METHODS.iter().find(|(known, _)| *known == name);
        let (_, method) =
            found.ok_or_else(|| invalid(&format!("a list of {}", names.join(", "))))?;
        if methods.contains(method) {
            return Err(invalid("each method once"));
        }
        methods.push(*method);
    }
    if refused > 0 {
        let all = METHODS.iter().map(|(_, method)| *method);
        methods = all.filter(|method| !methods.contains(method)).collect();
    }
    Ok(RequireAuth::only(methods))
}

/// Refuses parameters of what is not there, where they would change something.
fn refuse_what_is_not_there(settings: &Settings) -> Result<()> {
    settings.choice("gssencmode", &[("disable", ()), ("prefer", ())])?;
    settings.choice("sslcompression", &[("0", ())])?;
    settings.choice(
        "client_encoding",
        &[("auto", ()), ("UTF8", ()), ("utf8", ())],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::params::environment::Environment;

    fn parse(url: &str) -> Result<Ssl> {
        read(&Settings::resolve(url, &Environment::default())?, None)
    }

    #[test]
    fn every_mode_and_its_default() {
        assert_eq!(parse("").unwrap(), Ssl::default());
        for (name, mode) in MODES {
            assert_eq!(parse(&format!("sslmode={name}")).unwrap().mode, mode);
        }
        assert!(SslMode::Prefer < SslMode::Require && SslMode::VerifyCa < SslMode::VerifyFull);
    }

    #[test]
    fn what_goes_together_and_what_does_not() {
        let system = parse("sslrootcert=system").unwrap();
        assert_eq!(
            (system.mode, system.root_cert),
            (SslMode::VerifyFull, Some(RootCert::System))
        );
        parse("sslrootcert=system sslmode=verify-full").unwrap();
        let direct = parse("sslnegotiation=direct sslmode=require").unwrap();
        assert_eq!(direct.negotiation, Negotiation::Direct);
        for (url, says) in [
            (
                "sslrootcert=system sslmode=verify-ca",
                "sslrootcert=system: use verify-full",
            ),
            (
                "sslnegotiation=direct",
                "sslnegotiation=direct: use require",
            ),
            ("sslnegotiation=direct sslmode=prefer", "too weak"),
            ("sslmode=on", "sslmode: expected disable, allow"),
            ("sslmode=", "sslmode: expected"),
            (
                "sslcertmode=require",
                "sslcertmode: expected disable, allow",
            ),
            ("gssencmode=require", "gssencmode: expected disable, prefer"),
            ("sslcompression=1", "sslcompression: expected 0"),
            ("client_encoding=LATIN1", "client_encoding: expected auto"),
            (
                "ssl_min_protocol_version=SSLv3",
                "expected TLSv1.2 or TLSv1.3",
            ),
            (
                "ssl_max_protocol_version=TLSv1.1",
                "expected TLSv1.2 or TLSv1.3",
            ),
            (
                "ssl_max_protocol_version=TLSv1.2 ssl_min_protocol_version=TLSv1.3",
                "no less than ssl_min_protocol_version",
            ),
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(error.contains(says), "{url}: {error}");
        }
        parse("gssencmode=disable sslcompression=0 client_encoding=UTF8").unwrap();
        let versions = parse("ssl_min_protocol_version=tlsv1 ssl_max_protocol_version=TLSv1.3");
        let versions = versions.unwrap();
        assert_eq!(versions.min_version, TlsVersion::V1_2);
        assert_eq!(versions.max_version, Some(TlsVersion::V1_3));
    }

    #[test]
    fn files_that_have_a_place_of_their_own() {
        let home = tempfile::tempdir().unwrap();
        let own = home.path().join(".postgresql");
        std::fs::create_dir(&own).unwrap();
        let read = |url: &str| {
            let settings = Settings::resolve(url, &Environment::default()).unwrap();
            read(&settings, Some(home.path()))
        };
        let empty = read("").unwrap();
        assert_eq!((empty.root_cert, empty.cert, empty.key), (None, None, None));
        for name in ["root.crt", "postgresql.crt", "root.crl"] {
            std::fs::write(own.join(name), "").unwrap();
        }
        let full = read("").unwrap();
        assert_eq!(full.root_cert, Some(RootCert::File(own.join("root.crt"))));
        assert_eq!(full.cert, Some(own.join("postgresql.crt")));
        assert_eq!(full.key, Some(own.join("postgresql.key")));
        let named = read("sslrootcert=/r sslcert=/c sslkey=/k").unwrap();
        assert_eq!(named.root_cert, Some(RootCert::File("/r".into())));
        assert_eq!(
            (named.cert, named.key),
            (Some("/c".into()), Some("/k".into()))
        );
        assert_eq!(read("sslcertmode=disable sslcert=/c").unwrap().cert, None);
        let error = read("sslmode=verify-full").unwrap_err().to_string();
        assert!(
            error.contains("root.crl: lists of revoked certificates"),
            "{error}"
        );
    }

    #[test]
    fn methods_of_authentication() {
        use AuthMethod::*;
        let allows = |url: &str, method| parse(url).unwrap().require_auth.allows(method);
        assert!(allows("", None) && allows("", Password));
        let url = "require_auth=scram-sha-256,md5";
        assert!(allows(url, ScramSha256) && allows(url, Md5));
        assert!(!allows(url, None) && !allows(url, Password) && !allows(url, Gss));
        let url = "require_auth=!password,!none";
        assert!(!allows(url, Password) && !allows(url, None) && allows(url, Md5));
        for (url, says) in [
            ("require_auth=!md5,password", "\"!\" before each"),
            ("require_auth=md5,md5", "each method once"),
            ("require_auth=hunter2", "a list of none, password"),
            ("require_auth=md5,", "a list of"),
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(
                error.contains(says) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
