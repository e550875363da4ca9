//! The state file: what is in it, and how it is read and written.
//!
//! To change what is in it, raise [`VERSION`] and let [`parse`] fill in what files of the versions before
//! do not say. A program reads no file of a later version: it would not know what that guards against.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::source::Source;
use crate::base::error::{Context, Error, Result};
use crate::base::input::{self, Links};
use crate::base::lsn::Lsn;
use crate::base::replace::{self, Readers};
use crate::config::Config;
use crate::pipeline::lane_map::Routing;

/// The version of the format that says of many lanes, or of rows.
const VERSION: u32 = 2;

/// The version of the format that says of one lane with events.
const ONE_LANE: u32 = 1;

/// What an operator accepted is never removed, and is a few hundred bytes each time.
const MAX_BYTES: u64 = 16 << 20;

/// How long another process may be at the file: long enough for a slow disk. One that was frozen there holds
/// us up no longer, and finds its file replaced when it goes on.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(2);

/// What was true when a position was confirmed last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Known {
    /// The cluster, from IDENTIFY_SYSTEM.
    pub system_identifier: String,
    /// The cluster's timeline.
    pub timeline: u32,
    /// Whether the server was a standby when the last session began.
    pub is_standby: bool,
    /// The publication's OID: one that is made again has another.
    pub publication_oid: u32,
    /// The slot.
    pub slot: String,
    /// The ways that records took to their lanes.
    pub routing: Routing,
    /// The lanes that were written, those of the last session first.
    pub lanes: Vec<KnownLane>,
    /// The highest position that may have been confirmed.
    pub confirmed: Lsn,
    /// A gap that was found while streaming: it stays until it is accepted.
    pub gap: Option<String>,
    /// What the last session ended with if the slot is of no use any more, or holds what cannot be
    /// delivered.
    pub stuck: Option<String>,
    /// Gaps that an operator accepted.
    pub accepted: Vec<Accepted>,
}

/// A lane as it was when a position was confirmed last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownLane {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// Records before this offset do not matter any more.
    pub first_offset: i64,
    /// The lane's end when everything up to what was confirmed was stored.
    pub offset: i64,
    /// Records that were sent and not acknowledged when the last session ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_doubt: Option<Sent>,
}

/// The fields of the file, in their order. The first version has those of its lane among the others.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    system_identifier: String,
    timeline: u32,
    #[serde(default)]
    is_standby: bool,
    publication_oid: u32,
    slot: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    routing: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lanes: Option<Vec<KnownLane>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_offset: Option<i64>,
    #[serde(with = "text")]
    confirmed: Lsn,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    in_doubt: Option<Sent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gap: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stuck: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    accepted: Vec<Accepted>,
}

impl From<Known> for Written {
    fn from(known: Known) -> Written {
        let common = Written {
            version: VERSION,
            system_identifier: known.system_identifier,
            timeline: known.timeline,
            is_standby: known.is_standby,
            publication_oid: known.publication_oid,
            slot: known.slot,
            routing: None,
            lanes: None,
            topic: None,
            partition: None,
            first_offset: None,
            confirmed: known.confirmed,
            offset: None,
            in_doubt: None,
            gap: known.gap,
            stuck: known.stuck,
            accepted: known.accepted,
        };
        match (known.routing, &known.lanes[..]) {
            (Routing::OneLane, [lane]) => Written {
                version: ONE_LANE,
                topic: Some(lane.topic.clone()),
                partition: Some(lane.partition),
                first_offset: Some(lane.first_offset),
                offset: Some(lane.offset),
                in_doubt: lane.in_doubt,
                ..common
            },
            (routing, _) => Written {
                routing: match routing {
                    Routing::OneLane => None,
                    Routing::Of(text) => Some(text),
                },
                lanes: Some(known.lanes),
                ..common
            },
        }
    }
}

impl TryFrom<Written> for Known {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Known, &'static str> {
        let lanes = match (written.lanes, written.topic, written.partition) {
            (Some(lanes), None, None) => lanes,
            (None, Some(topic), Some(partition)) => vec![KnownLane {
                topic,
                partition,
                first_offset: written.first_offset.ok_or("missing field `first_offset`")?,
                offset: written.offset.ok_or("missing field `offset`")?,
                in_doubt: written.in_doubt,
            }],
            _ => return Err("it must have lanes, or a topic and a partition"),
        };
        Ok(Known {
            system_identifier: written.system_identifier,
            timeline: written.timeline,
            is_standby: written.is_standby,
            publication_oid: written.publication_oid,
            slot: written.slot,
            routing: written.routing.map_or(Routing::OneLane, Routing::Of),
            lanes,
            confirmed: written.confirmed,
            gap: written.gap,
            stuck: written.stuck,
            accepted: written.accepted,
        })
    }
}

/// Records that were sent and may be stored or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// The offset of the first, if they are stored.
    pub offset: i64,
    /// How many there are.
    pub records: u64,
}

