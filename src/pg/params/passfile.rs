//! The password file
//! ([`.pgpass`](https://www.postgresql.org/docs/current/libpq-pgpass.html)).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::base::error::{Error, Result};
use crate::base::input::{self, Links};

/// The file in which passwords may be.
#[derive(Debug, Clone)]
pub enum PasswordFile {
    /// The file of this account, for all of its programs. It may hold nothing for this one, or not exist.
    Own(PathBuf),
    /// A file that is named for this program, so that one without a line is a mistake.
    Named(PathBuf),
}

/// The password of the first line of `file` for this connection. A file that is not there, or that
/// others may read, has none. A line for this connection that ends before the password is a mistake.
pub fn find(file: &PasswordFile, connection: [&str; 4]) -> Result<Option<Vec<u8>>> {
    let (PasswordFile::Own(path) | PasswordFile::Named(path)) = file;
    let is_named = matches!(file, PasswordFile::Named(_));
    let file: &Path = path;
    let Ok(metadata) = fs::metadata(file) else {
        return Ok(None);
    };
    if !metadata.is_file() {
        log::warn!("password file \"{}\" is not a plain file", file.display());
        return Ok(None);
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        log::warn!(
            "password file \"{}\" has group or world access; permissions should be u=rw (0600) or \
             less; it is not read",
            file.display()
        );
        return Ok(None);
    }
    let text = match input::read(file, input::CONFIG_BYTES, Links::Follow) {
        Ok(text) => text,
        Err(e) => {
            log::warn!("password file \"{}\" cannot be read: {e}", file.display());
            return Ok(None);
        }
    };
    let wrong = |what: String| {
        Err(Error::config(format!(
            "password file \"{}\": {what}",
            file.display()
        )))
    };
    if let Some(encoding) = input::wide_encoding(&text) {
        return wrong(format!("it is {encoding}: save it as UTF-8"));
    }
    let text = input::without_mark(&text);
    if is_named && text.trim_ascii().is_empty() {
        return wrong("it is there and empty".to_owned());
    }
    let mut lines = text.split(|b| *b == b'\n');
    match lines.find_map(|line| password(line, connection)) {
        Some(password) if password.is_empty() => {
            wrong("its line for this connection has no password".to_owned())
        }
        found => Ok(found),
    }
}

/// The password of a line `hostname:port:database:username:password`; `*` matches anything, `\` escapes
/// `:` and itself.
fn password(line: &[u8], connection: [&str; 4]) -> Option<Vec<u8>> {
    let mut rest = line.strip_suffix(b"\r").unwrap_or(line);
    if rest.starts_with(b"#") {
        return None;
    }
    for wanted in connection {
        let is_any = rest.starts_with(b"*:");
        let (field, after) = field(rest);
        if !is_any && field != wanted.as_bytes() {
            return None;
        }
        rest = after?;
    }
    Some(field(rest).0)
}

/// Splits a line into its first field, without its escapes, and what follows the colon.
fn field(line: &[u8]) -> (Vec<u8>, Option<&[u8]>) {
    let mut value = Vec::new();
    let mut bytes = line.iter().enumerate();
    while let Some((at, &byte)) = bytes.next() {
        match byte {
            b':' => return (value, Some(&line[at + 1..])),
            b'\\' => value.push(bytes.next().map_or(b'\\', |(_, &escaped)| escaped)),
            byte => value.push(byte),
        }
    }
    (value, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(path: &Path) -> PasswordFile {
        PasswordFile::Own(path.to_owned())
    }

    #[test]
    fn fields_wildcards_and_escapes() {
        let connection = ["::1", "5432", "d:b", "u*"];
        let found = |line: &str| {
            password(line.as_bytes(), connection).map(|p| String::from_utf8(p).unwrap())
        };
        assert_eq!(found("*:*:*:*:a").as_deref(), Some("a"));
        assert_eq!(
            found(r"\:\:1:5432:d\:b:u*:a\:b\\c\d").as_deref(),
            Some(r"a:b\cd")
        );
        assert_eq!(found("*:*:*:*:a:b").as_deref(), Some("a"));
        assert_eq!(found("*:*:*:*:a \r").as_deref(), Some("a "));
        assert_eq!(found("*:*:*:*:a\\").as_deref(), Some("a\\"));
        for line in [
            "",
            "#*:*:*:*:a",
            "*:*:*:*",
            "*:5433:*:*:a",
            "*:*:*:u:a",
            r"\*:*:*:*:a",
        ] {
            assert_eq!(found(line), None, "{line}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_ignored() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "# first\n*:*:*:x:no\n*:*:*:*:yes\n").unwrap();
        let connection = ["h", "1", "d", "u"];
        for (mode, expected) in [(0o600, Some(b"yes".to_vec())), (0o640, None), (0o604, None)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let found = find(&own(file.path()), connection).unwrap();
            assert_eq!(found, expected, "{mode:o}");
        }
        assert_eq!(find(&own(Path::new("/")), connection).unwrap(), None);
        let nowhere = Path::new("/nowhere/.pgpass");
        assert_eq!(find(&own(nowhere), connection).unwrap(), None);
    }

    #[test]
    fn a_file_as_editors_write_it_and_one_without_the_password() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let connection = ["h", "1", "d", "u"];
        let found = |text: &[u8]| {
            fs::write(&file, text).unwrap();
            find(&own(file.path()), connection)
        };
        let marked = found(b"\xef\xbb\xbfh:1:d:u:yes\r\n").unwrap();
        assert_eq!(marked.as_deref(), Some(&b"yes"[..]));
        assert_eq!(found(b"").unwrap(), None);
        let named = PasswordFile::Named(file.path().to_owned());
        let error = find(&named, connection).unwrap_err().to_string();
        assert!(error.contains("it is there and empty"), "{error}");
        for (text, says) in [
            (&b"h:1:d:u:\n"[..], "has no password"),
            (b"h\0:\x001\0:\0d\0", "it is UTF-16"),
        ] {
            let error = found(text).unwrap_err().to_string();
            let path = file.path().display().to_string();
            assert!(error.contains(says) && error.contains(&path), "{error}");
        }
    }
}
