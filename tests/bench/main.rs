//! How fast changes leave PostgreSQL: this program beside those that a user could run instead.
//!
//! All of them read the same WAL of one throwaway server, each run through a slot of its own that
//! begins where the others do, and in turn, so that whatever else the machine does hits all alike.
//! Only ratios within one run of this program mean anything: other machines have other numbers.
//!
//! - `workloads`: what is written to the database
//! - `contenders`: who reads it, and where to
//! - `fluvio`: the cluster that records go to
//! - `measure`: one contender drains one slot
//! - `throughput`, `latency`: how much, how soon
//! - `growth` (of a `load` and of `lanes`), `idle`, `memory`: what this program alone costs, for much and
//!   for nothing
//! - `table`, `chart`: the answers, with the machine that gave them, and a picture
#![allow(missing_docs)]

mod chart;
mod confirmed;
mod contenders;
mod fluvio;
mod growth;
mod idle;
mod lanes;
mod latency;
mod load;
mod measure;
mod memory;
#[path = "../it/support/mod.rs"]
mod support;
mod table;
mod throughput;
mod workloads;

use std::io::{self, Write};
use std::process::ExitCode;

use argh::FromArgs;

use crate::contenders::Contender;
use crate::fluvio::Fluvio;
use crate::support::postgres::Postgres;
use crate::table::Report;
use crate::workloads::Workload;

/// What went wrong, in words.
type Result<T> = std::result::Result<T, String>;

/// A checkpoint, a vacuum or a spill to disk in the midst of one contender's turn would be charged
/// to it; durability is not what is measured. Transactions do not spill as far as this memory goes,
/// so that the largest workload measures the readers and not the disk.
const SETTINGS: &[(&str, &str)] = &[
    ("autovacuum", "off"),
    ("checkpoint_timeout", "1d"),
    ("full_page_writes", "off"),
    ("logical_decoding_work_mem", "4GB"),
    ("max_replication_slots", "100"),
    ("max_wal_size", "64GB"),
    ("shared_buffers", "1GB"),
    ("synchronous_commit", "off"),
    ("wal_buffers", "64MB"),
];

/// Measures this program beside pg_recvlogical and wal2json.
#[derive(FromArgs)]
pub struct Arguments {
    /// throughput, the default, latency, growth, idle or memory
    #[argh(positional, default = "Question::Throughput", from_str_fn(question))]
    question: Question,

    /// only these workloads, such as W1,W3
    #[argh(option, default = "List(Workload::all())", from_str_fn(workload_list))]
    workloads: List<Workload>,

    /// only these contenders besides pg_recvlogical: wal2json,stdout,stdout_rows,
    /// topic,topic_rows,lanes
    #[argh(
        option,
        default = "List(Contender::ALL.to_vec())",
        from_str_fn(contender_list)
    )]
    contenders: List<Contender>,

    /// the size of the workloads and of the large value, 1 by default
    #[argh(option, default = "1.0", from_str_fn(scale))]
    scale: f64,

    /// how often each contender runs, 3 by default
    #[argh(option, default = "3", from_str_fn(runs))]
    runs: usize,

    /// how long commits are timed or nothing happens, 20 s by default
    #[argh(option, default = "20", from_str_fn(seconds))]
    seconds: u32,

    /// growth up to ten to the power of this many rows, 6 by default
    #[argh(option, default = "6", from_str_fn(most))]
    most: u32,

    /// the rows of the large transaction, 10000000 by default
    #[argh(option, default = "10_000_000", from_str_fn(rows))]
    rows: u64,

    /// keep the results as a file in scripts/bench-results
    #[argh(switch)]
    save: bool,
}

/// What one option names, with commas; argh takes a `Vec` for an option that comes again and again.
struct List<T>(Vec<T>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    Throughput,
    Latency,
    Growth,
    Idle,
    Memory,
}

impl Question {
    const ALL: [Question; 5] = [
        Question::Throughput,
        Question::Latency,
        Question::Growth,
        Question::Idle,
        Question::Memory,
    ];

    /// Its name on the command line and in those of the results.
    fn name(self) -> &'static str {
        match self {
            Question::Throughput => "throughput",
            Question::Latency => "latency",
            Question::Growth => "growth",
            Question::Idle => "idle",
            Question::Memory => "memory",
        }
    }
}

