//! The environment that connections take their defaults from, as a value: a test makes its own.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::base::error::{Error, Result};

/// Variables, and the account that the program runs under.
#[derive(Clone, Default)]
pub struct Environment {
    variables: HashMap<String, OsString>,
    account: Option<Account>,
}

#[derive(Clone)]
struct Account {
    name: String,
    home: PathBuf,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Environment {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.starts_with("PG") || name == "HOME")
            .collect();
        Environment {
            variables,
            account: account(),
        }
    }

    /// An environment of these variables alone.
    pub fn of(variables: &[(&str, &str)]) -> Environment {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), OsString::from(value));
        Environment {
            variables: variables.iter().map(owned).collect(),
            account: None,
        }
    }

    /// The value of a variable. One that is set and empty counts as not set.
    pub fn variable(&self, name: &str) -> Result<Option<&str>> {
        match self.variables.get(name).map(|value| value.to_str()) {
            None | Some(Some("")) => Ok(None),
            Some(Some(value)) => Ok(Some(value)),
            Some(None) => Err(Error::config(format!("{name} is not UTF-8"))),
        }
    }

    /// The home directory: `HOME`, or the account's.
    pub fn home(&self) -> Option<PathBuf> {
        let variable = self.variables.get("HOME").filter(|home| !home.is_empty());
        let account = || self.account.as_ref().map(|account| account.home.clone());
        variable.map(PathBuf::from).or_else(account)
    }

    /// The name of the account.
    pub fn account(&self) -> Option<&str> {
        self.account.as_ref().map(|account| account.name.as_str())
    }
}

/// The account in `/etc/passwd`, name:password:uid:gid:comment:home:shell. An account that only a
/// directory service knows is not found; such a user names itself in the URL.
fn account() -> Option<Account> {
    let uid = fs::metadata("/proc/self").ok()?.uid().to_string();
    let accounts = fs::read_to_string("/etc/passwd").ok()?;
    accounts.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        (fields.get(2)? == &uid).then_some(Account {
            name: (*fields.first()?).to_owned(),
            home: PathBuf::from(fields.get(5)?),
        })
    })
}
