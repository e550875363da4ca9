//! Others that the program waits for, and servers that do not answer.

use super::row::Row;
use super::site;
use crate::observe::waiting::transaction;
use crate::pipeline::session::frozen::{Rivals, WAL_SENDER_TIMEOUT};
use crate::support::check::check;
use crate::support::outcome::FAIL_DEADLINE;
use crate::support::pipeline::DEADLINE;
use crate::support::postgres::{Database, Postgres, unique};
use crate::support::proxy::{Direction, Proxy};
use crate::support::stopped::run_verb;
use crate::support::wait_until;

/// The first major that holds the stream of a failover slot back.
const FAILOVER: u32 = 17;

/// The line is open and passes nothing on, and then it does.
pub fn silent_server(row: &Row) {
    quiet_line(row, "a firewall or proxy", |line, _| line.freeze());
}

/// The same, but a byte comes now and then.
pub fn trickling_server(row: &Row) {
    quiet_line(row, "a little trickles through", |line, database| {
        line.slow(Direction::ToClient, 1);
        // The reply is behind these.
        database.execute("INSERT INTO t SELECT generate_series(1000000, 1005000)");
    });
}

fn quiet_line(row: &Row, advice: &str, quieten: impl FnOnce(&Proxy, &Database)) {
    let server = Postgres::start(&[("wal_sender_timeout", "3s")]);
    let pipeline = site::on(&server, "silent");
    let (database, config) = (&pipeline.database, pipeline.config());
    let line = Proxy::start(format!("127.0.0.1:{}", server.port()));
    let connector = site::start(&config, &database.url_at(line.port()));
    site::row_arrives_once_it_streams(database, &connector);
    quieten(&line, database);
    row.wait_said(&connector);
    row.advises(advice);
    line.pass();
    site::row_arrives(database, &connector);
    site::goes_on(database, connector);
}

/// The server is asked who has the slot, and does not answer in time.
pub fn lost_lease(row: &Row) {
    let rivals = Rivals::new("leased", WAL_SENDER_TIMEOUT);
    let line = Proxy::start(format!("127.0.0.1:{}", rivals.postgres.port()));
    let first = rivals.start_first(&rivals.pipeline.database.url_at(line.port()));
    rivals.insert_with_batches_in_hand();
    line.freeze();
    rivals
        .pipeline
        .database
        .wait_slot_inactive(&rivals.pipeline.slot);
    rivals.spu_line.thaw();
    row.wait_said(&first);
    row.advises("nothing: the session is opened anew");
    line.thaw();
    rivals
        .pipeline
        .database
        .execute("INSERT INTO t VALUES (1000)");
    rivals.pipeline.wait_caught_up();
    assert_eq!(first.exit_code(), None, "{}", first.log());
}

pub fn slot_in_use(row: &Row) {
    let server = Postgres::start(&[("wal_sender_timeout", WAL_SENDER_TIMEOUT)]);
    let pipeline = site::on(&server, "in_use");
    let (database, config) = (&pipeline.database, pipeline.config());
    let line = Proxy::start(format!("127.0.0.1:{}", server.port()));
    let first = site::start(&config, &database.url_at(line.port()));
    site::row_arrives_once_it_streams(database, &first);
    site::ends_once(row, &config, &database.url(), 75);
    row.advises("give each its own");
    let another = pipeline.config().parameter("slot", &unique("another"));
    site::streams(database, &another, &database.url());

    // The machine of the first one is gone, and the server does not know it yet.
    line.freeze();
    let second = site::says(row, &config, &database.url());
    row.code("wal_sender_timeout");
    site::goes_on(database, second);
}

/// Publication and slot each wait, the one for a lock and the other for a transaction.
pub fn setup_that_waits(row: &Row) {
    let server = Postgres::start(&[]);
    let pipeline = site::on(&server, "held");
    let database = &pipeline.database;
    let config = pipeline.config().parameter("tables", "[t]");
    let (mut locks, pid) = transaction(database, "LOCK TABLE t IN EXCLUSIVE MODE");
    let connector = site::start(&config, &database.url());
    connector.wait_log(&format!("waiting for PID {pid} "), DEADLINE);
    row.assert_says(1, &connector.log());
    row.advises("the next lines name them");
    let elsewhere = server.database("elsewhere");
    let (mut writes, pid) = transaction(&elsewhere, "CREATE TABLE u (id int)");
    locks.batch_execute("COMMIT").expect("it ends");
    connector.wait_log(&format!("waiting for PID {pid} "), DEADLINE);
    row.assert_says(0, &connector.log());
    writes.batch_execute("COMMIT").expect("it ends");
    site::goes_on(database, connector);
}

