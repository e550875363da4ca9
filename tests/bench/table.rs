//! The report: a Markdown page that says what was measured, on what, and how to do it again.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::Result;
use crate::SETTINGS;
use crate::fluvio::Fluvio;
use crate::support::postgres::Postgres;

/// Where results are kept.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/bench-results");

/// A table, its columns as wide as what is in them so that it reads well as text too.
pub struct Table {
    rows: Vec<Vec<String>>,
}

/// The page.
pub struct Report {
    date: String,
    head: Vec<(&'static str, String)>,
    tables: String,
    notes: Vec<String>,
    /// An SVG, kept beside the page.
    picture: Option<String>,
}

impl Table {
    pub fn new(columns: &[&str]) -> Table {
        Table {
            rows: vec![columns.iter().map(|&name| name.to_owned()).collect()],
        }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    fn markdown(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths);
            let cells = cells.map(|(cell, width)| format!(" {cell:width$} "));
            text.push_str(&line(cells));
            if index == 0 {
                text.push_str(&line(widths.iter().map(|width| "-".repeat(width + 2))));
            }
        }
        text
    }
}

fn line(cells: impl Iterator<Item = String>) -> String {
    format!("|{}|\n", cells.collect::<Vec<_>>().join("|"))
}

impl Report {
    /// Takes down the machine and the versions.
    pub fn new(postgres: &Postgres, fluvio: Option<&Fluvio>) -> Report {
        let settings: Vec<String> = SETTINGS
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut head = vec![
            ("command", command_line()),
            ("machine", machine()),
            ("kernel", first_line("/proc/sys/kernel/osrelease")),
            ("load at the start", first_line("/proc/loadavg")),
            ("postgres-source", version()),
            (
                "PostgreSQL",
                said(&Postgres::bin_dir().join("postgres"), &["--version"]),
            ),
            ("settings", format!("fsync=off {}", settings.join(" "))),
            (
                "wal2json",
                said(
                    Path::new("dpkg-query"),
                    &[
                        "-W",
                        "-f=${Version}",
                        &format!("postgresql-{}-wal2json", postgres.major()),
                    ],
                ),
            ),
        ];
        if let Some(fluvio) = fluvio {
            head.push(("Fluvio", fluvio.describe()));
        }
        Report {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            head,
            tables: String::new(),
            notes: Vec::new(),
            picture: None,
        }
    }

    pub fn table(&mut self, table: &Table) {
        self.tables.push_str(&table.markdown());
        self.tables.push('\n');
    }

    pub fn picture(&mut self, svg: String) {
        self.picture = Some(svg);
    }

    pub fn note(&mut self, note: &str) {
        self.notes.push(note.to_owned());
    }

    /// What is true of the whole run.
    pub fn note_once(&mut self, note: &str) {
        if !self.notes.iter().any(|known| known == note) {
            self.note(note);
        }
    }

    /// The whole page.
    pub fn text(&self) -> String {
        let mut text = format!("# {}\n\n", self.date);
        for (name, value) in &self.head {
            if !value.is_empty() {
                writeln!(text, "- {name}: {value}").expect("a string takes it");
            }
        }
        text.push('\n');
        text.push_str(&self.tables);
        for note in &self.notes {
            writeln!(text, "- {note}").expect("a string takes it");
        }
        text
    }

    /// Keeps the page, and says where.
    pub fn save(&self, name: &str) -> Result<PathBuf> {
        let stem = format!("{}-{name}", self.date.replace(':', "-"));
        let mut text = self.text();
        if let Some(svg) = &self.picture {
            keep(&format!("{stem}.svg"), svg)?;
            writeln!(text, "\n![{name}]({stem}.svg)").expect("a string takes it");
        }
        keep(&format!("{stem}.md"), &text)
    }
}

fn keep(name: &str, text: &str) -> Result<PathBuf> {
    let path = Path::new(DIRECTORY).join(name);
    fs::create_dir_all(DIRECTORY)
        .and_then(|()| fs::write(&path, text))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path)
}

/// As it was given to the script, which passes its arguments on.
fn command_line() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("scripts/bench {}", arguments.join(" "))
        .trim_end()
        .to_owned()
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, model)| model);
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kb: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_default();
    format!("{model}, {cpus} CPUs, {} GB", kb / 1_000_000)
}

fn version() -> String {
    let commit = said(
        Path::new("git"),
        &[
            "-C",
            env!("CARGO_MANIFEST_DIR"),
            "describe",
            "--always",
            "--dirty",
        ],
    );
    format!("{} {commit}", env!("CARGO_PKG_VERSION"))
        .trim_end()
        .to_owned()
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

/// What a program says of itself; nothing when it is not there.
fn said(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map_or(String::new(), |output| {
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    text.trim().to_owned()
}
