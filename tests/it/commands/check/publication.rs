//! Publications that leave out or break something, and what mends them.

use crate::support::check::{check, check_as, healthy_server};
use crate::support::connector::ConfigFile;
use crate::support::pipeline::Pipeline;
use crate::support::postgres::Postgres;

/// Finds one problem, runs its statements, and finds nothing any more.
#[track_caller]
fn assert_mended(pipeline: &Pipeline, config: &ConfigFile, problem: (&str, &str), code: i32) {
    let url = pipeline.database.url();
    let checked = check(config, &url);
    checked.assert_problems(&[problem], code);
    checked.run_sql(problem.0, &pipeline.database);
    check(config, &url).assert_problems(&[], 0);
}

#[test]
fn it_is_missing_and_must_not_be_made() {
    let pipeline = Pipeline::on(healthy_server(), "no_publication");
    let database = &pipeline.database;
    database.execute("CREATE TABLE \"Odd Name\" (id int PRIMARY KEY)");
    let config = pipeline
        .config()
        .parameter("skip_setup", "true")
        .parameter("tables", "['\"Odd Name\"']");
    let checked = check(&config, &database.url());
    let problems = [("publication", "failure"), ("slot", "failure")];
    checked.assert_problems(&problems, 78);
    checked.run_sql("publication", database);
    checked.run_sql("slot", database);
    let checked = check(&config, &database.url());
    checked.assert_status("publication", "ok");
    checked.assert_status("slot", "ok");
}

#[test]
fn it_is_to_have_a_table_that_is_not_there() {
    let pipeline = Pipeline::on(healthy_server(), "no_table");
    let config = pipeline.config().parameter("tables", "[pets]");
    let checked = check(&config, &pipeline.database.url());
    checked.assert_problems(&[("publication", "failure")], 78);
    checked.assert_says("publication", "pets, which does not exist");
    pipeline
        .database
        .execute("CREATE TABLE pets (id int PRIMARY KEY)");
    check(&config, &pipeline.database.url()).assert_problems(&[], 0);
}

#[test]
fn it_has_no_tables_or_not_all() {
    let pipeline = Pipeline::on(healthy_server(), "few_tables");
    let database = &pipeline.database;
    let publication = &pipeline.publication;
    database.execute(&format!(
        "CREATE TABLE pets (id int PRIMARY KEY); CREATE PUBLICATION {publication}"
    ));
    let checked = check(&pipeline.config(), &database.url());
    checked.assert_problems(&[("publication.tables", "warning")], 0);
    checked.assert_says("publication.tables", "nothing is sent");
    let config = pipeline.config().parameter("tables", "[pets]");
    assert_mended(&pipeline, &config, ("publication.tables", "warning"), 0);
}

#[test]
fn it_leaves_out_kinds_of_changes() {
    let pipeline = Pipeline::on(healthy_server(), "actions");
    let publication = &pipeline.publication;
    pipeline.database.execute(&format!(
        "CREATE TABLE a (i int PRIMARY KEY); \
         CREATE PUBLICATION {publication} FOR ALL TABLES WITH (publish = 'insert')"
    ));
    let problem = ("publication.actions", "warning");
    // One who wants no more has all.
    let fewer = pipeline.config().parameter("publish", "[insert]");
    check(&fewer, &pipeline.database.url()).assert_problems(&[], 0);
    let more = pipeline.config().parameter("publish", "[insert, delete]");
    assert_mended(&pipeline, &more, problem, 0);
    assert_mended(&pipeline, &pipeline.config(), problem, 0);
    // And one who wants fewer now has too many.
    assert_mended(&pipeline, &fewer, problem, 0);
}