/// A gap that an operator accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// The time of the acceptance.
    pub at: String,
    /// The operator's reason.
    pub reason: String,
    /// What was given up.
    pub gap: String,
}

impl Known {
    /// What is known of the slot of the config, as it is, with these lanes, and nothing from before.
    pub fn first(
        config: &Config,
        source: &Source,
        routing: Routing,
        lanes: Vec<KnownLane>,
    ) -> Known {
        Known {
            system_identifier: source.system.identifier.clone(),
            timeline: source.system.timeline,
            is_standby: source.is_standby,
            publication_oid: source.publication_oid,
            slot: config.slot.clone(),
            routing,
            lanes,
            confirmed: source.slot.confirmed(),
            gap: None,
            stuck: None,
            accepted: Vec::new(),
        }
    }

    /// What is known of a lane.
    pub fn lane(&self, topic: &str, partition: u32) -> Option<&KnownLane> {
        let mut lanes = self.lanes.iter();
        lanes.find(|lane| (&*lane.topic, lane.partition) == (topic, partition))
    }
}

impl KnownLane {
    /// A lane with this many records, all of which count.
    pub fn new(topic: impl Into<String>, partition: u32, offset: i64) -> KnownLane {
        KnownLane {
            topic: topic.into(),
            partition,
            first_offset: 0,
            offset,
            in_doubt: None,
        }
    }
}

/// The state file of a slot, which need not exist.
#[derive(Debug)]
pub struct StateFile(PathBuf);

