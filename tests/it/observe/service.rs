//! What a service manager hears, and when a watchdog hears no more.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::connector::{ConfigFile, Connector, URL_VARIABLE, program, temp_dir};
use crate::support::manager::{Manager, count, position};
use crate::support::outcome::FAIL_DEADLINE;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::wait_until;

const TABLE: &str = "CREATE TABLE t (id int8)";
const WATCHDOG: Duration = Duration::from_secs(1);
const WATCHDOG_USEC: &str = "1000000";
/// What Linux lets stand in a pipe.
const PIPE_BYTES: usize = 64 * 1024;

/// Starts the program under a manager.
fn start(pipeline: &Pipeline, config: &ConfigFile, manager: &Manager) -> Connector {
    start_with(pipeline, config, manager, &[])
}

fn start_with(
    pipeline: &Pipeline,
    config: &ConfigFile,
    manager: &Manager,
    more: &[(&str, &str)],
) -> Connector {
    let url = pipeline.database.url();
    let own = [(URL_VARIABLE, &*url), ("NOTIFY_SOCKET", &manager.socket)];
    Connector::spawn_with(&config.path(), &[], &[&own, more].concat())
}

#[test]
fn ready_comes_last_of_all_that_has_to_be_opened() {
    for manager in [Manager::new(), Manager::abstract_name()] {
        let pipeline = Pipeline::new("ready").in_process();
        let config = pipeline.config();
        let mut connector = start(&pipeline, &config, &manager);
        manager.wait("READY=1", 1, DEADLINE);
        let held = pipeline.database.slot_active_pid(&pipeline.slot);
        assert!(held.is_some(), "{:#?}", manager.messages());
        connector.sigterm();
        assert_eq!(connector.wait_exit(DEADLINE), 0);

        let messages = manager.messages();
        let sc = pipeline.server().sc_addr();
        let spu = pipeline.server().spu_addr();
        let postgres = format!("127.0.0.1:{}", pipeline.database.port());
        let expected = [
            format!("STATUS=waiting for Fluvio at {sc}"),
            format!("STATUS=waiting for PostgreSQL at {postgres}"),
            // Its tail is read.
            format!("STATUS=waiting for Fluvio at {spu}"),
            "READY=1\nSTATUS=streaming; confirmed ".to_owned(),
            "STOPPING=1\nSTATUS=stopping".to_owned(),
            "STATUS=stopped".to_owned(),
        ];
        assert_eq!(messages.len(), expected.len(), "{messages:#?}");
        for (message, expected) in messages.iter().zip(&expected) {
            assert!(message.starts_with(expected), "{expected}: {messages:#?}");
        }
    }
}

#[test]
fn it_is_not_ready_while_another_process_holds_the_slot() {
    let pipeline = Pipeline::new("ready");
    let mut holder = pipeline.start();
    let manager = Manager::new();
    let config = pipeline.config();
    let connector = start(&pipeline, &config, &manager);
    let held = "STATUS=trying again in ";
    manager.wait(held, 2, DEADLINE);
    holder.sigterm();
    assert_eq!(holder.wait_exit(DEADLINE), 0, "{}", holder.log());
    let before = manager.messages();
    let told = &before[position(&before, held)];
    assert!(told.contains("is active for PID"), "{told}");
    manager.wait("READY=1", 1, DEADLINE);
    let messages = manager.messages();
    let ready = position(&messages, "READY=1");
    assert_eq!(count(&messages[..ready], "STATUS=streaming"), 0);
    assert!(count(&messages[..ready], held) >= 2, "{messages:#?}");
    assert!(connector.is_running());
}

#[test]
fn an_error_that_ends_it_is_the_last_status() {
    let pipeline = Pipeline::new("ready");
    let manager = Manager::new();
    let config = pipeline.config().parameter("skip_setup", "true");
    let mut connector = start(&pipeline, &config, &manager);
    assert_eq!(connector.wait_exit(FAIL_DEADLINE), 78);
    wait_until("the end is told", DEADLINE, || {
        manager.count("STOPPING=1") == 1
    });
    let messages = manager.messages();
    let last = messages.last().expect("there are some");
    assert!(
        last.starts_with("STOPPING=1\nSTATUS=") && last.contains("does not exist"),
        "{messages:#?}"
    );
    assert_eq!(count(&messages, "READY=1"), 0);
}

/// The service manager would not hear of the end at all.
#[test]
fn an_error_of_many_words_is_told_in_part() {
    let pipeline = Pipeline::new("ready");
    let manager = Manager::new();
    let long = "/no_such_directory".repeat(1_000);
    let config = pipeline.config();
    let config = config.set("metrics", &format!("{{ textfile: {long} }}"));
    let mut connector = start(&pipeline, &config, &manager);
    assert_eq!(connector.wait_exit(FAIL_DEADLINE), 78);
    wait_until("the end is told", DEADLINE, || {
        manager.count("STOPPING=1") == 1
    });
    assert_eq!(manager.count("STATUS=metrics.textfile: "), 1);
}

