//! Making the faults happen, and making sure that none is left.
//!
//! The pauses here are the faults: how long something is away or frozen.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use postgres_source::lsn::Lsn;
use postgres_source::pg::replication::{ReplicationConnection, ReplicationStream, Wanted};
use postgres_source::pg::target::Target;

use super::super::POLL_INTERVAL;
use super::super::fluvio::{FluvioServer, Side, When};
use super::super::proxy::{Direction, End, Proxy};
use super::draw::FORGET_WITHIN;
use super::fault::{Fault, Line, Ms, Sides};
use super::stage::Stage;

/// A fault that waits for traffic meets it soon, unless another one has stopped it.
const MEET_DEADLINE: Duration = Duration::from_secs(4);
/// The slot is free soon after its reader is gone.
const HOLD_DEADLINE: Duration = Duration::from_secs(5);
const COMMAND_DEADLINE: Duration = Duration::from_secs(120);
/// Often enough for a walsender that waits for a second.
const HOLD_STATUS: Duration = Duration::from_millis(100);

/// The commands that kill the SPU of a real cluster and start it again.
pub const SPU_DOWN: &str = "TORTURE_SPU_DOWN";
pub const SPU_UP: &str = "TORTURE_SPU_UP";

type Result<T = ()> = std::result::Result<T, String>;

