//! How single values of the config file are read and written: names, durations and sizes as people
//! write them.
//!
//! Each is parsed while the YAML parser stands on it, so that an error has its path and line.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use fluvio::Compression;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::GeneratedColumns;
use super::identifier::{Column, QualifiedTable, TablePattern};
use super::secret::Secret;
use super::topic::TopicTemplate;
use crate::observe::logging::Format;
use crate::pg::replication::Origins;
use crate::record::events::RawText;
use crate::record::{self, Int8, JsonStyle};
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

macro_rules! deserialize {
    ($($name:ty),+) => {
        $(impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                parsed(deserializer, Self::parse)
            }
        })+
    };
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident($(#[$serde:meta])* $inner:ty), $parse:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        pub struct $name($(#[$serde])* pub $inner);

        impl $name {
            /// Parses a text; `Err` says what is expected.
            pub fn parse(text: &str) -> Result<Self, &'static str> {
                let parse: fn(&str) -> Result<$inner, &'static str> = $parse;
                parse(text).map($name)
            }
        }

        deserialize!($name);
    };
}

deserialize!(TopicTemplate, TablePattern, QualifiedTable, Column);

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
    /// An operation that a publication can publish.
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
    FilePath(#[serde(serialize_with = "as_shown")] PathBuf),
    |text| match text.is_empty() || text.contains('\0') {
        true => Err("a path"),
        false => Ok(PathBuf::from(text)),
    }
);
text!(
    /// `type`.
    SourceType(&'static str),
    |text| match text {
        "postgres-source" => Ok("postgres-source"),
        _ => Err("\"postgres-source\": this program is no other connector"),
    }
);
text!(
    /// `log`.
    LogLevel(#[serde(serialize_with = "in_lower_case")] log::LevelFilter),
    |text| text.parse().map_err(|_| "off, error, warn, info, debug or trace")
);

fn as_shown<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

fn in_lower_case<S: Serializer>(level: &log::LevelFilter, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&level.as_str().to_lowercase())
}

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

/// A kind of value: a module for `#[serde(with = "NAME")]` of a key of this type, or of an `Option`
/// of it, which then is `None` only where the key is missing.
macro_rules! value {
    ($(#[$doc:meta])* $name:ident: $type:ty, $parse:expr, $print:expr) => {
        $(#[$doc])*
        pub mod $name {
            use super::*;

            pub fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
            where
                D: Deserializer<'de>,
                T: From<$type>,
            {
                parsed(deserializer, $parse).map(T::from)
            }

            pub fn serialize<S, T>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
            where
                S: Serializer,
                T: Clone + Into<Option<$type>>,
            {
                value.clone().into().map($print).serialize(serializer)
            }
        }
    };
}

/// A [`value`] that is one of a few words.
macro_rules! word {
    ($(#[$doc:meta])* $name:ident: $type:ty, $expected:literal, $($word:literal = $value:path),+) => {
        value!(
            $(#[$doc])*
            $name: $type,
            |text| match text {
                $($word => Ok($value),)+
                _ => Err($expected),
            },
            |value| match value {
                $($value => $word,)+
            }
        );
    };
}

/// The longest duration, longer than anything that makes sense, and short enough to be added to any time.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// The largest size, more than any WAL has, and small enough that a larger one is a slip of the keys.
const LARGEST: u64 = 1_000_000_000_000_000;

/// The text that stands in place of a secret.
const SECRET: &str = "[secret]";

value!(
    /// `10s`, `500ms`, `1m 30s`.
    duration: Duration,
    |text| match text {
        "0" => Ok(Duration::ZERO),
        text => match humantime::parse_duration(text) {
            Ok(duration) if duration <= LONGEST => Ok(duration),
            _ => Err("a duration such as 500ms, 10s or 1m, at most 30d"),
        },
    },
    |duration| humantime::format_duration(duration).to_string()
);
value!(
    /// A [`mod@duration`] of at least a millisecond.
    positive_duration: Duration,
    |text| {
        let parsed = humantime::parse_duration(text).ok();
        let parsed = parsed.filter(|parsed| (Duration::from_millis(1)..=LONGEST).contains(parsed));
        parsed.ok_or("a duration of at least 1ms, such as 500ms, 10s or 1m")
    },
    |duration| humantime::format_duration(duration).to_string()
);
value!(
    /// `16KB`, `1MB`, `1MiB`, up to what a server takes in one batch.
    batch_bytes: usize,
    |text| {
        let bytes = text.parse::<ByteSize>().ok().map(|size| size.as_u64());
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let bytes = bytes.filter(|bytes| (1..=MAX_BATCH_BYTES).contains(bytes));
        bytes.ok_or("a size such as 16KB or 1MB, at most 32MiB")
    },
    |bytes| format!("{bytes}B")
);
value!(
    /// `10MB`, `1GB`, `1GiB`.
    size: u64,
    |text| {
        let size = text.parse::<ByteSize>().ok().map(|size| size.as_u64());
        let size = size.filter(|size| *size <= LARGEST);
        size.ok_or("a size such as 10MB or 1GB, at most 1PB")
    },
    |bytes| format!("{bytes}B")
);
value!(
    /// `none`, `gzip`, `snappy`, `lz4`, `zstd`.
    compression: Compression,
    |text| text.parse().map_err(|_| "none, gzip, snappy, lz4 or zstd"),
    |compression| compression.to_string()
);
value!(
    /// `text`, `json` or `journal`.
    log_format: Format,
    Format::parse,
    Format::name
);
value!(
    /// `true` or `false`; connectors of this family have had their parameters as strings too.
    boolean: bool,
    |text| text.parse().map_err(|_| "true or false"),
    |value| value
);
value!(
    /// An address of this machine to listen on.
    address: SocketAddr,
    |text| text.parse().map_err(|_| "an address and a port, such as 127.0.0.1:9187"),
    |address| address
);
value!(
    /// The database URL, which is never written.
    database_url: Secret,
    |text| match text.trim() {
        "" => Err("postgres://user:password@hostname:port/database_name"),
        _ => Ok(Secret::new(text.to_owned())),
    },
    |_| SECRET
);
value!(
    /// A shell command that prints the password; it may hold a secret and is never written.
    command: Secret,
    |text| match text.trim() {
        text if text.is_empty() || text.contains('\0') => {
            Err("a shell command that prints the password")
        }
        _ => Ok(Secret::new(text.to_owned())),
    },
    |_| SECRET
);
word!(
    /// `raw_text`.
    raw_text: RawText, "bytes or string",
    "bytes" = RawText::Bytes, "string" = RawText::String
);
word!(
    /// `generated_columns`.
    generated_columns: GeneratedColumns, "none or stored",
    "none" = GeneratedColumns::None, "stored" = GeneratedColumns::Stored
);
word!(
    /// `origin`.
    origin: Origins, "any or none",
    "any" = Origins::Any, "none" = Origins::None
);
word!(
    /// `format`.
    format: record::Format, "events or rows",
    "events" = record::Format::Events, "rows" = record::Format::Rows
);
word!(
    /// `int8`.
    int8: Int8, "number or string",
    "number" = Int8::Number, "string" = Int8::String
);
word!(
    /// `json`.
    json: JsonStyle, "value or text",
    "value" = JsonStyle::Value, "text" = JsonStyle::Text
);
