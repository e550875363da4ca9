//! What a healthy setup is told, in which forms, and that nothing is changed.

use crate::support::check::{check, check_as, healthy_server};
use crate::support::connector::run_command;
use crate::support::outcome::FAIL_DEADLINE;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::ports::free_port;
use postgres_source::commands::CONDITIONS;

/// Everything that a check could have changed.
fn state(pipeline: &Pipeline) -> Vec<Option<String>> {
    let mut state = pipeline.database.query_texts(
        "SELECT (to_jsonb(s) - 'safe_wal_size')::text FROM pg_replication_slots s
           WHERE database = current_database()
         UNION ALL SELECT row_to_json(p)::text FROM pg_publication p
         UNION ALL SELECT row_to_json(r)::text FROM pg_publication_rel r
         UNION ALL SELECT row_to_json(c)::text FROM (SELECT relname, relreplident FROM pg_class) c",
    );
    let end = pipeline.server().records(&pipeline.topic, 0).len();
    state.push(Some(format!("{end} records")));
    state
}

#[test]
fn a_healthy_setup_has_nothing_to_mend_and_is_left_as_it_is() {
    let pipeline = Pipeline::on(healthy_server(), "healthy").in_process();
    let database = &pipeline.database;
    database.execute("CREATE TABLE pets (id int PRIMARY KEY)");
    let directory = tempfile::tempdir().expect("a directory can be made");
    let state_dir = directory.path().join("state");
    let config = pipeline
        .config()
        .set("state_dir", state_dir.to_str().expect("UTF-8"));

    // Before anything is made.
    let before = state(&pipeline);
    let checked = check(&config, &database.url());
    checked.assert_problems(&[], 0);
    checked.assert_says("topic", "is created at the first run");
    checked.assert_says("publication", "is made at the first run");
    checked.assert_says("slot", "is made at the first run");
    assert_eq!(state(&pipeline), before);
    assert!(!state_dir.exists(), "not even the directory is made");

    // While the program runs.
    let mut connector = pipeline.start_with(&config);
    database.execute("INSERT INTO pets VALUES (1)");
    pipeline.wait_commits(1);
    let checked = check(&config, &database.url());
    checked.assert_problems(&[], 0);
    checked.assert_says("slot.active", "postgres-source/test streams, PID");

    // And when it has stopped.
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
    database.wait_slot_inactive(&pipeline.slot);
    let before = state(&pipeline);
    let checked = check(&config, &database.url());
    checked.assert_problems(&[], 0);
    checked.assert_says("topic.tail", "ends with the transaction at");
    checked.assert_status("continuity", "ok");
    assert_eq!(state(&pipeline), before);
    let files = std::fs::read_dir(&state_dir).expect("it is there").count();
    assert_eq!(files, 1, "the state file alone");
}

#[test]
fn the_text_and_the_statements() {
    let pipeline = Pipeline::on(healthy_server(), "forms");
    let database = &pipeline.database;
    database.execute("CREATE TABLE a (i int); CREATE TABLE b (i int);");
    let url = database.url();
    let file = pipeline.config();
    let config = file.path();
    let (code, log, text) = check_as(&config, &url, &[]);
    assert_eq!(code, 0, "{log}\n{text}");
    let column = |line: &str, part: &str| line.find(part).unwrap_or_else(|| panic!("{text}"));
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.starts_with("warning"));
    let at = at.unwrap_or_else(|| panic!("{text}"));
    assert_eq!(column(lines[at], "publication.identity"), 9);
    assert_eq!(
        column(
            lines[at],
            "UPDATE and DELETE are refused on public.a, public.b"
        ),
        column(
            lines[at + 1],
            "SQL:    ALTER TABLE public.a REPLICA IDENTITY FULL;"
        )
    );
    assert!(!text.contains('\u{1b}'), "no colour: {text}");

    let (code, _, sql) = check_as(&config, &url, &["--sql"]);
    let statements = "ALTER TABLE public.a REPLICA IDENTITY FULL;\n\
                      ALTER TABLE public.b REPLICA IDENTITY FULL;";
    assert_eq!((code, sql.as_str()), (0, statements));
    database.execute(&sql);
    assert_eq!(check_as(&config, &url, &["--sql"]).2, "");

    let (code, log, _) = check_as(&config, &url, &["--sql", "--json"]);
    assert_eq!(code, 64, "{log}");
    assert!(log.contains("--json or --sql, not both"), "{log}");
}

#[test]
fn what_can_be_reached_is_checked_when_the_rest_is_away() {
    let pipeline = Pipeline::on(healthy_server(), "layers");
    let away = format!("127.0.0.1:{}", free_port());
    let no_fluvio = pipeline.config().fluvio("endpoint", &away);
    let checked = check(&no_fluvio, &pipeline.database.url());
    checked.assert_problems(&[("fluvio", "failure")], 69);
    checked.assert_status("role.replication", "ok");
    assert_eq!(checked.status("topic"), None);

    pipeline.cluster().create_topic(&pipeline.topic);
    let url = format!("postgres://u:hunter2@127.0.0.1:{}/db", free_port());
    let checked = check(&pipeline.config(), &url);
    checked.assert_problems(&[("postgres", "failure")], 69);
    checked.assert_says("postgres", "Connection refused");
    checked.assert_status("topic.tail", "ok");

    let checked = check(&no_fluvio, &url);
    checked.assert_problems(&[("fluvio", "failure"), ("postgres", "failure")], 69);
    checked.assert_status("topic.batch_size", "ok");
}

#[test]
fn the_readme_has_every_condition_and_the_help_the_exit_code() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).expect("it is there");
    for (_, name, about) in CONDITIONS {
        let row = format!("| `{name}` | {about} |");
        assert!(readme.contains(&row), "{row}");
    }
    let (code, _, help) = run_command(&["check", "--help"], &[], FAIL_DEADLINE);
    let help = help.join(" ");
    assert_eq!(code, 0);
    for part in [
        "--config",
        "--json",
        "--sql",
        "exit",
        "for the first failure",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
}
