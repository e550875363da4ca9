//! Servers that answer the request for TLS, or ask for authentication, as no honest one does.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use crate::support::connector::{ConfigFile, Connector};
use crate::support::outcome::assert_fails_once;
use crate::support::pipeline::DEADLINE;
use crate::support::script::peer::{Peer, Step};
use crate::support::script::{Play, Script, frames};

fn assert_ends(options: &str, plays: Vec<Box<Play>>, code: i32, says: &[&str]) {
    let script = Script::sequence(plays);
    let url = format!(
        "postgres://postgres:hunter2@127.0.0.1:{}/db?{options}",
        script.port()
    );
    let config = ConfigFile::new("t", "p", "s");
    assert_fails_once(&config.path(), &url, code, says);
    script.finish();
}

/// A server that answers the request for TLS so, and waits.
fn answers(answer: &'static [u8]) -> Box<Play> {
    Box::new(move |peer| {
        peer.expect_ssl_request()?;
        peer.send(answer)?;
        peer.expect_closed()
    })
}

/// A server that does not let us in, without TLS.
fn refuses(peer: &mut Peer) -> Step {
    peer.expect_startup()?;
    peer.send(&frames::error_response("28000", "no, says the script"))?;
    peer.expect_closed()
}

#[test]
fn the_answer_to_the_request_for_tls() {
    let cases: [(&[u8], i32, &[&str]); 6] = [
        (
            b"N",
            78,
            &["the server does not offer TLS", "sslmode demands it"],
        ),
        // Nobody may slip something in that is then taken for encrypted.
        (
            b"SR\0\0\0\x08\0\0\0\0",
            77,
            &["unencrypted data after the answer", "alters the connection"],
        ),
        (
            b"NR\0\0\0\x08\0\0\0\0",
            77,
            &["unencrypted data after the answer"],
        ),
        // The text may be anybody's.
        (
            b"Ehunter2\0",
            69,
            &[
                "answers the request for TLS with an error",
                "its log says which",
            ],
        ),
        (
            b"HTTP/1.1 400",
            65,
            &[
                "answers the request for TLS with 'H'",
                "is this a PostgreSQL server?",
            ],
        ),
        (b"", 69, &["the server did not answer in time"]),
    ];
    for (answer, code, says) in cases {
        let timeout = if answer.is_empty() { 1 } else { 10 };
        let options = format!("sslmode=require&connect_timeout={timeout}");
        assert_ends(&options, vec![answers(answer)], code, says);
    }
}

#[test]
fn a_handshake_that_goes_wrong() {
    let later: Box<Play> = Box::new(|peer| {
        peer.expect_ssl_request()?;
        peer.send(b"S")?;
        // The client has spoken: this comes behind the answer, not with it.
        peer.expect_bytes(5, "a handshake")?;
        peer.send(&frames::authentication_ok())?;
        peer.expect_closed()
    });
    assert_ends(
        "sslmode=require",
        vec![later],
        69,
        &["what the server sends is not TLS"],
    );
    assert_ends(
        "sslmode=require&connect_timeout=1",
        vec![answers(b"S")],
        69,
        &["the TLS handshake did not end in time"],
    );
    let closes: Box<Play> = Box::new(|peer| {
        peer.expect_ssl_request()?;
        peer.send(b"S")?;
        peer.expect_bytes(5, "a handshake")?;
        peer.close()
    });
    assert_ends(
        "sslmode=require",
        vec![closes],
        69,
        &["the connection was lost in the TLS handshake"],
    );
}

/// `prefer` goes without TLS when the handshake fails, and `allow` with it when it is not let in.
#[test]
fn the_other_way_is_tried() {
    let breaks: Box<Play> = Box::new(|peer| {
        peer.expect_ssl_request()?;
        peer.send(b"S")?;
        peer.expect_bytes(5, "a handshake")?;
        peer.send(&frames::authentication_ok())?;
        peer.expect_closed()
    });
    let plain: Box<Play> = Box::new(refuses_at_once);
    let says = ["no, says the script [SQLSTATE 28000]"];
    assert_ends("sslmode=prefer", vec![breaks, plain], 77, &says);
    // It has no TLS: once is enough.
    assert_ends("sslmode=prefer", vec![Box::new(refuses)], 77, &says);
    let asks: Box<Play> = Box::new(|peer| {
        peer.expect_ssl_request()?;
        peer.send(b"N")?;
        refuses_at_once(peer)
    });
    let plain: Box<Play> = Box::new(refuses_at_once);
    assert_ends("sslmode=allow", vec![plain, asks], 77, &says);
    let plain: Box<Play> = Box::new(refuses_at_once);
    assert_ends("sslmode=disable", vec![plain], 77, &says);
}

