//! Opening the directory of a cache, and whether it is safe to run what lies in it.
//!
//! The path is gone down one directory at a time, from the root. Each is opened relative to the handle of the one before and looked
//! at through its own handle, so nothing can be exchanged between looking and using. This is done once: after it, none but this
//! user and root can rename, replace or write any directory on the way.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstatat, mkdirat};

/// A directory cannot be used as a cache.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The path ends in `..`, or is empty or the root.
    #[error("cache directory {0:?}: expected a path that ends in the name of a directory")]
    Path(PathBuf),
    /// It, or a directory on the way to it, cannot be opened, or it cannot be made.
    #[error("cache directory {}: {}: {source}; name a directory in one that exists and that this user may enter", path.display(),
        at.display())]
    Open {
        /// The cache.
        path: PathBuf,
        /// What was opened.
        at: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a symbolic link.
    #[error("cache directory {}: this is a symbolic link; name the directory itself", .0.display())]
    Link(PathBuf),
    /// It belongs to another user, who could put machine code there.
    #[error(
        "cache directory {}: it belongs to user {owner}, but this runs as user {user} and would run what {owner} puts there; name \
         one that does not exist: it will be made", path.display())]
    Owner {
        /// The cache.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// The effective user.
        user: u32,
    },
    /// Others than its owner can write it, and could have put machine code there.
    #[error(
        "cache directory {path}: others than its owner can write it (mode {mode:04o}); remove what it holds, then run \
         `chmod go-w {path}`", path = path.display())]
    Writable {
        /// The cache.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A directory or a symbolic link on the way belongs to another user than this one and root, who could lead elsewhere.
    #[error(
        "cache directory {}: {} on the way to it belongs to user {owner}, who could exchange the cache; name one of which all \
         parents belong to root or this user", path.display(), at.display())]
    ParentOwner {
        /// The cache.
        path: PathBuf,
        /// The directory or link on the way.
        at: PathBuf,
        /// Who owns that.
        owner: u32,
    },
    /// Others than its owner can write a directory on the way, which has no sticky bit: they could exchange what it holds.
    #[error(
        "cache directory {}: others than its owner can write {at} on the way to it (mode {mode:04o}) and could exchange the cache; \
         run `chmod go-w {at}`, or name a directory elsewhere", path.display(), at = at.display())]
    ParentWritable {
        /// The cache.
        path: PathBuf,
        /// The directory on the way.
        at: PathBuf,
        /// The mode of that.
        mode: u32,
    },
    /// A file system is mounted inside a directory that others can write. Who mounted it may say whatever it likes about owners and modes.
    #[error(
        "cache directory {}: {at} is a file system of its own in a directory that others can write, and whoever mounted it could \
         exchange the cache; name a directory elsewhere", path.display(), at = at.display())]
    Mounted {
        /// The cache.
        path: PathBuf,
        /// Where the file system begins.
        at: PathBuf,
    },
}

/// Opens the directory, and makes it if it does not exist.
pub(super) fn open(path: &Path, user: u32) -> Result<File, CacheError> {
    let no_path = || CacheError::Path(path.to_owned());
    let absolute = std::path::absolute(path).map_err(|_| no_path())?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else { return Err(no_path()) };
    let (parent, above) = Way { path, user }.go(parent)?;

    let failed = |error: Errno| CacheError::Open { path: path.to_owned(), at: absolute.clone(), source: error.into() };
    // Mostly it exists, made by another process just now perhaps. Only if it does not, does it matter why it was not made.
    let made = mkdirat(&parent, name, Mode::S_IRWXU);
    let facts = fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW);
    if kind(facts.map_err(|error| failed(made.err().unwrap_or(error)))?.st_mode) == SFlag::S_IFLNK {
        return Err(CacheError::Link(path.to_owned()));
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = File::from(openat(&parent, name, flags, Mode::empty()).map_err(failed)?);
    let facts =
        directory.metadata().map_err(|source| CacheError::Open { path: path.to_owned(), at: absolute.clone(), source })?;
    let facts = facts.into();
    check(&facts, path, user)?;
    check_same_system(&facts, &above, path, &absolute)?;
    Ok(directory)
}

/// What the rules of a directory look at.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    pub(super) owner: u32,
    pub(super) mode: u32,
    /// The file system.
    pub(super) device: u64,
}

impl From<Metadata> for Facts {
    fn from(metadata: Metadata) -> Self {
        Facts { owner: metadata.uid(), mode: metadata.mode(), device: metadata.dev() }
    }
}

