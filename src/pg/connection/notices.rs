//! Notices: what a server says without being asked.

use log::Level;

use crate::pg::wire::server_error::ServerError;

/// The most notices that are logged for a session. A server that has not let us in may be anybody's, and
/// one that has may have a trigger that talks without end: neither may fill a disk.
const MOST: u32 = 20;

/// The notices of one session.
#[derive(Debug, Default)]
pub struct Notices {
    is_let_in: bool,
    logged: u32,
    left_out: u64,
}

impl Notices {
    /// Makes notices worth a line of the level info: the server has let us in.
    pub fn let_in(&mut self) {
        self.is_let_in = true;
    }

    /// Logs a notice, or counts it when there were too many.
    pub fn log(&mut self, notice: ServerError) {
        if self.logged == MOST {
            self.left_out += 1;
            return;
        }
        self.logged += 1;
        log::log!(self.level(), "PostgreSQL: {}", notice.without_rows());
    }

    fn level(&self) -> Level {
        match self.is_let_in {
            true => Level::Info,
            false => Level::Debug,
        }
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        if self.left_out > 0 {
            let left_out = self.left_out;
            log::log!(
                self.level(),
                "PostgreSQL: {left_out} more notices were left out"
            );
        }
    }
}
