//! A password, and a command that prints it.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::base::error::{Error, Kind, Result};
use crate::base::orphans::OwnChild;

/// The time that the command may take. One that asks a cloud for a token takes seconds.
const DEADLINE: Duration = Duration::from_secs(30);

/// The most bytes of a password, more than any token has. What a command prints beyond it is not read.
const LONGEST: u64 = 64 * 1024;

/// How often is checked whether the command has ended.
const POLL: Duration = Duration::from_millis(10);

/// Runs the command, `$1`, beside a guard that ends the whole process group when we are gone, however
/// that came about: then our end of the pipe that is standard input here is closed. The shell waits
/// for both, so that nobody else has to, and ends as the command did.
const GUARDED: &str = r#"exec 3<&0 </dev/null
{ read -r _ <&3 || kill -s KILL 0; } >/dev/null 2>&1 &
guard=$!
exec 3<&-
/bin/sh -c "$1"
code=$?
{ kill "$guard" && wait "$guard"; } 2>/dev/null
[ "$code" -gt 128 ] && kill "-$((code - 128))" "$$" 2>/dev/null
exit "$code""#;

/// The variables that are ours alone: where the database is, with the password that it may have, the
/// other password, and the ear of the service manager. A credential is for the command to read too.
const NOT_INHERITED: [&str; 5] = [
    "FLUVIO_PG_DATABASE_URL",
    "PGPASSWORD",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// A password, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Vec<u8>);

impl Password {
    /// Keeps `password` from being shown.
    pub fn new(password: impl Into<Vec<u8>>) -> Self {
        Password(password.into())
    }

    /// The bytes, for the exchange with the server.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[password]")
    }
}

/// A shell command whose first line of output is the password. The command is not shown, because it may
/// hold what it authenticates itself with.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordCommand(String);

impl fmt::Debug for PasswordCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[command]")
    }
}

impl PasswordCommand {
    /// Keeps `command` from being shown.
    pub fn new(command: impl Into<String>) -> Self {
        PasswordCommand(command.into())
    }

    /// Runs the command, with `variables` besides the environment of this process. What it says on
    /// standard error goes to ours as it is.
    pub fn run(&self, variables: &[(&str, &str)]) -> Result<Password> {
        self.run_within(DEADLINE, variables)
    }

    fn run_within(&self, limit: Duration, variables: &[(&str, &str)]) -> Result<Password> {
        let deadline = Instant::now() + limit;
        let _own_child = OwnChild::expected();
        let mut command = Command::new("/bin/sh");
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        let mut child = command
            .args(["-c", GUARDED, "sh", &self.0])
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What it starts is ended with it.
            .process_group(0)
            .spawn()
            .map_err(|e| cannot_run(&e).with_source(e))?;
        // To wait for it would close our end of the pipe, which tells the guard that we are gone.
        let _leash = child.stdin.take();
        let output = match read(&mut child) {
            Ok(output) => output,
            Err(e) => {
                kill(&mut child);
                return Err(failed("needs a thread, which cannot be started").with_source(e));
            }
        };
        let status = wait(&mut child, deadline);
        let output = output.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        let (Ok(Some(status)), Ok(output)) = (&status, &output) else {
            kill(&mut child);
            return Err(match (status, output) {
                (Err(e), _) => failed("cannot be waited for").with_source(e),
                (Ok(None), _) => failed(&format!("did not end within {limit:?}")),
                (_, Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) | Ok(_)) => {
                    failed(&format!(
                        "left something behind that kept its output open for {limit:?}"
                    ))
                }
            });
        };
        check(*status)?;
        first_line(output)
    }
}

/// The error of a command that cannot be run: a system that is out of processes or memory has some again
/// later; a shell that is missing stays away.
fn cannot_run(error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Kind::Config,
        io::ErrorKind::InvalidInput | io::ErrorKind::ArgumentListTooLong => Kind::Config,
        _ => Kind::Unreachable,
    };
    Error::new(kind, "password_command: cannot run /bin/sh")
}

