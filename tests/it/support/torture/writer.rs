//! The writers: connections that commit and roll back until they are stopped, whatever happens to
//! the server, and that always find out what became of a COMMIT.

use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postgres::{Client, SimpleQueryMessage};

use super::super::random::Random;
use super::journal::{Journal, Kind, Step, Transaction};
use super::plan::{Plan, Side, Statement, text_len};
use super::source::Source;

/// Between two tries to reach a server that is down.
const RETRY: Duration = Duration::from_millis(10);

/// A server is back much sooner, or never.
const DOWN_DEADLINE: Duration = Duration::from_secs(90);

/// What the writers have in common.
pub struct Load<'a> {
    pub source: &'a Source,
    /// The server's.
    pub major: u32,
    pub journal: &'a Journal,
    /// How many changes each writer makes in a second, about.
    pub rate: u64,
    pub stops: &'a AtomicBool,
}

/// A COMMIT whose outcome decides what the writer's own tables hold.
#[derive(Debug)]
struct InDoubt {
    id: i64,
    changes: u64,
    side: Side,
}

/// Why a transaction went no further.
#[derive(Debug)]
enum Broken {
    /// The server went away; with what it may have committed.
    Server(Option<InDoubt>),
    /// The server refuses what it should not.
    Refused(String),
}

/// Writes until it is stopped.
pub fn write(load: &Load<'_>, writer: usize, mut random: Random) -> Result<(), String> {
    let mut side = Side::default();
    let mut in_doubt = None;
    let mut up = Instant::now();
    while !load.is_over() || in_doubt.is_some() {
        match session(load, writer, &mut random, &mut side, in_doubt.take()) {
            Ok(()) => return Ok(()),
            Err((Broken::Refused(what), _)) => return Err(format!("writer {writer}: {what}")),
            Err((Broken::Server(doubt), was_up)) => {
                in_doubt = doubt;
                if was_up {
                    up = Instant::now();
                } else if up.elapsed() > DOWN_DEADLINE {
                    return Err(format!("writer {writer}: the server does not come back"));
                }
                thread::sleep(RETRY);
            }
        }
    }
    Ok(())
}

/// One connection; an error comes with whether it was up at all.
fn session(
    load: &Load<'_>,
    writer: usize,
    random: &mut Random,
    side: &mut Side,
    mut in_doubt: Option<InDoubt>,
) -> Result<(), (Broken, bool)> {
    let Ok(mut client) = load.source.writable().try_writing_client() else {
        return Err((Broken::Server(in_doubt), false));
    };
    if let Some(doubt) = in_doubt.take() {
        match settle(&mut client, load.journal, writer, doubt) {
            Ok(Some(committed)) => *side = committed,
            Ok(None) => {}
            Err(broken) => return Err((broken, false)),
        }
    }
    while !load.is_over() {
        transaction(&mut client, load, writer, random, side).map_err(|broken| (broken, true))?;
    }
    Ok(())
}

/// The marker tells what became of the COMMIT that was not answered: the server that had it was
/// stopped since, so nothing is under way any more.
fn settle(
    client: &mut Client,
    journal: &Journal,
    writer: usize,
    doubt: InDoubt,
) -> Result<Option<Side>, Broken> {
    let found = client.query_opt("SELECT 1 FROM marker WHERE id = $1", &[&doubt.id]);
    match found {
        Ok(Some(_)) => {
            journal.committed(writer, doubt.id, doubt.changes);
            Ok(Some(doubt.side))
        }
        Ok(None) => {
            let lost = journal.lost(writer, doubt.id);
            lost.map(|()| None).map_err(Broken::Refused)
        }
        Err(error) => Err(broken(&error, Some(doubt))),
    }
}

