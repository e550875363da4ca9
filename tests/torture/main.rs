//! The torture by hand: rounds of faults until there were enough of them.
//!
//! It ends with 0 when everything was delivered exactly once, and with 1 when not.
#![allow(missing_docs)]

#[path = "../it/support/mod.rs"]
mod support;

mod heals;

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use argh::FromArgs;

use crate::support::torture::{Format, Reading, Round, Tally, Wanted, decodes_on_standbys, round};

/// A round has servers of its own. Its topic is kept in memory, so it is not to be endless.
const FAULTS_A_ROUND: usize = 25;

/// The longest loss of packets: the kernel then tries again only every half a minute.
const LONGEST: Duration = Duration::from_secs(60);

const DEFAULT_FAULTS: usize = 100;

/// Breaks everything around the program while it runs, and checks that every committed change is in
/// the topic exactly once.
#[derive(FromArgs)]
struct Arguments {
    /// no fault begins after so many seconds
    #[argh(option)]
    seconds: Option<u64>,

    /// how many faults; 100 if nothing is said
    #[argh(option)]
    faults: Option<usize>,

    /// what the faults are drawn from; each round after the first adds 1
    #[argh(option)]
    seed: Option<u64>,

    /// instead, kill the program in a cut network that heals 0 to 30 s later; needs root
    #[argh(switch)]
    heals: bool,

    /// about how many changes are written in a second
    #[argh(option, default = "3000")]
    rate: u64,

    /// every round reads a standby, which needs PostgreSQL 16; without it, every third does where it
    /// can
    #[argh(switch)]
    standby: bool,

    /// over how many partitions rows are spread by their keys, or events by their tables, in one topic
    /// or one a table, led by three SPUs
    #[argh(option, default = "1")]
    lanes: u32,

    /// what is written of a change: events or rows
    #[argh(option, default = "Format::Events", from_str_fn(format))]
    format: Format,
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "events" => Ok(Format::Events),
        "rows" => Ok(Format::Rows),
        _ => Err("events or rows".to_owned()),
    }
}

fn main() -> ExitCode {
    let arguments: Arguments = argh::from_env();
    if arguments.heals {
        return heals::sweep();
    }
    let seed = arguments.seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        // Rounds count up from it: the next run is to have other ones.
        now.map_or(1, |now| now.as_secs() * 1000)
    });
    let until = arguments
        .seconds
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let faults = match (arguments.faults, until) {
        (Some(faults), _) => faults,
        (None, Some(_)) => usize::MAX,
        (None, None) => DEFAULT_FAULTS,
    };
    if arguments.standby && !decodes_on_standbys() {
        println!("these servers are too old to decode on a standby");
        return ExitCode::FAILURE;
    }
    println!("the seed is {seed}");
    let mut total = Tally::default();
    for number in 0.. {
        let left = faults - total.faults();
        if left == 0 || until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        let result = round(Round {
            seed: seed + number,
            faults: left.min(FAULTS_A_ROUND),
            until,
            rate: arguments.rate,
            longest: LONGEST,
            reading: arguments.standby.then_some(Reading::Standby),
            wanted: Wanted {
                format: arguments.format,
                partitions: arguments.lanes.max(1),
            },
        });
        match result {
            Ok(tally) => total.add(tally),
            Err(failure) => {
                println!("{failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{total}");
    println!("every committed change is in its topic exactly once");
    ExitCode::SUCCESS
}
