//! How rows are divided over the partitions of a topic, and how many of them there are.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How rows are divided over the partitions of their topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitioning {
    /// All of them go into the partition of this number.
    Fixed(u32),
    /// Each table has a partition, computed from its names.
    Table,
    /// Each row has a partition, computed from its key.
    Key,
}

/// The number of a topic's partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Partitions(pub u32);

/// The most partitions of a topic, each of which costs memory here and a log file there.
const MOST_PARTITIONS: u32 = 1000;

impl Default for Partitioning {
    fn default() -> Self {
        Partitioning::Fixed(0)
    }
}

impl Default for Partitions {
    fn default() -> Self {
        Partitions(1)
    }
}

impl Serialize for Partitioning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Partitioning::Fixed(partition) => serializer.serialize_u32(*partition),
            Partitioning::Table => serializer.serialize_str("table"),
            Partitioning::Key => serializer.serialize_str("key"),
        }
    }
}

impl<'de> Deserialize<'de> for Partitioning {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrWord;

        impl Visitor<'_> for NumberOrWord {
            type Value = Partitioning;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the number of a partition, table or key")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Partitioning, E> {
                let number = u32::try_from(number)
                    .map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))?;
                Ok(Partitioning::Fixed(number))
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Partitioning, E> {
                match word {
                    "table" => Ok(Partitioning::Table),
                    "key" => Ok(Partitioning::Key),
                    // Not quoted: it may be a secret in the wrong place.
                    _ => Err(E::custom(
                        "expected the number of a partition, table or key",
                    )),
                }
            }
        }

        deserializer.deserialize_any(NumberOrWord)
    }
}

impl<'de> Deserialize<'de> for Partitions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Partitions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number from 1 to {MOST_PARTITIONS}")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Partitions, E> {
                let valid = u32::try_from(number).ok();
                let valid = valid.filter(|number| (1..=MOST_PARTITIONS).contains(number));
                let invalid = || E::invalid_value(Unexpected::Unsigned(number), &self);
                valid.map(Partitions).ok_or_else(invalid)
            }
        }

        deserializer.deserialize_u64(Number)
    }
}
