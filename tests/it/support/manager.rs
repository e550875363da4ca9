//! A service manager's side of NOTIFY_SOCKET: what the program says to it, in order.
#![allow(dead_code)]

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::connector::temp_dir;
use super::postgres::unique;
use super::{lock, wait_until};

/// The message that ends the thread.
const END: &[u8] = b"the test ends";

/// The message that asks the thread whether it has come that far.
const ASK: &[u8] = b"the test asks";

/// systemd ignores a message that is longer.
const MOST_BYTES: usize = 4096;

/// The thread has only to read what is there.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// What came, and when.
type Received = Arc<Mutex<Vec<(Instant, String)>>>;

pub struct Manager {
    /// What the program finds in NOTIFY_SOCKET.
    pub socket: String,
    address: SocketAddr,
    received: Received,
    answers: Mutex<Receiver<()>>,
    _dir: TempDir,
}

impl Manager {
    /// Listens at a path.
    pub fn new() -> Manager {
        let dir = temp_dir("notify-");
        let path = dir.path().join("notify");
        let address = SocketAddr::from_pathname(&path).expect("a short path");
        let socket = path.to_str().expect("the path is UTF-8").to_owned();
        Manager::listen(socket, address, dir)
    }

    /// Listens at a name that no file stands for.
    pub fn abstract_name() -> Manager {
        let name = unique("notify");
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        Manager::listen(format!("@{name}"), address, temp_dir("notify-"))
    }

    fn listen(name: String, address: SocketAddr, dir: TempDir) -> Manager {
        let socket = UnixDatagram::bind_addr(&address).expect("nobody else has it");
        let received = Received::default();
        let for_thread = Arc::clone(&received);
        let (answer, answers) = channel();
        thread::spawn(move || {
            let mut buffer = [0; MOST_BYTES + 1];
            while let Ok(length) = socket.recv(&mut buffer) {
                match &buffer[..length] {
                    message if message.len() > MOST_BYTES => {}
                    END => return,
                    // It fails when nobody waits any more.
                    ASK => drop(answer.send(())),
                    message => {
                        let text = String::from_utf8(message.to_vec()).expect("UTF-8");
                        lock(&for_thread).push((Instant::now(), text));
                    }
                }
            }
        });
        Manager {
            socket: name,
            address,
            received,
            answers: Mutex::new(answers),
            _dir: dir,
        }
    }

    /// The messages so far: all that were sent before this was called.
    pub fn messages(&self) -> Vec<String> {
        self.send(ASK).expect("the thread listens");
        let answered = lock(&self.answers).recv_timeout(ANSWER_DEADLINE);
        answered.expect("the thread reads on");
        let received = lock(&self.received);
        received.iter().map(|(_, text)| text.clone()).collect()
    }

    fn send(&self, message: &[u8]) -> io::Result<usize> {
        UnixDatagram::unbound()?.send_to_addr(message, &self.address)
    }

    /// How many messages have a line that begins like this.
    pub fn count(&self, line: &str) -> usize {
        count(&self.messages(), line)
    }

    /// Waits until so many messages have a line that begins like this.
    #[track_caller]
    pub fn wait(&self, line: &str, times: usize, deadline: Duration) {
        let what = format!("{line} {times} times");
        wait_until(&what, deadline, || self.count(line) >= times);
    }

    /// Waits until so many more messages than now have a line that begins like this.
    #[track_caller]
    pub fn wait_more(&self, line: &str, more: usize, deadline: Duration) {
        self.wait(line, self.count(line) + more, deadline);
    }

    /// How long ago the last sign of life came.
    pub fn since_sign(&self) -> Duration {
        let received = lock(&self.received);
        let mut signs = received.iter().rev();
        let last = signs.find(|(_, text)| has_line(text, "WATCHDOG=1"));
        last.expect("there was one").0.elapsed()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.send(END);
    }
}

/// How many of them have a line that begins like this.
pub fn count(messages: &[String], line: &str) -> usize {
    messages.iter().filter(|text| has_line(text, line)).count()
}

/// Where the first message is that has a line that begins like this.
#[track_caller]
pub fn position(messages: &[String], line: &str) -> usize {
    let found = messages.iter().position(|text| has_line(text, line));
    found.unwrap_or_else(|| panic!("{line:?} is not in {messages:#?}"))
}

fn has_line(text: &str, begin: &str) -> bool {
    text.lines().any(|line| line.starts_with(begin))
}
