//! How long after its commit a row can be read, while one is committed every few milliseconds.
//!
//! The row has the server's clock of the moment before its commit in it; both clocks are those of
//! this machine.

use std::io::Read;
use std::pin::pin;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ::fluvio::consumer::ConsumerConfigExt;
use ::fluvio::{Fluvio as Client, FluvioClusterConfig, Offset};
use futures_util::StreamExt;

use crate::contenders::{Contender, Destination, Output, PUBLICATION, Source};
use crate::fluvio::{Fluvio, new_topic};
use crate::measure::{SlotWatch, stop};
use crate::support::postgres::{Database, Postgres};
use crate::support::wait_until;
use crate::table::{Report, Table};
use crate::{Arguments, Result, progress};

/// A row is committed so often.
const INTERVAL: Duration = Duration::from_millis(5);
/// How long the first row may take, and the last.
const DEADLINE: Duration = Duration::from_secs(60);
const READ_BYTES: usize = 64 * 1024;
/// That of a new config.
const SETTINGS: &[(&str, &str)] = &[("status_interval", "1s")];

/// The time stands between these, in every contender's form of a text.
const MARK: &[u8] = b"committed at ";
const MARK_END: u8 = b';';
/// A time is not longer than this.
const MARK_BYTES: usize = 64;

/// A row that was read: when it was committed, 0 for one that only says that rows come, and when it
/// could be read; microseconds since 1970.
struct Seen {
    committed: i64,
    readable: i64,
}

/// Times each contender and reports a row for each.
pub fn measure(
    arguments: &Arguments,
    postgres: &Postgres,
    fluvio: Option<&Fluvio>,
    report: &mut Report,
) -> Result<()> {
    let rows = u128::from(arguments.seconds) * 1000 / INTERVAL.as_millis();
    let mut table = Table::new(&["commit to", "rows", "p50 ms", "p99 ms", "max ms"]);
    for contender in &arguments.contenders.0 {
        let what = match contender {
            Contender::RecvLogical => "output of pg_recvlogical",
            Contender::Stdout => "line of postgres-source on standard output",
            Contender::Topic => "record of postgres-source readable from the topic",
            Contender::TopicRows => "row of postgres-source readable from the topic",
            Contender::Lanes => "row of postgres-source readable from one of 16 lanes",
            // Its time is that of pg_recvlogical, and that of standard output.
            Contender::Wal2json | Contender::StdoutRows => continue,
        };
        progress(what);
        let delays = time(*contender, rows as usize, postgres, fluvio)?;
        let at = |share: f64| {
            let index = ((delays.len() - 1) as f64 * share) as usize;
            format!("{:.3}", delays[index] as f64 / 1000.0)
        };
        table.row(vec![
            what.to_owned(),
            delays.len().to_string(),
            at(0.5),
            at(0.99),
            at(1.0),
        ]);
    }
    report.table(&table);
    report.note(&format!(
        "One row of its own transaction every {} ms for {} s; the commit itself is part of the time.",
        INTERVAL.as_millis(),
        arguments.seconds
    ));
    Ok(())
}

/// The delays in microseconds, in ascending order.
fn time(
    contender: Contender,
    rows: usize,
    postgres: &Postgres,
    fluvio: Option<&Fluvio>,
) -> Result<Vec<i64>> {
    let database = postgres.database("latency");
    database.execute(&format!(
        "CREATE TABLE clock (id serial PRIMARY KEY, at text); \
         CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES"
    ));
    let slot = "latency";
    database.create_slot(slot);
    let topic = new_topic();
    let fluvio = fluvio.filter(|_| contender.is_into_topic());
    let source = Source {
        database: &database,
        slot,
        end: None,
    };
    let destination = Destination {
        stdout: match contender.is_into_topic() {
            true => Output::Null,
            false => Output::Pipe,
        },
        fluvio,
        topic: &topic,
        settings: SETTINGS,
    };
    let (sender, seen) = channel();
    if let Some(fluvio) = fluvio {
        fluvio.create_topic(&topic, contender.partitions())?;
        for partition in 0..contender.partitions() {
            let (sc_addr, topic) = (fluvio.sc_addr.clone(), topic.clone());
            let sender = sender.clone();
            thread::spawn(move || read_topic(&sc_addr, &topic, partition, &sender));
        }
    }
    let mut running = contender.start(&source, &destination)?;
    if let Some(pipe) = running.child.stdout.take() {
        thread::spawn(move || read_pipe(pipe, &sender));
    }
    let mut watch = SlotWatch::new(database.client())?;
    wait_until("the slot is read", DEADLINE, || {
        watch.is_active(slot).unwrap_or(false)
    });
    let delays = commit_and_collect(&database, rows, &seen)
        .map_err(|error| format!("{error}: {}", running.log()));
    stop(contender, &mut running)?;
    if let Some(fluvio) = fluvio {
        fluvio.done_with(&topic)?;
    }
    delays
}

