//! The SQL client, over a connection that is protected as the replication connection was found to
//! be.

use postgres::config::{ChannelBinding, Host, SslMode, SslNegotiation};
use postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::encryption::Protection;
use super::server_error::from_sql;
use super::ssl::{self, Negotiation};
use super::target::{Endpoint, Target};
use super::tls::Settings;
use crate::error::Result;

/// Connects to the server that has just let a replication connection in, in the way that it took.
pub fn connect(target: &Target, endpoint: &Endpoint, protection: Protection) -> Result<Client> {
    let ssl = target.ssl();
    let mut config = target.sql_config(endpoint)?;
    config
        .ssl_mode(SslMode::Require)
        .ssl_negotiation(match ssl.negotiation {
            Negotiation::Postgres => SslNegotiation::Postgres,
            Negotiation::Direct => SslNegotiation::Direct,
        })
        .channel_binding(match ssl.channel_binding {
            ssl::ChannelBinding::Disable => ChannelBinding::Disable,
            ssl::ChannelBinding::Prefer => ChannelBinding::Prefer,
            ssl::ChannelBinding::Require => ChannelBinding::Require,
        });
    let host = match (&endpoint.host, protection) {
        (Host::Tcp(host), Protection::Encrypted | Protection::Verified) => host,
        _ => {
            config
                .ssl_mode(SslMode::Disable)
                .ssl_negotiation(SslNegotiation::Postgres);
            return config.connect(NoTls).map_err(from_sql);
        }
    };
    let settings = Settings::read(ssl, host)?;
    config
        .connect(MakeRustlsConnect::new(settings.config))
        .map_err(from_sql)
}
