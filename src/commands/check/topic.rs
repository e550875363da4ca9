//! Fluvio: the topics of the config, as the cluster has them.

use std::collections::HashMap;
use std::time::Duration;

use fluvio_sc_schema::topic::TopicSpec;

use super::condition::Condition;
use super::identity::named;
use super::report::{Mend, Report};
use crate::base::error::{Error, Kind};
use crate::commands::lanes::{ConfiguredLanes, tables_of, topics};
use crate::config::Config;
use crate::pipeline::lane_map::LaneMap;
use crate::sink::fluvio::{WantedTopic, allowed, cluster};

/// What an ordinary consumer fetches at most when nobody told it otherwise.
const CONSUMER_BYTES: usize = 1_048_576;

/// A consumer that is away over a night should find everything.
const SHORT_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// How many commands are given: nobody runs more of them by hand.
const MENDED: usize = 100;

/// Looks at cluster, topics and partitions, as far as that goes.
pub fn check(report: &mut Report, config: &Config) -> Option<ConfiguredLanes> {
    batch_size(report, config.fluvio.batch_bytes);
    let map = mapping(report, config);
    let wanted = map.as_ref().map_or(&[][..], LaneMap::topics);
    let cluster = cluster::endpoint(&config.fluvio);
    let found = cluster.and_then(|cluster| Ok((topics(&config.fluvio, wanted)?, cluster.endpoint)));
    let (topics, map) = match (found, map) {
        (Ok((topics, endpoint)), map) => {
            report.ok(Condition::Fluvio, format!("{endpoint} answers"));
            (topics, map?)
        }
        (Err(error), _) => {
            report.error(Condition::Fluvio, &error);
            return None;
        }
    };
    existence(report, config, map.topics(), &topics);
    let found = map.topics().iter().filter_map(|wanted| {
        let found = topics.get(&*wanted.name)?;
        Some((wanted, found))
    });
    let found: Vec<(&WantedTopic, &TopicSpec)> = found.collect();
    if !found.is_empty() {
        retention(report, config, &map, &found);
        compression(report, config, &found);
    }
    let is_missing_some = too_few(report, &map, &found);
    match is_missing_some {
        true => None,
        false => leaders(report, config, map, topics),
    }
}

/// Which topics and partitions the tables go to. The server that does not say which tables there are has
/// a condition of its own.
fn mapping(report: &mut Report, config: &Config) -> Option<LaneMap> {
    let map = LaneMap::of(config, &tables_of(config).ok()?);
    let map = map.map_err(|error| report.error(Condition::TopicMapping, &error));
    let map = map.ok()?;
    let found = match (map.topics(), map.names()) {
        ([], _) => "the publication has no tables yet".to_owned(),
        ([topic], [place]) => format!("all to partition {} of {}", place.partition, topic.name),
        (topics, names) => format!("{} partitions of {} topics", names.len(), topics.len()),
    };
    report.ok(Condition::TopicMapping, found);
    Some(map)
}

