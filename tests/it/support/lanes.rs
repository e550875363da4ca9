//! Lanes without a database: a writer of many partitions of the server in this process.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use postgres_source::base::Result;
use postgres_source::pg::Message;
use postgres_source::record::{Place, ProducerRecord, RowOp, RowRecord, Transaction};
use postgres_source::sink::{LanePlace, LanesWriter, Leaders, Lease, Options, Sink, WantedTopic};
use serde_json::Value;

use super::fluvio::FluvioServer;

pub const TOPIC: &str = "t";

/// A server with a topic, and a writer of all of its partitions.
pub struct Lanes {
    pub server: FluvioServer,
    pub writer: LanesWriter,
    /// The other end of the stream that the slot is leased on.
    _stream: UnixStream,
}

pub fn options(server: &FluvioServer) -> Options {
    Options {
        endpoint: Some(server.sc_addr()),
        create_topic: true,
        batch_bytes: 1_000_000,
        compression: None,
        timeout: Duration::from_secs(20),
    }
}

/// So many partitions of the topic, and their places.
pub fn topic(partitions: u32) -> (WantedTopic, Vec<LanePlace>) {
    let topic: Arc<str> = Arc::from(TOPIC);
    let place = |partition| LanePlace {
        topic: Arc::clone(&topic),
        partition,
    };
    let places = (0..partitions).map(place).collect();
    let name = topic;
    (WantedTopic { name, partitions }, places)
}

/// The leaders of all partitions of the topic.
pub fn find(options: &Options, partitions: u32) -> Result<Leaders> {
    let (topic, places) = topic(partitions);
    Leaders::find(options, &[topic], &places)
}

impl Lanes {
    /// So many lanes, led by so many SPUs.
    pub fn start(lanes: u32, spus: usize, change: impl Fn(&mut Options)) -> Lanes {
        let server = FluvioServer::start_with_spus(spus);
        let mut options = options(&server);
        change(&mut options);
        let leaders = find(&options, lanes).expect("the leaders are found");
        let next: Vec<i64> = (0..leaders.count())
            .map(|lane| leaders.bounds(lane).end)
            .collect();
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let lease = Lease::begin(ours.into(), None, Box::new(|| Ok(true)));
        let writer = leaders.writer(&next, &lease).expect("a writer");
        Lanes {
            server,
            writer,
            _stream: theirs,
        }
    }

    /// Writes a record that is not open.
    pub fn write(&mut self, lane: usize, content: &str) -> Result<usize> {
        let message = message(false, content);
        let record = RowRecord {
            op: op(&message),
            place: Place::Between {
                lsn: Default::default(),
            },
        };
        self.writer.write(lane, &ProducerRecord::row(&record, None))
    }

    /// Writes a record that is open.
    pub fn write_open(&mut self, lane: usize, content: &str, key: Option<&[u8]>) -> Result<usize> {
        let begin = [b"B", &[0; 20][..]].concat();
        let Ok(Message::Begin(begin)) = Message::decode(&begin) else {
            panic!("a begin");
        };
        let transaction = &Transaction::new(&begin);
        let message = message(true, content);
        let record = RowRecord {
            op: op(&message),
            place: Place::Within {
                transaction,
                seq: 0,
            },
        };
        self.writer.write(lane, &ProducerRecord::row(&record, key))
    }

    /// The contents of the records of a lane, and whether each is the last of its transaction.
    pub fn contents(&self, lane: u32) -> Vec<(String, bool)> {
        let records = self.server.records(TOPIC, lane);
        let contents = records.iter().map(|record| {
            let record: Value = serde_json::from_slice(record).expect("a record is JSON");
            let content = record["content"].as_str().expect("a content");
            (content.to_owned(), record.get("last").is_some())
        });
        contents.collect()
    }
}

/// A logical message, as the plugin writes it.
fn message(is_transactional: bool, content: &str) -> Vec<u8> {
    let len = u32::try_from(content.len()).expect("a small content");
    let head = [b'M', u8::from(is_transactional)];
    let lsn = 7_u64.to_be_bytes();
    [
        &head[..],
        &lsn,
        b"p\0",
        &len.to_be_bytes(),
        content.as_bytes(),
    ]
    .concat()
}

fn op(message: &[u8]) -> RowOp<'_> {
    match Message::decode(message) {
        Ok(Message::Logical(logical)) => RowOp::Message(logical),
        other => panic!("no message: {other:?}"),
    }
}
