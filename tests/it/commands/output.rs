//! Standard output and standard error that go nowhere.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::support::connector::{URL_VARIABLE, process::signal, program, temp_dir};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::wait_until;

/// Where nothing can be written.
#[derive(Debug, Clone, Copy)]
enum Nowhere {
    /// Closed before the program began.
    Closed,
    /// A device without room.
    Full,
    /// A pipe whose reader has gone.
    Gone,
}

const NOWHERE: [Nowhere; 3] = [Nowhere::Closed, Nowhere::Full, Nowhere::Gone];

impl Nowhere {
    /// What a write to it fails with.
    fn reason(self) -> &'static str {
        match self {
            Nowhere::Closed => "it is closed",
            Nowhere::Full => "No space left on device",
            Nowhere::Gone => "Broken pipe",
        }
    }

    fn open(self) -> Stdio {
        match self {
            Nowhere::Closed => Stdio::null(),
            Nowhere::Full => {
                let full = OpenOptions::new().write(true).open("/dev/full");
                full.expect("Linux has it").into()
            }
            Nowhere::Gone => std::io::pipe().expect("a pipe").1.into(),
        }
    }
}

/// The program's two outputs.
#[derive(Debug, Clone, Copy)]
enum Stream {
    Output,
    Error,
}

struct Program(Child);

impl Program {
    fn start(pipeline: &Pipeline, args: &[&str], stream: Stream, nowhere: Nowhere) -> Program {
        let close = match (nowhere, stream) {
            (Nowhere::Closed, Stream::Output) => ">&-",
            (Nowhere::Closed, Stream::Error) => "2>&-",
            _ => "",
        };
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("exec \"$0\" \"$@\" {close}")])
            .arg(program())
            .args(args)
            .env_clear()
            .env("HOME", "/nonexistent")
            .env(URL_VARIABLE, pipeline.database.url())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        match stream {
            Stream::Output => command.stdout(nowhere.open()).stderr(Stdio::piped()),
            Stream::Error => command.stderr(nowhere.open()),
        };
        Program(command.spawn().expect("sh is there"))
    }

    fn wait_exit(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the program ends", DEADLINE, || {
            status = self.0.try_wait().expect("it is ours");
            status.is_some()
        });
        status.expect("it has ended")
    }

    fn errors(&mut self) -> String {
        let mut text = String::new();
        let stderr = self.0.stderr.as_mut().expect("a pipe");
        stderr.read_to_string(&mut text).expect("it is text");
        text
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_verb_whose_output_goes_nowhere_fails() {
    let pipeline = Pipeline::new("nowhere").in_process();
    pipeline.database.execute("CREATE TABLE t (id int8)");
    let connector = pipeline.start();
    pipeline.database.execute("INSERT INTO t VALUES (1)");
    pipeline.wait_commits(1);
    let config = pipeline.config();
    let path = config.path().display().to_string();
    let with_config = |verb: &str| -> Vec<String> {
        let words = verb.split(' ').map(str::to_owned);
        words.chain(["--config".into(), path.clone()]).collect()
    };
    let mut verbs: Vec<Vec<String>> = ["man", "schema events", "completions bash", "version"]
        .iter()
        .chain(&["--help", "--version", "run --help"])
        .map(|verb| verb.split(' ').map(str::to_owned).collect())
        .collect();
    verbs.extend(["config", "check", "check --json", "check --sql"].map(with_config));
    verbs.extend(["status", "status --json", "verify", "setup --dry-run"].map(with_config));
    for verb in &verbs {
        for nowhere in NOWHERE {
            let words: Vec<&str> = verb.iter().map(String::as_str).collect();
            let mut program = Program::start(&pipeline, &words, Stream::Output, nowhere);
            let (status, log) = (program.wait_exit(), program.errors());
            assert_eq!(status.code(), Some(65), "{verb:?} {nowhere:?}: {log}");
            assert!(log.contains("cannot write to standard output"), "{log}");
            assert!(log.contains(nowhere.reason()), "{nowhere:?}: {log}");
        }
    }
    drop(connector);
}

/// Neither `run` nor `peek` nor what a verb would change takes anything from the slot.
#[test]
fn nothing_is_confirmed_that_was_not_written() {
    let pipeline = Pipeline::new("unwritten");
    pipeline.database.execute("CREATE TABLE t (id int8)");
    let config = pipeline.config();
    let path = config.path().display().to_string();
    let drain = ["run", "--stdout", "--once-drained", "--config", &path];
    let mut first = Program::start(&pipeline, &drain, Stream::Error, Nowhere::Gone);
    assert!(first.wait_exit().success());
    pipeline.database.wait_slot_inactive(&pipeline.slot);
    let confirmed = || pipeline.database.slot_confirmed_lsn(&pipeline.slot);
    let before = confirmed();
    pipeline.database.execute("INSERT INTO t VALUES (1)");
    let peek = ["peek", "--config", &path];
    let teardown = ["teardown", "--yes", "--config", &path];
    for args in [&drain[..], &peek, &teardown] {
        for nowhere in NOWHERE {
            let mut program = Program::start(&pipeline, args, Stream::Output, nowhere);
            let (status, log) = (program.wait_exit(), program.errors());
            assert_eq!(status.code(), Some(65), "{args:?} {nowhere:?}: {log}");
            assert!(log.contains(nowhere.reason()), "{nowhere:?}: {log}");
            pipeline.database.wait_slot_inactive(&pipeline.slot);
            assert_eq!(confirmed(), before, "{args:?} {nowhere:?}");
        }
    }
}

#[test]
fn standard_error_that_goes_nowhere_stops_nothing() {
    let pipeline = Pipeline::new("unheard");
    pipeline.database.execute("CREATE TABLE t (id int8)");
    let state = temp_dir("state-");
    let directory = state.path().display().to_string();
    let config = pipeline
        .config()
        .set("log", "debug")
        .set("state_dir", &directory);
    let path = config.path().display().to_string();
    for (round, nowhere) in NOWHERE.into_iter().enumerate() {
        let args = ["run", "--config", &path];
        let mut program = Program::start(&pipeline, &args, Stream::Error, nowhere);
        pipeline.database.wait_slot_active(&pipeline.slot);
        let insert = format!("INSERT INTO t VALUES ({round})");
        pipeline.database.execute(&insert);
        pipeline.wait_commits(round + 1);
        signal(program.0.id(), "TERM");
        let status = program.wait_exit();
        assert_eq!((status.code(), status.signal()), (Some(0), None));
        pipeline.database.wait_slot_inactive(&pipeline.slot);
    }
}
