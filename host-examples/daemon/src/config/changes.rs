//! What has changed in the file since the start. Only a restart puts it in force.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{ConfigError, Configuration, from_text};
use crate::file;

/// No configuration is longer, in octets.
const FILE_MAX: u64 = 1 << 20;

/// The file as the server has it in force.
#[derive(Clone)]
pub struct InForce {
    path: PathBuf,
    settings: Table,
    /// Whether a text is a configuration of this program.
    check: fn(&Path, &str) -> Result<(), ConfigError>,
}

impl InForce {
    /// Reads the file, and remembers what it says. Relative paths in it start at its own folder.
    ///
    /// # Errors
    /// It cannot be read, or is no configuration.
    pub fn read<C: Configuration>(path: &Path) -> Result<(C, InForce), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable(path.to_owned(), error))?;
        let config = from_text(path, &text)?;
        let check = |path: &Path, text: &str| from_text::<C>(path, text).map(drop);
        Ok((config, InForce { path: path.to_owned(), settings: table(path, &text)?, check }))
    }

    /// Reads the file again: the settings that have another value now, such as `domains` or `limits.idle`, in the order of the alphabet. A
    /// default that is written out counts as another value. Blocks.
    ///
    /// # Errors
    /// Those of [`InForce::read`].
    pub fn changes(&self) -> Result<Vec<String>, ConfigError> {
        let text = file::read(&self.path, FILE_MAX, "a configuration has at most 1 MiB")
            .map_err(|error| ConfigError::Unreadable(self.path.clone(), error))?;
        (self.check)(&self.path, &text)?;
        let mut changed = Vec::new();
        compare("", &self.settings, &table(&self.path, &text)?, &mut changed);
        Ok(changed)
    }

    /// Says in the log what of the file needs a restart, or what is wrong with it. Blocks.
    pub fn report(&self) {
        match self.changes() {
            Ok(changed) if changed.is_empty() => {}
            Ok(changed) => tracing::warn!(
                event = "restart-needed",
                changed = changed.join(", "),
                "these settings of the configuration have changed, and only a restart puts them in force: the old ones stay"
            ),
            Err(error) => {
                let error = error.to_string();
                tracing::error!(event = "configuration-error", error, "with this configuration the server would not start again");
            }
        }
    }
}

fn table(path: &Path, text: &str) -> Result<Table, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError::Invalid(path.to_owned(), Box::new(error)))
}

/// The names of the settings that differ, those in tables by the names of the tables too. A table that is absent is an empty one.
fn compare(within: &str, old: &Table, new: &Table, changed: &mut Vec<String>) {
    let empty = Table::new();
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let full = format!("{within}{name}");
        match (old.get(name), new.get(name)) {
            (Some(Value::Table(old)), Some(Value::Table(new))) => compare(&format!("{full}."), old, new, changed),
            (Some(Value::Table(old)), None) => compare(&format!("{full}."), old, &empty, changed),
            (None, Some(Value::Table(new))) => compare(&format!("{full}."), &empty, new, changed),
            (old, new) if old == new => {}
            _ => changed.push(full),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_differ_are_named_by_their_tables() {
        let changed = |old: &str, new: &str| {
            let mut changed = Vec::new();
            let table = |text| toml::from_str(text).expect("TOML");
            compare("", &table(old), &table(new), &mut changed);
            changed
        };
        assert_eq!(changed("a = 1\nb = [1, 2]\n[c]\nd = 1", "b = [ 1, 2 ]\na = 1 # one\nc = {d = 1}"), [""; 0]);
        assert_eq!(changed("a = 1\nb = 2", "a = 2\nc = 2"), ["a", "b", "c"]);
        assert_eq!(changed("[s]\npath = \"a\"", "[s.redis]\nservers = []"), ["s.path", "s.redis.servers"]);
        assert_eq!(changed("[[l]]\na = 1", "[[l]]\na = 1\n[[l]]\na = 2"), ["l"]);
        assert_eq!(changed("a = 1", "[a]\nb = 1"), ["a"]);
    }
}
