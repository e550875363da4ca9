//! What is remembered about the slot and the topic besides themselves.
//!
//! Between the sessions of one process this is in memory. With a `state_dir` it is in a small file
//! too, so that the next process can tell that something was changed behind its back. It is not
//! needed to go on, only to notice.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::input::{self, Links};
use crate::base::lsn::Lsn;
use crate::base::replace::{self, Readers};
use crate::pipeline::progress::Stored;

/// The file's format.
const VERSION: u32 = 1;

/// What an operator accepted is never removed, and is a few hundred bytes each time.
const MAX_BYTES: u64 = 16 << 20;

/// What was true when a position was confirmed last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    version: u32,
    /// The cluster, from IDENTIFY_SYSTEM.
    pub system_identifier: String,
    /// Its timeline.
    pub timeline: u32,
    /// Whether it was a standby when the last session began.
    #[serde(default)]
    pub is_standby: bool,
    /// The publication's OID: one that is made again has another.
    pub publication_oid: u32,
    /// The slot.
    pub slot: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// Records before this offset do not matter any more.
    pub first_offset: i64,
    /// The highest position that may have been confirmed.
    #[serde(with = "text")]
    pub confirmed: Lsn,
    /// The topic's end when everything up to there was stored.
    pub offset: i64,
    /// Records that were sent and not acknowledged when the last session ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_doubt: Option<Sent>,
    /// A gap that was found while streaming: it stays until it is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<String>,
    /// What the last session ended with if the slot is of no use any more, or holds what cannot be
    /// delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<String>,
    /// Gaps that an operator accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<Accepted>,
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
    /// When.
    pub at: String,
    /// Why.
    pub reason: String,
    /// What was given up.
    pub gap: String,
}

/// The parts of [`Known`] that do not change while a session runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// See [`Known::system_identifier`].
    pub system_identifier: String,
    /// See [`Known::timeline`].
    pub timeline: u32,
    /// See [`Known::is_standby`].
    pub is_standby: bool,
    /// See [`Known::publication_oid`].
    pub publication_oid: u32,
    /// See [`Known::slot`].
    pub slot: String,
    /// See [`Known::topic`].
    pub topic: String,
    /// See [`Known::partition`].
    pub partition: u32,
}

/// What is known, in memory and in the file if there is one.
#[derive(Debug, Default)]
pub struct Memory {
    known: Option<Known>,
    file: Option<PathBuf>,
    /// What the file said when we read or wrote it last.
    seen: Option<Known>,
}

impl Memory {
    /// Reads the file of this slot in `state_dir`, if there is one; makes sure that one can be
    /// written there.
    pub fn load(state_dir: Option<&Path>, slot: &str) -> Result<Memory> {
        let Some(directory) = state_dir else {
            return Ok(Memory::default());
        };
        let file = file_of(directory, slot);
        fs::create_dir_all(directory)
            .map_err(|e| cannot("make the directory of", &file).with_source(e))?;
        probe(directory, &file)?;
        let known = read(&file)?;
        Ok(Memory {
            seen: known.clone(),
            known,
            file: Some(file),
        })
    }

    /// Reads the file again, if there is one: another process may have had the slot until now.
    pub fn refresh(&mut self) -> Result<()> {
        if let Some(file) = &self.file {
            self.seen = read(file)?;
            self.known = self.seen.clone().or(self.known.take());
        }
        Ok(())
    }

    /// Whether other processes know it too: what one of them confirms, it writes down first.
    pub fn is_shared(&self) -> bool {
        self.file.is_some()
    }

    /// What is known is of no use any more: another process has gone on from there.
    pub fn forget(&mut self) {
        self.known = None;
    }

    /// The file, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What is known, if anything.
    pub fn known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    /// Records before this offset do not matter.
    pub fn first_offset(&self) -> i64 {
        self.known.as_ref().map_or(0, |known| known.first_offset)
    }

