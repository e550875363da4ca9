//! The program itself as a child process, with its outputs and its exit code.
#![allow(dead_code)]

mod config_file;
pub mod leash;
pub mod lines;
pub mod process;

pub use config_file::ConfigFile;
pub use leash::temp_dir;

use super::{POLL_INTERVAL, lock};
use leash::Leash;
use lines::Lines;
use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The variable that carries the URL of the database.
pub const URL_VARIABLE: &str = "FLUVIO_PG_DATABASE_URL";
/// The pipes of a program that has ended close at once.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// What the tests' own environment must not tell the program.
const HIDDEN_PREFIXES: [&str; 5] = ["PG", "FLUVIO", "FLV", "RUST_LOG", "WATCHDOG_"];
const HIDDEN: [&str; 5] = [
    "CREDENTIALS_DIRECTORY",
    "NOTIFY_SOCKET",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "STATE_DIRECTORY",
];

/// A running program. It is killed on drop and also when the test process dies.
pub struct Connector {
    pid: u32,
    child: Mutex<Child>,
    log: Lines,
    stdout: Lines,
    leash: Option<Leash>,
    /// An empty home, so that no profile of the user is found.
    _home: TempDir,
}

impl Connector {
    /// Runs `run --config` with the database's URL in the environment.
    #[track_caller]
    pub fn spawn(config: &Path, url: &str, args: &[&str]) -> Connector {
        Connector::spawn_with(config, args, &[(URL_VARIABLE, url)])
    }

    /// Runs `run --config` with the config as it is now.
    #[track_caller]
    pub fn spawn_config(config: &ConfigFile, url: &str, args: &[&str]) -> Connector {
        Connector::spawn(&config.path(), url, args)
    }

    /// Runs `run --config` with an environment of the test's choice.
    #[track_caller]
    pub fn spawn_with(config: &Path, args: &[&str], variables: &[(&str, &str)]) -> Connector {
        let mut all: Vec<&OsStr> = vec!["run".as_ref(), "--config".as_ref(), config.as_ref()];
        all.extend(args.iter().map(OsStr::new));
        Connector::spawn_command(&all, variables)
    }

    /// Runs the program with any arguments.
    #[track_caller]
    pub fn spawn_command(args: &[impl AsRef<OsStr>], variables: &[(&str, &str)]) -> Connector {
        Connector::spawn_by(Command::new(program()), args, variables)
    }

    /// Runs `run --config` with the umask of a service: files are for the program's own user.
    #[track_caller]
    pub fn spawn_private(config: &ConfigFile, url: &str) -> Connector {
        let mut shell = Command::new("sh");
        shell.args(["-c", "umask 077; exec \"$0\" \"$@\""]);
        shell.arg(program());
        let args = [
            OsStr::new("run"),
            OsStr::new("--config"),
            config.path().as_os_str(),
        ]
        .map(OsStr::to_owned);
        Connector::spawn_by(shell, &args, &[(URL_VARIABLE, url)])
    }

