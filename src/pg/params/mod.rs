//! Whom to connect to, and how: libpq's connection parameters.
//!
//! `keywords` lists the parameters; `conninfo` takes a connection string apart, and
//! `settings` adds what it leaves open from a `service` and the [`environment`]; `hosts`,
//! `options` and `tls` read them. [`password`] and `passfile` are asked anew at each connect.

mod conninfo;
pub(crate) mod environment;
mod hosts;
mod keywords;
mod options;
mod passfile;
pub(crate) mod password;
mod service;
mod settings;
pub(crate) mod ssl;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

use self::environment::Environment;
pub use self::hosts::{Endpoint, Host, socket_path};
use self::hosts::{SOCKET_DIRECTORY, endpoints};
pub use self::options::{FOR_EVER, Order, SessionAttrs, TcpOptions};
use self::options::{connect_timeout, order, session_attrs};
use self::passfile::PasswordFile;
use self::password::{Password, PasswordCommand};
use self::settings::{Settings, ValueOrigin};
use self::ssl::Ssl;
use crate::base::error::{Error, Result};

/// A database to connect to. Its `Debug` shows no password.
#[derive(Debug, Clone)]
pub struct ConnectParams {
    endpoints: Vec<Endpoint>,
    user: String,
    database: String,
    /// The password of the URL or the service.
    password: Option<Password>,
    password_command: Option<PasswordCommand>,
    /// The password in `PGPASSWORD`.
    default_password: Option<Password>,
    password_file: Option<PasswordFile>,
    application_name: String,
    options: Option<String>,
    connect_timeout: Duration,
    tcp: TcpOptions,
    session_attrs: SessionAttrs,
    order: Order,
    ssl: Ssl,
}

impl ConnectParams {
    /// Parses a [connection string](https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING);
    /// what it leaves open is taken from the environment of this process. No error shows a part of
    /// it that could be a secret.
    pub fn parse(url: &str, application_name: &str) -> Result<ConnectParams> {
        Self::parse_in(url, application_name, &Environment::of_process())
    }

    /// Parses a connection string that was found at `source`, which errors about it name.
    pub fn parse_from(url: &str, source: &str, application_name: &str) -> Result<ConnectParams> {
        let environment = Environment::of_process();
        let settings = Settings::resolve_from(url, source, &environment)?;
        Self::of_settings(&settings, application_name, &environment)
    }

    /// Parses a connection string in an environment of the caller's choice.
    pub fn parse_in(
        url: &str,
        application_name: &str,
        environment: &Environment,
    ) -> Result<ConnectParams> {
        let settings = Settings::resolve(url, environment)?;
        Self::of_settings(&settings, application_name, environment)
    }

    fn of_settings(
        settings: &Settings,
        application_name: &str,
        environment: &Environment,
    ) -> Result<ConnectParams> {
        check_packet(settings)?;
        let text = |name: &str| settings.text(name).map(str::to_owned);
        let user = text("user").or_else(|| environment.account().map(str::to_owned));
        let user = user.ok_or_else(|| settings.of_url(no_user()))?;
        let database = text("dbname").unwrap_or_else(|| user.clone());
        let home = environment.home();
        let endpoints = endpoints(settings)?;
        let ssl = tls::read(settings, home.as_deref())?;
        let password = text("password").map(Password::new);
        let is_default = matches!(settings.origin("password"), Some(ValueOrigin::Variable(_)));
        let (password, default_password) = match is_default {
            true => (None, password),
            false => (password, None),
        };
        let named_file = settings.text("passfile").map(PathBuf::from);
        let named_file = named_file.map(PasswordFile::Named);
        let own_file = || Some(PasswordFile::Own(home.as_ref()?.join(".pgpass")));
        Ok(ConnectParams {
            endpoints,
            user,
            database,
            password,
            password_command: None,
            default_password,
            password_file: named_file.or_else(own_file),
            application_name: text("application_name")
                .or_else(|| text("fallback_application_name"))
                .unwrap_or_else(|| application_name.to_owned()),
            options: text("options"),
            connect_timeout: connect_timeout(settings)?,
            tcp: TcpOptions::read(settings)?,
            session_attrs: session_attrs(settings)?,
            order: order(settings)?,
            ssl,
        })
    }

