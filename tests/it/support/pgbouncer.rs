//! A real PgBouncer in front of a server.
#![allow(dead_code)]

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::connector::leash::Leash;
use super::postgres::{PASSWORD, Postgres};
use super::{ports, wait_until};

/// It ends when it is dropped, and when the test process dies.
pub struct PgBouncer {
    child: Child,
    port: u16,
    _leash: Leash,
}

impl PgBouncer {
    /// `settings` are lines of its configuration.
    pub fn start(server: &Postgres, settings: &str) -> PgBouncer {
        let port = ports::free_port();
        let name = format!("pgbouncer-{port}.ini");
        let ini = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres password={PASSWORD}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\n\
             unix_socket_dir =\npool_mode = transaction\n{settings}\n",
            server.port()
        );
        server.write_data_file(&name, &ini);
        let child = server
            .command(Path::new(&program()))
            .arg(server.data_dir().join(&name))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer is installed: apt-get install pgbouncer");
        let leash = Leash::hold(child.id());
        wait_until("pgbouncer listens", Duration::from_secs(20), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        PgBouncer {
            child,
            port,
            _leash: leash,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian has it where an ordinary user's path does not reach.
fn program() -> String {
    let debian = "/usr/sbin/pgbouncer";
    let name = if Path::new(debian).exists() {
        debian
    } else {
        "pgbouncer"
    };
    name.to_owned()
}
