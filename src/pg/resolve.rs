//! The addresses behind a server's name, within a time.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use postgres::config::Host;

use super::target::{Endpoint, Order};
use crate::error::{Error, Result};

/// The server once for each of its addresses, in the order of the resolver.
///
/// The resolver of the system knows no deadline: it is asked in a thread of its own, which is left
/// behind when it takes too long, and ends by the resolver's own limits.
pub fn resolve(endpoint: &Endpoint, timeout: Duration) -> Result<Vec<Endpoint>> {
    let Host::Tcp(host) = &endpoint.host else {
        return Ok(vec![endpoint.clone()]);
    };
    let known = endpoint.address.or_else(|| host.parse().ok());
    let addresses = match known {
        Some(address) => vec![SocketAddr::new(address, endpoint.port)],
        None => look_up(host, endpoint.port, timeout)?,
    };
    let with = |address: SocketAddr| Endpoint {
        address: Some(address.ip()),
        ..endpoint.clone()
    };
    Ok(addresses.into_iter().map(with).collect())
}

fn look_up(host: &str, port: u16, timeout: Duration) -> Result<Vec<SocketAddr>> {
    let (sender, receiver) = channel();
    let name = host.to_owned();
    thread::spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs();
        let _ = sender.send(found.map(Vec::from_iter));
    });
    let cannot = || Error::unreachable(format!("cannot resolve {host}"));
    match receiver.recv_timeout(timeout) {
        Ok(Ok(addresses)) if addresses.is_empty() => {
            Err(Error::unreachable(format!("{host} has no address")))
        }
        Ok(found) => found.map_err(|e| cannot().with_source(e)),
        Err(_) => Err(cannot().with_source("no answer in time")),
    }
}

/// Puts a list into the order in which it is tried.
pub fn arrange<T>(mut list: Vec<T>, order: Order) -> Vec<T> {
    if order == Order::Random {
        // Fisher and Yates; the hasher's keys are random.
        for last in (1..list.len()).rev() {
            let random = RandomState::new().hash_one(last);
            list.swap(last, (random % (last as u64 + 1)) as usize);
        }
    }
    list
}
