//! The value of each parameter: from the connection string, else from the service that it names,
//! else from the environment.

use std::collections::BTreeMap;

use super::conninfo::{self, Pair};
use super::environment::Environment;
use super::keywords::{KEYWORDS, Keyword, Support, keyword};
use super::service;
use crate::base::error::{Error, Result};

/// The place in which a value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueOrigin {
    /// The connection string.
    Url,
    /// A service file.
    Service,
    /// A variable of this name.
    Variable(&'static str),
}

/// The values of all parameters. Some are secret, so there is no `Debug`.
#[derive(Default)]
pub struct Settings {
    values: BTreeMap<&'static str, (String, ValueOrigin)>,
    /// The place in which the connection string was found, if that is known.
    source: Option<String>,
}

impl Settings {
    /// Collects all values.
    pub fn resolve(url: &str, environment: &Environment) -> Result<Settings> {
        Settings::default().with(url, environment)
    }

    /// Collects all values; `source` is where the connection string was found.
    pub fn resolve_from(url: &str, source: &str, environment: &Environment) -> Result<Settings> {
        let settings = Settings {
            source: Some(source.to_owned()),
            ..Settings::default()
        };
        settings.with(url, environment)
    }

    fn with(mut self, url: &str, environment: &Environment) -> Result<Settings> {
        let pairs = conninfo::parse(url).map_err(|error| self.of_url(error))?;
        // A name that comes twice has its last value.
        self.take(pairs, ValueOrigin::Url)
            .map_err(|error| self.of_url(error))?;
        let mut settings = self;
        let service = service::find(&settings, environment)?;
        let mut of_service = Settings::default();
        // But here its first one, as libpq has it.
        of_service.take(service.into_iter().rev().collect(), ValueOrigin::Service)?;
        for (name, value) in of_service.values {
            settings.values.entry(name).or_insert(value);
        }
        settings.add_variables(environment)?;
        Ok(settings)
    }

    fn take(&mut self, pairs: Vec<Pair>, origin: ValueOrigin) -> Result<()> {
        let mut previous = "";
        for (name, value) in &pairs {
            let known = keyword(name).ok_or_else(|| unknown(name, previous, origin))?;
            if let Support::Refused(reason) = known.support {
                return Err(Error::config(format!("{}: {name}: {reason}", at(origin))));
            }
            self.values.insert(known.name, (value.clone(), origin));
            previous = known.name;
        }
        Ok(())
    }

    fn add_variables(&mut self, environment: &Environment) -> Result<()> {
        for Keyword {
            name,
            variable,
            support,
        } in KEYWORDS
        {
            let Some(variable) = variable else { continue };
            let Some(value) = environment.variable(variable)? else {
                continue;
            };
            if let Support::Refused(reason) = support {
                return Err(Error::config(format!("{variable}: {reason}")));
            }
            let found = (value.to_owned(), ValueOrigin::Variable(variable));
            self.values.entry(name).or_insert(found);
        }
        // Its name before there was PGSSLMODE.
        if environment.variable("PGREQUIRESSL")? == Some("1") {
            let found = ("require".to_owned(), ValueOrigin::Variable("PGREQUIRESSL"));
            self.values.entry("sslmode").or_insert(found);
        }
        Ok(())
    }

    /// The value as text, unless it is empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        let (value, _) = self.values.get(name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// The place in which the value was found.
    pub fn origin(&self, name: &str) -> Option<ValueOrigin> {
        self.values.get(name).map(|(_, origin)| *origin)
    }

    /// The value as a list with a comma between its elements, which may be empty.
    pub fn list(&self, name: &str) -> Vec<&str> {
        self.text(name)
            .map_or(Vec::new(), |list| list.split(',').collect())
    }

    /// The value as a whole number.
    pub fn number(&self, name: &str) -> Result<Option<i32>> {
        let text = self.text(name).map(str::trim_ascii);
        let number = text.map(|text| text.parse().map_err(|_| self.invalid(name, "a number")));
        number.transpose()
    }

    /// The value as one of a few words.
    pub fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>> {
        let Some((value, _)) = self.values.get(name) else {
            return Ok(None);
        };
        match choices.iter().find(|(word, _)| word == value) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => {
                let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
                Err(self.invalid(name, &words.join(", ")))
            }
        }
    }

    /// Adds to an error about the connection string the place where that was found.
    pub fn of_url(&self, error: Error) -> Error {
        match &self.source {
            Some(source) => error.at(source.as_str()),
            None => error,
        }
    }

    /// The error of a value that is not what it should be, which is not shown.
    pub fn invalid(&self, name: &str, expected: &str) -> Error {
        match self.origin(name) {
            Some(ValueOrigin::Variable(variable)) => {
                Error::config(format!("{variable}: expected {expected}"))
            }
            Some(ValueOrigin::Service) => {
                let place = at(ValueOrigin::Service);
                Error::config(format!("{place}: {name}: expected {expected}"))
            }
            Some(ValueOrigin::Url) | None => {
                let place = at(ValueOrigin::Url);
                self.of_url(Error::config(format!(
                    "{place}: {name}: expected {expected}"
                )))
            }
        }
    }
}

