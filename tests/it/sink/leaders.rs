//! Finding who leads many lanes, and what these hold, in few requests.

use fluvio_protocol::link::ErrorCode;
use postgres_source::base::Kind;
use postgres_source::sink::{Sink, partition_of};

use crate::support::fluvio::{FluvioServer, Side, When, produce_keys};
use crate::support::lanes::{Lanes, TOPIC, find, options};

/// The keys of requests at the SPU and at the SC.
const FETCH: u16 = 1;
const FETCH_OFFSETS: u16 = 1002;
const LIST: u16 = 1003;

const SPUS: usize = 3;

#[test]
fn a_thousand_lanes_are_opened_with_few_requests() {
    const LANES: u32 = 1_000;
    let mut lanes = Lanes::start(LANES, SPUS, |_| {});
    for lane in 0..LANES as usize {
        lanes.write(lane, &format!("{lane}")).expect("it is taken");
    }
    // One has a last batch that is larger than most.
    let large = "x".repeat(500_000);
    lanes.write(7, &large).expect("it is taken");
    lanes.writer.flush().expect("it is stored");
    let server = &lanes.server;
    let count = |side, key| server.requests(side, key);
    let before = [
        (Side::Sc, LIST),
        (Side::Spu, FETCH_OFFSETS),
        (Side::Spu, FETCH),
    ]
    .map(|(side, key)| (side, key, count(side, key)));
    let mut leaders = find(&options(server), LANES).expect("the leaders are found");
    let asked = before.map(|(side, key, before)| count(side, key) - before);
    // Topics, partitions and SPUs; then offsets and a fetch of each SPU.
    assert_eq!(asked, [3, SPUS, SPUS]);

    let all: Vec<usize> = (0..LANES as usize).collect();
    let fetched = count(Side::Spu, FETCH);
    let last = leaders.last_records(&all).expect("they are read");
    // 64 at a time of the 334 that an SPU leads at the most, and the large one by itself.
    let requests = count(Side::Spu, FETCH) - fetched;
    assert!(requests <= SPUS * 6 + 2, "{requests}");
    for (lane, record) in last.iter().enumerate() {
        let record = record.as_ref().expect("no lane is empty");
        assert_eq!(record.offset, i64::from(lane == 7), "lane {lane}");
        let content = if lane == 7 {
            large.clone()
        } else {
            format!("{lane}")
        };
        let content = format!("\"content\":\"{content}\"");
        assert!(String::from_utf8_lossy(&record.value).contains(&content));
        assert_eq!(leaders.bounds(lane).end, 1 + i64::from(lane == 7));
    }
    lanes.write(5, "later").expect("it is taken");
    lanes.writer.flush().expect("it is stored");
    leaders.ask_again().expect("they answer");
    assert_eq!(leaders.bounds(5).end, 2);
    assert_eq!(leaders.bounds(6).end, 1);
}

#[test]
fn lanes_are_waited_for_until_their_leader_answers() {
    let server = FluvioServer::start_with_spus(SPUS);
    server.create_topic_with_partitions(TOPIC, 6);
    server.inject_offset_error(ErrorCode::PartitionNotLeader, When::Nth(2));
    let leaders = find(&options(&server), 6).expect("the leaders are found");
    let empty = (0..6).all(|lane| leaders.bounds(lane).is_empty());
    assert!(empty && leaders.addresses().count() == SPUS);
    assert_eq!(server.armed_faults(), 0);
}

#[test]
fn a_topic_is_made_as_configured_and_has_no_fewer_partitions() {
    let server = FluvioServer::start();
    let mut options = options(&server);
    options.create_topic = false;
    let error = find(&options, 4).map(drop).expect_err("it is missing");
    assert_eq!(error.kind(), Kind::Config);
    assert!(
        error
            .to_string()
            .contains("fluvio topic create t --partitions 4"),
        "{error}"
    );
    options.create_topic = true;
    assert_eq!(find(&options, 4).expect("it is made").count(), 4);
    let error = find(&options, 5).map(drop).expect_err("it has four");
    assert_eq!(error.kind(), Kind::Config);
    assert!(
        error
            .to_string()
            .contains("the topic t has 4 partitions, the config has 5"),
        "{error}"
    );
    server.add_partitions(TOPIC, 5);
    assert_eq!(find(&options, 5).expect("it has five").count(), 5);
    // What it has more is not written.
    assert_eq!(find(&options, 3).expect("it has three").count(), 3);
}

#[test]
fn keys_have_the_partitions_of_the_ordinary_client() {
    const PARTITIONS: u32 = 7;
    let server = FluvioServer::start();
    server.create_topic_with_partitions(TOPIC, PARTITIONS);
    let keys: Vec<Vec<u8>> = (0..200_u32)
        .map(|number| format!("[\"public\",\"pets\",{number}]").into_bytes())
        .collect();
    produce_keys(&server.sc_addr(), TOPIC, &keys).expect("the ordinary client writes");
    for partition in 0..PARTITIONS {
        let expected = keys
            .iter()
            .filter(|key| partition_of(key, PARTITIONS) == partition);
        assert!(server.records(TOPIC, partition).iter().eq(expected));
    }
}
