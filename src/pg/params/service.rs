//! Service files: named sets of parameters
//! ([the connection service file](https://www.postgresql.org/docs/current/libpq-pgservice.html)).

use std::path::{Path, PathBuf};

use super::conninfo::Pair;
use super::environment::Environment;
use super::settings::Settings;
use crate::base::error::{Context, Error, Result};
use crate::base::input;

/// The directory of the system's file, as libpq on Debian has it.
const SYSTEM_DIRECTORY: &str = "/etc/postgresql-common";

/// The parameters of the service that is asked for; none when there is no such wish.
pub fn find(url: &Settings, environment: &Environment) -> Result<Vec<Pair>> {
    let service = match url.text("service") {
        Some(service) => Some(service),
        None => environment.variable("PGSERVICE")?,
    };
    let Some(service) = service else {
        return Ok(Vec::new());
    };
    let named = match url.text("servicefile") {
        Some(file) => Some(file),
        None => environment.variable("PGSERVICEFILE")?,
    };
    let own = environment.home().map(|home| home.join(".pg_service.conf"));
    let system = environment.variable("PGSYSCONFDIR")?;
    let system = Path::new(system.unwrap_or(SYSTEM_DIRECTORY)).join("pg_service.conf");
    let files = match named {
        // One that is named has to be there.
        Some(file) => vec![PathBuf::from(file), system],
        None => own
            .into_iter()
            .chain([system])
            .filter(|file| file.exists())
            .collect(),
    };
    for (index, file) in files.iter().enumerate() {
        if index > 0 && !file.exists() {
            continue;
        }
        let place = || file.display().to_string();
        let text = input::read_text(file, input::CONFIG_BYTES)
            .map_err(|e| Error::config("cannot read the service file").with_source(e))
            .at(place)?;
        if let Some(found) = section(&text, service).at(place)? {
            return Ok(found);
        }
    }
    Err(Error::config("the service that the database URL or PGSERVICE names is in no service file")
        .with_hint("it is looked for in the file of PGSERVICEFILE, ~/.pg_service.conf, and pg_service.conf in PGSYSCONFDIR"))
}

/// Reads the section of a service: `[service]`, then a `name=value` a line. Lines of others are not read.
fn section(text: &str, service: &str) -> Result<Option<Vec<Pair>>> {
    let mut found = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_ascii();
        let wrong = |what: &str| Error::config(format!("line {}: {what}", number + 1));
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if name.split(']').next() == Some(service) && name.contains(']') {
                found = Some(Vec::new());
            }
        } else if let Some(pairs) = &mut found {
            if line.starts_with("ldap") {
                return Err(wrong("LDAP is not supported"));
            }
            let (name, value) = line.split_once('=').ok_or_else(|| wrong("no \"=\""))?;
            if name == "service" || name == "servicefile" {
                return Err(wrong("a service cannot name another"));
            }
            pairs.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
# comment
[one]
host=a
host=b
 port=1 \x20
[two]
nonsense
[three]
service=one
[four]
ldap://x/y
";

    #[test]
    fn the_section_of_the_service() {
        let one = section(FILE, "one").unwrap().unwrap();
        let expected = [("host", "a"), ("host", "b"), ("port", "1")];
        assert_eq!(one, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert!(section(FILE, "five").unwrap().is_none());
        for (service, says) in [
            ("two", "line 8: no \"=\""),
            ("three", "line 10: a service cannot"),
            ("four", "line 12: LDAP"),
        ] {
            let error = section(FILE, service).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