pub fn session_in_a_transaction(row: &Row) {
    let server = Postgres::start(&[]);
    let pipeline = site::on(&server, "busy");
    let (database, config) = (&pipeline.database, pipeline.config());
    let elsewhere = server.database("elsewhere");
    for way in ["end it there", "pg_terminate_backend"] {
        let (mut session, pid) = transaction(&elsewhere, "CREATE TABLE u (id int)");
        let connector = site::says(row, &config, &database.url());
        row.advises(way);
        if way == "end it there" {
            session.batch_execute("ROLLBACK").expect("it ends");
        } else {
            let end = row.code("SELECT pg_terminate_backend");
            database.query_one_text(&end.replace('N', &pid.to_string()));
        }
        site::goes_on(database, connector);
        database.wait_slot_inactive(&pipeline.slot);
        database.query_one_text(&format!(
            "SELECT pg_drop_replication_slot('{}')",
            pipeline.slot
        ));
    }
}

pub fn prepared_transaction(row: &Row) {
    let server = Postgres::start(&[]);
    let pipeline = site::on(&server, "prepared");
    let (database, config) = (&pipeline.database, pipeline.config());
    let elsewhere = server.database("elsewhere");
    elsewhere.execute("CREATE TABLE u (id int)");
    for statement in ["COMMIT PREPARED", "ROLLBACK PREPARED"] {
        elsewhere.execute("BEGIN; INSERT INTO u VALUES (1); PREPARE TRANSACTION 'left'");
        let connector = site::says(row, &config, &database.url());
        let line = connector.wait_log("waiting for the prepared transaction", DEADLINE);
        row.advises("in the database that is named");
        assert!(line.contains(elsewhere.name()), "{line}");
        elsewhere.execute(&format!("{} 'left'", row.code(statement)));
        site::goes_on(database, connector);
        database.wait_slot_inactive(&pipeline.slot);
        database.query_one_text(&format!(
            "SELECT pg_drop_replication_slot('{}')",
            pipeline.slot
        ));
    }
}

pub fn standbys_that_are_gone(row: &Row) {
    let server = Postgres::start(&[]);
    let pipeline = site::on(&server, "failover");
    let (database, config) = (&pipeline.database, pipeline.config());
    if server.major() < FAILOVER {
        site::streams(database, &config, &database.url());
        return;
    }
    let config = config.parameter("failover", "true");
    site::streams(database, &config, &database.url());
    database.query_one_text("SELECT pg_create_physical_replication_slot('gone')");
    set_standbys(&server, database, "gone");
    let checked = check(&config, &database.url());
    checked.assert_says("slot.failover", "nobody streams from gone");
    database.execute("INSERT INTO t VALUES (1)");
    let connector = site::start(&config, &database.url());
    wait_until("it waits for them", FAIL_DEADLINE, || {
        let (_, _, lines) = run_verb("status", &config, &database.url(), &[]);
        let lines = format!("{}\n{}", lines.join("\n"), connector.log());
        lines.contains("the standbys of synchronized_standby_slots")
    });
    row.advises("take those that are gone out of the setting");
    set_standbys(&server, database, "");
    check(&config, &database.url()).assert_status("slot.failover", "ok");
    site::goes_on(database, connector);
}

fn set_standbys(server: &Postgres, database: &Database, slots: &str) {
    let setting = "synchronized_standby_slots";
    database.execute(&format!("ALTER SYSTEM SET {setting} = '{slots}'"));
    server.reload();
    wait_until("the server has the setting", DEADLINE, || {
        let mut client = database.client();
        let shown = client.query_one(&format!("SHOW {setting}"), &[]);
        shown.expect("it is known").get::<_, String>(0) == slots
    });
}
