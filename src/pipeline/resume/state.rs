//! What is remembered about the slot and the topic besides themselves.
//!
//! Between the sessions of one process this is in memory. With a `state_dir` it is in a small file
//! too, so that the next process can tell that something was changed behind its back. It is not
//! needed to go on, only to notice.

use std::path::Path;

use super::state_file::{Accepted, Known, KnownLane, Sent, StateFile};
use crate::base::error::{Error, Result};
use crate::pipeline::progress::Stored;

/// What is known, in memory and in the file if there is one.
#[derive(Debug, Default)]
pub struct Memory {
    known: Option<Known>,
    file: Option<StateFile>,
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
        let file = StateFile::of(directory, slot);
        file.prepare()?;
        let known = file.read()?;
        Ok(Memory {
            seen: known.clone(),
            known,
            file: Some(file),
        })
    }

    /// Reads the file again, if there is one: another process may have had the slot until now.
    pub fn refresh(&mut self) -> Result<()> {
        if let Some(file) = &self.file {
            self.seen = file.read()?;
            self.known = self.seen.clone().or(self.known.take());
        }
        Ok(())
    }

    /// Whether other processes know the same: what one of them confirms, it writes down first.
    pub fn is_shared(&self) -> bool {
        self.file.is_some()
    }

    /// Forgets what is known: another process has gone on from there.
    pub fn forget(&mut self) {
        self.known = None;
    }

    /// The state file, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(StateFile::path)
    }

    /// What is known, if anything.
    pub fn known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    /// What is known of a lane, if anything.
    pub fn lane(&self, topic: &str, partition: u32) -> Option<&KnownLane> {
        self.known.as_ref()?.lane(topic, partition)
    }

    /// Begins a session with `first`. What was confirmed before stays so. On another timeline a position
    /// of the former one may be no position at all, and the slot's holds.
    pub fn begin(&mut self, mut first: Known) -> Result<()> {
        if let Some(before) = self.known.take() {
            if before.timeline == first.timeline {
                first.confirmed = before.confirmed;
            }
            for lane in &mut first.lanes {
                if let Some(before) = before.lane(&lane.topic, lane.partition) {
                    (lane.offset, lane.first_offset) = (before.offset, before.first_offset);
                }
            }
            if before.routing == first.routing {
                // Lanes that nothing goes to now may be needed again.
                let is_left = |lane: &KnownLane| first.lane(&lane.topic, lane.partition).is_none();
                let left: Vec<KnownLane> = before.lanes.into_iter().filter(is_left).collect();
                first.lanes.extend(left);
            }
            first.accepted = before.accepted;
        }
        self.known = Some(first);
        self.save()
    }

    /// Accepts a gap. An operator gives up what was before: slot and lanes meet as `first` says from now
    /// on.
    pub fn accept(&mut self, mut first: Known, accepted: Accepted) -> Result<()> {
        if let Some(before) = self.known.take() {
            first.accepted = before.accepted;
        }
        first.accepted.push(accepted);
        self.known = Some(first);
        self.save()
    }

    /// Notes a gap that starting again would not find.
    pub fn note_gap(&mut self, gap: &str) -> Result<()> {
        self.refresh()?;
        if let Some(known) = &mut self.known {
            known.gap = Some(gap.to_owned());
        }
        self.save()
    }

    /// Notes that what the slot holds cannot be read or delivered. The next session tries again.
    pub fn note_stuck(&mut self, why: &str) -> Result<()> {
        self.refresh()?;
        if let Some(known) = &mut self.known {
            known.stuck = Some(why.to_owned());
        }
        self.save()
    }

    /// Notes that the session has ended with something in doubt. Whoever goes on has to wait until that has
    /// arrived or cannot arrive any more. Another process that has the slot already has waited by itself.
    pub fn note_in_doubt(&mut self, lanes: impl IntoIterator<Item = (usize, Sent)>) -> Result<()> {
        for (lane, sent) in lanes {
            let known = self.known.as_mut();
            if let Some(lane) = known.and_then(|known| known.lanes.get_mut(lane)) {
                lane.in_doubt = Some(sent);
            }
        }
        match self.is_overtaken()? {
            true => Ok(()),
            false => self.save(),
        }
    }

    /// Writes down a position before it is confirmed, so that the slot is never ahead of it.
    pub fn confirm(&mut self, stored: &Stored) -> Result<()> {
        match &mut self.known {
            Some(known) if stored.lsn > known.confirmed => {
                known.confirmed = stored.lsn;
                for (lane, offset) in known.lanes.iter_mut().zip(&*stored.offsets) {
                    lane.offset = *offset;
                }
                self.save()
            }
            _ => Ok(()),
        }
    }

    /// Whether another process has written the file since. Only one that has the slot does: a process
    /// that was frozen must not put back what was true before.
    fn is_overtaken(&self) -> Result<bool> {
        let there = self.file.as_ref().map(StateFile::read).transpose()?;
        let there = there.flatten();
        Ok(there.is_some() && there != self.seen)
    }

    fn save(&mut self) -> Result<()> {
        let (Some(known), Some(file)) = (&self.known, &self.file) else {
            return Ok(());
        };
        // Between the look and the write nobody else may come.
        let locked = file.lock()?;
        if self.is_overtaken()? {
            return Err(Error::unreachable(format!(
                "another process has written the state file {}: it has the slot",
                file.path().display()
            )));
        }
        file.write(known, locked.as_ref())?;
        self.seen = self.known.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::base::lsn::Lsn;
    use crate::pipeline::resume::state_file::tests::known;

    fn at(stored: Stored) -> Known {
        let mut known = known();
        (known.confirmed, known.lanes[0].offset) = (stored.lsn, stored.offset());
        known
    }

    fn stored(lsn: u64, offset: i64) -> Stored {
        Stored::in_one(Lsn(lsn), offset)
    }

    #[test]
    fn what_was_confirmed_outlives_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = Some(directory.path());
        let mut memory = Memory::load(path, "s").unwrap();
        assert!(memory.known().is_none());
        memory.begin(at(stored(10, 3))).unwrap();
        memory.confirm(&stored(20, 6)).unwrap();
        memory.confirm(&stored(15, 5)).unwrap();
        let known = Memory::load(path, "s").unwrap().known().unwrap().clone();
        assert_eq!((known.confirmed, known.lanes[0].offset), (Lsn(20), 6));
        assert!(Memory::load(path, "other").unwrap().known().is_none());
    }

    #[test]
    fn another_process_may_write_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = Some(directory.path());
        let mut waits = Memory::load(path, "s").unwrap();
        let mut streams = Memory::load(path, "s").unwrap();
        streams.begin(at(stored(10, 3))).unwrap();
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
        frozen.begin(at(stored(10, 3))).unwrap();
        let mut streams = load();
        streams.confirm(&stored(30, 9)).unwrap();
        assert!(
            frozen
                .confirm(&stored(20, 6))
                .unwrap_err()
                .kind()
                .is_transient()
        );
        let sent = Sent {
            offset: 6,
            records: 3,
        };
        frozen.note_in_doubt([(0, sent)]).unwrap();
        assert_eq!(load().known(), streams.known());
        frozen.refresh().unwrap();
        frozen.confirm(&stored(40, 12)).unwrap();
        assert_eq!(load().known().unwrap().confirmed, Lsn(40));
        frozen.note_in_doubt([(0, sent)]).unwrap();
        assert_eq!(load().known().unwrap().lanes[0].in_doubt, Some(sent));
        // It is settled by whoever begins next.
        let mut next = load();
        next.begin(at(stored(40, 12))).unwrap();
        assert_eq!(load().known().unwrap().lanes[0].in_doubt, None);
    }

    /// Both write through the same new file: the one would put what the other has written there in its
    /// place.
    #[test]
    fn a_process_that_was_frozen_while_it_wrote_the_file_puts_nothing_back() {
        let directory = tempfile::tempdir().unwrap();
        let load = || Memory::load(Some(directory.path()), "s").unwrap();
        let mut frozen = load();
        frozen.begin(at(stored(10, 3))).unwrap();
        let mut streams = load();
        let file = frozen.file.as_ref().unwrap();
        let locked = file.lock().unwrap();
        assert!(locked.is_some());
        // It has looked, and now another one has the slot, which does not wait for ever.
        streams.confirm(&stored(30, 9)).unwrap();
        let error = file.write(&at(stored(20, 6)), locked.as_ref()).unwrap_err();
        assert!(error.kind().is_transient());
        assert!(error.to_string().contains("it has the slot"), "{error}");
        assert_eq!(load().known().unwrap().confirmed, Lsn(30));
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
        let mut first = at(stored(9, 4));
        first.lanes[0].first_offset = 4;
        memory.accept(first, accepted.clone()).unwrap();
        memory.begin(at(stored(10, 8))).unwrap();
        assert_eq!(memory.lane("t", 0).unwrap().first_offset, 4);
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
        memory.begin(at(stored(10, 3))).unwrap();
        assert!(is_kept());
        let file = fs::symlink_metadata(directory.path().join("s.json")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.permissions());
        assert!(file.is_file() && mode & 0o777 == 0o600, "{mode:o}");

        fs::remove_file(directory.path().join("s.json")).unwrap();
        link("s.json");
        for found in [
            Memory::load(Some(directory.path()), "s").map(drop),
            StateFile::of(directory.path(), "s").read().map(drop),
        ] {
            let error = found.unwrap_err().to_string();
            assert!(error.contains("it is a symbolic link"), "{error}");
        }
        assert!(memory.confirm(&stored(20, 6)).is_err());
        assert!(is_kept());
    }
}
