//! The servers that lead the lanes: found, connected to once each, and asked for all of their lanes at a time.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use fluvio::Compression;
use fluvio_protocol::link::ErrorCode;

use super::cluster::{self, Leader};
use super::reader::{self, Bounds, PartitionReader, Source};
use super::rpc::Rpc;
use super::server::FluvioServer;
use super::spu_writer::{SpuWriter, WrittenLane};
use super::unpack::StoredRecord;
use super::writer::LanesWriter;
use super::{LanePlace, Options, WantedTopic, allowed, refused};
use crate::base::error::{Error, Result};
use crate::sink::lease::Lease;

/// How often a leader that is not ready yet is asked again.
const POLL: Duration = Duration::from_millis(50);

/// Lanes whose leaders are known and answer for them.
pub struct Leaders {
    options: Options,
    lanes: Vec<LedLane>,
    spus: Vec<LeadingSpu>,
}

/// A lane, and what is known of it.
struct LedLane {
    source: Source,
    /// The number of its leader.
    spu: usize,
    compression: Compression,
    bounds: Bounds,
}

/// A server that leads lanes.
struct LeadingSpu {
    server: FluvioServer,
    rpc: Rpc,
    /// The longest that the server took to answer.
    slowest: Duration,
}

impl Leaders {
    /// Finds the leaders of partitions, and waits until they answer for them: one that has just started,
    /// or has just got a partition, needs a moment. Topics that are missing are created, if that is wanted.
    pub fn find(
        options: &Options,
        topics: &[WantedTopic],
        places: &[LanePlace],
    ) -> Result<Leaders> {
        let deadline = Instant::now() + options.timeout;
        let cluster = cluster::endpoint(options)?;
        let found = cluster::find_leaders(&cluster, options, topics, places)?;
        let mut leaders = Leaders {
            options: options.clone(),
            lanes: Vec::with_capacity(places.len()),
            spus: Vec::new(),
        };
        let mut numbers = HashMap::new();
        for (place, leader) in places.iter().zip(found) {
            leaders.add(place, leader, &mut numbers)?;
        }
        let mut left: Vec<usize> = (0..places.len()).collect();
        while let Some((lane, code)) = leaders.ask(&mut left)? {
            let error = refused(&code);
            if Instant::now() >= deadline || !error.kind().is_transient() {
                return Err(leaders.error(lane, error));
            }
            log::debug!("{}: {code}", leaders.place(lane));
            thread::sleep(POLL);
        }
        Ok(leaders)
    }

    fn add(
        &mut self,
        place: &LanePlace,
        leader: Leader,
        numbers: &mut HashMap<i32, usize>,
    ) -> Result<()> {
        let compression = allowed(&self.options, &place.topic, &leader.compression)?;
        let next = self.spus.len();
        let spu = *numbers.entry(leader.spu).or_insert(next);
        if spu == next {
            self.spus.push(LeadingSpu {
                rpc: Rpc::connect(&leader.server, self.options.timeout)?,
                server: leader.server,
                slowest: Duration::ZERO,
            });
        }
        self.lanes.push(LedLane {
            source: Source {
                place: place.clone(),
                is_replicated: leader.is_replicated,
            },
            spu,
            compression,
            bounds: Bounds {
                start: 0,
                end: 0,
                stable: 0,
            },
        });
        Ok(())
    }

    /// Asks for the bounds of some lanes. Those that are not answered for are left; the first of them is
    /// returned, and why.
    fn ask(&mut self, left: &mut Vec<usize>) -> Result<Option<(usize, ErrorCode)>> {
        let asked = std::mem::take(left);
        let mut first = None;
        for (number, spu) in self.spus.iter_mut().enumerate() {
            let led = asked.iter().copied();
            let led: Vec<usize> = led.filter(|&lane| self.lanes[lane].spu == number).collect();
            if led.is_empty() {
                continue;
            }
            let sources: Vec<_> = led.iter().map(|&lane| &self.lanes[lane].source).collect();
            spu.rpc.take_slowest();
            let bounds = reader::ask_bounds(&mut spu.rpc, &sources)?;
            spu.slowest = spu.rpc.take_slowest();
            for (lane, bounds) in led.into_iter().zip(bounds) {
                match bounds {
                    Ok(bounds) => self.lanes[lane].bounds = bounds,
                    Err(code) => {
                        first.get_or_insert((lane, code));
                        left.push(lane);
                    }
                }
            }
        }
        Ok(first)
    }

