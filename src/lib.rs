//! Decides which mail that arrives over IPv6 is accepted, and which is asked to come back over IPv4
//! (draft-martin-smtp-ipv6-to-ipv4-fallback-00).
//!
//! Pure functions: no I/O, no clock, no randomness, no floating-point numbers; the same input gives the same octets natively and in
//! WebAssembly. A host fills in what it knows at each stage of a session, asks [`Module::keys`] which records to look up, and
//! [`Module::decide`] what to answer and which records to store. The contract is `wit/policy.wit`; [`contract`] are its types.
//!
//! Where a rule is:
//!
//! | rule | module |
//! |---|---|
//! | the order of the rules | `decide` |
//! | what is out of scope, IPv4, exempt networks (P9, A18, A20, A22) | `scope`, [`address`], [`network`] |
//! | exempt names, domains, recipients (A16, A29) | `exemption` |
//! | the requirement in three values; distrusted domains (P10, P18, A27, A28, A30) | `requirement` |
//! | counts and the majority (A6) | `evidence` |
//! | the penalty and capability (P6, P7, P12, A5, A7) | `penalty` |
//! | temporary errors (A27) | `temporary` |
//! | reply codes and texts (P2 to P5, P8, P14, A2, A3, A25, A32) | `reply`, `lacking`, `policy::text` |
//! | roll-out, probes, jitter (A7, A35) | `hash` |
//! | what is remembered, its form and its lifetime (A5, A7, P13) | `record`, `keys` |
//! | observe mode, roll-out (A35, A38) | `decide`, `case` |
//! | a decision in words | `explain` |
//! | the functions of the contract, and its types | `module`, [`contract`] |
//! | what must hold for any input, for fuzzing | `any` |
//! | the policy JSON and its schema (P16) | [`policy`] |
//! | Authentication-Results (RFC 8601) | [`authentication_results`] |
#![forbid(unsafe_code)]

pub mod address;
#[doc(hidden)]
pub mod any;
pub mod authentication_results;
mod case;
pub mod contract;
mod decide;
mod evidence;
mod exemption;
mod explain;
mod fingerprint;
mod hash;
mod keys;
mod lacking;
mod module;
pub mod network;
mod no_fallback;
mod penalty;
pub mod policy;
pub mod record;
mod refusal;
mod reply;
mod requirement;
mod scope;
mod temporary;

pub use authentication_results::parse_authentication_results;
pub use module::{Module, describe, inspect, parse_address, schema};
