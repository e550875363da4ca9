//! Fault after fault, drawn at random from fixed seeds; and the topics equal the journal.

use std::time::Duration;

use crate::support::torture::{Format, Round, Wanted, round};

/// The long ones are for those who run the torture by hand.
const LONGEST: Duration = Duration::from_secs(2);

/// Ten faults; the changes are fewer than a program without optimization can take.
fn ten_faults(seed: u64) {
    ten_faults_into(Wanted::ONE_STREAM, seed);
}

fn ten_faults_into(wanted: Wanted, seed: u64) {
    let result = round(Round {
        seed,
        faults: 10,
        until: None,
        rate: 1000,
        longest: LONGEST,
        reading: None,
        wanted,
    });
    match result {
        Ok(tally) => println!("{tally}"),
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn ten_faults_of_seed_1() {
    ten_faults(1);
}

#[test]
fn ten_faults_of_seed_2() {
    ten_faults(2);
}

#[test]
fn ten_faults_of_seed_3() {
    ten_faults(3);
}

/// Rows over three partitions by their keys, led by three SPUs.
#[test]
fn ten_faults_with_rows_over_three_lanes() {
    let wanted = Wanted {
        format: Format::Rows,
        partitions: 3,
    };
    ten_faults_into(wanted, 4);
}

/// Events over three partitions by their tables, led by three SPUs.
#[test]
fn ten_faults_with_events_over_three_lanes() {
    let wanted = Wanted {
        format: Format::Events,
        partitions: 3,
    };
    ten_faults_into(wanted, 5);
}
