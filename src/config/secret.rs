//! The database URL: where it comes from, and that it is never shown.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::base::error::{Error, Result};
use crate::base::input;

/// The secret's name, in every place it may come from.
pub const NAME: &str = "FLUVIO_PG_DATABASE_URL";

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    pub fn new(text: String) -> Self {
        Secret(text)
    }

    /// The secret text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The URL, and where it was found, for whoever has to look for a mistake in it.
#[derive(Clone)]
pub struct DatabaseUrl {
    /// The URL.
    pub text: Secret,
    /// The file, the variable, or the key of the config.
    pub source: String,
}

/// Leaves the source out: a URL is the same wherever it was found.
impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

/// The most bytes of a URL, more than any has.
const MAX_BYTES: u64 = 64 * 1024;

/// Takes the URL from the first of: `$CREDENTIALS_DIRECTORY/FLUVIO_PG_DATABASE_URL`
/// ([credentials](https://systemd.io/CREDENTIALS/)), the environment, the file that
/// `FLUVIO_PG_DATABASE_URL_FILE` names, the config file. One that is there and empty is a mistake: to
/// go on with the next, or with libpq's defaults, could lead to another server.
pub fn find(in_config: Option<&Secret>, config: &Path) -> Result<DatabaseUrl> {
    if let Some(directory) = variable("CREDENTIALS_DIRECTORY") {
        let path = PathBuf::from(directory).join(NAME);
        if path.exists() {
            return read(&path);
        }
    }
    if let Some(url) = std::env::var_os(NAME) {
        let url = url
            .into_string()
            .map_err(|_| Error::config(format!("{NAME} is not UTF-8")))?;
        return database_url(&url, NAME.to_owned());
    }
    if let Some(path) = variable(&format!("{NAME}_FILE")) {
        return read(Path::new(&path));
    }
    match in_config {
        Some(url) => {
            warn_if_readable(config);
            database_url(
                url.expose(),
                format!("{}: secrets.{NAME}", config.display()),
            )
        }
        None => Err(Error::config(format!("no database URL: the secret {NAME} is missing"))
            .with_hint(format!(
                "set {NAME} in the environment, name a file with {NAME}_FILE, or write it under \
                 \"secrets:\" in the config: postgres://user:password@hostname:port/database_name"
            ))),
    }
}

/// The files of our own that hold the URL, whether it is taken from there or not.
pub fn files(in_config: Option<&Secret>, config: &Path) -> Vec<PathBuf> {
    let named = variable(&format!("{NAME}_FILE")).map(PathBuf::from);
    let config = in_config.map(|_| config.to_owned());
    config.into_iter().chain(named).collect()
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn read(path: &Path) -> Result<DatabaseUrl> {
    let text = input::read_text(path, MAX_BYTES).map_err(|e| {
        Error::config(format!(
            "cannot read the secret {NAME} from {}",
            path.display()
        ))
        .with_source(e)
    })?;
    database_url(
        text.trim_end_matches(['\n', '\r']),
        path.display().to_string(),
    )
}

fn database_url(url: &str, source: String) -> Result<DatabaseUrl> {
    // A text that was marked as UTF-8 before it became a variable.
    let url = url.strip_prefix('\u{feff}').unwrap_or(url).trim_start();
    if url.is_empty() {
        return Err(Error::config("the database URL is there and empty")
            .with_hint("write it there, or take away what is to hold it")
            .at(source));
    }
    Ok(DatabaseUrl {
        text: Secret(url.to_owned()),
        source,
    })
}

fn warn_if_readable(config: &Path) {
    let mode = std::fs::metadata(config).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o044 != 0 {
        log::warn!(
            "{}: holds the database URL and others can read it; run \"chmod 600 {0}\"",
            config.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_not_shown() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "[secret]");
    }

    #[test]
    fn a_file_may_end_with_a_newline() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "postgres://u@h/db\n").unwrap();
        let url = read(file.path()).unwrap();
        assert_eq!(url.text.expose(), "postgres://u@h/db");
        assert_eq!(url.source, file.path().display().to_string());
        let error = read(Path::new("/nowhere")).unwrap_err().to_string();
        assert!(
            error.contains("/nowhere") && error.contains(NAME),
            "{error}"
        );
    }

    #[test]
    fn a_file_that_is_there_and_empty_is_a_mistake() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for text in ["", "\n", " \t\r\n", "\u{feff}\n"] {
            std::fs::write(&file, text).unwrap();
            let error = read(file.path()).unwrap_err().to_string();
            let path = file.path().display().to_string();
            assert!(error.starts_with(&path), "{text:?}: {error}");
            assert!(error.contains("is there and empty"), "{text:?}: {error}");
        }
    }
}
