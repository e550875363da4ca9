//! `peek`: what is pending for the connector, shown without taking it.
//!
//! From version 12 on a copy of the slot is read, which ends with the session that made it: the slot
//! itself is not touched, whoever reads it. What is confirmed of the copy only lets the server remove
//! WAL while `--follow` goes on. Before, a server can only be asked what a slot has that nobody reads.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cli::Peek;
use super::load;
use crate::base::error::{Context, Error, Kind, Result};
use crate::base::lsn::Lsn;
use crate::base::signals::Signals;
use crate::change::relation::Catalog;
use crate::change::{Batch, Change, Envelope};
use crate::config::Config;
use crate::pg::connection::Connection;
use crate::pg::params::ConnectParams;
use crate::pg::replication::{
    POLL, ReplicationConnection, ReplicationStream, StreamMessage, Wanted,
};
use crate::pg::wire::pgoutput;
use crate::pipeline::lane_map::LaneMap;
use crate::pipeline::resume::continuity;
use crate::pipeline::rows::{RowSink, Rows};
use crate::pipeline::setup::missing_statements;
use crate::record::{Format, ProducerRecord};
use crate::sink::Sink;
use crate::sink::stdout::{RecordLines, StandardOutput};

/// The first major that copies slots.
const COPIES: u32 = 12;

/// Records that are shown unless a number is given: a small transaction or two.
const RECORDS: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// How often the copy is confirmed: well before any server gives a silent reader up.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(1);

/// What of a slot is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Only what is pending at the start.
    Pending,
    /// What is pending, and what is committed later, until a signal.
    Following,
}

/// Writes the records to standard output as a run would.
pub fn peek(arguments: &Peek) -> Result<()> {
    let config = load(&arguments.config)?;
    let scope = match arguments.follow {
        true => Scope::Following,
        false => Scope::Pending,
    };
    show(&config, scope, arguments.number)
}

/// Shows `most` records, or else ten of what is pending and all of what follows.
fn show(config: &Config, scope: Scope, most: Option<NonZeroU32>) -> Result<()> {
    Signals::end_at_once()?;
    let params = config.params()?;
    let place = || format!("replication slot {}", config.slot);
    let mut connection = ReplicationConnection::connect(&params)?;
    connection.lift_timeouts()?;
    let is_active = find_slot(&mut connection, &params, config)?;
    let shown = match scope {
        Scope::Pending => Shown::new(config, Some(most.unwrap_or(RECORDS)))?,
        Scope::Following => Shown::new(config, most)?,
    };
    let major = connection.major()?;
    if major >= COPIES {
        return peek_at_copy(connection, config, scope, shown).at(place);
    }
    let cannot = match (is_active, scope) {
        (true, _) => "a connector streams from it, and it could only be looked at in a copy",
        (_, Scope::Following) => "it could only be followed in a copy",
        (false, Scope::Pending) => return peek_at_slot(connection, config, shown).at(place),
    };
    let kind = if is_active {
        Kind::SlotInUse
    } else {
        Kind::Config
    };
    let hint = "slots can be copied from PostgreSQL 12 on; before, look at what is pending while no \
                connector runs";
    let message = format!("{cannot}, which PostgreSQL {major} cannot make");
    Err(Error::new(kind, message).with_hint(hint)).at(place)
}

/// Finds publication and slot, and whether somebody streams from it.
fn find_slot(
    connection: &mut ReplicationConnection,
    params: &ConnectParams,
    config: &Config,
) -> Result<bool> {
    let endpoint = connection.endpoint();
    let mut sql = Connection::connect_for_sql_to(endpoint, params)?;
    let missing =
        missing_statements(&mut sql, config).at(|| format!("PostgreSQL at {endpoint}"))?;
    sql.terminate();
    let slot = || format!("replication slot {}", config.slot);
    let does_not_exist = || {
        Error::config("does not exist")
            .with_hint("\"postgres-source setup --config FILE\" makes it")
    };
    if missing.publication.is_some() {
        return Err(does_not_exist()).at(|| format!("publication {}", config.publication));
    }
    let found = connection.slot_with_wal(&config.slot)?;
    let found = found.ok_or_else(does_not_exist).at(slot)?;
    continuity::check_slot(&found, params.database()).at(slot)?;
    Ok(found.active)
}

/// Asks the server what the slot has, and shows it.
fn peek_at_slot(
    connection: ReplicationConnection,
    config: &Config,
    mut shown: Shown<'_>,
) -> Result<()> {
    // How many messages the rows come with that leave no record is not known.
    let limit = shown.lines.left.filter(|_| shown.rows.is_none());
    let most = limit.unwrap_or(i32::MAX.unsigned_abs());
    connection.peek(&config.slot, &config.publication, most, |envelope, data| {
        shown.take(envelope, data)
    })?;
    shown.write_out()?;
    shown.log_count();
    Ok(())
}

/// Streams from a copy of the slot, and shows what comes.
fn peek_at_copy(
    mut connection: ReplicationConnection,
    config: &Config,
    scope: Scope,
    mut shown: Shown<'_>,
) -> Result<()> {
    let end = match scope {
        Scope::Pending => connection.identify_system()?.wal_flush,
        Scope::Following => Lsn(u64::MAX),
    };
    let copy = connection.copy_slot(&config.slot)?;
    let wanted = Wanted {
        messages: !config.messages.is_empty(),
        origins: config.origin,
        poll: POLL,
        ..Wanted::of(&config.publication)
    };
    let mut stream = connection.start(&copy, wanted)?;
    shown.read(&mut stream, end)?;
    stream.leave();
    shown.log_count();
    Ok(())
}