    /// Adds a command that prints the password, for where the URL has none.
    pub fn with_password_command(mut self, command: Option<PasswordCommand>) -> ConnectParams {
        self.password_command = command;
        self
    }

    /// The password for this server: that of the URL or of the service, else what
    /// `password_command` prints, else `PGPASSWORD`, else the password file's. The last two are
    /// libpq's order; they may be there for other programs, and the command is there for this one.
    pub fn password(&self, endpoint: &Endpoint) -> Result<Option<Password>> {
        if let Some(password) = &self.password {
            return Ok(Some(password.clone()));
        }
        let (host, port) = (endpoint.host_name(), endpoint.port.to_string());
        let (user, database) = (self.user.as_str(), self.database.as_str());
        if let Some(command) = &self.password_command {
            let variables = [
                ("PGHOST", host.as_str()),
                ("PGPORT", &port),
                ("PGUSER", user),
                ("PGDATABASE", database),
            ];
            return command.run(&variables).map(Some);
        }
        if let Some(password) = &self.default_password {
            return Ok(Some(password.clone()));
        }
        let host = if host == SOCKET_DIRECTORY {
            "localhost"
        } else {
            &host
        };
        let file = self.password_file.as_ref();
        let found = file.map(|file| passfile::find(file, [host, &port, database, user]));
        Ok(found.transpose()?.flatten().map(Password::new))
    }

    /// The user.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The database; the user's name when there is none.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The name that the server shows this connection by.
    pub fn application_name(&self) -> &str {
        &self.application_name
    }

    /// Options of the server's command line.
    pub fn options(&self) -> Option<&str> {
        self.options.as_deref()
    }

    /// The demands on the server itself.
    pub fn session_attrs(&self) -> SessionAttrs {
        self.session_attrs
    }

    /// The order in which servers are tried.
    pub fn order(&self) -> Order {
        self.order
    }

    /// The time that one address may take.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// The options of a TCP socket.
    pub fn tcp(&self) -> &TcpOptions {
        &self.tcp
    }

    /// The demands on TLS and on the server's authentication.
    pub fn ssl(&self) -> &Ssl {
        &self.ssl
    }

    /// The servers in the order of the URL.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }
}

/// The most bytes of the URL that are sent at start-up. A server takes less than 10,000; what we send of
/// our own is less than the rest.
const MOST_OF_A_PACKET: usize = 8_000;

/// Refuses what a server would refuse at start-up without a word, as often as it is tried: text with a
/// zero byte in it, and too much of it.
fn check_packet(settings: &Settings) -> Result<()> {
    let mut bytes = 0;
    for name in ["user", "dbname", "application_name", "options", "password"] {
        let text = settings.text(name).unwrap_or_default();
        if text.contains('\0') {
            return Err(settings.invalid(name, "a text without zero bytes"));
        }
        bytes += if name == "password" { 0 } else { text.len() };
        if bytes > MOST_OF_A_PACKET {
            let expected =
                format!("at most {MOST_OF_A_PACKET} bytes, with user, dbname and the like");
            return Err(settings.invalid(name, &expected));
        }
    }
    Ok(())
}

fn no_user() -> Error {
    Error::config("the database URL names no user").with_hint(
        "the form is postgres://user:password@hostname:port/database_name; PGUSER or a service may \
         name one too",
    )
}

#[cfg(test)]
mod tests {
    use super::options::{CONNECT_TIMEOUT, DEAD_AFTER, FOR_EVER};
    use super::*;

    fn parse(url: &str) -> Result<ConnectParams> {
        parse_in(url, &[])
    }

    fn parse_in(url: &str, variables: &[(&str, &str)]) -> Result<ConnectParams> {
        ConnectParams::parse_in(url, "postgres-source/test", &Environment::of(variables))
    }

    #[test]
    fn defaults() {
        let params = parse("postgres://u@h").unwrap();
        assert_eq!((params.user(), params.database()), ("u", "u"));
        assert_eq!(params.application_name(), "postgres-source/test");
        assert_eq!(params.connect_timeout(), CONNECT_TIMEOUT);
        assert_eq!(params.session_attrs(), SessionAttrs::Any);
        assert_eq!(params.order(), Order::AsListed);
        let tcp = TcpOptions {
            keepalives: true,
            idle: None,
            interval: None,
            count: None,
            user_timeout: Some(DEAD_AFTER),
        };
        assert_eq!(params.tcp(), &tcp);
        let error = parse("postgres://h/db").unwrap_err().to_string();
        assert!(error.contains("names no user"), "{error}");
    }