/// Reads the output in a thread of its own, which ends when nobody can write to it any more.
fn read(child: &mut Child) -> io::Result<Receiver<Vec<u8>>> {
    let (sender, receiver) = channel();
    let stdout = child.stdout.take();
    let thread = thread::Builder::new().name("password".to_owned());
    thread.spawn(move || {
        let mut output = Vec::new();
        if let Some(mut stdout) = stdout {
            // What came before an error is judged by the exit status.
            let _ = stdout.by_ref().take(LONGEST).read_to_end(&mut output);
            // A command that prints more must not wait for a reader.
            let _ = io::copy(&mut stdout, &mut io::sink());
        }
        let _ = sender.send(output);
    })?;
    Ok(receiver)
}

fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        match child.try_wait()? {
            None if Instant::now() < deadline => thread::sleep(POLL),
            status => return Ok(status),
        }
    }
}

/// Ends the whole process group.
fn kill(child: &mut Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.kill();
    let _ = child.wait();
}

fn failed(what: &str) -> Error {
    Error::unreachable(format!("password_command {what}"))
}

/// The error of a command that failed: that may mend itself, unless there is no such command.
fn check(status: ExitStatus) -> Result<()> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code @ (126 | 127)), _) => Err(Error::config(format!(
            "password_command ended with exit code {code}: the shell cannot run it"
        ))),
        (Some(code), _) => Err(failed(&format!("ended with exit code {code}"))
            .with_hint("what it says is on standard error")),
        (None, signal) => Err(failed(&format!(
            "was ended by signal {}",
            signal.unwrap_or_default()
        ))),
    }
}

fn first_line(output: &[u8]) -> Result<Password> {
    let line = output.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.trim_ascii().is_empty() {
        return Err(Error::new(
            Kind::Config,
            "password_command printed no password on the first line of its output",
        ));
    }
    Ok(Password::new(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &str) -> Result<Password> {
        PasswordCommand::new(command).run_within(Duration::from_secs(20), &[("PGUSER", "bob")])
    }

    #[test]
    fn the_first_line_is_the_password() {
        let password = |command: &str| run(command).unwrap().expose().to_owned();
        assert_eq!(password("printf 'a b\\nc'"), b"a b");
        assert_eq!(password("printf 'a\\r\\n'"), b"a");
        assert_eq!(password("echo token-of-$PGUSER"), b"token-of-bob");
        assert_eq!(password("echo a; head -c 1000000 /dev/zero"), b"a");
        assert_eq!(format!("{:?}", run("echo hunter2").unwrap()), "[password]");
        assert_eq!(
            format!("{:?}", PasswordCommand::new("hunter2")),
            "[command]"
        );
    }

    #[test]
    fn what_fails_is_told_without_the_output() {
        for (command, kind, says) in [
            ("echo hunter2; exit 3", Kind::Unreachable, "exit code 3"),
            ("echo hunter2; kill -9 $$", Kind::Unreachable, "signal 9"),
            (
                "no-such-command hunter2 2>&1",
                Kind::Config,
                "exit code 127",
            ),
            ("true", Kind::Config, "printed no password"),
            ("echo; echo hunter2", Kind::Config, "printed no password"),
            ("echo ' '", Kind::Config, "printed no password"),
        ] {
            let error = run(command).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            let error = error.to_string();
            assert!(
                error.contains(says) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_command_reads_nothing_from_us() {
        assert_eq!(run("cat; echo here").unwrap().expose(), b"here");
        let open = run("[ -e /proc/$$/fd/3 ] && echo open || echo closed");
        assert_eq!(open.unwrap().expose(), b"closed");
    }

    #[test]
    fn a_command_that_hangs_is_ended_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        for (rest, says) in [("; :", "did not end"), (" &", "left something behind")] {
            // The pipe breaks only when nobody is left to write to it.
            let pipe = dir.path().join(says.split(' ').next().unwrap());
            let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
            assert!(made.success());
            let command = format!("exec 3>'{}'; sleep 600{rest}", pipe.display());
            let (sender, receiver) = channel();
            thread::spawn(move || sender.send(std::fs::read(pipe).unwrap()));
            let error = PasswordCommand::new(command)
                .run_within(Duration::from_millis(300), &[])
                .unwrap_err()
                .to_string();
            assert!(error.contains(says), "{error}");
            let read = receiver.recv_timeout(Duration::from_secs(60));
            assert!(read.expect("nobody is left to write").is_empty());
        }
    }
}
