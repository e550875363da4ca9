//! A client of the program's metrics: whole answers, and samples by name.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::connector::Connector;
use super::pipeline::DEADLINE;
use super::wait_until;

/// Longer than the program lets anybody wait.
const ANSWER: Duration = Duration::from_secs(20);

/// Where a program said that its metrics are.
#[track_caller]
pub fn address(connector: &Connector) -> SocketAddr {
    let line = connector.wait_log("metrics are at http://", DEADLINE);
    let (_, rest) = line.split_once("http://").expect("it was waited for");
    let address = rest.strip_suffix("/metrics").expect("the path");
    address.parse().expect("an address")
}

/// What is answered to these bytes: the status and the body.
#[track_caller]
pub fn exchange(address: SocketAddr, request: &[u8]) -> (u16, String) {
    let mut connection = TcpStream::connect(address).expect("the program listens");
    connection
        .set_read_timeout(Some(ANSWER))
        .expect("a timeout");
    connection.write_all(request).expect("it is read");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let length = format!("Content-Length: {}", body.len());
    assert!(head.contains(&length), "{answer}");
    (status.expect("a status"), body.to_owned())
}

#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    exchange(
        address,
        format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
    )
}

/// The samples of a page, without what all names and labels begin with.
pub type Samples = BTreeMap<String, f64>;

/// Reads a page and holds it to the format and its conventions.
#[track_caller]
pub fn parse(page: &str) -> Samples {
    let mut samples = Samples::new();
    let (mut described, mut typed) = (String::new(), String::new());
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help");
            assert!(help.ends_with('.'), "{line}");
            described = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(name, described, "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            typed = name.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').expect("labels");
            let suffix = name
                .strip_prefix(&typed)
                .unwrap_or_else(|| panic!("{line}"));
            assert!(
                ["", "_bucket", "_sum", "_count"].contains(&suffix),
                "{line}"
            );
            let name = name.strip_prefix("postgres_source_").expect("the prefix");
            let labels = labels
                .strip_prefix("connector=\"test\"")
                .expect("whose it is");
            let labels = labels.strip_suffix('}').expect("their end");
            let labels = labels.trim_start_matches(',');
            let key = match labels {
                "" => name.to_owned(),
                _ => format!("{name}{{{labels}}}"),
            };
            let value = value.parse().expect("a number");
            assert!(samples.insert(key, value).is_none(), "twice: {line}");
        }
    }
    samples
}

/// The samples now.
#[track_caller]
pub fn scrape(address: SocketAddr) -> Samples {
    let (status, page) = get(address, "/metrics");
    assert_eq!(status, 200, "{page}");
    parse(&page)
}

/// Waits until the samples are as wanted.
#[track_caller]
pub fn wait_samples(
    what: &str,
    address: SocketAddr,
    mut is_wanted: impl FnMut(&Samples) -> bool,
) -> Samples {
    let mut last = Samples::new();
    wait_until(what, DEADLINE, || {
        last = scrape(address);
        is_wanted(&last)
    });
    last
}
