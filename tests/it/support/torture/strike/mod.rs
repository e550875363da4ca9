//! Making the faults happen, from their beginnings to their ends.
//!
//! The pauses here are the faults: how long something is away or frozen.

pub mod command;
mod fluvio;
mod line;
mod slot;

use std::thread;
use std::time::{Duration, Instant};

use super::super::POLL_INTERVAL;
use super::super::postgres::Stop;
use super::fault::{Ends, Fault, Ms};
use super::stage::Stage;

/// A fault that waits for traffic meets it soon, unless another one has stopped it.
const MEET_DEADLINE: Duration = Duration::from_secs(4);

type Result<T = ()> = std::result::Result<T, String>;

/// Makes a fault happen, from its beginning to its end.
pub fn strike(stage: &Stage<'_>, fault: &Fault) -> Result {
    match fault {
        Fault::Kill { .. }
        | Fault::KillWhileStarting { .. }
        | Fault::Terminate { .. }
        | Fault::TerminateAndKill { .. }
        | Fault::Pause { .. }
        | Fault::PauseWhileStarting { .. }
        | Fault::PassOn(_)
        | Fault::StartTogether { .. }
        | Fault::NoOutput(_)
        | Fault::HoldSlot { .. } => return strike_program(stage, fault),
        Fault::Restart { mode, away } => restart(stage, *mode, *away),
        Fault::RestartPrimary { mode, away } => stage.source.restart_primary(*mode, (*away).into()),
        Fault::Promote { crash } => {
            stage.source.promote()?;
            if let Some(after) = crash {
                pause(*after);
                restart(stage, Stop::Immediate, Ms(0));
            }
        }
        Fault::RoleSetting { name, value } => {
            // With a second fault the server may be away.
            let _ = stage.source.set_role(name, value);
            terminate_walsender(stage, 1);
        }
        Fault::TerminateWalsender { times } => terminate_walsender(stage, *times),
        Fault::Commands { away } => {
            command::run(command::SPU_DOWN)?;
            pause(*away);
            command::run(command::SPU_UP)?;
        }
        Fault::Unplug {
            line,
            direction,
            pause,
            meanwhile,
        } => return line::unplug(stage, *line, *direction, *pause, *meanwhile),
        Fault::Cut { .. }
        | Fault::Break { .. }
        | Fault::Block { .. }
        | Fault::Silence { .. }
        | Fault::Fragment { .. } => line::break_line(stage, fault),
        Fault::Two {
            first,
            second,
            after,
        } => return strike_two(stage, first, second, *after),
        Fault::Restore(_) => unreachable!("it ends a round"),
        _ => {
            let server = stage.server().expect("it is in this process");
            fluvio::break_fluvio(stage, server, fault);
        }
    }
    Ok(())
}

/// Ends whatever is left of a fault.
pub fn heal(stage: &Stage<'_>) {
    stage.lines.heal();
    if let Some(server) = stage.server() {
        server.clear_faults();
        server.set_not_leader_after_restart(stage.settings.not_leader);
    }
}

fn strike_two(stage: &Stage<'_>, first: &Fault, second: &Fault, after: Ms) -> Result {
    thread::scope(|scope| {
        let first = scope.spawn(|| strike(stage, first));
        pause(after);
        let second = strike(stage, second);
        match first.join() {
            Ok(first) => first.and(second),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn strike_program(stage: &Stage<'_>, fault: &Fault) -> Result {
    let program = &stage.program;
    match fault {
        Fault::Kill { away } => {
            program.end(Ends::Killed)?;
            pause(*away);
            program.start();
        }
        Fault::KillWhileStarting { after } => {
            for after in after {
                program.end(Ends::Killed)?;
                program.start();
                pause(*after);
            }
        }
        Fault::Terminate { away } => {
            program.end(Ends::Stopped)?;
            pause(*away);
            program.start();
        }
        Fault::TerminateAndKill { after } => {
            program.stop_and_kill((*after).into())?;
            program.start();
        }
        Fault::Pause { pause } => program.pause((*pause).into())?,
        Fault::PauseWhileStarting {
            after,
            pause: paused,
        } => {
            program.end(Ends::Killed)?;
            program.start();
            pause(*after);
            program.pause((*paused).into())?;
        }
        Fault::PassOn(plan) => {
            if let Some((away, after)) = plan.behind {
                program.end(Ends::Killed)?;
                pause(away);
                program.start();
                program.wait_newest_streams();
                pause(after);
            }
            program.pass_on(plan)?;
        }
        Fault::StartTogether {
            more,
            apart,
            together,
            ends,
        } => program.start_together(*more, (*apart).into(), (*together).into(), *ends)?,
        Fault::NoOutput(nowhere) => program.run_to_nowhere(*nowhere)?,
        Fault::HoldSlot { ends, pause } => slot::hold_slot(stage, *ends, *pause)?,
        other => unreachable!("{other:?} is no fault of the program"),
    }
    Ok(())
}

fn restart(stage: &Stage<'_>, mode: Stop, away: Ms) {
    let postgres = &stage.source.postgres;
    postgres.stop(mode);
    pause(away);
    postgres.start_again();
}

fn terminate_walsender(stage: &Stage<'_>, times: u64) {
    let sql = format!(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
         WHERE slot_name = '{}'",
        stage.slot
    );
    for _ in 0..times {
        // With a second fault the server may be away.
        let _ = stage.source.database.try_execute(&sql);
        pause(Ms(50));
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
