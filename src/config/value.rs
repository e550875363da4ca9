//! How single values of the config file are read: names, durations and sizes as people write them.
//!
//! Each is parsed while the YAML parser stands on it, so that an error has its path and line.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use fluvio::Compression;
use serde::de::{Deserialize, Deserializer, Visitor};

use super::GeneratedColumns;
use super::secret::Secret;
use crate::observe::logging::Format;
use crate::pg::replication::Origins;
use crate::record::events::RawText;
use crate::sink::fluvio::batch::MAX_BATCH_BYTES;

/// Reads a scalar as a text and parses it on the spot.
fn parsed<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: fn(&str) -> Result<T, &'static str>,
) -> Result<T, D::Error> {
    struct Text<T>(fn(&str) -> Result<T, &'static str>, PhantomData<T>);

    impl<T> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            // What is no text at all is expected to be what an empty text should have been.
            f.write_str((self.0)("").err().unwrap_or("a text"))
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            (self.0)(text).map_err(|expected| E::custom(format_args!("expected {expected}")))
        }
    }

    deserializer.deserialize_str(Text(parse, PhantomData))
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident($inner:ty), $parse:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub $inner);

        impl $name {
            /// Parses a text; `Err` says what is expected.
            pub fn parse(text: &str) -> Result<Self, &'static str> {
                let parse: fn(&str) -> Result<$inner, &'static str> = $parse;
                parse(text).map($name)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                parsed(deserializer, Self::parse)
            }
        }
    };
}

fn if_valid(text: &str, valid: bool, expected: &'static str) -> Result<String, &'static str> {
    if valid {
        Ok(text.to_owned())
    } else {
        Err(expected)
    }
}

/// Whether a text holds what no name, path or address has, and what would be cut off or refused
/// somewhere else, where nobody knows which key it came from.
fn has_controls(text: &str) -> bool {
    text.contains(char::is_control)
}

text!(
    /// `name`. The server shows the beginning of a longer one, and takes no connection from one that
    /// fills its packet.
    Name(String),
    |text| {
        let valid = (1..=255).contains(&text.len()) && !has_controls(text);
        if_valid(text, valid, "a name: 1 to 255 bytes, none of them a control character")
    }
);
text!(
    /// The name of a replication slot.
    SlotName(String),
    |text| {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let valid = (1..=63).contains(&text.len()) && text.bytes().all(allowed);
        if_valid(text, valid, "a slot name: 1 to 63 lower-case letters, digits and underscores")
    }
);
text!(
    /// The name of a publication: an identifier.
    Publication(String),
    |text| {
        let valid = (1..=63).contains(&text.len()) && !has_controls(text);
        if_valid(text, valid, "the name of a publication: 1 to 63 bytes, none of them a control character")
    }
);
text!(
    /// A table: `name` or `schema.name`, quoted as in SQL where that is needed.
    TableName(String),
    |text| {
        let valid = !text.trim().is_empty() && !has_controls(text);
        if_valid(text, valid, "the name of a table, without control characters")
    }
);
text!(
    /// What a publication can publish.
    Operation(&'static str),
    |text| {
        let known = ["insert", "update", "delete", "truncate"];
        let found = known.into_iter().find(|known| *known == text);
        found.ok_or("insert, update, delete or truncate")
    }
);
text!(
    /// The prefix of messages. An empty one is one like any other.
    MessagePrefix(String),
    |text| if_valid(text, !text.contains('\0'), "a prefix without zero bytes")
);
text!(
    /// The name of a topic, as the SC takes it.
    TopicName(String),
    |text| {
        let valid = !text.is_empty() && fluvio_sc_schema::topic::validate::valid_topic_name(text);
        if_valid(text, valid, "a topic name: 1 to 63 lower-case letters, digits and inner hyphens")
    }
);
text!(
    /// The address of a server. A name without a port could not be reached however often it is tried.
    Endpoint(String),
    |text| {
        let port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
        let valid = text.rsplit_once(':').is_some_and(|(host, end)| !host.is_empty() && port(end));
        if_valid(text, valid && !has_controls(text), "host:port")
    }
);
text!(
    /// A path of this machine.
    FilePath(PathBuf),
    |text| match text.is_empty() || text.contains('\0') {
        true => Err("a path"),
        false => Ok(PathBuf::from(text)),
    }
);
text!(
    /// `type`.
    SourceType(()),
    |text| match text {
        "postgres-source" => Ok(()),
        _ => Err("\"postgres-source\": this program is no other connector"),
    }
);
text!(
    /// `log`.
    LogLevel(log::LevelFilter),
    |text| text.parse().map_err(|_| "off, error, warn, info, debug or trace")
);

/// `transforms`, whatever is in it.
#[derive(Debug)]
pub struct Refused;

impl<'de> Deserialize<'de> for Refused {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Nothing;

        impl Visitor<'_> for Nothing {
            type Value = Refused;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "no such key: SmartModules do not run inside this connector; attach them to \
                     the topic's consumers (\"fluvio consume --smartmodule\") or to a dataflow",
                )
            }
        }

        deserializer.deserialize_any(Nothing)
    }
}

