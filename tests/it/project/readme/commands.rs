//! Every command and every file that the README shows is run or read, in the order of the page, with
//! nothing replaced but the database, the cluster and the places of files.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use postgres_source::record::Record;
use serde_json::Value;
use tempfile::TempDir;

use super::{ROOT, blocks, readme};
use crate::support::connector::{Connector, URL_VARIABLE, program};
use crate::support::pipeline::{DEADLINE, Pipeline};

/// What is done with a block, by the words that it begins with. A block that begins with none of them
/// fails the test: whoever adds one says here how it is run.
const CASES: &[(&str, How)] = &[
    ("scripts/", How::Script),
    ("ALTER SYSTEM", How::Sql),
    ("BEGIN;", How::Elsewhere),
    ("CREATE TABLE pets", How::Elsewhere),
    ("SELECT apply", How::Elsewhere),
    ("SELECT", How::Sql),
    ("version:", How::Config),
    ("metrics:", How::MoreConfig),
    ("partitions:", How::MoreConfig),
    ("# yaml-language-server", How::MoreConfig),
    ("rule_files:", How::Yaml),
    ("{\"wal_start\"", How::Records),
    ("{\"op\"", How::Records),
    ("fluvio consume", How::Elsewhere),
    ("import json", How::Elsewhere),
    ("transforms:", How::Elsewhere),
    ("postgres://", How::Url),
    ("export FLUVIO_PG_DATABASE_URL", How::Streams),
    ("postgres-source", How::Shell),
    ("groupadd", How::Shell),
    ("install", How::Shell),
    ("*/5 * * * *", How::Crontab),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    /// It is there, a shell can read it, and its own usage names what is run. The test command itself
    /// runs those that are a test.
    Script,
    Sql,
    /// A config file.
    Config,
    /// Lines that may be added to one.
    MoreConfig,
    Yaml,
    Records,
    Url,
    /// Runs until it streams, and is stopped.
    Streams,
    /// Ends with 0, without and with everything in brackets.
    Shell,
    Crontab,
    /// Needs more than this reader has: [`super::formats`] and [`super::consuming`] find it and run it.
    Elsewhere,
}

/// The URL that stands for the reader's own.
const URL: &str = "postgres://cdc:password@hostname:5432/database";

#[test]
fn every_command_does_what_it_says() {
    let reader = Reader::new();
    let blocks = blocks(&readme());
    assert!(blocks.len() > 20, "{blocks:?}");
    for block in &blocks {
        let case = CASES.iter().find(|(begin, _)| block.starts_with(begin));
        let Some((_, how)) = case else {
            panic!("nobody says how this is run:\n{block}");
        };
        reader.follow(*how, block);
    }
    reader.check_installed();
}

/// Somebody who follows the README, from a machine with nothing on it.
struct Reader {
    pipeline: Pipeline,
    /// In place of `/`.
    root: TempDir,
    config: PathBuf,
}

impl Reader {
    fn new() -> Reader {
        let pipeline = Pipeline::new("readme");
        let root = tempfile::tempdir().expect("a temporary directory can be made");
        for dir in [
            "bin",
            "etc/fish/completions",
            "etc/systemd/system",
            "usr/bin",
            "usr/local/share/man/man1",
            "usr/local/share/zsh/site-functions",
            "usr/share/bash-completion/completions",
            "var/lib/prometheus/node-exporter",
        ] {
            fs::create_dir_all(root.path().join(dir)).expect("a directory can be made");
        }
        let config = root.path().join("config.yaml");
        let state_dir = root.path().join("state").display().to_string();
        let text = fs::read_to_string(pipeline.config().set("state_dir", &state_dir).path());
        fs::write(&config, text.expect("the config can be read")).expect("it can be copied");
        let bin = root.path().join("bin");
        symlink(program(), bin.join("postgres-source")).expect("a link can be made");
        // What would change the machine itself.
        for stub in ["systemctl", "groupadd", "dpkg-statoverride"] {
            let path = bin.join(stub);
            let text = format!(
                "#!/bin/sh\necho {stub} \"$@\" >> {}/calls\n",
                root.path().display()
            );
            fs::write(&path, text).expect("a file can be written");
            fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is ours");
        }
        pipeline
            .database
            .execute("CREATE TABLE t (id int PRIMARY KEY)");
        Reader {
            pipeline,
            root,
            config,
        }
    }

    fn follow(&self, how: How, block: &str) {
        match how {
            How::Script => block.lines().for_each(check_script),
            How::Sql => block.split_inclusive(";\n").for_each(|statement| {
                let statement = statement.replace("cdc", &self.pipeline.slot);
                self.pipeline.database.execute(&statement);
            }),
            How::Config => self.is_config(block),
            How::MoreConfig => {
                self.is_config(&format!("{}\n{block}", self.minimal()));
            }
            How::Yaml => {
                yaml_serde::from_str::<Value>(block).unwrap_or_else(|e| panic!("{e}: {block}"));
            }
            How::Records => block.lines().for_each(|line| {
                let known = Record::parse(line.as_bytes()).is_some();
                assert!(known, "{line}");
            }),
            How::Url => {
                let (code, said) = self.sh("postgres-source config --config config.yaml", block);
                assert_eq!(code, 0, "{said}");
                assert!(!said.contains("password@"), "{said}");
            }
            How::Streams => {
                self.ready();
                let mut connector = self.start();
                connector.signal("TERM");
                assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
                assert!(block.ends_with("postgres-source run --config config.yaml"));
            }
            How::Shell => self.run(block),
            How::Crontab => {
                let command = block
                    .splitn(6, ' ')
                    .nth(5)
                    .expect("five fields")
                    .trim_start();
                self.assert_ends(command, 0);
                let connector = self.start();
                self.assert_ends(command, 0);
                assert!(connector.is_running());
            }
            How::Elsewhere => {}
        }
    }

