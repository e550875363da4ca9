//! Whom to connect to: the database URL, parsed once for both clients.

use std::time::Duration;

use postgres::config::{ChannelBinding, Config, Host, SslMode, SslNegotiation, TargetSessionAttrs};

use super::ssl::Ssl;
use crate::error::{Error, Result};

/// How long one host may take from the first packet to the end of authentication when the URL has
/// no `connect_timeout`; libpq waits for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a local server's socket is when the URL names no host, as libpq on Debian has it.
const SOCKET_DIRECTORY: &str = "/var/run/postgresql";

/// A database to connect to. Its `Debug` shows no password.
#[derive(Debug, Clone)]
pub struct Target {
    config: Config,
    ssl: Ssl,
}

/// One server out of the URL's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name, an address, or the directory of a unix socket.
    pub host: Host,
    /// The port, which is part of a unix socket's name too.
    pub port: u16,
}

impl Target {
    /// Parses a [connection string](https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING).
    /// No error shows a part of it that could be a secret.
    pub fn parse(url: &str, application_name: &str) -> Result<Target> {
        let mut config: Config = url.parse().map_err(|error| invalid(&error))?;
        if config.get_ssl_mode() == SslMode::Require
            || config.get_ssl_negotiation() == SslNegotiation::Direct
            || config.get_channel_binding() == ChannelBinding::Require
        {
            return Err(no_tls());
        }
        config.ssl_mode(SslMode::Disable);
        if config.get_user().is_none_or(str::is_empty) {
            return Err(Error::config("the database URL names no user").with_hint(FORM));
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host_path(SOCKET_DIRECTORY);
        }
        if config.get_application_name().is_none() {
            config.application_name(application_name);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        Ok(Target {
            config,
            ssl: Ssl::default(),
        })
    }

    /// The settings of the URL.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The settings for the SQL client, with one server of the list alone.
    pub fn sql_config(&self, endpoint: &Endpoint) -> Config {
        let (url, mut config) = (&self.config, Config::new());
        match &endpoint.host {
            Host::Tcp(host) => config.host(host),
            Host::Unix(directory) => config.host_path(directory),
        };
        config
            .port(endpoint.port)
            .user(self.user())
            .dbname(self.database())
            .ssl_mode(url.get_ssl_mode())
            .connect_timeout(self.connect_timeout())
            .keepalives(url.get_keepalives())
            .keepalives_idle(url.get_keepalives_idle());
        if let Some(password) = url.get_password() {
            config.password(password);
        }
        if let Some(options) = url.get_options() {
            config.options(options);
        }
        if let Some(name) = url.get_application_name() {
            config.application_name(name);
        }
        if let Some(timeout) = url.get_tcp_user_timeout() {
            config.tcp_user_timeout(*timeout);
        }
        if let Some(interval) = url.get_keepalives_interval() {
            config.keepalives_interval(interval);
        }
        if let Some(retries) = url.get_keepalives_retries() {
            config.keepalives_retries(retries);
        }
        config
    }

    /// The user.
    pub fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    /// The database; the user's name when the URL has none.
    pub fn database(&self) -> &str {
        self.config.get_dbname().unwrap_or(self.user())
    }

    /// What the server needs to be for this program to stay with it.
    pub fn session_attrs(&self) -> TargetSessionAttrs {
        self.config.get_target_session_attrs()
    }

    /// How long one host may take.
    pub fn connect_timeout(&self) -> Duration {
        self.config
            .get_connect_timeout()
            .copied()
            .unwrap_or(CONNECT_TIMEOUT)
    }

    /// What is asked of TLS and of the server's authentication.
    pub fn ssl(&self) -> &Ssl {
        &self.ssl
    }

    /// The servers in the order of the URL. A `hostaddr` stands for the host beside it.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let (hosts, addresses) = (self.config.get_hosts(), self.config.get_hostaddrs());
        let ports = self.config.get_ports();
        (0..hosts.len().max(addresses.len()))
            .filter_map(|i| {
                let address = addresses
                    .get(i)
                    .map(|address| Host::Tcp(address.to_string()));
                let host = address.or_else(|| hosts.get(i).cloned())?;
                // One port serves all hosts; otherwise each has its own.
                let port = ports.get(i).or(ports.first()).copied().unwrap_or(5432);
                Some(Endpoint { host, port })
            })
            .collect()
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.host {
            Host::Tcp(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Host::Tcp(host) => write!(f, "{host}:{}", self.port),
            Host::Unix(directory) => write!(f, "{}", socket_path(directory, self.port).display()),
        }
    }
}

/// The file of a unix socket.
pub fn socket_path(directory: &std::path::Path, port: u16) -> std::path::PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}

