//! Compare and set, in one step on the server.

use std::sync::LazyLock;

use ::redis::{Cmd, Script};

use crate::MAX_VALUE_OCTETS;

/// What the server did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swapped {
    Stored,
    Conflict,
}

/// `KEYS[1]` the name; `ARGV`: "1" if a value is expected and "0" if none, that value, the new value, seconds to live (0: remove).
/// Answers 1 if stored and 0 if another value is there. What no host would write counts as nothing, as it does for readers.
///
/// One key only, so that it runs on any node of a cluster. It writes what it was given and reads no clock, so it can be replicated
/// in either way.
const TEXT: &str = "\
local there = false
if redis.call('TYPE', KEYS[1]).ok == 'string' then
  there = redis.call('GETRANGE', KEYS[1], 0, MAX)
  if #there == 0 or #there > MAX then there = false end
end
if ARGV[1] == '1' then
  if there ~= ARGV[2] then return 0 end
elseif there then
  return 0
end
if ARGV[4] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[4])
end
return 1
";

struct Known {
    text: String,
    hash: String,
}

static SCRIPT: LazyLock<Known> = LazyLock::new(|| {
    let text = TEXT.replace("MAX", &MAX_VALUE_OCTETS.to_string());
    let hash = Script::new(&text).get_hash().to_owned();
    Known { text, hash }
});

/// The short command: a server that does not know the script answers NOSCRIPT.
pub(super) fn by_hash(name: &str, expected: Option<&[u8]>, value: &[u8], expires_in: u32) -> Cmd {
    command("EVALSHA", &SCRIPT.hash, name, expected, value, expires_in)
}

/// The command that any server knows.
pub(super) fn in_full(name: &str, expected: Option<&[u8]>, value: &[u8], expires_in: u32) -> Cmd {
    command("EVAL", &SCRIPT.text, name, expected, value, expires_in)
}

fn command(verb: &str, script: &str, name: &str, expected: Option<&[u8]>, value: &[u8], expires_in: u32) -> Cmd {
    let mut command = Cmd::new();
    command.arg(verb).arg(script).arg(1).arg(name);
    command.arg(u8::from(expected.is_some())).arg(expected.unwrap_or_default()).arg(value).arg(expires_in);
    command
}
