//! The one error type: what happened, where, why, and what to do about it.
//!
//! An error's kind decides two things and nothing else does: whether the session is tried again,
//! and the code the process exits with. Messages never hold a secret or the value of a row.

use std::error::Error as StdError;
use std::fmt::{self, Write as _};

use super::printable::Escaping;

/// What went wrong, as far as it decides what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line is wrong.
    Usage,
    /// A change cannot be decoded or stored. The program stops at it; it is never dropped.
    Undeliverable,
    /// A peer cannot be reached, or the connection to it was lost.
    Unreachable,
    /// A bug in this program.
    Bug,
    /// Another process streams from the replication slot.
    SlotInUse,
    /// What the topic holds and what the slot will send do not meet: going on would hide a gap.
    Gap,
    /// A server refuses the user, the password or a right.
    Permission,
    /// The configuration file, or the configuration of a server, does not allow this.
    Config,
}

impl Kind {
    /// All kinds, by their exit codes.
    pub const ALL: [Kind; 8] = [
        Kind::Usage,
        Kind::Undeliverable,
        Kind::Unreachable,
        Kind::Bug,
        Kind::SlotInUse,
        Kind::Gap,
        Kind::Permission,
        Kind::Config,
    ];

    /// What the exit code tells the user.
    pub fn meaning(self) -> &'static str {
        match self {
            Kind::Usage => "wrong command line",
            Kind::Undeliverable => "a change, or what is to be printed, that cannot be delivered",
            Kind::Unreachable => {
                "PostgreSQL or Fluvio cannot be reached (with --once or --once-drained, and by the \
                 other verbs)"
            }
            Kind::Bug => "a bug",
            Kind::SlotInUse => {
                "another process streams from the slot (with --once or --once-drained, and by \
                 accept-gap and peek)"
            }
            Kind::Gap => "slot and topic do not meet: going on would hide a gap",
            Kind::Permission => "a wrong password, or a right that is missing",
            Kind::Config => "the config file, or the configuration of a server",
        }
    }

    /// The process's exit code, from `sysexits.h`.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Usage => 64,
            Kind::Undeliverable => 65,
            Kind::Unreachable => 69,
            Kind::Bug => 70,
            Kind::SlotInUse => 75,
            Kind::Gap => 76,
            Kind::Permission => 77,
            Kind::Config => 78,
        }
    }

    /// Whether the same attempt may succeed later without anybody changing a thing.
    pub fn is_transient(self) -> bool {
        matches!(self, Kind::Unreachable | Kind::SlotInUse)
    }
}

/// What is behind an error, where something else than its kind depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What was to be made is there already: somebody else was faster.
    AlreadyExists,
    /// The server is a standby: what it has not got may still come, or it is not the one that is meant.
    Standby,
    /// The server cannot read what the slot holds, or cannot decode it: nothing but a new slot helps.
    SlotUseless,
    /// The peer is a connection pooler, not PostgreSQL itself.
    Pooler,
    /// Code of the database's users refuses a statement of ours: a trigger.
    Trigger,
    /// Code of the database's users, or what the server does not explain, refuses the login, and may let us
    /// in another time.
    LoginRefused,
    /// The server takes the password for a wrong one, which a line that is cut inside of it looks like, too.
    PasswordRefused,
}

/// An error with the path that led to it.
///
/// Displayed on one line, whatever a server said: contexts from the outermost in, the message, the
/// source, the hint.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    reason: Option<Reason>,
    message: String,
    /// Innermost first.
    context: Vec<String>,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; `message` says what happened.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            reason: None,
            message: message.into(),
            context: Vec::new(),
            hint: None,
            source: None,
        }))
    }

    /// An error of a server that broke its protocol, or sent what this program cannot read.
    pub fn undeliverable(message: impl Into<String>) -> Self {
        Self::new(Kind::Undeliverable, message)
    }

    /// An error of a peer that is not there, or not any more.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unreachable, message)
    }

    /// An error that ends when something is configured differently.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    /// Adds what lies beneath, displayed after the message.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds what the user can do.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds what is behind the error, for who decides by it.
    pub fn with_reason(mut self, reason: Reason) -> Self {
        self.0.reason = Some(reason);
        self
    }

    /// What is behind the error, if something may depend on that.
    pub fn reason(&self) -> Option<Reason> {
        self.0.reason
    }

    /// The text that is displayed, without the hint.
    pub fn message(&self) -> String {
        Headline(&self.0).to_string()
    }

    /// Adds where the error happened, displayed in front of what is there already.
    pub fn at(mut self, context: impl Into<String>) -> Self {
        self.0.context.push(context.into());
        self
    }

    /// Changes the kind, where the error means something else.
    pub fn of_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The kind, which decides about retry and exit code.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Whether the same attempt may succeed later without anybody changing a thing.
    pub fn is_transient(&self) -> bool {
        self.kind().is_transient() || self.reason() == Some(Reason::LoginRefused)
    }

    /// What the user can do, if anything is known to help.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

/// Contexts, message and sources.
struct Headline<'a>(&'a Inner);

impl fmt::Display for Headline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = Escaping(f);
        for context in self.0.context.iter().rev() {
            write!(f, "{context}: ")?;
        }
        f.write_str(&self.0.message)?;
        let mut source = self.0.source.as_deref().map(|s| s as &dyn StdError);
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Headline(&self.0).fmt(f)?;
        match &self.0.hint {
            Some(hint) => write!(Escaping(f), " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|s| s as _)
    }
}

/// Adds where it happened to an error on its way up.
pub trait Context<T> {
    /// Puts `context` in front of the error, if there is one.
    fn at(self, context: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn at(self, context: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.at(context()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_from_the_outside_in() {
        let error = Error::unreachable("cannot connect")
            .with_source(std::io::Error::other("refused"))
            .with_hint("start it")
            .at("host db1")
            .at("PostgreSQL");
        assert_eq!(
            error.to_string(),
            "PostgreSQL: host db1: cannot connect: refused (hint: start it)"
        );
        assert_eq!(error.kind().exit_code(), 69);
    }

    #[test]
    fn control_characters_make_no_line_of_their_own() {
        let error = Error::config("a\nb\r\n\tc")
            .with_source(std::io::Error::other("d\x1b[2Je"))
            .with_hint("f\0")
            .at("\n");
        assert_eq!(
            error.to_string(),
            r"\n: a\nb\r\n\tc: d\u{1b}[2Je (hint: f\u{0})"
        );
    }

    #[test]
    fn only_what_may_mend_itself_is_tried_again() {
        use Kind::*;
        for kind in [Usage, Undeliverable, Bug, Gap, Permission, Config] {
            assert!(!kind.is_transient(), "{kind:?}");
        }
        assert!(Unreachable.is_transient() && SlotInUse.is_transient());
    }
}
