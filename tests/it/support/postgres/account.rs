//! The account that servers run under: PostgreSQL refuses to run as root.
#![allow(dead_code)]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::Path;
use std::process::Command;

/// Tried in turn when the tests run as root.
const SERVICE_ACCOUNTS: [&str; 2] = ["postgres", "nobody"];

/// The user and group of a server's processes and files.
pub struct Account {
    uid: u32,
    gid: u32,
    is_switched: bool,
}

impl Account {
    /// The account of the tests, or a service account when that is root.
    pub fn of_the_server() -> Account {
        let own = fs::metadata("/proc/self").expect("Linux has /proc/self");
        if own.uid() != 0 {
            return Account {
                uid: own.uid(),
                gid: own.gid(),
                is_switched: false,
            };
        }
        let passwd = fs::read_to_string("/etc/passwd").expect("Linux has /etc/passwd");
        let (uid, gid) = SERVICE_ACCOUNTS
            .iter()
            .find_map(|name| find_account(&passwd, name))
            .expect("an account postgres or nobody exists, as PostgreSQL refuses to run as root");
        Account {
            uid,
            gid,
            is_switched: true,
        }
    }

    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// A command that runs `program` under this account.
    pub fn command(&self, program: &Path) -> Command {
        if !self.is_switched {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={}", self.uid))
            .arg(format!("--regid={}", self.gid))
            .arg("--init-groups")
            .arg(program);
        command
    }

    /// Makes a file or directory of ours belong to this account.
    pub fn give(&self, path: &Path) {
        if self.is_switched {
            chown(path, Some(self.uid), Some(self.gid)).expect("root may give files away");
        }
    }
}

/// Writes a file that only its owner may read, as PostgreSQL demands of a TLS key.
pub fn write_private(path: &Path, contents: &str) {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(contents.as_bytes()).map(|()| file))
        .unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
    file.flush().expect("a file needs no flush");
}

/// Takes away the variables by which a user's own settings would reach a server or a client.
pub fn clear_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
}

/// The user and group numbers of a line of /etc/passwd.
fn find_account(passwd: &str, name: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}
