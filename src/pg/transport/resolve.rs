//! The addresses of a server, and the order in which they are tried.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::base::error::{Error, Result};
use crate::base::resolver::look_up;
use crate::pg::params::{Endpoint, Host, Order};

/// The server once for each of its addresses, in the order of the resolver.
pub fn resolve(endpoint: &Endpoint, timeout: Duration) -> Result<Vec<Endpoint>> {
    let Host::Tcp(host) = &endpoint.host else {
        return Ok(vec![endpoint.clone()]);
    };
    let written = || host.parse::<IpAddr>().ok();
    let known = (endpoint.address)
        .or_else(|| written().map(|address| SocketAddr::new(address, endpoint.port)));
    let addresses = match known {
        Some(address) => vec![address],
        None => look_up((host.clone(), endpoint.port), timeout)
            .map_err(|e| Error::unreachable(format!("cannot resolve {host}")).with_source(e))?,
    };
    let with = |address: SocketAddr| Endpoint {
        address: Some(address),
        ..endpoint.clone()
    };
    Ok(addresses.into_iter().map(with).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: Host, address: Option<&str>) -> Endpoint {
        Endpoint {
            host,
            address: address.map(|address| address.parse().unwrap()),
            port: 1,
        }
    }

    #[test]
    fn what_is_an_address_already_is_not_looked_up() {
        let resolved = |host: Host, address| {
            let found = resolve(&endpoint(host, address), Duration::ZERO).unwrap();
            found
                .into_iter()
                .map(|found| found.address)
                .collect::<Vec<_>>()
        };
        let of = |text: &str| vec![Some(text.parse().unwrap())];
        let v4 = Host::Tcp("10.0.0.1".into());
        assert_eq!(resolved(v4, None), of("10.0.0.1:1"));
        assert_eq!(resolved(Host::Tcp("::1".into()), None), of("[::1]:1"));
        let named = Host::Tcp("name".into());
        assert_eq!(resolved(named, Some("[::1]:1")), of("[::1]:1"));
        assert_eq!(resolved(Host::Unix("/tmp".into()), None), [None]);
    }

    /// Without the interface an address of a link leads nowhere.
    #[test]
    fn what_is_looked_up_keeps_its_interface() {
        let index = std::fs::read_to_string("/sys/class/net/lo/ifindex").unwrap();
        let index: u32 = index.trim().parse().unwrap();
        for scope in ["lo", &index.to_string()] {
            let host = Host::Tcp(format!("fe80::1%{scope}"));
            let found = resolve(&endpoint(host, None), Duration::from_secs(60)).unwrap();
            let Some(SocketAddr::V6(address)) = found[0].address else {
                panic!("{found:?}");
            };
            assert_eq!((address.scope_id(), address.port()), (index, 1));
        }
    }

    #[test]
    fn a_random_order_is_an_order_of_the_same() {
        let listed: Vec<u32> = (0..8).collect();
        assert_eq!(arrange(listed.clone(), Order::AsListed), listed);
        let first = |_| {
            let arranged = arrange(listed.clone(), Order::Random);
            let mut sorted = arranged.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, listed);
            arranged[0]
        };
        // That one of eight is never the first in 500 draws has a chance of 1e-28.
        let firsts: std::collections::BTreeSet<_> = (0..500).map(first).collect();
        assert_eq!(firsts.len(), listed.len());
    }
}
