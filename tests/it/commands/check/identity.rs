//! What `check` says of replica identities beside what the server does: each published table is asked,
//! by an UPDATE and by a DELETE.

mod filters;
mod generated;
mod partitions;

use std::collections::BTreeMap;

use crate::support::check::{Checked, check, healthy_server};
use crate::support::pipeline::Pipeline;
use crate::support::stopped::run_verb;
use postgres::error::SqlState;

/// On each table: whether UPDATE is refused, and DELETE.
type Refused = BTreeMap<String, (bool, bool)>;

/// The tables that rows are written to, as a publication of everything has them.
const TABLES: &str = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c \
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND c.oid >= 16384";

/// The tables that a publication has, of partitioned ones the leaves.
fn published(publication: &str) -> String {
    format!(
        "WITH RECURSIVE tree(oid) AS (SELECT t.relid FROM pg_get_publication_tables('{publication}') t \
           UNION SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid \
           JOIN pg_class c ON c.oid = t.oid AND c.relkind = 'p') \
         {TABLES} AND c.oid IN (SELECT oid FROM tree)"
    )
}

/// What the server refuses on each table that `tables` selects. Every one has a column `a`.
fn asked(pipeline: &Pipeline, tables: &str) -> Refused {
    let tables = pipeline.database.query_texts(tables);
    // What a session knows of a table may be older than what was done to the catalog.
    let mut client = pipeline.database.client();
    let mut refuses = |statement: &str| {
        client.batch_execute("BEGIN").expect("a transaction begins");
        let answer = client.batch_execute(statement);
        client.batch_execute("ROLLBACK").expect("it is rolled back");
        let Err(error) = answer else { return false };
        let codes = [
            &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            &SqlState::INVALID_COLUMN_REFERENCE,
        ];
        let code = error.code().unwrap_or_else(|| panic!("{error}"));
        assert!(codes.contains(&code), "{statement}: {error:?}");
        true
    };
    let answers = tables.into_iter().flatten().map(|table| {
        let update = refuses(&format!("UPDATE {table} SET a = a"));
        let delete = refuses(&format!("DELETE FROM {table}"));
        (table, (update, delete))
    });
    answers
        .filter(|(_, (update, delete))| *update || *delete)
        .collect()
}

/// What `check` says of the same.
fn told(checked: &Checked) -> Refused {
    let condition = "publication.identity";
    let found = checked.found(condition);
    if checked.status(condition) == Some("ok") {
        return Refused::new();
    }
    let (operations, tables) = found
        .split_once(" refused on ")
        .unwrap_or_else(|| panic!("{found}"));
    assert!(!tables.contains(" more"), "too many for one test: {found}");
    let all = (operations.contains("UPDATE"), operations.contains("DELETE"));
    let mut told = Refused::new();
    for part in split(tables) {
        let (name, note) = part.split_once(" (").unwrap_or((&part, ""));
        let refused = match note {
            _ if note.starts_with("UPDATE only") => (true, false),
            _ if note.starts_with("DELETE only") => (false, true),
            _ => all,
        };
        told.insert(name.to_owned(), refused);
    }
    told
}

/// The parts between commas that are in no brackets.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in text.chars() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        match c {
            ',' if depth == 0 => parts.push(String::new()),
            c => parts.last_mut().expect("it begins with one").push(c),
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

/// Makes what this server knows of `statements`, each from a major on.
fn make(pipeline: &Pipeline, statements: &[(u32, &str)]) {
    let (major, publication) = (pipeline.database.major(), &pipeline.publication);
    for (since, statement) in statements {
        if major >= *since {
            let statement = statement.replace("{p}", publication);
            pipeline.database.execute(&statement);
        }
    }
}

/// Server and program agree, also after each of the statements that mend it.
#[track_caller]
fn assert_agree(pipeline: &Pipeline, refused: &[&str]) {
    let (config, database) = (pipeline.config(), &pipeline.database);
    let tables = published(&pipeline.publication);
    let (by_server, checked) = (asked(pipeline, &tables), check(&config, &database.url()));
    assert_eq!(told(&checked), by_server);
    let names: Vec<&str> = by_server.keys().map(String::as_str).collect();
    assert_eq!(names, refused, "the tables are as they are meant to be");
    if !refused.is_empty() {
        checked.run_sql("publication.identity", database);
    }
    assert_eq!(asked(pipeline, &tables), Refused::new());
    check(&config, &database.url()).assert_status("publication.identity", "ok");
}

