//! A program that has lost its slot and does not know it: it was stopped by SIGSTOP, or its line to
//! PostgreSQL is silent. Another one takes the slot over; then the first goes on, with batches in hand.

use crate::support::connector::{ConfigFile, Connector};
use crate::support::load::assert_same_rows;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::ports::port;
use crate::support::postgres::Postgres;
use crate::support::proxy::{Direction, Proxy};
use crate::support::record::inserted;
use crate::support::wait_until;

/// The server frees the slot of a silent program after this.
pub const WAL_SENDER_TIMEOUT: &str = "3s";

/// So many rows of a kilobyte are some twenty batches.
const ROWS: i64 = 300;
/// So many are more than a program takes that waits for its topic, and than the buffers of its socket hold.
const MANY_ROWS: i64 = 20_000;
/// A request has less than this besides its batch, and a batch with a row in it has more.
const ROW_BYTES: u64 = 1000;

/// Two programs for one slot. The first reaches the SPU through a proxy.
pub struct Rivals {
    pub pipeline: Pipeline,
    pub spu_line: Proxy,
    pub postgres: Postgres,
    rows: i64,
}

impl Rivals {
    pub fn new(name: &str, wal_sender_timeout: &str) -> Rivals {
        let postgres = Postgres::start(&[("wal_sender_timeout", wal_sender_timeout)]);
        let pipeline = Pipeline::on(&postgres, name).in_process();
        pipeline
            .database
            .execute("CREATE TABLE t (id int8 PRIMARY KEY, filler text)");
        let spu_line = Proxy::start(pipeline.server().spu_addr());
        Rivals {
            pipeline,
            spu_line,
            postgres,
            rows: ROWS,
        }
    }

    fn config(&self) -> ConfigFile {
        // What comes in one piece from the server is to be in batches as large as may be.
        let config = self.pipeline.config().producer("linger", "100ms");
        config.producer("batch-size", "16KB")
    }

    #[track_caller]
    fn start(&self, url: &str) -> Connector {
        let config = self.config();
        let connector = Connector::spawn_config(&config, url, &[]);
        connector.wait_log("streaming from", DEADLINE);
        connector
    }

    /// Starts the first program, which is told that the SPU is where the proxy is.
    #[track_caller]
    pub fn start_first(&self, url: &str) -> Connector {
        let server = self.pipeline.server();
        server.advertise_spu(self.spu_line.port());
        let first = self.start(url);
        server.advertise_spu(port(&server.spu_addr()));
        first
    }

    /// Starts the second one once the slot is free, and waits until it has delivered everything.
    #[track_caller]
    pub fn take_over(&self) -> Connector {
        self.pipeline
            .database
            .wait_slot_inactive(&self.pipeline.slot);
        let second = self.start(&self.pipeline.database.socket_url());
        self.pipeline.wait_caught_up();
        second
    }

    /// The acknowledgements for the first program are held back: one batch of these rows is stored, and
    /// all of the next one has been sent but its last byte.
    #[track_caller]
    pub fn insert_with_batches_in_hand(&self) {
        self.spu_line.freeze_direction(Direction::ToClient);
        let sent = || self.spu_line.bytes(Direction::ToServer);
        let (sent_before, stored_before) = (sent(), self.stored().len());
        self.pipeline.database.execute(&format!(
            "INSERT INTO t SELECT id, repeat('x', 1000) FROM generate_series(1, {}) id",
            self.rows
        ));
        wait_until(
            "one batch is stored and the next was sent",
            DEADLINE,
            || {
                let stored: usize = self.stored()[stored_before..].iter().sum();
                stored > 0 && sent() - sent_before > stored as u64 + ROW_BYTES
            },
        );
        assert_eq!(self.stored().len(), stored_before + 1);
    }

    /// The sizes of the batches in the topic.
    fn stored(&self) -> Vec<usize> {
        let batches = self.pipeline.server().batches(&self.pipeline.topic, 0);
        batches.iter().map(|batch| batch.bytes).collect()
    }

    /// The first program has lost its slot, says so, and neither has written anything twice; and when
    /// the second ends, it has the slot again.
    #[track_caller]
    pub fn assert_exactly_once(&self, first: Connector, second: Connector) {
        first.wait_log("is active for PID", DEADLINE);
        self.arrives(self.rows + 1);
        for connector in [&first, &second] {
            assert_eq!(connector.exit_code(), None, "{}", connector.log());
        }
        second.kill();
        self.arrives(self.rows + 2);
        assert_eq!(first.exit_code(), None, "{}", first.log());
        let expected: Vec<i64> = (1..=self.rows + 2).collect();
        assert_same_rows(&inserted(&self.pipeline.records()), &expected);
    }

    #[track_caller]
    fn arrives(&self, id: i64) {
        let database = &self.pipeline.database;
        database.execute(&format!("INSERT INTO t VALUES ({id})"));
        self.pipeline.wait_caught_up();
    }
}

/// A program is stopped with batches in hand, and goes on when another one has delivered everything.
fn frozen(name: &str, wal_sender_timeout: &str, free_the_slot: fn(&Rivals)) {
    frozen_with(Rivals::new(name, wal_sender_timeout), free_the_slot);
}

fn frozen_with(rivals: Rivals, free_the_slot: fn(&Rivals)) {
    let first = rivals.start_first(&rivals.pipeline.database.url());
    rivals.insert_with_batches_in_hand();
    first.signal("STOP");
    rivals.spu_line.thaw();
    free_the_slot(&rivals);
    let second = rivals.take_over();
    first.signal("CONT");
    rivals.assert_exactly_once(first, second);
}

#[test]
fn the_slot_is_given_up_by_the_server() {
    frozen("frozen", WAL_SENDER_TIMEOUT, |_| {});
}

fn terminate_walsender(rivals: &Rivals) {
    let Pipeline { database, slot, .. } = &rivals.pipeline;
    assert!(database.terminate_walsender(slot));
}

#[test]
fn the_walsender_is_terminated() {
    frozen("frozen_terminated", "60s", terminate_walsender);
}

/// The end of the stream stands behind rows that the kernel does not take before the first are read. A walsender
/// that waits for room to write may end with its timeout only.
#[test]
fn the_walsender_is_terminated_behind_unread_rows() {
    let rivals = Rivals {
        rows: MANY_ROWS,
        ..Rivals::new("frozen_unread", "30s")
    };
    frozen_with(rivals, terminate_walsender);
}

/// The program lives, its line to PostgreSQL does not, and Fluvio does not answer it.
fn silent_line(name: &str, heal: fn(&Rivals, &Connector, &Proxy)) {
    let rivals = Rivals::new(name, WAL_SENDER_TIMEOUT);
    let line = Proxy::start(format!("127.0.0.1:{}", rivals.postgres.port()));
    let first = rivals.start_first(&rivals.pipeline.database.url_at(line.port()));
    rivals.insert_with_batches_in_hand();
    line.freeze();
    let second = rivals.take_over();
    heal(&rivals, &first, &line);
    rivals.assert_exactly_once(first, second);
}

/// Only the time says then that the slot may be lost.
#[test]
fn fluvio_answers_before_the_line_is_back() {
    silent_line("silent_fluvio_first", |rivals, first, line| {
        rivals.spu_line.thaw();
        first.wait_log("trying again in", DEADLINE);
        line.thaw();
    });
}

#[test]
fn the_line_is_back_before_fluvio_answers() {
    silent_line("silent_line_first", |rivals, _, line| {
        line.thaw();
        rivals.spu_line.thaw();
    });
}
