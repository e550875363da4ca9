//! Streams that no honest server sends: each ends in words, and what came before it is stored.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use postgres_source::base::Signals;
use postgres_source::base::{Error, Kind, Result};
use postgres_source::observe::Metrics;
use postgres_source::observe::Notify;
use postgres_source::observe::{Peer as ObservedPeer, Side};
use postgres_source::pg::Wanted;
use postgres_source::pipeline::Memory;
use postgres_source::pipeline::Summary;
use postgres_source::pipeline::{Form, LaneMap, Past, Producer};
use postgres_source::pipeline::{Progress, Stored};
use postgres_source::pipeline::{Reader, ReaderParts};
use postgres_source::record::{ProducerRecord, RawText};
use postgres_source::sink::{Lanes, Lease, Sink};

use super::{assert_error, chatter, connect};
use crate::support::script::{Peer, Script, Step, frames};

fn begin(final_lsn: u64) -> Vec<u8> {
    let body = [final_lsn.to_be_bytes(), 0u64.to_be_bytes()].concat();
    frames::xlog_data(
        final_lsn,
        final_lsn,
        &[b"B", &body[..], &[0, 0, 0, 7]].concat(),
    )
}

fn commit(commit_lsn: u64) -> Vec<u8> {
    let (end_lsn, time) = (commit_lsn + 8, 0u64);
    let body = [commit_lsn, end_lsn, time].map(u64::to_be_bytes).concat();
    frames::xlog_data(end_lsn, end_lsn, &[b"C\0", &body[..]].concat())
}

/// A table of `columns` columns of type text.
fn relation(columns: u16) -> Vec<u8> {
    let column = b"\0c\0\0\0\0\x19\xFF\xFF\xFF\xFF".repeat(columns.into());
    let head = [b"R\0\0\0\x01public\0t\0d", &columns.to_be_bytes()[..]].concat();
    frames::xlog_data(0, 0, &[head, column].concat())
}

/// A row of it.
fn row(columns: u16) -> Vec<u8> {
    let values = b"t\0\0\0\x06secret".repeat(columns.into());
    let head = [b"I\0\0\0\x01N", &columns.to_be_bytes()[..]].concat();
    frames::xlog_data(9, 9, &[head, values].concat())
}

fn plugin(message: &[u8]) -> Vec<u8> {
    frames::xlog_data(9, 9, message)
}

/// Keeps records.
struct Kept {
    records: Arc<Mutex<Vec<String>>>,
    count: u64,
}

impl Sink for Kept {
    fn write(&mut self, _: usize, record: &ProducerRecord<'_>) -> Result<usize> {
        let mut whole = Vec::new();
        record.render(&mut whole);
        let record = String::from_utf8(whole).expect("a record is UTF-8");
        let len = record.len();
        self.records.lock().expect("nobody panics").push(record);
        self.count += 1;
        Ok(len)
    }

    fn end_unit(&mut self, _: usize) -> Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn stored(&self, _: usize) -> u64 {
        self.count
    }

    fn acknowledged(&self) -> u64 {
        self.count
    }
}

/// Streams until the server is given up, and returns why, and the records until then.
fn stream(script: &Script) -> (Error, Vec<String>) {
    stream_within(script, None)
}

/// The same, with a server that waits for so long.
pub fn stream_within(
    script: &Script,
    wal_sender_timeout: Option<Duration>,
) -> (Error, Vec<String>) {
    let connection = connect(script).expect("it lets us in");
    let stream = connection.start("s", Wanted::of("p")).expect("it streams");
    let socket = stream.socket().expect("it is open");
    let lease = Lease::begin(socket, wal_sender_timeout, Box::new(|| Ok(true)));
    let progress = Progress::starting_at(Stored::default()).expect("an eventfd");
    let mut memory = Memory::default();
    let metrics = Metrics::default();
    let records = Arc::new(Mutex::new(Vec::new()));
    let producer = Producer {
        lanes: Lanes::new(
            Box::new(Kept {
                records: Arc::clone(&records),
                count: 0,
            }),
            &Stored::in_one(Default::default(), 0),
        ),
        form: Form::Events(RawText::Bytes),
        linger: Duration::ZERO,
        progress: &progress,
        unsettled: None,
        metrics: &metrics,
    };
    let (batches, to_store) = bounded(2);
    let (lives, ended) = bounded(0);
    let result = thread::scope(|scope| {
        scope.spawn(move || {
            let _lives = lives;
            producer.run(&to_store).map_err(|(error, _)| error)
        });
        let nobody = ObservedPeer {
            side: Side::Sink,
            name: String::new(),
            patience: Duration::MAX,
        };
        let reader = Reader::new(ReaderParts {
            stream,
            lease,
            producer: ended,
            progress: &progress,
            memory: &mut memory,
            metrics: &metrics,
            past: Past::default(),
            lanes: Arc::new(LaneMap::standard_output()),
            messages: &[],
            confirmed: Stored::default(),
            status_interval: Duration::from_millis(20),
            confirm_delay: Duration::ZERO,
            goal: None,
            summary: Summary::new(Notify::default(), nobody, String::new()),
        });
        reader
            .run(
                batches,
                &Signals::listen().expect("signals can be listened to"),
            )
            .0
    });
    let records = records.lock().expect("nobody panics").clone();
    (result.expect_err("the server goes on for ever"), records)
}

