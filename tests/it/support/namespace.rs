//! A network of a test's own, which is cut below TCP: packets are lost, and neither side hears of it.
//!
//! A proxy cannot do that: it acknowledges what it takes, so the kernel has nothing left to send again.
#![allow(dead_code)]

use std::fs::{self, File};
use std::panic::resume_unwind;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, Builder};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::connector::temp_dir;
use super::pipeline::shared_cluster;
use super::postgres::Postgres;

/// Where `ip netns` keeps the namespaces that it made.
const DIRECTORY: &str = "/run/netns";
/// A name goes on with the process id of its test and a number.
const PREFIX: &str = "postgres-source-test";

/// A network namespace that has only a loopback interface. One that was made here goes away on drop.
pub struct Namespace {
    name: String,
    is_ours: bool,
}

impl Namespace {
    /// Runs the body on a thread that is in a new namespace. What the thread starts is in it too:
    /// programs, servers in this process, proxies. A server outside is reached through a unix socket.
    ///
    /// The ordinary Fluvio client has threads that all tests share, so it is of no use there.
    #[track_caller]
    pub fn within<T: Send>(body: impl FnOnce(&Namespace) -> T + Send) -> T {
        start_what_all_share();
        let namespace = Namespace::add();
        let test = thread::current().name().unwrap_or("test").to_owned();
        let result = thread::scope(|scope| {
            let inside = || {
                namespace.enter();
                body(&namespace)
            };
            let thread = Builder::new().name(test).spawn_scoped(scope, inside);
            thread.expect("a thread starts").join()
        });
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// The one of this name, which this process is in already.
    pub fn around_us(name: &str) -> Namespace {
        let namespace = Namespace {
            name: name.to_owned(),
            is_ours: false,
        };
        // What a former run left there goes first.
        namespace.run("nft", &["add table inet test; delete table inet test"]);
        namespace.prepare();
        namespace
    }

    /// Loses every packet from now on.
    pub fn cut(&self) {
        self.lose("");
    }

    /// Loses every packet from and to this TCP port from now on.
    pub fn cut_port(&self, port: u16) {
        self.lose(&format!("tcp dport {port}"));
        self.lose(&format!("tcp sport {port}"));
    }

    /// Loses every packet to this TCP port from now on: what its clients send.
    pub fn cut_to(&self, port: u16) {
        self.run("nft", &[&format!("add element inet test to {{ {port} }}")]);
    }

    /// Loses every packet from this TCP port from now on: what its clients are sent.
    pub fn cut_from(&self, port: u16) {
        self.run(
            "nft",
            &[&format!("add element inet test from {{ {port} }}")],
        );
    }

    /// Ends what [`Self::cut_to`] and [`Self::cut_from`] did to this port.
    pub fn heal_port(&self, port: u16) {
        for set in ["to", "from"] {
            // Only what is there can be taken away.
            let element = format!("element inet test {set} {{ {port} }}");
            self.run("nft", &[&format!("add {element}; delete {element}")]);
        }
    }

    /// Ends every cut.
    pub fn heal(&self) {
        for what in [
            "chain inet test lost",
            "set inet test to",
            "set inet test from",
        ] {
            self.run("nft", &[&format!("flush {what}")]);
        }
    }

    /// Whether this process may make one and cut it, which root in a container may not.
    pub fn is_possible() -> bool {
        let mut command = Command::new("unshare");
        command.args(["--net", "nft", "add table inet test"]);
        command.output().is_ok_and(|output| output.status.success())
    }

    /// A packet that is dropped where it arrives has been sent as far as its sender knows; one that is
    /// dropped where it leaves has not.
    fn lose(&self, packets: &str) {
        let rule = format!("add rule inet test lost {packets} drop");
        self.run("nft", &[&rule]);
    }

    fn add() -> Namespace {
        assert!(
            fs::metadata("/proc/self").is_ok_and(|own| is_root(&own)),
            "only root can make a network namespace; leave these tests out with --skip network::"
        );
        remove_stale();
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}-{}-{number}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &name]));
        let namespace = Namespace {
            name,
            is_ours: true,
        };
        namespace.run("ip", &["link", "set", "lo", "up"]);
        namespace.prepare();
        namespace
    }

    /// The rules by which packets are lost, none so far.
    fn prepare(&self) {
        self.run("nft", &["add table inet test"]);
        for what in [
            "chain inet test lost { type filter hook input priority 0; }",
            "set inet test to { type inet_service; }",
            "set inet test from { type inet_service; }",
            "chain inet test ports { type filter hook input priority 1; }",
            "rule inet test ports tcp dport @to drop",
            "rule inet test ports tcp sport @from drop",
        ] {
            self.run("nft", &[&format!("add {what}")]);
        }
    }

    /// Moves this thread in, and no other.
    fn enter(&self) {
        let namespace = File::open(Path::new(DIRECTORY).join(&self.name)).expect("it was made");
        move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&namespace),
            Some(LinkNameSpaceType::Network),
        )
        .expect("root may enter it");
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        run(Command::new("ip")
            .args(["netns", "exec", &self.name, program])
            .args(arguments));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        match self.is_ours {
            true => drop(remove(&self.name)),
            false => self.heal(),
        }
    }
}

