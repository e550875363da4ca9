//! The program: one instance of it, or two of one config, of which one waits for the slot.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::super::connector::{ConfigFile, Connector};
use super::super::{POLL_INTERVAL, lock};
use super::fault::{Ends, Nowhere, PassOn};

/// What the program logs when a session begins.
pub const STREAMS: &str = "streaming from";
/// What it logs when a session has failed.
const RETRIES: &str = "trying again in";

/// A stop takes up to 8 s when neither side answers.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
const START_DEADLINE: Duration = Duration::from_secs(60);
/// A new process finds the slot taken much sooner, unless Fluvio is away.
const MEET_DEADLINE: Duration = Duration::from_secs(5);

const STOPPED: i32 = 0;
/// SIGTERM has no handler in the first moments of a process.
const TERMINATED: i32 = 128 + 15;
const KILLED: i32 = 128 + 9;
const UNDELIVERABLE: i32 = 65;
const UNREACHABLE: i32 = 69;
const SLOT_IN_USE: i32 = 75;

/// So much of each log is shown.
const LOG_TAIL: usize = 40;

type Result<T = ()> = std::result::Result<T, String>;

/// All instances that run, and what those before them logged.
pub struct Program {
    config: ConfigFile,
    path: PathBuf,
    url: String,
    instances: usize,
    held: Mutex<Held>,
    /// Whether a fault hits the instance that does not stream, if there are two.
    spares_holder: AtomicBool,
}

#[derive(Default)]
struct Held {
    running: Vec<Connector>,
    logs: Vec<String>,
}

impl Program {
    /// Nothing runs yet.
    pub fn new(config: ConfigFile, url: String, instances: usize) -> Program {
        Program {
            // Written once: an instance may be reading it while the next one starts.
            path: config.path(),
            config,
            url,
            instances,
            held: Mutex::default(),
            spares_holder: AtomicBool::new(false),
        }
    }

    pub fn config(&self) -> &ConfigFile {
        &self.config
    }

    /// Starts one more instance.
    pub fn start(&self) {
        let mut held = lock(&self.held);
        assert!(
            held.running.len() < self.instances,
            "the program runs already"
        );
        held.running.push(self.spawn());
    }

    /// Starts all instances that do not run.
    pub fn start_all(&self) {
        let mut held = lock(&self.held);
        while held.running.len() < self.instances {
            held.running.push(self.spawn());
        }
    }

    fn spawn(&self) -> Connector {
        Connector::spawn(&self.path, &self.url, &[])
    }

