//! What the database URL asks of TLS and of the server's authentication, with libpq's names
//! ([parameters](https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS)).

use std::path::PathBuf;

/// Everything that a connection needs to know of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssl {
    /// `sslmode`, which does not apply to unix sockets.
    pub mode: SslMode,
    /// `sslrootcert`; `~/.postgresql/root.crt` when that exists.
    pub root_cert: Option<RootCert>,
    /// `sslcert`; `~/.postgresql/postgresql.crt` when that exists.
    pub cert: Option<PathBuf>,
    /// `sslkey`; `~/.postgresql/postgresql.key` when there is a certificate.
    pub key: Option<PathBuf>,
    /// `sslnegotiation`.
    pub negotiation: Negotiation,
    /// `sslsni`: whether the server is told the name that it is called by.
    pub sni: bool,
    /// `ssl_min_protocol_version`. What is older than 1.2 is not spoken in any case.
    pub min_version: TlsVersion,
    /// `ssl_max_protocol_version`.
    pub max_version: Option<TlsVersion>,
    /// `channel_binding`.
    pub channel_binding: ChannelBinding,
    /// `require_auth`.
    pub require_auth: RequireAuth,
}

impl Default for Ssl {
    fn default() -> Self {
        Ssl {
            mode: SslMode::Prefer,
            root_cert: None,
            cert: None,
            key: None,
            negotiation: Negotiation::Postgres,
            sni: true,
            min_version: TlsVersion::V1_2,
            max_version: None,
            channel_binding: ChannelBinding::Prefer,
            require_auth: RequireAuth::default(),
        }
    }
}

/// `sslmode`, the stronger the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS if the server takes nothing else.
    Allow,
    /// TLS if the server has it.
    Prefer,
    /// TLS; with a root certificate as [`SslMode::VerifyCa`].
    Require,
    /// TLS, and a certificate that leads to a root.
    VerifyCa,
    /// TLS, and a certificate that leads to a root and is for this host.
    VerifyFull,
}

/// `sslrootcert`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootCert {
    /// The certificates of a PEM file. With an explicit path, it may not exist.
    File(PathBuf),
    /// The certificates that the system trusts. The mode is then [`SslMode::VerifyFull`].
    System,
}

/// `sslnegotiation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Negotiation {
    /// The server is asked whether it has TLS.
    Postgres,
    /// TLS begins at once. The mode is then [`SslMode::Require`] or stronger.
    Direct,
}

/// `channel_binding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelBinding {
    /// The authentication is never bound to TLS.
    Disable,
    /// The authentication is bound to TLS when the server offers it.
    Prefer,
    /// The authentication must be bound to TLS.
    Require,
}

/// A version of TLS that this program speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// A way for a server to authenticate us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// AuthenticationOk without having asked for anything.
    None,
    /// A password in clear text.
    Password,
    /// MD5.
    Md5,
    /// GSSAPI.
    Gss,
    /// SSPI.
    Sspi,
    /// SCRAM, with channel binding or without.
    ScramSha256,
    /// OAuth.
    OAuth,
}

/// `require_auth`: the methods that a server may use; any unless some are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequireAuth(Option<Vec<AuthMethod>>);

impl RequireAuth {
    /// A rule that allows these methods and no others.
    pub fn only(allowed: Vec<AuthMethod>) -> Self {
        RequireAuth(Some(allowed))
    }

    /// Whether a server may authenticate us this way.
    pub fn allows(&self, method: AuthMethod) -> bool {
        match &self.0 {
            Some(allowed) => allowed.contains(&method),
            None => true,
        }
    }

    /// Whether there is a rule at all.
    pub fn is_any(&self) -> bool {
        self.0.is_none()
    }
}
