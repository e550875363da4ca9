//! Servers that live and do not answer: what they say instead keeps no session.

use std::time::{Duration, Instant};

use postgres_source::base::Kind;

use super::assert_error;
use super::stream::{stream_within, streams};
use crate::support::pipeline::DEADLINE;
use crate::support::script::{Peer, Script, frames};

/// What a server says in which tick.
type Says = Box<dyn Fn(i64) -> Vec<u8> + Send + Sync>;

/// How often a server says something that says nothing.
const TICK: Duration = Duration::from_millis(100);

/// A server that wants replies and gives none, one that says the same again and again, and one that
/// never comes to the end of a message.
#[test]
fn a_server_that_lives_and_does_not_answer() {
    let keepalive = |sent: i64, wants_reply: bool| {
        let mut keepalive = frames::keepalive(100, wants_reply);
        let end = keepalive.len();
        keepalive[end - 9..end - 1].copy_from_slice(&sent.to_be_bytes());
        keepalive
    };
    let asks = move |second: i64| keepalive(second * 100_000, true);
    let repeats = move |_| keepalive(7, false);
    let drips = |second: i64| match second {
        0 => frames::frame_of_length(b'd', 1_000_000, b"w"),
        _ => b"x".to_vec(),
    };
    let plays: [(&str, Says); 3] = [
        ("asks", Box::new(asks)),
        ("repeats", Box::new(repeats)),
        ("drips", Box::new(drips)),
    ];
    for (name, says) in plays {
        let streams = streams(Vec::new());
        let script = Script::start(move |peer: &mut Peer| {
            streams(peer)?;
            let begun = Instant::now();
            for number in 0.. {
                let next = begun + number * TICK;
                while Instant::now() < next {
                    if let Err(_gone) = peer.next_frame("a status") {
                        return Ok(());
                    }
                }
                if begun.elapsed() > DEADLINE {
                    return Err("the client listens for ever".to_owned());
                }
                if peer.send(&says(number.into())).is_err() {
                    return Ok(());
                }
            }
            Ok(())
        });
        let (error, _) = stream_within(&script, Some(Duration::from_secs(2)));
        let says = "bytes in 2 s, and not the reply that was asked for";
        assert!(error.to_string().contains(says), "{name}: {error}");
        assert_error(&error, Kind::Unreachable, &[says]);
        script.finish();
    }
}
