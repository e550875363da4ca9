//! What the parts of a row's way cost, each alone: ns a row and bytes a second.
//!
//! The rows have ten columns and are framed as a walsender frames them. Each part works on what the
//! one before it has made, which is ready before the clock starts.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use fluvio::Compression;
use postgres_source::base::Lsn;
use postgres_source::change::{Batch, Catalog, Change};
use postgres_source::pg::Begin;
use postgres_source::pg::Frames;
use postgres_source::pg::Message;
use postgres_source::pg::StreamMessage;
use postgres_source::record::{
    Place, ProducerRecord, RawText, RowOp, RowRecord, RowStyle, RowTable,
};
use postgres_source::record::{Transaction, render};
use postgres_source::sink::BatchBuilder;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// More than the caches hold, as in a stream.
const ROWS: usize = 100_000;
/// Each part runs over all rows again and again for so long, and a few times at the least.
const TIME: Duration = Duration::from_secs(2);
const LEAST_PASSES: usize = 5;

/// The default of the config.
const BATCH_BYTES: usize = 1_000_000;

const REL_ID: u32 = 16_385;
/// The names and the types' OIDs.
const COLUMNS: [(&str, u32); 10] = [
    ("id", 20),
    ("code", 25),
    ("amount", 1700),
    ("flag", 16),
    ("at", 1184),
    ("note", 1043),
    ("n", 23),
    ("ratio", 701),
    ("key", 2950),
    ("remark", 25),
];

fn main() -> Result<()> {
    let payloads = payloads();
    let framed: Vec<u8> = payloads.iter().flat_map(|payload| frame(payload)).collect();
    println!(
        "{ROWS} rows of {} columns, {} bytes each in the stream",
        COLUMNS.len(),
        framed.len() / ROWS
    );
    println!(
        "{:44} {:>12} {:>12} {:>10}",
        "", "median ns/row", "best ns/row", "MB/s"
    );

    time("framing: pg::frames, reads included", framed.len(), || {
        cut(&framed)
    })?;
    let bytes = payloads.iter().map(Vec::len).sum();
    time(
        "decoding: pg::wire::pgoutput and change::Batch",
        bytes,
        || decode(&payloads, drop),
    )?;
    let mut batches = Vec::new();
    decode(&payloads, |batch| batches.push(batch))?;
    let mut records = Vec::new();
    for (name, raw_text) in [
        ("rendering: json::render, raw_text: string", RawText::String),
        ("rendering: json::render, raw_text: bytes", RawText::Bytes),
    ] {
        records.clear();
        render_all(&batches, raw_text, |record| records.push(record.to_vec()));
        let bytes = records.iter().map(Vec::len).sum();
        time(name, bytes, || {
            render_all(&batches, raw_text, |record| {
                black_box(record);
            });
            Ok(())
        })?;
    }
    let mut bytes = 0;
    render_rows(&batches, |record| bytes += record.len());
    time("rendering: record::rows", bytes, || {
        render_rows(&batches, |record| {
            black_box(record);
        });
        Ok(())
    })?;
    let bytes = records.iter().map(Vec::len).sum();
    time("encoding: sink::fluvio::batch, to bytes", bytes, || {
        encode(&records)
    })
}

/// Runs `pass` over all rows, which are so many bytes, and prints a line.
fn time(name: &str, bytes: usize, mut pass: impl FnMut() -> Result<()>) -> Result<()> {
    pass()?;
    let mut times = Vec::new();
    let started = Instant::now();
    while times.len() < LEAST_PASSES || started.elapsed() < TIME {
        let begun = Instant::now();
        pass()?;
        times.push(begun.elapsed());
    }
    times.sort();
    let (best, median) = (times[0], times[times.len() / 2]);
    let ns = |time: Duration| time.as_secs_f64() * 1e9 / ROWS as f64;
    println!(
        "{name:44} {:12.1} {:12.1} {:10.0}",
        ns(median),
        ns(best),
        bytes as f64 / median.as_secs_f64() / 1e6
    );
    Ok(())
}

fn cut(framed: &[u8]) -> Result<()> {
    let (mut frames, mut stream) = (Frames::default(), framed);
    loop {
        while let Some(frame) = frames.take()? {
            black_box(frames.body(&frame));
        }
        if frames.fill(&mut stream)? == 0 {
            return Ok(());
        }
    }
}

fn decode(payloads: &[Vec<u8>], mut full: impl FnMut(Batch)) -> Result<()> {
    let (mut batch, mut catalog) = (Batch::default(), Catalog::default());
    for payload in payloads {
        let StreamMessage::XLogData { envelope, data } = StreamMessage::decode(payload)? else {
            return Err("only rows are here".into());
        };
        if batch.is_full() {
            full(batch.take());
        }
        batch.push(envelope, &Message::decode(data)?, &mut catalog)?;
    }
    full(batch);
    Ok(())
}

