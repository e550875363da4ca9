//! Publication and slot: made, found or missing.

use crate::support::connector::{ConfigFile, Connector};
use crate::support::outcome::assert_fails;
use crate::support::pipeline::DEADLINE;
use crate::support::postgres::{Database, Postgres, unique};
use crate::support::wait_until;

/// A database of a test's own, and the names that its config has.
pub struct Place {
    pub database: Database,
    pub publication: String,
    pub slot: String,
}

impl Place {
    pub fn new(name: &str) -> Place {
        Place {
            database: Postgres::shared().database(name),
            publication: unique(name),
            slot: unique(name),
        }
    }

    pub fn config(&self) -> ConfigFile {
        ConfigFile::new("t", &self.publication, &self.slot)
            .set("retry", "{ min: 50ms, max: 100ms }")
            .set("status_interval", "50ms")
    }

    pub fn start(&self, config: &ConfigFile) -> Connector {
        let connector = Connector::spawn_config(config, &self.database.url(), &["--stdout"]);
        connector.wait_log("streaming from", DEADLINE);
        connector
    }

    #[track_caller]
    pub fn assert_fails(&self, config: &ConfigFile, code: i32, says: &[&str]) -> String {
        assert_fails(&config.path(), &self.database.url(), code, says)
    }

    /// Everything about the publication that a statement could change.
    fn publication_as_it_is(&self) -> Vec<Option<String>> {
        self.database.query_texts(&format!(
            "SELECT p::text || (SELECT coalesce(array_agg(prrelid::regclass::text)::text, '')
                FROM pg_publication_rel WHERE prpubid = p.oid)
             FROM pg_publication p WHERE pubname = $x${}$x$",
            self.publication
        ))
    }
}

/// Waits for a row with this in it.
#[track_caller]
pub fn wait_row(connector: &Connector, part: &str) {
    connector.wait_stdout(DEADLINE, |lines| {
        lines.iter().any(|line| line.contains(part))
    });
}

#[test]
fn what_is_missing_is_made_and_what_exists_is_left_alone() {
    let place = Place::new("made");
    place
        .database
        .execute("CREATE TABLE pets (id int PRIMARY KEY)");
    let config = place.config();
    let connector = place.start(&config);
    let log = connector.log();
    let statement = format!(
        "CREATE PUBLICATION \"{}\" FOR ALL TABLES",
        place.publication
    );
    assert!(
        log.contains(&format!("made the publication: {statement}")),
        "{log}"
    );
    assert!(
        log.contains(&format!("making the replication slot {}", place.slot)),
        "{log}"
    );
    let made = place.publication_as_it_is();
    assert!(
        made[0]
            .as_ref()
            .is_some_and(|text| text.contains(&place.publication))
    );
    let what = place.database.query_one_text(&format!(
        "SELECT concat_ws(' ', plugin, slot_type, database, temporary, puballtables)
         FROM pg_replication_slots, pg_publication
         WHERE slot_name = '{}' AND pubname = '{}'",
        place.slot, place.publication
    ));
    assert_eq!(
        what,
        format!("pgoutput logical {} f t", place.database.name())
    );
    place.database.execute("INSERT INTO pets VALUES (71)");
    wait_row(&connector, "{\"Int4\":71}");
    connector.kill();

    let again = place.start(&config.parameter("tables", "[pets]"));
    let log = again.log();
    assert!(
        !log.contains("made the publication") && !log.contains("making"),
        "{log}"
    );
    assert!(
        !log.contains("WARN"),
        "pets is published, as all are: {log}"
    );
    assert_eq!(place.publication_as_it_is(), made);
}