/// Makes a fault happen, from its beginning to its end.
pub fn strike(stage: &Stage, fault: &Fault) -> Result {
    match fault {
        Fault::Kill { away } => {
            stage.kill()?;
            pause(*away);
            stage.start();
        }
        Fault::KillWhileStarting { after } => {
            for after in after {
                stage.kill()?;
                stage.start();
                pause(*after);
            }
        }
        Fault::Terminate { away } => {
            stage.terminate()?;
            pause(*away);
            stage.start();
        }
        Fault::TerminateAndKill { after } => {
            stage.terminate_and_kill((*after).into())?;
            stage.start();
        }
        Fault::Pause { pause } => stage.pause((*pause).into())?,
        Fault::PauseWhileStarting {
            after,
            pause: paused,
        } => {
            stage.kill()?;
            stage.start();
            pause(*after);
            stage.pause((*paused).into())?;
        }
        Fault::HoldSlot { kill, pause } => hold_slot(stage, *kill, *pause)?,
        Fault::Restart { mode, away } => {
            stage.postgres.stop(*mode);
            pause(*away);
            stage.postgres.start_again();
        }
        Fault::TerminateWalsender { times } => terminate_walsender(stage, *times),
        Fault::Commands { away } => {
            run(SPU_DOWN)?;
            pause(*away);
            run(SPU_UP)?;
        }
        Fault::Cut { .. }
        | Fault::Break { .. }
        | Fault::Block { .. }
        | Fault::Silence { .. }
        | Fault::Fragment { .. } => break_line(stage, fault),
        Fault::Two {
            first,
            second,
            after,
        } => {
            return thread::scope(|scope| {
                let first = scope.spawn(|| strike(stage, first));
                pause(*after);
                let second = strike(stage, second);
                match first.join() {
                    Ok(first) => first.and(second),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            });
        }
        _ => break_fluvio(stage, stage.server().expect("it is in this process"), fault),
    }
    Ok(())
}

/// Ends whatever is left of a fault.
pub fn heal(stage: &Stage) {
    for line in [Line::Postgres, Line::Sc, Line::Spu] {
        if let Some(proxy) = proxy(stage, line) {
            proxy.pass();
        }
    }
    if let Some(server) = stage.server() {
        server.clear_faults();
        server.set_not_leader_after_restart(stage.settings.not_leader);
    }
}

fn break_fluvio(stage: &Stage, server: &FluvioServer, fault: &Fault) {
    match fault {
        Fault::Away { sides, pause: away } => {
            match sides {
                Sides::Both => server.stop(),
                Sides::One(side) => server.stop_side(*side),
            }
            if *sides == Sides::One(Side::Sc) {
                // Only a new session asks the SC.
                end_all(stage, Line::Spu, End::Reset);
            }
            pause(*away);
            match sides {
                Sides::Both => server.restart(),
                Sides::One(side) => server.restart_side(*side),
            }
        }
        Fault::Freeze { pause: frozen } => {
            server.freeze();
            pause(*frozen);
            server.thaw();
        }
        Fault::Forget {
            within,
            kept_permille,
        } => {
            // The follower reads between the faults: nothing of what it has seen is forgotten.
            let (start, asked) = (server.end_offset(&stage.topic, 0), Instant::now());
            pause(*within);
            server.stop();
            // On a busy machine this may have taken longer than what the program holds back.
            if asked.elapsed() < 2 * FORGET_WITHIN {
                let new = server.end_offset(&stage.topic, 0) - start;
                let kept = new * i64::try_from(*kept_permille).expect("a small number") / 1000;
                server.truncate(&stage.topic, 0, start + kept);
            }
            server.restart();
        }
        Fault::Produce { fault, nth } => {
            server.inject(fault.clone(), When::Nth(*nth));
            wait_met(|| server.armed_faults() == 0);
        }
        Fault::NotLeader { pause: not_leader } => {
            server.not_leader_for((*not_leader).into());
            pause(*not_leader);
        }
        Fault::Offsets { code, times } => {
            for nth in 1..=*times {
                server.inject_offset_error(code.clone(), When::Nth(nth as usize));
            }
            end_all(stage, Line::Spu, End::Fin);
            wait_met(|| server.armed_faults() == 0);
        }
        Fault::Drop { how } => server.drop_connections(*how),
        Fault::Refuse { how, pause: away } => {
            server.refuse_for((*away).into());
            server.drop_connections(*how);
            pause(*away);
        }
        other => unreachable!("{other:?} is no fault of Fluvio"),
    }
}

fn break_line(stage: &Stage, fault: &Fault) {
    match *fault {
        Fault::Cut {
            line,
            direction,
            bytes,
            end,
        } => {
            let cut = proxy(stage, line).expect("the line has a proxy");
            cut.cut_after(direction, bytes, end);
            if line == Line::Sc {
                // Only a new session asks the SC.
                end_all(stage, Line::Spu, End::Reset);
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
            let proxy = proxy(stage, line).expect("the line has a proxy");
            proxy.refuse(refusal);
            proxy.end_all(end);
            if line == Line::Sc {
                end_all(stage, Line::Spu, end);
            }
            pause(blocked);
            proxy.accept_again();
        }
        Fault::Silence {
            line,
            direction,
            pause: silent,
        } => {
            let proxy = proxy(stage, line).expect("the line has a proxy");
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
            let proxy = proxy(stage, line).expect("the line has a proxy");
            proxy.fragment(bytes);
            proxy.end_all(End::Fin);
            pause(slow);
            proxy.pass();
        }
        ref other => unreachable!("{other:?} is no fault of a line"),
    }
}

/// Another session takes the slot between two runs of the program, and lets go of it while the
/// second one asks for it. It confirms nothing.
fn hold_slot(stage: &Stage, kill: bool, Ms(hold_ms): Ms) -> Result {
    match kill {
        true => stage.kill()?,
        false => stage.terminate()?,
    }
    // With a second fault the server may be away: then nobody holds the slot.
    let holder = take_slot(stage);
    stage.start();
    let until = Instant::now() + Duration::from_millis(hold_ms);
    if let Some(mut holder) = holder {
        while Instant::now() < until && holder.send_status(Lsn(0)).is_ok() {
            thread::sleep(HOLD_STATUS);
        }
    }
    Ok(())
}

fn take_slot(stage: &Stage) -> Option<ReplicationStream> {
    let url = stage.database.url();
    let target = Target::parse(&url, "holder").expect("the URL of the tests is valid");
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

fn terminate_walsender(stage: &Stage, times: u64) {
    let sql = format!(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
         WHERE slot_name = '{}'",
        stage.slot
    );
    for _ in 0..times {
        // With a second fault the server may be away.
        let _ = stage.database.try_execute(&sql);
        pause(Ms(50));
    }
}

fn end_all(stage: &Stage, line: Line, end: End) {
    match proxy(stage, line) {
        Some(proxy) => proxy.end_all(end),
        // Without a line to the SPU, what ends the session is a line to PostgreSQL.
        None => stage.lines.postgres.end_all(end),
    }
}

fn proxy(stage: &Stage, line: Line) -> Option<&Proxy> {
    match line {
        Line::Postgres => Some(&stage.lines.postgres),
        Line::Sc => Some(&stage.lines.sc),
        Line::Spu => stage.lines.spu.as_ref(),
    }
}

fn pause(pause: Ms) {
    thread::sleep(pause.into());
}

fn wait_met(is_met: impl Fn() -> bool) {
    let until = Instant::now() + MEET_DEADLINE;
    while Instant::now() < until && !is_met() {
        thread::sleep(POLL_INTERVAL);
    }
}

/// Runs the command that a variable holds, which must succeed.
fn run(variable: &str) -> Result {
    let command = std::env::var(variable).map_err(|_| format!("{variable} is not set"))?;
    let child = Command::new("sh")
        .args(["-c", &command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let mut child = child.map_err(|error| format!("{variable}: {error}"))?;
    match wait(&mut child) {
        Some(true) => Ok(()),
        Some(false) => Err(format!("{variable} failed: {command}")),
        None => {
            let _ = child.kill();
            let _ = child.wait();
            Err(format!("{variable} does not end: {command}"))
        }
    }
}

fn wait(child: &mut Child) -> Option<bool> {
    let until = Instant::now() + COMMAND_DEADLINE;
    while Instant::now() < until {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status.success());
        }
        thread::sleep(POLL_INTERVAL);
    }
    None
}