/// Whether the topics exist, or are created.
fn existence(
    report: &mut Report,
    config: &Config,
    wanted: &[WantedTopic],
    found: &HashMap<String, TopicSpec>,
) {
    let is_missing = |topic: &&WantedTopic| !found.contains_key(&*topic.name);
    let missing: Vec<&WantedTopic> = wanted.iter().filter(is_missing).collect();
    let names: Vec<&str> = missing.iter().map(|topic| &*topic.name).collect();
    let (there, names) = (wanted.len() - names.len(), named(&names, names.len()));
    match (wanted, &missing[..]) {
        ([], _) => {}
        ([one], []) => report.ok(Condition::Topic, format!("{} exists", one.name)),
        (_, []) => report.ok(Condition::Topic, format!("{there} exist")),
        (_, missing) if config.fluvio.create_topic => {
            let is = if missing.len() > 1 { "are" } else { "is" };
            let found = format!("{names} {is} created at the first run");
            let found = match there {
                0 => found,
                there => format!("{there} exist, {found}"),
            };
            report.ok(Condition::Topic, found);
        }
        (_, missing) => {
            let does = if missing.len() > 1 { "do" } else { "does" };
            let commands = missing.iter().take(MENDED);
            let commands = commands.map(|topic| Mend::shell(topic.create_command()));
            report.failure(
                Condition::Topic,
                Kind::Config,
                format!("{names} {does} not exist, and create-topic is false"),
                commands.chain([Mend::config("create-topic: true")]),
            );
        }
    }
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

/// How long the topics keep records: the one that keeps them for the shortest time counts.
fn retention(
    report: &mut Report,
    config: &Config,
    map: &LaneMap,
    found: &[(&WantedTopic, &TopicSpec)],
) {
    let time = |topic: &TopicSpec| Duration::from_secs(topic.retention_secs().into());
    let Some((wanted, topic)) = found.iter().min_by_key(|(_, topic)| time(topic)) else {
        return;
    };
    let size = topic
        .get_storage()
        .and_then(|storage| storage.max_partition_size);
    let size = size.map_or(String::new(), |bytes| format!(", or beyond {bytes} bytes"));
    let shown = humantime::format_duration(time(topic)).to_string();
    let of = match found.len() {
        1 => String::new(),
        _ => format!("{}: ", wanted.name),
    };
    let said = format!("{of}records are removed after {shown}{size}");
    match time(topic) >= SHORT_RETENTION {
        true => report.ok(Condition::TopicRetention, said),
        false => report.warning(
            Condition::TopicRetention,
            format!("{said}: a consumer that is away for longer misses them"),
            [Mend::advice(
                "make a topic with \"fluvio topic create NAME --retention-time 7d\", and go on there \
                 with a slot of its own",
            )],
        ),
    }
    if config.state_dir.is_none() && map.names().len() > 1 {
        report.warning_after_all(
            Condition::StateDir,
            format!(
                "none, for {} partitions: one that is quiet for {shown} has no records any more, and then \
                 it cannot be told what it had, which ends the next start",
                map.names().len()
            ),
            [Mend::config("state_dir: DIRECTORY")],
        );
    }
}

fn compression(report: &mut Report, config: &Config, found: &[(&WantedTopic, &TopicSpec)]) {
    let compressions = found.iter().map(|(wanted, topic)| {
        let demanded = topic.get_compression_type();
        allowed(&config.fluvio, &wanted.name, demanded)
    });
    match compressions.collect::<Result<Vec<_>, Error>>() {
        Ok(compressions) => {
            let mut names: Vec<String> = compressions.iter().map(ToString::to_string).collect();
            names.sort();
            names.dedup();
            report.ok(Condition::TopicCompression, names.join(", "));
        }
        Err(error) => report.error(Condition::TopicCompression, &error),
    }
}

/// Whether a topic has fewer partitions than the config writes to.
fn too_few(report: &mut Report, map: &LaneMap, found: &[(&WantedTopic, &TopicSpec)]) -> bool {
    let mut failed: Vec<(Error, Mend)> = Vec::new();
    for (wanted, topic) in found {
        if let Err(error) = cluster::check_count(topic, wanted) {
            let mend = Mend::advice(error.hint().unwrap_or_default());
            failed.push((error, mend));
        }
        let mut places = map.names().iter();
        let highest = places.rfind(|place| place.topic == wanted.name);
        let checked = highest.map(|place| cluster::check_partition(Some(topic), place));
        if let (Some(Err(error)), 1) = (checked, wanted.partitions) {
            failed.push((error, Mend::config("partition: 0")));
        }
    }
    let more = failed.len().saturating_sub(1);
    let Some((error, mend)) = failed.into_iter().next() else {
        return false;
    };
    let said = with_more(error.message(), more, "topics");
    report.failure(Condition::TopicPartition, error.kind(), said, [mend]);
    true
}

/// A text about the first of several.
pub fn with_more(said: String, more: usize, of: &str) -> String {
    match more {
        0 => said,
        more => format!("{said}; and {more} more {of} are like this"),
    }
}

fn leaders(
    report: &mut Report,
    config: &Config,
    map: LaneMap,
    topics: HashMap<String, TopicSpec>,
) -> Option<ConfiguredLanes> {
    let lanes = ConfiguredLanes::among(config, map, topics);
    let lanes = lanes.map_err(|error| report.error(Condition::TopicPartition, &error));
    let lanes = lanes.ok()?;
    let partitions = lanes.partitions();
    let bounds = (0..partitions.count()).filter_map(|lane| partitions.bounds(lane));
    let bounds: Vec<_> = bounds.collect();
    match (&bounds[..], lanes.map.names()) {
        ([], _) => {}
        ([bounds], [place]) => report.ok(
            Condition::TopicPartition,
            format!(
                "{}, offsets {} to {}",
                place.partition, bounds.start, bounds.end
            ),
        ),
        (bounds, _) => {
            let records: i64 = bounds.iter().map(|bounds| bounds.end - bounds.start).sum();
            let found = format!("{} with {records} records", bounds.len());
            report.ok(Condition::TopicPartition, found);
        }
    }
    Some(lanes)
}
