//! Files that others write: read up to a size, within a time, and as text however an editor marks it.
//!
//! No error quotes what is in the file.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// How long a pipe may take to say all it has; whoever fills it may have to decrypt it first.
const DEADLINE: Duration = Duration::from_secs(30);

/// A configuration file of any kind: of this program, of services, of passwords. No person writes more.
pub const CONFIG_BYTES: u64 = 1 << 20;

/// Certificates and keys. All that a system trusts are a quarter of a megabyte.
pub const PEM_BYTES: u64 = 8 << 20;

/// U+FEFF in UTF-8, with which editors of other systems mark a text.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Whether a symbolic link at the end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// The file that the link names is read.
    Follow,
    /// A link is an error.
    Refuse,
}

/// Opens a file to be read, which may be a pipe: one that nobody writes to holds us up neither here nor when
/// it is read.
pub fn open(path: &Path, links: Links) -> io::Result<File> {
    let mut flags = OFlags::NONBLOCK;
    if links == Links::Refuse {
        flags |= OFlags::NOFOLLOW;
    }
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path);
    let is_link = Some(Errno::LOOP.raw_os_error());
    opened.map_err(|error| match links {
        Links::Refuse if error.raw_os_error() == is_link => {
            io::Error::other("it is a symbolic link, which is not followed")
        }
        _ => error,
    })
}

/// Reads the text of a file, which may be a pipe, without the mark of its encoding.
pub fn read_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    text(read(path, max_bytes, Links::Follow)?)
}

/// Reads the bytes of a file, which may be a pipe.
pub fn read(path: &Path, max_bytes: u64, links: Links) -> io::Result<Vec<u8>> {
    read_within(DEADLINE, path, max_bytes, links)
}

fn read_within(limit: Duration, path: &Path, max_bytes: u64, links: Links) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + limit;
    let mut file = open(path, links)?;
    let (mut bytes, mut part) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut waits = [PollFd::new(&file, PollFlags::IN)];
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut waits, Some(&timeout)) {
            Ok(0) => {
                let what = format!("its end did not come within {limit:?}");
                return Err(io::Error::new(ErrorKind::TimedOut, what));
            }
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        match file.read(&mut part) {
            Ok(0) => return Ok(bytes),
            Ok(len) => bytes.extend_from_slice(&part[..len]),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        if bytes.len() as u64 > max_bytes {
            let what = format!("it is larger than {max_bytes} bytes");
            return Err(io::Error::new(ErrorKind::FileTooLarge, what));
        }
    }
}

/// Bytes without the mark of UTF-8, if they have it.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

/// The text that the bytes are; an error names the encoding if it is another.
pub fn text(bytes: Vec<u8>) -> io::Result<String> {
    let wrong = |what: String| io::Error::new(ErrorKind::InvalidData, what);
    if let Some(encoding) = wide_encoding(&bytes) {
        return Err(wrong(format!("it is {encoding}: save it as UTF-8")));
    }
    match std::str::from_utf8(without_mark(&bytes)) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let before = &bytes[..bytes.len().min(error.valid_up_to())];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            Err(wrong(format!("it is not UTF-8 at line {line}")))
        }
    }
}

/// The name of an encoding that is not UTF-8: UTF-16 and UTF-32 are known by their marks, or by the
/// zeros that ASCII has in them.
pub fn wide_encoding(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        _ => {
            let zeros = bytes
                .first_chunk::<4>()
                .map(|first| first.map(|byte| byte == 0));
            let is_wide = zeros.is_some_and(|zeros| {
                zeros == [false, true, false, true] || zeros == [true, false, true, false]
            });
            is_wide.then_some("UTF-16")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    fn pipe(directory: &Path) -> std::path::PathBuf {
        let path = directory.join("pipe");
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        path
    }

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "12345").unwrap();
        assert_eq!(read_text(file.path(), 5).unwrap(), "12345");
        let error = read_text(file.path(), 4).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 4 bytes");
        let error = read_text(Path::new("/dev/zero"), 1 << 20).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        let error = read_text(Path::new("/"), 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IsADirectory);
        let error = read_text(Path::new("/nowhere"), 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_pipe_is_read_to_its_end_and_not_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let path = pipe(directory.path());
        let writer = std::thread::spawn({
            let path = path.clone();
            move || fs::write(path, "text").unwrap()
        });
        assert_eq!(read_text(&path, 100).unwrap(), "text");
        writer.join().unwrap();

        let short = Duration::from_millis(50);
        let never = |path: &Path| read_within(short, path, 100, Links::Follow).unwrap_err();
        assert_eq!(never(&path).kind(), ErrorKind::TimedOut);
        let both = OpenOptions::new().read(true).write(true).open(&path);
        let mut held = both.unwrap();
        io::Write::write_all(&mut held, b"not all").unwrap();
        let error = never(&path).to_string();
        assert_eq!(error, "its end did not come within 50ms");
    }

    #[test]
    fn a_link_is_followed_only_where_that_is_right() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "x").unwrap();
        symlink(&file, &link).unwrap();
        assert_eq!(read(&link, 1, Links::Follow).unwrap(), b"x");
        assert_eq!(read(&file, 1, Links::Refuse).unwrap(), b"x");
        let error = read(&link, 1, Links::Refuse).unwrap_err().to_string();
        assert!(error.contains("symbolic link"), "{error}");
    }

    #[test]
    fn marks_are_taken_off_and_other_encodings_named() {
        let utf_16 =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        assert_eq!(text(b"\xef\xbb\xbfa".to_vec()).unwrap(), "a");
        assert_eq!(text("é".into()).unwrap(), "é");
        assert_eq!(text(Vec::new()).unwrap(), "");
        for (bytes, says) in [
            (utf_16("\u{feff}hunter2"), "it is UTF-16: save it as UTF-8"),
            (utf_16("hunter2"), "it is UTF-16: save it as UTF-8"),
            (
                b"\xff\xfe\0\0h\0\0\0".to_vec(),
                "it is UTF-32: save it as UTF-8",
            ),
            (b"a\nb\nhunter2\xff".to_vec(), "it is not UTF-8 at line 3"),
        ] {
            assert_eq!(text(bytes).unwrap_err().to_string(), says);
        }
    }
}