    fn start(&self) -> Connector {
        let connector = Connector::spawn(&self.config, &self.pipeline.database.url(), &[]);
        connector.wait_log("streaming from", DEADLINE);
        connector
    }

    /// Publication, slot and topic are there, and something is pending.
    fn ready(&self) {
        let (code, said) = self.sh(
            "postgres-source setup --config config.yaml || \
             postgres-source accept-gap --config config.yaml --reason 'it was taken down'; \
             postgres-source run --once-drained --config config.yaml",
            &self.pipeline.database.url(),
        );
        assert_eq!(code, 0, "{said}");
        let sql = "INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t";
        self.pipeline.database.execute(sql);
    }

    /// Lines that belong together are run together; those of this program one by one.
    fn run(&self, block: &str) {
        if !block.starts_with("postgres-source") {
            return self.assert_ends(block, 0);
        }
        for line in block.lines() {
            let all = line.replace(['[', ']'], "").replace("NUMBER", "1");
            let bare = line.split('[').next().unwrap_or_default();
            // Without what is in brackets it only says what it would do.
            let code = if line.contains("teardown") { 64 } else { 0 };
            self.ready();
            self.assert_ends(bare, code);
            // The README says so: slots are copied from version 12 on.
            let refused = line.contains("--follow") && self.pipeline.database.major() < 12;
            if all != bare {
                self.assert_ends(&all, if refused { 78 } else { 0 });
            }
        }
    }

    #[track_caller]
    fn assert_ends(&self, command: &str, code: i32) {
        let (ended, said) = self.sh(command, &self.pipeline.database.url());
        assert_eq!(ended, code, "{command}\n{said}");
    }

    /// Runs it with the reader's places in it.
    fn sh(&self, command: &str, url: &str) -> (i32, String) {
        let root = self.root.path().display().to_string();
        let here = |dir: &str| format!("{root}/{dir}/");
        // What is put in is not to be replaced again: a checkout may lie anywhere.
        let command = command
            .replace("/usr/", &here("usr"))
            .replace("/etc/", &here("etc"))
            .replace("/var/", &here("var"))
            .replace(
                "target/release/postgres-source",
                &program().display().to_string(),
            )
            .replace(URL, &self.pipeline.database.url())
            .replace(" config.yaml", &format!(" {}", self.config.display()))
            .replace(
                "> postgres-source.schema.json",
                &format!("> {root}/schema.json"),
            );
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("timeout")
            .args(["60", "sh", "-ec", &command])
            .current_dir(ROOT)
            .env("PATH", format!("{root}/bin:{path}"))
            .env(URL_VARIABLE, url)
            .stdin(Stdio::null())
            .output()
            .expect("a shell can be run");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.code().unwrap_or(-1), said)
    }

    /// The README's own config.
    fn minimal(&self) -> String {
        let blocks = blocks(&readme());
        let found = blocks
            .into_iter()
            .find(|block| block.starts_with("version:"));
        found.expect("the README has a config")
    }

    fn is_config(&self, yaml: &str) {
        let path = self.root.path().join("shown.yaml");
        fs::write(&path, yaml).expect("a file can be written");
        self.assert_ends(
            &format!("postgres-source config --config {}", path.display()),
            0,
        );
    }

    /// The unit finds what was installed, and nobody else can read the URL.
    fn check_installed(&self) {
        let at = |path: &str| self.root.path().join(path.trim_start_matches('/'));
        let unit = at("etc/systemd/system/postgres-source@.service");
        let unit = fs::read_to_string(unit).expect("the unit is installed");
        for named in ["/usr/bin/postgres-source", "/etc/postgres-source/%i.yaml"] {
            assert!(unit.contains(named), "{named}");
            assert!(at(&named.replace("%i", "pets")).exists(), "{named}");
        }
        assert!(unit.contains("/etc/postgres-source/%i.url"));
        let url = fs::metadata(at("etc/postgres-source/pets.url")).expect("the URL is there");
        assert_eq!(url.permissions().mode() & 0o777, 0o600);
        let calls = fs::read_to_string(at("calls")).expect("systemctl was called");
        assert!(
            calls.contains("systemctl enable --now postgres-source@pets"),
            "{calls}"
        );
    }
}

/// A line such as `scripts/bench latency   # what it does`.
fn check_script(line: &str) {
    let command = line.split('#').next().unwrap_or_default();
    let mut words = command.split_whitespace();
    let script = Path::new(ROOT).join(words.next().expect("a script"));
    let text = fs::read_to_string(&script).unwrap_or_else(|e| panic!("{script:?}: {e}"));
    let readable = Command::new("bash").arg("-n").arg(&script).status();
    assert!(readable.expect("bash can be run").success(), "{script:?}");
    let mode = fs::metadata(&script)
        .expect("it is there")
        .permissions()
        .mode();
    assert_ne!(mode & 0o111, 0, "{script:?} can be run");
    let usage = text.lines().take_while(|line| line.starts_with('#'));
    let usage: String = usage.collect();
    for word in words {
        assert!(usage.contains(word), "{script:?} does not explain {word}");
    }
}
