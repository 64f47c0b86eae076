//! The control socket: by it other processes on this machine reach the store of a running host, and learn which records it keeps for an
//! address. An embedded store belongs to one process; the command line, a milter, Exim or PHP share it in this way.
//!
//! [`Control`] is the host's side, [`ControlStore`] a [`Store`](crate::Store) for another process in Rust.
//!
//! # The protocol
//!
//! A UNIX stream socket. A request is one JSON object on one line, ended by LF; so is its answer. Requests of one connection are answered
//! in their order. To try it: `nc -U /run/smtp-fallback/control.sock` (OpenBSD's netcat), then type a request.
//!
//! ```text
//! → {"request":"keys","address":"2001:db8::25"}
//! ← {"keys":[{"kind":"network","network":"2001:db8::/64"},{"kind":"address","network":"2001:db8::25/128"},{"kind":"budget","network":"2001:db8::/48"}]}
//! → {"request":"get","keys":[{"kind":"network","network":"2001:db8::/64"}]}
//! ← {"records":[{"key":{"kind":"network","network":"2001:db8::/64"},"value":"AW4BEAAA"}]}
//! → {"request":"compare-and-set","key":{"kind":"network","network":"2001:db8::/64"},"expected":"AW4BEAAA","value":"AW4BEAEB","expires-in":86400,"weight":9}
//! ← {"swap":"stored"}
//! → {"request":"get","keys":[{"kind":"netwrok","network":"2001:db8::/64"}]}
//! ← {"error":"unknown variant `netwrok`, expected one of `address`, `network`, `budget`, `exact`, `inferred`"}
//! ```
//!
//! | `request` | fields | answer |
//! |---|---|---|
//! | `get` | `keys`: 1 to 64; `now` | `records`: those that are there and have not expired, each with `key` and `value`, in any order |
//! | `compare-and-set` | `key`; `expected`: what has to be there, null or absent for nothing; `value`; `expires-in`: seconds from `now`, 0 removes; `weight`; `source`; `now` | `swap`: "stored", or "conflict" when something else is there: nothing was changed, read again |
//! | `scan` | `cursor`: absent at the beginning; `limit`: about so many records, 1 to 256, 100 where absent; `now` | `records`, each with `key`, `value`, `expires-at` and `weight`; `next`: the cursor for the next part, null at the end |
//! | `keys` | `address` | `keys`: of the address, its network and its /48 under the policy in force; none where the policy keeps nothing: IPv4, an exempt network, no policy |
//! | `secret` | | `secret`: the 32 octets that key the policy's hashes, for another instance of the policy that shares this store |
//! | `health` | | `health`: how the store does ([`Health`](crate::Health)) |
//! | `about` | | `about`: the host's `program` and `version`, and the SHA-256 of the `component` that it runs, null while it runs none ([`About`]) |
//!
//! - A key is `{"kind": "network", "network": "2001:db8::/64"}`, likewise for `address` (a /128) and `budget` (a /48); that of a mail is
//!   `{"kind": "exact", "hash": "00112233445566778899aabbccddeeff"}`, likewise for `inferred`.
//! - Octets (`value`, `expected`, `secret`) are base64 with padding (RFC 4648 §4). A value has up to 4096 octets.
//! - `now` is in seconds since 1970; where absent, the host's clock counts. A write may be at most a day ahead of it. A number may be up to
//!   2^53 - 1 wherever a client's JSON has no larger ones.
//! - `source` is the address of the client whose mail this is about. Needed with the key of a mail; the others name it themselves.
//! - Unknown fields and requests are errors. Whatever goes wrong, the answer is `{"error": "…"}`: what was wrong and what was expected. The
//!   connection goes on.
//! - Answers may get more fields; a client passes over those that it does not know.
//!
//! # Limits
//!
//! A host can set [others](Limits) for all but the first.
//!
//! | what | limit | then |
//! |---|---|---|
//! | a request's line | 64 KiB | an error, and the connection is closed |
//! | connections at once | 64 | an error, and the connection is closed |
//! | time for a request to come, from the last answer on | 60 s | the connection is closed |
//! | time for the store's answer | 10 s | an error; whether something was written is not known |
//! | time for a client to take an answer | 10 s | the connection is closed |
//!
//! # Rights
//!
//! Whoever can connect can read all records and the secret, let any network in, and throw records away. The file's permissions decide who
//! can: 0600 by default, so the host's user and root; 0660 with a group for helpers under users of their own. Put the socket into a
//! directory that only the host's user can write to, such as systemd's `RuntimeDirectory=`.

mod bind;
mod client;
mod error;
mod protocol;
mod serve;

pub use bind::{Control, DEFAULT_MODE, Socket, SocketFile};
pub use client::ControlStore;
pub use error::ControlError;
pub use protocol::{About, JsonKey, MAX_KEYS, MAX_LINE_OCTETS, MAX_SCAN, Octets};
pub use serve::{ControlHost, Limits};
