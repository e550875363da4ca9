//! The addresses behind a name, within a time.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// At least one address, in the order of the resolver.
///
/// The resolver of the system knows no deadline: it is asked in a thread of its own, which is left
/// behind when it takes too long, and ends by the resolver's own limits.
pub fn look_up<N>(name: N, timeout: Duration) -> io::Result<Vec<SocketAddr>>
where
    N: ToSocketAddrs + Send + 'static,
{
    let ask = move || name.to_socket_addrs().map(Vec::from_iter);
    match within(timeout, ask) {
        Some(Ok(addresses)) if addresses.is_empty() => Err(io::Error::other("no address")),
        Some(found) => found,
        None => Err(io::Error::new(ErrorKind::TimedOut, "no answer in time")),
    }
}

fn within<T: Send + 'static>(
    timeout: Duration,
    ask: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(ask()));
    receiver.recv_timeout(timeout).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_up_that_takes_too_long_is_given_up() {
        let (held, waits) = channel::<()>();
        let forever = within(Duration::from_millis(10), move || waits.recv());
        assert!(forever.is_none());
        drop(held);
        assert_eq!(within(Duration::from_secs(60), || 1), Some(1));
    }

    #[test]
    fn a_name_without_an_address_is_an_error() {
        let timeout = Duration::from_secs(60);
        let none: &'static [SocketAddr] = &[];
        assert!(look_up(none, timeout).is_err());
        let found = look_up("[::1]:9003".to_owned(), timeout).unwrap();
        assert_eq!(found, ["[::1]:9003".parse().unwrap()]);
    }
}
