//! Many lanes: requests of several batches to several SPUs, each acknowledged by itself.

use std::time::Duration;

use fluvio_protocol::link::ErrorCode;
use postgres_source::sink::{InDoubt, Sink};

use crate::support::fluvio::{Fault, TopicReader, When};
use crate::support::lanes::{Lanes, TOPIC};
use crate::support::random::Random;

const LANES: u32 = 16;
const SPUS: usize = 3;

fn lanes() -> std::ops::Range<usize> {
    0..LANES as usize
}

fn stored(lanes: &Lanes) -> Vec<u64> {
    self::lanes()
        .map(|lane| lanes.writer.stored(lane))
        .collect()
}

/// The lanes that are in doubt, and how long each must be still.
fn doubts(in_doubt: &[InDoubt]) -> Vec<(usize, Duration)> {
    let mut doubts: Vec<_> = in_doubt
        .iter()
        .map(|in_doubt| (in_doubt.lane, in_doubt.settle))
        .collect();
    doubts.sort();
    doubts
}

/// Writes a record to each lane.
fn write_to_each(lanes: &mut Lanes, content: &str) {
    for lane in self::lanes() {
        lanes.write(lane, content).expect("it is taken");
    }
}

#[test]
fn every_lane_has_its_records_in_order_and_acknowledged() {
    for batch_bytes in [2_000, 50_000, 1_000_000] {
        let mut lanes = Lanes::start(LANES, SPUS, |options| options.batch_bytes = batch_bytes);
        let mut random = Random::new(7);
        let mut expected = vec![Vec::new(); LANES as usize];
        for number in 0..4_000_u32 {
            // Some lanes have many more than others.
            let lane = (random.below(16) * random.below(16) / 15) as usize;
            let content = format!("{number} {}", "x".repeat(random.below(700) as usize));
            lanes.write(lane, &content).expect("it is taken");
            expected[lane].push((content, true));
            if random.below(500) == 0 {
                lanes.writer.flush().expect("it is stored");
            }
        }
        lanes.writer.flush().expect("it is stored");
        for (lane, expected) in (0..).zip(&expected) {
            assert!(lanes.contents(lane) == *expected, "lane {lane}");
        }
        let counts: Vec<_> = expected.iter().map(|lane| lane.len() as u64).collect();
        assert_eq!(stored(&lanes), counts);
        assert_eq!(lanes.writer.acknowledged(), 4_000);
        assert!(lanes.writer.in_doubt().is_empty());
    }
}

#[test]
fn an_error_of_one_partition_leaves_the_others_stored() {
    let mut lanes = Lanes::start(LANES, SPUS, |_| {});
    write_to_each(&mut lanes, "first");
    lanes.writer.flush().expect("it is stored");
    let code = ErrorCode::StorageError;
    lanes
        .server
        .inject(Fault::ErrorOf { partition: 3, code }, When::Every);
    write_to_each(&mut lanes, "second");
    let error = lanes
        .writer
        .flush()
        .expect_err("one is refused")
        .to_string();
    assert!(error.contains("partition 3 of t"), "{error}");
    assert!(error.contains(&lanes.server.spu_addr()), "{error}");
    let in_doubt = lanes.writer.in_doubt();
    assert_eq!(doubts(&in_doubt), [(3, Duration::ZERO)]);
    assert_eq!(in_doubt[0].offset, 1);
    let expected: Vec<u64> = self::lanes()
        .map(|lane| if lane == 3 { 1 } else { 2 })
        .collect();
    assert_eq!(stored(&lanes), expected);
    for (lane, expected) in (0..LANES).zip(expected) {
        assert_eq!(lanes.contents(lane).len() as u64, expected, "lane {lane}");
    }
}

#[test]
fn what_an_spu_leads_that_is_gone_is_in_doubt_and_the_others_are_stored() {
    const TIMEOUT: Duration = Duration::from_millis(500);
    let gone: [fn(&Lanes); 2] = [
        |lanes| lanes.server.stop_spu(1),
        |lanes| lanes.server.freeze_spu(1, true),
    ];
    for (round, gone) in gone.into_iter().enumerate() {
        let mut lanes = Lanes::start(LANES, SPUS, |options| options.timeout = TIMEOUT);
        gone(&lanes);
        write_to_each(&mut lanes, "one");
        lanes.writer.flush().expect_err("one SPU is gone");
        let in_doubt = lanes.writer.in_doubt();
        let is_led = |lane: usize| lane % SPUS == 1;
        let led: Vec<_> = self::lanes().filter(|&lane| is_led(lane)).collect();
        let found = doubts(&in_doubt);
        assert!(
            found.iter().map(|(lane, _)| *lane).eq(led),
            "{round}: {found:?}"
        );
        assert!(found.iter().all(|(_, settle)| *settle == TIMEOUT));
        let expected: Vec<_> = self::lanes().map(|lane| u64::from(!is_led(lane))).collect();
        assert_eq!(stored(&lanes), expected, "{round}");
    }
}