    /// Waits until an instance streams for the first time; `help` is called now and then.
    pub fn wait_streaming(&self, help: impl Fn()) -> Result {
        let until = Instant::now() + START_DEADLINE;
        loop {
            self.check()?;
            let held = lock(&self.held);
            if held.running.iter().any(|one| one.log_count(STREAMS) > 0) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(format!("nothing streams {START_DEADLINE:?} after a start"));
            }
            drop(held);
            help();
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Chooses whom the next faults hit if there are two.
    pub fn spare_holder(&self, spares_holder: bool) {
        self.spares_holder.store(spares_holder, Ordering::SeqCst);
    }

    /// Ends an instance as a crash would, or asks it to stop and waits until it has.
    pub fn end(&self, how: Ends) -> Result {
        let connector = self.take()?;
        self.end_one(connector, how)
    }

    /// Ends all instances.
    pub fn end_all(&self, how: Ends) -> Result {
        self.check()?;
        let all = std::mem::take(&mut lock(&self.held).running);
        for connector in all {
            self.end_one(connector, how)?;
        }
        Ok(())
    }

    fn end_one(&self, mut connector: Connector, how: Ends) -> Result {
        match how {
            Ends::Killed => {
                connector.end();
                self.keep(&connector, &[KILLED])
            }
            Ends::Stopped => {
                connector.sigterm();
                connector.wait_exit(STOP_DEADLINE);
                self.keep(&connector, &[STOPPED, TERMINATED])
            }
        }
    }

    /// Asks an instance to stop, and does not wait for long.
    pub fn stop_and_kill(&self, patience: Duration) -> Result {
        let mut connector = self.take()?;
        connector.sigterm();
        let asked = Instant::now();
        while connector.is_running() && asked.elapsed() < patience {
            thread::sleep(POLL_INTERVAL);
        }
        connector.end();
        self.keep(&connector, &[STOPPED, TERMINATED, KILLED])
    }

    /// Stops an instance's process for a while; all of its connections stay.
    pub fn pause(&self, pause: Duration) -> Result {
        self.check()?;
        let held = lock(&self.held);
        let connector = &held.running[self.victim(&held)];
        connector.signal("STOP");
        thread::sleep(pause);
        connector.signal("CONT");
        Ok(())
    }

    /// Waits until the newest instance streams, unless another one has the slot or Fluvio is away.
    pub fn wait_newest_streams(&self) {
        let until = Instant::now() + MEET_DEADLINE;
        let held = lock(&self.held);
        let streams = || {
            let newest = held.running.last();
            newest.is_none_or(|newest| newest.log_count(STREAMS) > 0 || !newest.is_running())
        };
        while Instant::now() < until && !streams() {
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Freezes the process that streams while another one waits for the slot, which it gets when the
    /// server gives the first one up. Then both run for a while, and one of them ends if there is to
    /// be one only.
    pub fn pass_on(&self, plan: &PassOn) -> Result {
        self.check()?;
        let mut held = lock(&self.held);
        let is_alone = held.running.len() == 1;
        if is_alone {
            let second = self.spawn();
            wait_tried(&second);
            held.running.push(second);
        }
        let first = holder(&held.running).unwrap_or(0);
        held.running[first].signal("STOP");
        thread::sleep(plan.frozen.into());
        held.running[first].signal("CONT");
        thread::sleep(plan.together.into());
        drop(held);
        self.check()?;
        if !is_alone {
            return Ok(());
        }
        let connector = lock(&self.held).running.remove(plan.which);
        self.end_one(connector, plan.ends)
    }

    /// Ends an instance and starts more than there are to be, one so soon after the other; those that
    /// are too many end when they have run together.
    pub fn start_together(
        &self,
        more: usize,
        apart: Duration,
        together: Duration,
        ends: Ends,
    ) -> Result {
        self.end(Ends::Killed)?;
        let mut held = lock(&self.held);
        while held.running.len() < self.instances + more {
            held.running.push(self.spawn());
            thread::sleep(apart);
        }
        drop(held);
        thread::sleep(together);
        self.check()?;
        for _ in 0..more {
            let oldest = lock(&self.held).running.remove(0);
            self.end_one(oldest, ends)?;
        }
        Ok(())
    }

    /// Ends an instance, runs to a standard output that goes nowhere, which ends by itself, and starts an
    /// instance again.
    pub fn run_to_nowhere(&self, nowhere: Nowhere) -> Result {
        self.end(Ends::Killed)?;
        let (redirection, allowed): (_, &[i32]) = match nowhere {
            Nowhere::Closed => (">&-", &[UNDELIVERABLE]),
            // With other faults a server may be away, or another instance has the slot; and there may be
            // nothing to write.
            Nowhere::Full => (">/dev/full", &[UNDELIVERABLE, UNREACHABLE, SLOT_IN_USE, 0]),
        };
        let arguments = ["--stdout", "--once-drained"];
        let mut run = Connector::spawn_redirected(&self.path, &self.url, &arguments, redirection);
        let until = Instant::now() + START_DEADLINE;
        while run.is_running() && Instant::now() < until {
            thread::sleep(POLL_INTERVAL);
        }
        let is_late = run.is_running();
        run.end();
        if is_late {
            return Err(format!(
                "a run to {nowhere:?} has not ended in {START_DEADLINE:?}"
            ));
        }
        self.keep(&run, allowed)?;
        self.start();
        Ok(())
    }

    /// No instance has ended by itself.
    pub fn check(&self) -> Result {
        let held = lock(&self.held);
        let code = held.running.iter().find_map(Connector::exit_code);
        match code {
            Some(code) => Err(format!("the program ended by itself with the code {code}")),
            None => Ok(()),
        }
    }

    /// Waits until all instances have ended by themselves, each with `code`.
    pub fn wait_ended(&self, code: i32, deadline: Duration) -> Result {
        let all = std::mem::take(&mut lock(&self.held).running);
        let until = Instant::now() + deadline;
        let mut result = Ok(());
        for mut connector in all {
            while connector.is_running() && Instant::now() < until {
                thread::sleep(POLL_INTERVAL);
            }
            // What goes on running has no code, and is not what was waited for either.
            let found = connector.exit_code();
            connector.end();
            lock(&self.held).logs.push(connector.log());
            if found != Some(code) {
                result = Err(match found {
                    Some(found) => format!("the program ended with {found}, not {code}"),
                    None => format!("the program did not end with {code} in {deadline:?}"),
                });
            }
        }
        result
    }

    /// All that was logged, one text for each process.
    pub fn logs(&self) -> Vec<String> {
        let held = lock(&self.held);
        let mut logs = held.logs.clone();
        logs.extend(held.running.iter().map(Connector::log));
        logs
    }

    /// The ends of the last logs.
    pub fn log_tail(&self) -> String {
        let logs = self.logs();
        let last = logs.len().saturating_sub(1 + self.instances);
        let tails = logs[last..].iter().map(|log| {
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
        });
        tails.collect::<Vec<_>>().join("\n-- the next process:\n")
    }

    fn take(&self) -> Result<Connector> {
        self.check()?;
        let mut held = lock(&self.held);
        if held.running.is_empty() {
            return Err("the program does not run".to_owned());
        }
        let victim = self.victim(&held);
        Ok(held.running.remove(victim))
    }

    fn victim(&self, held: &Held) -> usize {
        let holder = holder(&held.running).unwrap_or(0);
        match self.spares_holder.load(Ordering::SeqCst) {
            true => held.running.len() - 1 - holder,
            false => holder,
        }
    }

    fn keep(&self, connector: &Connector, allowed: &[i32]) -> Result {
        lock(&self.held).logs.push(connector.log());
        match connector.exit_code() {
            Some(code) if allowed.contains(&code) => Ok(()),
            code => Err(format!("the program ended with {code:?}, not {allowed:?}")),
        }
    }
}

/// The instance that streams, as far as its log tells.
fn holder(running: &[Connector]) -> Option<usize> {
    running.iter().position(|connector| {
        let log = connector.log();
        log.rfind(STREAMS).is_some() && log.rfind(STREAMS) > log.rfind(RETRIES)
    })
}

/// Waits until a new instance has tried its first session, whatever came of it.
fn wait_tried(connector: &Connector) {
    let until = Instant::now() + MEET_DEADLINE;
    let tried = || connector.log_count(RETRIES) + connector.log_count(STREAMS) > 0;
    while Instant::now() < until && connector.is_running() && !tried() {
        thread::sleep(POLL_INTERVAL);
    }
}
