//! `accept-gap`: the only way past a gap.
//!
//! It finds the gap as a session would, says what is given up, makes the slot anew where it is gone
//! or of no use, and writes down where slot and topic meet from now on.

use super::cli::AcceptGap;
use super::{load, onlookers};
use crate::base::clock;
use crate::base::error::{Error, Kind, Reason, Result};
use crate::config::{Config, Setup};
use crate::observe::waiting::Onlookers;
use crate::pg::connection::quote_literal;
use crate::pg::replication::ReplicationConnection;
use crate::pipeline::resume::continuity;
use crate::pipeline::resume::source::Source;
use crate::pipeline::resume::state_file::Accepted;
use crate::pipeline::session::{Opened, Output, Program};
use crate::pipeline::setup::create_slot_statement;

/// Gives up what cannot be continued. Without a gap nothing is changed.
pub fn accept_gap(arguments: &AcceptGap) -> Result<()> {
    let config = load(&arguments.config)?;
    accept(&config, &arguments.reason, onlookers()?)
}

fn accept(config: &Config, reason: &str, onlookers: Onlookers) -> Result<()> {
    if config.state_dir.is_none() {
        return Err(Error::config("there is no state_dir to write the decision into").with_hint(
            "name a directory under \"state_dir\" in the config; the program has to find it there \
             each time it starts",
        ));
    }
    let mut program = Program::new(config, Output::Topic, onlookers)?;
    let loss = match program.stuck() {
        Some(gap) => Some(Loss {
            gap,
            slot_is_useless: true,
        }),
        None => prove_continuity(&mut program)?,
    };
    let Some(loss) = loss else {
        log::info!("slot and topic meet: there is no gap to accept");
        return Ok(());
    };
    log::warn!("giving up what is missing: {}; reason: {reason}", loss.gap);
    let at = humantime::format_rfc3339_seconds(clock::now()).to_string();
    let accepted = Accepted {
        at,
        reason: reason.to_owned(),
        gap: loss.gap,
    };
    let (map, lanes) = program.lanes_now()?;
    let source = take_slot(&mut program, config, loss.slot_is_useless)?;
    let mut confirmed = source.slot.confirmed();
    program.accept(&source, &map, lanes.clone(), accepted.clone())?;
    let mut left = prove_continuity(&mut program)?;
    // That nobody can read the slot shows when nothing else is in the way.
    if let Some(loss) = left.as_ref().filter(|loss| loss.slot_is_useless) {
        log::warn!("giving up what the slot holds: {}", loss.gap);
        let source = take_slot(&mut program, config, true)?;
        confirmed = source.slot.confirmed();
        program.accept(&source, &map, lanes.clone(), accepted.clone())?;
        left = prove_continuity(&mut program)?;
    }
    // What the topic ends with may be of use still: then what it has does not come twice.
    if let Some(Loss { gap, .. }) = left {
        log::warn!(
            "what the topic has is not looked at any more, so what it has of the changes to come comes \
             twice: {gap}"
        );
        let mut behind = lanes.clone();
        behind
            .iter_mut()
            .for_each(|lane| lane.first_offset = lane.offset);
        program.accept(&source, &map, behind, accepted)?;
    }
    let at = match (&lanes[..], map.names()) {
        ([lane], [place]) => format!("at offset {} of {place}", lane.offset),
        (lanes, _) => format!("at the ends of {} partitions", lanes.len()),
    };
    log::warn!("accepted: the next run continues with the changes after {confirmed} {at}");
    Ok(())
}

/// The slot to go on with; one that is useless is made anew.
fn take_slot(program: &mut Program<'_>, config: &Config, slot_is_useless: bool) -> Result<Source> {
    let mut connection = program.connect_anew()?;
    if slot_is_useless {
        remove_slot(&mut connection, config, program.params().database())?;
    }
    program.set_up(&connection)?;
    let source = program.find_source(&mut connection)?;
    let made = connection.slot_with_wal(&config.slot)?;
    continuity::check_slot(
        made.as_ref().unwrap_or(&source.slot),
        program.params().database(),
    )?;
    Ok(source)
}

/// Opens both sides as a session does, and gives the slot back; what keeps them from meeting is the loss.
fn prove_continuity(program: &mut Program<'_>) -> Result<Option<Loss>> {
    let Err(error) = program.open().and_then(Opened::prove) else {
        return Ok(None);
    };
    let slot_is_useless = error.reason() == Some(Reason::SlotUseless);
    // What a standby lacks may pass; whoever accepts it says that it does not.
    let is_gap = error.kind() == Kind::Gap || error.reason() == Some(Reason::Standby);
    match is_gap || slot_is_useless {
        true => Ok(Some(Loss {
            gap: error.message(),
            slot_is_useless,
        })),
        false => Err(error),
    }
}

/// What is given up to go on.
struct Loss {
    gap: String,
    /// Whether all that the slot holds is given up.
    slot_is_useless: bool,
}

/// Drops the slot, which nobody can read: it holds nothing but its name.
fn remove_slot(
    connection: &mut ReplicationConnection,
    config: &Config,
    database: &str,
) -> Result<()> {
    let slot = &config.slot;
    let Some(found) = connection.slot(slot)? else {
        return Ok(());
    };
    continuity::check_own(&found, database)?;
    let statement = format!("SELECT pg_drop_replication_slot({})", quote_literal(slot));
    if config.setup == Setup::Require {
        return Err(Error::config(format!(
            "replication slot {slot} has to be made anew, and skip_setup is true"
        ))
        .with_hint(format!(
            "run: {statement}; {};",
            create_slot_statement(config)
        )));
    }
    connection.query(&statement)?;
    log::warn!("dropped the replication slot {slot}: nothing can be read from it any more");
    Ok(())
}
