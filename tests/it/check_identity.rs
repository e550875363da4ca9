//! What `check` says of replica identities beside what the server does: each published table is asked,
//! by an UPDATE and by a DELETE.

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

const PARTITIONS: &[(u32, &str)] = &[
    (
        10,
        "CREATE TABLE bare (a int) PARTITION BY RANGE (a); \
         CREATE TABLE bare_1 PARTITION OF bare FOR VALUES FROM (0) TO (10); \
         CREATE TABLE bare_2 PARTITION OF bare FOR VALUES FROM (10) TO (20); \
         ALTER TABLE bare_2 REPLICA IDENTITY FULL; \
         CREATE UNLOGGED TABLE bare_3 PARTITION OF bare FOR VALUES FROM (20) TO (30); \
         CREATE TABLE bare_4 PARTITION OF bare FOR VALUES FROM (30) TO (40) PARTITION BY RANGE (a); \
         CREATE TABLE bare_4_1 PARTITION OF bare_4 FOR VALUES FROM (30) TO (40)",
    ),
    (
        11,
        "CREATE TABLE keyed (a int PRIMARY KEY) PARTITION BY RANGE (a); \
         CREATE TABLE keyed_1 PARTITION OF keyed FOR VALUES FROM (0) TO (10); \
         CREATE TABLE keyed_2 PARTITION OF keyed FOR VALUES FROM (10) TO (20); \
         ALTER TABLE keyed_2 REPLICA IDENTITY NOTHING; \
         ALTER TABLE keyed REPLICA IDENTITY FULL",
    ),
    // The root says nothing of its partitions.
    (
        11,
        "CREATE TABLE root_nothing (a int PRIMARY KEY) PARTITION BY RANGE (a); \
         CREATE TABLE root_nothing_1 PARTITION OF root_nothing FOR VALUES FROM (0) TO (10); \
         ALTER TABLE root_nothing REPLICA IDENTITY NOTHING",
    ),
];

#[test]
fn partitions_have_an_identity_of_their_own() {
    let major = healthy_server().major();
    let publications = [
        (10, "CREATE PUBLICATION {p} FOR ALL TABLES"),
        (
            13,
            "CREATE PUBLICATION {p} FOR TABLE bare, keyed, root_nothing",
        ),
        (
            13,
            "CREATE PUBLICATION {p} FOR TABLE bare, keyed, root_nothing \
             WITH (publish_via_partition_root = true)",
        ),
        (
            13,
            "CREATE PUBLICATION {p} FOR ALL TABLES WITH (publish_via_partition_root = true)",
        ),
        (
            13,
            "CREATE PUBLICATION {p} FOR TABLE bare_4, keyed_2, bare_1",
        ),
        // Of a root that is in another schema than its partitions.
        (
            15,
            "CREATE SCHEMA s; ALTER TABLE bare SET SCHEMA s; ALTER TABLE keyed SET SCHEMA s; \
             CREATE PUBLICATION {p} FOR TABLES IN SCHEMA s",
        ),
    ];
    for (since, publication) in publications {
        if major < since {
            continue;
        }
        let pipeline = Pipeline::on(healthy_server(), "partitions");
        make(&pipeline, PARTITIONS);
        make(&pipeline, &[(since, publication)]);
        // Asked through their root, they say the same.
        let roots = "SELECT relnamespace::regnamespace || '.' || relname FROM pg_class \
                     WHERE relname IN ('bare', 'keyed', 'root_nothing')";
        let through_roots: Vec<String> = asked(&pipeline, roots).into_keys().collect();
        let through = |name: &str| through_roots.iter().any(|root| root.ends_with(name));
        assert!(
            through(".bare") && !through(".root_nothing"),
            "{through_roots:?}"
        );
        let refused = ["public.bare_1", "public.bare_4_1", "public.keyed_2"];
        match major {
            10 => assert_agree(&pipeline, &refused[..2]),
            _ => assert_agree(&pipeline, &refused),
        }
    }
}

