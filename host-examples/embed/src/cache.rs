//! Machine code that was compiled before, kept from one start to the next.
//!
//! Machine code is run as it is: whoever can put an entry here decides what the host does. So the directory and each entry are
//! looked at through handles that nobody can exchange afterwards, and must be out of reach of every user but the host's own (and
//! root). See [`directory`] for the rules of the directory, [`entry`] for those of an entry.

mod directory;
mod entry;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

pub use directory::CacheError;
use entry::BadEntry;

/// A directory of compiled components, for [`Component::from_file_cached`](crate::Component::from_file_cached). Any number of
/// processes of one user may use it at once.
///
/// It keeps the eight entries that were used last, some MB each, and touches no file of another name. An entry is bound to the
/// octets of the WebAssembly and to all else that the machine code depends on: the version of wasmtime to the last digit, how this
/// crate sets it up, the processor's features; the [`Limits`](crate::Limits) are no part of it. An entry that is damaged, or that another user could have written, is not used: the
/// component is compiled and the entry replaced. The checksum of the machine code guards against damage, not against somebody who
/// can write as this user, and who could run code as this user anyway.
#[derive(Debug)]
pub struct Cache {
    /// For messages only: files are opened relative to the handle.
    path: PathBuf,
    directory: File,
    /// To whom the directory and each entry belong.
    user: u32,
}

