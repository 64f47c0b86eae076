//! Reading files that people write.

use std::io;
use std::path::Path;

/// The text of a file of at most so many octets; `expected` says in words what it may have. From what is no file (a pipe, a device) text
/// may never come, or come without an end, and a server that waits for it does not heed SIGTERM.
pub fn read(path: &Path, most: u64, expected: &str) -> io::Result<String> {
    let file = std::fs::metadata(path)?;
    if !file.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if file.len() > most {
        return Err(io::Error::other(format!("it has {} octets, and {expected}", file.len())));
    }
    std::fs::read_to_string(path)
}