#[test]
fn tables_are_published_whatever_their_names() {
    let place = Place::new("tables");
    place.database.execute(
        r#"CREATE SCHEMA "Odd Schema"; CREATE SCHEMA shop;
           CREATE TABLE plain (id int PRIMARY KEY);
           CREATE TABLE shop.orders (id int PRIMARY KEY);
           CREATE TABLE "Odd Schema"."T.a""b' c" (id int PRIMARY KEY);
           CREATE TABLE "select" (id int PRIMARY KEY);
           CREATE TABLE other (id int PRIMARY KEY)"#,
    );
    let config = place.config().parameter(
        "tables",
        r#"['PLAIN', "shop.orders", '"Odd Schema"."T.a""b'' c"', '"select"']"#,
    );
    let connector = place.start(&config);
    let published = place.database.query_texts(&format!(
        "SELECT schemaname || ':' || tablename FROM pg_publication_tables
         WHERE pubname = '{}' ORDER BY 1",
        place.publication
    ));
    let published: Vec<_> = published.into_iter().flatten().collect();
    let expected = [
        "Odd Schema:T.a\"b' c",
        "public:plain",
        "public:select",
        "shop:orders",
    ];
    assert_eq!(published, expected);
    place.database.execute(
        r#"INSERT INTO other VALUES (70); INSERT INTO "Odd Schema"."T.a""b' c" VALUES (71)"#,
    );
    wait_row(&connector, "{\"Int4\":71}");
    assert!(
        !connector
            .stdout_lines()
            .join("\n")
            .contains("{\"Int4\":70}")
    );
    connector.kill();

    // The publication exists now, and the table that it does not have is pointed at.
    let config = place.config().parameter("tables", "[plain, other]");
    let connector = place.start(&config);
    let log = connector.log();
    let statement = format!(
        "ALTER PUBLICATION \"{}\" ADD TABLE public.other",
        place.publication
    );
    assert!(
        log.contains("does not have the table other; to add it:"),
        "{log}"
    );
    assert!(
        log.contains(&statement) && !log.contains("table plain"),
        "{log}"
    );
    place.database.execute(&statement);
}

#[test]
fn tables_that_cannot_be_published_are_named() {
    let place = Place::new("no_tables");
    place.database.execute("CREATE VIEW v AS SELECT 1");
    let publication = format!("publication {}: ", place.publication);
    let a_view = match Postgres::shared().major() {
        ..15 => "\"v\" is not a table",
        _ => "cannot add relation \"v\" to publication",
    };
    for (tables, says) in [
        (
            "[missing]",
            "relation \"missing\" does not exist [SQLSTATE 42P01]",
        ),
        (
            "['no_schema.t']",
            "schema \"no_schema\" does not exist [SQLSTATE 3F000]",
        ),
        ("[v]", a_view),
        (
            "['a b']",
            "the server says: ERROR string is not a valid identifier: \"a b\"",
        ),
        ("['a; DROP TABLE pets']", "string is not a valid identifier"),
    ] {
        let config = place.config().parameter("tables", tables);
        place.assert_fails(&config, 78, &[&publication, says]);
    }
    assert!(place.publication_as_it_is().is_empty());
    assert!(!place.database.slot_exists(&place.slot));
}

#[test]
fn a_publication_may_have_any_name() {
    let mut place = Place::new("odd_name");
    for name in ["Fluvio", "with space", "it's, \"quoted\" \\ here", "pg_Üml"] {
        place.publication = format!("{name} {}", place.slot);
        place.slot = unique("odd_name");
        let yaml = format!("'{}'", place.publication.replace('\'', "''"));
        let config = place.config().parameter("publication", &yaml);
        let connector = place.start(&config);
        let table = unique("odd_table");
        place
            .database
            .execute(&format!("CREATE TABLE {table} AS SELECT 71 AS id"));
        wait_row(&connector, &format!("\"name\":\"{table}\""));
        wait_row(&connector, "{\"Int4\":71}");
    }
}

#[test]
fn tables_without_a_replica_identity_are_named_before_all_are_published() {
    let place = Place::new("identity");
    place.database.execute(
        "CREATE TABLE with_key (id int PRIMARY KEY);
         CREATE TABLE without_key (id int);
         CREATE TABLE \"With Nothing\" (id int PRIMARY KEY);
         ALTER TABLE \"With Nothing\" REPLICA IDENTITY NOTHING;
         CREATE TABLE with_full (id int); ALTER TABLE with_full REPLICA IDENTITY FULL;
         CREATE TABLE with_index (id int NOT NULL UNIQUE);
         ALTER TABLE with_index REPLICA IDENTITY USING INDEX with_index_id_key;
         CREATE UNLOGGED TABLE not_logged (id int);
         CREATE TABLE parts (id int) PARTITION BY RANGE (id);
         CREATE TABLE part_without PARTITION OF parts FOR VALUES FROM (0) TO (10)",
    );
    let config = place.config();
    let connector = place.start(&config);
    let line = connector.wait_log("replica identity", DEADLINE);
    assert!(line.contains("WARN"), "{line}");
    let named = "on tables without a replica identity that fits: public.\"With Nothing\" (its identity \
                 is NOTHING), public.part_without, public.without_key; give each a primary key, name \
                 the tables to publish under \"tables\", or run: ALTER TABLE ";
    assert!(line.contains(named), "{line}");
    // It is as the warning says.
    for (table, refused) in [
        ("without_key", true),
        ("with_full", false),
        ("with_index", false),
    ] {
        place
            .database
            .execute(&format!("INSERT INTO {table} VALUES (1)"));
        let updated = place
            .database
            .try_execute(&format!("UPDATE {table} SET id = 2"));
        assert_eq!(updated.is_err(), refused, "{table}");
    }
}

