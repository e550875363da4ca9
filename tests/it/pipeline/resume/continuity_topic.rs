//! What was done to the topic while the program was stopped, or is done while it streams. What only
//! the state file, or the memory of a running process, can tell goes unseen without them: each of
//! these cases is pinned too.

use crate::support::connector::{ConfigFile, Connector};
use crate::support::outcome::assert_end;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::unique;
use crate::support::record::inserted;
use crate::support::stopped::Stopped;
use crate::support::wait_until;

/// The last record of a topic, as JSON with something done to it.
fn last_record(stopped: &Stopped, change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let mut records = stopped.pipeline.records();
    let mut last = records.pop().expect("the topic has records").0;
    change(&mut last);
    last.to_string().into_bytes()
}

/// The offset of the last begin.
fn last_begin(stopped: &Stopped) -> i64 {
    let records = stopped.pipeline.records();
    let begin = records.iter().rposition(|record| record.kind() == "begin");
    i64::try_from(begin.expect("a begin")).expect("a small number")
}

fn produce(stopped: &Stopped, value: Vec<u8>) {
    let topic = &stopped.pipeline.topic;
    stopped.pipeline.cluster().produce(topic, &[value]);
}

#[test]
fn the_topic_was_deleted() {
    let stopped = Stopped::new("deleted");
    let delete = || {
        let topic = &stopped.pipeline.topic;
        stopped.pipeline.server().delete_topic(topic);
    };
    let end = stopped.pipeline.end_offset();
    let had = format!("it ends at offset 0, it had {end} records when ");
    let says = "it was deleted or emptied, and PostgreSQL will not send those changes again";
    delete();
    let place = format!("topic {}: ", stopped.pipeline.topic);
    stopped.refused(&stopped.with_state(), &[&place, &had, says]);

    // A slot tells nothing of what it has sent before.
    delete();
    assert_eq!(stopped.goes_on(&stopped.without_state(), 4), [4]);
    stopped.noticed_between_sessions(delete, &[says]);
}

#[test]
fn the_topic_was_emptied() {
    let stopped = Stopped::new("emptied");
    let says = "it was deleted or emptied, and PostgreSQL will not send those changes again";
    stopped.truncate(0);
    stopped.refused(&stopped.with_state(), &[says]);

    // As above.
    assert_eq!(stopped.goes_on(&stopped.without_state(), 4), [4]);
    stopped.noticed_between_sessions(|| stopped.truncate(0), &[says]);
}

#[test]
fn the_topic_was_truncated_between_two_transactions() {
    let stopped = Stopped::new("cut_between");
    let end = stopped.pipeline.end_offset();
    let last = last_begin(&stopped);
    stopped.truncate(last);
    let had = format!("it ends at offset {last}, it had {end} records when ");
    let says = "its end is gone, and PostgreSQL will not send those changes again";
    stopped.refused(&stopped.with_state(), &[&had, says]);

    // Slot and topic alone look as after a clean stop.
    assert_eq!(stopped.goes_on(&stopped.without_state(), 4), [1, 2, 4]);
    let change = || stopped.truncate(last_begin(&stopped));
    stopped.noticed_between_sessions(change, &[says]);
}

/// It is not taken for what was written, and the way out that is named is one.
#[test]
fn the_last_batch_was_damaged() {
    let stopped = Stopped::new("damaged_batch");
    let (topic, server) = (&stopped.pipeline.topic, stopped.pipeline.server());
    let last = stopped.pipeline.end_offset() - 1;
    server.damage(topic, 0, last);
    let batches = server.batches(topic, 0);
    let batch = batches.last().expect("there are batches").base_offset;
    let topic_says = format!("partition 0 of {topic}: ");
    let batch_says = format!("batch at offset {batch}: its checksum is ");
    let says = [&*topic_says, &batch_says, "accept-gap"];
    for (config, verb) in [
        (stopped.with_state(), "run"),
        (stopped.without_state(), "verify"),
    ] {
        let outcome = stopped.run_verb(verb, &config, &[]);
        assert_end(outcome, 65, &says);
    }
    assert_eq!(stopped.pipeline.end_offset(), last + 1);

    server.delete_topic(topic);
    stopped.accept("the disk");
    assert_eq!(stopped.goes_on(&stopped.with_state(), 4), [4]);
}

/// The open transaction tells, without a state file too.
#[test]
fn the_topic_was_truncated_inside_a_transaction() {
    let stopped = Stopped::new("cut_inside");
    let end = stopped.pipeline.end_offset();
    for end in [end - 1, end - 2] {
        stopped.truncate(end);
        stopped.refused(&stopped.with_state(), &["its end is gone"]);
        stopped.refused(
            &stopped.without_state(),
            &[
                "it ends inside the transaction at",
                "the rest of it is not sent",
            ],
        );
    }
}

#[test]
fn the_tail_is_foreign() {
    let stopped = Stopped::new("foreign");
    let end = stopped.pipeline.end_offset();
    produce(&stopped, b"hello".to_vec());
    let says = format!("the record at offset {end} was not written by this program");
    stopped.refused_always(&[&says, "it cannot be told what the topic holds"]);
}

