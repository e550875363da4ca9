//! A row of the table: what is said, and what to do.

use crate::project::readme::messages::{ANY, messages, rows};
use crate::project::readme::readme;
use crate::support::connector::Connector;
use crate::support::pipeline::DEADLINE;
use crate::support::wait_until;

pub struct Row {
    /// The first cell.
    pub says: String,
    messages: Vec<String>,
    advice: String,
}

impl Row {
    pub fn all() -> Vec<Row> {
        rows(&readme())
            .into_iter()
            .map(|(says, advice)| Row {
                says: says.to_owned(),
                messages: messages(says),
                advice: advice.to_owned(),
            })
            .collect()
    }

    /// The one row whose first cell begins so.
    #[track_caller]
    pub fn that_begins(begin: &str) -> Row {
        let mut rows = Row::all();
        rows.retain(|row| row.says.starts_with(begin));
        assert_eq!(rows.len(), 1, "rows that begin with {begin}");
        rows.remove(0)
    }

    /// Asserts that a line has one of the messages.
    #[track_caller]
    pub fn assert_said(&self, log: &str) {
        assert!(self.is_said(log), "{} is not in\n{log}", self.says);
    }

    /// The same of one message of several.
    #[track_caller]
    pub fn assert_says(&self, message: usize, log: &str) {
        let message = &self.messages[message];
        assert!(is_in(message, log), "{message} is not in\n{log}");
    }

    /// Waits until the program says one of them.
    #[track_caller]
    pub fn wait_said(&self, connector: &Connector) {
        wait_until(&self.says, DEADLINE, || {
            self.is_said(&connector.log()) || !connector.is_running()
        });
        self.assert_said(&connector.log());
    }

    fn is_said(&self, log: &str) -> bool {
        self.messages.iter().any(|message| is_in(message, log))
    }

    /// What the second cell has between backticks that begins so.
    #[track_caller]
    pub fn code(&self, begin: &str) -> &str {
        let mut codes = self.advice.split('`').skip(1).step_by(2);
        codes
            .find(|code| code.starts_with(begin))
            .unwrap_or_else(|| panic!("no {begin} in {}", self.advice))
    }

    /// Asserts that the second cell says this, which the scenario does next.
    #[track_caller]
    pub fn advises(&self, what: &str) {
        assert!(self.advice.contains(what), "no {what} in {}", self.advice);
    }
}

/// Whether a line has the parts of the message in their order.
fn is_in(message: &str, log: &str) -> bool {
    log.lines().any(|line| {
        let mut rest = line;
        message.split(ANY).all(|part| match rest.split_once(part) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    })
}
