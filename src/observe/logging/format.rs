//! The forms of a log line.

use std::io::{self, Write};

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, Record};
use serde::ser::{SerializeMap, Serializer};

use crate::base::clock;
use crate::base::printable::{self, Printable};

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Format {
    /// Text for people.
    Text,
    /// A JSON object a line.
    Json,
    /// Text with the priorities of [sd-daemon(3)](
    /// https://www.freedesktop.org/software/systemd/man/latest/sd-daemon.html); the journal knows the
    /// time.
    Journal,
}

impl Format {
    /// Parses the name of a format; `Err` says what is expected.
    pub fn parse(name: &str) -> Result<Format, &'static str> {
        match name {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            "journal" => Ok(Format::Journal),
            _ => Err("text, json or journal"),
        }
    }

    /// The name of the format in the config.
    pub fn name(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Json => "json",
            Format::Journal => "journal",
        }
    }

    /// Writes a record whole.
    pub fn write(self, out: &mut impl Write, record: &Record<'_>) -> io::Result<()> {
        match self {
            Format::Text => writeln!(out, "{} {}", record.level(), Printable(record.args())),
            Format::Json => write_json(out, record),
            Format::Journal => write_journal(out, record),
        }
    }
}

/// The time, level, target and message, and then the fields that the line has besides.
fn write_json(out: &mut impl Write, record: &Record<'_>) -> io::Result<()> {
    let mut line = Vec::with_capacity(256);
    let mut json = serde_json::Serializer::new(&mut line);
    let mut object = json.serialize_map(None)?;
    let time = humantime::format_rfc3339_micros(clock::now());
    object.serialize_entry("time", &format_args!("{time}"))?;
    let level = record.level().as_str().to_ascii_lowercase();
    object.serialize_entry("level", &level)?;
    object.serialize_entry("target", record.target())?;
    object.serialize_entry("message", record.args())?;
    // What a field fails with is an error of writing, which a buffer does not have.
    let _ = record.key_values().visit(&mut Fields(&mut object));
    object.end()?;
    let line = String::from_utf8_lossy(&line);
    writeln!(out, "{}", printable::json(&line))
}

/// Writes numbers as numbers and everything else as a text.
struct Fields<'a, M>(&'a mut M);

impl<'kvs, M: SerializeMap> VisitSource<'kvs> for Fields<'_, M> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let written = match (value.to_u64(), value.to_i64()) {
            (Some(number), _) => self.0.serialize_entry(key.as_str(), &number),
            (None, Some(number)) => self.0.serialize_entry(key.as_str(), &number),
            (None, None) => self
                .0
                .serialize_entry(key.as_str(), &format_args!("{value}")),
        };
        written.map_err(|_| Error::msg("it cannot be written"))
    }
}

/// Each line has the prefix, because the journal makes an entry of each. Who asks for more than the
/// ordinary also wants to know where it comes from.
fn write_journal(out: &mut impl Write, record: &Record<'_>) -> io::Result<()> {
    let priority = priority(record.level());
    let message = record.args().to_string();
    let target = match record.level() {
        Level::Error | Level::Warn | Level::Info => String::new(),
        Level::Debug | Level::Trace => format!("{}: ", record.target()),
    };
    for line in message.lines() {
        writeln!(out, "<{priority}>{target}{}", Printable(line))?;
    }
    Ok(())
}

/// The priority of syslog that a level has.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: Format, level: Level, message: &str, fields: &[(&str, i64)]) -> String {
        let mut out = Vec::new();
        let mut record = Record::builder();
        let record = record.level(level).target("a::b").key_values(&fields);
        let arguments = format_args!("{message}");
        format
            .write(&mut out, &record.args(arguments).build())
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_line_of_the_journal_has_its_priority() {
        for (level, expected) in [
            (Level::Error, "<3>a\n<3>\n<3><7>b\n"),
            (Level::Warn, "<4>a\n<4>\n<4><7>b\n"),
            (Level::Info, "<6>a\n<6>\n<6><7>b\n"),
            (Level::Debug, "<7>a::b: a\n<7>a::b: \n<7>a::b: <7>b\n"),
            (Level::Trace, "<7>a::b: a\n<7>a::b: \n<7>a::b: <7>b\n"),
        ] {
            let written = line(Format::Journal, level, "a\n\n<7>b\n", &[]);
            assert_eq!(written, expected);
        }
    }

    #[test]
    fn json_is_one_line_whatever_the_message() {
        let message = "a\n\"b\"\\\u{1b}\u{85}é";
        let written = line(
            Format::Json,
            Level::Warn,
            message,
            &[("lsn", -7), ("n", i64::MAX)],
        );
        assert_eq!(written.matches('\n').count(), 1, "{written}");
        let object: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(object["message"], message);
        assert_eq!(
            (&object["level"], &object["target"]),
            (&"warn".into(), &"a::b".into())
        );
        assert_eq!(
            (&object["lsn"], &object["n"]),
            (&(-7).into(), &i64::MAX.into())
        );
        let time = object["time"].as_str().unwrap();
        assert!(humantime::parse_rfc3339(time).is_ok(), "{time}");
        assert_eq!(time.len(), "2026-01-02T03:04:05.678901Z".len(), "{time}");
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for format in [Format::Text, Format::Json, Format::Journal] {
            assert_eq!(Format::parse(format.name()), Ok(format));
        }
        assert!(Format::parse("JSON").is_err());
    }
}
