//! Drawing faults.

use std::time::Duration;

use fluvio_protocol::link::ErrorCode;

use super::super::fluvio::{Close, Fault as Produce, Side};
use super::super::postgres::Stop;
use super::super::proxy::{Direction, End, Refusal};
use super::super::random::Random;
use super::fault::{
    Ends, Fault, History, Line, Meanwhile, Ms, Nowhere, PassOn, Reach, Restore, Sides,
};
use super::source::WAL_SENDER_TIMEOUT;
use super::stage::{Settings, spu_port};

/// What is forgotten was stored within this time. It is far less than a long `confirm_delay`.
pub const FORGET_WITHIN: Duration = Duration::from_millis(500);

/// The shortest loss of packets.
const SHORTEST_OUTAGE_MS: u64 = 100;

/// Whoever waits for a slot has it by then, and has written a good deal.
const LONGEST_TAKE_OVER: Duration = Duration::from_secs(8);

/// What can happen at a moment of a round.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub reach: Reach,
    pub settings: &'a Settings,
    /// Whether packets can be lost.
    pub can_be_unplugged: bool,
    /// Packets are lost, and a process is frozen while another one waits, for about so long at most.
    pub longest: Duration,
    /// Whether the program reads a standby now.
    pub is_standby: bool,
    /// How many SPUs are in this process.
    pub spus: usize,
}

/// What changes statements, their waits or the form of values, for whoever does not mind it.
const ROLE_SETTINGS: [(&str, &str); 12] = [
    ("default_transaction_read_only", "on"),
    ("default_transaction_isolation", "serializable"),
    ("search_path", "public"),
    ("statement_timeout", "1"),
    ("lock_timeout", "1"),
    ("idle_in_transaction_session_timeout", "1"),
    ("datestyle", "German"),
    ("timezone", "Pacific/Chatham"),
    ("bytea_output", "escape"),
    ("extra_float_digits", "-15"),
    ("client_encoding", "LATIN1"),
    ("standard_conforming_strings", "off"),
];

/// The choices; each is drawn by [`Fault::of`].
#[derive(Clone, Copy)]
enum Choice {
    Kill,
    KillWhileStarting,
    Terminate,
    TerminateAndKill,
    Pause,
    PauseWhileStarting,
    PassOn,
    HoldSlot,
    StartTogether,
    NoOutput,
    RoleSetting,
    Restart,
    RestartPrimary,
    Promote,
    TerminateWalsender,
    Away,
    Freeze,
    SpuAway,
    SpuFreeze,
    Forget,
    Produce,
    NotLeader,
    Offsets,
    Drop,
    Refuse,
    Cut,
    Break,
    Block,
    Silence,
    Unplug,
    Fragment,
    Commands,
    Two,
}

impl Fault {
    pub fn draw(random: &mut Random, scope: Scope<'_>) -> Fault {
        use Choice::*;
        let Scope {
            reach, settings, ..
        } = scope;
        let mut choices = vec![
            (10, Kill),
            (10, KillWhileStarting),
            (5, Terminate),
            (6, TerminateAndKill),
            (4, Pause),
            (4, PauseWhileStarting),
            (8, PassOn),
            (4, HoldSlot),
            (6, StartTogether),
            (4, NoOutput),
            (6, RoleSetting),
            (7, Restart),
            (6, TerminateWalsender),
            (10, Cut),
            (4, Break),
            (3, Block),
            (4, Silence),
            (2, Fragment),
            (16, Two),
        ];
        match reach {
            Reach::InProcess => choices.extend([
                (5, Away),
                (5, Freeze),
                (20, Produce),
                (2, NotLeader),
                (2, Offsets),
                (4, Drop),
                (2, Refuse),
            ]),
            Reach::Real { commands: true } => choices.push((15, Commands)),
            Reach::Real { commands: false } => {}
        }
        if scope.can_be_unplugged {
            choices.push((25, Unplug));
        }
        if scope.spus > 1 {
            choices.extend([(10, SpuAway), (8, SpuFreeze)]);
        }
        if scope.is_standby {
            choices.extend([(8, Restart), (6, RestartPrimary), (8, Promote)]);
        }
        if reach == Reach::InProcess && settings.confirm_delay >= 4 * FORGET_WITHIN {
            choices.push((10, Forget));
        }
        match random.weighted(&choices) {
            Two => Fault::two(random, scope),
            choice => Fault::of(choice, random, scope),
        }
    }

