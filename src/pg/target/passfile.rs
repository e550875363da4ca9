//! The password file
//! ([`.pgpass`](https://www.postgresql.org/docs/current/libpq-pgpass.html)).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The password of the first line of `file` for this connection. A file that is not there, or that
/// others may read, has none.
pub fn find(file: &Path, connection: [&str; 4]) -> Option<Vec<u8>> {
    let metadata = fs::metadata(file).ok()?;
    if !metadata.is_file() {
        log::warn!("password file \"{}\" is not a plain file", file.display());
        return None;
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        log::warn!(
            "password file \"{}\" has group or world access; permissions should be u=rw (0600) or \
             less; it is not read",
            file.display()
        );
        return None;
    }
    match fs::read(file) {
        Ok(text) => text
            .split(|b| *b == b'\n')
            .find_map(|line| password(line, connection)),
        Err(e) => {
            log::warn!("password file \"{}\" cannot be read: {e}", file.display());
            None
        }
    }
}

/// `hostname:port:database:username:password`; `*` matches anything, `\` escapes `:` and itself.
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
    Some(field(rest).0).filter(|password| !password.is_empty())
}

/// One field without its escapes, and what follows its colon.
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
            "*:*:*:*:",
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
            assert_eq!(find(file.path(), connection), expected, "{mode:o}");
        }
        assert_eq!(find(Path::new("/"), connection), None);
        assert_eq!(find(Path::new("/nowhere/.pgpass"), connection), None);
    }
}