/// Lets the client in and streams these bytes to it.
pub fn streams(bytes: Vec<u8>) -> impl Fn(&mut Peer) -> Step + Send + Sync + 'static {
    move |peer| {
        peer.expect_startup()?;
        peer.send_welcome()?;
        peer.expect_query_with("START_REPLICATION")?;
        peer.send(&frames::copy_both_response())?;
        peer.send(&bytes)
    }
}

/// One good transaction, and then something that is not; the good one is stored.
#[track_caller]
fn assert_refused(bad: &[Vec<u8>], says: &[&str]) {
    let good = streams([begin(100), relation(1), row(1), commit(100)].concat());
    let bad = bad.concat();
    let script = Script::start(move |peer: &mut Peer| {
        good(peer)?;
        peer.wait_flushed(108)?;
        peer.send(&bad)?;
        while let Ok((b'd', status)) = peer.next_frame("a status") {
            assert_eq!(status[9..17], 108u64.to_be_bytes(), "{status:?}");
        }
        Ok(())
    });
    let (error, records) = stream(&script);
    assert_error(&error, Kind::Undeliverable, says);
    // What came right before the bad message may have been handed over before it was read.
    let commits = records
        .iter()
        .filter(|record| record.contains("\"commit\""));
    assert_eq!(commits.count(), 1, "{records:?}");
    script.finish();
}

#[test]
fn messages_that_no_server_sends() {
    assert_refused(
        &[begin(200), plugin(b"Z")],
        &["message at 0/9", "unknown message type 'Z'"],
    );
    assert_refused(
        &[begin(200), plugin(b"S\0\0\0\x07\x01")],
        &["unknown message type 'S'"],
    );
    assert_refused(
        &[frames::copy_data(b"?")],
        &["unknown stream message type '?'"],
    );
    assert_refused(
        &[frames::copy_data(b"")],
        &["stream message type: 1 bytes expected"],
    );
    assert_refused(
        &[frames::copy_data(b"k\0\0")],
        &["walEnd: 8 bytes expected, 2 left"],
    );
    assert_refused(
        &[frames::frame(b'D', b"\0\0")],
        &["unexpected message 'D' during the stream"],
    );
    assert_refused(
        &[frames::authentication_cleartext()],
        &["unexpected message 'R'"],
    );
    assert_refused(
        &[frames::ready_for_query(b'I')],
        &["unexpected message 'Z'"],
    );
    assert_refused(&[frames::copy_both_response()], &["unexpected message 'W'"]);
}

#[test]
fn messages_of_impossible_lengths() {
    for length in [-1, i32::MIN, 0, 3, i32::MAX] {
        let says = format!("message 'd' claims a length of {length} bytes; at most 1073741823");
        assert_refused(&[frames::frame_of_length(b'd', length, b"w")], &[&says]);
    }
}

#[test]
fn messages_out_of_order() {
    assert_refused(&[row(1)], &["a message outside any transaction"]);
    assert_refused(&[commit(100)], &["a message outside any transaction"]);
    assert_refused(&[relation(1)], &["a message outside any transaction"]);
    assert_refused(&[begin(200), begin(300)], &["a begin inside transaction 7"]);
    assert_refused(
        &[begin(200), row(1), commit(300)],
        &["a commit of something else inside transaction 7"],
    );
}