    /// A session begins. What was confirmed before stays so; without any, it begins at `stored`. On
    /// another timeline a position of the former one may be no position at all, and the slot's holds.
    pub fn begin(&mut self, identity: Identity, stored: Stored) -> Result<()> {
        self.known = Some(match self.known.take() {
            Some(known) => {
                let lsn = match known.timeline == identity.timeline {
                    true => known.confirmed,
                    false => stored.lsn,
                };
                let offset = known.offset;
                let before = Stored { lsn, offset };
                Known::new(identity, before, known.first_offset, known.accepted)
            }
            None => Known::new(identity, stored, 0, Vec::new()),
        });
        self.save()
    }

    /// An operator gives up what was before: slot and topic meet at `stored` from now on, and the
    /// topic's records count from `first_offset` on.
    pub fn accept(
        &mut self,
        identity: Identity,
        stored: Stored,
        first_offset: i64,
        accepted: Accepted,
    ) -> Result<()> {
        let mut all = self.known.take().map_or(Vec::new(), |known| known.accepted);
        all.push(accepted);
        self.known = Some(Known::new(identity, stored, first_offset, all));
        self.save()
    }

    /// A gap that starting again would not find.
    pub fn note_gap(&mut self, gap: &str) -> Result<()> {
        self.refresh()?;
        if let Some(known) = &mut self.known {
            known.gap = Some(gap.to_owned());
        }
        self.save()
    }

    /// What the slot holds cannot be read or delivered. The next session tries again.
    pub fn note_stuck(&mut self, why: &str) -> Result<()> {
        self.refresh()?;
        if let Some(known) = &mut self.known {
            known.stuck = Some(why.to_owned());
        }
        self.save()
    }

    /// The session has ended with something in doubt. Whoever goes on has to wait until that has arrived
    /// or cannot arrive any more. Another process that has the slot already has waited by itself.
    pub fn note_in_doubt(&mut self, sent: Sent) -> Result<()> {
        if let Some(known) = &mut self.known {
            known.in_doubt = Some(sent);
        }
        match self.is_overtaken()? {
            true => Ok(()),
            false => self.save(),
        }
    }

    /// Before a position is confirmed: it is written down first, so that the slot is never ahead
    /// of it.
    pub fn confirm(&mut self, stored: Stored) -> Result<()> {
        match &mut self.known {
            Some(known) if stored.lsn > known.confirmed => {
                (known.confirmed, known.offset) = (stored.lsn, stored.offset);
                self.save()
            }
            _ => Ok(()),
        }
    }

    /// Whether another process has written the file since. Only one that has the slot does: a process
    /// that was frozen must not put back what was true before.
    fn is_overtaken(&self) -> Result<bool> {
        let there = self.file.as_deref().map(read).transpose()?.flatten();
        Ok(there.is_some() && there != self.seen)
    }

    /// Writes a new file, then puts it in the place of the old one; both are on disk afterwards.
    fn save(&mut self) -> Result<()> {
        let (Some(known), Some(file)) = (&self.known, &self.file) else {
            return Ok(());
        };
        if self.is_overtaken()? {
            return Err(Error::unreachable(format!(
                "another process has written the state file {}: it has the slot",
                file.display()
            )));
        }
        write(known, file).map_err(|e| {
            Error::unreachable(format!("cannot write the state file {}", file.display()))
                .with_source(e)
        })?;
        self.seen = self.known.clone();
        Ok(())
    }
}

impl Known {
    fn new(identity: Identity, stored: Stored, first_offset: i64, accepted: Vec<Accepted>) -> Self {
        Known {
            version: VERSION,
            system_identifier: identity.system_identifier,
            timeline: identity.timeline,
            is_standby: identity.is_standby,
            publication_oid: identity.publication_oid,
            slot: identity.slot,
            topic: identity.topic,
            partition: identity.partition,
            first_offset,
            confirmed: stored.lsn,
            offset: stored.offset,
            in_doubt: None,
            gap: None,
            stuck: None,
            accepted,
        }
    }
}

