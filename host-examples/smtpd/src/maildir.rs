//! The Maildir: one file for each message, there whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The longest file name that common file systems take, in octets.
const NAME_MAX: usize = 255;
/// What a Maildir has in it.
const FOLDERS: [&str; 3] = ["tmp", "new", "cur"];

/// A Maildir that messages are put into.
#[derive(Debug)]
pub struct Maildir {
    path: PathBuf,
    /// The host's name as it stands in file names.
    host: String,
    delivered: AtomicU64,
}

impl Maildir {
    /// The Maildir at `path`, with its folders; those that are missing are made, for this user only. Once this returns, they outlive a
    /// power failure.
    pub fn open(path: &Path, host_name: &str) -> io::Result<Maildir> {
        let changing = up_to_existing(path)?;
        for folder in FOLDERS {
            DirBuilder::new().recursive(true).mode(0o700).create(path.join(folder))?;
        }
        for folder in changing {
            File::open(folder)?.sync_all()?;
        }
        // The two characters that mean something in a path or in a Maildir name, as qmail writes them.
        let host = host_name.replace('/', "\\057").replace(':', "\\072");
        Ok(Maildir { path: path.to_owned(), host, delivered: AtomicU64::new(0) })
    }

    /// Whether [`Maildir::open`] and [`Maildir::deliver`] could succeed. Tries to write, by an empty folder that is removed at once, and
    /// leaves nothing.
    pub fn check(path: &Path) -> io::Result<()> {
        for folder in FOLDERS {
            let changing = up_to_existing(&path.join(folder))?;
            let nearest = changing.last().expect("it has the folder itself at least");
            // It is synced, which takes the right to read.
            File::open(nearest)?;
            // Those who read a Maildir pass over names with a dot in front.
            let trial = nearest.join(format!(".smtp-fallback-check-{}", std::process::id()));
            DirBuilder::new().mode(0o700).create(&trial)?;
            fs::remove_dir(&trial)?;
        }
        Ok(())
    }

    /// Puts a message, given in parts, into `new`, and returns its file name. Once this returns, the message outlives a power failure: the
    /// file is written under `tmp`, synced, renamed, and the folder is synced. After an error nothing is left.
    ///
    /// `id` is part of the name: up to 100 ASCII letters and digits. A host's name that makes the file name too long is cut. Blocks; not
    /// for an async thread.
    pub fn deliver(&self, id: &str, parts: &[&[u8]]) -> io::Result<String> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let count = self.delivered.fetch_add(1, Ordering::Relaxed);
        let (seconds, micros, process) = (time.as_secs(), time.subsec_micros(), std::process::id());
        let mut name = format!("{seconds}.M{micros}P{process}Q{count}R{id}.{}", self.host);
        // The host's name is last: what makes the name the only one of its kind is before it.
        while name.len() > NAME_MAX {
            name.pop();
        }
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

/// The folder `path` and those above it, up to the first one that exists. Making `path` changes all of them.
fn up_to_existing(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for folder in path.ancestors() {
        // Above the first name of a relative path.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        folders.push(folder.to_owned());
        match fs::metadata(folder) {
            Ok(found) if found.is_dir() => return Ok(folders),
            Ok(_) => return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} is not a folder", folder.display()))),
            // A link to nothing is in the way of a folder of that name.
            Err(error) if error.kind() != io::ErrorKind::NotFound || fs::symlink_metadata(folder).is_ok() => return Err(error),
            Err(_) => {}
        }
    }
    Err(io::ErrorKind::NotFound.into())
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
        Maildir::check(&root.path().join("no/where/mail")).expect("can be made, with the folders above it");
        assert_eq!(names(root.path().to_owned()), [""; 0]);
        fs::write(root.path().join("file"), "").expect("writable");
        Maildir::check(&root.path().join("file")).expect_err("is a file");
        Maildir::check(&root.path().join("file/mail")).expect_err("is below a file");
        std::os::unix::fs::symlink("nothing", root.path().join("link")).expect("can be made");
        Maildir::check(&root.path().join("link")).expect_err("is a link to nothing");
        Maildir::check(&root.path().join("link/mail")).expect_err("is below a link to nothing");
        let path = root.path().join("mail");
        Maildir::open(&path, "mx").expect("can be made");
        Maildir::check(&path).expect("is there");
        assert!(FOLDERS.iter().all(|folder| names(path.join(folder)).is_empty()));
        fs::remove_dir(path.join("new")).expect("empty");
        fs::write(path.join("new"), "").expect("writable");
        Maildir::check(&path).expect_err("one of its folders is a file");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn check_finds_a_folder_that_nobody_can_write_to() {
        Maildir::check(Path::new("/proc/mail")).expect_err("nothing can be made there, by root neither");
    }

    #[test]
    fn what_is_made_is_synced_with_the_folder_above_it() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        let path = root.join("a/b");
        assert_eq!(up_to_existing(&path).expect("found"), [path.clone(), root.join("a"), root.to_owned()]);
        Maildir::open(&path, "mx").expect("can be made");
        assert_eq!(up_to_existing(&path).expect("found"), [path]);
        assert_eq!(
            up_to_existing(Path::new("missing/mail")).expect("found"),
            ["missing/mail", "missing", "."].map(PathBuf::from)
        );
    }

    #[test]
    fn a_long_host_name_is_cut() {
        let root = tempfile::tempdir().expect("a folder");
        let maildir = Maildir::open(root.path(), &"long.".repeat(50)).expect("can be made");
        let name = maildir.deliver("0123456789abcdef", &[b"x"]).expect("delivered");
        assert!(name.len() == NAME_MAX && name.contains("R0123456789abcdef.long.long."), "{name}");
    }
}
