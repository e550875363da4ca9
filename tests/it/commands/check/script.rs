//! The script of `check --sql`, which the README says to feed to psql: what others have named makes
//! no line of it.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::check::{check, check_as, run_as_superuser};
use crate::support::connector::temp_dir;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{Database, Postgres};
use crate::support::wait_until;

/// Each a line of its own in the middle, that psql would run.
const TABLE: &str = "t\n\\! touch table\n";
const GID: &str = "g\n\\! touch gid\n";
const DATABASE: &str = "d\n\\! touch database\n";

fn prepare(database: &Database, gid: &str) {
    let gid = gid.replace('\'', "''");
    let prepare = format!("BEGIN; CREATE TABLE prepared (); PREPARE TRANSACTION '{gid}'");
    let mut client = database.client();
    client.batch_execute(&prepare).expect("it is prepared");
}

/// Feeds a script to psql, in a directory of its own.
fn psql(script: &str, url: &str, directory: &Path) {
    let mut psql = Command::new("psql")
        .args(["--no-psqlrc", "--no-password", "--quiet", url])
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("psql is installed");
    let mut stdin = psql.stdin.take().expect("a pipe");
    stdin.write_all(script.as_bytes()).expect("psql reads it");
    drop(stdin);
    assert!(psql.wait().expect("it ends").success(), "{script}");
}

#[test]
fn names_with_line_breaks_are_advice() {
    let server = Postgres::start(&[]);
    let pipeline = Pipeline::on(&server, "script");
    let database = &pipeline.database;
    database.execute(&format!(
        "CREATE TABLE \"{TABLE}\" (i int); CREATE PUBLICATION {} FOR ALL TABLES",
        pipeline.publication
    ));
    database.execute(&format!("CREATE DATABASE \"{DATABASE}\""));
    prepare(database, GID);
    prepare(&server.database_named(DATABASE), "plain");
    let (config, url) = (pipeline.config(), database.url());
    wait_until("both are there for long", DEADLINE, || {
        let checked = check(&config, &url);
        let advice = checked.mends("prepared_transactions", "advice");
        advice.len() == 2
    });
    let checked = check(&config, &url);
    assert_eq!(checked.mends("prepared_transactions", "sql"), [""; 0]);
    assert_eq!(checked.mends("publication.identity", "sql"), [""; 0]);
    let advice = checked.mends("publication.identity", "advice").concat();
    let escaped = "ALTER TABLE public.\"t\\n\\! touch table\\n\" REPLICA IDENTITY FULL;";
    assert!(advice.ends_with(escaped), "{advice}");

    let (_, log, script) = check_as(&config.path(), &url, &["--sql"]);
    let is_known = |line: &str| {
        let known = ["-- ", "ALTER SYSTEM SET ", "SELECT pg_reload_conf();"];
        known.iter().any(|start| line.starts_with(start))
    };
    assert!(script.lines().all(is_known), "{script}{log}");
    let marks = temp_dir("marks-");
    psql(&script, &url, marks.path());
    let made: Vec<_> = fs::read_dir(marks.path()).expect("a directory").collect();
    assert!(made.is_empty(), "{made:?}\n{script}");
}

/// The command for a shell names the database, whatever that is called.
#[test]
fn a_shell_gets_one_word() {
    let server = Postgres::start(&[]);
    if server.major() < 17 {
        // There no slot survives a failover, and no command sets it.
        return;
    }
    let pipeline = Pipeline::on(&server, "shell");
    let name = "it's `id` $(id) \\ \"odd\"";
    let quoted = name.replace('"', "\"\"");
    pipeline
        .database
        .execute(&format!("CREATE DATABASE \"{quoted}\""));
    let odd = server.database_named(name);
    odd.create_slot(&pipeline.slot);
    let url = odd.socket_url();
    let url = url.replace("dbname=", "dbname='") + "'";
    let url = url.replace(name, &name.replace('\\', r"\\").replace('\'', r"\'"));
    let config = pipeline.config().parameter("failover", "true");
    let command = check(&config, &url)
        .mends("slot.failover", "shell")
        .concat();
    run_as_superuser(&server, &command);
    check(&config, &url).assert_status("slot.failover", "ok");
}