/// Commits rows in a table while nothing else happens to the server. Only if there is a journal,
/// the topic may have them.
pub fn insert_rows(
    client: &mut Client,
    journal: Option<&Journal>,
    id: i64,
    (table, rows): (&str, Range<i64>),
) -> Result<(), String> {
    let writer = 0;
    let xid = begin(client, writer, id).map_err(|broken| format!("{broken:?}"))?;
    let statement = Statement::insert(table, &rows);
    perform(client, &statement).map_err(|error| error.to_string())?;
    let changes = 1 + rows.clone().count() as u64;
    if let Some(journal) = journal {
        let steps = vec![Step::new(Kind::Insert, table, rows.collect())];
        journal.intend(Transaction {
            id,
            writer,
            xid,
            steps,
        });
    }
    let committed = client.batch_execute("COMMIT");
    committed.map_err(|error| error.to_string())?;
    if let Some(journal) = journal {
        journal.committed(writer, id, changes);
    }
    Ok(())
}

fn transaction(
    client: &mut Client,
    load: &Load<'_>,
    writer: usize,
    random: &mut Random,
    side: &mut Side,
) -> Result<(), Broken> {
    let began = Instant::now();
    let mut plan = Plan::draw(random, load.journal, writer, side);
    plan.steps.retain(|step| step.is_decoded_by(load.major));
    let id = load.journal.begin();
    let xid = begin(client, writer, id)?;
    for statement in &plan.statements {
        perform(client, statement).map_err(|error| broken(&error, None))?;
    }
    let changes = plan.changes();
    if plan.is_rolled_back {
        let rolled_back = client.batch_execute("ROLLBACK");
        rolled_back.map_err(|error| broken(&error, None))?;
    } else {
        load.journal.intend(Transaction {
            id,
            writer,
            xid,
            steps: plan.steps,
        });
        match client.batch_execute("COMMIT") {
            Ok(()) => {
                load.journal.committed(writer, id, changes);
                *side = plan.side;
            }
            Err(error) => {
                let side = plan.side;
                let doubt = InDoubt { id, changes, side };
                return Err(broken(&error, Some(doubt)));
            }
        }
    }
    let due = Duration::from_micros(1_000_000 * changes / load.rate);
    thread::sleep(due.saturating_sub(began.elapsed()));
    Ok(())
}

/// Begins with the marker, and returns the transaction's id as the stream will have it.
fn begin(client: &mut Client, writer: usize, id: i64) -> Result<u32, Broken> {
    let begun = client.simple_query(&format!(
        "BEGIN; INSERT INTO marker VALUES ({id}, {writer}) RETURNING txid_current()"
    ));
    let messages = begun.map_err(|error| broken(&error, None))?;
    let xid = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse::<u64>().ok(),
        _ => None,
    });
    // The stream has the lower half: the upper one counts how often it went round.
    let xid = xid.ok_or_else(|| Broken::Refused("a transaction without an id".to_owned()))?;
    Ok(xid as u32)
}

fn perform(client: &mut Client, statement: &Statement) -> Result<(), postgres::Error> {
    match statement {
        Statement::Sql(sql) => client.batch_execute(sql),
        Statement::Copy(table, rows) => copy(client, table, rows),
    }
}

fn copy(client: &mut Client, table: &str, rows: &Range<i64>) -> Result<(), postgres::Error> {
    let mut copy = client.copy_in(&format!("COPY {table} (id, body) FROM STDIN"))?;
    let mut text = String::new();
    for row in rows.clone() {
        let body = "x".repeat(text_len(table, row));
        writeln!(text, "{row}\t{body}").expect("a string takes it");
    }
    // What goes wrong here shows again at the end, as an error of the server.
    let _ = copy.write_all(text.as_bytes());
    copy.finish().map(|_| ())
}

/// A server that goes away says so, or nothing. Anything else is wrong.
fn broken(error: &postgres::Error, doubt: Option<InDoubt>) -> Broken {
    match error.as_db_error() {
        None => Broken::Server(doubt),
        Some(db)
            if ["57P", "08"]
                .iter()
                .any(|c| db.code().code().starts_with(c)) =>
        {
            Broken::Server(doubt)
        }
        Some(db) => Broken::Refused(format!("{}: {}", db.code().code(), db.message())),
    }
}

impl Load<'_> {
    fn is_over(&self) -> bool {
        self.stops.load(Ordering::SeqCst)
    }
}
