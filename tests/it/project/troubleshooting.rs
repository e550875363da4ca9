//! Each message that the README's troubleshooting explains: it is brought about, found in what the
//! program says, what the README says to do is done, and then the connector streams.

mod connecting;
mod gaps;
mod inputs;
mod lanes;
mod refusals;
mod rights;
mod row;
mod server;
mod site;
mod standbys;
mod topics;
mod waits;

use std::collections::BTreeSet;

use row::Row;

/// A test for each row of the table, which is known by how its first cell begins.
macro_rules! scenarios {
    ($($begin:literal => $module:ident::$scenario:ident,)+) => {
        const BEGINS: &[&str] = &[$($begin),+];

        $(
            #[test]
            fn $scenario() {
                $module::$scenario(&Row::that_begins($begin));
            }
        )+
    };
}

scenarios! {
    "`... needs PostgreSQL N" => server::newer_parameter,
    "`it is a standby, and" => standbys::standby_that_decodes_nothing,
    "`the server has wal_level=" => server::wal_level,
    "`it is a connection pooler" => server::pooler,
    "`all replication slots are in use`" => server::slots_in_use,
    "`number of requested standby connections" => server::senders_in_use,
    "`no pg_hba.conf entry" => server::no_line_in_pg_hba,
    "`the server does not offer TLS`" => connecting::no_tls,
    "`... is not signed by one" => connecting::unknown_signer,
    "`the server's certificate is for" => connecting::certificate_of_another_name,
    "`password file" => connecting::password_file_that_others_read,
    "`cannot resolve" => connecting::unknown_host,
    "`must be superuser or replication role`" => rights::role_that_may_not_replicate,
    "`must be superuser to create FOR ALL TABLES" => rights::role_that_may_not_publish_all_tables,
    "`the slot holds changes of a time" => gaps::publication_younger_than_the_slot,
    "`the server has not the WAL any more" => gaps::wal_that_is_gone,
    "`was made with two_phase`" => gaps::slot_with_two_phase,
    "`the server cannot decode the change" => gaps::change_that_cannot_be_decoded,
    "`the user needs CREATE" => rights::role_that_may_not_publish,
    "`... refused by the server, once" => rights::tables_without_identity,
    "`only its owner" => rights::publication_of_another_owner,
    "`... cannot be seen" => rights::what_cannot_be_seen,
    "`was invalidated by the server" => gaps::invalidated_slot,
    "exit code 76" => gaps::any_gap,
    "`the state file ... is of another cluster and topic`" => inputs::state_file_of_another_connector,
    "`the state file ... is of another cluster`" => inputs::state_file_of_another_cluster,
    "`the database URL is there and empty`" => inputs::empty_url,
    "`it is UTF-16" => inputs::utf_16,
    "`an event trigger of the database" => refusals::event_trigger,
    "`is not currently accepting connections`" => refusals::database_that_is_closed,
    "`over before it can be lifted`" => refusals::limit_that_cannot_be_lifted,
    "`does not exist on this server`" => standbys::standby_without_the_slot,
    "`this standby has WAL up to" => standbys::standby_that_is_behind,
    "`another one is in its place now`" => gaps::database_restored_to_an_earlier_point,
    "`has sent nothing for" => waits::silent_server,
    "`bytes in ... s, and not the reply" => waits::trickling_server,
    "`the slot may be another process's" => waits::lost_lease,
    "`replication slot \"...\" is active" => waits::slot_in_use,
    "it waits at `making the replication slot`" => waits::setup_that_waits,
    "it is waiting for `PID N" => waits::session_in_a_transaction,
    "it is waiting for `the prepared transaction" => waits::prepared_transaction,
    "it is waiting for `the standbys of" => waits::standbys_that_are_gone,
    "`the topic ... does not exist`" => topics::topic_that_is_missing,
    "`it ends with a record of the format" => lanes::topic_of_the_other_format,
    "`the topic ... has N partitions" => lanes::topic_with_fewer_partitions,
    "`formats, routes, keys or partitions" => lanes::other_ways_while_something_is_unconfirmed,
    "`... would be in one topic" => lanes::tables_that_would_be_in_one_topic,
    "`keys: ... has no column" => lanes::keys_that_deletes_do_not_tell,
    "`cannot read the Fluvio profile" => topics::no_profile,
    "`... bytes in one batch" => topics::value_that_is_too_large,
}

/// A new row needs a scenario, and one that is taken out leaves none behind.
#[test]
fn each_row_has_a_scenario() {
    let rows = Row::all();
    assert!(rows.len() > 40, "{}", rows.len());
    let without: Vec<&String> = rows
        .iter()
        .map(|row| &row.says)
        .filter(|says| !BEGINS.iter().any(|begin| says.starts_with(begin)))
        .collect();
    assert!(without.is_empty(), "no scenario for {without:#?}");
    let distinct: BTreeSet<&&str> = BEGINS.iter().collect();
    assert_eq!((distinct.len(), BEGINS.len()), (rows.len(), rows.len()));
}