impl StateFile {
    /// The file of `slot` in `state_dir`.
    pub fn of(state_dir: &Path, slot: &str) -> StateFile {
        StateFile(state_dir.join(format!("{slot}.json")))
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the directory, and sure that a file can be written there.
    pub fn prepare(&self) -> Result<()> {
        let directory = self.directory();
        fs::create_dir_all(directory)
            .map_err(|e| Error::config(self.cannot("make the directory of")).with_source(e))?;
        self.try_in(directory)
    }

    /// Whether a file could be written there; not even the directory is made.
    pub fn check_writable(&self) -> Result<()> {
        let mut existing = self.directory().ancestors();
        let existing = existing.find(|directory| directory.exists());
        self.try_in(existing.unwrap_or(Path::new(".")))
    }

    /// Makes a file in `directory` and removes it. Not the state file itself: another process may be at
    /// it until we have the slot.
    fn try_in(&self, directory: &Path) -> Result<()> {
        let name = self.0.with_extension("json.probe");
        let probe = directory.join(name.file_name().unwrap_or_default());
        replace::create(&probe, Readers::Owner)
            .map_err(|e| Error::config(self.cannot("write")).with_source(e))?;
        let _ = fs::remove_file(&probe);
        Ok(())
    }

    /// Reads the file; nothing if there is none.
    pub fn read(&self) -> Result<Option<Known>> {
        match input::read(&self.0, MAX_BYTES, Links::Refuse).and_then(input::text) {
            Ok(json) => parse(&json).map(Some).at(|| self.cannot("read")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::config(self.cannot("read")).with_source(e)),
        }
    }

    /// Keeps other processes from writing the file until what is returned is dropped: what was looked at
    /// stays so until it is replaced. Where there is no file yet, none can be locked, or another process does not
    /// come to an end with it, nothing is kept.
    pub fn lock(&self) -> Result<Option<File>> {
        let until = Instant::now() + LOCK_WAIT;
        let failed = |e| Error::config(self.cannot("read")).with_source(e);
        loop {
            let file = match input::open(&self.0, Links::Refuse) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                opened => opened.map_err(failed)?,
            };
            match file.try_lock() {
                Ok(()) if self.is_at_path(&file).map_err(failed)? => return Ok(Some(file)),
                // Another process has replaced it since.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    thread::sleep(LOCK_RETRY);
                }
                Err(TryLockError::WouldBlock) => {
                    log::warn!(
                        "another process is at {} and does not go on: replacing it",
                        self.what()
                    );
                    return Ok(None);
                }
                // Not every file system of a network has locks.
                Err(TryLockError::Error(_)) => return Ok(None),
            }
        }
    }

    /// Whether this open file is the one that lies there.
    fn is_at_path(&self, file: &File) -> io::Result<bool> {
        let held = file.metadata()?;
        match fs::symlink_metadata(&self.0) {
            Ok(there) => Ok((there.dev(), there.ino()) == (held.dev(), held.ino())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Writes a new file, then puts it in the place of the old one, unless that is not the one any more that
    /// was locked; both are on disk afterwards.
    pub fn write(&self, known: &Known, locked: Option<&File>) -> Result<()> {
        self.replace(known, locked)
            .map_err(|e| Error::unreachable(self.cannot("write")).with_source(e))
    }

    fn replace(&self, known: &Known, locked: Option<&File>) -> io::Result<()> {
        let new = self.0.with_extension("json.new");
        let mut out = replace::create(&new, Readers::Owner)?;
        serde_json::to_writer_pretty(&mut out, known)?;
        out.write_all(b"\n")?;
        out.sync_all()?;
        if let Some(locked) = locked
            && !self.is_at_path(locked)?
        {
            return Err(io::Error::other(
                "another process has replaced it: it has the slot",
            ));
        }
        fs::rename(&new, &self.0)?;
        File::open(self.directory())?.sync_all()
    }

    fn directory(&self) -> &Path {
        self.0.parent().unwrap_or(Path::new("."))
    }

    fn cannot(&self, what: &str) -> String {
        format!("cannot {what} {}", self.what())
    }

    fn what(&self) -> String {
        format!("the state file {}", self.0.display())
    }
}

/// The hint for a file that this program has not written so.
const UNREADABLE: &str = "it was written by another program or version, or damaged; remove it if nothing \
    of what it guards against has happened";

/// The hint for a file of a later version.
const LATER: &str = "a later version of this program wrote it: go on with that one, or remove it if \
    nothing of what it guards against has happened";

fn parse(json: &str) -> Result<Known> {
    /// What all versions have in common.
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let unreadable = |e| {
        let error = Error::config("not a state file").with_source(e);
        error.with_hint(UNREADABLE)
    };
    // First, because a later version has fields that this one does not know.
    let Versioned { version } = serde_json::from_str(json).map_err(unreadable)?;
    if (ONE_LANE..=VERSION).contains(&version) {
        return serde_json::from_str(json).map_err(unreadable);
    }
    let hint = if version > VERSION { LATER } else { UNREADABLE };
    let what = format!("version {version}, this program knows {VERSION}");
    Err(Error::config(what).with_hint(hint))
}

/// LSNs as text.
mod text {
    use super::Lsn;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(lsn: &Lsn, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(lsn)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Lsn, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The bytes of the first version.
    const FIRST: &str = r#"{
  "version": 1,
  "system_identifier": "1",
  "timeline": 2,
  "is_standby": false,
  "publication_oid": 3,
  "slot": "s",
  "topic": "t",
  "partition": 0,
  "first_offset": 0,
  "confirmed": "0/64",
  "offset": 10
}
"#;

    /// A cluster on timeline 2 whose slot was confirmed at 100, with 10 records in the topic.
    pub fn known() -> Known {
        parse(FIRST).unwrap()
    }

    fn file_with(text: impl AsRef<[u8]>) -> (tempfile::TempDir, StateFile) {
        let directory = tempfile::tempdir().unwrap();
        let file = StateFile::of(directory.path(), "s");
        fs::write(file.path(), text).unwrap();
        (directory, file)
    }

    #[test]
    fn a_file_of_each_version_is_read_and_the_last_is_written() {
        let (_directory, file) = file_with(FIRST);
        let known = file.read().unwrap().unwrap();
        assert_eq!((known.confirmed, known.lanes[0].offset), (Lsn(100), 10));
        file.write(&known, None).unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), FIRST);
        let mut wider = known.clone();
        wider.lanes.push(KnownLane::new("u", 3, 7));
        wider.routing = Routing::Of("rows".to_owned());
        file.write(&wider, None).unwrap();
        assert_eq!(file.read().unwrap(), Some(wider));
        assert_eq!(
            file.read().unwrap().unwrap().lane("u", 3).unwrap().offset,
            7
        );
    }

    #[test]
    fn a_file_of_a_later_version_says_so() {
        let later = FIRST.replace("\"version\": 1,", "\"version\": 3, \"more\": [],");
        let (_directory, file) = file_with(later);
        let error = file.read().unwrap_err();
        assert_eq!(error.kind(), crate::base::error::Kind::Config);
        let what = format!("cannot read the state file {}: ", file.path().display());
        assert_eq!(error.message(), what + "version 3, this program knows 2");
        assert_eq!(error.hint(), Some(LATER));
    }

    #[test]
    fn a_file_as_an_editor_leaves_it() {
        let edited = format!("\u{feff}{}", FIRST.replace('\n', "\r\n"));
        let (_directory, file) = file_with(edited);
        assert_eq!(file.read().unwrap(), Some(known()));
        let wide: Vec<u8> = FIRST.encode_utf16().flat_map(u16::to_be_bytes).collect();
        fs::write(file.path(), wide).unwrap();
        let error = file.read().unwrap_err().to_string();
        assert!(error.contains("it is UTF-16"), "{error}");
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        for json in [
            "",
            "{}",
            "{\"version\":0}",
            "{\"version\":1}",
            "{\"version\":2}",
        ] {
            let (_directory, file) = file_with(json);
            let error = file.read().unwrap_err();
            assert!(error.message().contains("s.json"), "{error}");
            assert_eq!(error.hint(), Some(UNREADABLE), "{json}");
        }
    }
}
