//! `accept-gap`: the only way past a gap.
//!
//! It finds the gap as a session would, says what is given up, makes the slot anew where it is gone
//! or of no use, and writes down where slot and topic meet from now on.

use std::time::SystemTime;

use crate::config::{Config, Setup};
use crate::continuity;
use crate::error::{Error, Kind, Reason, Result};
use crate::notify::Notify;
use crate::pg::connection::quote_literal;
use crate::pg::replication::ReplicationConnection;
use crate::progress::Stored;
use crate::session::{Opened, Output, Program};
use crate::setup::create_slot_statement;
use crate::sink::fluvio::Partition;
use crate::state::Accepted;

/// Gives up what cannot be continued. Without a gap nothing is changed.
pub fn accept_gap(config: &Config, reason: &str) -> Result<()> {
    if config.state_dir.is_none() {
        return Err(Error::config("there is no state_dir to write the decision into").with_hint(
            "name a directory under \"state_dir\" in the config; the program has to find it there \
             each time it starts",
        ));
    }
    let mut program = Program::new(config, Output::Topic, Notify::default())?;
    let Some(gap) = find_gap(&mut program)? else {
        log::info!("slot and topic meet: there is no gap to accept");
        return Ok(());
    };
    log::warn!("giving up what is missing: {gap}; reason: {reason}");
    let at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let accepted = Accepted {
        at,
        reason: reason.to_owned(),
        gap,
    };
    let end = Partition::open(config.fluvio.clone())?.bounds().end;
    let mut connection = program.connect_anew()?;
    remove_useless_slot(&mut connection, config, program.target().database())?;
    program.set_up(&connection)?;
    let source = program.find(&mut connection)?;
    continuity::check_slot(&source.slot, program.target().database())?;
    drop(connection);
    let stored = Stored {
        lsn: source.slot.confirmed(),
        offset: end,
    };
    let before = program.first_offset();
    program.accept(&source, stored, before, accepted.clone())?;
    // What the topic ends with may be of use still: then what it has does not come twice.
    if let Some(gap) = find_gap(&mut program)? {
        log::warn!(
            "what the topic has is not looked at any more, so what it has of the changes to come comes \
             twice: {gap}"
        );
        program.accept(&source, stored, end, accepted)?;
    }
    log::warn!(
        "accepted: the next run continues with the changes after {} at offset {end} of {}",
        stored.lsn,
        config.fluvio.place()
    );
    Ok(())
}

/// Opens both sides as a session does, and gives the slot back.
fn find_gap(program: &mut Program<'_>) -> Result<Option<String>> {
    match program.open().and_then(Opened::prove) {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == Kind::Gap => Ok(Some(error.message())),
        // It may pass; whoever accepts it says that it does not.
        Err(error) if error.reason() == Some(Reason::Standby) => Ok(Some(error.message())),
        Err(error) => Err(error),
    }
}

/// A slot that the server has invalidated holds nothing but its name.
fn remove_useless_slot(
    connection: &mut ReplicationConnection,
    config: &Config,
    database: &str,
) -> Result<()> {
    let slot = &config.slot;
    let Some(found) = connection.slot(slot)? else {
        return Ok(());
    };
    continuity::check_own(&found, database)?;
    if found.invalidated().is_none() {
        return Ok(());
    }
    let statement = format!("SELECT pg_drop_replication_slot({})", quote_literal(slot));
    if config.setup == Setup::Require {
        return Err(Error::config(format!(
            "replication slot {slot} is invalidated, and skip_setup is true"
        ))
        .with_hint(format!(
            "run: {statement}; {};",
            create_slot_statement(config)
        )));
    }
    connection.query(&statement)?;
    log::warn!("dropped the replication slot {slot}, which the server had invalidated");
    Ok(())
}
