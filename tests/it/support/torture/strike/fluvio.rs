//! The faults that only a Fluvio in this process has.

use std::time::Instant;

use postgres_source::sink::LanePlace;

use super::super::super::fluvio::{FluvioServer, Side, When};
use super::super::super::proxy::End;
use super::super::draw::FORGET_WITHIN;
use super::super::fault::{Fault, Sides};
use super::super::stage::Stage;
use super::line::end_sessions;
use super::{pause, wait_met};

pub fn break_fluvio(stage: &Stage<'_>, server: &FluvioServer, fault: &Fault) {
    match fault {
        Fault::Away { sides, pause: away } => {
            match sides {
                Sides::Both => server.stop(),
                Sides::One(side) => server.stop_side(*side),
            }
            if *sides == Sides::One(Side::Sc) {
                // Only a new session asks the SC.
                end_sessions(stage, End::Reset);
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
        Fault::SpuAway {
            number,
            pause: away,
        } => {
            server.stop_spu(*number);
            pause(*away);
            server.restart_spu(*number);
        }
        Fault::SpuFreeze {
            number,
            pause: frozen,
        } => {
            server.freeze_spu(*number, true);
            pause(*frozen);
            server.freeze_spu(*number, false);
        }
        Fault::Forget {
            within,
            kept_permille,
        } => {
            // The follower reads between the faults: nothing of what it has seen is forgotten.
            let end = |lane: &LanePlace| server.end_offset(&lane.topic, lane.partition);
            let asked = Instant::now();
            let starts: Vec<_> = stage.lanes().into_iter().map(|it| (end(&it), it)).collect();
            pause(*within);
            server.stop();
            // On a busy machine this may have taken longer than what the program holds back.
            if asked.elapsed() < 2 * FORGET_WITHIN {
                let permille = i64::try_from(*kept_permille).expect("a small number");
                for (start, lane) in starts {
                    let new = end(&lane) - start;
                    if new > 0 {
                        let kept = start + new * permille / 1000;
                        server.truncate(&lane.topic, lane.partition, kept);
                    }
                }
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
            end_sessions(stage, End::Fin);
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