#[test]
fn many_tables_without_a_replica_identity_are_counted() {
    let place = Place::new("many");
    place.database.execute(
        "DO $$ BEGIN FOR i IN 10..34 LOOP
             EXECUTE format('CREATE TABLE t%s (id int)', i);
         END LOOP; END $$",
    );
    let config = place.config();
    let connector = place.start(&config);
    let line = connector.wait_log("replica identity", DEADLINE);
    assert!(
        line.contains("public.t29 and 5 more, which ") && !line.contains("t30"),
        "{line}"
    );
}

/// The SQL that a hint tells to run.
fn statement(log: &str) -> String {
    let (_, statement) = log
        .rsplit_once("(hint: run: ")
        .unwrap_or_else(|| panic!("{log}"));
    let (statement, _) = statement
        .rsplit_once(')')
        .unwrap_or_else(|| panic!("{log}"));
    assert!(statement.ends_with(';'), "{statement}");
    statement.to_owned()
}

#[test]
fn with_skip_setup_the_missing_sql_is_told_and_works() {
    for tables in ["[]", "['\"Odd Name\"', pets]"] {
        let mut place = Place::new("skip");
        place.publication = format!("It's {}", place.publication);
        place.database.execute(
            "CREATE TABLE pets (id int PRIMARY KEY); CREATE TABLE \"Odd Name\" (id int PRIMARY KEY)",
        );
        let yaml = format!("\"{}\"", place.publication);
        let config = place
            .config()
            .parameter("publication", &yaml)
            .parameter("skip_setup", "true")
            .parameter("tables", tables);
        let says = "does not exist, and skip_setup is true";
        let publication = format!("publication {}: {says}", place.publication);
        let log = place.assert_fails(&config, 78, &[&publication]);
        place.database.execute(&statement(&log));
        let slot = format!("replication slot {}: {says}", place.slot);
        let log = place.assert_fails(&config, 78, &[&slot]);
        assert!(!place.database.slot_exists(&place.slot));
        place.database.execute(&statement(&log));
        let connector = place.start(&config);
        place
            .database
            .execute("INSERT INTO \"Odd Name\" VALUES (71)");
        wait_row(&connector, "{\"Int4\":71}");
    }
}

/// All of them find nothing, and are held where they make the publication until each is there.
#[test]
fn processes_that_start_at_the_same_moment_make_it_together() {
    let place = Place::new("race");
    place
        .database
        .execute("CREATE TABLE t (id int PRIMARY KEY)");
    let mut client = place.database.client();
    let mut holder = client.transaction().expect("a transaction begins");
    holder
        .execute("LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE", &[])
        .expect("nobody has the table");

    let slots = [unique("race"), unique("race")];
    let configs = slots.each_ref().map(|slot| {
        ConfigFile::new("t", &place.publication, slot)
            .set("retry", "{ min: 50ms, max: 100ms }")
            .parameter("tables", "[t]")
    });
    let url = place.database.url();
    let start = |config| Connector::spawn_config(config, &url, &["--stdout"]);
    let connectors: Vec<Connector> = configs.iter().chain(&configs).map(start).collect();
    wait_until("each waits for the table", DEADLINE, || {
        let waiting = place.database.query_one_text(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'",
        );
        waiting == connectors.len().to_string()
    });
    holder.rollback().expect("it ends");

    for slot in &slots {
        place.database.wait_slot_active(slot);
    }
    wait_until("one of each two streams, and one waits", DEADLINE, || {
        let in_log = |text: &str| {
            let logs = connectors.iter().map(Connector::log);
            logs.filter(|log| log.contains(text)).count()
        };
        (in_log("streaming from"), in_log("is active for PID")) == (2, 2)
    });
    for connector in &connectors {
        assert_eq!(connector.exit_code(), None, "{}", connector.log());
    }
}
