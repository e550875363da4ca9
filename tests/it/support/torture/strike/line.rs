//! The faults of a line.

use std::thread;
use std::time::{Duration, Instant};

use super::super::super::proxy::{Direction, End};
use super::super::fault::{Fault, Line, Meanwhile, Ms};
use super::super::stage::Stage;
use super::{Result, pause, wait_met};

pub fn break_line(stage: &Stage<'_>, fault: &Fault) {
    match *fault {
        Fault::Cut {
            line,
            direction,
            bytes,
            end,
        } => {
            let cut = stage.lines.proxy(line).expect("the line has a proxy");
            cut.cut_after(direction, bytes, end);
            if line == Line::Sc {
                // Only a new session asks the SC.
                end_sessions(stage, End::Reset);
            }
            wait_met(|| !cut.is_cut_due(direction));
        }
        Fault::Break { line, end } => end_all(stage, line, end),
        Fault::Block {
            line,
            end,
            refusal,
            pause: blocked,
        } => {
            let proxy = stage.lines.proxy(line).expect("the line has a proxy");
            proxy.refuse(refusal);
            proxy.end_all(end);
            if line == Line::Sc {
                end_sessions(stage, end);
            }
            pause(blocked);
            proxy.accept_again();
        }
        Fault::Silence {
            line,
            direction,
            pause: silent,
        } => {
            let proxy = stage.lines.proxy(line).expect("the line has a proxy");
            for direction in [Direction::ToServer, Direction::ToClient]
                .into_iter()
                .filter(|way| direction.is_none_or(|one| one == *way))
            {
                proxy.freeze_direction(direction);
            }
            pause(silent);
            proxy.thaw();
        }
        Fault::Fragment {
            line,
            bytes,
            pause: slow,
        } => {
            let proxy = stage.lines.proxy(line).expect("the line has a proxy");
            proxy.fragment(bytes);
            proxy.end_all(End::Fin);
            pause(slow);
            proxy.pass();
        }
        ref other => unreachable!("{other:?} is no fault of a line"),
    }
}

/// Loses the packets of a line for a while; the program may end meanwhile, and start again before
/// the line is whole or after.
pub fn unplug(
    stage: &Stage<'_>,
    line: Line,
    direction: Option<Direction>,
    Ms(lost_ms): Ms,
    meanwhile: Option<Meanwhile>,
) -> Result {
    stage.lines.unplug(line, direction);
    let until = Instant::now() + Duration::from_millis(lost_ms);
    if line == Line::Sc {
        // Only a new session asks the SC.
        end_sessions(stage, End::Reset);
    }
    let Some(Meanwhile { after, ends, away }) = meanwhile else {
        pause(Ms(lost_ms));
        stage.lines.plug_in(line);
        return Ok(());
    };
    pause(after);
    stage.program.end(ends)?;
    let starts = Instant::now() + Duration::from(away);
    let sleep_until = |then: Instant| thread::sleep(then.saturating_duration_since(Instant::now()));
    if starts < until {
        sleep_until(starts);
        stage.program.start();
        sleep_until(until);
        stage.lines.plug_in(line);
    } else {
        sleep_until(until);
        stage.lines.plug_in(line);
        sleep_until(starts);
        stage.program.start();
    }
    Ok(())
}

/// Ends the connections of a line.
fn end_all(stage: &Stage<'_>, line: Line, end: End) {
    let proxy = stage.lines.proxy(line).expect("the line has a proxy");
    proxy.end_all(end);
}

/// Ends the connections to all SPUs, and so the session.
pub fn end_sessions(stage: &Stage<'_>, end: End) {
    if stage.lines.spus.is_empty() {
        // Without a line to the SPU, what ends the session is a line to PostgreSQL.
        return stage.lines.postgres.end_all(end);
    }
    for proxy in &stage.lines.spus {
        proxy.end_all(end);
    }
}