const FILTERS: &[(u32, &str)] = &[
    (15, "CREATE TABLE a_outside (a int PRIMARY KEY, b int)"),
    (15, "CREATE TABLE b_key (a int PRIMARY KEY, b int)"),
    (15, "CREATE TABLE c_constant (a int PRIMARY KEY, b int)"),
    (
        15,
        "CREATE TABLE d_full (a int, b int); ALTER TABLE d_full REPLICA IDENTITY FULL",
    ),
    (
        15,
        "CREATE TABLE e_included (a int, b int, PRIMARY KEY (a) INCLUDE (b))",
    ),
    (
        15,
        "CREATE TABLE f_two (a int PRIMARY KEY, b int NOT NULL, c text); \
         CREATE UNIQUE INDEX f_both ON f_two (b, a)",
    ),
    (15, "CREATE TABLE g_none (a int, b int)"),
    (
        15,
        "CREATE TABLE h_odd (\"A\"\"b (\" text NOT NULL UNIQUE, a int PRIMARY KEY)",
    ),
    (
        15,
        "CREATE TABLE root (b int, a int, PRIMARY KEY (a)) PARTITION BY RANGE (a); \
         CREATE TABLE i_leaf (c int, a int NOT NULL, b int); ALTER TABLE i_leaf DROP c; \
         ALTER TABLE root ATTACH PARTITION i_leaf FOR VALUES FROM (0) TO (10)",
    ),
    (
        15,
        "CREATE PUBLICATION {p} FOR TABLE a_outside WHERE (b > 0), b_key WHERE (a > 0), \
         c_constant WHERE (true), d_full WHERE (b > 0 AND a > 0), e_included WHERE (b > 0), \
         f_two WHERE (b > a AND a > 0), g_none WHERE (a = 1), \
         h_odd WHERE (\"A\"\"b (\" = ':varattno 2'), root WHERE (b = 1) \
         WITH (publish_via_partition_root = true)",
    ),
];

#[test]
fn row_filters_of_columns_outside_the_identity() {
    let pipeline = Pipeline::on(healthy_server(), "filters");
    if healthy_server().major() < 15 {
        // There a publication has no filters; every table has an identity or none.
        make(&pipeline, &[(10, "CREATE TABLE x (a int PRIMARY KEY)")]);
        make(&pipeline, &[(10, "CREATE PUBLICATION {p} FOR ALL TABLES")]);
        return assert_agree(&pipeline, &[]);
    }
    make(&pipeline, FILTERS);
    let says = format!(
        "public.a_outside (a row filter of columns outside its identity, publication {}), ",
        pipeline.publication
    );
    let checked = check(&pipeline.config(), &pipeline.database.url());
    checked.assert_says("publication.identity", &says);
    let statement = "ALTER TABLE public.f_two REPLICA IDENTITY USING INDEX f_both;";
    let statements = checked.mends("publication.identity", "sql");
    assert!(
        statements.iter().any(|is| is == statement),
        "{statements:?}"
    );
    let refused = [
        "public.a_outside",
        "public.e_included",
        "public.f_two",
        "public.g_none",
        "public.h_odd",
        "public.i_leaf",
    ];
    assert_agree(&pipeline, &refused);
}

