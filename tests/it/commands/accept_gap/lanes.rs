//! Many lanes: what one of them lost is accepted, and the others go on as they were.

use crate::support::outcome::assert_end;
use crate::support::spread::Spread;

#[test]
fn what_one_lane_lost_is_accepted() {
    let spread = Spread::new("accept_lanes");
    spread.fill();
    spread.drain();
    let (config, filled) = (spread.config(), spread.filled());
    let server = spread.pipeline.server();
    server.truncate("cdc-pets", filled, 0);
    let gap = format!("partition {filled} of cdc-pets: it ends at offset 0");
    let outcome = spread.run_with(&config);
    assert!(outcome.0 == 76 && outcome.1.contains(&gap), "{}", outcome.1);
    let (code, log, _) = spread.run_verb("accept-gap", &config, &["--reason", "a test"]);
    assert_eq!(code, 0, "{log}");
    assert!(
        log.contains(&gap)
            && log.contains(&format!("at the ends of {} partitions", spread.lanes())),
        "{log}"
    );

    let before: i64 = spread.ends().iter().map(|(.., end)| end).sum();
    let database = &spread.pipeline.database;
    database.execute("INSERT INTO pets SELECT generate_series(5001, 5020)");
    spread.drain();
    let after: i64 = spread.ends().iter().map(|(.., end)| end).sum();
    assert_eq!(after, before + 20);
    assert_eq!(spread.run_verb("verify", &config, &[]).0, 0);
    assert_eq!(spread.run_verb("status", &config, &[]).0, 0);
}

/// A slot that is made where one was lost would begin later than some lane ends.
#[test]
fn setup_does_not_hide_what_a_lane_shows() {
    let spread = Spread::new("setup_lanes");
    spread.fill();
    spread.drain();
    let (database, slot) = (&spread.pipeline.database, &spread.pipeline.slot);
    database.query_texts(&format!("SELECT pg_drop_replication_slot('{slot}')"));
    for config in [spread.config(), spread.without_state()] {
        let outcome = spread.run_verb("setup", &config, &[]);
        assert_end(outcome, 76, &["does not exist any more"]);
        assert!(!database.slot_exists(slot));
    }
    // Lanes that nobody has written to say nothing.
    let new = spread.without_state().set("topic", "\"new-{table}\"");
    let outcome = spread.run_verb("setup", &new, &[]);
    assert_eq!(outcome.0, 0, "{}", outcome.1);
    assert!(database.slot_exists(slot));
}
