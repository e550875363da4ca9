//! The topics, and how the SC describes them to its clients.

use std::collections::BTreeMap;
use std::iter;

use fluvio_protocol::link::ErrorCode;
use fluvio_sc_schema::Status;
use fluvio_sc_schema::objects::Metadata;
use fluvio_sc_schema::partition::{
    PartitionResolution, PartitionSpec, PartitionStatus, ReplicaStatus,
};
use fluvio_sc_schema::shared::validate_resource_name;
use fluvio_sc_schema::spu::SpuSpec;
use fluvio_sc_schema::topic::{TopicResolution, TopicSpec, TopicStatus};

use super::log::PartitionLog;

/// The id of the first SPU, the one that the real cluster gives to its first.
const SPU_ID: i32 = 5001;

/// The real SC creates this topic when it starts. Without any topic the ordinary client waits for
/// a minute before it says that a topic does not exist.
const SYSTEM_TOPIC: &str = "consumer-offset";

/// Every topic with its partitions.
pub(super) struct Topics {
    spu_ports: Vec<u16>,
    topics: BTreeMap<String, Topic>,
}

struct Topic {
    spec: TopicSpec,
    partitions: Vec<PartitionLog>,
}

impl Topic {
    /// The ids of the SPUs that hold a partition, the leader first. On those that hold it besides, which come
    /// after the `spus` that there are, nobody is there.
    fn replicas(&self, partition: usize, spus: usize) -> Vec<i32> {
        let factor = self.spec.replicas().replication_factor().unwrap_or(1);
        let followers = (id(spus)..).take(factor.saturating_sub(1) as usize);
        iter::once(id(partition % spus)).chain(followers).collect()
    }
}

/// The id of an SPU by its number.
fn id(number: usize) -> i32 {
    SPU_ID + i32::try_from(number).expect("a small number")
}

impl Topics {
    pub(super) fn new(spu_ports: Vec<u16>) -> Self {
        let mut topics = Self {
            spu_ports,
            topics: BTreeMap::new(),
        };
        let mut spec = TopicSpec::new_computed(1, 1, None);
        spec.set_system(true);
        topics.insert(SYSTEM_TOPIC, spec);
        topics
    }

    pub(super) fn advertise(&mut self, number: usize, port: u16) {
        self.spu_ports[number] = port;
    }

    /// Whether the SPU of this number leads the partition: they are led in turn.
    pub(super) fn leads(&self, spu: usize, topic: &str, partition: u32) -> bool {
        let number = usize::try_from(partition).expect("a small number");
        self.log(topic, partition).is_some() && number % self.spu_ports.len() == spu
    }

    /// Adds partitions to a topic until it has so many.
    pub(super) fn add_partitions(&mut self, topic: &str, partitions: u32) {
        let topic = self.topics.get_mut(topic).expect("there is such a topic");
        topic.spec = TopicSpec::new_computed(partitions, 1, None);
        let partitions = usize::try_from(partitions).expect("a small number");
        topic
            .partitions
            .resize_with(partitions, PartitionLog::default);
    }

    /// What the SC answers to a create. A dry run only checks.
    pub(super) fn create(&mut self, name: &str, spec: TopicSpec, dry_run: bool) -> Status {
        let refuse = |code, message| Status::new(name.to_owned(), code, Some(message));
        if let Err(error) = validate_resource_name(name) {
            return refuse(
                ErrorCode::TopicInvalidName,
                format!("Invalid topic name: '{name}'. {error}"),
            );
        }
        if self.topics.contains_key(name) {
            return refuse(
                ErrorCode::TopicAlreadyExists,
                format!("Topic '{name}' already exists"),
            );
        }
        if let Some(error) = spec.validate_config() {
            return refuse(ErrorCode::TopicInvalidConfiguration, error);
        }
        if spec.replicas().partitions() == 0 {
            return refuse(
                ErrorCode::TopicError,
                "a topic needs a partition".to_owned(),
            );
        }
        if !dry_run {
            self.insert(name, spec);
        }
        Status::new_ok(name.to_owned())
    }

    fn insert(&mut self, name: &str, spec: TopicSpec) {
        let partitions = (0..spec.replicas().partitions())
            .map(|_| PartitionLog::default())
            .collect();
        self.topics
            .insert(name.to_owned(), Topic { spec, partitions });
    }

    /// What the SC answers to a delete.
    pub(super) fn delete(&mut self, name: &str, force: bool) -> Status {
        let Some(topic) = self.topics.get(name) else {
            return Status::new(
                name.to_owned(),
                ErrorCode::TopicNotFound,
                Some("not found".to_owned()),
            );
        };
        if topic.spec.is_system() && !force {
            let code = ErrorCode::SystemSpecDeletionAttempt {
                kind: "topic".to_owned(),
                name: name.to_owned(),
            };
            return Status::new(name.to_owned(), code, None);
        }
        self.topics.remove(name);
        Status::new_ok(name.to_owned())
    }

    pub(super) fn log(&self, topic: &str, partition: u32) -> Option<&PartitionLog> {
        let partition = usize::try_from(partition).ok()?;
        self.topics.get(topic)?.partitions.get(partition)
    }

    pub(super) fn log_mut(&mut self, topic: &str, partition: u32) -> Option<&mut PartitionLog> {
        let partition = usize::try_from(partition).ok()?;
        self.topics.get_mut(topic)?.partitions.get_mut(partition)
    }

    /// All topics, the system's among them.
    pub(super) fn topic_metadata(&self) -> Vec<Metadata<TopicSpec>> {
        self.topics
            .iter()
            .map(|(name, topic)| Metadata {
                name: name.clone(),
                spec: topic.spec.clone(),
                status: TopicStatus::new(
                    TopicResolution::Provisioned,
                    (0..topic.partitions.len())
                        .map(|index| topic.replicas(index, self.spu_ports.len()))
                        .collect(),
                    "",
                ),
            })
            .collect()
    }

    /// All partitions, the system's among them.
    pub(super) fn partition_metadata(&self) -> Vec<Metadata<PartitionSpec>> {
        let mut all = Vec::new();
        for (name, topic) in &self.topics {
            for (index, log) in topic.partitions.iter().enumerate() {
                let replicas = topic.replicas(index, self.spu_ports.len());
                let replica = ReplicaStatus::new(replicas[0], log.end(), log.end());
                let size = i64::try_from(log.bytes()).unwrap_or(i64::MAX);
                all.push(Metadata {
                    name: format!("{name}-{index}"),
                    spec: PartitionSpec::from_replicas(replicas, &topic.spec, None),
                    status: PartitionStatus::new2(
                        replica,
                        Vec::new(),
                        size,
                        PartitionResolution::Online,
                        0,
                    ),
                });
            }
        }
        all
    }

    pub(super) fn spu_metadata(&self) -> Vec<Metadata<SpuSpec>> {
        let spus = self.spu_ports.iter().enumerate().map(|(number, &port)| {
            let id = id(number);
            let spec = SpuSpec::new_public_addr(id, port, "127.0.0.1".to_owned()).set_custom();
            let mut spu = Metadata {
                name: format!("custom-spu-{id}"),
                spec,
                ..Default::default()
            };
            spu.status.set_online();
            spu
        });
        spus.collect()
    }
}