    fn two(random: &mut Random, scope: Scope<'_>) -> Fault {
        loop {
            let first = Fault::draw(random, scope);
            let second = Fault::draw(random, scope);
            // What is forgotten must not be confirmed meanwhile, because something else takes long.
            let forgets = [&first, &second]
                .iter()
                .any(|fault| matches!(fault, Fault::Forget { .. }));
            match (first.group(), second.group()) {
                (Some(a), Some(b)) if a != b && !forgets => {
                    return Fault::Two {
                        first: first.into(),
                        second: second.into(),
                        after: Ms(random.magnitude(9)),
                    };
                }
                _ => {}
            }
        }
    }

    fn of(choice: Choice, random: &mut Random, scope: Scope<'_>) -> Fault {
        let timeout_ms = scope.settings.timeout.as_millis() as u64;
        // From a moment to a good while, the shorter as often as the longer.
        let pause = |random: &mut Random| Ms(random.magnitude(11));
        match choice {
            Choice::Kill => Fault::Kill {
                away: pause(random),
            },
            Choice::KillWhileStarting => Fault::KillWhileStarting {
                after: (0..random.between(1..=4))
                    .map(|_| Ms(random.magnitude(9)))
                    .collect(),
            },
            Choice::Terminate => Fault::Terminate {
                away: pause(random),
            },
            Choice::TerminateAndKill => Fault::TerminateAndKill {
                after: Ms(random.magnitude(8)),
            },
            Choice::Pause => Fault::Pause {
                pause: long_pause(random),
            },
            Choice::PauseWhileStarting => Fault::PauseWhileStarting {
                after: Ms(random.magnitude(8)),
                pause: long_pause(random),
            },
            Choice::PassOn => Fault::PassOn(PassOn {
                behind: random
                    .one_in(2)
                    .then(|| (pause(random), Ms(random.magnitude(9)))),
                frozen: frozen(random, scope),
                together: pause(random),
                which: random.below(2) as usize,
                ends: ends(random),
            }),
            Choice::StartTogether => Fault::StartTogether {
                more: 1 + random.below(3) as usize,
                apart: random.pick(&[Ms(0), Ms(0), Ms(100)]),
                together: pause(random),
                ends: ends(random),
            },
            Choice::NoOutput => Fault::NoOutput(random.pick(&[Nowhere::Closed, Nowhere::Full])),
            Choice::RoleSetting => {
                let (name, value) = random.pick(&ROLE_SETTINGS);
                Fault::RoleSetting { name, value }
            }
            Choice::HoldSlot => Fault::HoldSlot {
                ends: ends(random),
                pause: pause(random),
            },
            Choice::Restart => Fault::Restart {
                mode: random.pick(&[Stop::Immediate, Stop::Immediate, Stop::Fast]),
                away: Ms(random.magnitude(10)),
            },
            Choice::RestartPrimary => Fault::RestartPrimary {
                mode: random.pick(&[Stop::Immediate, Stop::Fast]),
                away: Ms(random.magnitude(10)),
            },
            Choice::Promote => Fault::Promote {
                crash: (!random.one_in(3)).then(|| pause(random)),
            },
            Choice::TerminateWalsender => Fault::TerminateWalsender {
                times: random.between(1..=5),
            },
            Choice::Away => Fault::Away {
                sides: random.pick(&[
                    Sides::Both,
                    Sides::Both,
                    Sides::One(Side::Spu),
                    Sides::One(Side::Sc),
                ]),
                pause: pause(random),
            },
            Choice::Freeze => Fault::Freeze {
                pause: frozen_fluvio(random, timeout_ms),
            },
            Choice::SpuAway => Fault::SpuAway {
                number: random.below(scope.spus as u64) as usize,
                pause: pause(random),
            },
            Choice::SpuFreeze => Fault::SpuFreeze {
                number: random.below(scope.spus as u64) as usize,
                pause: frozen_fluvio(random, timeout_ms),
            },
            Choice::Forget => Fault::Forget {
                within: Ms(random.below(FORGET_WITHIN.as_millis() as u64)),
                kept_permille: random.below(1001),
            },
            Choice::Produce => Fault::Produce {
                fault: produce(random, timeout_ms),
                nth: 1 + random.magnitude(5) as usize,
            },
            Choice::NotLeader => Fault::NotLeader {
                pause: pause(random),
            },
            Choice::Offsets => Fault::Offsets {
                code: code(random),
                times: random.between(1..=4),
            },
            Choice::Drop => Fault::Drop { how: close(random) },
            Choice::Refuse => Fault::Refuse {
                how: close(random),
                pause: pause(random),
            },
            Choice::Cut => {
                let (line, direction) = (line(random, scope), direction(random));
                // As much as passes there in a few seconds.
                let bits = match (line, direction) {
                    (Line::Sc, _) => 9,
                    (Line::Postgres, Direction::ToServer) => 10,
                    (Line::Spu(_), Direction::ToClient) => 13,
                    (Line::Postgres, Direction::ToClient) | (Line::Spu(_), Direction::ToServer) => {
                        20
                    }
                };
                Fault::Cut {
                    line,
                    direction,
                    bytes: random.magnitude(bits),
                    end: end(random),
                }
            }
            Choice::Break => Fault::Break {
                line: line(random, scope),
                end: end(random),
            },
            Choice::Block => Fault::Block {
                line: line(random, scope),
                end: end(random),
                refusal: random.pick(&[
                    Refusal::NotListening,
                    Refusal::Accepted(End::Fin),
                    Refusal::Accepted(End::Reset),
                ]),
                pause: pause(random),
            },
            Choice::Silence => Fault::Silence {
                line: line(random, scope),
                direction: random.pick(&[
                    None,
                    Some(Direction::ToServer),
                    Some(Direction::ToClient),
                ]),
                pause: pause(random),
            },
            Choice::Unplug => unplug(random, scope),
            Choice::Fragment => Fault::Fragment {
                line: line(random, scope),
                bytes: 1 + random.magnitude(8) as usize,
                pause: Ms(random.between(50..=500)),
            },
            Choice::Commands => Fault::Commands {
                away: pause(random),
            },
            Choice::Two => unreachable!("two are drawn one by one"),
        }
    }
}