impl Cache {
    /// Opens the directory, and makes it with mode 0700 if it does not exist; its parent must exist. A server that gives up the
    /// rights of root opens it after that. Under systemd, name a directory in `$CACHE_DIRECTORY`, which itself may be a link.
    ///
    /// # Errors
    ///
    /// Refused is a directory that is a symbolic link, that belongs to another than the effective user, or that group or others can
    /// write; and one that lies where others could exchange it: below a directory that belongs to another than this user or root,
    /// or that group or others can write, unless it has the sticky bit, as `/tmp` does.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Cache, CacheError> {
        let path = directory.into();
        let user = nix::unistd::geteuid().as_raw();
        let directory = directory::open(&path, user)?;
        Ok(Cache { path, directory, user })
    }

    /// The machine code of this key, if there is any that can be used.
    pub(crate) fn take(&self, key: &Key, engine: &Engine) -> Option<Component> {
        let name = key.file_name();
        match self.read(&name, key, engine) {
            Ok(found) => found,
            Err(error) => {
                let entry = self.path.join(name);
                tracing::warn!(entry = %entry.display(), %error, "cached machine code is not used: compiling the component");
                None
            }
        }
    }

    /// Keeps machine code, and removes the entries that were not used for longest.
    pub(crate) fn keep(&self, key: &Key, component: &Component) {
        let name = key.file_name();
        if let Err(error) = self.write(&name, key, component).and_then(|()| self.prune(&name)) {
            tracing::warn!(directory = %self.path.display(), %error, "the cache of machine code cannot be written");
        }
    }

    fn read(&self, name: &str, key: &Key, engine: &Engine) -> Result<Option<Component>, BadEntry> {
        // Not blocking: opening a named pipe would wait for its other end.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(&self.directory, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP | Errno::EMLINK) => return Err(BadEntry::Kind),
            Err(error) => return Err(BadEntry::Read(error.into())),
        };
        let octets = entry::read(&file, self.user)?;
        let machine_code = entry::decode(&octets, key)?;
        let component = deserialize(engine, machine_code).map_err(|error| BadEntry::Engine(format!("{error:#}")))?;
        // Tells pruning that it is used; one that cannot be told removes it a little early.
        let _ = file.set_modified(SystemTime::now());
        Ok(Some(component))
    }

    /// Writes an entry under another name first: it is never seen half written, not even after a crash.
    fn write(&self, name: &str, key: &Key, component: &Component) -> io::Result<()> {
        let machine_code = component.serialize().map_err(io::Error::other)?;
        let octets = entry::encode(key, &machine_code);
        if octets.len() > entry::MAX_SIZE {
            return Err(io::Error::other(format!("{} octets of machine code are too many to keep", machine_code.len())));
        }
        let unfinished = format!("{UNFINISHED}{:016x}", RandomState::new().build_hasher().finish());
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&self.directory, unfinished.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        let written = file.write_all(&octets).and_then(|()| file.sync_all()).and_then(|()| {
            renameat(&self.directory, unfinished.as_str(), &self.directory, name)?;
            Ok(())
        });
        if written.is_err() {
            // The error that is reported is the first one.
            let _ = unlinkat(&self.directory, unfinished.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    /// Removes the oldest entries, and what crashed processes left unfinished, but never the entry of this name.
    fn prune(&self, kept: &str) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut listing = Dir::openat(&self.directory, ".", flags, Mode::empty())?;
        let (mut entries, mut unfinished) = (Vec::new(), Vec::new());
        for item in listing.iter().take(MAX_LISTED) {
            let item = item?;
            let Ok(name) = item.file_name().to_str() else { continue };
            let files = match name {
                _ if name == kept => continue,
                _ if is_entry(name) => &mut entries,
                _ if name.starts_with(UNFINISHED) => &mut unfinished,
                _ => continue,
            };
            // Another process may have removed it meanwhile.
            if let Ok(facts) = fstatat(&self.directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                files.push(((facts.st_mtime, facts.st_mtime_nsec), name.to_owned()));
            }
        }
        let mut failed = Ok(());
        for (mut files, most) in [(entries, MAX_ENTRIES - 1), (unfinished, MAX_ENTRIES)] {
            files.sort_unstable();
            let surplus = files.len().saturating_sub(most);
            for (_, name) in &files[..surplus] {
                match unlinkat(&self.directory, name.as_str(), UnlinkatFlags::NoRemoveDir) {
                    Ok(()) | Err(Errno::ENOENT) => {}
                    Err(error) => failed = Err(error.into()),
                }
            }
        }
        failed
    }
}

/// The most entries that are kept: a few components, each with the settings before and after an upgrade.
const MAX_ENTRIES: usize = 8;

/// The most files of a directory that are looked at; a directory of a cache holds far fewer.
const MAX_LISTED: usize = 10_000;

/// How names of files begin that are not written to the end.
const UNFINISHED: &str = ".unfinished-";

/// How names of entries end.
const ENDING: &str = ".cwasm";

fn is_entry(name: &str) -> bool {
    let Some(hashes) = name.strip_suffix(ENDING).and_then(|name| name.split_once('-')) else { return false };
    [hashes.0, hashes.1].iter().all(|hash| hash.len() == 64 && hash.bytes().all(|octet| octet.is_ascii_hexdigit()))
}

/// What machine code is kept under: all that it depends on.
pub(crate) struct Key {
    /// SHA-256 of the WebAssembly.
    wasm: [u8; 32],
    /// SHA-256 of all that the engine adds: its version, its settings, the processor.
    engine: [u8; 32],
}

impl Key {
    /// The key of the WebAssembly with this hash.
    pub(crate) fn new(wasm: [u8; 32], engine: &Engine) -> Self {
        let mut hasher = WideHasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Key { wasm, engine: hasher.0.finalize().into() }
    }

    fn file_name(&self) -> String {
        format!("{}-{}{ENDING}", hex(&self.wasm), hex(&self.engine))
    }
}

/// Takes what the engine hashes, which it gives to a hasher of 64 bits only: those could collide.
struct WideHasher(Sha256);

impl Hasher for WideHasher {
    fn write(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }

    fn finish(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(self.0.clone().finalize());
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

pub(crate) fn sha256(octets: &[u8]) -> [u8; 32] {
    Sha256::digest(octets).into()
}

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Makes machine code ready to run.
#[allow(unsafe_code, reason = "the one place that trusts machine code; `read` alone calls it")]
fn deserialize(engine: &Engine, machine_code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: wasmtime wants octets that it made itself and that nobody altered. `entry::read` took them from a regular file that
    // only this user can write and that has no name elsewhere, in a directory that only this user can write; so this user's
    // `write` put them there. `entry::decode` saw that they are unaltered, and that they were made from the same WebAssembly for an
    // engine of the same version and settings. They are copied: what happens to the file from here on does not matter.
    unsafe { Component::deserialize(engine, machine_code) }
}