    /// Connects to all servers anew: what was connected may have been idle for long.
    pub fn connect_anew(&mut self) -> Result<()> {
        for spu in &mut self.spus {
            spu.rpc = Rpc::connect(&spu.server, self.options.timeout)?;
        }
        Ok(())
    }

    /// Asks for the bounds of all lanes anew.
    pub fn ask_again(&mut self) -> Result<()> {
        let mut all = (0..self.lanes.len()).collect();
        match self.ask(&mut all)? {
            None => Ok(()),
            Some((lane, code)) => Err(self.error(lane, refused(&code))),
        }
    }

    /// How many lanes there are.
    pub fn count(&self) -> usize {
        self.lanes.len()
    }

    /// The partition of a lane.
    pub fn place(&self, lane: usize) -> &LanePlace {
        &self.lanes[lane].source.place
    }

    /// What a lane held when it was asked last.
    pub fn bounds(&self, lane: usize) -> Bounds {
        self.lanes[lane].bounds
    }

    /// The longest that the leader of a lane took to answer when it was asked last.
    pub fn slowest(&self, lane: usize) -> Duration {
        self.spus[self.lanes[lane].spu].slowest
    }

    /// The address of the server that leads a lane.
    pub fn leader(&self, lane: usize) -> &str {
        &self.spus[self.lanes[lane].spu].server.address
    }

    /// The addresses of all servers that lead lanes.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.spus.iter().map(|spu| &*spu.server.address)
    }

    /// A new connection to read a lane.
    pub fn reader(&self, lane: usize) -> Result<PartitionReader> {
        let lane = &self.lanes[lane];
        let server = &self.spus[lane.spu].server;
        PartitionReader::connect(server, self.options.timeout, &lane.source)
    }

    /// The last record of each of some lanes, in their order, as their bounds say; None for those that are
    /// empty.
    pub fn last_records(&mut self, lanes: &[usize]) -> Result<Vec<Option<StoredRecord>>> {
        let mut records = vec![None; lanes.len()];
        for (number, spu) in self.spus.iter_mut().enumerate() {
            let led = lanes
                .iter()
                .enumerate()
                .map(|(at, &lane)| (at, &self.lanes[lane]));
            let led = led.filter(|(_, lane)| lane.spu == number && !lane.bounds.is_empty());
            let (at, ends): (Vec<_>, Vec<_>) = led
                .map(|(at, lane)| (at, (&lane.source.place, lane.bounds.end)))
                .unzip();
            for (at, record) in at
                .into_iter()
                .zip(reader::last_records(&mut spu.rpc, &ends)?)
            {
                records[at] = Some(record);
            }
        }
        Ok(records)
    }

    /// A new connection to each server, to write all lanes under the lease of a slot; the next record of each
    /// is to have its offset of `next_offsets`.
    pub fn writer(&self, next_offsets: &[i64], lease: &Lease) -> Result<LanesWriter> {
        let timeout = self.options.timeout;
        let mut spus = Vec::with_capacity(self.spus.len());
        for spu in &self.spus {
            let mut rpc = Rpc::connect(&spu.server, timeout)?;
            rpc.hold_under(lease.clone())?;
            spus.push(SpuWriter::new(rpc, lease.clone(), timeout));
        }
        let lanes = self
            .lanes
            .iter()
            .zip(next_offsets)
            .map(|(lane, &next_offset)| {
                let written = WrittenLane {
                    place: lane.source.place.clone(),
                    compression: lane.compression,
                    next_offset,
                    stored: 0,
                };
                (lane.spu, written)
            });
        Ok(LanesWriter::new(&self.options, lanes.collect(), spus))
    }

    /// An error of a lane, with its server.
    pub fn error(&self, lane: usize, error: Error) -> Error {
        let lane = &self.lanes[lane];
        let error = self.spus[lane.spu].rpc.error(error);
        error.at(lane.source.place.to_string())
    }
}