    /// Runs `run --config` with an output that a shell redirects.
    #[track_caller]
    pub fn spawn_redirected(
        config: &Path,
        url: &str,
        args: &[&str],
        redirection: &str,
    ) -> Connector {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec \"$0\" \"$@\" {redirection}")]);
        shell.arg(program());
        let mut all: Vec<&OsStr> = vec!["run".as_ref(), "--config".as_ref(), config.as_ref()];
        all.extend(args.iter().map(OsStr::new));
        Connector::spawn_by(shell, &all, &[(URL_VARIABLE, url)])
    }

    /// Runs the program by a command that has it as its last argument, or is it.
    #[track_caller]
    pub fn spawn_by(
        mut command: Command,
        args: &[impl AsRef<OsStr>],
        variables: &[(&str, &str)],
    ) -> Connector {
        let home = leash::temp_dir("home-");
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let is_hidden = HIDDEN.contains(&&*text);
            if is_hidden
                || HIDDEN_PREFIXES
                    .iter()
                    .any(|prefix| text.starts_with(prefix))
            {
                command.env_remove(&name);
            }
        }
        let mut child = command
            .args(args)
            .env("HOME", home.path())
            .env("RUST_LOG", "info")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
        let pid = child.id();
        Connector {
            pid,
            log: Lines::read(child.stderr.take().expect("stderr is a pipe")),
            stdout: Lines::read(child.stdout.take().expect("stdout is a pipe")),
            child: Mutex::new(child),
            leash: Some(Leash::hold(pid)),
            _home: home,
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// All of standard error so far.
    pub fn log(&self) -> String {
        let mut log = self.log.all().join("\n");
        log.push('\n');
        log
    }

    /// Waits until a line of the log contains `needle` and returns the first one.
    #[track_caller]
    pub fn wait_log(&self, needle: &str, deadline: Duration) -> String {
        self.wait_log_count(needle, 1, deadline)
    }

    /// Waits until `count` lines of the log contain `needle` and returns the last of them.
    #[track_caller]
    pub fn wait_log_count(&self, needle: &str, count: usize, deadline: Duration) -> String {
        assert_ne!(count, 0, "a line to wait for");
        let found = self.log.wait(deadline, |lines| {
            let mut hits = lines.iter().filter(|line| line.contains(needle));
            hits.nth(count - 1).cloned()
        });
        found
            .unwrap_or_else(|| self.fail(&format!("{needle:?} {count} times in the log"), deadline))
    }

    /// How many lines of the log contain `needle` so far.
    pub fn log_count(&self, needle: &str) -> usize {
        self.log
            .all()
            .iter()
            .filter(|line| line.contains(needle))
            .count()
    }

    /// All of standard output so far.
    pub fn stdout_lines(&self) -> Vec<String> {
        self.stdout.all()
    }

    /// Waits until the lines of standard output are as wanted and returns them.
    #[track_caller]
    pub fn wait_stdout(
        &self,
        deadline: Duration,
        mut is_wanted: impl FnMut(&[String]) -> bool,
    ) -> Vec<String> {
        let found = self
            .stdout
            .wait(deadline, |lines| is_wanted(lines).then(|| lines.to_vec()));
        found.unwrap_or_else(|| {
            let lines = self.stdout_lines().join("\n");
            self.fail(
                &format!("more on standard output than\n{lines}\n"),
                deadline,
            )
        })
    }

    pub fn sigterm(&self) {
        self.signal("TERM");
    }

    /// Sends a signal such as `STOP`, `CONT` or `INT`.
    #[track_caller]
    pub fn signal(&self, signal: &str) {
        // While the child is locked and not waited for, its process id is its own.
        let mut child = lock(&self.child);
        let status = child.try_wait().expect("it is our child");
        assert!(status.is_none(), "{signal} comes too late:\n{}", self.log());
        process::signal(self.pid, signal);
    }

    /// Kills the program, as a crash would, and waits for its end.
    pub fn kill(mut self) {
        self.end();
    }

    pub fn is_running(&self) -> bool {
        self.try_status().is_none()
    }

    /// How it ended, if it has.
    pub fn exit_code(&self) -> Option<i32> {
        self.try_status().map(code_of)
    }

    /// Waits for the end and returns the exit code, or 128 and the signal as a shell has it.
    #[track_caller]
    pub fn wait_exit(&mut self, deadline: Duration) -> i32 {
        let end = Instant::now() + deadline;
        let status = loop {
            let is_late = Instant::now() >= end;
            if let Some(status) = self.try_status() {
                break status;
            }
            if is_late {
                self.fail("the end of the program", deadline);
            }
            std::thread::sleep(POLL_INTERVAL);
        };
        self.leash = None;
        let is_complete =
            self.log.wait_closed(CLOSE_DEADLINE) && self.stdout.wait_closed(CLOSE_DEADLINE);
        assert!(
            is_complete,
            "somebody else holds the outputs of the program"
        );
        code_of(status)
    }

    /// The most memory that the program has had in RAM so far, in KiB.
    pub fn peak_rss_kb(&self) -> u64 {
        process::peak_rss_kb(self.pid)
    }

    /// Waits for the end: the exit code, and the most memory that was seen until then, in KiB.
    #[track_caller]
    pub fn wait_exit_and_peak_rss(&mut self, deadline: Duration) -> (i32, u64) {
        let end = Instant::now() + deadline;
        let mut peak = 0;
        while self.is_running() && Instant::now() < end {
            peak = process::peak_rss_kb_alive(self.pid).unwrap_or(peak);
            std::thread::sleep(Duration::from_millis(1));
        }
        (self.wait_exit(Duration::ZERO), peak)
    }

    /// The program's time on a CPU so far, in ticks of 10 ms.
    pub fn cpu_ticks(&self) -> u64 {
        process::cpu_ticks(self.pid)
    }

    fn try_status(&self) -> Option<ExitStatus> {
        lock(&self.child).try_wait().expect("it is our child")
    }

    /// Kills the program if it still runs, and waits for its end.
    pub fn end(&mut self) {
        let mut child = lock(&self.child);
        // An error means that it has ended and was waited for.
        let _ = child.kill();
        let _ = child.wait();
        drop(child);
        self.leash = None;
    }

    #[track_caller]
    fn fail(&self, what: &str, deadline: Duration) -> ! {
        let state = match self.try_status() {
            Some(status) => format!("which ended with {}", code_of(status)),
            None => "which runs".to_owned(),
        };
        panic!(
            "waited {deadline:?} in vain for {what}; the log of the program, {state}:\n{}",
            self.log()
        )
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        self.end();
    }
}

/// `run --stdout` with its standard output in the caller's hands, and nothing of ours in its
/// environment but the URL.
pub fn piped(config: &Path, url: &str, stderr: Stdio) -> Child {
    Command::new(program())
        .args(["run", "--stdout", "--config"])
        .arg(config)
        .env_clear()
        .env(URL_VARIABLE, url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .expect("the program runs")
}

/// Runs `run --config` to its end: the exit code, standard error and the lines of standard output.
#[track_caller]
pub fn run_to_end(
    config: &Path,
    url: &str,
    args: &[&str],
    deadline: Duration,
) -> (i32, String, Vec<String>) {
    outputs(Connector::spawn(config, url, args), deadline)
}

/// Runs the program with any arguments to its end.
#[track_caller]
pub fn run_command(
    args: &[&str],
    variables: &[(&str, &str)],
    deadline: Duration,
) -> (i32, String, Vec<String>) {
    outputs(Connector::spawn_command(args, variables), deadline)
}

#[track_caller]
fn outputs(mut connector: Connector, deadline: Duration) -> (i32, String, Vec<String>) {
    let code = connector.wait_exit(deadline);
    (code, connector.log(), connector.stdout_lines())
}

/// Cargo tells the tests where it is. An example stands in a directory beside it.
pub fn program() -> PathBuf {
    if let Some(path) = option_env!("CARGO_BIN_EXE_postgres-source") {
        return path.into();
    }
    let own = std::env::current_exe().expect("Linux knows what runs");
    let profile = own.parent().and_then(Path::parent);
    profile
        .expect("target/PROFILE/examples")
        .join("postgres-source")
}

fn code_of(status: ExitStatus) -> i32 {
    let by_signal = status.signal().map(|signal| 128 + signal);
    status
        .code()
        .or(by_signal)
        .expect("it ended in one of two ways")
}
