//! Servers that mean harm, or are out of their mind: each is told off in words, in time, and nothing
//! is confirmed that is not stored.

mod stream;
mod unanswered;

use std::time::{Duration, Instant};

use postgres_source::base::{Error, Kind, Result};
use postgres_source::pg::ConnectParams;
use postgres_source::pg::ReplicationConnection;

use crate::support::pipeline::DEADLINE;
use crate::support::script::{Peer, Script, Step, frames};

/// The program gives a server this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// What a deadline of [`CONNECT_TIMEOUT`] may become on a busy machine.
const LATE: Duration = Duration::from_secs(20);

/// What stands between two messages of a server that is in a talkative mood.
fn chatter() -> Vec<u8> {
    [
        frames::notice_response("01000", "hear\nhear"),
        frames::parameter_status("TimeZone", "Mars/Olympus"),
        frames::notice_response("00000", ""),
    ]
    .concat()
}

fn connect(script: &Script) -> Result<ReplicationConnection> {
    let timeout = CONNECT_TIMEOUT.as_secs();
    let url = format!("{}?connect_timeout={timeout}", script.url("db"));
    ReplicationConnection::connect(&ConnectParams::parse(&url, "postgres-source/hostile")?)
}

/// Asserts that the server is given up in time, with an error of this kind that has each of `says`.
#[track_caller]
fn assert_given_up(
    play: impl Fn(&mut Peer) -> Step + Send + Sync + 'static,
    kind: Kind,
    says: &[&str],
) {
    let script = Script::start(play);
    let begun = Instant::now();
    let error = connect(&script)
        .and_then(|mut connection| connection.identify_system())
        .expect_err("nobody can be satisfied with this server");
    assert!(
        begun.elapsed() < LATE,
        "after {:?}: {error}",
        begun.elapsed()
    );
    assert_error(&error, kind, says);
    script.finish();
}

#[track_caller]
fn assert_error(error: &Error, kind: Kind, says: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for part in says {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(!text.contains("secret"), "{text}");
}

/// Sends the same for as long as the client is there.
fn send_for_ever(peer: &mut Peer, bytes: &[u8]) -> Step {
    peer.expect_startup()?;
    let end = Instant::now() + DEADLINE;
    while peer.send(bytes).is_ok() {
        if Instant::now() > end {
            return Err("the client listens for ever".to_owned());
        }
    }
    Ok(())
}

#[test]
fn a_server_that_never_comes_to_the_point() {
    let not_in_time = "the server did not answer in time";
    let talks = |peer: &mut Peer| send_for_ever(peer, &chatter());
    assert_given_up(talks, Kind::Unreachable, &[not_in_time]);

    let negotiates =
        |peer: &mut Peer| send_for_ever(peer, &frames::negotiate_protocol_version(0, &[]));
    assert_given_up(negotiates, Kind::Unreachable, &[not_in_time]);

    let asks = |peer: &mut Peer| send_for_ever(peer, &frames::authentication_cleartext());
    let says = "the server asks for authentication a second time";
    assert_given_up(asks, Kind::Undeliverable, &[says]);

    let rows = |peer: &mut Peer| {
        peer.expect_startup()?;
        peer.send_welcome()?;
        peer.expect_query_with("IDENTIFY_SYSTEM")?;
        let row = frames::data_row(&[Some(&"x".repeat(60_000))]);
        while peer.send(&row).is_ok() {}
        Ok(())
    };
    let says = "an answer of more than 1048576 bytes";
    assert_given_up(rows, Kind::Undeliverable, &[says]);
}

/// Each byte is a sign of life, but the deadline is that of the whole.
#[test]
fn a_server_that_sends_a_byte_now_and_then() {
    let drips = |peer: &mut Peer| {
        peer.expect_startup()?;
        for byte in frames::error_response("57P03", &"x".repeat(10_000)) {
            let pause = peer.expect_silence(CONNECT_TIMEOUT / 5);
            if pause.is_err() || peer.send(&[byte]).is_err() {
                return Ok(());
            }
        }
        Err("the client has all the time in the world".to_owned())
    };
    let says = "the server did not answer in time";
    assert_given_up(drips, Kind::Unreachable, &[says]);
}

#[test]
fn a_server_that_wants_memory_before_it_lets_anybody_in() {
    for tag in [b'R', b'N', b'S', b'E', b'v'] {
        let claims = move |peer: &mut Peer| {
            peer.expect_startup()?;
            peer.send(&frames::frame_of_length(tag, 2 << 20, &[0; 1000]))?;
            peer.expect_closed()
        };
        let says = "claims a length of 2097152 bytes; at most 1048576 are taken";
        assert_given_up(claims, Kind::Undeliverable, &[says]);
    }
}

#[test]
fn a_server_that_wants_more_than_a_proof_of_the_password() {
    let then = |more: Vec<u8>| {
        move |peer: &mut Peer| {
            peer.expect_startup()?;
            peer.send(&frames::authentication_sasl(&["SCRAM-SHA-256"]))?;
            peer.expect(b'p')?;
            peer.send(&more)?;
            peer.expect_closed()
        }
    };
    for second in [
        frames::authentication_cleartext(),
        frames::authentication_md5([1, 2, 3, 4]),
        frames::authentication_sasl(&["SCRAM-SHA-256"]),
    ] {
        let says = "asks for authentication a second time";
        assert_given_up(then(second), Kind::Undeliverable, &[says]);
    }
    let endless = frames::authentication_sasl_continue(b"r=x,s=c2FsdA==,i=2147483647");
    let says = "the server asks for 2147483647 iterations of SCRAM, at most 100000";
    assert_given_up(then(endless), Kind::Permission, &[says, "scram_iterations"]);
}

/// A server's words stay on one line, whatever is in them.
#[test]
fn a_server_that_forges_log_lines() {
    let forges = |peer: &mut Peer| {
        peer.expect_startup()?;
        let words = "no\r\n[2030-01-01T00:00:00Z INFO  postgres_source] all is well\x1b[2J";
        peer.send(&frames::error_response("28000", words))?;
        peer.close()
    };
    assert_given_up(
        forges,
        Kind::Permission,
        &[r"no\r\n[2030-01-01T00:00:00Z INFO", r"all is well\u{1b}[2J"],
    );
}
