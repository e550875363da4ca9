//! Files and variables as other systems, and mistakes, leave them: marks of an encoding, nothing at
//! all, too much, and names that are no text.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::config::{Home, URL, with};
use crate::support::connector::{Connector, URL_VARIABLE, run_command};
use crate::support::outcome::{FAIL_DEADLINE, assert_end};
use crate::support::postgres::Postgres;

const URL_FILE: &str = "FLUVIO_PG_DATABASE_URL_FILE";

/// The mark of UTF-8.
const MARK: &str = "\u{feff}";

fn utf_16(text: &str) -> Vec<u8> {
    let units = format!("{MARK}{text}");
    units.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// How `run --stdout --once` ends.
#[track_caller]
fn ends(config: &Path, variables: &[(&str, &str)], code: i32, says: &[&str]) -> String {
    let mut connector = Connector::spawn_with(config, &["--stdout", "--once"], variables);
    let found = connector.wait_exit(FAIL_DEADLINE);
    assert_end((found, connector.log(), Vec::new()), code, says)
}

/// A server on the way that libpq's defaults lead to must not be found instead.
#[test]
fn a_secret_that_is_there_and_empty_is_named() {
    let home = Home::new();
    let config = home.write("config.yaml", &with(""), 0o600);
    let database = Postgres::shared().database("empty_secret");
    let port = database.port().to_string();
    let defaults = [("PGHOST", "127.0.0.1"), ("PGPORT", &port)];
    for empty in ["", "\n", " \t\r\n", MARK] {
        let path = home.write("credentials/FLUVIO_PG_DATABASE_URL", empty, 0o600);
        let credentials = home.path("credentials").display().to_string();
        let path = path.display().to_string();
        let of_path = format!("{path}: the database URL is there and empty");
        let of_variable = "FLUVIO_PG_DATABASE_URL: the database URL is there and empty";
        for (variable, value, says) in [
            (URL_FILE, path.as_str(), of_path.as_str()),
            ("CREDENTIALS_DIRECTORY", &credentials, &of_path),
            (URL_VARIABLE, empty, of_variable),
        ] {
            let variables = [&defaults[..], &[(variable, value)]].concat();
            ends(&config, &variables, 78, &[says]);
        }
    }
}

#[test]
fn the_password_of_a_file_that_has_none() {
    let home = Home::new();
    let config = home.write("config.yaml", &with(""), 0o600);
    let file = home.write(".pgpass", "127.0.0.1:1:db:u:\n", 0o600);
    let file = file.display().to_string();
    let variables = [
        (URL_VARIABLE, "postgres://u@127.0.0.1:1/db"),
        ("PGPASSFILE", file.as_str()),
    ];
    let says = "its line for this connection has no password";
    ends(&config, &variables, 78, &[&file, says]);

    let empty = home.write("empty", " \n", 0o600).display().to_string();
    let named = [variables[0], ("PGPASSFILE", empty.as_str())];
    ends(&config, &named, 78, &[&empty, "it is there and empty"]);

    let text = with("password_command: 'echo \" \"'");
    let config = home.write("config.yaml", &text, 0o600);
    let says = "password_command printed no password";
    ends(&config, &variables[..1], 78, &[says]);
}

#[test]
fn the_source_of_a_url_that_is_wrong() {
    let home = Home::new();
    let wrong = "postgres://u:hunter2@h/db?sslmode=always";
    let file = home.write("url", wrong, 0o600).display().to_string();
    let plain = home.write("plain.yaml", &with(""), 0o600);
    let says = "the database URL: sslmode: expected disable";
    ends(
        &plain,
        &[(URL_VARIABLE, wrong)],
        78,
        &[&format!("FLUVIO_PG_DATABASE_URL: {says}")],
    );
    let of_file = format!("{file}: {says}");
    ends(&plain, &[(URL_FILE, &file)], 78, &[&of_file]);
    let text = with(&format!("secrets: {{ FLUVIO_PG_DATABASE_URL: '{wrong}' }}"));
    let config = home.write("config.yaml", &text, 0o600);
    let place = format!("{}: secrets.FLUVIO_PG_DATABASE_URL: ", config.display());
    ends(&config, &[], 78, &[&place, says]);
    // Of a variable that libpq has it is that variable, and not the URL.
    let variables = [(URL_VARIABLE, URL), ("PGSSLMODE", "always")];
    let log = ends(&plain, &variables, 78, &["PGSSLMODE: expected disable"]);
    assert!(!log.contains(URL_VARIABLE), "{log}");
}

#[test]
fn marks_of_an_encoding() {
    let home = Home::new();
    let marked = format!("{MARK}{}", with(""));
    let config = home.write("config.yaml", &marked, 0o600);
    let service = "[s]\nhost=127.0.0.1\nport=1\nuser=u\n";
    let service = home.write("services", &format!("{MARK}{service}"), 0o600);
    let url = home.write("url", &format!("{MARK}service=s\r\n"), 0o600);
    let (url, service) = (url.display().to_string(), service.display().to_string());
    let variables = [(URL_FILE, url.as_str()), ("PGSERVICEFILE", &service)];
    ends(&config, &variables, 69, &["cannot connect to 127.0.0.1"]);

    let says = "it is UTF-16: save it as UTF-8";
    for (file, text) in [("config.yaml", with("")), ("url", URL.to_owned())] {
        fs::write(home.path(file), utf_16(&text)).expect("it is ours");
        let path = home.path(file).display().to_string();
        let log = ends(&config, &variables, 78, &[&path, says]);
        assert!(!log.contains("hunter2"), "{log}");
        fs::write(home.path(file), &marked).expect("it is ours");
    }
    fs::write(home.path("services"), utf_16("[s]\nhost=x\n")).expect("it is ours");
    fs::write(home.path("url"), "service=s").expect("it is ours");
    ends(&config, &variables, 78, &[&service, says]);
}

/// What never ends, and what only looks like a file, costs neither memory nor time.
#[test]
fn more_than_anybody_writes() {
    let home = Home::new();
    let begun = Instant::now();
    let variables = [(URL_VARIABLE, URL)];
    let too_large = "it is larger than 1048576 bytes";
    ends(Path::new("/dev/zero"), &variables, 78, &[too_large]);
    let brackets = home.write("brackets.yaml", &"[".repeat(100_000), 0o600);
    let says = "more than 1000 opening brackets";
    ends(&brackets, &variables, 78, &[says]);

    let mut laughs = with("a: &a0 [x]");
    for i in 1..40 {
        let of_last = format!("*a{0},*a{0},*a{0},*a{0},*a{0}", i - 1);
        laughs.push_str(&format!("\na{i}: &a{i} [{of_last}]"));
    }
    let laughs = home.write("laughs.yaml", &laughs, 0o600);
    ends(&laughs, &variables, 78, &["unknown field `a`"]);

    let config = home.write("config.yaml", &with(""), 0o600);
    let says = "cannot read the secret FLUVIO_PG_DATABASE_URL from /dev/zero: it is larger";
    ends(&config, &[(URL_FILE, "/dev/zero")], 78, &[says]);
    let variables = [(URL_VARIABLE, "service=s"), ("PGSERVICEFILE", "/dev/zero")];
    let says = "/dev/zero: cannot read the service file: it is larger";
    ends(&config, &variables, 78, &[says]);
    let long = format!("postgres://u@127.0.0.1:1/db?options={}", "x".repeat(20_000));
    let says = "FLUVIO_PG_DATABASE_URL: the database URL: options: expected at most";
    ends(&config, &[(URL_VARIABLE, &long)], 78, &[says]);
    assert!(begun.elapsed() < Duration::from_secs(60));
}

/// What somebody's shell pipes into the program is read to its end.
#[test]
fn a_config_out_of_a_pipe() {
    let home = Home::new();
    let pipe = home.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let mut connector =
        Connector::spawn_with(&pipe, &["--stdout", "--once"], &[(URL_VARIABLE, URL)]);
    fs::write(&pipe, with("")).expect("the program reads it");
    let code = connector.wait_exit(FAIL_DEADLINE);
    let outcome = (code, connector.log(), Vec::new());
    assert_end(outcome, 69, &["cannot connect to 127.0.0.1"]);
}

fn no_text(name: &[u8]) -> OsString {
    OsString::from_vec([name, b"\xff\xfehunter2"].concat())
}

#[test]
fn a_config_whose_path_is_no_text() {
    let home = Home::new();
    let path = home.0.path().join(no_text(b"config"));
    fs::write(&path, with("")).expect("Linux takes any name");
    // The same as it is shown, which must not be taken for it.
    let shown = home.path("config\u{fffd}\u{fffd}hunter2");
    fs::write(shown, "").expect("it can be made");
    let output = Command::new(env!("CARGO_BIN_EXE_postgres-source"))
        .args([OsStr::new("config"), OsStr::new("-c"), path.as_os_str()])
        .env_clear()
        .env(URL_VARIABLE, URL)
        .output()
        .expect("the program runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(output.stdout.starts_with(b"# u connects to"), "{log}");
}

#[test]
fn variables_that_are_no_text_are_not_quoted() {
    let home = Home::new();
    let config = home.write("config.yaml", &with(""), 0o600);
    for variable in [
        URL_VARIABLE,
        "FLUVIO_PG_SLOT",
        "FLUVIO_PG_PUBLICATION",
        "FLUVIO_PG_LOG_FORMAT",
        "PGOPTIONS",
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_postgres-source"))
            .args([OsStr::new("config"), OsStr::new("-c"), config.as_os_str()])
            .env_clear()
            .env(URL_VARIABLE, URL)
            .env(variable, no_text(b""))
            .output()
            .expect("the program runs");
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{log}");
        assert!(log.contains(&format!("{variable} is not UTF-8")), "{log}");
        assert!(!log.contains("hunter2"), "{log}");
        assert!(output.stderr.is_ascii(), "{log}");
    }
}

/// The file in which the ordinary tools of Fluvio keep the cluster.
#[test]
fn a_profile_that_is_no_text_or_never_ends() {
    let home = Home::new();
    let config = home.write("config.yaml", &with(""), 0o600);
    let path = config.to_str().expect("a path in UTF-8");
    let wide = home.path("profile");
    fs::write(&wide, utf_16("version = \"2.0\"\n")).expect("it is ours");
    let wide = wide.display().to_string();
    for (profile, says) in [
        (wide.as_str(), "it is UTF-16: save it as UTF-8"),
        ("/dev/zero", "it is larger than 1048576 bytes"),
    ] {
        let variables = [(URL_VARIABLE, URL), ("FLV_PROFILE_PATH", profile)];
        let args = ["run", "--once", "--config", path];
        let outcome = run_command(&args, &variables, FAIL_DEADLINE);
        let place = format!("cannot read the Fluvio profile {profile}: ");
        assert_end(outcome, 78, &[&place, says]);
    }
}
