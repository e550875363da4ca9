//! Ends the programs under test, and removes their files, when the test process is killed.
#![allow(dead_code)]

use super::super::lock;
use super::process;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use tempfile::TempDir;

/// Collects the programs that run. Once the pipe closes, because the test process is gone
/// however it ended, those that are left are killed. The start time tells whether a process
/// id still means the same process.
///
/// Argument: the directory to remove at the end.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
home=$1
running=' '
while read -r command process; do
    case $command in
    hold) running="$running$process " ;;
    release) running="${running%% "$process" *} ${running#* "$process" }" ;;
    esac
done
for process in $running; do
    pid=${process%:*}
    stat=$(cat "/proc/$pid/stat" 2>/dev/null) || continue
    # The name of the program ends with the last parenthesis; the start time is field 22.
    set -- ${stat##*) }
    if [ "${20}" = "${process#*:}" ]; then kill -KILL "$pid"; fi
done
rm -rf "$home"
"#;

/// A program that will not outlive the test process. Dropped once the program has ended.
pub struct Leash {
    process: String,
}

impl Leash {
    pub fn hold(pid: u32) -> Leash {
        let process = format!("{pid}:{}", process::start_time(pid));
        tell(&format!("hold {process}"));
        Leash { process }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        tell(&format!("release {}", self.process));
    }
}

/// A directory that goes away on drop, and else with the test process.
pub fn temp_dir(prefix: &str) -> TempDir {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    builder
        .tempdir_in(&lock(holder()).home)
        .expect("a temporary directory can be made")
}

/// The process that runs the script, one for the whole test process.
struct Holder {
    process: Child,
    home: PathBuf,
}

fn holder() -> &'static Mutex<Holder> {
    static HOLDER: OnceLock<Mutex<Holder>> = OnceLock::new();
    HOLDER.get_or_init(|| Mutex::new(start()))
}

fn tell(line: &str) {
    let mut holder = lock(holder());
    let pipe = holder.process.stdin.as_mut().expect("stdin is a pipe");
    writeln!(pipe, "{line}").expect("the holder of the leashes reads");
}

fn start() -> Holder {
    let home = tempfile::Builder::new()
        .prefix("postgres-source-programs-")
        .tempdir()
        .expect("a temporary directory can be made")
        .keep();
    let process = Command::new("sh")
        .args(["-c", SCRIPT, "leash"])
        .arg(&home)
        // A kill of the whole group of the tests must not reach it.
        .process_group(0)
        .stdin(Stdio::piped())
        // Inherited outputs would keep a reader of the tests' output waiting.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh runs");
    Holder { process, home }
}
