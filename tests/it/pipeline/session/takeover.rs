//! Between the reading of the slot and its taking, another process has it, delivers, confirms and
//! ends: what was read before is old, and no sign of a gap.

use crate::support::connector::{ConfigFile, Connector, run_to_end};
use crate::support::outcome::assert_end;
use crate::support::pipeline::DEADLINE;
use crate::support::proxy::{Direction, Proxy};
use crate::support::stopped::Stopped;
use crate::support::wait_until;

/// What the program says to the server, one after the other, once it has looked at the slot.
const PLACES: [&str; 3] = ["pg_publication", "wal_sender_timeout", "START_REPLICATION"];

/// Another process delivers what there is, while nobody has the slot.
#[track_caller]
fn delivered_by_another(stopped: &Stopped, config: &ConfigFile) {
    let url = stopped.pipeline.database.url();
    let outcome = run_to_end(&config.path(), &url, &["--once-drained"], DEADLINE);
    assert_end(outcome, 0, &["drained"]);
    stopped.wait_free();
}

/// The program stands still before it says `place`; rows 4 and 5 are delivered by another.
fn overtaken(name: &str, place: &str, config: fn(&Stopped) -> ConfigFile) {
    let stopped = Stopped::new(name);
    let (database, config) = (&stopped.pipeline.database, config(&stopped));
    let proxy = Proxy::start(format!("127.0.0.1:{}", database.port()));
    proxy.hold_before(Direction::ToServer, place);
    let late = Connector::spawn_config(&config, &database.url_at(proxy.port()), &[]);
    wait_until(&format!("it is about to say {place}"), DEADLINE, || {
        proxy.is_holding(Direction::ToServer)
    });
    (4..=5).for_each(|id| stopped.insert(id));
    delivered_by_another(&stopped, &config);
    assert_eq!(stopped.rows(), [1, 2, 3, 4, 5]);

    proxy.release(Direction::ToServer);
    late.wait_log("streaming from", DEADLINE);
    stopped.insert(6);
    wait_until("row 6 arrives, or the program ends", DEADLINE, || {
        stopped.rows().contains(&6) || !late.is_running()
    });
    assert!(late.is_running(), "before {place}: {}", late.log());
    stopped.stop(late);
    assert_eq!(stopped.rows(), [1, 2, 3, 4, 5, 6]);
    // Nothing is left behind that the next process would stumble over.
    assert_eq!(stopped.goes_on(&config, 7), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn another_had_the_slot_before_it_was_taken() {
    for place in PLACES {
        overtaken("overtaken", place, Stopped::without_state);
    }
}

#[test]
fn another_had_the_slot_before_it_was_taken_and_wrote_the_state_file() {
    for place in PLACES {
        overtaken("overtaken_state", place, Stopped::with_state);
    }
}

/// Another had it between two sessions of one process, which knows what it confirmed itself.
#[test]
fn another_had_the_slot_between_two_sessions() {
    let stopped = Stopped::new("between");
    let database = &stopped.pipeline.database;
    let proxy = Proxy::start(format!("127.0.0.1:{}", database.port()));
    let config = stopped.with_state();
    let late = Connector::spawn_config(&config, &database.url_at(proxy.port()), &[]);
    late.wait_log("streaming from", DEADLINE);
    stopped.insert(4);
    stopped.pipeline.wait_caught_up();
    proxy.hold_before(Direction::ToServer, "START_REPLICATION");
    proxy.close_all();
    wait_until("it is about to take the slot", DEADLINE, || {
        proxy.is_holding(Direction::ToServer)
    });
    stopped.wait_free();
    (5..=6).for_each(|id| stopped.insert(id));
    delivered_by_another(&stopped, &config);
    proxy.release(Direction::ToServer);
    late.wait_log_count("streaming from", 2, DEADLINE);
    stopped.insert(7);
    wait_until("row 7 arrives, or the program ends", DEADLINE, || {
        stopped.rows().contains(&7) || !late.is_running()
    });
    assert!(late.is_running(), "{}", late.log());
    stopped.stop(late);
    assert_eq!(stopped.rows(), [1, 2, 3, 4, 5, 6, 7]);
}
