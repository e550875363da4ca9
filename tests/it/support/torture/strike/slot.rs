//! Another session that holds the slot.

use std::thread;
use std::time::{Duration, Instant};

use postgres_source::base::Lsn;
use postgres_source::pg::ConnectParams;
use postgres_source::pg::{ReplicationConnection, ReplicationStream, Wanted};

use super::super::super::POLL_INTERVAL;
use super::super::fault::{Ends, Ms};
use super::super::stage::Stage;
use super::Result;

/// The slot is free soon after its reader is gone.
const HOLD_DEADLINE: Duration = Duration::from_secs(5);
/// Often enough for a walsender that waits for two seconds.
const HOLD_STATUS: Duration = Duration::from_millis(100);

/// Another session takes the slot between two runs of the program, and lets go of it while the
/// second one asks for it. It confirms nothing.
pub fn hold_slot(stage: &Stage<'_>, ends: Ends, Ms(hold_ms): Ms) -> Result {
    stage.program.end(ends)?;
    // With a second fault the server may be away: then nobody holds the slot.
    let holder = take_slot(stage);
    stage.program.start();
    let until = Instant::now() + Duration::from_millis(hold_ms);
    if let Some(mut holder) = holder {
        while Instant::now() < until && holder.send_status(Lsn(0)).is_ok() {
            thread::sleep(HOLD_STATUS);
        }
    }
    Ok(())
}

fn take_slot(stage: &Stage<'_>) -> Option<ReplicationStream> {
    let url = stage.source.database.url();
    let target = ConnectParams::parse(&url, "holder").expect("the URL of the tests is valid");
    let wanted = Wanted::of(&stage.publication);
    let until = Instant::now() + HOLD_DEADLINE;
    while Instant::now() < until {
        // Nobody tells when the slot is free; the one who asks is told.
        let stream = ReplicationConnection::connect(&target)
            .and_then(|connection| connection.start(&stage.slot, wanted));
        if let Ok(stream) = stream {
            return Some(stream);
        }
        thread::sleep(POLL_INTERVAL);
    }
    None
}