/// Longer than anything that makes sense, and short enough to be added to any time.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// `10s`, `500ms`, `1m 30s`.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parsed(deserializer, |text| match text {
        "0" => Ok(Duration::ZERO),
        text => match humantime::parse_duration(text) {
            Ok(duration) if duration <= LONGEST => Ok(duration),
            _ => Err("a duration such as 500ms, 10s or 1m, at most 30d"),
        },
    })
}

/// A [`duration`] of at least a millisecond.
pub fn positive_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parsed(deserializer, |text| {
        let parsed = humantime::parse_duration(text).ok();
        let parsed = parsed.filter(|parsed| (Duration::from_millis(1)..=LONGEST).contains(parsed));
        parsed.ok_or("a duration of at least 1ms, such as 500ms, 10s or 1m")
    })
}

/// `16KB`, `1MB`, `1MiB`, up to what a server takes in one batch.
pub fn batch_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    parsed(deserializer, |text| {
        let bytes = text.parse::<ByteSize>().ok().map(|size| size.as_u64());
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let bytes = bytes.filter(|bytes| (1..=MAX_BATCH_BYTES).contains(bytes));
        bytes.ok_or("a size such as 16KB or 1MB, at most 32MiB")
    })
}

/// More than any WAL has, and small enough that a larger one is a slip of the keys.
const LARGEST: u64 = 1_000_000_000_000_000;

/// `10MB`, `1GB`, `1GiB`.
pub fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    parsed(deserializer, |text| {
        let size = text.parse::<ByteSize>().ok().map(|size| size.as_u64());
        let size = size.filter(|size| *size <= LARGEST);
        size.ok_or("a size such as 10MB or 1GB, at most 1PB")
    })
}

/// `none`, `gzip`, `snappy`, `lz4`, `zstd`.
pub fn compression<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Compression>, D::Error> {
    parsed(d, |text| {
        text.parse()
            .map(Some)
            .map_err(|_| "none, gzip, snappy, lz4 or zstd")
    })
}

/// `bytes` or `string`.
pub fn raw_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RawText, D::Error> {
    parsed(deserializer, |text| match text {
        "bytes" => Ok(RawText::Bytes),
        "string" => Ok(RawText::String),
        _ => Err("bytes or string"),
    })
}

/// `text`, `json` or `journal`.
pub fn log_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Format>, D::Error> {
    parsed(deserializer, |text| Format::parse(text).map(Some))
}

/// `true` or `false`; connectors of this family have had their parameters as strings too.
pub fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    parsed(deserializer, |text| {
        text.parse().map_err(|_| "true or false")
    })
}

/// A [`boolean`] that may be left to the server.
pub fn optional_boolean<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<bool>, D::Error> {
    boolean(deserializer).map(Some)
}

/// `none` or `stored`.
pub fn generated_columns<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<GeneratedColumns>, D::Error> {
    parsed(deserializer, |text| match text {
        "none" => Ok(Some(GeneratedColumns::None)),
        "stored" => Ok(Some(GeneratedColumns::Stored)),
        _ => Err("none or stored"),
    })
}

/// `any` or `none`.
pub fn origin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Origins, D::Error> {
    parsed(deserializer, |text| match text {
        "any" => Ok(Origins::Any),
        "none" => Ok(Origins::None),
        _ => Err("any or none"),
    })
}

/// An address of this machine to listen on.
pub fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    parsed(deserializer, |text| {
        text.parse()
            .map(Some)
            .map_err(|_| "an address and a port, such as 127.0.0.1:9187")
    })
}

/// A secret that must be a text.
pub fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    parsed(deserializer, |text| match text.trim() {
        "" => Err("postgres://user:password@hostname:port/database_name"),
        _ => Ok(Some(Secret::new(text.to_owned()))),
    })
}

/// A shell command that prints the password.
pub fn command<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    parsed(deserializer, |text| match text.trim() {
        text if text.is_empty() || text.contains('\0') => {
            Err("a shell command that prints the password")
        }
        _ => Ok(Some(Secret::new(text.to_owned()))),
    })
}
