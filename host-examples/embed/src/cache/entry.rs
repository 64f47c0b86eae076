//! One file of the cache: a header, then the machine code.
//!
//! The header is [`MAGIC`]; of 32 octets each, the SHA-256 of the WebAssembly and the hash of the engine; in four, little-endian, the CRC-32
//! of the machine code, which reaches to the end of the file. The checksum is about disks: against people there are the rules of
//! [`check`], and who can write the file could write its hash as well. A SHA-256 would be a third of the time of loading.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use super::Key;

/// Why an entry is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadEntry {
    #[error("it cannot be read: {0}")]
    Read(io::Error),
    #[error("it is not a regular file")]
    Kind,
    #[error("it belongs to user {owner}, not to {user}")]
    Owner { owner: u32, user: u32 },
    #[error("others than its owner can write it (mode {mode:04o})")]
    Writable { mode: u32 },
    /// The other name may lie where others reach it; and the file, of this user's, may have been linked to here by another.
    #[error("it has {0} names (hard links)")]
    Links(u64),
    #[error("its size of {0} octets is beyond the limit")]
    Size(u64),
    #[error("it is no entry of this version of the cache")]
    Magic,
    #[error("it was made from another component")]
    Wasm,
    #[error("it was made for another engine")]
    Engines,
    #[error("it is damaged")]
    Damaged,
    #[error("the engine does not take it: {0}")]
    Engine(String),
}

/// What the rules of an entry look at.
pub(super) struct Facts {
    pub(super) regular: bool,
    pub(super) owner: u32,
    pub(super) mode: u32,
    pub(super) links: u64,
    pub(super) size: u64,
}

impl From<Metadata> for Facts {
    fn from(metadata: Metadata) -> Self {
        Facts {
            regular: metadata.is_file(),
            owner: metadata.uid(),
            mode: metadata.mode(),
            links: metadata.nlink(),
            size: metadata.len(),
        }
    }
}

/// Far more than a component of 192 kB compiles to.
pub(super) const MAX_SIZE: usize = 64 << 20;

/// Reads an open file, if only this user can have written it.
pub(super) fn read(file: &File, user: u32) -> Result<Vec<u8>, BadEntry> {
    let facts = Facts::from(file.metadata().map_err(BadEntry::Read)?);
    check(&facts, user)?;
    // A file that is longer by now is read all the same.
    let mut octets = Vec::with_capacity(usize::try_from(facts.size).map_or(0, |size| size.min(MAX_SIZE) + 1));
    file.take(MAX_SIZE as u64).read_to_end(&mut octets).map_err(BadEntry::Read)?;
    Ok(octets)
}

/// The rules of an entry. One without a name was replaced after it was opened: it is as good as before.
pub(super) fn check(facts: &Facts, user: u32) -> Result<(), BadEntry> {
    let Facts { regular, owner, mode, links, size } = *facts;
    match () {
        () if !regular => Err(BadEntry::Kind),
        () if owner != user => Err(BadEntry::Owner { owner, user }),
        () if mode & 0o022 != 0 => Err(BadEntry::Writable { mode: mode & 0o7777 }),
        () if links > 1 => Err(BadEntry::Links(links)),
        () if size > MAX_SIZE as u64 => Err(BadEntry::Size(size)),
        () => Ok(()),
    }
}

const MAGIC: &[u8; 16] = b"smtp-fallback 2\n";

pub(super) fn encode(key: &Key, machine_code: &[u8]) -> Vec<u8> {
    [MAGIC, &key.wasm[..], &key.engine, &crc32fast::hash(machine_code).to_le_bytes(), machine_code].concat()
}

/// The machine code of an entry, if it is whole and of this key.
pub(super) fn decode<'a>(octets: &'a [u8], key: &Key) -> Result<&'a [u8], BadEntry> {
    let rest = octets.strip_prefix(MAGIC).ok_or(BadEntry::Magic)?;
    let (wasm, rest) = rest.split_first_chunk::<32>().ok_or(BadEntry::Damaged)?;
    let (engine, rest) = rest.split_first_chunk::<32>().ok_or(BadEntry::Damaged)?;
    let (checksum, machine_code) = rest.split_first_chunk::<4>().ok_or(BadEntry::Damaged)?;
    match () {
        () if *wasm != key.wasm => Err(BadEntry::Wasm),
        () if *engine != key.engine => Err(BadEntry::Engines),
        () if *checksum != crc32fast::hash(machine_code).to_le_bytes() => Err(BadEntry::Damaged),
        () => Ok(machine_code),
    }
}