/// What [`Memory::load`] would find, and whether it could write; not even the directory is made.
pub fn look(state_dir: &Path, slot: &str) -> Result<Option<Known>> {
    let file = file_of(state_dir, slot);
    let exists = |directory: &&Path| directory.exists();
    let existing = state_dir.ancestors().find(exists).unwrap_or(Path::new("."));
    probe(existing, &file)?;
    read(&file)
}

/// What the file says, if there is one; nothing but that is looked at.
pub fn known(state_dir: &Path, slot: &str) -> Result<Option<Known>> {
    read(&file_of(state_dir, slot))
}

/// The file of a slot.
pub fn file_of(state_dir: &Path, slot: &str) -> PathBuf {
    state_dir.join(format!("{slot}.json"))
}

/// Whether a file can be made in `directory`. Not `file` itself: another process may be at it until
/// we have the slot.
fn probe(directory: &Path, file: &Path) -> Result<()> {
    let name = file.with_extension("json.probe");
    let probe = directory.join(name.file_name().unwrap_or_default());
    replace::create(&probe, Readers::Owner).map_err(|e| cannot("write", file).with_source(e))?;
    let _ = fs::remove_file(&probe);
    Ok(())
}

/// The file, if there is one.
fn read(file: &Path) -> Result<Option<Known>> {
    match input::read(file, MAX_BYTES, Links::Refuse).and_then(input::text) {
        Ok(json) => parse(&json).map(Some).map_err(|e| {
            cannot("read", file).with_source(e).with_hint(
                "it was written by another program or version, or damaged; remove it if nothing of \
                 what it guards against has happened",
            )
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(cannot("read", file).with_source(e)),
    }
}

fn cannot(what: &str, file: &Path) -> Error {
    Error::config(format!("cannot {what} the state file {}", file.display()))
}

fn parse(json: &str) -> Result<Known> {
    let known: Known =
        serde_json::from_str(json).map_err(|e| Error::config("not a state file").with_source(e))?;
    match known.version {
        VERSION => Ok(known),
        version => Err(Error::config(format!(
            "version {version}, this program knows {VERSION}"
        ))),
    }
}

fn write(known: &Known, file: &Path) -> std::io::Result<()> {
    let new = file.with_extension("json.new");
    let mut out = replace::create(&new, Readers::Owner)?;
    serde_json::to_writer_pretty(&mut out, known)?;
    out.write_all(b"\n")?;
    out.sync_all()?;
    fs::rename(&new, file)?;
    match file.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
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
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            system_identifier: "7".into(),
            timeline: 1,
            is_standby: false,
            publication_oid: 5,
            slot: "s".into(),
            topic: "t".into(),
            partition: 0,
        }
    }

    fn stored(lsn: u64, offset: i64) -> Stored {
        Stored {
            lsn: Lsn(lsn),
            offset,
        }
    }

    #[test]
    fn what_was_confirmed_outlives_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = Some(directory.path());
        let mut memory = Memory::load(path, "s").unwrap();
        assert!(memory.known().is_none());
        memory.begin(identity(), stored(10, 3)).unwrap();
        memory.confirm(stored(20, 6)).unwrap();
        memory.confirm(stored(15, 5)).unwrap();
        let known = Memory::load(path, "s").unwrap().known().unwrap().clone();
        assert_eq!((known.confirmed, known.offset), (Lsn(20), 6));
        assert!(Memory::load(path, "other").unwrap().known().is_none());
    }

    #[test]
    fn another_process_may_write_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = Some(directory.path());
        let mut waits = Memory::load(path, "s").unwrap();
        let mut streams = Memory::load(path, "s").unwrap();
        streams.begin(identity(), stored(10, 3)).unwrap();
        waits.refresh().unwrap();
        assert_eq!(waits.known(), streams.known());
        // Nothing else is left in the directory.
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_process_that_was_overtaken_puts_nothing_back() {
        let directory = tempfile::tempdir().unwrap();
        let load = || Memory::load(Some(directory.path()), "s").unwrap();
        let mut frozen = load();
        frozen.begin(identity(), stored(10, 3)).unwrap();
        let mut streams = load();
        streams.confirm(stored(30, 9)).unwrap();
        assert!(
            frozen
                .confirm(stored(20, 6))
                .unwrap_err()
                .kind()
                .is_transient()
        );
        let sent = Sent {
            offset: 6,
            records: 3,
        };
        frozen.note_in_doubt(sent).unwrap();
        assert_eq!(load().known(), streams.known());
        frozen.refresh().unwrap();
        frozen.confirm(stored(40, 12)).unwrap();
        assert_eq!(load().known().unwrap().confirmed, Lsn(40));
        frozen.note_in_doubt(sent).unwrap();
        assert_eq!(load().known().unwrap().in_doubt, Some(sent));
        // It is settled by whoever begins next.
        let mut next = load();
        next.begin(identity(), stored(40, 12)).unwrap();
        assert_eq!(load().known().unwrap().in_doubt, None);
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("s.json.probe")).unwrap();
        let error = Memory::load(Some(directory.path()), "s").unwrap_err();
        assert_eq!(error.kind(), crate::base::error::Kind::Config);
        assert!(error.to_string().contains("cannot write the state file"));
    }

    #[test]
    fn an_accepted_gap_moves_the_first_offset_and_stays_on_record() {
        let mut memory = Memory::default();
        let accepted = Accepted {
            at: "now".into(),
            reason: "r".into(),
            gap: "g".into(),
        };
        memory
            .accept(identity(), stored(9, 4), 4, accepted.clone())
            .unwrap();
        memory.begin(identity(), stored(10, 8)).unwrap();
        assert_eq!(memory.first_offset(), 4);
        assert_eq!(memory.known().unwrap().accepted, [accepted]);
    }

    #[test]
    fn a_link_is_neither_followed_nor_written_through() {
        use std::os::unix::fs::symlink;
        let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let victim = elsewhere.path().join("victim");
        let link = |name: &str| symlink(&victim, directory.path().join(name)).unwrap();
        let is_kept = || fs::read(&victim).unwrap() == b"kept";
        fs::write(&victim, "kept").unwrap();
        link("s.json.probe");
        link("s.json.new");
        let mut memory = Memory::load(Some(directory.path()), "s").unwrap();
        memory.begin(identity(), stored(10, 3)).unwrap();
        assert!(is_kept());
        let file = fs::symlink_metadata(directory.path().join("s.json")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.permissions());
        assert!(file.is_file() && mode & 0o777 == 0o600, "{mode:o}");

        fs::remove_file(directory.path().join("s.json")).unwrap();
        link("s.json");
        for found in [
            Memory::load(Some(directory.path()), "s").map(drop),
            look(directory.path(), "s").map(drop),
            super::known(directory.path(), "s").map(drop),
        ] {
            let error = found.unwrap_err().to_string();
            assert!(error.contains("it is a symbolic link"), "{error}");
        }
        assert!(memory.confirm(stored(20, 6)).is_err());
        assert!(is_kept());
    }

    #[test]
    fn a_file_as_an_editor_leaves_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut memory = Memory::load(Some(directory.path()), "s").unwrap();
        memory.begin(identity(), stored(10, 3)).unwrap();
        let file = directory.path().join("s.json");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap();
        assert_eq!(read(&file).unwrap().as_ref(), memory.known());
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        fs::write(&file, wide).unwrap();
        let error = read(&file).unwrap_err().to_string();
        assert!(error.contains("it is UTF-16"), "{error}");
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        for json in ["", "{}", "{\"version\":2}"] {
            fs::write(directory.path().join("s.json"), json).unwrap();
            let error = Memory::load(Some(directory.path()), "s")
                .unwrap_err()
                .to_string();
            assert!(error.contains("s.json"), "{error}");
        }
    }
}