/// The same where a request for TLS would be a failure of the script.
fn refuses_at_once(peer: &mut Peer) -> Step {
    peer.expect_plain_startup()?;
    peer.send(&frames::error_response("28000", "no, says the script"))?;
    peer.expect_closed()
}

/// Nothing is sent to a server that asks for what the URL forbids.
#[test]
fn a_downgrade_is_refused() {
    let cleartext = frames::authentication_cleartext();
    let md5 = frames::authentication_md5([1, 2, 3, 4]);
    let scram = frames::authentication_sasl(&["SCRAM-SHA-256"]);
    let plus = frames::authentication_sasl(&["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]);
    let ok = frames::authentication_ok();
    let cases = [
        (
            "require_auth=scram-sha-256",
            &cleartext,
            "clear text, require_auth forbids it",
        ),
        (
            "require_auth=scram-sha-256",
            &md5,
            "MD5 hash of the password, require_auth",
        ),
        (
            "require_auth=scram-sha-256",
            &ok,
            "without authentication, require_auth",
        ),
        (
            "require_auth=md5,password",
            &scram,
            "SCRAM-SHA-256, require_auth",
        ),
        (
            "require_auth=!password",
            &cleartext,
            "clear text, require_auth",
        ),
        ("require_auth=none", &cleartext, "clear text, require_auth"),
        (
            "channel_binding=require",
            &cleartext,
            "clear text, channel_binding=require",
        ),
        (
            "channel_binding=require",
            &ok,
            "without authentication, channel_binding=require",
        ),
        (
            "channel_binding=require",
            &scram,
            "does not bind the authentication to TLS",
        ),
        // It cannot be meant: there is no TLS to bind to.
        (
            "sslmode=disable",
            &plus,
            "SCRAM-SHA-256-PLUS over a connection without TLS",
        ),
    ];
    for (options, request, says) in cases {
        let request = request.clone();
        let play: Box<Play> = Box::new(move |peer| {
            peer.expect_startup()?;
            peer.send(&request)?;
            peer.expect_nothing_more()
        });
        assert_ends(options, vec![play], 77, &[says]);
    }
}

/// Nor is it over the connection for SQL, which comes after one that was as it should be.
#[test]
fn a_downgrade_of_the_second_connection_is_refused() {
    let first: Box<Play> = Box::new(|peer| {
        peer.expect_startup()?;
        peer.send_welcome()?;
        peer.expect_beginning()?;
        peer.expect_query_with("pg_replication_slots")?;
        peer.send(&frames::rows(&["row_to_json"], &[]))?;
        peer.expect_closed()
    });
    let second: Box<Play> = Box::new(|peer| {
        let parameters = peer.expect_startup()?;
        assert_eq!(parameters.get("replication"), None);
        peer.send(&frames::authentication_cleartext())?;
        peer.expect_nothing_more()
    });
    let says = ["clear text, require_auth forbids it"];
    assert_ends("require_auth=!password", vec![first, second], 77, &says);
}

/// The address that others see of this machine. Nothing is sent to find it.
fn outer_address() -> IpAddr {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port is free");
    socket
        .connect((Ipv4Addr::new(198, 51, 100, 1), 9))
        .and_then(|()| socket.local_addr())
        .expect("this machine has an interface besides the loopback, and a route")
        .ip()
}

#[test]
fn a_connection_to_another_host_that_is_not_verified_is_warned_of_once() {
    // A server that lets us in, and is gone.
    let play = |peer: &mut Peer| {
        peer.expect_startup()?;
        peer.send_welcome()?;
        peer.expect_query_with("IDENTIFY_SYSTEM").map(drop)
    };
    let warning = "is not encrypted: somebody on the way could read and change it; add \
                   sslmode=verify-full";
    for (address, warnings) in [(outer_address(), 1), (Ipv4Addr::LOCALHOST.into(), 0)] {
        let script = Script::start_at(address, play);
        let config = ConfigFile::new("t", "p", "s").set("retry", "{ min: 10ms, max: 20ms }");
        let connector = Connector::spawn_config(&config, &script.url("db"), &["--stdout"]);
        let log = connector.wait_log_count("trying again in", 3, DEADLINE);
        assert_eq!(connector.log_count(warning), warnings, "{log}");
        connector.kill();
        script.finish();
    }
}
