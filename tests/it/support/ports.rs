//! Ports that stay ours while a server of a test is down, and what waits at one.
#![allow(dead_code)]

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which Linux takes ports by itself (32768 and up): an outgoing
/// connection or a listener on port 0 never takes a port that a stopped server comes back to.
const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;

/// A port of 127.0.0.1 that nothing listens on, handed out once in this process.
///
/// Another process may take it before its user listens on it, so the user tries again.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run at the same time begin at different places.
    static START: std::sync::OnceLock<u16> = std::sync::OnceLock::new();
    let start = *START.get_or_init(|| {
        let random = RandomState::new().build_hasher().finish();
        (random % u64::from(COUNT)) as u16
    });
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + step) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port of 127.0.0.1 is free from {FIRST} on");
}

/// The port of an address.
pub fn port(address: &str) -> u16 {
    let (_, port) = address.rsplit_once(':').expect("a port");
    port.parse().expect("a number")
}

/// Whether something that was sent to this port of ours waits to be read.
pub fn has_unread(port: u16) -> bool {
    unread(port) > 0
}

/// How many bytes that were sent to this port of ours wait to be read, as this thread's network has it.
pub fn unread(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp").expect("Linux has it");
    let waiting = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_ours = fields[1].ends_with(&format!(":{port:04X}"));
        // Of a listening socket the same field counts connections.
        let is_established = fields[3] == "01" || fields[3] == "08";
        let (_, unread) = fields[4].split_once(':')?;
        let unread = u64::from_str_radix(unread, 16).ok()?;
        (is_ours && is_established).then_some(unread)
    });
    waiting.sum()
}