#[test]
fn it_makes_the_server_refuse_updates() {
    let pipeline = Pipeline::on(healthy_server(), "no_identity");
    let database = &pipeline.database;
    database.execute(
        "CREATE TABLE none (i int); CREATE TABLE unique_index (i int NOT NULL UNIQUE, j int); \
         CREATE TABLE partial (i int NOT NULL); CREATE UNIQUE INDEX ON partial (i) WHERE i > 0; \
         CREATE TABLE nothing (i int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING; \
         CREATE TABLE fine (i int PRIMARY KEY)",
    );
    // Before the publication is made, and after.
    let before = check(&pipeline.config(), &database.url());
    before.assert_problems(&[("publication.identity", "warning")], 0);
    let publication = &pipeline.publication;
    database.execute(&format!("CREATE PUBLICATION {publication} FOR ALL TABLES"));
    let after = check(&pipeline.config(), &database.url());
    let statements = after.mends("publication.identity", "sql");
    assert_eq!(before.mends("publication.identity", "sql"), statements);
    let index = "ALTER TABLE public.unique_index REPLICA IDENTITY USING INDEX unique_index_i_key;";
    assert_eq!(
        statements,
        [
            "ALTER TABLE public.\"none\" REPLICA IDENTITY FULL;",
            "ALTER TABLE public.nothing REPLICA IDENTITY USING INDEX nothing_pkey;",
            "ALTER TABLE public.partial REPLICA IDENTITY FULL;",
            index,
        ]
    );
    let problem = ("publication.identity", "warning");
    assert_mended(&pipeline, &pipeline.config(), problem, 0);
    database.execute("INSERT INTO none VALUES (1); UPDATE none SET i = 2");
}

#[test]
fn its_partitions_have_another_identity_than_their_parent() {
    let pipeline = Pipeline::on(healthy_server(), "partitions");
    let database = &pipeline.database;
    if healthy_server().major() < 11 {
        // There a partitioned table has no primary key.
        return;
    }
    database.execute(
        "CREATE TABLE p (i int PRIMARY KEY) PARTITION BY RANGE (i); \
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); \
         CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20); \
         ALTER TABLE p REPLICA IDENTITY FULL; ALTER TABLE p1 REPLICA IDENTITY FULL; \
         CREATE TABLE q (i int NOT NULL) PARTITION BY RANGE (i); \
         CREATE TABLE q1 PARTITION OF q FOR VALUES FROM (0) TO (10); \
         CREATE UNIQUE INDEX q_index ON q (i); ALTER TABLE q REPLICA IDENTITY USING INDEX q_index; \
         ALTER TABLE q1 REPLICA IDENTITY FULL",
    );
    let publication = &pipeline.publication;
    database.execute(&format!("CREATE PUBLICATION {publication} FOR ALL TABLES"));
    let checked = check(&pipeline.config(), &database.url());
    assert_eq!(
        checked.mends("publication.partitions", "sql"),
        [
            "ALTER TABLE public.p2 REPLICA IDENTITY FULL;",
            "ALTER TABLE public.q1 REPLICA IDENTITY USING INDEX q1_i_idx;",
        ]
    );
    let problem = ("publication.partitions", "warning");
    assert_mended(&pipeline, &pipeline.config(), problem, 0);
}

#[test]
fn it_makes_something_else_of_rows() {
    let pipeline = Pipeline::on(healthy_server(), "options");
    let database = &pipeline.database;
    let major = healthy_server().major();
    database.execute(&format!(
        "CREATE TABLE a (i int PRIMARY KEY); CREATE PUBLICATION {} FOR ALL TABLES",
        pipeline.publication
    ));
    check(&pipeline.config(), &database.url()).assert_status("publication.options", "ok");
    if major < 13 {
        // What no publication does there can be said all the same.
        let config = pipeline
            .config()
            .parameter("publish_via_partition_root", "false");
        check(&config, &database.url()).assert_problems(&[], 0);
        return;
    }
    let mut config = pipeline
        .config()
        .parameter("publish_via_partition_root", "true");
    let mut says = "publish_via_partition_root = true".to_owned();
    if major >= 18 {
        config = config.parameter("generated_columns", "stored");
        says += ", publish_generated_columns = stored";
    }
    let checked = check(&config, &database.url());
    checked.assert_says("publication.options", &says);
    let statement = format!(
        "ALTER PUBLICATION \"{}\" SET ({says});",
        pipeline.publication
    );
    let (_, _, sql) = check_as(&config.path(), &database.url(), &["--sql"]);
    assert_eq!(sql, statement);
    assert_mended(&pipeline, &config, ("publication.options", "warning"), 0);
}