/// Something that rewrites the records, as SmartModules can, leaves a tail that cannot be trusted.
#[test]
fn the_tail_is_transformed() {
    let stopped = Stopped::new("transformed");
    let end = stopped.pipeline.end_offset() - 1;
    let more = last_record(&stopped, |last| last["message"]["more"] = true.into());
    let wrapped = last_record(&stopped, |last| {
        *last = serde_json::json!({ "payload": last.clone() });
    });
    for record in [more, wrapped] {
        stopped.truncate(end);
        produce(&stopped, record);
        let says = format!("the record at offset {end} was not written by this program");
        stopped.refused_always(&[&says]);
    }
}

#[test]
fn the_tail_is_of_another_database_that_is_ahead() {
    let stopped = Stopped::new("ahead");
    let ahead = last_record(&stopped, |last| {
        last["message"]["commit_lsn"] = 0x7FFF_0000_0000_u64.into();
        last["message"]["end_lsn"] = 0x7FFF_0000_0030_u64.into();
    });
    stopped.truncate(stopped.pipeline.end_offset() - 1);
    produce(&stopped, ahead);
    stopped.refused_always(&[
        "changes up to 7FFF/30 have been read",
        "the database was restored to an earlier point, or this is another one",
    ]);
}

#[test]
fn another_topic_or_partition_in_the_config() {
    let pipeline = Pipeline::new("moved").in_process();
    let topic = pipeline.topic.clone();
    pipeline.server().create_topic_with_partitions(&topic, 2);
    let stopped = Stopped::on(pipeline);
    let other = unique("other").replace('_', "-");
    let says = format!("the slot has been streaming into partition 0 of the topic {topic} up to");
    let server = stopped.pipeline.server();
    for (config, topic, partition) in [
        (stopped.with_state().set("topic", &other), &other, 0),
        (stopped.with_state().set("partition", "1"), &topic, 1),
    ] {
        stopped.refused(&config, &[&says, "this one begins later"]);
        assert_eq!(server.end_offset(topic, partition), 0);
    }

    // A topic without history tells nothing.
    let config = stopped.without_state().set("topic", &other);
    let connector = stopped.start(&config);
    stopped.insert(4);
    stopped.stop(connector);
    assert_eq!(stopped.rows(), [1, 2, 3]);
    assert_eq!(server.end_offset(&other, 0), 4);
}

#[test]
fn a_second_writer_is_noticed_at_the_next_acknowledgement() {
    let stopped = Stopped::new("second");
    let mut connector = stopped.start(&stopped.with_state());
    stopped.insert(4);
    stopped.pipeline.wait_caught_up();
    let end = stopped.pipeline.end_offset();
    produce(&stopped, b"hello".to_vec());
    let before = stopped.pipeline.database.current_wal_lsn();
    stopped.insert(5);
    assert_eq!(connector.wait_exit(DEADLINE), 76, "{}", connector.log());
    let log = connector.log();
    for says in [
        format!("stored at offset {}, expected was {end}", end + 1),
        "something else writes here".to_owned(),
        "stop the other writer, or give each a topic or partition of its own".to_owned(),
    ] {
        assert!(log.contains(&says), "{log}");
    }
    let database = &stopped.pipeline.database;
    let confirmed = database.slot_confirmed_lsn(&stopped.pipeline.slot);
    assert!(confirmed <= Some(before), "{confirmed:?} of {before}");
}

#[test]
fn two_connectors_with_slots_of_their_own_do_not_share_a_topic() {
    let first = Stopped::new("shared");
    let other_slot = unique("shared");
    let config = |config: ConfigFile| config.parameter("slot", &other_slot);
    // The topic has history, so a slot that does not exist is not made.
    first.refused(&config(first.without_state()), &["does not exist any more"]);

    // One that does exist looks like the one that wrote the topic. Each of the two that writes
    // after the other stops.
    first.pipeline.database.create_slot(&other_slot);
    let mut one = first.start(&first.with_state());
    let url = first.pipeline.database.url();
    let config = config(first.without_state());
    let mut two = Connector::spawn_config(&config, &url, &[]);
    two.wait_log("streaming from", DEADLINE);
    let says = "something else writes here";
    let writes = |id: i64, connector: &mut Connector| {
        first.insert(id);
        assert_eq!(connector.wait_exit(DEADLINE), 76, "{}", connector.log());
        assert!(connector.log().contains(says), "{}", connector.log());
    };
    // Only one of them is told at once, whichever is later.
    first.insert(4);
    wait_until("one of them ends", DEADLINE, || {
        !(one.is_running() && two.is_running())
    });
    let late = if one.is_running() { &mut one } else { &mut two };
    writes(5, late);
    drop((one, two));
    // On a slow machine both may have written row 4, or a part of it, and ended by themselves: then nobody
    // has written row 5.
    let rows = inserted(&first.pipeline.records());
    assert!(rows.contains(&4), "{rows:?}");
}
