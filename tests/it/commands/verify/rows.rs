//! Rows: what the program wrote over many partitions, and each thing that it would never write.

use serde_json::json;

use super::{Topic, URL};
use crate::support::connector::ConfigFile;
use crate::support::outcome::assert_end;
use crate::support::spread::Spread;
use crate::support::stopped::{Stopped, run_verb};

const LAST: &str = ",\"last\":true";

/// An insert of a row of `public.t` with the key `id`.
fn insert(id: u32, lsn: u64, seq: u64, last: &str) -> String {
    format!(
        "{{\"op\":\"insert\",\"schema\":\"public\",\"table\":\"t\",\"key\":{{\"id\":{id}}},\"before\":null,\
         \"after\":{{\"id\":{id},\"secret\":\"hunter2\"}},\"lsn\":{lsn},\"seq\":{seq},\"xid\":7,\
         \"ts\":\"2026-11-30T03:50:00.123456Z\"{last}}}"
    )
}

fn keyed(records: &[(u32, u64, u64, &str)]) -> Vec<(Option<Vec<u8>>, Vec<u8>)> {
    let keyed = |&(id, lsn, seq, last): &(u32, u64, u64, &str)| {
        let key = format!("[\"public\",\"t\",{id}]");
        (
            Some(key.into_bytes()),
            insert(id, lsn, seq, last).into_bytes(),
        )
    };
    records.iter().map(keyed).collect()
}

fn config(topic: &Topic) -> ConfigFile {
    topic.config().set("format", "rows")
}

#[test]
fn what_the_program_wrote_over_many_partitions_is_right() {
    let spread = Spread::new("verify_rows");
    spread.fill();
    spread.drain();
    let ends = spread.ends();
    let records: i64 = ends.iter().map(|(_, _, end)| end).sum();
    assert!(records > 50, "{ends:?}");
    let config = spread.config();
    let (code, report) = spread.report("verify", &config, &[]);
    assert_eq!(
        (code, &report["violation_count"]),
        (0, &0.into()),
        "{report:#}"
    );
    assert_eq!(report["records"], records);
    let partitions = report["partitions"].as_array().expect("a list");
    assert_eq!(partitions.len(), spread.lanes());
    for (found, (topic, partition, end)) in partitions.iter().zip(&ends) {
        let expected = (&json!(topic), &json!(partition), &json!(end));
        assert_eq!(
            (&found["topic"], &found["partition"], &found["records"]),
            expected
        );
    }
    let (code, log, lines) = spread.run_verb("verify", &config, &[]);
    assert_eq!(code, 0, "{log}");
    assert_eq!(lines[0], format!("partitions:    {}", spread.lanes()));
    assert_eq!(lines[3], "violations:    0");

    // One topic, and one partition of it.
    let (_, report) = spread.report("verify", &config, &["--topic", "cdc-pets"]);
    assert_eq!(
        report["partitions"].as_array().map(Vec::len),
        Some(4),
        "{report:#}"
    );
    let filled = spread.filled().to_string();
    let one = ["--topic", "cdc-pets", "--partition", &filled];
    let from = [&one[..], &["--from", "1"]].concat();
    for (more, first) in [(&one[..], 0), (&from, 1)] {
        let (code, report) = spread.report("verify", &config, more);
        assert_eq!(
            (code, &report["first_offset"]),
            (0, &first.into()),
            "{report:#}"
        );
        assert_eq!(report["partition"].to_string(), filled);
        assert!(report["transactions"].as_u64() > Some(0), "{report:#}");
    }
    for (more, says) in [
        (&["--from", "1"][..], "--from is an offset of one partition"),
        (&["--partition", "1"], "name that with --topic"),
        (
            &["--topic", "cdc-pets", "--partition", "7"],
            "to partition 7 of cdc-pets",
        ),
    ] {
        assert_end(spread.run_verb("verify", &config, more), 64, &[says]);
    }

    // What the config does not have any more can be read all the same, and where rows belong is not known.
    let other = config
        .set("topic", "other")
        .set("partitions", "1")
        .set("partition", "0");
    let (code, report) = spread.report("verify", &other, &["--topic", "cdc-pets"]);
    assert_eq!(
        (code, report["partitions"].as_array().map(Vec::len)),
        (0, Some(4))
    );
    let outcome = spread.run_verb("verify", &other, &["--topic", "cdc-none"]);
    assert_end(outcome, 78, &["the topic cdc-none does not exist"]);
}

#[test]
fn rows_where_the_config_does_not_send_them() {
    let spread = Spread::new("verify_ways");
    spread.fill();
    spread.drain();
    // Keys have other partitions among three than among four.
    let three = spread.config().set("partitions", "3");
    let (code, report) = spread.report("verify", &three, &["--topic", "cdc-pets"]);
    assert_eq!(code, 65, "{report:#}");
    let says = "a change of public.pets, which goes to partition ";
    assert!(report.to_string().contains(says), "{report:#}");

    let routes = "routes: [{ tables: [public.pets], topic: cdc-toys }]";
    let elsewhere = spread.config().raw(routes).set("topic", "cdc-pets");
    let (code, report) = spread.report("verify", &elsewhere, &["--topic", "cdc-pets"]);
    assert_eq!(code, 65, "{report:#}");
    let says = "a change of public.pets, which goes to the topic cdc-toys";
    assert!(report.to_string().contains(says), "{report:#}");
}