fn at(origin: ValueOrigin) -> &'static str {
    match origin {
        ValueOrigin::Url => "the database URL",
        ValueOrigin::Service => "the service file",
        ValueOrigin::Variable(variable) => variable,
    }
}

/// The error of an unknown name. It may be the rest of a password that was not quoted or encoded; only
/// what cannot be that is shown.
fn unknown(name: &str, previous: &str, origin: ValueOrigin) -> Error {
    let place = at(origin);
    // No parameter has digits or capitals, many a password has.
    let is_name = |b: u8| b.is_ascii_lowercase() || b == b'_';
    let is_name = !name.is_empty() && name.len() < 32 && name.bytes().all(is_name);
    if is_name && previous != "password" {
        Error::config(format!("{place} has a parameter that is not known: {name}"))
    } else {
        Error::config(format!("{place} has a parameter that is not known")).with_hint(
            "is the password quoted, or percent-encoded in a URL of the form \
             postgres://user:password@hostname:port/database_name?",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(url: &str, variables: &[(&str, &str)]) -> String {
        let resolved = Settings::resolve(url, &Environment::of(variables));
        resolved.err().expect("it is refused").to_string()
    }

    #[test]
    fn the_url_goes_before_the_service_and_that_before_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join(".pg_service.conf");
        std::fs::write(&own, "[s]\nhost=service\nport=1\nport=2\nuser=service\n").unwrap();
        std::fs::write(dir.path().join("pg_service.conf"), "[t]\nuser=system\n").unwrap();
        let home = dir.path().to_str().unwrap();
        let variables = [
            ("HOME", home),
            ("PGSYSCONFDIR", home),
            ("PGUSER", "variable"),
            ("PGDATABASE", "variable"),
            ("PGPORT", ""),
        ];
        let environment = Environment::of(&variables);
        let settings = Settings::resolve("service=s host=a host=url", &environment).unwrap();
        assert_eq!(settings.text("host"), Some("url"));
        assert_eq!(settings.text("port"), Some("1"));
        assert_eq!(settings.text("user"), Some("service"));
        assert_eq!(settings.text("dbname"), Some("variable"));

        // What the own file does not have is looked for in the system's.
        let settings = Settings::resolve("service=t", &environment).unwrap();
        assert_eq!(settings.text("user"), Some("system"));
        assert_eq!(settings.text("port"), None);
        assert!(error("service=u", &variables).contains("is in no service file"));

        // A service of the environment, and a file that has to be there.
        let file = own.to_str().unwrap();
        let named = Environment::of(&[("PGSERVICE", "s"), ("PGSERVICEFILE", file)]);
        let settings = Settings::resolve("", &named).unwrap();
        assert_eq!(settings.text("host"), Some("service"));
        let error = error("service=s servicefile=/nowhere/x", &variables);
        assert!(
            error.contains("/nowhere/x: cannot read the service file"),
            "{error}"
        );
    }

    #[test]
    fn what_is_not_known_or_not_supported_is_named() {
        for (url, says) in [
            ("postgres://u@h/db?sslmod=require", "not known: sslmod"),
            (
                "host=h keepalives_retries=1",
                "not known: keepalives_retries",
            ),
            ("sslcrl=x", "the database URL: sslcrl: lists of revoked"),
            ("requirepeer=x", "the database URL: requirepeer: "),
            (
                "replication=true",
                "the database URL: replication: this program sets it",
            ),
        ] {
            let error = error(url, &[]);
            assert!(error.contains(says), "{error}");
        }
        assert!(error("", &[("PGSSLCRL", "x")]).contains("PGSSLCRL: lists of revoked"));
    }

    #[test]
    fn what_may_be_a_part_of_a_password_is_not_named() {
        for url in [
            "password=a hunter2=b user=u",
            "postgres://h/db?password=a&hunter2=b",
            "hun/ter2 = x",
            "mysql://u:hunter2@h/db?a=b",
        ] {
            let error = error(url, &[]);
            assert!(
                error.contains("not known (hint: is the password"),
                "{error}"
            );
            assert!(!error.contains("ter2"), "{error}");
        }
    }

    #[test]
    fn values_are_checked_and_not_shown() {
        let settings = |variables: &[(&str, &str)]| {
            Settings::resolve("keepalives=hunter2", &Environment::of(variables)).unwrap()
        };
        let from_url = settings(&[]).number("keepalives").unwrap_err().to_string();
        assert_eq!(from_url, "the database URL: keepalives: expected a number");
        let settings = settings(&[("PGSSLSNI", "hunter2"), ("PGREQUIRESSL", "1")]);
        let choices = [("0", false), ("1", true)];
        let from_variable = settings.choice("sslsni", &choices).unwrap_err().to_string();
        assert_eq!(from_variable, "PGSSLSNI: expected 0, 1");
        assert_eq!(settings.text("sslmode"), Some("require"));
    }
}
