//! What settings do to texts: those that are pinned, those that roles and databases bring, and
//! all the others.

use super::Tables;
use super::check::RawForm;
use crate::support::connector::Connector;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{PASSWORD, unique};
use postgres::Client;

/// What the program asks the server for, so that a text never depends on who connects. The names of
/// tables and types in values are qualified under this `search_path` only.
pub const PINNED: &str = "SET LOCAL client_encoding = 'UTF8'; SET LOCAL DateStyle = 'ISO';
    SET LOCAL IntervalStyle = 'postgres'; SET LOCAL TimeZone = 'UTC';
    SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = 'hex';
    SET LOCAL lc_monetary = 'C'; SET LOCAL search_path = pg_catalog;
    SET LOCAL quote_all_identifiers = off;";

/// Under which the values of these tests are read as they are meant.
pub const INPUT: &str = "SET LOCAL client_encoding = 'UTF8'; SET LOCAL DateStyle = 'ISO';
    SET LOCAL IntervalStyle = 'postgres'; SET LOCAL TimeZone = 'UTC'; SET LOCAL lc_monetary = 'C';
    SET LOCAL standard_conforming_strings = on; SET LOCAL array_nulls = on;
    SET LOCAL xmloption = content;";

/// Settings that change the text of nearly every type, and others that could.
const HOSTILE: [(&str, &str); 19] = [
    ("DateStyle", "'SQL, DMY'"),
    ("IntervalStyle", "iso_8601"),
    ("TimeZone", "'Asia/Kathmandu'"),
    ("extra_float_digits", "-15"),
    ("bytea_output", "escape"),
    ("client_encoding", "LATIN1"),
    ("search_path", "public, pg_catalog"),
    ("quote_all_identifiers", "on"),
    ("lc_monetary", "'C.UTF-8'"),
    ("lc_numeric", "'C.UTF-8'"),
    ("lc_time", "'C.UTF-8'"),
    ("xmlbinary", "hex"),
    ("xmloption", "document"),
    ("array_nulls", "off"),
    ("standard_conforming_strings", "off"),
    ("backslash_quote", "off"),
    ("escape_string_warning", "off"),
    ("transform_null_equals", "on"),
    ("default_text_search_config", "'pg_catalog.simple'"),
];

/// Neither the settings of the database, of the role, and of the role in the database, nor the
/// options in the URL.
#[test]
fn no_setting_from_elsewhere_changes_a_text() {
    let pipeline = Pipeline::new("types_hostile");
    let tables = Tables::create(&pipeline);
    let (database, role) = (pipeline.database.name(), unique("hostile"));
    let create = format!("CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{PASSWORD}'");
    pipeline.database.execute(&create);
    // Another form of money needs a locale of the system, which few test machines have.
    let locale = pipeline.database.query_texts(
        "SELECT quote_literal(collcollate) FROM pg_collation
         WHERE collprovider = 'c' AND collcollate ~ '^[a-z]+_' ORDER BY 1 LIMIT 1",
    );
    let locale = locale.first().and_then(Option::as_deref);
    let money = locale.map(|locale| ("lc_monetary", locale));
    for place in [
        format!("DATABASE {database}"),
        format!("ROLE {role}"),
        format!("ROLE {role} IN DATABASE {database}"),
    ] {
        for (setting, value) in HOSTILE.into_iter().chain(money) {
            let sql = format!("ALTER {place} SET {setting} = {value}");
            pipeline.database.execute(&sql);
        }
    }
    assert_hostile(&mut pipeline.database.client());
    let url = pipeline.database.url();
    let url = url.replacen("//postgres:", &format!("//{role}:"), 1);
    let options = "options=-c%20DateStyle%3DGerman%20-c%20TimeZone%3DAsia/Tokyo";
    let config = pipeline.config();
    let connector = Connector::spawn_config(&config, &format!("{url}?{options}"), &[]);
    connector.wait_log("streaming from", DEADLINE);
    assert_eq!(
        pipeline
            .database
            .walsender(&pipeline.slot, "usename")
            .as_deref(),
        Some(&*role)
    );
    let expected = tables.fill(&mut pipeline.database.client());
    tables.check(&pipeline.settled(), &expected, RawForm::Bytes);
    drop(connector);
    let drop_role =
        format!("REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}");
    pipeline.database.execute(&drop_role);
}