const KEYS: &[(u32, &str)] = &[
    (10, "CREATE TABLE a_none (a int, b int)"),
    (10, "CREATE TABLE b_key (a int PRIMARY KEY)"),
    (
        10,
        "CREATE TABLE c_deferrable (a int PRIMARY KEY DEFERRABLE)",
    ),
    (
        10,
        "CREATE TABLE d_deferred (a int, b int NOT NULL UNIQUE, \
         PRIMARY KEY (a) DEFERRABLE INITIALLY DEFERRED)",
    ),
    (
        10,
        "CREATE TABLE e_full (a int); ALTER TABLE e_full REPLICA IDENTITY FULL",
    ),
    (
        10,
        "CREATE TABLE f_nothing (a int PRIMARY KEY); ALTER TABLE f_nothing REPLICA IDENTITY NOTHING",
    ),
    (
        10,
        "CREATE TABLE g_index (a int NOT NULL UNIQUE); \
         ALTER TABLE g_index REPLICA IDENTITY USING INDEX g_index_a_key",
    ),
    (
        10,
        "CREATE TABLE h_dropped (a int NOT NULL); CREATE UNIQUE INDEX h_index ON h_dropped (a); \
         ALTER TABLE h_dropped REPLICA IDENTITY USING INDEX h_index; DROP INDEX h_index",
    ),
    (
        10,
        "CREATE TABLE i_partial (a int NOT NULL); CREATE UNIQUE INDEX ON i_partial (a) WHERE a > 0; \
         CREATE UNIQUE INDEX ON i_partial ((a + 1))",
    ),
    (10, "CREATE TABLE j_nullable (a int UNIQUE)"),
    // What a CREATE or a DROP INDEX CONCURRENTLY leaves behind that does not get through.
    (
        10,
        "CREATE TABLE k_invalid (a int NOT NULL UNIQUE); \
         ALTER TABLE k_invalid REPLICA IDENTITY USING INDEX k_invalid_a_key; \
         UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'k_invalid_a_key'::regclass",
    ),
    (
        10,
        "CREATE TABLE l_invalid_key (a int PRIMARY KEY); \
         UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'l_invalid_key_pkey'::regclass",
    ),
    (10, "CREATE UNLOGGED TABLE m_unlogged (a int)"),
    (
        11,
        "CREATE TABLE n_includes (a int, b int, PRIMARY KEY (a) INCLUDE (b))",
    ),
    // A key whose columns may be NULL by now is one to the server, where it lets that happen.
    (
        10,
        "CREATE TABLE o_nullable_by_now (a int NOT NULL UNIQUE); \
         ALTER TABLE o_nullable_by_now REPLICA IDENTITY USING INDEX o_nullable_by_now_a_key; \
         DO $$ BEGIN ALTER TABLE o_nullable_by_now ALTER a DROP NOT NULL; \
         EXCEPTION WHEN others THEN NULL; END $$",
    ),
];

const KEYS_REFUSED: [&str; 9] = [
    "public.a_none",
    "public.c_deferrable",
    "public.d_deferred",
    "public.f_nothing",
    "public.h_dropped",
    "public.i_partial",
    "public.j_nullable",
    "public.k_invalid",
    "public.l_invalid_key",
];

#[test]
fn keys_that_are_no_identity() {
    let pipeline = Pipeline::on(healthy_server(), "keys");
    make(&pipeline, KEYS);
    make(&pipeline, &[(10, "CREATE PUBLICATION {p} FOR ALL TABLES")]);
    let checked = check(&pipeline.config(), &pipeline.database.url());
    for says in [
        "UPDATE and DELETE are refused on public.a_none, public.c_deferrable (its primary key is \
         deferrable), ",
        "public.f_nothing (its identity is NOTHING), public.h_dropped (the index of its identity is \
         gone or invalid), ",
    ] {
        checked.assert_says("publication.identity", says);
    }
    let statements = checked.mends("publication.identity", "sql");
    for statement in [
        "ALTER TABLE public.c_deferrable REPLICA IDENTITY FULL;",
        "ALTER TABLE public.d_deferred REPLICA IDENTITY USING INDEX d_deferred_b_key;",
        "ALTER TABLE public.f_nothing REPLICA IDENTITY USING INDEX f_nothing_pkey;",
    ] {
        assert!(
            statements.iter().any(|is| is == statement),
            "{statements:?}"
        );
    }
    assert_agree(&pipeline, &KEYS_REFUSED);
}