    #[test]
    fn what_no_server_takes_is_told_by_its_parameter() {
        let long = "x".repeat(20_000);
        for (url, says) in [
            ("user=u dbname=a\0b", "dbname: expected a text without zero"),
            ("user=u password=hunter2\0", "password: expected a text"),
            ("user=u keepalives_idle=32768", "a number up to 32767"),
            ("user=u keepalives_interval=32768", "a number up to 32767"),
            ("user=u keepalives_count=128", "a number up to 127"),
            (
                "user=u host=a\u{1b}b",
                "host: expected a name or an address",
            ),
            ("user=u host='a\nb'", "host: expected a name or an address"),
            (
                &format!("user=u options={long}"),
                "options: expected at most",
            ),
            (&format!("user={long}"), "user: expected at most"),
        ] {
            let parsed = ConnectParams::parse_from(url, "/run/url", "test");
            let error = parsed.unwrap_err().to_string();
            assert!(error.starts_with("/run/url: the database URL: "), "{error}");
            assert!(error.contains(says) && error.len() < 200, "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_environment_fills_what_the_url_leaves_open() {
        let variables = [
            ("PGHOST", "a,b"),
            ("PGPORT", "1"),
            ("PGUSER", "u"),
            ("PGDATABASE", "d"),
            ("PGAPPNAME", "n"),
            ("PGOPTIONS", "-c a=1"),
            ("PGCONNECT_TIMEOUT", "0"),
            ("PGTARGETSESSIONATTRS", "prefer-standby"),
            ("PGLOADBALANCEHOSTS", "random"),
            ("PGCHANNELBINDING", "disable"),
        ];
        let params = parse_in("", &variables).unwrap();
        assert_eq!(params.endpoints()[1].to_string(), "b:1");
        assert_eq!((params.user(), params.database()), ("u", "d"));
        assert_eq!(
            (params.application_name(), params.options()),
            ("n", Some("-c a=1"))
        );
        assert_eq!(params.connect_timeout(), FOR_EVER);
        assert_eq!(params.session_attrs(), SessionAttrs::PreferStandby);
        assert_eq!(params.order(), Order::Random);
        let params = parse_in("postgres://u@h", &[("PGSSLMODE", "require")]).unwrap();
        assert_eq!(params.ssl().mode, crate::pg::params::ssl::SslMode::Require);
    }

    #[test]
    fn the_order_of_passwords() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "localhost:5432:d:u:of-local\n*:*:*:*:of-file\n").unwrap();
        let file = file.path().to_str().unwrap();
        let found = |url: &str, variables: &[(&str, &str)], command: Option<&str>| {
            let params = parse_in(url, variables).unwrap();
            let params = params.with_password_command(command.map(PasswordCommand::new));
            let password = params.password(&params.endpoints()[0]).unwrap();
            password.map(|password| String::from_utf8(password.expose().to_vec()).unwrap())
        };
        let command = Some("echo of-command-for-$PGUSER@$PGHOST:$PGPORT/$PGDATABASE");
        let all = [("PGPASSWORD", "of-variable"), ("PGPASSFILE", file)];
        let url = "host=h user=u dbname=d";
        let with_password = format!("{url} password=of-url");
        assert_eq!(
            found(&with_password, &all, command).as_deref(),
            Some("of-url")
        );
        let of_command = "of-command-for-u@h:5432/d";
        assert_eq!(found(url, &all, command).as_deref(), Some(of_command));
        assert_eq!(found(url, &all, None).as_deref(), Some("of-variable"));
        assert_eq!(found(url, &all[1..], None).as_deref(), Some("of-file"));
        assert_eq!(
            found("user=u dbname=d", &all[1..], None).as_deref(),
            Some("of-local")
        );
        assert_eq!(found(url, &[], None), None);
    }

    #[test]
    fn no_secret_is_shown() {
        let params = parse_in("user=u password=hunter2", &[("PGPASSWORD", "hunter2")]);
        let command = Some(PasswordCommand::new("hunter2"));
        let params = params.unwrap().with_password_command(command);
        assert!(!format!("{params:?}").contains("hunter2"));
    }
}
