//! The conditions, by the names that the report, its JSON and the README use.

use serde::{Serialize, Serializer};

/// Something that must be so for the program to work, or to go on working.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // the table says what each one asks
pub enum Condition {
    ConfigPermissions,
    StateDir,
    Fluvio,
    TopicMapping,
    Topic,
    TopicPartition,
    TopicCompression,
    TopicBatchSize,
    TopicRetention,
    TopicTail,
    Postgres,
    Tls,
    Version,
    Recovery,
    WalLevel,
    MaxReplicationSlots,
    MaxWalSenders,
    MaxSlotWalKeepSize,
    IdleReplicationSlotTimeout,
    WalSenderTimeout,
    SynchronousStandbys,
    Clock,
    Pooler,
    RoleReplication,
    Publication,
    PublicationTables,
    PublicationActions,
    PublicationOptions,
    PublicationIdentity,
    PublicationPartitions,
    PublicationKeys,
    PublicationLocks,
    Slot,
    SlotPlugin,
    SlotDatabase,
    SlotFailover,
    SlotActive,
    SlotWalStatus,
    SlotLag,
    SlotAge,
    Transactions,
    PreparedTransactions,
    Continuity,
}

use Condition::*;

/// All conditions, in the order in which a session meets them, which is the order of the report and
/// of the statements too: a condition's name, and what it asks.
pub const CONDITIONS: [(Condition, &str, &str); 43] = [
    (
        ConfigPermissions,
        "config.permissions",
        "nobody else can read a file that holds the URL",
    ),
    (
        StateDir,
        "state_dir",
        "the state file can be read and written",
    ),
    (Fluvio, "fluvio", "the cluster answers"),
    (
        TopicMapping,
        "topic.mapping",
        "each table has a topic and a partition",
    ),
    (Topic, "topic", "each exists, or is created"),
    (
        TopicPartition,
        "topic.partition",
        "each exists and its leader answers",
    ),
    (
        TopicCompression,
        "topic.compression",
        "the topic takes the configured one",
    ),
    (
        TopicBatchSize,
        "topic.batch_size",
        "ordinary consumers can fetch a batch",
    ),
    (
        TopicRetention,
        "topic.retention",
        "records stay long enough to be read",
    ),
    (
        TopicTail,
        "topic.tail",
        "the last record can be read, is of this program and of the configured format",
    ),
    (Postgres, "postgres", "the server lets the user in"),
    (
        Tls,
        "tls",
        "a connection over a network is encrypted, and its server verified",
    ),
    (
        Version,
        "version",
        "10 or later, and what the config asks for",
    ),
    (
        Recovery,
        "recovery",
        "a primary, or a standby of 16 or later",
    ),
    (WalLevel, "wal_level", "logical"),
    (
        MaxReplicationSlots,
        "max_replication_slots",
        "one is free if the slot is to be made",
    ),
    (MaxWalSenders, "max_wal_senders", "one is free"),
    (
        MaxSlotWalKeepSize,
        "max_slot_wal_keep_size",
        "the WAL that is kept has a limit, not too low",
    ),
    (
        IdleReplicationSlotTimeout,
        "idle_replication_slot_timeout",
        "a stop of the program does not lose the slot",
    ),
    (
        WalSenderTimeout,
        "wal_sender_timeout",
        "a dead connection gives the slot back",
    ),
    (
        SynchronousStandbys,
        "synchronous_standbys",
        "commits wait for this program only if that is meant",
    ),
    (
        Clock,
        "clock",
        "the server's clock and this machine's agree",
    ),
    (Pooler, "pooler", "no connection pooler stands in between"),
    (
        RoleReplication,
        "role.replication",
        "a replication connection can be opened",
    ),
    (Publication, "publication", "it exists, or can be made"),
    (
        PublicationTables,
        "publication.tables",
        "it has the configured tables, or any",
    ),
    (
        PublicationActions,
        "publication.actions",
        "the kinds of changes that are wanted, and no others",
    ),
    (
        PublicationOptions,
        "publication.options",
        "partitions and generated columns come as the config says",
    ),
    (
        PublicationIdentity,
        "publication.identity",
        "each table has a replica identity that the server accepts",
    ),
    (
        PublicationPartitions,
        "publication.partitions",
        "partitions have their parent's identity",
    ),
    (
        PublicationKeys,
        "publication.keys",
        "the columns under `keys` tell rows apart, and tables that are spread by key have one",
    ),
    (
        PublicationLocks,
        "publication.locks",
        "none keeps a publication from being made",
    ),
    (Slot, "slot", "it exists, or can be made"),
    (SlotPlugin, "slot.plugin", "a logical slot of pgoutput"),
    (SlotDatabase, "slot.database", "the one of the URL"),
    (
        SlotFailover,
        "slot.failover",
        "it survives a failover as the config says, and waits for no standby that is gone",
    ),
    (SlotActive, "slot.active", "nobody else streams from it"),
    (
        SlotWalStatus,
        "slot.wal_status",
        "the WAL that it needs is there",
    ),
    (SlotLag, "slot.lag", "it does not hold too much WAL"),
    (SlotAge, "slot.age", "it is younger than the publication"),
    (
        Transactions,
        "transactions",
        "none keeps a slot from being made",
    ),
    (
        PreparedTransactions,
        "prepared_transactions",
        "none keeps a slot from being made",
    ),
    (Continuity, "continuity", "topic, slot and state file meet"),
];

impl Condition {
    /// The stable name of the condition.
    pub fn name(self) -> &'static str {
        CONDITIONS[self as usize].1
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (at, (condition, name, _)) in CONDITIONS.iter().enumerate() {
            assert_eq!(*condition as usize, at, "{name}");
        }
    }
}
