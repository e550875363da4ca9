//! The network is cut below TCP: the kernel keeps what the program has sent, and sends it again and
//! again, 0.2, 0.6, 1.4, 3.0, 6.2, 12.6 s later, whatever has become of the program.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::pipeline::reader::silence::{Silence, assert_said, wait_ready};
use crate::pipeline::session::frozen::{Rivals, WAL_SENDER_TIMEOUT};
use crate::support::connector::Connector;
use crate::support::cut::{Cut, assert_runs};
use crate::support::namespace::{Namespace, unacknowledged};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::Postgres;

/// A new process streams and has written what is pending well before that: it waits for a second until
/// it takes a topic for still.
const NEW_PROCESS: Duration = Duration::from_millis(2500);

/// A new session after a write in doubt has done so by then: it connects, and waits until the topic is
/// still, with a timeout of a second each.
const NEW_SESSION: Duration = Duration::from_millis(4500);

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
fn frozen(name: &str, timeout: &str) {
    Namespace::within(|network| {
        let postgres = Postgres::start(&[("wal_sender_timeout", "1s")]);
        let pipeline = Pipeline::on(&postgres, name).in_process();
        let cut = Cut::new(network, pipeline);
        let config = || cut.pipeline.config().fluvio("timeout", timeout);
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

#[test]
fn frozen_with_a_batch_in_flight() {
    frozen("cut_frozen", "2s");
}

/// The server gives the slot up long before Fluvio would be given up.
#[test]
fn frozen_with_a_patience_for_fluvio() {
    frozen("cut_patient", "30s");
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
