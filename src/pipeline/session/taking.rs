//! Taking the slot, and what is asked of PostgreSQL for that.
//!
//! Before START_REPLICATION anybody may take the slot, deliver, confirm and give it back. So what is read
//! before only tells whether it makes sense to take it; what decisions rest on is read again when it is
//! ours.

use std::sync::Arc;
use std::time::Duration;

use super::Program;
use crate::base::error::{Context, Error, Kind, Reason, Result};
use crate::base::lsn::Lsn;
use crate::config::Config;
use crate::observe::peer::Side;
use crate::pg::catalog::system::{NAME_THE_PRIMARY, Slot, System};
use crate::pg::connection::Connection;
use crate::pg::params::Endpoint;
use crate::pg::replication::{ReplicationConnection, ReplicationStream, Wanted};
use crate::pipeline::resume::continuity::{self, gap, on_standby};
use crate::pipeline::resume::owner::{self, Owner};
use crate::pipeline::resume::source::Source;
use crate::pipeline::resume::state::Memory;
use crate::pipeline::setup;
use crate::sink::lease::{AskForSlot, Lease};

/// The slot, taken.
pub(super) struct Taken {
    pub stream: ReplicationStream,
    pub lease: Lease,
    /// How often to report: as configured, but always well before the server would give us up.
    pub status_interval: Duration,
    /// What there is on the side of PostgreSQL, read when the slot was ours.
    pub source: Source,
}

