//! What the replication client makes of a server that fails in the midst of a session.

use postgres_source::base::Lsn;
use postgres_source::base::{Error, Kind, Result};
use postgres_source::pg::ConnectParams;
use postgres_source::pg::{ReplicationConnection, ReplicationStream, Wanted};

use crate::support::script::{Peer, Script, Step, frames};

#[test]
fn notices_and_a_negotiation_do_not_matter() {
    let script = Script::start(|peer| {
        peer.expect_startup()?;
        peer.send(&frames::negotiate_protocol_version(0, &["_pq_.odd"]))?;
        peer.send(&frames::notice_response("01000", "the script greets"))?;
        peer.send_welcome()?;
        peer.expect_query_with("IDENTIFY_SYSTEM")?;
        peer.send(&frames::notice_response("01000", "in the midst"))?;
        peer.send(&frames::rows(
            &["systemid", "timeline", "xlogpos", "dbname"],
            &[&[Some("7"), Some("1"), Some("0/10"), Some("db")]],
        ))?;
        peer.expect_closed()
    });
    let mut connection = connect(&script).expect("it is let in");
    let system = connection.identify_system().expect("the script answers");
    assert_eq!((system.identifier.as_str(), system.timeline), ("7", 1));
    assert_eq!(system.wal_flush, Lsn(16));
    drop(connection);
    script.finish();
}

fn connect(script: &Script) -> Result<ReplicationConnection> {
    let target =
        ConnectParams::parse(&script.url("db"), "postgres-source/script").expect("a valid URL");
    ReplicationConnection::connect(&target)
}

/// What the client does once it is let in.
fn stream(script: &Script) -> Result<Lsn> {
    let mut connection = connect(script)?;
    let slot = connection
        .slot("s")?
        .ok_or_else(|| Error::config("no slot"))?;
    let from = slot.confirmed();
    connection.wal_sender_timeout()?;
    let mut stream = connection.start("s", Wanted::of("p"))?;
    wait_message(&mut stream)?;
    stream.send_status(from)?;
    stream.end()?;
    Ok(from)
}

/// A row of pg_replication_slots, with a column more than is needed.
const SLOT: &str = r#"{"slot_name":"s","plugin":"pgoutput","database":"db","temporary":false,
    "confirmed_flush_lsn":"0/20"}"#;

fn wait_message(stream: &mut ReplicationStream) -> Result<()> {
    while stream.message()?.is_none() {
        stream.wait()?;
    }
    Ok(())
}

/// Plays a server up to `stage`, of six.
fn play_until(peer: &mut Peer, stage: usize) -> Step {
    let steps: [fn(&mut Peer) -> Step; 6] = [
        |peer| peer.expect_query_with("pg_replication_slots").map(drop),
        |peer| {
            peer.send(&frames::rows(&["row_to_json"], &[&[Some(SLOT)]]))?;
            peer.expect_query_with("wal_sender_timeout").map(drop)
        },
        |peer| {
            peer.send(&frames::rows(&["setting"], &[&[Some("60000")]]))?;
            let command = peer.expect_query_with("START_REPLICATION")?;
            assert_eq!(
                command,
                "START_REPLICATION SLOT \"s\" LOGICAL 0/0 \
                 (proto_version '1', publication_names '\"p\"')"
            );
            Ok(())
        },
        |peer| peer.send(&frames::copy_both_response()),
        |peer| {
            peer.send(&frames::keepalive(0x30, false))?;
            let status = peer.expect_status()?;
            assert_eq!((status.flushed, status.written), (0x20, 0x20));
            peer.expect(b'c').map(drop)
        },
        |peer| {
            peer.send(&frames::copy_done())?;
            peer.send(&frames::done("COPY 0"))?;
            peer.expect(b'X').map(drop)
        },
    ];
    peer.expect_startup()?;
    peer.send_welcome()?;
    steps[..stage].iter().try_for_each(|step| step(peer))
}

#[test]
fn a_whole_session() {
    let script = Script::start(|peer| {
        play_until(peer, 6)?;
        peer.expect_closed()
    });
    assert_eq!(stream(&script).expect("nothing goes wrong"), Lsn(0x20));
    script.finish();
}

#[test]
fn an_error_at_every_stage_of_the_session() {
    for stage in 1..=5 {
        for (sqlstate, kind) in [
            ("55006", Kind::SlotInUse),
            ("42704", Kind::Config),
            ("57P01", Kind::Unreachable),
            ("XX000", Kind::Undeliverable),
        ] {
            let script = Script::start(move |peer| {
                play_until(peer, stage)?;
                peer.send(&frames::error_response(sqlstate, "no"))?;
                peer.close()
            });
            let error = stream(&script).expect_err("the script says no");
            // In the stream it means that the publication is missing where the slot is.
            let is_gap = sqlstate == "42704" && stage == 4;
            let kind = if is_gap { Kind::Gap } else { kind };
            assert_eq!(error.kind(), kind, "stage {stage}: {error}");
            let says = format!("the server says: FATAL no [SQLSTATE {sqlstate}]");
            assert!(error.to_string().contains(&says), "stage {stage}: {error}");
            script.finish();
        }
    }
}

#[test]
fn the_end_of_the_connection_at_every_stage_of_the_session() {
    for stage in 1..=5 {
        let script = Script::start(move |peer| {
            play_until(peer, stage)?;
            peer.close()
        });
        let error = stream(&script).expect_err("the script goes away");
        assert_eq!(error.kind(), Kind::Unreachable, "stage {stage}: {error}");
        script.finish();
    }
}

#[test]
fn garbage_at_every_stage_of_the_session() {
    for stage in 1..=4 {
        for garbage in [
            frames::frame(b'?', b"garbage"),
            frames::frame_of_length(b'D', 3, b""),
            frames::frame(b'D', b"\0\x01\0\0\0\x05x"),
            frames::copy_data(b"?"),
        ] {
            let script = Script::start(move |peer| {
                play_until(peer, stage)?;
                peer.send(&garbage)?;
                peer.expect_closed()
            });
            let error = stream(&script).expect_err("the script talks nonsense");
            assert_eq!(error.kind(), Kind::Undeliverable, "stage {stage}: {error}");
            script.finish();
        }
    }
}