const LISTS: &[(u32, &str)] = &[
    (
        15,
        "CREATE TABLE a_without (a int PRIMARY KEY, \"B b\" int)",
    ),
    (15, "CREATE TABLE b_with (a int PRIMARY KEY, b int)"),
    (
        15,
        "CREATE TABLE c_full (a int, b int); ALTER TABLE c_full REPLICA IDENTITY FULL",
    ),
    (
        15,
        "CREATE TABLE d_full_of_all (a int PRIMARY KEY, b int); \
         ALTER TABLE d_full_of_all REPLICA IDENTITY FULL",
    ),
    (
        15,
        "CREATE TABLE e_other (a int PRIMARY KEY, b int NOT NULL UNIQUE)",
    ),
    (
        15,
        "CREATE TABLE f_filtered (a int PRIMARY KEY, b int, c int)",
    ),
    (
        15,
        "CREATE TABLE root (a int, b int, PRIMARY KEY (a)) PARTITION BY RANGE (a); \
         CREATE TABLE g_leaf (c int, b int, a int NOT NULL); ALTER TABLE g_leaf DROP c; \
         ALTER TABLE root ATTACH PARTITION g_leaf FOR VALUES FROM (0) TO (10)",
    ),
    (
        15,
        "CREATE TABLE h_both (a int NOT NULL, b int NOT NULL, c int); \
         CREATE UNIQUE INDEX h_index ON h_both (a, b); \
         ALTER TABLE h_both REPLICA IDENTITY USING INDEX h_index",
    ),
    (
        15,
        "CREATE PUBLICATION {p} FOR TABLE a_without (\"B b\"), b_with (a), c_full (a), \
         d_full_of_all (a, b), e_other (b), f_filtered (b, c) WHERE (a > 0), root (b), h_both (a, c) \
         WITH (publish_via_partition_root = true)",
    ),
];

#[test]
fn column_lists_that_do_not_hold_the_identity() {
    let pipeline = Pipeline::on(healthy_server(), "lists");
    if healthy_server().major() < 15 {
        // There a publication has no lists; only a key that is too wide for one.
        make(
            &pipeline,
            &[(10, "CREATE TABLE x (a int, b int, PRIMARY KEY (a, b))")],
        );
        make(&pipeline, &[(10, "CREATE PUBLICATION {p} FOR TABLE x")]);
        return assert_agree(&pipeline, &[]);
    }
    make(&pipeline, LISTS);
    let publication = &pipeline.publication;
    let checked = check(&pipeline.config(), &pipeline.database.url());
    let again = |table: &str, rest: &str| {
        format!(
            "BEGIN; ALTER PUBLICATION \"{publication}\" DROP TABLE public.{table}; \
             ALTER PUBLICATION \"{publication}\" ADD TABLE public.{table}{rest}; COMMIT;"
        )
    };
    assert_eq!(
        checked.mends("publication.identity", "sql"),
        [
            again("a_without", " (\"B b\", \"a\")"),
            again("c_full", ""),
            "ALTER TABLE public.d_full_of_all REPLICA IDENTITY USING INDEX d_full_of_all_pkey;"
                .into(),
            "ALTER TABLE public.e_other REPLICA IDENTITY USING INDEX e_other_b_key;".into(),
            again("f_filtered", " (\"b\", \"c\", \"a\") WHERE ((a > 0))"),
            again("root", " (\"b\", \"a\")"),
            again("h_both", " (\"a\", \"c\", \"b\")"),
        ]
    );
    let refused = [
        "public.a_without",
        "public.c_full",
        "public.d_full_of_all",
        "public.e_other",
        "public.f_filtered",
        "public.g_leaf",
        "public.h_both",
    ];
    assert_agree(&pipeline, &refused);
}

const GENERATED: &[(u32, &str)] = &[
    (10, "CREATE TABLE a_plain (a int PRIMARY KEY)"),
    (
        12,
        "CREATE TABLE b_beside (a int PRIMARY KEY, g int GENERATED ALWAYS AS (a * 2) STORED)",
    ),
    (
        12,
        "CREATE TABLE c_key (a int, g int GENERATED ALWAYS AS (a * 2) STORED PRIMARY KEY)",
    ),
    (
        12,
        "CREATE TABLE d_full (a int, g int GENERATED ALWAYS AS (a * 2) STORED); \
         ALTER TABLE d_full REPLICA IDENTITY FULL",
    ),
    (
        12,
        "CREATE TABLE e_index (a int NOT NULL UNIQUE, \
           g int GENERATED ALWAYS AS (a * 2) STORED NOT NULL UNIQUE); \
         ALTER TABLE e_index REPLICA IDENTITY USING INDEX e_index_g_key",
    ),
    (
        18,
        "CREATE TABLE f_virtual (a int PRIMARY KEY, g int GENERATED ALWAYS AS (a * 2)); \
         ALTER TABLE f_virtual REPLICA IDENTITY FULL",
    ),
    (
        18,
        "CREATE TABLE g_virtual_beside (a int PRIMARY KEY, g int GENERATED ALWAYS AS (a * 2))",
    ),
];

