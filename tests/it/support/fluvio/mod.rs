//! A Fluvio cluster inside of the test process: one SC, and one SPU or several, that the ordinary client
//! cannot tell from real ones as far as these tests go, kept in memory, with faults on demand.
//!
//! [`Cluster`] is what most tests start: this server, or a real cluster if the environment names
//! one.

#![allow(dead_code)]

mod client;
mod cluster;
mod connection;
mod faults;
mod log;
mod net;
mod produce;
mod sc;
mod spu;
mod spus;
mod topics;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fluvio_protocol::link::ErrorCode;
use fluvio_protocol::link::versions::ApiVersionKey;
use fluvio_sc_schema::Status;
use fluvio_sc_schema::topic::{CleanupPolicy, CompressionAlgorithm, TopicSpec};
use tokio::runtime::Runtime;
use tokio::sync::watch;

#[allow(unused_imports)]
pub use self::{
    client::{TopicReader, create_topic, delete_topic, end_offset, end_offsets, produce_keys},
    cluster::Cluster,
    faults::{Close, Fault, When},
    log::{BATCH_MAX, BatchInfo},
    net::{Accepting, Side},
};

use self::faults::{OffsetFault, Plan};
use self::log::StoredBatch;
use self::net::{Endpoint, Gate};
use self::topics::Topics;

/// What the SC, the SPU and the test look at together.
struct Shared {
    topics: Mutex<Topics>,
    topics_changed: watch::Sender<()>,
    records_changed: watch::Sender<()>,
    produce_faults: Mutex<Plan<Fault>>,
    offset_faults: Mutex<Plan<OffsetFault>>,
    not_leader_until: Mutex<Option<Instant>>,
    /// What is added to all versions of requests that the servers say they have.
    version_shift: Mutex<i16>,
    /// How many requests of each key came to the SC and to the SPUs.
    requests: Mutex<BTreeMap<(Side, u16), usize>>,
}

impl Shared {
    fn new(spu_ports: Vec<u16>) -> Self {
        Self {
            topics: Mutex::new(Topics::new(spu_ports)),
            topics_changed: watch::Sender::new(()),
            records_changed: watch::Sender::new(()),
            produce_faults: Mutex::default(),
            offset_faults: Mutex::default(),
            not_leader_until: Mutex::default(),
            version_shift: Mutex::default(),
            requests: Mutex::default(),
        }
    }

    fn count(&self, side: Side, key: u16) {
        *self
            .requests
            .lock()
            .unwrap()
            .entry((side, key))
            .or_default() += 1;
    }

    /// Whether an SPU leads a partition now.
    fn leads(&self, spu: usize, topic: &str, partition: u32) -> bool {
        !self.is_not_leader() && self.topics.lock().unwrap().leads(spu, topic, partition)
    }

    fn change_topics(&self, change: impl FnOnce(&mut Topics) -> Status) -> Status {
        let status = change(&mut self.topics.lock().unwrap());
        self.topics_changed.send_replace(());
        // The stream of a topic that is gone ends.
        self.records_changed.send_replace(());
        status
    }

    fn has_partition(&self, topic: &str, partition: u32) -> bool {
        self.end_offset(topic, partition).is_some()
    }

    fn end_offset(&self, topic: &str, partition: u32) -> Option<i64> {
        self.bounds(topic, partition).map(|bounds| bounds.end)
    }

    fn bounds(&self, topic: &str, partition: u32) -> Option<Range<i64>> {
        let topics = self.topics.lock().unwrap();
        topics
            .log(topic, partition)
            .map(|log| log.start()..log.end())
    }

    fn batches(&self, topic: &str, partition: u32) -> Vec<Arc<StoredBatch>> {
        let topics = self.topics.lock().unwrap();
        topics
            .log(topic, partition)
            .map(|log| log.batches().to_vec())
            .unwrap_or_default()
    }

    fn shifted(&self, mut keys: Vec<ApiVersionKey>) -> Vec<ApiVersionKey> {
        let shift = *self.version_shift.lock().unwrap();
        for key in &mut keys {
            key.min_version += shift;
            key.max_version += shift;
        }
        keys
    }