impl Program<'_> {
    /// Connects, finds the slot, which is made if that is right, and takes it. It is right when nothing
    /// has been read before, and the config allows it.
    pub(super) fn take_slot(&mut self, has_history: bool) -> Result<Taken> {
        let (connection, source) = self.connect(has_history)?;
        let is_standby = source.is_standby;
        let taken = self.take(connection, source);
        // A slot that is only synchronised to here, or a version that decodes on no standby.
        let taken = taken.map_err(|error| self.unless_elsewhere(error, is_standby))?;
        self.metrics.waits.answered(Side::Postgres);
        Ok(taken)
    }

    /// Connects in replication mode and finds the slot.
    fn connect(&mut self, has_history: bool) -> Result<(ReplicationConnection, Source)> {
        let slot = &self.config.slot;
        let place = || format!("replication slot {slot}");
        self.wait_for(&self.server());
        // First of all, because this connection is needed in any case and its errors are exact.
        let mut connection = self.connect_anew()?;
        if self.memory.known().is_some() {
            self.check_state_file(&connection.identify_system()?)?;
        }
        let found = connection.slot(slot)?;
        let exists = found.is_some();
        if found.is_some_and(|found| !found.active)
            && let Some(found) = connection.slot_with_wal(slot)?
        {
            continuity::check_slot(&found, self.params.database()).at(place)?;
        }
        if !exists && (has_history || self.is_set_up || self.memory.known().is_some()) {
            return Err(self.slot_is_missing(connection.is_standby()?)).at(place);
        }
        if !self.is_set_up
            && let Err(error) = self.set_up(&connection)
        {
            let is_standby =
                error.kind() == Kind::Config && connection.is_standby().unwrap_or_default();
            return Err(match is_standby && has_history {
                // It was there when what the topic has was written.
                true => on_standby(error.message(), NAME_THE_PRIMARY),
                false => self.unless_elsewhere(error, is_standby),
            });
        }
        let source = self.find_source(&mut connection)?;
        self.is_set_up |= source.slot.is_made();
        continuity::check_slot(&source.slot, self.params.database()).at(place)?;
        if source.slot.active {
            return Err(self.in_use(connection));
        }
        log::debug!(
            "publication {} has the OID {}",
            self.config.publication,
            source.publication_oid
        );
        Ok((connection, source))
    }

    /// Whether the state file, if there is one, is about this cluster, slot and topic.
    fn check_state_file(&self, system: &System) -> Result<()> {
        let (Some(known), Some(file)) = (self.memory.known(), self.memory.file()) else {
            return Ok(());
        };
        let ends = self.pasts.ends();
        let ends = ends.map(|(place, end)| (place.clone(), Some(end)));
        let owner = Owner::of(self.config, &system.identifier, ends.collect());
        owner::check(known, file, &owner)
    }

    /// What a standby cannot do, the primary may, which comes back or is found among the other hosts.
    fn unless_elsewhere(&self, error: Error, is_standby: bool) -> Error {
        let is_elsewhere = is_standby && self.params.endpoints().len() > 1;
        match error.kind() {
            Kind::Config if is_elsewhere => {
                Error::unreachable(error.message()).with_hint(NAME_THE_PRIMARY)
            }
            _ => error,
        }
    }

    /// A standby that has no slot may not be the server that is meant, unless it is the only one named
    /// and had the slot before.
    fn slot_is_missing(&self, is_standby: bool) -> Error {
        let missing =
            "does not exist any more: the changes since it was confirmed last are lost to it";
        let was_here = self.memory.known().is_some_and(|known| known.is_standby);
        match is_standby && !(was_here && self.params.endpoints().len() == 1) {
            true => on_standby("does not exist on this server", NAME_THE_PRIMARY),
            false => gap(missing),
        }
    }

    /// Makes what is missing, as far as the config allows.
    pub fn set_up(&self, connection: &ReplicationConnection) -> Result<()> {
        let endpoint = connection.endpoint();
        setup::ensure(&self.params, endpoint, self.config, &self.onlookers)
    }

    /// The slot, the publication and the cluster as they are now; what is known of them is read again.
    pub fn find_source(&mut self, connection: &mut ReplicationConnection) -> Result<Source> {
        let Config {
            publication, slot, ..
        } = self.config;
        let found = connection.slot(slot)?;
        // A process that had the slot until now has written down what it confirmed.
        self.memory.refresh()?;
        let Some(found) = found else {
            return Err(self.is_gone(&self.slot_place(), connection.is_standby()?));
        };
        let Some(publication_oid) = connection.publication(publication)? else {
            let what = format!("publication {publication}");
            return Err(self.is_gone(&what, connection.is_standby()?));
        };
        Source::ask(connection, found, publication_oid, self.memory.known())
    }

    /// What setup found, or made, is not there.
    fn is_gone(&self, what: &str, is_standby: bool) -> Error {
        match (self.is_set_up, is_standby) {
            (true, true) => on_standby(format!("{what} does not exist"), NAME_THE_PRIMARY),
            (true, false) => Error::config(format!("{what} does not exist")),
            // A moment ago it did: whoever was making it has given up.
            (false, _) => Error::unreachable(format!("{what} has gone again")),
        }
    }

    /// The server's own words for a slot that somebody else has. What that one confirms meanwhile
    /// must not be compared with anything.
    fn in_use(&self, connection: ReplicationConnection) -> Error {
        match self.start(connection) {
            Ok(_) => Error::unreachable(format!(
                "replication slot {}: it was in use until now",
                self.config.slot
            )),
            Err(error) => error,
        }
    }

    /// Takes the slot, and reads again what may have changed until then.
    fn take(&mut self, connection: ReplicationConnection, before: Source) -> Result<Taken> {
        let endpoint = connection.endpoint().clone();
        let Started {
            mut stream,
            walsender,
            wal_sender_timeout,
        } = match self.start(connection) {
            Ok(started) => started,
            Err(error) => return Err(self.slot_as_it_is(&endpoint).err().unwrap_or(error)),
        };
        let ask = self.who_has_the_slot(&endpoint, walsender);
        let lease = Lease::begin(stream.socket()?, wal_sender_timeout, ask);
        // The kernel notices a line that is cut before the server gives the slot to somebody else.
        stream.give_up_after(lease.patience() / 2)?;
        let source = match self.read_again(&endpoint, walsender, &before) {
            Ok(Some(source)) => source,
            Ok(None) => return Err(self.lost_at_once(&mut stream, &before)),
            Err(error) => {
                give_back(&mut stream);
                return Err(error);
            }
        };
        Ok(Taken {
            stream,
            status_interval: self.config.status_interval.min(lease.patience() / 3),
            lease,
            source,
        })
    }

    /// Whether the slot is of use now: it may have been lost since it was looked at.
    fn slot_as_it_is(&self, endpoint: &Endpoint) -> Result<()> {
        let mut connection = Connection::connect_for_sql_to(endpoint, &self.params)?;
        let found = connection.slot(&self.config.slot)?;
        connection.terminate();
        found.map_or(Ok(()), |slot| {
            continuity::check_slot(&slot, self.params.database()).at(|| self.slot_place())
        })
    }

    /// The server ended the stream as soon as it had begun. Of a gap that it found while decoding, what
    /// is known from before may say more.
    fn lost_at_once(&self, stream: &mut ReplicationStream, before: &Source) -> Error {
        let lost = || Error::unreachable("it was lost again at once");
        let why = stream.why_it_ended().unwrap_or_else(lost);
        let known_better = match why.kind() {
            Kind::Gap => continuity::check_source(self.memory.known(), before).err(),
            _ => None,
        };
        known_better.unwrap_or(why).at(self.slot_place())
    }

    /// The server does not say in which table it met what it cannot decode. A row filter that fails is one
    /// of few.
    pub(super) fn with_row_filters(&self, error: Error) -> Error {
        let is_of_decoding = error.reason() == Some(Reason::SlotUseless);
        if error.kind() != Kind::Undeliverable || !is_of_decoding {
            return error;
        }
        let asked = Connection::connect_for_sql(&self.params)
            .and_then(|mut connection| connection.row_filters(&self.config.publication));
        match asked {
            Ok(tables) if !tables.is_empty() => {
                error.at(format!("with row filters on {}", tables.join(", ")))
            }
            _ => error,
        }
    }

    pub(super) fn slot_place(&self) -> String {
        format!("replication slot {}", self.config.slot)
    }

    fn start(&self, mut connection: ReplicationConnection) -> Result<Started> {
        let slot = &self.config.slot;
        let wal_sender_timeout = connection.wal_sender_timeout()?;
        let walsender = connection.walsender()?;
        let wanted = Wanted {
            messages: !self.config.messages.is_empty(),
            origins: self.config.origin,
            poll: self.config.status_interval,
            ..Wanted::of(&self.config.publication)
        };
        let stream = connection.start(slot, wanted);
        Ok(Started {
            stream: stream.at(|| self.slot_place())?,
            walsender,
            wal_sender_timeout,
        })
    }

    /// The slot and the publication as they are now that nobody else can move the slot, when they meet
    /// what is known of them from before; nothing if the slot is not ours any more.
    fn read_again(
        &mut self,
        endpoint: &Endpoint,
        walsender: i64,
        before: &Source,
    ) -> Result<Option<Source>> {
        let Config {
            publication, slot, ..
        } = self.config;
        let mut connection = Connection::connect_for_sql_to(endpoint, &self.params)
            .at(|| format!("PostgreSQL at {endpoint}"))?;
        let found = connection.slot(slot)?;
        let publication_oid = connection.publication(publication)?;
        let is_standby = connection.is_standby()?;
        let wal_flush = connection.wal_flush()?;
        connection.terminate();
        let Some(slot) = found.filter(|found| is_held(found, walsender)) else {
            return Ok(None);
        };
        let known_timeline = |memory: &Memory| memory.known().map(|known| known.timeline);
        let known_before = known_timeline(&self.memory);
        self.memory.refresh()?;
        let is_same =
            known_before == known_timeline(&self.memory) && before.is_standby == is_standby;
        let (Some(publication_oid), true) = (publication_oid, is_same) else {
            let changed = Error::unreachable("what it goes by changed while it was taken");
            return Err(changed).at(|| self.slot_place());
        };
        let source = Source {
            slot,
            publication_oid,
            system: System {
                wal_flush,
                ..before.system.clone()
            },
            ..before.clone()
        };
        self.check_state_file(&source.system)?;
        let known = self.memory.known();
        continuity::check_source(known, &source).at(|| self.slot_place())?;
        if self.memory.is_shared() {
            continuity::check_moved(known, &source).at(|| self.slot_place())?;
        }
        Ok(Some(source))
    }

    /// How far the server's WAL goes now.
    pub(super) fn wal_flush(&self, endpoint: &Endpoint) -> Result<Lsn> {
        let mut connection = Connection::connect_for_sql_to(endpoint, &self.params)?;
        let wal_flush = connection.wal_flush()?;
        connection.terminate();
        Ok(wal_flush)
    }

    /// Asks over a connection of its own, because the stream's answers are behind what it sends.
    fn who_has_the_slot(&self, endpoint: &Endpoint, walsender: i64) -> AskForSlot {
        let (endpoint, params) = (endpoint.clone(), self.params.clone());
        let (slot, metrics) = (self.config.slot.clone(), Arc::clone(&self.metrics));
        Box::new(move || {
            metrics.waits.begin(Side::Postgres);
            let found = Connection::connect_for_sql_to(&endpoint, &params)
                .and_then(|mut connection| connection.slot(&slot));
            let is_held = found?.is_some_and(|found| is_held(&found, walsender));
            metrics.waits.answered(Side::Postgres);
            Ok(is_held)
        })
    }
}

/// A stream, before it is known what it begins with.
struct Started {
    stream: ReplicationStream,
    walsender: i64,
    wal_sender_timeout: Option<Duration>,
}

fn is_held(slot: &Slot, walsender: i64) -> bool {
    slot.active_pid == Some(walsender)
}

/// Ends a stream that is not used, so that the slot is free when this returns. An error that led here
/// is worth more than one of this.
pub(super) fn give_back(stream: &mut ReplicationStream) {
    if let Err(error) = stream.end() {
        log::debug!("the stream could not be ended: {error}");
    }
}
