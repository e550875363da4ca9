//! The parent of a postmaster: it outlives the test process and ends what that leaves behind.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The guardian answers at once, so a longer wait means that it is gone.
const REPLY_DEADLINE: Duration = Duration::from_secs(20);
/// Longer than the script below takes to try SIGINT, SIGQUIT and SIGKILL in turn.
const END_DEADLINE: Duration = Duration::from_secs(30);

/// Reads commands from a pipe of the test process. A pipe closes however its writer dies,
/// SIGKILL included, and a parent that has not waited for its child can signal it by its
/// number without hitting a stranger.
///
/// Arguments: the directory to remove at the end, the log file, the command of the postmaster.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
home=$1
log=$2
shift 2
pid=

# The sleep lets the shell notice that its child has ended.
runs() {
    [ -n "$pid" ] || return 1
    sleep 0.01
    kill -0 "$pid" 2>/dev/null && return 0
    pid=
    return 1
}

end() {
    tries=200
    runs && kill -"$1" "$pid"
    while [ "$tries" -gt 0 ] && runs; do
        sleep 0.02
        tries=$((tries - 1))
    done
}

while read -r command argument; do
    case $command in
    start)
        "$@" </dev/null >>"$log" 2>&1 &
        pid=$!
        echo "$pid"
        ;;
    signal)
        if runs; then kill -"$argument" "$pid"; fi
        echo sent
        ;;
    state)
        if runs; then echo running; else echo gone; fi
        ;;
    esac
done

end INT
end QUIT
end KILL
rm -rf "$home"
"#;

pub struct Guardian {
    process: Child,
    commands: Option<ChildStdin>,
    replies: Receiver<String>,
}

impl Guardian {
    /// Starts the guardian only. `postmaster` is the command that it runs at [`Self::start`].
    pub fn new(home: &Path, log: &Path, postmaster: &Command) -> Guardian {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "guardian"]).arg(home).arg(log);
        command.arg(postmaster.get_program());
        command.args(postmaster.get_args());
        super::account::clear_environment(&mut command);
        let mut process = command
            .current_dir("/")
            // A Ctrl-C or a kill of the whole group of the tests must not reach it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // An inherited stderr would keep a reader of the tests' output waiting.
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        let commands = process.stdin.take();
        let output = process.stdout.take().expect("stdout is a pipe");
        let (sender, replies) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Guardian {
            process,
            commands,
            replies,
        }
    }

    /// Starts the postmaster and returns its process id.
    pub fn start(&mut self) -> u32 {
        let reply = self.ask("start");
        reply.parse().expect("the guardian tells a process id")
    }

    /// Sends a signal such as `INT` to the postmaster if it runs.
    pub fn signal(&mut self, signal: &str) {
        self.ask(&format!("signal {signal}"));
    }

    pub fn runs(&mut self) -> bool {
        self.ask("state") == "running"
    }

    fn ask(&mut self, command: &str) -> String {
        let pipe = self.commands.as_mut().expect("the pipe is open");
        writeln!(pipe, "{command}").expect("the guardian reads");
        self.replies
            .recv_timeout(REPLY_DEADLINE)
            .expect("the guardian answers")
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // Nobody needs the data any more, and a fast stop would wait for the receivers.
        if let Some(mut pipe) = self.commands.take() {
            let _ = writeln!(pipe, "signal QUIT");
        }
        let end = Instant::now() + END_DEADLINE;
        while Instant::now() < end && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::sleep(super::super::POLL_INTERVAL);
        }
    }
}