/// Records on their way to standard output.
struct Shown<'a> {
    config: &'a Config,
    catalog: Catalog,
    batch: Batch,
    /// What makes rows of events, if that is the format.
    rows: Option<Rows>,
    lines: CountedLines,
    /// The position before which everything has been sent to us.
    reached: Lsn,
    is_inside: bool,
}

/// Records as lines, as many as are wanted.
struct CountedLines {
    lines: RecordLines<StandardOutput>,
    /// How many more are wanted, where there is a limit.
    left: Option<u32>,
    count: u64,
    /// Whether it is not known yet if the last of them is the last of its transaction.
    is_open: bool,
}

impl RowSink for CountedLines {
    fn write_row(&mut self, lane: usize, record: &ProducerRecord<'_>) -> Result<usize> {
        if self.left == Some(0) {
            self.lines.go_on();
            self.is_open = false;
            return Ok(0);
        }
        self.note_one();
        self.is_open = record.is_open();
        self.lines.write(lane, record)
    }
}

impl CountedLines {
    fn note_one(&mut self) {
        self.count += 1;
        self.left = self.left.map(|left| left.saturating_sub(1));
    }

    fn end_transaction(&mut self) -> Result<()> {
        self.is_open = false;
        self.lines.end_unit(0)
    }

    fn is_done(&self) -> bool {
        self.left == Some(0) && !self.is_open
    }
}

impl<'a> Shown<'a> {
    fn new(config: &'a Config, most: Option<NonZeroU32>) -> Result<Shown<'a>> {
        let rows = || {
            Rows::new(
                config,
                Arc::new(LaneMap::standard_output()),
                &[None],
                Lsn::ZERO,
            )
        };
        Ok(Shown {
            config,
            catalog: Catalog::default(),
            batch: Batch::default(),
            rows: (config.format == Format::Rows).then(rows),
            lines: CountedLines {
                lines: RecordLines::on_stdout()?,
                left: most.map(NonZeroU32::get),
                count: 0,
                is_open: false,
            },
            reached: Lsn(0),
            is_inside: false,
        })
    }

    /// Reads until as many are shown as are wanted, or everything before `end`.
    fn read(&mut self, stream: &mut ReplicationStream, end: Lsn) -> Result<()> {
        let mut confirmed_at = Instant::now();
        loop {
            let mut is_asked = false;
            while let Some(message) = stream.message()? {
                match message {
                    StreamMessage::XLogData { envelope, data } => self
                        .take(envelope, data)
                        .at(|| format!("message at {}", envelope.wal_start))?,
                    StreamMessage::Keepalive { wal_end, reply, .. } => {
                        is_asked |= reply;
                        if !self.is_inside {
                            self.reached = self.reached.max(wal_end);
                        }
                    }
                }
                if self.lines.is_done() {
                    return self.write_out();
                }
            }
            self.write_out()?;
            if self.reached >= end {
                return Ok(());
            }
            if is_asked || confirmed_at.elapsed() >= CONFIRM_INTERVAL {
                stream.send_status(self.reached)?;
                confirmed_at = Instant::now();
            }
            stream.wait()?;
        }
    }

    /// Takes a message of the slot.
    fn take(&mut self, envelope: Envelope, data: &[u8]) -> Result<()> {
        let message = pgoutput::Message::decode(data)?;
        match &message {
            pgoutput::Message::Begin(_) => self.is_inside = true,
            pgoutput::Message::Commit(commit) => {
                self.is_inside = false;
                self.reached = self.reached.max(commit.end_lsn);
            }
            pgoutput::Message::Logical(logical)
                if !logical.has_prefix_of(&self.config.messages) =>
            {
                return Ok(());
            }
            _ => {}
        }
        self.batch.push(envelope, &message, &mut self.catalog)?;
        let is_limited = self.lines.left.is_some();
        match self.rows {
            // How many records it leaves shows when they are written.
            Some(_) if is_limited => return self.write_out(),
            Some(_) => {}
            None => self.lines.note_one(),
        }
        if self.batch.is_full() {
            self.write_out()?;
        }
        Ok(())
    }

    fn write_out(&mut self) -> Result<()> {
        let batch = self.batch.take();
        for event in batch.events() {
            match &mut self.rows {
                None => {
                    let record = ProducerRecord::new(&event, self.config.raw_text);
                    self.lines.lines.write(0, &record)?;
                }
                Some(rows) => {
                    rows.write(&event, &mut self.lines)?;
                    if let Change::Commit(_) = event.change {
                        self.lines.end_transaction()?;
                    }
                }
            }
        }
        self.lines.lines.flush()
    }

    /// Logs how many records were shown, and whether that was all.
    fn log_count(&self) {
        let count = self.lines.count;
        match self.lines.is_done() {
            true => log::info!("{count} records; there may be more"),
            false => log::info!("{count} records, which is all that was pending"),
        }
    }
}
