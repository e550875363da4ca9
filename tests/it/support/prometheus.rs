//! A real Prometheus that scrapes, its promtool, and the node exporter.
#![allow(dead_code)]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::connector::leash::{Leash, temp_dir};
use super::{ports, wait_until};

/// A busy machine takes its time to start one.
const START: Duration = Duration::from_secs(60);

/// A server of HTTP on a port of 127.0.0.1. It ends when it is dropped, and when the test process
/// dies.
pub struct Server {
    child: Child,
    port: u16,
    _leash: Leash,
    _directory: Option<TempDir>,
}

impl Server {
    /// Scrapes the address each second, with the job that the README names, and evaluates the rules.
    pub fn prometheus(scraped: SocketAddr, rules: &Path) -> Server {
        let directory = temp_dir("prometheus-");
        let config = directory.path().join("prometheus.yaml");
        let text = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: [ '{}' ]\n\
             scrape_configs:\n\
             - job_name: postgres-source\n  \
               static_configs: [ {{ targets: [ '{scraped}' ] }} ]\n",
            rules.display()
        );
        std::fs::write(&config, text).expect("it can be written");
        let mut command = Command::new(program("prometheus"));
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ));
        Server::start(command, "/-/ready", Some(directory))
    }

    /// Shows what is in the text files of a directory.
    pub fn node_exporter(text_files: &Path) -> Server {
        let mut command = Command::new(program("prometheus-node-exporter"));
        command
            .args(["--collector.disable-defaults", "--collector.textfile"])
            .arg(format!(
                "--collector.textfile.directory={}",
                text_files.display()
            ));
        Server::start(command, "/metrics", None)
    }

    fn start(mut command: Command, ready: &str, directory: Option<TempDir>) -> Server {
        let port = ports::free_port();
        let child = command
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it was found");
        let server = Server {
            _leash: Leash::hold(child.id()),
            child,
            port,
            _directory: directory,
        };
        wait_until("Prometheus or its exporter answers", START, || {
            server
                .try_get(ready)
                .is_some_and(|(status, _)| status == 200)
        });
        server
    }

    /// The body of the answer.
    #[track_caller]
    pub fn get(&self, path: &str) -> String {
        let (status, body) = self.try_get(path).expect("it listens");
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    fn try_get(&self, path: &str) -> Option<(u16, String)> {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        connection.set_read_timeout(Some(START)).ok()?;
        // By this version an answer is never in chunks.
        write!(connection, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// The series that an expression gives now. One that cannot be read is a failure of the test.
    #[track_caller]
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let mut path = String::from("/api/v1/query?query=");
        for byte in expression.bytes() {
            write!(path, "%{byte:02X}").expect("a string takes it");
        }
        let (status, body) = self.try_get(&path).expect("it listens");
        assert_eq!(status, 200, "{expression}: {body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        let series = answer["data"]["result"].as_array();
        series.expect("a vector").clone()
    }

    /// The rules, as they were evaluated.
    #[track_caller]
    pub fn rules(&self) -> Vec<Value> {
        let answer: Value = serde_json::from_str(&self.get("/api/v1/rules")).expect("JSON");
        let groups = answer["data"]["groups"].as_array().expect("groups").clone();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array());
        rules.flatten().cloned().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs promtool, which must succeed; returns what it says.
#[track_caller]
pub fn promtool(args: &[&str], input: &str) -> String {
    let mut child = Command::new(program("promtool"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was found");
    let mut stdin = child.stdin.take().expect("a pipe");
    // It may have said what it has to say before it has read everything.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {args:?}: {said}");
    said
}

/// Where the scripts have put it, or where it is installed.
fn program(name: &str) -> PathBuf {
    let named = std::env::var_os("PROMETHEUS_BIN").map(PathBuf::from);
    let own = std::env::current_exe().expect("Linux knows what runs");
    // The test is target/PROFILE/deps/it-HASH.
    let fetched = own
        .ancestors()
        .nth(3)
        .map(|target| target.join("prometheus/usr/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = named
        .into_iter()
        .chain(fetched)
        .chain(std::env::split_paths(&path));
    let mut found = places.map(|place| place.join(name));
    found.find(|program| program.exists()).unwrap_or_else(|| {
        panic!("{name} is missing: scripts/test fetches it, or set PROMETHEUS_BIN to its directory")
    })
}
