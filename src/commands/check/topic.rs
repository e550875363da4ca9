//! Fluvio, the topic and how it ends.

use std::time::Duration;

use fluvio_sc_schema::topic::TopicSpec;

use super::condition::Condition;
use super::report::{Mend, Report};
use crate::base::error::{Kind, Result};
use crate::config::Config;
use crate::pipeline::resume::Tail;
use crate::pipeline::resume::topic_end::TailReader;
use crate::sink::fluvio::reader::Bounds;
use crate::sink::fluvio::{Partition, allowed, cluster};

/// What an ordinary consumer fetches at most when nobody told it otherwise.
const CONSUMER_BYTES: usize = 1_048_576;

/// A consumer that is away over a night should find everything.
const SHORT_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// What the partition was found to hold.
pub struct ExaminedTopic {
    /// The offsets from the first record to the next one.
    pub bounds: Bounds,
    /// How the partition ends; `None` when that could not be read.
    pub tail: Option<Tail>,
}

/// Looks at cluster, topic and partition, as far as that goes. Records before `first_offset` do not matter.
pub fn check(report: &mut Report, config: &Config, first_offset: i64) -> Option<ExaminedTopic> {
    batch_size(report, config.fluvio.batch_bytes);
    let found = cluster::endpoint(&config.fluvio).and_then(|cluster| {
        let topic = cluster::topic(&cluster, &config.fluvio, &config.place.topic)?;
        Ok((topic, cluster.endpoint))
    });
    let topic = match found {
        Ok((topic, endpoint)) => {
            report.ok(Condition::Fluvio, format!("{endpoint} answers"));
            topic
        }
        Err(error) => {
            report.error(Condition::Fluvio, &error);
            return None;
        }
    };
    let Some(topic) = topic else {
        missing(report, config);
        return Some(ExaminedTopic {
            bounds: Bounds {
                start: 0,
                end: 0,
                stable: 0,
            },
            tail: Some(Tail::Empty),
        });
    };
    report.ok(Condition::Topic, format!("{} exists", config.place.topic));
    retention(report, &topic);
    match allowed(
        &config.fluvio,
        &config.place.topic,
        topic.get_compression_type(),
    ) {
        Ok(compression) => report.ok(Condition::TopicCompression, compression.to_string()),
        Err(error) => report.error(Condition::TopicCompression, &error),
    }
    if let Err(error) = cluster::check_partition(Some(&topic), &config.place) {
        let mend = Mend::config("partition: 0");
        report.failure(
            Condition::TopicPartition,
            error.kind(),
            error.message(),
            [mend],
        );
        return None;
    }
    partition(report, config, first_offset)
}

fn missing(report: &mut Report, config: &Config) {
    let name = &config.place.topic;
    if config.fluvio.create_topic {
        return report.ok(
            Condition::Topic,
            format!("{name} is created at the first run"),
        );
    }
    report.failure(
        Condition::Topic,
        Kind::Config,
        format!("{name} does not exist, and create-topic is false"),
        [
            Mend::shell(format!("fluvio topic create {name}")),
            Mend::config("create-topic: true"),
        ],
    );
}

fn batch_size(report: &mut Report, bytes: usize) {
    match bytes <= CONSUMER_BYTES {
        true => report.ok(Condition::TopicBatchSize, format!("{bytes} bytes")),
        false => report.warning(
            Condition::TopicBatchSize,
            format!(
                "{bytes} bytes: a consumer that fetches {CONSUMER_BYTES}, as it does by default, may \
                 skip records or find none"
            ),
            [Mend::config("producer: { batch-size: 1MB }")],
        ),
    }
}

fn retention(report: &mut Report, topic: &TopicSpec) {
    let time = Duration::from_secs(topic.retention_secs().into());
    let size = topic
        .get_storage()
        .and_then(|storage| storage.max_partition_size);
    let size = size.map_or(String::new(), |bytes| format!(", or beyond {bytes} bytes"));
    let found = format!(
        "records are removed after {}{size}",
        humantime::format_duration(time)
    );
    match time >= SHORT_RETENTION {
        true => report.ok(Condition::TopicRetention, found),
        false => report.warning(
            Condition::TopicRetention,
            format!("{found}: a consumer that is away for longer misses them"),
            [Mend::advice(
                "make a topic with \"fluvio topic create NAME --retention-time 7d\", and go on there \
                 with a slot of its own",
            )],
        ),
    }
}

fn partition(report: &mut Report, config: &Config, first_offset: i64) -> Option<ExaminedTopic> {
    let partition = match Partition::open_to_read(&config.fluvio, &config.place) {
        Ok(partition) => partition,
        Err(error) => {
            report.error(Condition::TopicPartition, &error);
            return None;
        }
    };
    let bounds = partition.bounds();
    report.ok(
        Condition::TopicPartition,
        format!(
            "{}, offsets {} to {}",
            config.place.partition, bounds.start, bounds.end
        ),
    );
    let tail = read_tail(&partition, first_offset);
    let tail = match tail {
        Ok(tail) => {
            report.ok(Condition::TopicTail, tail_text(tail));
            Some(tail)
        }
        Err(error) => {
            report.error(Condition::TopicTail, &error);
            None
        }
    };
    Some(ExaminedTopic { bounds, tail })
}

fn read_tail(partition: &Partition, first_offset: i64) -> Result<Tail> {
    let mut reader = TailReader {
        reader: partition.reader()?,
        meanwhile: || Ok(()),
    };
    reader.read(partition.bounds(), first_offset)
}

fn tail_text(tail: Tail) -> String {
    match tail {
        Tail::Empty | Tail::Removed { .. } => "no records".to_owned(),
        Tail::Complete { last, .. } => format!("ends with the {last}"),
        Tail::Open {
            final_lsn, rows, ..
        } => {
            format!("ends inside the transaction at {final_lsn}, after {rows} rows of it")
        }
        Tail::Headless { last_row, .. } => format!(
            "ends inside a transaction whose begin is removed, with a row at {}",
            last_row.wal_start
        ),
    }
}