const FORM: &str = "the form is postgres://user:password@hostname:port/database_name; \
    percent-encode special characters of the password";

fn no_tls() -> Error {
    Error::config("the database URL asks for TLS, which this version does not have")
        .with_hint("nothing was sent; use sslmode=disable over a trusted network or a tunnel")
}

/// The parser says in a source which option it does not take. That name is repeated only when it
/// can be nothing else: from a broken URL it may hold the password.
fn invalid(error: &postgres::Error) -> Error {
    let detail = std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default();
    let option = detail.split('`').nth(1).unwrap_or_default();
    let is_name = |b: u8| b.is_ascii_lowercase() || b == b'_';
    match option {
        "sslmode" => no_tls(),
        _ if OPTIONS.contains(&option) => Error::config(format!(
            "the database URL has an invalid value for {option}"
        )),
        "" => Error::config("the database URL cannot be read").with_hint(FORM),
        _ if detail.starts_with("unknown option")
            && option.bytes().all(is_name)
            && option.len() < 24 =>
        {
            Error::config(format!(
                "the database URL has an option that is not known: {option}"
            ))
        }
        _ => Error::config("the database URL cannot be read").with_hint(FORM),
    }
}

/// The options whose values the parser checks.
const OPTIONS: [&str; 14] = [
    "sslnegotiation",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
    "host",
    "user",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target> {
        Target::parse(url, "postgres-source/test")
    }

    #[test]
    fn every_host_with_its_port() {
        let target = parse("postgres://u:p@a:1,b:2,[::1]:3/db").unwrap();
        let endpoints: Vec<_> = target.endpoints().iter().map(ToString::to_string).collect();
        assert_eq!(endpoints, ["a:1", "b:2", "[::1]:3"]);
        let target = parse("host=/tmp,c user=u port=6543").unwrap();
        let endpoints: Vec<_> = target.endpoints().iter().map(ToString::to_string).collect();
        assert_eq!(endpoints, ["/tmp/.s.PGSQL.6543", "c:6543"]);
        assert_eq!(target.database(), "u");
    }

    #[test]
    fn the_sql_client_gets_one_server_and_every_setting() {
        let target = parse(
            "postgres://u:p@a:1,b:2/db?options=-cx%3D1&keepalives=0&keepalives_idle=7\
             &keepalives_interval=8&keepalives_retries=9&tcp_user_timeout=10&connect_timeout=11",
        )
        .unwrap();
        let config = target.sql_config(&target.endpoints()[1]);
        let alone = parse(
            "postgres://u:p@b:2/db?options=-cx%3D1&keepalives=0&keepalives_idle=7\
             &keepalives_interval=8&keepalives_retries=9&tcp_user_timeout=10&connect_timeout=11",
        );
        assert_eq!(
            format!("{config:?}"),
            format!("{:?}", alone.unwrap().config())
        );
    }

    #[test]
    fn tls_is_refused_and_never_ignored() {
        for url in [
            "postgres://u:p@h/db?sslmode=require",
            "postgres://u:p@h/db?sslmode=verify-full",
            "postgres://u:p@h/db?channel_binding=require",
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(error.contains("asks for TLS"), "{error}");
        }
        parse("postgres://u:p@h/db?sslmode=disable").unwrap();
        parse("postgres://u:p@h/db?sslmode=prefer").unwrap();
    }

    #[test]
    fn errors_name_options_but_never_a_secret() {
        let cases = [
            ("postgres://u:hunter2@h:port/db", "invalid value for port"),
            (
                "postgres://u:hunter2@h/db?passfile=x",
                "not known: passfile",
            ),
            ("postgres:/u:hunter2@h/db?sslmode=disable", "cannot be read"),
            ("hunter2", "cannot be read"),
            ("postgres://h/db", "names no user"),
        ];
        for (url, says) in cases {
            let error = parse(url).unwrap_err().to_string();
            assert!(
                error.contains(says) && !error.contains("hunter2"),
                "{url}: {error}"
            );
        }
        assert!(!format!("{:?}", parse("postgres://u:hunter2@h/db").unwrap()).contains("hunter2"));
    }
}