/// The settings must really be in force for an ordinary session, or the test would show nothing.
fn assert_hostile(client: &mut Client) {
    let mut text = |sql: &str| -> String {
        let messages = client.simple_query(sql).unwrap();
        let row = messages.iter().find_map(|message| match message {
            postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        row.unwrap().get(0).unwrap().to_owned()
    };
    assert_eq!(text("SELECT '2020-12-31'::date"), "31/12/2020");
    assert_eq!(text("SELECT '1 day'::interval"), "P1D");
    assert_eq!(
        text("SELECT '2020-01-01 00:00+00'::timestamptz"),
        "01/01/2020 05:45:00 +0545"
    );
    assert_eq!(text("SELECT 0.123::float4"), "0.1");
    assert_eq!(text("SELECT decode('ff', 'hex')"), "\\377");
    assert_eq!(text("SELECT 'public.mood'::regtype"), "\"mood\"");
}

/// Each setting that a session may change takes its other values, one after the other: that changes
/// a text only if the setting is pinned. A server that brings a new one shows it here.
#[test]
fn no_other_setting_changes_a_text() {
    let pipeline = Pipeline::new("types_others");
    let tables = Tables::create(&pipeline);
    let mut client = pipeline.database.client();
    let expected = tables.fill(&mut client);
    let pinned = PINNED.replace("SET LOCAL", "SET");
    client.batch_execute(&pinned).unwrap();
    let others = client.query(OTHER_VALUES, &[]).unwrap();
    let (mut tried, mut matter) = (0, Vec::new());
    for row in &others {
        let (name, value): (&str, &str) = (row.get(0), row.get(1));
        let set = format!("BEGIN; SET LOCAL {name} = '{value}'");
        // Some values are for other systems, or need another setting beside them.
        let read = client
            .batch_execute(&set)
            .and_then(|()| tables.read(&mut client));
        client.batch_execute("ROLLBACK").unwrap();
        tried += usize::from(read.is_ok());
        if read.is_ok_and(|rows| rows != expected) && !matter.contains(&name) {
            matter.push(name);
        }
    }
    assert!(tried > 200, "{tried} of {} could be read", others.len());
    matter.sort_unstable();
    // All of them are pinned. Two are not tried here: client_encoding, which this test reads by, and
    // lc_monetary, for which few machines have another locale.
    assert_eq!(
        matter,
        [
            "DateStyle",
            "IntervalStyle",
            "TimeZone",
            "bytea_output",
            "extra_float_digits",
            "quote_all_identifiers",
            "search_path",
        ]
    );
}

/// Of a number the two ends, of a choice each, and of a text what is known to be another.
const OTHER_VALUES: &str = "
    SELECT s.name, v.value FROM pg_settings s, LATERAL (
        SELECT unnest(s.enumvals) AS value WHERE s.vartype = 'enum'
        UNION ALL SELECT unnest(ARRAY['on', 'off']) WHERE s.vartype = 'bool'
        UNION ALL SELECT unnest(ARRAY[s.min_val, s.max_val]) WHERE s.vartype IN ('integer', 'real')
        UNION ALL SELECT o.value FROM (VALUES
            ('DateStyle', 'SQL, DMY'), ('DateStyle', 'German'), ('TimeZone', 'Asia/Kathmandu'),
            ('search_path', 'public'), ('search_path', ''),
            ('lc_numeric', 'C.UTF-8'), ('lc_time', 'C.UTF-8'), ('lc_messages', 'C'),
            ('default_text_search_config', 'pg_catalog.simple')) o(name, value)
        WHERE o.name = s.name) v
    WHERE s.context IN ('user', 'superuser') AND v.value IS NOT NULL
    -- Not a matter of texts: they end the session, or slow down every statement.
    AND s.name !~ 'timeout|^debug_|_delay$|^exit_on_error|^client_encoding'";
