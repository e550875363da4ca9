//! The parameters that libpq has
//! ([key words](https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS)),
//! and what this program does with each.

/// The support of this program for a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// The parameter does what it does in libpq.
    Full,
    /// The parameter is refused for this reason, because to ignore it could be unsafe.
    Refused(&'static str),
}

/// A parameter of a connection string.
#[derive(Debug)]
pub struct Keyword {
    /// The name of the parameter.
    pub name: &'static str,
    /// The variable that holds its default.
    pub variable: Option<&'static str>,
    /// The support for the parameter.
    pub support: Support,
}

const fn taken(name: &'static str, variable: &'static str) -> Keyword {
    Keyword {
        name,
        variable: Some(variable),
        support: Support::Full,
    }
}

const fn without_variable(name: &'static str) -> Keyword {
    Keyword {
        name,
        variable: None,
        support: Support::Full,
    }
}

const fn refused(
    name: &'static str,
    variable: Option<&'static str>,
    reason: &'static str,
) -> Keyword {
    Keyword {
        name,
        variable,
        support: Support::Refused(reason),
    }
}

const NO_REVOCATION: &str = "lists of revoked certificates are not supported";
const NO_GSSAPI: &str = "GSSAPI is not supported";
const NO_OAUTH: &str = "OAuth is not supported; password_command can supply a token as a password";
const OWN: &str = "this program sets it itself";

/// All parameters, those of version 18 included.
pub const KEYWORDS: &[Keyword] = &[
    taken("service", "PGSERVICE"),
    taken("servicefile", "PGSERVICEFILE"),
    taken("user", "PGUSER"),
    taken("password", "PGPASSWORD"),
    taken("passfile", "PGPASSFILE"),
    taken("dbname", "PGDATABASE"),
    taken("host", "PGHOST"),
    taken("hostaddr", "PGHOSTADDR"),
    taken("port", "PGPORT"),
    taken("options", "PGOPTIONS"),
    taken("application_name", "PGAPPNAME"),
    without_variable("fallback_application_name"),
    taken("connect_timeout", "PGCONNECT_TIMEOUT"),
    without_variable("keepalives"),
    without_variable("keepalives_idle"),
    without_variable("keepalives_interval"),
    without_variable("keepalives_count"),
    without_variable("tcp_user_timeout"),
    taken("target_session_attrs", "PGTARGETSESSIONATTRS"),
    taken("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    taken("sslmode", "PGSSLMODE"),
    taken("sslrootcert", "PGSSLROOTCERT"),
    taken("sslcert", "PGSSLCERT"),
    taken("sslkey", "PGSSLKEY"),
    taken("sslnegotiation", "PGSSLNEGOTIATION"),
    taken("sslsni", "PGSSLSNI"),
    taken("sslcertmode", "PGSSLCERTMODE"),
    taken("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    taken("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    taken("channel_binding", "PGCHANNELBINDING"),
    taken("require_auth", "PGREQUIREAUTH"),
    taken("gssencmode", "PGGSSENCMODE"),
    without_variable("sslcompression"),
    without_variable("client_encoding"),
    refused("sslcrl", Some("PGSSLCRL"), NO_REVOCATION),
    refused("sslcrldir", Some("PGSSLCRLDIR"), NO_REVOCATION),
    refused(
        "sslpassword",
        None,
        "encrypted private keys are not supported: decrypt the file",
    ),
    refused("sslkeylogfile", None, "session keys are never written down"),
    refused(
        "requirepeer",
        Some("PGREQUIREPEER"),
        "the owner of a unix socket's server cannot be checked",
    ),
    refused("krbsrvname", None, NO_GSSAPI),
    refused("gsslib", None, NO_GSSAPI),
    refused("gssdelegation", None, NO_GSSAPI),
    refused("replication", None, OWN),
    refused("min_protocol_version", None, OWN),
    refused("max_protocol_version", None, OWN),
    refused("scram_client_key", None, "it takes a password instead"),
    refused("scram_server_key", None, "it takes a password instead"),
    refused("oauth_issuer", None, NO_OAUTH),
    refused("oauth_client_id", None, NO_OAUTH),
    refused("oauth_client_secret", None, NO_OAUTH),
    refused("oauth_scope", None, NO_OAUTH),
];

/// The keyword of this name.
pub fn keyword(name: &str) -> Option<&'static Keyword> {
    KEYWORDS.iter().find(|keyword| keyword.name == name)
}
