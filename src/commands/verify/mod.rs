//! `verify`: reads partitions and reports whatever this program would never have written.
//!
//! It sees every break of the order, and changes that are there twice; of [`events`] every break of the
//! brackets too, and of [`rows`] what is in the wrong partition. What a topic cannot show by itself is a row
//! that is missing: for that it is compared with the tables. Only where one partition has everything do the
//! numbers of rows show that too.

mod events;
mod report;
mod rows;

use self::events::EventVerifier;
use self::report::VerificationOfMany;
pub use self::report::{Verification, Violations};
use self::rows::{Extent, RowVerifier};
use super::cli::Verify;
use super::lanes::{self, ConfiguredLanes, Partitions, parse_last};
use super::{load, print_as};
use crate::base::error::{Context, Error, Kind, Result};
use crate::config::Config;
use crate::observe::long_work::{Left, LongWork};
use crate::record::Format;
use crate::sink::fluvio::unpack::StoredRecord;
use crate::sink::fluvio::{LanePlace, WantedTopic};

/// Prints what is wrong with the partitions, and fails if anything is.
pub fn verify(arguments: &Verify) -> Result<()> {
    let config = load(&arguments.config)?;
    let found = find(&config, arguments)?;
    if arguments.from.is_some() && found.numbers.len() != 1 {
        return Err(Error::new(
            Kind::Usage,
            "--from is an offset of one partition: name it with --topic and --partition",
        ));
    }
    let mut reports = Vec::with_capacity(found.numbers.len());
    let mut reading = Reading {
        work: LongWork::begin("verifying"),
        done: 0,
        left: found
            .numbers
            .iter()
            .map(|&number| found.records(number, arguments.from))
            .sum(),
    };
    for &number in &found.numbers {
        reports.push(found.read(&config, number, arguments.from, &mut reading)?);
    }
    if let [report] = &reports[..] {
        print_as(report, arguments.json)?;
        return report.result();
    }
    let report = VerificationOfMany::of(reports);
    print_as(&report, arguments.json)?;
    report.result()
}

/// How far the reading is.
struct Reading {
    work: LongWork,
    done: u64,
    left: u64,
}

impl Reading {
    fn log_progress(&mut self, records: u64) {
        self.done += records;
        self.left = self.left.saturating_sub(records);
        self.work.log_progress(self.done, &Left::Exactly(self.left));
    }
}

/// The partitions that are read.
struct Found {
    partitions: Partitions,
    /// Whether one of them is not all that there is.
    are_several: bool,
    numbers: Vec<usize>,
    /// The last record of each partition.
    lasts: Vec<Option<StoredRecord>>,
    extent: Extent,
}

/// Finds the partitions: the lanes of the config, or those of one topic.
fn find(config: &Config, arguments: &Verify) -> Result<Found> {
    if arguments.partition.is_some() && arguments.topic.is_none() {
        let what = "--partition is one of a topic: name that with --topic";
        return Err(Error::new(Kind::Usage, what));
    }
    let is_wanted = |place: &LanePlace| {
        let topic = arguments.topic.as_deref();
        topic.is_none_or(|topic| *place.topic == *topic)
            && arguments
                .partition
                .is_none_or(|partition| place.partition == partition)
    };
    let lanes = ConfiguredLanes::find(config)?;
    let names = lanes.map.names().iter().enumerate();
    let wanted = names.filter(|(_, place)| is_wanted(place));
    let wanted: Vec<usize> = wanted.map(|(lane, _)| lane).collect();
    let topics = lanes.map.topics();
    if let Some(topic) = &arguments.topic
        && !topics.iter().any(|wanted| *wanted.name == **topic)
    {
        return find_other(config, topic, is_wanted);
    }
    if let ([], Some(topic), Some(partition)) = (&wanted[..], &arguments.topic, arguments.partition)
    {
        return Err(Error::new(
            Kind::Usage,
            format!("the config has nothing written to partition {partition} of {topic}"),
        ));
    }
    let fixed: Vec<String> = config.routes.fixed().map(|route| route.topic).collect();
    let mut numbers = Vec::with_capacity(wanted.len());
    for &lane in &wanted {
        let topic = &lanes.map.names()[lane].topic;
        // The topic of a table is made when there is something for it.
        let is_fixed = fixed.iter().any(|fixed| **fixed == **topic);
        if is_fixed || arguments.topic.is_some() || lanes.topics.contains_key(&**topic) {
            lanes.check(lane)?;
            numbers.push(lane);
        }
    }
    let extent = match lanes.map.is_single() {
        true => Extent::Everything,
        false => Extent::Part,
    };
    let mut partitions = lanes.into_partitions();
    Ok(Found {
        are_several: partitions.count() > 1,
        lasts: partitions.last_records()?,
        partitions,
        numbers,
        extent,
    })
}

