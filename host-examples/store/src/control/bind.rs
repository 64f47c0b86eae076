//! Opening the control socket, or another one of a host, and removing it at the end.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{ControlError, Limits};

/// The permissions of the socket where a host asks for no others: for its own user, and root.
pub const DEFAULT_MODE: u32 = 0o600;

/// `sockaddr_un` takes 107 octets and a zero. The name under which the socket is made is up to 9 longer than the shortest name it gets.
const MAX_PATH_OCTETS: usize = 95;

/// How long another start may hold the directory.
const LOCK_TIME: Duration = Duration::from_secs(2);

/// How long somebody who listens may take to show it.
const CONNECT_TIME: Duration = Duration::from_secs(2);

/// A bound socket with its file. Dropping it removes the file, if that is still this one.
#[derive(Debug)]
pub struct Socket {
    /// Non-blocking.
    pub listener: UnixListener,
    /// Removed when it is dropped.
    pub file: SocketFile,
}

/// An open control socket, which [`Control::serve`](Control::serve) answers at. Dropping it removes the file, if that is still this one.
#[derive(Debug)]
pub struct Control {
    pub(super) socket: Socket,
    pub(super) limits: Limits,
}

impl Control {
    /// Opens the control socket as [`Socket::bind`] does; with permissions that are never open to all users.
    pub fn bind(path: impl AsRef<Path>, mode: u32, group: Option<u32>) -> Result<Control, ControlError> {
        if mode & !0o770 != 0 || mode & 0o600 != 0o600 {
            return Err(ControlError::Mode { mode });
        }
        Ok(Control { socket: Socket::bind(path, mode, group)?, limits: Limits::default() })
    }

    /// With other limits than the usual ones.
    pub fn limited(self, limits: Limits) -> Control {
        Control { limits, ..self }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.socket.file.path
    }
}

impl Socket {
    /// Opens the socket `path` with these permissions (only the lowest nine bits) and, where given, this group's number, which the process has
    /// to be in, or to be root. Nobody can connect before both are set.
    ///
    /// A socket that a process left behind when it was killed is taken over: nobody listens there any more. One that a running process serves
    /// is left alone. Needs no tokio runtime. Call it as the user that the process will run as: the file is that user's, and at the end
    /// only that user (or root) can remove it.
    pub fn bind(path: impl AsRef<Path>, mode: u32, group: Option<u32>) -> Result<Socket, ControlError> {
        let path = path.as_ref();
        let octets = path.as_os_str().len();
        if octets > MAX_PATH_OCTETS {
            return Err(ControlError::PathTooLong { path: path.into(), octets, max: MAX_PATH_OCTETS });
        }
        let failed = |step| move |error| ControlError::Open { path: path.into(), step, error };
        if path.as_os_str().as_bytes().contains(&0) || path.file_name().is_none() {
            return Err(failed("its path")(io::Error::new(io::ErrorKind::InvalidInput, "expected the name of a file")));
        }
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // Two hosts that start at the same time would else both find a dead socket, and the slower one remove the other's new one.
        let _lock = lock(directory).map_err(failed("looking into its directory"))?;
        make_way(path)?;
        // Made where nobody else can enter, and moved into place with its permissions: it is never there without them.
        let private = PrivateDirectory::new(directory).map_err(failed("making a directory for it"))?;
        let made = private.0.join("s");
        let listener = UnixListener::bind(&made).map_err(failed("binding it"))?;
        // Not without need: a service may be forbidden the very call.
        if let Some(group) = group {
            chown(&made, None, Some(group)).map_err(failed("giving it to its group"))?;
        }
        fs::set_permissions(&made, Permissions::from_mode(mode)).map_err(failed("setting its permissions"))?;
        listener.set_nonblocking(true).map_err(failed("setting it up"))?;
        let id = id(&made).map_err(failed("looking at it"))?;
        fs::rename(&made, path).map_err(failed("putting it in its place"))?;
        Ok(Socket { listener, file: SocketFile { path: path.into(), id } })
    }
}

/// Removes a socket at which nobody listens.
fn make_way(path: &Path) -> Result<(), ControlError> {
    let failed = |step| move |error| ControlError::Open { path: path.into(), step, error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("looking for one that is there")(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(ControlError::NotASocket { path: path.into() }),
        Ok(_) => {}
    }
    if is_served(path).map_err(failed("asking who listens there"))? {
        return Err(ControlError::InUse { path: path.into() });
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("removing the one that a host left behind")(error)),
        _ => Ok(()),
    }
}

/// Whether somebody listens. One who does not take connections, so that the attempt hangs, does listen.
fn is_served(path: &Path) -> io::Result<bool> {
    let (answer, answered) = mpsc::channel();
    let path = path.to_owned();
    // The thread outlives this call only while a listener with a full queue of connections does nothing.
    std::thread::Builder::new().name("control-probe".into()).spawn(move || {
        let _ = answer.send(UnixStream::connect(path).map(drop));
    })?;
    match answered.recv_timeout(CONNECT_TIME) {
        Ok(Ok(())) | Err(_) => Ok(true),
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Ok(false),
            // A full queue.
            io::ErrorKind::WouldBlock => Ok(true),
            _ => Err(error),
        },
    }
}

/// Locks the directory while a socket is made in it. Whoever can read the directory can lock it, so that a lock that is held too long
/// is passed over: it must not keep a host from its start.
fn lock(directory: &Path) -> io::Result<File> {
    let file = File::open(directory)?;
    let until = Instant::now() + LOCK_TIME;
    while Instant::now() < until {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            // A file system without locks.
            Err(fs::TryLockError::Error(_)) => return Ok(file),
        }
    }
    tracing::warn!(?directory, "another process keeps the directory of the socket locked; going on without the lock");
    Ok(file)
}

/// A directory for this process alone, removed when dropped.
struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    fn new(parent: &Path) -> io::Result<Self> {
        let mut random = [0; 4];
        getrandom::fill(&mut random).map_err(io::Error::from)?;
        let path = parent.join(format!(".{:08x}", u32::from_ne_bytes(random)));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(PrivateDirectory(path))
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0.join("s"));
        let _ = fs::remove_dir(&self.0);
    }
}

/// The socket's file.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode: another host may have put its own in this place.
    id: (u64, u64),
}

impl SocketFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if id(&self.path).is_ok_and(|found| found == self.id)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(path = ?self.path, %error, "the socket could not be removed");
        }
    }
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}