/// Of each transaction the last record in each lane says so, wherever batches end.
#[test]
fn the_last_record_of_a_transaction_is_known_when_it_ends() {
    let mut lanes = Lanes::start(4, 2, |options| options.batch_bytes = 1_500);
    let mut random = Random::new(9);
    let mut expected = vec![Vec::<(String, bool)>::new(); 4];
    for transaction in 0..200 {
        let mut touched = [false; 4];
        for number in 0..random.below(30) {
            let lane = random.below(4) as usize;
            let content = format!(
                "{transaction} {number} {}",
                "x".repeat(random.below(400) as usize)
            );
            lanes.write_open(lane, &content, None).expect("it is taken");
            expected[lane].push((content, false));
            touched[lane] = true;
            if random.below(20) == 0 {
                lanes.writer.flush().expect("it is stored");
                // All but what is open.
                for (lane, expected) in expected.iter().enumerate() {
                    let open = usize::from(touched[lane]);
                    let there = lanes.contents(lane as u32).len();
                    assert_eq!(there, expected.len() - open, "lane {lane}");
                    assert_eq!(lanes.writer.stored(lane), there as u64);
                }
            }
        }
        for lane in (0..4).filter(|&lane| touched[lane]) {
            lanes.writer.end_unit(lane).expect("it ends");
            expected[lane].last_mut().expect("a record").1 = true;
        }
    }
    lanes.writer.flush().expect("it is stored");
    for (lane, expected) in (0..).zip(&expected) {
        assert!(lanes.contents(lane) == *expected, "lane {lane}");
    }
}

#[test]
fn a_large_record_is_open_too() {
    let mut lanes = Lanes::start(2, 1, |_| {});
    let large = "x".repeat(3_000_000);
    for (round, before) in [None, Some("small")].into_iter().enumerate() {
        if let Some(before) = before {
            lanes.write_open(0, before, None).expect("it is taken");
        }
        lanes.write_open(0, &large, None).expect("it is taken");
        lanes.write_open(1, "other", None).expect("it is taken");
        lanes.writer.flush().expect("it is stored");
        // The record before is not the last any more, and the large one is held.
        assert_eq!(lanes.contents(0).len(), 2 * round, "{round}");
        lanes.writer.end_unit(0).expect("it ends");
        lanes.writer.end_unit(1).expect("it ends");
        lanes.writer.flush().expect("it is stored");
        let contents = lanes.contents(0);
        assert!(*contents.last().expect("a record") == (large.clone(), true));
    }
    let lasts: Vec<_> = lanes
        .contents(0)
        .iter()
        .map(|(_, is_last)| *is_last)
        .collect();
    assert_eq!(lasts, [true, false, true]);
}

#[test]
fn the_ordinary_client_reads_the_keys() {
    let mut lanes = Lanes::start(3, 3, |_| {});
    let keys: [Option<&[u8]>; 3] = [Some(b"[1]"), None, Some(&[b'k'; 300])];
    for key in keys {
        lanes.write_open(2, "content", key).expect("it is taken");
    }
    lanes.writer.end_unit(2).expect("it ends");
    lanes.writer.flush().expect("it is stored");
    let mut reader = TopicReader::new(&lanes.server.sc_addr(), TOPIC).partition(2);
    reader.read(usize::MAX).expect("the ordinary client reads");
    assert!(reader.keys().iter().map(Option::as_deref).eq(keys));
}

/// All lanes together hold no more than one with large batches, whoever does not answer.
#[test]
fn memory_is_bounded_over_all_lanes() {
    let mut lanes = Lanes::start(1_000, SPUS, |options| {
        options.timeout = Duration::from_millis(500);
    });
    lanes.server.freeze();
    let content = "x".repeat(1_000);
    let (mut taken, mut lane) = (0, 0);
    let error = loop {
        match lanes.write(lane, &content) {
            Ok(len) => taken += len,
            Err(error) => break error,
        }
        lane = (lane + 1) % 1_000;
    };
    assert!(error.kind().is_transient(), "{error}");
    assert!((4_000_000..16_000_000).contains(&taken), "{taken} bytes");
    assert_eq!(lanes.writer.acknowledged(), 0);
}