#[test]
fn rows_that_fit_no_table() {
    let never_described = plugin(b"I\0\0\0\x02N\0\x01n");
    assert_refused(
        &[begin(200), never_described],
        &["relation 2 was not described before its first row"],
    );
    let deleted = plugin(b"D\0\0\0\x02K\0\x01n");
    assert_refused(&[begin(200), deleted], &["relation 2 was not described"]);
    for columns in [0, 2, 10_000] {
        assert_refused(
            &[begin(200), row(columns)],
            &[&format!(
                "a row of public.t has {columns} columns, its relation 1"
            )],
        );
    }
    assert_refused(
        &[begin(200), relation(10_000)],
        &["relation: 10000 columns, a table has at most 1600"],
    );
    let cut = plugin(b"I\0\0\0\x01N\0\x01t\0\0\0\x09secret");
    assert_refused(
        &[begin(200), cut],
        &["column 1: value: 9 bytes expected, 6 left"],
    );
    let negative = plugin(b"I\0\0\0\x01N\0\x01t\xFF\xFF\xFF\xFFsecret");
    assert_refused(
        &[begin(200), negative],
        &["value: 4294967295 bytes expected, 6 left"],
    );
    let more = plugin(b"I\0\0\0\x01N\0\x01nsecret");
    assert_refused(
        &[begin(200), more],
        &["6 bytes after the end of the message"],
    );
}

/// A name ends at its zero byte, wherever that is; what follows is read as what should follow.
#[test]
fn a_zero_byte_in_the_middle_of_a_name() {
    let with_zero = plugin(b"R\0\0\0\x01pub\0lic\0t\0d\0\x01\0c\0\0\0\0\x19\xFF\xFF\xFF\xFF");
    assert_refused(
        &[begin(200), with_zero],
        &["relation: unknown replica identity 't'"],
    );
    let no_zero = plugin(b"R\0\0\0\x01public");
    assert_refused(
        &[begin(200), no_zero],
        &["namespace: no terminating zero byte"],
    );
}

/// The largest table there can be.
#[test]
fn a_row_of_1600_columns_arrives() {
    let bytes = [begin(200), relation(1600), row(1600), commit(200)].concat();
    let streams = streams(bytes);
    let script = Script::start(move |peer: &mut Peer| {
        streams(peer)?;
        peer.wait_flushed(208)?;
        peer.close()
    });
    let (error, records) = stream(&script);
    assert_error(&error, Kind::Unreachable, &["closed the connection"]);
    assert_eq!(records.len(), 4);
    assert_eq!(records[2].matches("secret").count(), 1600);
    script.finish();
}

#[test]
fn a_stream_that_ends_early() {
    let open = [begin(200), relation(1), row(1)].concat();
    for (end, says) in [
        (frames::copy_done(), "the server ended the stream"),
        (
            frames::command_complete("COPY 0"),
            "the server ended the stream",
        ),
        (row(1)[..20].to_vec(), "the server closed the connection"),
        (Vec::new(), "the server closed the connection"),
    ] {
        let streams = streams([&open[..], &end].concat());
        let script = Script::start(move |peer: &mut Peer| {
            streams(peer)?;
            peer.shut_down();
            // Nothing of a transaction that did not end is confirmed.
            while let Ok((b'd', status)) = peer.next_frame("a status") {
                assert_eq!(status[9..17], [0; 8], "{status:?}");
            }
            Ok(())
        });
        let (error, _) = stream(&script);
        assert_error(&error, Kind::Unreachable, &[says]);
        script.finish();
    }
}

#[test]
fn notices_and_changed_parameters_everywhere() {
    let script = Script::start(|peer: &mut Peer| {
        peer.expect_startup()?;
        peer.send(&chatter())?;
        peer.send(&frames::authentication_ok())?;
        peer.send(&chatter())?;
        peer.send(&frames::ready_for_query(b'I'))?;
        peer.expect_query_with("START_REPLICATION")?;
        peer.send(&chatter())?;
        peer.send(&frames::copy_both_response())?;
        for message in [begin(200), relation(1), row(1), commit(200)] {
            peer.send(&chatter())?;
            peer.send(&message)?;
        }
        peer.send(&chatter())?;
        peer.wait_flushed(208)?;
        peer.send(&frames::copy_done())?;
        peer.expect_closed()
    });
    let (error, records) = stream(&script);
    assert_error(&error, Kind::Unreachable, &["the server ended the stream"]);
    assert_eq!(records.len(), 4);
    script.finish();
}

/// A row filter that fails on a row: the server's message quotes it.
#[test]
fn an_error_that_quotes_a_row_is_not_repeated() {
    let fails = frames::error_response("22008", "date field value out of range: secret");
    let script = Script::start(move |peer: &mut Peer| {
        streams([begin(200), fails.clone()].concat())(peer)?;
        peer.expect_closed()
    });
    let (error, _) = stream(&script);
    assert_error(
        &error,
        Kind::Undeliverable,
        &["[SQLSTATE 22008]", "accept-gap"],
    );
    script.finish();
}
