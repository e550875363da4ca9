//! The cluster that a test runs against: the server in this process, or a real one.

use std::time::{Duration, Instant};

use super::FluvioServer;
use super::client::{self, TopicReader, create_topic};

/// The variable that names the SC of a real cluster, `host:port`.
const REAL_CLUSTER: &str = "FLUVIO_TEST_SC";

/// How often a topic is looked at while a test waits for records.
const POLL: Duration = Duration::from_millis(10);

/// A cluster for a test.
pub enum Cluster {
    /// The server in this process.
    InProcess(FluvioServer),
    /// The address of the SC of a real cluster.
    Real(String),
}

impl Cluster {
    /// The real cluster that `FLUVIO_TEST_SC` names, else a new server in this process.
    pub fn start() -> Self {
        Self::start_with_spus(1)
    }

    /// The real cluster that `FLUVIO_TEST_SC` names, with as many SPUs as it has, else a new server in
    /// this process with so many.
    pub fn start_with_spus(spus: usize) -> Self {
        match std::env::var(REAL_CLUSTER) {
            Ok(sc_addr) if !sc_addr.is_empty() => Self::Real(sc_addr),
            _ => Self::InProcess(FluvioServer::start_with_spus(spus)),
        }
    }

    /// Whether [`Self::start`] takes a real one.
    pub fn is_named() -> bool {
        std::env::var(REAL_CLUSTER).is_ok_and(|sc_addr| !sc_addr.is_empty())
    }

    /// What a profile names: the address of the SC.
    pub fn sc_addr(&self) -> String {
        match self {
            Self::InProcess(server) => server.sc_addr(),
            Self::Real(sc_addr) => sc_addr.clone(),
        }
    }

    /// Whether it is a real one. Its topics outlive the test, so they need names of their own.
    pub fn is_real(&self) -> bool {
        self.server().is_none()
    }

    /// The server in this process, for the tests that provoke faults.
    pub fn server(&self) -> Option<&FluvioServer> {
        match self {
            Self::InProcess(server) => Some(server),
            Self::Real(_) => None,
        }
    }

    /// Creates a topic with one partition.
    pub fn create_topic(&self, name: &str) {
        create_topic(&self.sc_addr(), name, 1)
            .unwrap_or_else(|error| panic!("cannot create {name}: {error}"));
    }

    /// Appends records to partition 0 with the ordinary client.
    pub fn produce(&self, topic: &str, values: &[Vec<u8>]) {
        client::produce(&self.sc_addr(), topic, values)
            .unwrap_or_else(|error| panic!("cannot write to {topic}: {error}"));
    }

    /// The values of all records of partition 0, in order; none if there is no such topic.
    pub fn records(&self, topic: &str) -> Vec<Vec<u8>> {
        self.records_of(topic, 0)
    }

    /// The values of all records of a partition, in order; none if there is no such topic.
    pub fn records_of(&self, topic: &str, partition: u32) -> Vec<Vec<u8>> {
        match self {
            Self::InProcess(server) => server.records(topic, partition),
            Self::Real(sc_addr) => {
                let mut reader = TopicReader::new(sc_addr, topic).partition(partition);
                reader
                    .read(usize::MAX)
                    .unwrap_or_else(|error| panic!("cannot read {topic}: {error}"));
                reader.into_values()
            }
        }
    }

    /// The offset that the next record of partition 0 gets; 0 if there is no such topic.
    pub fn end_offset(&self, topic: &str) -> i64 {
        match self {
            Self::InProcess(server) => server.end_offset(topic, 0),
            Self::Real(sc_addr) => client::end_offset(sc_addr, topic)
                .unwrap_or_else(|error| panic!("cannot look at {topic}: {error}"))
                .unwrap_or(0),
        }
    }

    /// Looks at partition 0 until `done` says so, and returns what it holds then.
    ///
    /// # Panics
    ///
    /// At the deadline.
    pub fn wait_records(
        &self,
        topic: &str,
        deadline: Duration,
        mut done: impl FnMut(&[Vec<u8>]) -> bool,
    ) -> Vec<Vec<u8>> {
        let started = Instant::now();
        let mut look = Look::new(self, topic);
        loop {
            let news = look.again();
            // Asking again about the same records costs time and brings the same answer.
            if news && done(look.values()) {
                return look.into_values();
            }
            assert!(
                started.elapsed() < deadline,
                "the topic {topic} has {} records after {deadline:?}, which is not enough",
                look.values().len()
            );
            std::thread::sleep(POLL);
        }
    }
}

/// A topic that is looked at again and again.
enum Look<'a> {
    InProcess {
        server: &'a FluvioServer,
        topic: &'a str,
        values: Vec<Vec<u8>>,
        first: bool,
    },
    Real {
        reader: TopicReader,
        first: bool,
    },
}

impl<'a> Look<'a> {
    fn new(cluster: &'a Cluster, topic: &'a str) -> Self {
        match cluster {
            Cluster::InProcess(server) => Self::InProcess {
                server,
                topic,
                values: Vec::new(),
                first: true,
            },
            Cluster::Real(sc_addr) => Self::Real {
                reader: TopicReader::new(sc_addr, topic),
                first: true,
            },
        }
    }

    /// True when there is something new, and the first time.
    fn again(&mut self) -> bool {
        match self {
            Self::InProcess {
                server,
                topic,
                values,
                first,
            } => {
                let end = server.end_offset(topic, 0);
                let known = i64::try_from(values.len()).expect("a count of records");
                if end < known {
                    values.clear();
                }
                if end != known {
                    let from = i64::try_from(values.len()).expect("a count of records");
                    values.extend(server.records_from(topic, 0, from));
                }
                std::mem::take(first) || end != known
            }
            Self::Real { reader, first } => {
                let before = reader.values().len();
                // A cluster that is just starting has no leader yet. The deadline decides.
                if let Err(error) = reader.read(usize::MAX) {
                    eprintln!("cannot read the topic now: {error}");
                }
                std::mem::take(first) || reader.values().len() != before
            }
        }
    }

    fn values(&self) -> &[Vec<u8>] {
        match self {
            Self::InProcess { values, .. } => values,
            Self::Real { reader, .. } => reader.values(),
        }
    }

    fn into_values(self) -> Vec<Vec<u8>> {
        match self {
            Self::InProcess { values, .. } => values,
            Self::Real { reader, .. } => reader.into_values(),
        }
    }
}