/// Finds all partitions of a topic that the config does not have, or one of them.
fn find_other(
    config: &Config,
    name: &str,
    is_wanted: impl Fn(&LanePlace) -> bool,
) -> Result<Found> {
    let topic = WantedTopic {
        name: name.into(),
        partitions: 1,
    };
    let found = lanes::topics(&config.fluvio, std::slice::from_ref(&topic))?;
    let count = found.get(name).map(|found| found.replicas().partitions());
    let Some(count) = count else {
        return Err(Error::config(format!("the topic {name} does not exist")));
    };
    let places = (0..count).map(|partition| LanePlace {
        topic: topic.name.clone(),
        partition,
    });
    let places: Vec<LanePlace> = places.filter(is_wanted).collect();
    if places.is_empty() {
        let what = format!("the topic {name} has no such partition, it has {count}");
        return Err(Error::new(Kind::Usage, what));
    }
    let mut partitions = Partitions::find(&config.fluvio, &places, |_| true)?;
    Ok(Found {
        are_several: count > 1,
        lasts: partitions.last_records()?,
        numbers: (0..places.len()).collect(),
        partitions,
        extent: Extent::Elsewhere,
    })
}

impl Found {
    /// How many records of a partition are read from `from` on, or from its first.
    fn records(&self, number: usize, from: Option<i64>) -> u64 {
        let bounds = self.partitions.bounds(number);
        let records =
            bounds.map(|bounds| bounds.end - from.unwrap_or(bounds.start).max(bounds.start));
        records.map_or(0, |records| records.max(0) as u64)
    }

    /// Reads a partition from `from` on, or from its first record, and checks it.
    fn read(
        &self,
        config: &Config,
        number: usize,
        from: Option<i64>,
        reading: &mut Reading,
    ) -> Result<Verification> {
        let place = self.partitions.place(number);
        let (Some(bounds), Some(mut reader)) = (
            self.partitions.bounds(number),
            self.partitions.reader(number)?,
        ) else {
            return Err(Error::new(Kind::Bug, format!("{place} is not there")));
        };
        let first = from.unwrap_or(bounds.start).max(bounds.start);
        let mut verifier = match config.format {
            Format::Events => Verifier::Events(EventVerifier::starting_at(first)),
            Format::Rows => {
                let verifier = RowVerifier::new(&config.routes, place, self.extent, first);
                Verifier::Rows(Box::new(verifier))
            }
        };
        let mut offset = first;
        while offset < bounds.end {
            let before = offset;
            let records = reader.fetch(offset).at(|| format!("offset {offset}"))?;
            for record in records
                .iter()
                .take_while(|record| record.offset < bounds.end)
            {
                verifier.check(record);
                offset = record.offset + 1;
            }
            reading.log_progress((offset - before) as u64);
        }
        let last = self.lasts[number].as_ref();
        let last = last.map(|last| parse_last(config.format, &last.value));
        let end = last.and_then(|last| last.err().filter(|error| error.kind() == Kind::Config));
        Ok(Verification {
            topic: place.topic.to_string(),
            partition: self.are_several.then_some(place.partition),
            other_format: end,
            ..verifier.report(offset)
        })
    }
}

/// Follows the records of a partition; its memory does not grow with them.
enum Verifier<'c> {
    Events(EventVerifier),
    Rows(Box<RowVerifier<'c>>),
}

impl Verifier<'_> {
    fn check(&mut self, record: &StoredRecord) {
        match self {
            Verifier::Events(events) => events.check(record.offset, &record.value),
            Verifier::Rows(rows) => {
                rows.check(record.offset, record.key.as_deref(), &record.value);
            }
        }
    }

    fn report(self, end_offset: i64) -> Verification {
        match self {
            Verifier::Events(events) => events.report(end_offset),
            Verifier::Rows(rows) => rows.report(end_offset),
        }
    }
}