#[test]
fn each_violation_is_reported_at_its_offset() {
    let whole = [(1, 100, 0, ""), (2, 100, 1, LAST)];
    let more = |records: &[(u32, u64, u64, &'static str)]| keyed(&[&whole, records].concat());
    let with_key = |key: Option<&[u8]>| {
        let value = insert(3, 200, 0, LAST).into_bytes();
        [keyed(&whole), vec![(key.map(<[u8]>::to_vec), value)]].concat()
    };
    let event = br#"{"wal_start":1,"wal_end":1,"timestamp":0,"message":{"type":"begin","final_lsn":9,"timestamp":0,"xid":7}}"#;
    let ts = "\"ts\":\"2026-11-30T03:50:00.123456Z\",\"last\":true}";
    let truncate = format!(
        "{{\"op\":\"truncate\",\"schema\":\"public\",\"table\":\"t\",\"key\":null,\"before\":null,\"after\":null,\
         \"lsn\":200,\"seq\":0,\"xid\":7,{ts}"
    );
    let keyless = |value: &[u8]| [keyed(&whole), vec![(None, value.to_vec())]].concat();
    for (records, what) in [
        (
            more(&[(2, 100, 1, LAST)]),
            Some(
                "number 1 of the transaction at 0/64 after number 1 of the transaction at 0/64: repeated",
            ),
        ),
        (
            more(&[(2, 99, 0, LAST)]),
            Some(
                "number 0 of the transaction at 0/63 after number 1 of the transaction at 0/64: repeated",
            ),
        ),
        (
            more(&[(3, 100, 2, LAST)]),
            Some(
                "number 2 of the transaction at 0/64 after the record that says it is the last of it",
            ),
        ),
        (
            keyed(&[(1, 100, 0, ""), (2, 100, 1, ""), (3, 200, 0, LAST)]),
            Some("the transaction at 0/C8, and the transaction at 0/64 has not ended"),
        ),
        (
            more(&[(3, 200, 1, LAST)]),
            Some("number 1 of the transaction at 0/C8 where number 0 is next"),
        ),
        (
            with_key(None),
            Some("its key in Fluvio is not the one of its row"),
        ),
        (
            with_key(Some(b"[\"public\",\"t\",4]")),
            Some("its key in Fluvio is not the one of its row"),
        ),
        (keyless(event), Some("a record of the event format")),
        (keyless(b"hello"), Some("not a record of this program")),
        (keyless(truncate.as_bytes()), None),
        (more(&[(3, 200, 0, LAST)]), None),
        (more(&[(3, 200, 0, "")]), None),
    ] {
        let topic = Topic::of(&[]);
        topic.server.produce_pairs(&topic.name, &records);
        let (code, log, lines) = run_verb("verify", &config(&topic), URL, &["--json"]);
        let report: serde_json::Value =
            serde_json::from_str(&lines.join("\n")).expect("the report is JSON");
        let expected = what.map(|what| json!({"offset": 2, "what": what}));
        let expected = json!(Vec::from_iter(expected));
        assert_eq!(report["violations"], expected, "{log}");
        assert_eq!(code, if what.is_some() { 65 } else { 0 }, "{log}");
        assert_eq!(report["records"], records.len());
        // What the rows have is nobody's business.
        assert!(!report.to_string().contains("hunter2"), "{report:#}");
    }
}

#[test]
fn numbers_that_are_left_out_before_the_first_that_is_read() {
    let topic = Topic::of(&[]);
    let records = keyed(&[(1, 100, 1, ""), (2, 100, 2, LAST), (3, 200, 0, LAST)]);
    topic.server.produce_pairs(&topic.name, &records);
    let verify = |more: &[&str]| run_verb("verify", &config(&topic), URL, more);
    let (code, _, lines) = verify(&[]);
    let says = "  offset 0: number 1 of the transaction at 0/64 where number 0 is next";
    assert!(code == 65 && lines.contains(&says.to_owned()), "{lines:?}");
    // Whoever begins in the middle does not know.
    assert_eq!(verify(&["--from", "1"]).0, 0);
}

#[test]
fn a_topic_that_ends_in_the_other_format_says_how_to_go_on() {
    let topic = Topic::of(&[]);
    topic
        .server
        .produce_pairs(&topic.name, &keyed(&[(1, 100, 0, LAST)]));
    let outcome = run_verb("verify", &topic.config(), URL, &[]);
    let way_out = "name a new topic";
    let says = [
        "1 violations",
        "it ends with a record of the format rows",
        way_out,
    ];
    assert_end(outcome, 65, &says);

    let stopped = Stopped::new("verify_other");
    let rows = stopped.without_state().set("format", "rows");
    let (_, log, lines) = stopped.run_verb("verify", &rows, &[]);
    let says = ["it ends with a record of the format events", way_out];
    assert!(
        lines.join("\n").contains("a record of the event format"),
        "{lines:?}"
    );
    assert!(says.iter().all(|says| log.contains(says)), "{log}");
}