impl Restore {
    pub fn draw(random: &mut Random) -> Restore {
        let stop = |random: &mut Random| random.pick(&[Stop::Immediate, Stop::Fast]);
        let undone = History {
            transactions: random.between(1..=8),
            rows: 1 + random.magnitude(7),
        };
        // The same again meets the same positions, and each other one comes near them.
        let near = 1 + random.magnitude(7);
        Restore {
            copied: stop(random),
            restored: stop(random),
            meanwhile: random.pick(&[None, Some(Ends::Killed), Some(Ends::Stopped)]),
            undone,
            other: History {
                transactions: random.between(1..=2 * undone.transactions),
                rows: random.pick(&[undone.rows, undone.rows, near]),
            },
        }
    }
}

fn unplug(random: &mut Random, scope: Scope<'_>) -> Fault {
    let lost_ms = outage_ms(random, scope.longest);
    let meanwhile = random.one_in(2).then(|| Meanwhile {
        after: Ms(random.below(lost_ms)),
        ends: random.pick(&[Ends::Killed, Ends::Killed, Ends::Stopped]),
        away: Ms(random.magnitude(11)),
    });
    let line = match spu_port() {
        Some(_) => any_line(random, scope.spus),
        None => line(random, scope),
    };
    Fault::Unplug {
        line,
        direction: random.pick(&[
            None,
            None,
            Some(Direction::ToServer),
            Some(Direction::ToClient),
        ]),
        pause: Ms(lost_ms),
        meanwhile,
    }
}