/// Before it is made, `check` knows what the server will refuse; `setup` says so when it makes it.
#[test]
fn it_is_known_before_a_publication_is_made() {
    for tables in [None, Some("[c_deferrable, b_key, public.a_none]")] {
        let pipeline = Pipeline::on(healthy_server(), "before");
        let (database, mut config) = (&pipeline.database, pipeline.config());
        make(&pipeline, KEYS);
        if let Some(tables) = tables {
            config = config.parameter("tables", tables);
        }
        let before = check(&config, &database.url());
        let deletes = config.parameter("publish", "[insert, delete]");
        let before_deletes = check(&deletes, &database.url());
        let inserts = deletes.parameter("publish", "[insert]");
        check(&inserts, &database.url()).assert_status("publication.identity", "ok");

        let config = inserts.without("publish");
        let (code, log, _) = run_verb("setup", &config, &database.url(), &[]);
        assert_eq!(code, 0, "{log}");
        let by_server = asked(&pipeline, &published(&pipeline.publication));
        assert_eq!(told(&before), by_server);
        let deleted: Refused = by_server
            .keys()
            .map(|table| (table.clone(), (false, true)))
            .collect();
        assert_eq!(told(&before_deletes), deleted);
        let warning = log
            .lines()
            .find(|line| line.contains("UPDATE and DELETE are refused by the server"))
            .unwrap_or_else(|| panic!("{log}"));
        for statement in before.mends("publication.identity", "sql") {
            assert!(warning.contains(&statement), "{statement} in {warning}");
        }
        for table in by_server.keys() {
            assert!(warning.contains(table.as_str()), "{table} in {warning}");
        }
        // What exists is not warned of again.
        let (code, log, _) = run_verb("setup", &config, &database.url(), &[]);
        assert_eq!((code, log.contains("refused")), (0, false), "{log}");
    }
}

#[test]
fn publications_of_some_kinds_of_changes() {
    let pipeline = Pipeline::on(healthy_server(), "operations");
    make(
        &pipeline,
        &[
            (10, "CREATE TABLE a_both (a int)"),
            (10, "CREATE TABLE b_delete (a int)"),
            (10, "CREATE TABLE c_update (a int)"),
            (10, "CREATE TABLE d_insert (a int)"),
            (10, "CREATE TABLE e_elsewhere (a int)"),
            (
                10,
                "CREATE PUBLICATION {p} FOR TABLE a_both, b_delete, c_update, d_insert \
                 WITH (publish = 'insert')",
            ),
            (
                10,
                "CREATE PUBLICATION deletes FOR TABLE a_both, b_delete, e_elsewhere \
                 WITH (publish = 'delete')",
            ),
            (
                10,
                "CREATE PUBLICATION updates FOR TABLE a_both, c_update WITH (publish = 'update')",
            ),
        ],
    );
    let checked = check(&pipeline.config(), &pipeline.database.url());
    checked.assert_says(
        "publication.identity",
        "UPDATE and DELETE are refused on public.a_both, public.b_delete (DELETE only), \
         public.c_update (UPDATE only)",
    );
    let refused = ["public.a_both", "public.b_delete", "public.c_update"];
    assert_agree(&pipeline, &refused);
}

/// The server asks every publication that a table is in.
#[test]
fn several_publications_that_differ() {
    let pipeline = Pipeline::on(healthy_server(), "several");
    make(
        &pipeline,
        &[
            (10, "CREATE TABLE a_key (a int PRIMARY KEY, b int)"),
            (10, "CREATE TABLE b_none (a int)"),
            (10, "CREATE SCHEMA s; CREATE TABLE s.c_none (a int)"),
            (10, "CREATE TABLE s.d_key (a int PRIMARY KEY, b int)"),
            (
                10,
                "CREATE PUBLICATION {p} FOR TABLE a_key WITH (publish = 'insert')",
            ),
            (
                10,
                "ALTER PUBLICATION {p} ADD TABLE b_none, s.c_none, s.d_key",
            ),
            (
                10,
                "CREATE PUBLICATION everything FOR ALL TABLES WITH (publish = 'delete')",
            ),
            (
                15,
                "CREATE PUBLICATION filtered FOR TABLE a_key WHERE (b > 0)",
            ),
            (
                15,
                "CREATE PUBLICATION listed FOR TABLE s.d_key (b) WITH (publish = 'update')",
            ),
            (15, "CREATE PUBLICATION schema FOR TABLES IN SCHEMA s"),
        ],
    );
    let all = ["public.a_key", "public.b_none", "s.c_none", "s.d_key"];
    match healthy_server().major() {
        ..15 => assert_agree(&pipeline, &all[1..3]),
        _ => assert_agree(&pipeline, &all),
    }
}
