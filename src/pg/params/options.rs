//! The parameters that say which server is taken, and how long anything may take.

use std::time::Duration;

use super::settings::Settings;
use crate::base::error::Result;

/// The time that one address may take from the first packet to the end of authentication when there is
/// no `connect_timeout`; libpq waits for ever.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A time without end, in a form that can be added to another.
pub const FOR_EVER: Duration = Duration::from_secs(i32::MAX as u64);

/// The time that what was sent may stay unacknowledged by the other host, which then counts as dead. We
/// send often, so this notices a host that vanished; the kernel's own limit is a quarter of an hour.
pub const DEAD_AFTER: Duration = Duration::from_secs(60);

/// The longest time that Linux takes ([tcp(7)](https://man7.org/linux/man-pages/man7/tcp.7.html)): more than that is
/// refused when the socket is made, as often as it is tried.
const MAX_KEEPALIVE_S: u32 = 32_767;
const MAX_KEEPALIVES: u32 = 127;

/// `target_session_attrs`: what a server needs to be for this program to stay with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionAttrs {
    /// Any server.
    Any,
    /// A server whose transactions can write.
    ReadWrite,
    /// A server whose transactions cannot write.
    ReadOnly,
    /// A server that is not in recovery.
    Primary,
    /// A server in recovery.
    Standby,
    /// A standby if there is one, else anything.
    PreferStandby,
}

/// `load_balance_hosts`: the order in which servers are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The order of the URL.
    AsListed,
    /// A random order, of the addresses of each name too.
    Random,
}

/// The options of a TCP socket. What is not set is the system's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpOptions {
    /// `keepalives`: whether an idle connection is probed.
    pub keepalives: bool,
    /// `keepalives_idle`: after how long.
    pub idle: Option<Duration>,
    /// `keepalives_interval`: how long until the next probe.
    pub interval: Option<Duration>,
    /// `keepalives_count`: how many may be lost.
    pub count: Option<u32>,
    /// `tcp_user_timeout`: how long what was sent may stay unacknowledged.
    pub user_timeout: Option<Duration>,
}

impl TcpOptions {
    /// Reads the options; unix sockets have none.
    pub fn read(settings: &Settings) -> Result<TcpOptions> {
        let positive = |name: &str, most: u32| -> Result<Option<u32>> {
            let number = settings.number(name)?;
            match number.and_then(|n| u32::try_from(n).ok()) {
                Some(n) if n > most => {
                    Err(settings.invalid(name, &format!("a number up to {most}")))
                }
                number => Ok(number.filter(|n| *n > 0)),
            }
        };
        let seconds = |name: &str| -> Result<Option<Duration>> {
            Ok(positive(name, MAX_KEEPALIVE_S)?.map(|n| Duration::from_secs(n.into())))
        };
        let user_timeout = match settings.text("tcp_user_timeout") {
            Some(_) => {
                positive("tcp_user_timeout", u32::MAX)?.map(|n| Duration::from_millis(n.into()))
            }
            None => Some(DEAD_AFTER),
        };
        Ok(TcpOptions {
            keepalives: settings.number("keepalives")? != Some(0),
            idle: seconds("keepalives_idle")?,
            interval: seconds("keepalives_interval")?,
            count: positive("keepalives_count", MAX_KEEPALIVES)?,
            user_timeout,
        })
    }
}

/// `connect_timeout`: how long one address may take. Zero and less mean for ever.
pub fn connect_timeout(settings: &Settings) -> Result<Duration> {
    Ok(match settings.number("connect_timeout")? {
        None => CONNECT_TIMEOUT,
        Some(seconds) => match u64::try_from(seconds) {
            Ok(0) | Err(_) => FOR_EVER,
            Ok(seconds) => Duration::from_secs(seconds),
        },
    })
}

/// `target_session_attrs`.
pub fn session_attrs(settings: &Settings) -> Result<SessionAttrs> {
    let choices = [
        ("any", SessionAttrs::Any),
        ("read-write", SessionAttrs::ReadWrite),
        ("read-only", SessionAttrs::ReadOnly),
        ("primary", SessionAttrs::Primary),
        ("standby", SessionAttrs::Standby),
        ("prefer-standby", SessionAttrs::PreferStandby),
    ];
    let found = settings.choice("target_session_attrs", &choices)?;
    Ok(found.unwrap_or(SessionAttrs::Any))
}

/// `load_balance_hosts`.
pub fn order(settings: &Settings) -> Result<Order> {
    let choices = [("disable", Order::AsListed), ("random", Order::Random)];
    Ok(settings
        .choice("load_balance_hosts", &choices)?
        .unwrap_or(Order::AsListed))
}