/// A server that a test in a namespace would start for all tests would be there for none of them.
fn start_what_all_share() {
    Postgres::shared();
    shared_cluster();
    // Directories are removed by a process of their own, which would keep the namespace.
    drop(temp_dir("namespace-"));
}

fn is_root(own: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::uid(own) == 0
}

/// Removes what test processes left behind that were killed.
fn remove_stale() {
    for entry in fs::read_dir(DIRECTORY).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let rest = name.strip_prefix(PREFIX).unwrap_or_default();
        let pid = rest.split('-').nth(1).and_then(|pid| pid.parse().ok());
        if pid.is_some_and(|pid: u32| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another test process may be faster.
            let _ = remove(&name);
        }
    }
}

fn remove(name: &str) -> std::io::Result<std::process::Output> {
    Command::new("ip").args(["netns", "delete", name]).output()
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?} cannot be run: {error}; on Debian: apt-get install iproute2 nftables")
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// A TCP socket of this namespace that has sent something and has no acknowledgement of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unacknowledged {
    /// Whether nobody has it open any more: the kernel goes on alone.
    pub is_orphan: bool,
    pub bytes: u64,
    /// When the kernel sends it again.
    pub sent_again_in: Duration,
}

/// The sockets that are connected to `port` and have something to send again, as this thread's network
/// has them.
pub fn unacknowledged(port: u16) -> Vec<Unacknowledged> {
    let table = fs::read_to_string("/proc/thread-self/net/tcp").expect("Linux has it");
    let sockets = table.lines().skip(1);
    sockets.filter_map(|line| parse(line, port)).collect()
}

/// A line: number, local and remote address, state, queues, timer and when it expires, retransmissions,
/// user, probes, inode.
fn parse(line: &str, port: u16) -> Option<Unacknowledged> {
    const SYN_SENT: &str = "02";
    /// The timer's number for a retransmission.
    const RETRANSMITS: &str = "01";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (state, inode) = (fields[3], fields[9]);
    let (queued, _) = fields[4].split_once(':')?;
    let (timer, expires) = fields[5].split_once(':')?;
    let bytes = u64::from_str_radix(queued, 16).ok()?;
    let is_ours = fields[2].ends_with(&format!(":{port:04X}"));
    if !is_ours || state == SYN_SENT || timer != RETRANSMITS || bytes == 0 {
        return None;
    }
    let ticks = u64::from_str_radix(expires, 16).ok()?;
    Some(Unacknowledged {
        is_orphan: inode == "0",
        bytes,
        sent_again_in: Duration::from_millis(ticks * 10),
    })
}