/// The rules of the directory itself.
pub(super) fn check(facts: &Facts, path: &Path, user: u32) -> Result<(), CacheError> {
    let Facts { owner, mode, .. } = *facts;
    if owner != user {
        return Err(CacheError::Owner { path: path.to_owned(), owner, user });
    }
    if mode & 0o022 != 0 {
        return Err(CacheError::Writable { path: path.to_owned(), mode: mode & 0o7777 });
    }
    Ok(())
}

/// Inside a directory that others can write, the sticky bit keeps them from renaming what is not theirs, but owners and modes of another
/// file system (FUSE) are what its maker says.
pub(super) fn check_same_system(facts: &Facts, above: &Facts, path: &Path, at: &Path) -> Result<(), CacheError> {
    if above.mode & 0o022 != 0 && facts.device != above.device {
        return Err(CacheError::Mounted { path: path.to_owned(), at: at.to_owned() });
    }
    Ok(())
}

/// The way to the directory of a cache.
pub(super) struct Way<'a> {
    /// The cache, for messages.
    pub(super) path: &'a Path,
    pub(super) user: u32,
}

impl Way<'_> {
    /// Opens an absolute path's directory and checks all directories and links that lead there.
    fn go(&self, to: &Path) -> Result<(File, Facts), CacheError> {
        let (mut place, mut here, mut facts_here) = self.root()?;
        let mut left: VecDeque<OsString> = names(to);
        let mut links = 0;
        // Bounded: only links add names.
        while let Some(name) = left.pop_front() {
            let next = place.join(&name);
            let facts =
                fstatat(&here, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(|error| self.failed(&next, error))?;
            if kind(facts.st_mode) != SFlag::S_IFLNK {
                let flags = PASS | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let entered = self.enter(openat(&here, name.as_os_str(), flags, Mode::empty()), &next)?;
                check_same_system(&entered.1, &facts_here, self.path, &next)?;
                (here, facts_here) = entered;
                place = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(self.failed(&next, Errno::ELOOP));
            }
            // One of another user in a directory with the sticky bit could lead elsewhere at each look.
            self.check_owner(facts.st_uid, &next)?;
            let target = PathBuf::from(readlinkat(&here, name.as_os_str()).map_err(|error| self.failed(&next, error))?);
            if target.is_absolute() {
                (place, here, facts_here) = self.root()?;
            }
            left = names(&target).into_iter().chain(left).collect();
        }
        Ok((here, facts_here))
    }

    fn root(&self) -> Result<(PathBuf, File, Facts), CacheError> {
        let root = Path::new("/");
        let opened = openat(AT_FDCWD, root, PASS | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
        let (file, facts) = self.enter(opened, root)?;
        Ok((root.to_owned(), file, facts))
    }

    fn enter(&self, opened: nix::Result<std::os::fd::OwnedFd>, at: &Path) -> Result<(File, Facts), CacheError> {
        let directory = File::from(opened.map_err(|error| self.failed(at, error))?);
        let facts = directory.metadata().map_err(|error| self.failed(at, error))?.into();
        self.check(&facts, at)?;
        Ok((directory, facts))
    }

    /// The rules of a directory on the way. Where the sticky bit is set, only the owner of a file or of the directory can rename it:
    /// so says the rule for owners that this user or root does.
    pub(super) fn check(&self, facts: &Facts, at: &Path) -> Result<(), CacheError> {
        let Facts { owner, mode, .. } = *facts;
        self.check_owner(owner, at)?;
        if mode & 0o022 != 0 && mode & 0o1000 == 0 {
            return Err(CacheError::ParentWritable { path: self.path.to_owned(), at: at.to_owned(), mode: mode & 0o7777 });
        }
        Ok(())
    }

    fn check_owner(&self, owner: u32, at: &Path) -> Result<(), CacheError> {
        if owner != self.user && owner != ROOT {
            return Err(CacheError::ParentOwner { path: self.path.to_owned(), at: at.to_owned(), owner });
        }
        Ok(())
    }

    fn failed(&self, at: &Path, error: impl Into<io::Error>) -> CacheError {
        CacheError::Open { path: self.path.to_owned(), at: at.to_owned(), source: error.into() }
    }
}

/// The user who can do all anyway.
const ROOT: u32 = 0;

/// The most symbolic links on the way, as for Linux itself.
const MAX_LINKS: usize = 40;

/// Opens a directory to go through it only: that needs no right to list it.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
const PASS: OFlag = OFlag::O_PATH;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
const PASS: OFlag = OFlag::O_RDONLY;

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

fn kind(mode: nix::sys::stat::mode_t) -> SFlag {
    SFlag::from_bits_truncate(mode) & SFlag::S_IFMT
}
