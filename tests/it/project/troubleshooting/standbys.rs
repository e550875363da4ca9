//! Standbys as the server that the URL names.

use super::row::Row;
use super::site;
use crate::pipeline::session::standby_behind::{lift, pair, set_back};
use crate::support::connector::{Connector, URL_VARIABLE};
use crate::support::pair::Pair;
use crate::support::pipeline::DEADLINE;
use crate::support::postgres::{PASSWORD, Stop};
use crate::support::stopped::run_verb;
use crate::support::wait_until;

/// The standby first, then the primary, and what chooses between them.
fn url_of_both(pair: &Pair, attributes: &str) -> String {
    let ports = [pair.standby.port(), pair.primary.port()];
    format!(
        "postgres://postgres:{PASSWORD}@127.0.0.1:{},127.0.0.1:{}/{}?{attributes}",
        ports[0],
        ports[1],
        pair.pipeline.database.name()
    )
}

pub fn standby_that_decodes_nothing(row: &Row) {
    let pair = Pair::new("named_standby");
    let (database, config) = (&pair.pipeline.database, pair.pipeline.config());
    if pair.decodes() {
        pair.publish();
        let connector = pair.start(&config);
        pair.insert(1);
        pair.wait_rows_of(&connector, &[1]);
        return pair.stop(connector);
    }
    site::ends(row, &config, &pair.url(), 78);
    row.advises("name the primary");
    site::streams(database, &config, &database.url());
    let both = url_of_both(&pair, row.code("target_session_attrs="));
    site::streams(database, &config, &both);
}

pub fn standby_without_the_slot(row: &Row) {
    let pair = Pair::new("elsewhere");
    let (database, config) = (&pair.pipeline.database, pair.with_state());
    let arrives = |url: &str, rows: &[i64]| {
        let connector = Connector::spawn_config(&config, url, &[]);
        connector.wait_log("streaming from", DEADLINE);
        pair.insert(*rows.last().expect("a row"));
        pair.wait_rows_of(&connector, rows);
        pair.pipeline.wait_caught_up();
        pair.stop(connector);
    };
    arrives(&database.url(), &[1]);
    let variables = [(URL_VARIABLE, &*pair.url())];
    site::ends_with(row, &config, &variables, 69, &["--once"]);
    row.advises("name the primary");
    arrives(&database.url(), &[1, 2]);
    let both = url_of_both(&pair, row.code("target_session_attrs="));
    arrives(&both, &[1, 2, 3]);
}

pub fn standby_that_is_behind(row: &Row) {
    let Some((pair, config)) = pair("behind", Pair::with_state) else {
        return;
    };
    set_back(&pair);
    let variables = [(URL_VARIABLE, &*pair.url())];
    site::ends_with(row, &config, &variables, 69, &["--once"]);
    let connector = Connector::spawn_config(&config, &pair.url(), &[]);
    row.wait_said(&connector);
    row.advises("wait until it has replayed what it has, and received the rest");
    lift(&pair);
    pair.insert(3);
    pair.wait_rows_of(&connector, &[1, 2, 3]);
    pair.wait_confirmed();
    pair.stop(connector);

    row.advises("if it was made anew from an earlier copy");
    for server in [&pair.standby, &pair.primary] {
        server.stop(Stop::Fast);
        server.save_data();
    }
    pair.primary.start_again();
    pair.standby.start_again();
    let connector = pair.start(&config);
    pair.insert(4);
    pair.wait_rows_of(&connector, &[1, 2, 3, 4]);
    pair.wait_confirmed();
    pair.stop(connector);
    for server in [&pair.standby, &pair.primary] {
        server.stop(Stop::Fast);
        server.restore_data();
    }
    pair.primary.start_again();
    pair.standby.start_again();
    site::ends_with(row, &config, &variables, 69, &["--once"]);
    let (code, log, _) = accept(&pair, row.code("accept-gap"));
    assert_eq!(code, 0, "{log}");
    let connector = pair.start(&config);
    pair.insert(5);
    wait_until("row 5 arrives", DEADLINE, || pair.rows().ends_with(&[5]));
    pair.stop(connector);
}

fn accept(pair: &Pair, verb: &str) -> (i32, String, Vec<String>) {
    run_verb(
        verb,
        &pair.with_state(),
        &pair.url(),
        &["--reason", "a test"],
    )
}
