//! The faults.

use std::time::Duration;

use fluvio_protocol::link::ErrorCode;

use super::super::fluvio::{Close, Fault as Produce, Side};
use super::super::postgres::Stop;
use super::super::proxy::{Direction, End, Refusal};

/// Something that goes wrong. All that is left to chance is in it, so that a seed repeats it.
#[derive(Clone, Debug)]
pub enum Fault {
    /// SIGKILL, and a new start after a while.
    Kill { away: Ms },
    /// SIGKILL again and again, each so soon after a start.
    KillWhileStarting { after: Vec<Ms> },
    /// SIGTERM, and a new start after a while.
    Terminate { away: Ms },
    /// SIGTERM, and SIGKILL so soon after it.
    TerminateAndKill { after: Ms },
    /// SIGSTOP and SIGCONT.
    Pause { pause: Ms },
    /// SIGKILL, and SIGSTOP and SIGCONT so soon after the new start.
    PauseWhileStarting { after: Ms, pause: Ms },
    /// SIGSTOP for longer than a walsender waits, while another instance of the program waits for
    /// the slot and takes it. Then both run, and if there is to be one only, one of them ends.
    PassOn(PassOn),
    /// SIGKILL, and a new start together with others of the same config, each so soon after the one
    /// before; those that are too many end after a while.
    StartTogether {
        more: usize,
        apart: Ms,
        together: Ms,
        ends: Ends,
    },
    /// SIGKILL, and a run to a standard output that goes nowhere, before the new start.
    NoOutput(Nowhere),
    /// Another session holds the slot, before the program comes and after.
    HoldSlot { ends: Ends, pause: Ms },
    /// PostgreSQL stops and comes back.
    Restart { mode: Stop, away: Ms },
    /// The primary of the standby that is read stops and comes back.
    RestartPrimary { mode: Stop, away: Ms },
    /// The standby that is read becomes the primary, within its sessions, and crashes so soon after.
    Promote { crash: Option<Ms> },
    /// The server is put back to a copy of its data, and another history is written. It ends a
    /// round.
    Restore(Restore),
    /// The role of the program gets a setting that its next sessions begin with, and this one ends.
    RoleSetting {
        name: &'static str,
        value: &'static str,
    },
    /// The session that sends is terminated, several times in a row.
    TerminateWalsender { times: u64 },
    /// Fluvio is stopped, or one of its servers, and comes back.
    Away { sides: Sides, pause: Ms },
    /// Fluvio takes bytes and does nothing with them.
    Freeze { pause: Ms },
    /// One SPU of several stops and comes back.
    SpuAway { number: usize, pause: Ms },
    /// One SPU of several takes bytes and does nothing with them.
    SpuFreeze { number: usize, pause: Ms },
    /// Fluvio stops, and forgets a part of what it has stored a moment before: less than what the
    /// program holds back.
    Forget { within: Ms, kept_permille: u64 },
    /// A produce request goes wrong.
    Produce { fault: Produce, nth: usize },
    /// The SPU refuses to lead for a while.
    NotLeader { pause: Ms },
    /// A new session is refused the end of the partition.
    Offsets { code: ErrorCode, times: u64 },
    /// Fluvio closes all of its connections.
    Drop { how: Close },
    /// Fluvio closes all of its connections and takes no new ones for a while.
    Refuse { how: Close, pause: Ms },
    /// A line breaks after so many more bytes.
    Cut {
        line: Line,
        direction: Direction,
        bytes: u64,
        end: End,
    },
    /// Everything on a line breaks.
    Break { line: Line, end: End },
    /// The same, and the line takes no new connections for a while.
    Block {
        line: Line,
        end: End,
        refusal: Refusal,
        pause: Ms,
    },
    /// Nothing passes a line for a while, in one direction or both.
    Silence {
        line: Line,
        direction: Option<Direction>,
        pause: Ms,
    },
    /// The packets of a line are lost for a while, in one direction or both, and the kernels at
    /// both ends go on with what they were given; the program may end meanwhile.
    Unplug {
        line: Line,
        direction: Option<Direction>,
        pause: Ms,
        meanwhile: Option<Meanwhile>,
    },
    /// A line passes small pieces only, for a while.
    Fragment { line: Line, bytes: usize, pause: Ms },
    /// The commands that kill and start the SPU of a real cluster.
    Commands { away: Ms },
    /// Two at once, or the second so soon after the first.
    Two {
        first: Box<Fault>,
        second: Box<Fault>,
        after: Ms,
    },
}

/// Milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Ms(pub u64);

impl From<Ms> for Duration {
    fn from(Ms(ms): Ms) -> Duration {
        Duration::from_millis(ms)
    }
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// By SIGKILL.
    Killed,
    /// By SIGTERM, in its own time.
    Stopped,
}

/// A standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nowhere {
    /// Closed from the start on.
    Closed,
    /// A device without room.
    Full,
}

