//! Settings of a server, and what stands in its place.

use super::row::Row;
use super::site;
use crate::support::check::{check, healthy_server};
use crate::support::pgbouncer::PgBouncer;
use crate::support::pipeline::DEADLINE;
use crate::support::postgres::{Postgres, Stop};
use crate::support::wait_until;

/// What not every version has, and the first one that does.
const PARAMETERS: [(&str, &str, u32); 5] = [
    ("publish", "[insert, truncate]", 11),
    ("publish_via_partition_root", "true", 13),
    ("messages", "[p]", 14),
    ("failover", "true", 17),
    ("generated_columns", "stored", 18),
];

pub fn newer_parameter(row: &Row) {
    let pipeline = site::shared("newer");
    let (database, url) = (&pipeline.database, pipeline.database.url());
    let mut config = pipeline.config();
    for (key, value, since) in PARAMETERS {
        config = config.parameter(key, value);
        if database.major() < since {
            site::ends(row, &config, &url, 78);
            row.advises("take the parameter out");
            config = config.without(key);
        }
    }
    site::streams(database, &config, &url);
}

pub fn wal_level(row: &Row) {
    let server = Postgres::start(&[("wal_level", "replica")]);
    let pipeline = site::on(&server, "level");
    let (database, config) = (&pipeline.database, pipeline.config());
    site::ends(row, &config, &database.url(), 78);
    database.execute(row.code("ALTER SYSTEM"));
    row.advises("restart the server");
    server.restart(Stop::Fast);
    site::streams(database, &config, &database.url());
}

pub fn pooler(row: &Row) {
    let server = healthy_server();
    let pipeline = site::on(server, "pooled");
    let (database, config) = (&pipeline.database, pipeline.config());
    let pooler = PgBouncer::start(server, "");
    let url = database.url_at(pooler.port());
    site::ends(row, &config, &url, 78);
    row.advises("PostgreSQL's own host and port");
    let advice = check(&config, &url).mends("pooler", "advice").concat();
    let (_, port) = advice.rsplit_once("listens on port ").expect("a port");
    let url = database.url_at(port.parse().expect("a number"));
    site::streams(database, &config, &url);
}

pub fn slots_in_use(row: &Row) {
    let server = Postgres::start(&[("max_replication_slots", "1")]);
    let pipeline = site::on(&server, "slots");
    let (database, config) = (&pipeline.database, pipeline.config());
    database.create_slot("unused");
    site::ends(row, &config, &database.url(), 78);
    let raise = row.code("max_replication_slots");
    database.execute(&format!("ALTER SYSTEM SET {raise} = 2"));
    server.restart(Stop::Fast);
    site::streams(database, &config, &database.url());

    let another = config.parameter("slot", "another");
    site::ends(row, &another, &database.url(), 78);
    row.advises("drop a slot that is not used");
    database.query_one_text("SELECT pg_drop_replication_slot('unused')");
    site::streams(database, &another, &database.url());
}

pub fn senders_in_use(row: &Row) {
    let server = Postgres::start(&[("max_wal_senders", "1")]);
    let pipeline = site::on(&server, "senders");
    let (database, config) = (&pipeline.database, pipeline.config());
    let first = site::start(&config, &database.url());
    site::row_arrives_once_it_streams(database, &first);
    let config = config.parameter("slot", "second");
    let second = site::says(row, &config, &database.url());
    let raise = row.code("max_wal_senders");
    database.execute(&format!("ALTER SYSTEM SET {raise} = 2"));
    // The stop waits for what the first has to confirm.
    server.restart(Stop::Fast);
    site::goes_on(database, second);
    site::row_arrives(database, &first);
}

/// The keyword stands for physical replication.
pub fn no_line_in_pg_hba(row: &Row) {
    let lines = "host replication all 127.0.0.1/32 scram-sha-256\n";
    let server = Postgres::start_with(&[], lines, &[]);
    let pipeline = site::on(&server, "refused");
    let (database, config) = (&pipeline.database, pipeline.config());
    site::ends(row, &config, &database.url(), 77);
    row.advises("a line for its database");
    let checked = check(&config, &database.url());
    let advice = checked.mends("postgres", "advice").concat();
    // Versions before 14 name the host in other words, of which no line is made.
    let line = advice
        .split_once("pg_hba.conf, \"")
        .and_then(|(_, rest)| rest.split_once("\", and "))
        .map_or("host all all 127.0.0.1/32 scram-sha-256", |(line, _)| line);
    server.set_hba(&format!("{lines}{line}\n"));
    server.reload();
    wait_until("the line counts", DEADLINE, || {
        check(&config, &database.url()).status("postgres") == Some("ok")
    });
    site::streams(database, &config, &database.url());
}
