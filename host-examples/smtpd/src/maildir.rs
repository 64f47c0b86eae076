//! The Maildir: one file for each message, there whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A Maildir that messages are put into.
#[derive(Debug)]
pub struct Maildir {
    path: PathBuf,
    /// The host's name as it stands in file names.
    host: String,
    delivered: AtomicU64,
}

impl Maildir {
    /// The Maildir at `path`, with its folders; those that are missing are made, for this user only.
    pub fn open(path: &Path, host_name: &str) -> io::Result<Maildir> {
        for folder in ["tmp", "new", "cur"] {
            DirBuilder::new().recursive(true).mode(0o700).create(path.join(folder))?;
        }
        // The two characters that mean something in a path or in a Maildir name, as qmail writes them.
        let host = host_name.replace('/', "\\057").replace(':', "\\072");
        Ok(Maildir { path: path.to_owned(), host, delivered: AtomicU64::new(0) })
    }

    /// Whether [`Maildir::open`] could succeed, without making anything.
    pub fn check(path: &Path) -> io::Result<()> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let nearest = if path.exists() { path } else { parent };
        let kind = fs::metadata(nearest)?;
        if kind.is_dir() { Ok(()) } else { Err(io::Error::new(io::ErrorKind::NotADirectory, "not a folder")) }
    }

    /// Puts a message, given in parts, into `new`, and returns its file name. Once this returns, the message outlives a power failure: the
    /// file is written under `tmp`, synced, renamed, and the folder is synced. After an error nothing is left.
    ///
    /// `id` is part of the name: ASCII letters and digits. Blocks; not for an async thread.
    pub fn deliver(&self, id: &str, parts: &[&[u8]]) -> io::Result<String> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let count = self.delivered.fetch_add(1, Ordering::Relaxed);
        let (seconds, micros, process) = (time.as_secs(), time.subsec_micros(), std::process::id());
        let name = format!("{seconds}.M{micros}P{process}Q{count}R{id}.{}", self.host);
        let (draft, place) = (self.path.join("tmp").join(&name), self.path.join("new").join(&name));
        let mut written = write(&draft, parts);
        if written.is_ok() {
            written = fs::rename(&draft, &place);
        }
        if written.is_ok() {
            written = File::open(self.path.join("new")).and_then(|folder| folder.sync_all());
        }
        if let Err(error) = written {
            // The client keeps the message: what is here must not be a second copy. Where it is depends on what failed.
            let _ = fs::remove_file(&draft);
            let _ = fs::remove_file(&place);
            return Err(error);
        }
        Ok(name)
    }
}

fn write(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn names(folder: PathBuf) -> Vec<String> {
        fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
            .collect()
    }

    #[test]
    fn delivers_whole_messages_under_names_of_their_own() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("a/b");
        let maildir = Maildir::open(&path, "mx.demo.example").expect("can be made");
        let first = maildir.deliver("0a", &[b"Subject: a\r\n", b"\r\nb\r\n"]).expect("delivered");
        let second = maildir.deliver("0a", &[]).expect("delivered");
        assert_ne!(first, second);
        assert!(first.ends_with(".mx.demo.example") && first.contains("R0a."), "{first}");
        assert_eq!(fs::read(path.join("new").join(&first)).expect("there"), b"Subject: a\r\n\r\nb\r\n");
        assert_eq!(fs::metadata(path.join("new").join(&first)).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(names(path.join("tmp")), [""; 0]);
        Maildir::open(&path, "mx.demo.example").expect("opening again harms nothing");
        assert_eq!(names(path.join("new")).len(), 2);
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let root = tempfile::tempdir().expect("a folder");
        let maildir = Maildir::open(root.path(), "mx").expect("can be made");
        fs::remove_dir(root.path().join("new")).expect("empty");
        maildir.deliver("1", &[b"x"]).expect_err("there is no folder `new`");
        assert_eq!(names(root.path().join("tmp")), [""; 0]);
        fs::remove_dir(root.path().join("tmp")).expect("empty");
        maildir.deliver("1", &[b"x"]).expect_err("there is no folder `tmp`");
    }

    #[test]
    fn check_makes_nothing() {
        let root = tempfile::tempdir().expect("a folder");
        Maildir::check(root.path()).expect("is there");
        Maildir::check(&root.path().join("a")).expect("can be made");
        assert_eq!(names(root.path().to_owned()), [""; 0]);
        fs::write(root.path().join("file"), "").expect("writable");
        Maildir::check(&root.path().join("file")).expect_err("is a file");
        Maildir::check(&root.path().join("no/where")).expect_err("the folder above is missing");
    }
}