/// The program ends so soon after another thing has begun, and starts again after a while.
#[derive(Clone, Copy, Debug)]
pub struct Meanwhile {
    pub after: Ms,
    pub ends: Ends,
    pub away: Ms,
}

/// How the slot goes from one instance to another.
#[derive(Clone, Copy, Debug)]
pub struct PassOn {
    /// SIGKILL first and a new start after a while; the new process is frozen so soon after it began to
    /// stream, with all in its buffers that it has to catch up with.
    pub behind: Option<(Ms, Ms)>,
    pub frozen: Ms,
    /// For so long both run.
    pub together: Ms,
    /// Which one ends, the older or the newer, if there is to be one only.
    pub which: usize,
    pub ends: Ends,
}

/// How the data directory is put back.
#[derive(Clone, Debug)]
pub struct Restore {
    /// How the server stops before it is copied, and before the copy takes its place.
    pub copied: Stop,
    pub restored: Stop,
    /// How the program ends before, or not: then it meets the copy as soon as that is there.
    pub meanwhile: Option<Ends>,
    /// What the topic gets of the history that is undone, and what is written in its place.
    pub undone: History,
    pub other: History,
}

/// So many transactions of so many rows.
#[derive(Clone, Copy, Debug)]
pub struct History {
    pub transactions: u64,
    pub rows: u64,
}

/// Which servers of Fluvio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    Both,
    One(Side),
}

/// A line between the program and a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    Postgres,
    Sc,
    /// The SPU of that number.
    Spu(usize),
}

/// Faults of one group would get into each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Program,
    Postgres,
    Fluvio,
    Line(Line),
}

/// What can be done to the cluster at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everything: it is in this process.
    InProcess,
    /// It is a real one, which only commands can break.
    Real { commands: bool },
}

impl Fault {
    /// What it is counted as.
    pub fn kind(&self) -> String {
        let name = match self {
            Fault::Produce { fault, .. } => return format!("Produce {}", first_word(fault)),
            Fault::Restart { mode, .. } => return format!("Restart {mode:?}"),
            Fault::Unplug {
                line, meanwhile, ..
            } => {
                let ended = meanwhile.map_or(String::new(), |it| format!(", {:?}", it.ends));
                return format!("Unplug {}{ended}", first_word(line));
            }
            Fault::PassOn(PassOn {
                behind: Some(_), ..
            }) => return "PassOn, behind".to_owned(),
            Fault::Promote { crash: Some(_) } => return "Promote and crash".to_owned(),
            Fault::Cut { line, .. }
            | Fault::Break { line, .. }
            | Fault::Block { line, .. }
            | Fault::Silence { line, .. }
            | Fault::Fragment { line, .. } => {
                return format!("{} {}", first_word(self), first_word(line));
            }
            other => first_word(other),
        };
        name.to_owned()
    }

    /// `None` for two.
    pub fn group(&self) -> Option<Group> {
        Some(match self {
            Fault::Kill { .. }
            | Fault::KillWhileStarting { .. }
            | Fault::Terminate { .. }
            | Fault::TerminateAndKill { .. }
            | Fault::Pause { .. }
            | Fault::PauseWhileStarting { .. }
            | Fault::PassOn(_)
            | Fault::StartTogether { .. }
            | Fault::NoOutput(_)
            | Fault::HoldSlot { .. }
            | Fault::Unplug {
                meanwhile: Some(_), ..
            } => Group::Program,
            Fault::Restart { .. }
            | Fault::RestartPrimary { .. }
            | Fault::Promote { .. }
            | Fault::RoleSetting { .. }
            | Fault::TerminateWalsender { .. } => Group::Postgres,
            Fault::Away { .. }
            | Fault::Freeze { .. }
            | Fault::SpuAway { .. }
            | Fault::SpuFreeze { .. }
            | Fault::Forget { .. }
            | Fault::Produce { .. }
            | Fault::NotLeader { .. }
            | Fault::Offsets { .. }
            | Fault::Drop { .. }
            | Fault::Refuse { .. }
            | Fault::Commands { .. } => Group::Fluvio,
            Fault::Cut { line, .. }
            | Fault::Break { line, .. }
            | Fault::Block { line, .. }
            | Fault::Silence { line, .. }
            | Fault::Unplug { line, .. }
            | Fault::Fragment { line, .. } => Group::Line(*line),
            Fault::Two { .. } | Fault::Restore(_) => return None,
        })
    }

    /// For how long packets were lost. What was sent meanwhile is sent again so long after, at the
    /// latest: the kernel doubles its pauses.
    pub fn outage(&self) -> Duration {
        match self {
            Fault::Unplug { pause, .. } => (*pause).into(),
            Fault::Two { first, second, .. } => first.outage().max(second.outage()),
            _ => Duration::ZERO,
        }
    }
}

fn first_word(value: impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let end = text.find(|c: char| !c.is_alphanumeric());
    text[..end.unwrap_or(text.len())].to_owned()
}
