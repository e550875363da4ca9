//! What others on the machine see of the program: it holds a password and rows, which neither a dump nor a
//! look into it may show, even to processes of the same user.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::getuid;

use crate::config::{Home, URL, with};
use crate::support::connector::{Connector, URL_VARIABLE, program};
use crate::support::outcome::FAIL_DEADLINE;

/// The account that has no files, and that root, who may look into everything, becomes here.
const NOBODY: u32 = 65534;

/// An ordinary user, with a copy of the program: where it was built may be nobody else's to see.
struct User {
    uid: u32,
    home: Home,
}

impl User {
    fn new() -> User {
        let uid = match getuid().as_raw() {
            0 => NOBODY,
            own => own,
        };
        let home = Home::new();
        fs::set_permissions(home.0.path(), Permissions::from_mode(0o755)).expect("it is ours");
        User { uid, home }
    }

    fn command(&self, program: &Path) -> Command {
        if !getuid().is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={}", self.uid));
        command.arg("--clear-groups").arg(program);
        command
    }

    fn program(&self) -> PathBuf {
        let copy = self.home.path("program");
        fs::copy(program(), &copy).expect("it can be copied");
        copy
    }

    /// Runs the program, which tries for ever to reach the server.
    fn run(&self, url: &str) -> Connector {
        let config = self.home.write("config.yaml", &with(""), 0o644);
        let [run, option, stdout] = ["run", "--config", "--stdout"].map(OsStr::new);
        let args = [run, option, config.as_os_str(), stdout];
        let command = self.command(&self.program());
        Connector::spawn_by(command, &args, &[(URL_VARIABLE, url)])
    }
}

#[test]
fn nobody_looks_into_the_program() {
    let user = User::new();
    let connector = user.run(URL);
    connector.wait_log("trying again in", FAIL_DEADLINE);
    for file in ["environ", "maps", "mem"] {
        let path = format!("/proc/{}/{file}", connector.pid());
        // A dump, were there one, would be root's as well.
        assert_eq!(fs::metadata(&path).expect("it runs").uid(), 0, "{file}");
        let output = user.command(Path::new("cat")).arg(&path).output();
        let output = output.expect("cat runs");
        let says = String::from_utf8_lossy(&output.stderr);
        assert!(says.contains("Permission denied"), "{file}: {says}");
        assert!(output.stdout.is_empty(), "{file}");
    }
}
