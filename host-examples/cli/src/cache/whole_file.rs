//! A file that is there as a whole, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A new file under a name beside its own, which it gets when it is whole. Dropped before, it is removed.
pub(super) struct WholeFile {
    path: PathBuf,
    beside: PathBuf,
}

impl WholeFile {
    /// For the owner only: it tells who sent mail to whom. An error where `path` is there already.
    pub(super) fn create(path: &Path) -> io::Result<(WholeFile, File)> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(exists());
        }
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let beside = PathBuf::from(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        Ok((WholeFile { path: path.to_owned(), beside }, file))
    }

    /// It is whole: gives it its name, unless that was taken meanwhile.
    pub(super) fn finish(self, file: &File) -> io::Result<()> {
        file.sync_all()?;
        match fs::hard_link(&self.beside, &self.path) {
            // The name that it was written under goes with `self`.
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists()),
            // A file system without links.
            Err(_) if fs::symlink_metadata(&self.path).is_err() => fs::rename(&self.beside, &self.path),
            Err(error) => Err(error),
        }
    }
}

fn exists() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "File exists; it is left as it is: remove it first, or choose another name")
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.beside);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
    }

    #[test]
    fn has_its_name_once_it_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("records.json");
        let (whole, mut file) = WholeFile::create(&path).expect("made");
        file.write_all(b"whole").expect("written");
        assert!(!path.exists());
        whole.finish(&file).expect("named");
        assert_eq!(fs::read(&path).expect("there"), b"whole");
        assert_eq!(names(folder.path()), ["records.json"]);
    }

    #[test]
    fn what_was_made_meanwhile_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("records.json");
        let (whole, file) = WholeFile::create(&path).expect("made");
        fs::write(&path, "of another").expect("written");
        assert_eq!(whole.finish(&file).expect_err("taken").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("there"), b"of another");
        assert_eq!(names(folder.path()), ["records.json"]);
        assert!(WholeFile::create(&path).is_err());
    }

    #[test]
    fn half_of_it_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(WholeFile::create(&folder.path().join("records.json")).expect("made"));
        assert_eq!(names(folder.path()), [""; 0]);
    }
}