#[test]
fn a_socket_that_is_not_there_is_no_reason_to_fail() {
    let pipeline = Pipeline::new("ready");
    for socket in ["/nowhere/notify", "@no_such_name", "vsock:2:1"] {
        let variables = [
            (URL_VARIABLE, &*pipeline.database.url()),
            ("NOTIFY_SOCKET", socket),
        ]
        .map(|(name, value)| (name, value.to_owned()));
        let variables = variables
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let config = pipeline.config();
        let mut connector = Connector::spawn_with(&config.path(), &[], &variables);
        connector.wait_log("streaming from", DEADLINE);
        assert_eq!(connector.log_count(&format!("NOTIFY_SOCKET={socket}")), 1);
        connector.sigterm();
        assert_eq!(connector.wait_exit(DEADLINE), 0);
    }
}

#[test]
fn the_watchdog_of_another_process_gets_no_signs() {
    let pipeline = Pipeline::new("watchdog");
    let manager = Manager::new();
    let watchdog = [("WATCHDOG_USEC", WATCHDOG_USEC), ("WATCHDOG_PID", "1")];
    let config = pipeline.config();
    let mut connector = start_with(&pipeline, &config, &manager, &watchdog);
    manager.wait("READY=1", 1, DEADLINE);
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0);
    assert_eq!(manager.count("WATCHDOG"), 0, "{:#?}", manager.messages());
}

/// Fluvio is away before the start, does not answer while streaming, and is away again.
#[test]
fn who_waits_for_a_peer_gives_signs_of_life() {
    let pipeline = Pipeline::new("watchdog").in_process();
    pipeline.database.execute(TABLE);
    pipeline.server().stop();
    let manager = Manager::new();
    let watchdog = [("WATCHDOG_USEC", WATCHDOG_USEC)];
    let config = pipeline.config();
    let _connector = start_with(&pipeline, &config, &manager, &watchdog);
    manager.wait("STATUS=trying again in ", 2, DEADLINE);
    manager.wait_more("WATCHDOG=1", 5, DEADLINE);
    assert_eq!(manager.count("READY=1"), 0);

    pipeline.server().restart();
    manager.wait("READY=1", 1, DEADLINE);
    pipeline.server().freeze();
    pipeline.database.execute("INSERT INTO t VALUES (1)");
    let waiting = format!(
        "STATUS=waiting for Fluvio at {}; confirmed ",
        pipeline.server().spu_addr()
    );
    manager.wait(&waiting, 1, DEADLINE);
    manager.wait_more("WATCHDOG=1", 5, DEADLINE);
    pipeline.server().thaw();
    manager.wait("STATUS=streaming; confirmed ", 2, DEADLINE);

    let again = manager.count("STATUS=trying again in ") + 2;
    pipeline.server().stop();
    let _ = pipeline.database.terminate_walsender(&pipeline.slot);
    manager.wait("STATUS=trying again in ", again, DEADLINE);
    manager.wait_more("WATCHDOG=1", 5, DEADLINE);
}

/// A program whose standard error is a pipe that is full.
struct Stuck(Child);

impl Drop for Stuck {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The main thread hangs in a line of the log that nobody reads: that is no peer of ours.
#[test]
fn a_program_that_hangs_gives_no_signs_of_life() {
    let pipeline = Pipeline::new("watchdog");
    let manager = Manager::new();
    let (mut reader, mut log) = std::io::pipe().expect("a pipe can be made");
    log.write_all(&[b'x'; PIPE_BYTES]).expect("there is room");
    let config = pipeline.config();
    let child = Command::new(program())
        .args(["run", "--config"])
        .arg(config.path())
        .env_clear()
        .env(URL_VARIABLE, pipeline.database.url())
        .env("RUST_LOG", "warn")
        .env("NOTIFY_SOCKET", &manager.socket)
        .env("WATCHDOG_USEC", WATCHDOG_USEC)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the program runs");
    let _stuck = Stuck(child);
    manager.wait("READY=1", 1, DEADLINE);
    manager.wait_more("WATCHDOG=1", 5, DEADLINE);

    // It wants to warn of that.
    assert!(pipeline.database.terminate_walsender(&pipeline.slot));
    wait_until("a watchdog would bite", DEADLINE, || {
        manager.since_sign() > 2 * WATCHDOG
    });
    let signs = manager.count("WATCHDOG=1");

    let mut read = vec![0; PIPE_BYTES];
    reader.read_exact(&mut read).expect("it was filled");
    manager.wait("READY=1", 2, DEADLINE);
    manager.wait("WATCHDOG=1", signs + 3, DEADLINE);
}

#[test]
fn the_state_directory_of_the_manager_is_taken() {
    let pipeline = Pipeline::new("state");
    let (manager, state) = (Manager::new(), temp_dir("state-"));
    let directory = state.path().to_str().expect("the path is UTF-8");
    let config = pipeline.config();
    let more = [("STATE_DIRECTORY", directory)];
    let _connector = start_with(&pipeline, &config, &manager, &more);
    manager.wait("READY=1", 1, DEADLINE);
    let file = state.path().join(format!("{}.json", pipeline.slot));
    assert!(file.exists());
}
