//! The cluster that records go to: the tests' server in a process of its own, or a real one.

use std::cell::RefCell;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::connector::leash::Leash;
use crate::support::connector::lines::Lines;
use crate::support::fluvio::{create_topic, delete_topic, end_offsets};
use crate::support::postgres::unique;
use crate::{Result, progress};

/// The server is up at once, or never.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// It ends at once, or is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// What stands before and after the address in the server's first line.
const BEFORE_ADDRESS: &str = "for development on ";
const AFTER_ADDRESS: &str = ",";

/// A cluster.
pub struct Fluvio {
    pub sc_addr: String,
    /// None for a real cluster.
    server: Option<Server>,
    /// Topics of a real cluster that are deleted at the end: one that has just deleted a topic may
    /// need longer than the program waits to make the next.
    done: RefCell<Vec<String>>,
}

/// The server, in a process of its own so that its work is not taken for that of this one. It ends
/// with its standard input.
struct Server {
    child: Child,
    _leash: Leash,
}

impl Fluvio {
    /// The real cluster that `FLUVIO_TEST_SC` names, else a new server.
    pub fn start() -> Result<Fluvio> {
        if let Ok(sc_addr) = std::env::var("FLUVIO_TEST_SC")
            && !sc_addr.is_empty()
        {
            return Ok(Fluvio::new(sc_addr, None));
        }
        // Cargo puts the examples into one directory.
        let program = std::env::current_exe()
            .map_err(|e| format!("this program: {e}"))?
            .with_file_name("fluvio-dev");
        let mut child = Command::new(&program)
            .args(["--sc-port", "0", "--spu-port", "0", "--until-stdin-closes"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("{}: {e}", program.display()))?;
        let leash = Leash::hold(child.id());
        let lines = Lines::read(child.stdout.take().expect("stdout is a pipe"));
        let server = Server {
            child,
            _leash: leash,
        };
        let sc_addr = lines
            .wait(START_DEADLINE, |lines| {
                let (_, rest) = lines.first()?.split_once(BEFORE_ADDRESS)?;
                Some(rest.split_once(AFTER_ADDRESS)?.0.to_owned())
            })
            .ok_or("the Fluvio for development did not start")?;
        Ok(Fluvio::new(sc_addr, Some(server)))
    }

    fn new(sc_addr: String, server: Option<Server>) -> Fluvio {
        let done = RefCell::default();
        Fluvio {
            sc_addr,
            server,
            done,
        }
    }

    /// What it is, for the report.
    pub fn describe(&self) -> String {
        match self.server {
            Some(_) => "the tests' server, in memory, in a process of its own".to_owned(),
            None => format!("the cluster at {}", self.sc_addr),
        }
    }

    pub fn create_topic(&self, topic: &str, partitions: u32) -> Result<()> {
        let created = create_topic(&self.sc_addr, topic, partitions);
        created.map_err(|e| format!("{topic} cannot be created: {e}"))
    }

    /// How many records a topic has in all of its partitions.
    pub fn records(&self, topic: &str) -> Result<u64> {
        let ends = end_offsets(&self.sc_addr, topic).map_err(|e| format!("{topic}: {e}"))?;
        Ok(ends.into_iter().map(i64::unsigned_abs).sum())
    }

    /// A topic's records are not needed any more.
    pub fn done_with(&self, topic: &str) -> Result<()> {
        if self.server.is_none() {
            self.done.borrow_mut().push(topic.to_owned());
            return Ok(());
        }
        delete_topic(&self.sc_addr, topic).map_err(|e| format!("{topic}: {e}"))
    }
}

/// A name that no other topic has: a real cluster has those of the runs before.
pub fn new_topic() -> String {
    format!(
        "{}-{}",
        unique("bench").replace('_', "-"),
        std::process::id()
    )
}

impl Drop for Fluvio {
    fn drop(&mut self) {
        for topic in self.done.borrow().iter() {
            if let Err(error) = delete_topic(&self.sc_addr, topic) {
                progress(&format!("{topic} is left in the cluster: {error}"));
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let end = Instant::now() + STOP_DEADLINE;
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(POLL);
        }
        // An error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
