//! The network is cut below TCP: the kernel keeps what the program has sent, and sends it again and
//! again, 0.2, 0.6, 1.4, 3.0, 6.2, 12.6 s later, whatever has become of the program.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::frozen::{Rivals, WAL_SENDER_TIMEOUT};
use crate::silence::{Silence, assert_said, wait_ready};
use crate::support::connector::{ConfigFile, Connector};
use crate::support::load::assert_same_rows;
use crate::support::namespace::{Namespace, Unacknowledged, unacknowledged};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::ports::port;
use crate::support::postgres::Postgres;
use crate::support::record::inserted;
use crate::support::wait_until;

/// A new process streams and has written what is pending well before that: it waits for a second until
/// it takes a topic for still.
const NEW_PROCESS: Duration = Duration::from_millis(2500);

/// The same of a new session after a write in doubt: it connects and waits with a timeout of a second
/// each.
const NEW_SESSION: Duration = Duration::from_millis(4500);

/// A pipeline whose Fluvio is in a namespace, and whose PostgreSQL no cut reaches.
struct Cut<'a> {
    network: &'a Namespace,
    pipeline: Pipeline,
    spu: u16,
}

impl<'a> Cut<'a> {
    fn new(network: &'a Namespace, pipeline: Pipeline) -> Cut<'a> {
        pipeline
            .database
            .execute("CREATE TABLE t (id int8 PRIMARY KEY)");
        let spu = port(&pipeline.server().spu_addr());
        Cut {
            network,
            pipeline,
            spu,
        }
    }

    fn on_the_shared_server(network: &'a Namespace, name: &str) -> Cut<'a> {
        Cut::new(network, Pipeline::new(name).in_process())
    }

    #[track_caller]
    fn start(&self, config: &ConfigFile) -> Connector {
        let url = self.pipeline.database.socket_url();
        let connector = Connector::spawn_config(config, &url, &[]);
        connector.wait_log("streaming from", DEADLINE);
        connector
    }

    fn insert(&self, id: i64) {
        let database = &self.pipeline.database;
        database.execute(&format!("INSERT INTO t VALUES ({id})"));
    }

    /// A row that is written now arrives, and the program goes on.
    #[track_caller]
    fn arrives(&self, id: i64, connector: &Connector) {
        self.insert(id);
        let Pipeline { database, slot, .. } = &self.pipeline;
        let written = database.current_wal_lsn();
        wait_until("the row is confirmed", DEADLINE, || {
            !connector.is_running() || database.slot_confirmed_lsn(slot) >= Some(written)
        });
        assert_runs(connector);
    }

    /// The network is cut, and the program has sent this row in vain.
    #[track_caller]
    fn send_in_vain(&self, id: i64) {
        self.network.cut();
        self.insert(id);
        wait_until("it was sent", DEADLINE, || !self.in_flight().is_empty());
    }

    fn in_flight(&self) -> Vec<Unacknowledged> {
        unacknowledged(self.spu)
    }

    /// Heals the network at a moment from which on nothing is sent again for so long.
    #[track_caller]
    fn heal_before(&self, silence: Duration) {
        wait_until("nothing is sent again for long", DEADLINE, || {
            let sockets = self.in_flight();
            sockets.iter().all(|socket| socket.sent_again_in >= silence)
        });
        self.network.heal();
    }

    /// Waits until the kernel has got rid of all that was sent.
    #[track_caller]
    fn wait_for_the_kernel(&self) {
        wait_until("the kernel has sent everything", DEADLINE, || {
            self.in_flight().is_empty()
        });
    }

    /// The topic has the rows up to this one, each once and in order.
    #[track_caller]
    fn assert_rows(&self, last: i64) {
        let expected: Vec<i64> = (1..=last).collect();
        assert_same_rows(&inserted(&self.pipeline.records()), &expected);
    }
}

#[track_caller]
fn assert_runs(connector: &Connector) {
    assert_eq!(connector.exit_code(), None, "{}", connector.log());
}

#[track_caller]
fn stop(mut connector: Connector) {
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
}

/// What the tests below rest on.
#[test]
fn a_kernel_goes_on_with_what_was_closed() {
    Namespace::within(|network| {
        let open = || TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let (listener, other) = (open(), open());
        let port = |listener: &TcpListener| listener.local_addr().expect("it is bound").port();
        let connect = |listener| TcpStream::connect(("127.0.0.1", port(listener)));
        let mut client = connect(&listener).expect("it listens");
        let (mut server, _) = listener.accept().expect("a connection");
        server
            .set_read_timeout(Some(DEADLINE))
            .expect("a time limit");
        network.cut_port(port(&listener));
        connect(&other).expect("another port is not cut");
        client.write_all(b"late").expect("the kernel takes it");
        drop(client);
        let held = unacknowledged(port(&listener));
        let [socket] = held[..] else {
            panic!("one socket in {held:?}");
        };
        // The end of the stream counts as a byte.
        assert!(socket.is_orphan && socket.bytes == 5, "{socket:?}");
        network.heal();
        let mut received = String::new();
        server.read_to_string(&mut received).expect("it arrives");
        assert_eq!(received, "late");
    });
}

/// A process ends in this way with a batch in flight, and the next one is faster than the kernel.
fn left_to_the_kernel(name: &str, end: fn(Connector)) {
    Namespace::within(|network| {
        let cut = Cut::on_the_shared_server(network, name);
        let connector = cut.start(&cut.pipeline.config());
        cut.arrives(1, &connector);
        cut.send_in_vain(2);
        end(connector);
        cut.heal_before(NEW_PROCESS);
        let connector = cut.start(&cut.pipeline.config());
        cut.arrives(3, &connector);
        cut.wait_for_the_kernel();
        cut.arrives(4, &connector);
        cut.assert_rows(4);
    });
}

#[test]
fn killed_with_a_batch_in_flight() {
    left_to_the_kernel("cut_killed", Connector::kill);
}

#[test]
fn stopped_with_a_batch_in_flight() {
    left_to_the_kernel("cut_stopped", stop);
}

/// The old batch is still with the kernel when the next session has written it again.
#[test]
fn a_session_that_lost_its_network() {
    Namespace::within(|network| {
        let cut = Cut::on_the_shared_server(network, "cut_session");
        let connector = cut.start(&cut.pipeline.config().fluvio("timeout", "1s"));
        cut.arrives(1, &connector);
        cut.send_in_vain(2);
        connector.wait_log("trying again in", DEADLINE);
        cut.heal_before(NEW_SESSION);
        cut.arrives(3, &connector);
        cut.wait_for_the_kernel();
        cut.arrives(4, &connector);
        cut.assert_rows(4);
    });
}

/// However the program gives a batch up, nobody has anything of it left to send.
fn given_up(name: &str, give_up: fn(Connector) -> Option<Connector>) {
    Namespace::within(|network| {
        let cut = Cut::on_the_shared_server(network, name);
        let connector = cut.start(&cut.pipeline.config().fluvio("timeout", "1s"));
        cut.arrives(1, &connector);
        cut.send_in_vain(2);
        let _rest = give_up(connector);
        let sockets = cut.in_flight();
        assert!(!sockets.iter().any(|left| left.is_orphan), "{sockets:?}");
    });
}

#[test]
fn a_kill_leaves_nothing_to_send() {
    given_up("cut_kill_leaves", |connector| {
        connector.kill();
        None
    });
}

#[test]
fn a_stop_leaves_nothing_to_send() {
    given_up("cut_stop_leaves", |connector| {
        stop(connector);
        None
    });
}

#[test]
fn a_failed_session_leaves_nothing_to_send() {
    given_up("cut_failure_leaves", |connector| {
        connector.wait_log("trying again in", DEADLINE);
        Some(connector)
    });
}

/// Its kernel goes on while the program is frozen, its slot becomes free and another takes over.
#[test]
fn frozen_with_a_batch_in_flight() {
    Namespace::within(|network| {
        let postgres = Postgres::start(&[("wal_sender_timeout", "1s")]);
        let pipeline = Pipeline::on(&postgres, "cut_frozen").in_process();
        let cut = Cut::new(network, pipeline);
        let config = || cut.pipeline.config().fluvio("timeout", "2s");
        let first = cut.start(&config());
        cut.arrives(1, &first);
        cut.send_in_vain(2);
        first.signal("STOP");
        cut.pipeline.database.wait_slot_inactive(&cut.pipeline.slot);
        cut.heal_before(NEW_PROCESS);
        let second = cut.start(&config());
        cut.arrives(3, &second);
        cut.wait_for_the_kernel();
        cut.arrives(4, &second);
        first.signal("CONT");
        first.wait_log("is active for PID", DEADLINE);
        cut.arrives(5, &second);
        assert_runs(&first);
        cut.assert_rows(5);
    });
}

/// Neither side hears of it: the server gives the slot up, and the program has its connection still.
#[test]
fn the_line_to_postgres_is_cut_with_batches_in_hand() {
    Namespace::within(|network| {
        let rivals = Rivals::new("cut_line", WAL_SENDER_TIMEOUT);
        let first = rivals.start_first(&rivals.pipeline.database.url());
        rivals.insert_with_batches_in_hand();
        network.cut_port(rivals.postgres.port());
        let second = rivals.take_over();
        rivals.spu_line.thaw();
        first.wait_log("trying again in", DEADLINE);
        network.heal();
        rivals.assert_exactly_once(first, second);
    });
}

#[test]
fn the_line_to_postgres_is_cut_and_quiet() {
    Namespace::within(|network| {
        let silence = Silence::new("cut_quiet");
        let connector = silence.start_on(&silence.pipeline.database.url());
        silence.insert(1);
        silence.assert_rows(1);
        network.cut_port(silence.postgres.port());
        silence.insert(2);
        assert_said(&connector);
        network.heal();
        silence.insert(3);
        silence.assert_rows(3);
        wait_ready(&connector);
    });
}