/// A publication lists a partitioned table or its partitions, as it makes rows come.
#[test]
fn it_has_a_partitioned_table() {
    let pipeline = Pipeline::on(healthy_server(), "partitioned");
    let database = &pipeline.database;
    let (major, publication) = (healthy_server().major(), &pipeline.publication);
    database.execute(
        "CREATE TABLE p (i int NOT NULL) PARTITION BY RANGE (i); \
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); \
         CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20); \
         ALTER TABLE p1 REPLICA IDENTITY FULL; ALTER TABLE p2 REPLICA IDENTITY FULL",
    );
    let config = pipeline.config().parameter("tables", "[p, p2]");
    let tables = |says: &str| {
        let checked = check(&config, &database.url());
        checked.assert_status(
            "publication.tables",
            if says.is_empty() { "ok" } else { "warning" },
        );
        if !says.is_empty() {
            checked.assert_says("publication.tables", says);
        }
    };
    database.execute(&format!("CREATE PUBLICATION {publication} FOR TABLE p1"));
    tables("has not all that the config names: p, p2");
    database.execute(&format!("ALTER PUBLICATION {publication} ADD TABLE p2"));
    tables("");
    if major >= 13 {
        database.execute(&format!("ALTER PUBLICATION {publication} SET TABLE p"));
        tables("");
        database.execute(&format!(
            "ALTER PUBLICATION {publication} SET (publish_via_partition_root = true)"
        ));
        tables("");
    }
    let connector = pipeline.start_with(&config);
    assert_eq!(
        connector.log_count("does not have the table"),
        0,
        "{}",
        connector.log()
    );
}

/// More tables than anybody reads, and than an answer holds.
#[test]
fn it_has_thousands_of_tables() {
    const TABLES: usize = 4_000;
    let server = Postgres::start(&[("max_locks_per_transaction", "1000")]);
    let pipeline = Pipeline::on(&server, "thousands");
    let database = &pipeline.database;
    // Names as long as they can be.
    let name = |n: &str| format!("rpad('table_' || {n} || '_', 63, 'x')");
    database.execute(&format!(
        "DO $$ BEGIN FOR n IN 10001..{} LOOP \
           EXECUTE format('CREATE TABLE %I (i int NOT NULL UNIQUE, j int)', {}); \
         END LOOP; END $$",
        10_000 + TABLES,
        name("n")
    ));
    let assert_bounded = |config: &ConfigFile| {
        let checked = check(config, &database.url());
        let more = format!(" and {} more", TABLES - 10);
        checked.assert_says("publication.identity", &more);
        assert_eq!(checked.mends("publication.identity", "sql").len(), 100);
        let advice = checked.mends("publication.identity", "advice").concat();
        assert!(
            advice.starts_with(&format!("{} more are like these", TABLES - 100)),
            "{advice}"
        );
        checked
    };
    // Before it is made and after, and with each of them in the config.
    assert_bounded(&pipeline.config());
    database.execute(&format!(
        "CREATE PUBLICATION {} FOR ALL TABLES",
        pipeline.publication
    ));
    assert_bounded(&pipeline.config());
    let names = database
        .query_texts("SELECT relname FROM pg_class WHERE relname LIKE 'table_%' AND relkind = 'r'");
    let names: Vec<String> = names.into_iter().flatten().collect();
    assert_eq!(names.len(), TABLES);
    let listed = pipeline
        .config()
        .parameter("tables", &format!("[{}]", names.join(", ")));
    let checked = assert_bounded(&listed);
    checked.assert_status("publication.tables", "ok");
    let connector = pipeline.start_with(&listed);
    assert_eq!(
        connector.log_count("does not have the table"),
        0,
        "{}",
        connector.log()
    );
}