fn main() -> ExitCode {
    let arguments: Arguments = argh::from_env();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let postgres = Postgres::start(SETTINGS);
    let needs_fluvio = match arguments.question {
        Question::Throughput => {
            let mut contenders = arguments.contenders.0.iter();
            contenders.any(|one| one.is_into_topic())
        }
        Question::Latency | Question::Idle | Question::Growth => true,
        Question::Memory => false,
    };
    let fluvio = needs_fluvio.then(Fluvio::start).transpose()?;
    let mut report = Report::new(&postgres, fluvio.as_ref());
    match arguments.question {
        Question::Throughput => {
            throughput::measure(arguments, &postgres, fluvio.as_ref(), &mut report)?;
        }
        Question::Latency => {
            latency::measure(arguments, &postgres, fluvio.as_ref(), &mut report)?;
            confirmed::measure(arguments, &postgres, fluvio.as_ref(), &mut report)?;
        }
        Question::Growth => {
            growth::measure(arguments, &postgres, &mut report)?;
            lanes::measure(arguments, &postgres, fluvio.as_ref(), &mut report)?;
        }
        Question::Idle => idle::measure(arguments, &postgres, fluvio.as_ref(), &mut report)?,
        Question::Memory => memory::measure(arguments, &postgres, &mut report)?,
    }
    let text = report.text();
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|e| format!("standard output: {e}"))?;
    if arguments.save {
        println!(
            "\nkept in {}",
            report.save(arguments.question.name())?.display()
        );
    }
    Ok(())
}

/// Says what goes on, apart from the results.
fn progress(line: &str) {
    let _ = writeln!(io::stderr(), "   {line}");
}

fn question(text: &str) -> Result<Question> {
    let found = Question::ALL.into_iter().find(|one| one.name() == text);
    found.ok_or_else(|| {
        let names = Question::ALL.map(Question::name);
        format!("expected one of {}", names.join(", "))
    })
}

fn workload_list(text: &str) -> Result<List<Workload>> {
    let all = Workload::all();
    let found = text.split(',').map(|name| {
        let found = all.iter().find(|workload| workload.name == name);
        found.cloned().ok_or_else(|| format!("no workload {name}"))
    });
    found.collect::<Result<_>>().map(List)
}

/// The one that the others are compared with is always there.
fn contender_list(text: &str) -> Result<List<Contender>> {
    let wanted: Vec<&str> = text.split(',').collect();
    if let Some(name) = wanted
        .iter()
        .find(|name| !Contender::ALL.iter().any(|one| one.name() == **name))
    {
        return Err(format!("no contender {name}"));
    }
    let is_wanted =
        |one: &Contender| *one == Contender::RecvLogical || wanted.contains(&one.name());
    Ok(List(Contender::ALL.into_iter().filter(is_wanted).collect()))
}

fn scale(text: &str) -> Result<f64> {
    let scale = text.parse().ok();
    scale
        .filter(|scale| (0.0001..=100.0).contains(scale))
        .ok_or_else(|| "expected a number from 0.0001 to 100".to_owned())
}

/// Each run of each contender has a slot, and the server has room for a hundred.
fn runs(text: &str) -> Result<usize> {
    let runs = text.parse().ok();
    runs.filter(|runs| (1..=20).contains(runs))
        .ok_or_else(|| "expected a number from 1 to 20".to_owned())
}

fn seconds(text: &str) -> Result<u32> {
    let seconds = text.parse().ok();
    seconds
        .filter(|seconds| (1..=3600).contains(seconds))
        .ok_or_else(|| "expected a number from 1 to 3600".to_owned())
}

/// A backlog is no longer than a disk holds.
fn most(text: &str) -> Result<u32> {
    let most = text.parse().ok();
    most.filter(|most| (4..=8).contains(most))
        .ok_or_else(|| "expected a number from 4 to 8".to_owned())
}

fn rows(text: &str) -> Result<u64> {
    let rows = text.parse().ok();
    rows.filter(|rows| (1_000..=1_000_000_000).contains(rows))
        .ok_or_else(|| "expected a number from 1000 to 1000000000".to_owned())
}
