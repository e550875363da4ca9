//! The servers of a connection string: names, addresses, ports and unix sockets.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use super::settings::Settings;
use crate::base::error::{Error, Result};

/// The directory of a local server's socket when the URL names no host, as libpq on Debian has it.
pub const SOCKET_DIRECTORY: &str = "/var/run/postgresql";

/// The port of a server that is named without one.
const PORT: u16 = 5432;

/// The name of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or an address.
    Tcp(String),
    /// The directory of a unix socket.
    Unix(PathBuf),
}

/// One server out of the URL's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name, an address, or the directory of a unix socket.
    pub host: Host,
    /// The address to connect to, with the port, where it is not looked up. An address of a
    /// link has a scope too: the interface behind which it is.
    pub address: Option<SocketAddr>,
    /// The port, which is part of a unix socket's name too.
    pub port: u16,
}

impl Endpoint {
    /// The host as the URL has it.
    pub fn host_name(&self) -> String {
        match &self.host {
            Host::Tcp(host) => host.clone(),
            Host::Unix(directory) => directory.display().to_string(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Host::Tcp(host) => write!(f, "{host}:{}", self.port),
            Host::Unix(directory) => write!(f, "{}", socket_path(directory, self.port).display()),
        }
    }
}

/// The file of a unix socket.
pub fn socket_path(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}

/// The servers of `host`, `hostaddr` and `port`, which stand side by side. An address takes the place of
/// looking a name up, one port serves all hosts, and a server of which nothing is said is the local one.
pub fn endpoints(settings: &Settings) -> Result<Vec<Endpoint>> {
    let hosts = settings.list("host");
    let addresses = settings.list("hostaddr");
    let ports = settings.list("port");
    let count = hosts.len().max(addresses.len()).max(1);
    if hosts.iter().any(|host| host.contains(char::is_control)) {
        return Err(settings.invalid("host", "a name or an address without control characters"));
    }
    let mismatch = |name: &str, found: usize| {
        settings.invalid(
            name,
            &format!("as many elements as there are hosts, {count}, and not {found}"),
        )
    };
    for (name, found) in [("host", hosts.len()), ("hostaddr", addresses.len())] {
        if found > 0 && found != count {
            return Err(mismatch(name, found));
        }
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(mismatch("port", ports.len()));
    }
    (0..count)
        .map(|i| {
            let at = |list: &[&str]| list.get(i).copied().unwrap_or_default().trim().to_owned();
            let host = match (at(&hosts), at(&addresses)) {
                (host, address) if host.is_empty() && address.is_empty() => {
                    Host::Unix(SOCKET_DIRECTORY.into())
                }
                (host, address) if host.is_empty() => Host::Tcp(address),
                (host, address) if !address.is_empty() => Host::Tcp(host),
                (host, _) if host.starts_with('/') => Host::Unix(host.into()),
                (host, _) if host.starts_with('@') => {
                    return Err(settings.of_url(no_abstract_socket()));
                }
                (host, _) => Host::Tcp(host),
            };
            let port = match ports.get(if ports.len() == 1 { 0 } else { i }) {
                None | Some(&"") => PORT,
                Some(port) => port
                    .trim()
                    .parse()
                    .ok()
                    .filter(|port| *port > 0)
                    .ok_or_else(|| settings.invalid("port", "a number from 1 to 65535"))?,
            };
            let address = match at(&addresses).as_str() {
                "" => None,
                text => Some(
                    address(text, port)
                        .ok_or_else(|| settings.invalid("hostaddr", "an IP address"))?,
                ),
            };
            Ok(Endpoint {
                host,
                address,
                port,
            })
        })
        .collect()
}

/// Parses an address; one of a link may have an interface's name or number after a `%`,
/// which the system knows, and does not ask anybody else for.
fn address(text: &str, port: u16) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, port));
    }
    let (address, _) = text.split_once('%')?;
    address.parse::<Ipv6Addr>().ok()?;
    (text, port).to_socket_addrs().ok()?.next()
}

fn no_abstract_socket() -> Error {
    Error::config("the database URL names an abstract unix socket, which is not supported")
        .with_hint("name the directory of the socket's file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::params::environment::Environment;

    fn parse(url: &str) -> Result<Vec<Endpoint>> {
        endpoints(&Settings::resolve(url, &Environment::default())?)
    }

    fn shown(url: &str) -> Vec<String> {
        let endpoints = parse(url).unwrap_or_else(|e| panic!("{url}: {e}"));
        endpoints.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_host_with_its_port() {
        assert_eq!(
            shown("postgres://a:1,b:2,[::1]:3/db"),
            ["a:1", "b:2", "[::1]:3"]
        );
        assert_eq!(
            shown("host=/tmp,c port=6543"),
            ["/tmp/.s.PGSQL.6543", "c:6543"]
        );
        assert_eq!(shown("host=a,b port=,2"), ["a:5432", "b:2"]);
        assert_eq!(shown("postgres://a,b:7"), ["a:5432", "b:7"]);
        assert_eq!(shown("port=7"), ["/var/run/postgresql/.s.PGSQL.7"]);
        assert_eq!(
            shown("host=,b"),
            ["/var/run/postgresql/.s.PGSQL.5432", "b:5432"]
        );
    }

    #[test]
    fn an_address_takes_the_place_of_a_look_up() {
        let both = parse("host=a,b hostaddr=10.0.0.1,").unwrap();
        assert_eq!(both[0].host, Host::Tcp("a".into()));
        assert_eq!(both[0].address, Some("10.0.0.1:5432".parse().unwrap()));
        assert_eq!(
            (&both[1].host, both[1].address),
            (&Host::Tcp("b".into()), None)
        );
        assert_eq!(shown("hostaddr=::1 port=2"), ["[::1]:2"]);
    }

    #[test]
    fn an_address_of_a_link_keeps_its_interface() {
        for url in ["postgres://[fe80::1%25lo]:2/db", "host=fe80::1%lo port=2"] {
            assert_eq!(shown(url), ["[fe80::1%lo]:2"]);
        }
        let scope = |url: &str| match parse(url).unwrap()[0].address {
            Some(SocketAddr::V6(address)) => address.scope_id(),
            other => panic!("{url}: {other:?}"),
        };
        assert_eq!(scope("hostaddr=fe80::1%7"), 7);
        assert_ne!(scope("host=name hostaddr=fe80::1%lo"), 0);
        assert_eq!(scope("hostaddr=fe80::1"), 0);
    }

    #[test]
    fn lists_that_do_not_fit_are_refused() {
        for (url, says) in [
            (
                "host=a,b hostaddr=10.0.0.1",
                "hostaddr: expected as many elements as there are hosts, 2",
            ),
            (
                "host=a hostaddr=10.0.0.1,10.0.0.2",
                "host: expected as many",
            ),
            ("host=a,b,c port=1,2", "port: expected as many"),
            ("host=a port=1,2", "port: expected as many"),
            ("host=a port=0", "port: expected a number from 1 to 65535"),
            ("host=a port=65536", "port: expected a number"),
            ("postgres://u:hunter2:3/db", "port: expected a number"),
            ("hostaddr=hunter2", "hostaddr: expected an IP address"),
            (
                "hostaddr=fe80::1%hunter2",
                "hostaddr: expected an IP address",
            ),
            ("host=@hunter2", "abstract unix socket"),
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(
                error.contains(says) && !error.contains("hunter2"),
                "{url}: {error}"
            );
        }
    }
}