fn commit_and_collect(
    database: &Database,
    rows: usize,
    seen: &Receiver<Result<Seen>>,
) -> Result<Vec<i64>> {
    let mut client = database.client();
    let failed = |error: postgres::Error| format!("{error:?}");
    // A walsender sends what is flushed, and only a synchronous commit flushes at once.
    client
        .batch_execute(
            "SET synchronous_commit = on; INSERT INTO clock (at) VALUES ('committed at 0;')",
        )
        .map_err(failed)?;
    // Everything is warm once the first row has come.
    next(seen)?;
    let insert = client
        .prepare(
            "INSERT INTO clock (at) SELECT 'committed at ' || \
             (extract(epoch FROM clock_timestamp()) * 1000000)::int8 || ';'",
        )
        .map_err(failed)?;
    let started = Instant::now();
    for row in 0..rows {
        let due = INTERVAL * row as u32;
        thread::sleep(due.saturating_sub(started.elapsed()));
        client.execute(&insert, &[]).map_err(failed)?;
    }
    let mut delays = Vec::with_capacity(rows);
    while delays.len() < rows {
        let row = next(seen)?;
        delays.push(row.readable - row.committed);
    }
    delays.sort_unstable();
    Ok(delays)
}

fn next(seen: &Receiver<Result<Seen>>) -> Result<Seen> {
    match seen.recv_timeout(DEADLINE) {
        Ok(row) => row,
        Err(RecvTimeoutError::Timeout) => Err(format!("no row came for {DEADLINE:?}")),
        Err(RecvTimeoutError::Disconnected) => Err("the output has ended".to_owned()),
    }
}

/// Reads what a contender writes until it ends.
fn read_pipe(mut pipe: impl Read, sender: &Sender<Result<Seen>>) {
    let mut text = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(read @ 1..) = pipe.read(&mut buffer) {
        let readable = now();
        text.extend_from_slice(&buffer[..read]);
        send_marks(&mut text, readable, sender);
    }
}

/// Reads a partition with the ordinary client, which the server tells of each new record, until nobody
/// wants to know any more.
fn read_topic(sc_addr: &str, topic: &str, partition: u32, sender: &Sender<Result<Seen>>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let read = async {
        let client = Client::connect_with_config(&FluvioClusterConfig::new(sc_addr)).await?;
        let config = ConsumerConfigExt::builder()
            .topic(topic.to_owned())
            .partition(partition)
            .offset_start(Offset::absolute(0)?)
            .build()?;
        let mut stream = pin!(client.consumer_with_config(config).await?);
        while let Some(record) = stream.next().await {
            let readable = now();
            let mut value = record?.into_inner().into_value().into_vec();
            send_marks(&mut value, readable, sender);
        }
        Ok::<(), Box<dyn std::error::Error>>(())
    };
    let result = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(read));
    if let Err(error) = result {
        // Nobody listens any more when the topic is deleted at the end.
        let _ = sender.send(Err(format!("{topic}: {error}")));
    }
}

/// Sends the marks of `text` that are whole, and leaves what one may still come of.
fn send_marks(text: &mut Vec<u8>, readable: i64, sender: &Sender<Result<Seen>>) {
    let mut rest = &text[..];
    while let Some(at) = rest.windows(MARK.len()).position(|window| window == MARK) {
        let time = &rest[at + MARK.len()..];
        let Some(len) = time.iter().position(|&byte| byte == MARK_END) else {
            break;
        };
        let committed = std::str::from_utf8(&time[..len]).ok();
        if let Some(committed) = committed.and_then(|text| text.parse().ok()) {
            let _ = sender.send(Ok(Seen {
                committed,
                readable,
            }));
        }
        rest = &time[len..];
    }
    let kept = rest.len().min(MARK_BYTES);
    let kept = rest[rest.len() - kept..].to_vec();
    *text = kept;
}

/// Microseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as i64)
}
