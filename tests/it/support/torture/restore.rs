//! The server is put back to a copy of its data, and another history is written where the undone one
//! was: the topic has what never happened, and the program must say so and write nothing.

use std::ops::Range;
use std::time::Duration;

use super::fault::{History, Restore};
use super::follower::Follower;
use super::journal::Journal;
use super::plan;
use super::stage::Stage;
use super::writer::insert_rows;
use super::{Watch, recover};

/// The exit code of a gap between slot and topic.
const GAP: i32 = 76;
/// The program has waited for the server before, and reads the topic and what comes again.
const GAP_DEADLINE: Duration = Duration::from_secs(30);
const RECOVERY_DEADLINE: Duration = Duration::from_secs(60);

/// The table of both histories.
const TABLE: &str = "narrow";

/// Nothing of the server's own is to come between the transactions.
const QUIET: [(&str, &str); 2] = [("bgwriter_delay", "10s"), ("checkpoint_timeout", "1d")];

type Result<T = ()> = std::result::Result<T, String>;

/// Does it. Everything that was written before is in the topic, and nothing else is written now.
pub fn restore(
    watch: &mut Watch<'_>,
    follower: &mut Follower<'_>,
    journal: &Journal,
    plan: &Restore,
) -> Result {
    let stage = watch.stage;
    let postgres = &stage.source.postgres;
    postgres.stop(plan.copied);
    postgres.add_settings(&QUIET);
    postgres.save_data();
    postgres.start_again();
    // The topic gets what the slot of the copy has not confirmed.
    let last = write(stage, Some(journal), journal, plan.undone)?;
    recover(watch, follower, last, RECOVERY_DEADLINE)?;
    let end = follower.end_offset();

    if let Some(ends) = plan.meanwhile {
        stage.program.end_all(ends)?;
        follower.advance()?;
    }
    postgres.stop(plan.restored);
    postgres.restore_data();
    postgres.start_again();
    write(stage, None, journal, plan.other)?;
    if plan.meanwhile.is_some() {
        stage.program.start_all();
    }
    stage.program.wait_ended(GAP, GAP_DEADLINE)?;
    // Starting again does not help.
    stage.program.start_all();
    stage.program.wait_ended(GAP, GAP_DEADLINE)?;
    follower.advance()?;
    match follower.end_offset() {
        same if same == end => Ok(()),
        more => Err(format!(
            "the topic had {end} records before the server was restored, and has {more} now"
        )),
    }
}

/// Writes a history and returns its last transaction.
fn write(
    stage: &Stage<'_>,
    journal: Option<&Journal>,
    numbers: &Journal,
    history: History,
) -> Result<i64> {
    let mut client = stage.source.database.client();
    let mut last = 0;
    for _ in 0..history.transactions {
        last = numbers.begin();
        let rows = rows_of_one_shape(numbers, history.rows);
        insert_rows(&mut client, journal, last, (TABLE, rows))?;
    }
    Ok(last)
}

/// New rows whose texts have the same lengths each time, so that a transaction takes the same place
/// in the WAL.
fn rows_of_one_shape(numbers: &Journal, count: u64) -> Range<i64> {
    let shape = plan::text_limit(TABLE);
    let count_i64 = i64::try_from(count).expect("a small number");
    let taken = numbers.take_rows(count + shape.unsigned_abs());
    let first = (taken.start + shape - 1) / shape * shape;
    first..first + count_i64
}