fn render_all(batches: &[Batch], raw_text: RawText, mut each: impl FnMut(&[u8])) {
    let mut record = Vec::new();
    for batch in batches {
        for event in batch.events() {
            record.clear();
            render(&event, raw_text, &mut record);
            each(&record);
        }
    }
}

/// The rows are those of one transaction.
fn render_rows(batches: &[Batch], mut each: impl FnMut(&[u8])) {
    let transaction = Transaction::new(&Begin {
        final_lsn: Lsn(0x16_B374_D848),
        timestamp: 760_000_000_000_000,
        xid: 735,
    });
    let (mut table, mut record, mut seq) = (None, Vec::new(), 0);
    for event in batches.iter().flat_map(Batch::events) {
        record.clear();
        match &event.change {
            Change::Relation(relation) => {
                table = RowTable::new(relation, None, RowStyle::default()).ok();
            }
            Change::Insert { new, .. } => {
                let Some(table) = &table else { continue };
                let row = RowRecord {
                    op: RowOp::Insert { table, new: *new },
                    place: Place::Within {
                        transaction: &transaction,
                        seq,
                    },
                };
                ProducerRecord::row(&row, None).render(&mut record);
                seq += 1;
                each(&record);
            }
            _ => {}
        }
    }
}

/// As the writer does it, up to what goes to the socket, the checksum in it.
fn encode(records: &[Vec<u8>]) -> Result<()> {
    let mut batch = BatchBuilder::default();
    for (index, record) in records.iter().enumerate() {
        batch.push(None, record);
        if batch.len() >= BATCH_BYTES || index + 1 == records.len() {
            let finished = batch.finish(Compression::None)?;
            black_box((&finished.head, &finished.records));
            drop(finished.records);
            batch.reuse(finished.sent.into_memory(2 * BATCH_BYTES));
        }
    }
    Ok(())
}

/// The description of the table and its rows: `w`, two positions, a time, and the message.
fn payloads() -> Vec<Vec<u8>> {
    let messages = std::iter::once(relation()).chain((1..=ROWS).map(insert));
    messages
        .zip(0_u64..)
        .map(|(message, place)| {
            let lsn = 0x16_B374_D848 + 180 * place;
            let time = 760_000_000_000_000_i64 + 10 * place as i64;
            let mut payload = vec![b'w'];
            payload.extend(lsn.to_be_bytes());
            payload.extend(lsn.to_be_bytes());
            payload.extend(time.to_be_bytes());
            payload.extend(message);
            payload
        })
        .collect()
}

fn relation() -> Vec<u8> {
    let mut message = vec![b'R'];
    message.extend(REL_ID.to_be_bytes());
    message.extend(b"public\0orders\0d");
    message.extend((COLUMNS.len() as u16).to_be_bytes());
    for (index, (name, type_id)) in COLUMNS.iter().enumerate() {
        message.push(u8::from(index == 0));
        message.extend(name.bytes());
        message.push(0);
        message.extend(type_id.to_be_bytes());
        message.extend((-1_i32).to_be_bytes());
    }
    message
}

fn insert(i: usize) -> Vec<u8> {
    let mut message = vec![b'I'];
    message.extend(REL_ID.to_be_bytes());
    message.push(b'N');
    message.extend((COLUMNS.len() as u16).to_be_bytes());
    for value in row(i) {
        match value {
            None => message.push(b'n'),
            Some(text) => {
                message.push(b't');
                message.extend((text.len() as u32).to_be_bytes());
                message.extend(text.as_bytes());
            }
        }
    }
    message
}

/// Texts as the server writes them: some with what JSON escapes, some beyond ASCII, some NULL.
fn row(i: usize) -> [Option<String>; 10] {
    // The multiplier of Knuth's hash: digits that differ from row to row.
    let mixed = (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let remark = match i % 4 {
        0 => None,
        1 => Some(format!("said \"{i}\",\nthen left")),
        2 => Some("naïve façade, 20 €".to_owned()),
        _ => Some("nothing to say here".to_owned()),
    };
    [
        Some(i.to_string()),
        Some(format!("{mixed:020}")[..20].to_owned()),
        Some(format!("{}.{:02}", mixed % 100_000, i % 100)),
        Some(["t", "f"][i % 2].to_owned()),
        Some(format!(
            "2024-01-{:02} {:02}:{:02}:{:02}.250000+00",
            i % 28 + 1,
            i % 24,
            i % 60,
            mixed % 60
        )),
        Some(format!("{mixed:016x}{mixed:016x} is the note of one row")),
        Some((mixed % 1_000_000).to_string()),
        Some((i as f64 / 3.0).to_string()),
        Some(format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            mixed >> 32,
            mixed & 0xFFFF,
            mixed & 0xFFF,
            mixed >> 52,
            mixed >> 16
        )),
        remark,
    ]
}

/// CopyData: `d`, the length of itself and the payload, the payload.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![b'd'];
    frame.extend((payload.len() as u32 + 4).to_be_bytes());
    frame.extend(payload);
    frame
}