    fn is_not_leader(&self) -> bool {
        let until = *self.not_leader_until.lock().unwrap();
        until.is_some_and(|until| Instant::now() < until)
    }
}

/// The server. It ends when it is dropped.
///
/// Everything that it forgets it forgets then: [`stop`](Self::stop) and
/// [`restart`](Self::restart) keep the records.
pub struct FluvioServer {
    /// None only while the server is dropped.
    runtime: Option<Runtime>,
    shared: Arc<Shared>,
    sc: Arc<Endpoint>,
    spus: Vec<Arc<Endpoint>>,
    sc_frozen: watch::Sender<bool>,
    spus_frozen: Vec<watch::Sender<bool>>,
    not_leader_after_restart: Mutex<Option<Duration>>,
}

impl FluvioServer {
    /// Listens on two free ports of the loopback interface.
    pub fn start() -> Self {
        Self::start_with_spus(1)
    }

    /// Listens on these ports of the loopback interface, with `count` SPUs, the first of them on `spu_port`; 0 is
    /// any free one.
    pub fn start_on(sc_port: u16, spu_port: u16, count: usize) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("fluvio-server")
            .enable_all()
            .build()?;
        let bind = |side, port| {
            let frozen = watch::Sender::new(false);
            let bound = Endpoint::bind(side, port, runtime.handle(), Gate::new(&frozen));
            bound.map(|(endpoint, listener)| (endpoint, listener, frozen))
        };
        let (sc, sc_listener, sc_frozen) = bind((Side::Sc, 0), sc_port)?;
        let (mut spus, mut listeners, mut spus_frozen) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..count {
            let port = if number == 0 { spu_port } else { 0 };
            let (spu, listener, frozen) = bind((Side::Spu, number), port)?;
            spus.push(spu);
            listeners.push(listener);
            spus_frozen.push(frozen);
        }
        let ports = spus.iter().map(|spu| spu.address().port()).collect();
        let shared = Arc::new(Shared::new(ports));
        sc.listen(sc_listener, &shared);
        for (spu, listener) in spus.iter().zip(listeners) {
            spu.listen(listener, &shared);
        }
        Ok(Self {
            runtime: Some(runtime),
            shared,
            sc,
            spus,
            sc_frozen,
            spus_frozen,
            not_leader_after_restart: Mutex::default(),
        })
    }

    /// What a profile names: the address of the SC.
    pub fn sc_addr(&self) -> String {
        self.sc.address().to_string()
    }

    /// The address of the first SPU, which clients learn from the SC.
    pub fn spu_addr(&self) -> String {
        self.spus[0].address().to_string()
    }

    /// The addresses of all SPUs, in their order.
    pub fn spu_addrs(&self) -> Vec<String> {
        let addresses = self.spus.iter().map(|spu| spu.address().to_string());
        addresses.collect()
    }

    /// From now on both servers say that they have other versions of every request: newer ones, or
    /// older ones when the shift is negative.
    pub fn shift_versions(&self, shift: i16) {
        *self.shared.version_shift.lock().unwrap() = shift;
    }

    /// From now on clients learn that the SPU is on this port of the loopback interface, where a
    /// proxy stands in front of it.
    pub fn advertise_spu(&self, port: u16) {
        self.advertise(0, port);
    }

    /// From now on clients learn that the SPU of this number is on that port.
    pub fn advertise(&self, number: usize, port: u16) {
        self.shared.topics.lock().unwrap().advertise(number, port);
    }

    fn endpoints(&self, side: Side) -> &[Arc<Endpoint>] {
        match side {
            Side::Sc => std::slice::from_ref(&self.sc),
            Side::Spu => &self.spus,
        }
    }

    /// Closes both listeners and every connection, in order. The records stay.
    pub fn stop(&self) {
        self.stop_side(Side::Sc);
        self.stop_side(Side::Spu);
    }

    /// Listens again where it did.
    pub fn restart(&self) {
        self.restart_side(Side::Spu);
        self.restart_side(Side::Sc);
    }

    /// Stops one of the two. The SC goes on to call the SPU online while it is stopped.
    pub fn stop_side(&self, side: Side) {
        for endpoint in self.endpoints(side) {
            endpoint.close_listener();
            endpoint.close_connections(Close::Fin);
        }
    }

    /// Starts one of the two again.
    pub fn restart_side(&self, side: Side) {
        if side == Side::Spu {
            let pause = *self.not_leader_after_restart.lock().unwrap();
            if let Some(pause) = pause {
                self.not_leader_for(pause);
            }
        }
        for endpoint in self.endpoints(side) {
            endpoint.listen_again(&self.shared);
        }
    }

    /// The real SPU leads no partition for 0.2 to 1.1 s after each start. From now on this one
    /// does the same; None ends that.
    pub fn set_not_leader_after_restart(&self, pause: Option<Duration>) {
        *self.not_leader_after_restart.lock().unwrap() = pause;
    }

    /// The SPU leads no partition from now on for so long.
    pub fn not_leader_for(&self, pause: Duration) {
        *self.shared.not_leader_until.lock().unwrap() = Some(Instant::now() + pause);
    }

    /// Nothing is read, applied or answered any more, as if the process were stopped by SIGSTOP.
    /// Connections are still taken by the kernel, and so is what fits into their buffers.
    pub fn freeze(&self) {
        self.set_frozen(true);
    }

    /// Everything goes on, with what has come in between.
    pub fn thaw(&self) {
        self.set_frozen(false);
    }

    fn set_frozen(&self, is_frozen: bool) {
        for frozen in self.spus_frozen.iter().chain([&self.sc_frozen]) {
            frozen.send_replace(is_frozen);
        }
    }

    /// Closes the connections of both servers. New ones are welcome.
    pub fn drop_connections(&self, how: Close) {
        for endpoint in self.spus.iter().chain([&self.sc]) {
            endpoint.drop_connections(how);
        }
    }

    /// Both servers refuse connections from now on for so long. Those that exist stay.
    pub fn refuse_for(&self, pause: Duration) {
        for endpoint in self.spus.iter().chain([&self.sc]) {
            endpoint.listen_after(pause, &self.shared);
        }
    }

    /// What happens to new connections of one of the two.
    pub fn set_accepting(&self, side: Side, accepting: Accepting) {
        for endpoint in self.endpoints(side) {
            endpoint.set_accepting(accepting);
        }
    }

    /// Arms a fault on produce requests with records.
    pub fn inject(&self, fault: Fault, when: When) {
        self.shared.produce_faults.lock().unwrap().arm(fault, when);
    }

    /// Requests for the offsets of a partition are answered with this error.
    pub fn inject_offset_error(&self, code: ErrorCode, when: When) {
        self.arm_offsets(OffsetFault::Error(code), when);
    }

    /// Requests for the offsets of a partition are answered as they were so many records ago.
    pub fn inject_old_offsets(&self, records: i64, when: When) {
        self.arm_offsets(OffsetFault::Old(records), when);
    }

    fn arm_offsets(&self, fault: OffsetFault, when: When) {
        self.shared.offset_faults.lock().unwrap().arm(fault, when);
    }

    /// How many faults still wait for the request that they are for.
    pub fn armed_faults(&self) -> usize {
        self.shared.produce_faults.lock().unwrap().len()
            + self.shared.offset_faults.lock().unwrap().len()
    }

    /// Forgets every fault that still waits, thaws, and leads and accepts as usual. A connection
    /// that a fault has silenced stays silent.
    pub fn clear_faults(&self) {
        self.shared.produce_faults.lock().unwrap().clear();
        self.shared.offset_faults.lock().unwrap().clear();
        *self.shared.not_leader_until.lock().unwrap() = None;
        self.set_not_leader_after_restart(None);
        self.set_accepting(Side::Sc, Accepting::Serve);
        self.set_accepting(Side::Spu, Accepting::Serve);
        self.thaw();
    }

    /// Creates a topic with one partition.
    pub fn create_topic(&self, name: &str) {
        self.create_topic_with_partitions(name, 1);
    }

    /// Creates a topic with so many partitions.
    pub fn create_topic_with_partitions(&self, name: &str, partitions: u32) {
        self.create_topic_as(name, TopicSpec::new_computed(partitions, 1, None));
    }

    /// Creates a topic that takes batches of one compression only.
    pub fn create_topic_with_compression(&self, name: &str, compression: CompressionAlgorithm) {
        let mut spec = TopicSpec::new_computed(1, 1, None);
        spec.set_compression_type(compression);
        self.create_topic_as(name, spec);
    }

    /// Creates a topic whose records are removed as `policy` says.
    pub fn create_topic_with_cleanup(&self, name: &str, policy: CleanupPolicy) {
        let mut spec = TopicSpec::new_computed(1, 1, None);
        spec.set_cleanup_policy(policy);
        self.create_topic_as(name, spec);
    }

    /// Creates a topic with one partition that a second SPU is to hold too, which exists in the
    /// lists only. How far that one is behind is for [`inject_old_offsets`](Self::inject_old_offsets)
    /// to say.
    pub fn create_topic_with_a_follower(&self, name: &str) {
        self.create_topic_as(name, TopicSpec::new_computed(1, 2, None));
    }

    fn create_topic_as(&self, name: &str, spec: TopicSpec) {
        let status = self
            .shared
            .change_topics(|topics| topics.create(name, spec, false));
        assert!(!status.is_error(), "create: {status}");
    }

    /// Deletes a topic and its records.
    pub fn delete_topic(&self, name: &str) {
        let status = self
            .shared
            .change_topics(|topics| topics.delete(name, false));
        assert!(!status.is_error(), "delete: {status}");
    }

    /// Appends records to partition 0 with the ordinary client.
    pub fn produce(&self, topic: &str, values: &[Vec<u8>]) {
        client::produce(&self.sc_addr(), topic, values)
            .unwrap_or_else(|error| panic!("cannot write to {topic}: {error}"));
    }

    /// Appends records with the ordinary client, which chooses the partition by the key.
    pub fn produce_pairs(&self, topic: &str, pairs: &[(Option<Vec<u8>>, Vec<u8>)]) {
        client::produce_pairs(&self.sc_addr(), topic, pairs)
            .unwrap_or_else(|error| panic!("cannot write to {topic}: {error}"));
    }

    /// The values of all records of a partition, in order; none if there is no such partition.
    pub fn records(&self, topic: &str, partition: u32) -> Vec<Vec<u8>> {
        self.records_from(topic, partition, 0)
    }

    /// The same from an offset on.
    pub fn records_from(&self, topic: &str, partition: u32, offset: i64) -> Vec<Vec<u8>> {
        let batches = self.shared.batches(topic, partition);
        batches
            .iter()
            .flat_map(|batch| batch.values_from(offset))
            .cloned()
            .collect()
    }

    /// The offset that the next record gets; 0 if there is no such partition.
    pub fn end_offset(&self, topic: &str, partition: u32) -> i64 {
        self.shared.end_offset(topic, partition).unwrap_or(0)
    }

    /// The batches of a partition, in order.
    pub fn batches(&self, topic: &str, partition: u32) -> Vec<BatchInfo> {
        let batches = self.shared.batches(topic, partition);
        batches.iter().map(|batch| batch.info()).collect()
    }

    /// Damages the batch that holds the record at `offset`.
    pub fn damage(&self, topic: &str, partition: u32, offset: i64) {
        self.change(topic, partition, |log| log.damage(offset));
    }

    /// Drops the records from `end` on, as if they had never reached the disk.
    pub fn truncate(&self, topic: &str, partition: u32, end: i64) {
        self.change(topic, partition, |log| log.truncate(end));
    }

    /// Drops the records before `start`, as the topic's retention does.
    pub fn evict(&self, topic: &str, partition: u32, start: i64) {
        self.change(topic, partition, |log| log.evict(start));
    }

    fn change(&self, topic: &str, partition: u32, change: impl FnOnce(&mut log::PartitionLog)) {
        let mut topics = self.shared.topics.lock().unwrap();
        change(
            topics
                .log_mut(topic, partition)
                .unwrap_or_else(|| panic!("there is no partition {topic}-{partition}")),
        );
    }
}

impl Drop for FluvioServer {
    fn drop(&mut self) {
        // A failed test has other worries than connections that do not close.
        if !std::thread::panicking() {
            self.stop();
        }
        if let Some(runtime) = self.runtime.take() {
            // A runtime that waits for its tasks cannot be dropped in an asynchronous test.
            runtime.shutdown_background();
        }
    }
}