/// The long ones are rare.
fn outage_ms(random: &mut Random, longest: Duration) -> u64 {
    let lost_ms = SHORTEST_OUTAGE_MS + random.magnitude(bits_of(longest));
    lost_ms.min(longest.as_millis() as u64)
}

/// Longer than a walsender waits, so that somebody else gets the slot.
fn frozen(random: &mut Random, scope: Scope<'_>) -> Ms {
    let sender_ms = WAL_SENDER_TIMEOUT.as_millis() as u64;
    let longest = scope.longest.min(LONGEST_TAKE_OVER);
    Ms(sender_ms + random.magnitude(bits_of(longest)))
}

/// How many bits as many milliseconds have.
fn bits_of(longest: Duration) -> u64 {
    let longest_ms = longest.as_millis() as u64;
    u64::from(longest_ms.ilog2()) + 1
}

/// Half of them end before the program gives up.
fn frozen_fluvio(random: &mut Random, timeout_ms: u64) -> Ms {
    let range = random.pick(&[20..=timeout_ms, timeout_ms..=2 * timeout_ms]);
    Ms(random.between(range))
}

fn ends(random: &mut Random) -> Ends {
    random.pick(&[Ends::Killed, Ends::Stopped])
}

/// Longer than a walsender waits.
fn long_pause(random: &mut Random) -> Ms {
    let sender_ms = WAL_SENDER_TIMEOUT.as_millis() as u64;
    Ms(sender_ms + random.between(100..=800))
}

fn produce(random: &mut Random, timeout_ms: u64) -> Produce {
    let bytes = 1 + random.magnitude(17) as usize;
    let late = Duration::from_millis(timeout_ms + random.between(50..=1500));
    let (how, code) = (close(random), code(random));
    random.weighted(&[
        (3, Produce::Error(code.clone())),
        (3, Produce::ErrorAfterApply(code)),
        (3, Produce::AckDelay(late)),
        (3, Produce::CloseBefore(how)),
        (5, Produce::CloseAfter(how)),
        (4, Produce::CloseAfterBytes(bytes, how)),
        (2, Produce::SilenceBefore),
        (3, Produce::SilenceAfter),
    ])
}

fn code(random: &mut Random) -> ErrorCode {
    random.pick(&[
        ErrorCode::NotLeaderForPartition,
        ErrorCode::PartitionNotLeader,
        ErrorCode::StorageError,
        ErrorCode::UnknownServerError,
    ])
}

fn close(random: &mut Random) -> Close {
    random.pick(&[Close::Fin, Close::Reset])
}

fn end(random: &mut Random) -> End {
    random.pick(&[End::Fin, End::Reset])
}

fn direction(random: &mut Random) -> Direction {
    random.pick(&[Direction::ToServer, Direction::ToClient])
}

fn line(random: &mut Random, scope: Scope<'_>) -> Line {
    let others = [(3, Line::Postgres), (1, Line::Sc)];
    match scope.reach {
        Reach::InProcess => any_line(random, scope.spus),
        Reach::Real { .. } => random.weighted(&others),
    }
}

fn any_line(random: &mut Random, spus: usize) -> Line {
    let spu = random.below(spus.max(1) as u64) as usize;
    random.weighted(&[(3, Line::Postgres), (1, Line::Sc), (4, Line::Spu(spu))])
}