#[test]
fn generated_columns_in_the_identity() {
    let major = healthy_server().major();
    let pipeline = Pipeline::on(healthy_server(), "generated");
    make(&pipeline, GENERATED);
    // Before there is a publication, what helps is a key of the config.
    let planned = check(&pipeline.config(), &pipeline.database.url());
    make(&pipeline, &[(10, "CREATE PUBLICATION {p} FOR ALL TABLES")]);
    assert_eq!(told(&planned), asked(&pipeline, TABLES));
    if major < 18 {
        return assert_agree(&pipeline, &[]);
    }
    let advice = "parameters: { generated_columns: stored }";
    assert_eq!(planned.mends("publication.identity", "config"), [advice]);
    let stored = pipeline.config().parameter("generated_columns", "stored");
    let refused = [
        "public.c_key",
        "public.d_full",
        "public.e_index",
        "public.f_virtual",
    ];
    assert_agree(&pipeline, &refused);
    make(&pipeline, &[(18, "DROP PUBLICATION {p}")]);
    check(&stored, &pipeline.database.url()).assert_status("publication.identity", "ok");
}

/// From 18 on a list may have a generated column, and then nothing else has to publish it.
#[test]
fn generated_columns_that_are_published_or_not() {
    let pipeline = Pipeline::on(healthy_server(), "published");
    make(&pipeline, GENERATED);
    make(
        &pipeline,
        &[
            (10, "CREATE PUBLICATION {p} FOR TABLE a_plain"),
            (12, "ALTER PUBLICATION {p} ADD TABLE b_beside"),
            (
                18,
                "ALTER PUBLICATION {p} SET TABLE c_key (g), e_index (a), b_beside (g)",
            ),
            // Another one sends what this one does not.
            (
                18,
                "CREATE PUBLICATION stored FOR TABLE c_key, d_full, e_index \
                 WITH (publish_generated_columns = stored)",
            ),
            (18, "CREATE PUBLICATION none FOR TABLE b_beside"),
        ],
    );
    match healthy_server().major() {
        ..18 => assert_agree(&pipeline, &[]),
        _ => assert_agree(&pipeline, &["public.b_beside", "public.e_index"]),
    }
}

/// Nothing mends a table whose rows can only be told apart by what is never published.
#[test]
fn what_no_statement_mends_is_told_as_advice() {
    let pipeline = Pipeline::on(healthy_server(), "advice");
    make(
        &pipeline,
        &[(10, "CREATE TABLE a_plain (a int PRIMARY KEY)")],
    );
    make(
        &pipeline,
        &[(
            18,
            "CREATE TABLE b_virtual (a int, g int GENERATED ALWAYS AS (a * 2)); \
             ALTER TABLE b_virtual REPLICA IDENTITY FULL",
        )],
    );
    make(&pipeline, &[(10, "CREATE PUBLICATION {p} FOR ALL TABLES")]);
    let checked = check(&pipeline.config(), &pipeline.database.url());
    assert_eq!(told(&checked), asked(&pipeline, TABLES));
    if healthy_server().major() >= 18 {
        let advice = checked.mends("publication.identity", "advice").concat();
        assert!(
            advice.starts_with("public.b_virtual: no replica identity"),
            "{advice}"
        );
        make(
            &pipeline,
            &[(18, "ALTER TABLE b_virtual ADD PRIMARY KEY (a)")],
        );
        assert_agree(&pipeline, &["public.b_virtual"]);
    }
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
