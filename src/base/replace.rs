//! Files of our own, written so that whoever may write into their directory leads us nowhere: what is in
//! the way, a link for instance, is taken away and never written through.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// The owner of the file.
    Owner,
    /// Every user, even where the umask is one for secrets.
    Everybody,
}

/// The number of times that another process, which makes the same file at this moment, may be faster.
const TRIES: usize = 1000;

/// Makes a new, empty file. What an earlier run left there may be somebody else's by now: a service may
/// have another user at each start.
pub fn create(path: &Path, readers: Readers) -> io::Result<File> {
    for _ in 0..TRIES {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let made = options.write(true).create_new(true).mode(0o600).open(path);
        match made {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => thread::yield_now(),
            Err(error) => return Err(error),
            Ok(file) => {
                if readers == Readers::Everybody {
                    file.set_permissions(Permissions::from_mode(0o644))?;
                }
                return Ok(file);
            }
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_in_the_way_is_not_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let (victim, path) = (
            directory.path().join("victim"),
            directory.path().join("new"),
        );
        fs::write(&victim, "kept").unwrap();
        for readers in [Readers::Owner, Readers::Everybody] {
            symlink(&victim, &path).unwrap();
            create(&path, readers).unwrap().write_all(b"new").unwrap();
            assert_eq!(fs::read(&victim).unwrap(), b"kept");
            assert_eq!(fs::read(&path).unwrap(), b"new");
            let expected = if readers == Readers::Owner {
                0o600
            } else {
                0o644
            };
            assert_eq!(mode(&path), expected);
            fs::remove_file(&path).unwrap();

            fs::hard_link(&victim, &path).unwrap();
            create(&path, readers).unwrap().write_all(b"new").unwrap();
            assert_eq!(fs::read(&victim).unwrap(), b"kept");
            fs::remove_file(&path).unwrap();

            symlink(directory.path().join("nowhere"), &path).unwrap();
            create(&path, readers).unwrap();
            assert!(!directory.path().join("nowhere").exists());
            fs::remove_file(&path).unwrap();
        }
        fs::create_dir(&path).unwrap();
        assert!(create(&path, Readers::Owner).is_err());
    }

    /// As several processes do that start together.
    #[test]
    fn everybody_who_makes_it_at_once_gets_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("probe");
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        create(&path, Readers::Owner).unwrap();
                        let _ = fs::remove_file(&path);
                    }
                });
            }
        });
    }
}
