//! What a server says without being asked.

use log::Level;

use crate::pg::wire::server_error::ServerError;

/// A session tells no more of them. A server that has not let us in may be anybody's, and one that has may
/// have a trigger that talks without end: neither may fill a disk.
const MOST: u32 = 20;

/// The notices of one session.
#[derive(Debug, Default)]
pub struct Notices {
    is_let_in: bool,
    told: u32,
    left_out: u64,
}

impl Notices {
    /// The server has let us in: from now on its notices are worth a line.
    pub fn let_in(&mut self) {
        self.is_let_in = true;
    }

    /// Tells of one, or counts it.
    pub fn tell(&mut self, notice: ServerError) {
        if self.told == MOST {
            self.left_out += 1;
            return;
        }
        self.told += 1;
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
