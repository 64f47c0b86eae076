//! Components that misbehave on command, written as text, and the input of calls.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::Path;

use smtp_fallback_embed::{Component, Limits};
use smtp_fallback_policy::contract::{Connection, Reply, Stage, Tls};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The nonce on which a fixture misbehaves. On others it answers `continue`.
pub(crate) const EVIL: u32 = 666;

/// A connection of an IPv6 client.
pub(crate) fn connection(stage: Stage, nonce: u32) -> Connection {
    Connection {
        ehlo_name: Some("mail.example".to_owned()),
        tls: Tls::Verified(vec!["mail.example".to_owned(), "example".to_owned()]),
        listener_offers: true,
        now: 1_800_000_000,
        nonce,
        ..Connection::new(stage, "2001:db8::1".parse().unwrap())
    }
}

/// Loads a fixture that misbehaves by these instructions in `keys`, `decide`, `explain`. They may leave the function by `return`
/// with the address of another answer, of which `data` holds the octets.
pub(crate) fn fixture(misbehave: &str, data: &[u8], limits: &Limits) -> Component {
    Component::from_bytes(&component(&module("", misbehave, data)), limits).unwrap()
}

/// The instruction that answers with `data`.
pub(crate) const ANSWER_DATA: &str = "(return (i32.const 8192))";

/// Where `data` lies in the fixture's memory.
const DATA: u32 = 8192;

/// A core module that implements the contract as simply as can be. Zeroed memory is its usual answer: an empty list, an empty
/// text, `continue`, `ok` with an empty summary.
///
/// A policy of one letter sets the reason `ipv4`, one of two letters `out-of-scope`; one of three letters has an error, one of
/// four traps, one of five never ends.
pub(crate) fn module(imports: &str, misbehave: &str, data: &[u8]) -> String {
    let data: String = data.iter().map(|octet| format!("\\{octet:02x}")).collect();
    format!(
        r#"(module
  {imports}
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (global $policy (mut i32) (i32.const 0))
  ;; `err` with one error, all of whose fields are empty.
  (data (i32.const 4096) "\01\00\00\00\00\00\00\00\01\00\00\00")
  (data (i32.const {DATA}) "{data}")

  (func (export "cabi_realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (if (i32.gt_u (global.get $heap) (i32.shl (memory.size) (i32.const 16)))
      (then (if (i32.eq (memory.grow (i32.add (i32.shr_u (local.get $size) (i32.const 16)) (i32.const 1))) (i32.const -1))
        (then unreachable))))
    (local.get $at))

  (func $misbehave (result i32) {misbehave} (i32.const 1024))

  ;; The nonce lies 64 octets into the connection.
  (func $answer (param $arguments i32) (result i32)
    (global.set $heap (i32.const 65536))
    (if (i32.eq (i32.load offset=64 (local.get $arguments)) (i32.const {EVIL})) (then (return (call $misbehave))))
    ;; The reason lies 28 octets into the decision.
    (i32.store8 offset=28 (i32.const 2048) (global.get $policy))
    (i32.const 2048))

  (func (export "smtp-fallback:policy/policy@0.1.0#configure") (param i32 i32 i32 i32) (result i32)
    (global.set $heap (i32.const 65536))
    (if (i32.eq (local.get 1) (i32.const 3)) (then (return (i32.const 4096))))
    (if (i32.eq (local.get 1) (i32.const 4)) (then unreachable))
    (if (i32.eq (local.get 1) (i32.const 5)) (then (loop (br 0))))
    (global.set $policy (local.get 1))
    (i32.const 1024))
  (func (export "smtp-fallback:policy/policy@0.1.0#keys") (param i32) (result i32)
    (if (i32.eq (i32.load offset=64 (local.get 0)) (i32.const {EVIL})) (then (return (call $misbehave))))
    (i32.const 1024))
  (func (export "smtp-fallback:policy/policy@0.1.0#decide") (param i32) (result i32) (call $answer (local.get 0)))
  (func (export "smtp-fallback:policy/policy@0.1.0#explain") (param i32) (result i32)
    (if (i32.eq (i32.load offset=64 (local.get 0)) (i32.const {EVIL})) (then (return (call $misbehave))))
    (i32.const 1024))
  (func (export "smtp-fallback:policy/policy@0.1.0#schema") (result i32) (i32.const 1024))
  (func (export "smtp-fallback:policy/policy@0.1.0#describe") (result i32) (i32.const 1024))
  (func (export "smtp-fallback:policy/policy@0.1.0#parse-address") (param i32 i32) (result i32) (i32.const 1024))
  (func (export "smtp-fallback:policy/policy@0.1.0#inspect")
    (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "smtp-fallback:policy/policy@0.1.0#parse-authentication-results")
    (param i32 i32 i32 i32) (result i32) (i32.const 1024))
)"#
    )
}

/// A component that cannot be relied on. `configure` succeeds, `keys` names none, and `decide` traps in half of its calls; else it
/// goes on, and at the end of data refuses by 421 4.4.8, which closes the connection, or accepts.
///
/// Which of these is drawn by time, nonce and stage, and by the calls before on the same instance: each new connection is another
/// draw, also for the fresh instance that replaces one that trapped. The same input to fresh instances gives the same.
pub(crate) fn traps_sometimes() -> Vec<u8> {
    unreliable(SOMETIMES)
}

/// The same, but that one of 32 calls never ends.
pub(crate) fn traps_or_loops_sometimes() -> Vec<u8> {
    let trap = "(if (i32.and (local.get $bits) (i32.const 1)) (then unreachable))";
    assert_eq!(SOMETIMES.matches(trap).count(), 1);
    let endless = "(if (i32.eqz (i32.and (local.get $bits) (i32.const 124))) (then (loop (br 0))))";
    unreliable(&SOMETIMES.replace(trap, &format!("{endless}\n    {trap}")))
}

fn unreliable(answer: &str) -> Vec<u8> {
    let line = "this mail is welcome over IPv4".to_owned();
    let reply = Reply { code: 421, enhanced_code: "4.4.8".to_owned(), lines: vec![line], close: true };
    let usual = module("", "", &refusal(&reply, UNAUTHENTICATED, false));
    let call = "(call $answer (local.get 0))";
    assert_eq!(usual.matches(call).count(), 1);
    let module = usual.replace(call, "(call $sometimes (local.get 0))");
    component(&module.replacen("(func $misbehave", &format!("{answer}\n  (func $misbehave"), 1))
}

/// The answers of [`traps_sometimes`]: in the connection the stage lies at 0, the time at 56, the nonce at 64.
const SOMETIMES: &str = r#"(global $drawn (mut i32) (i32.const 0))
  ;; `accept`, since the mail is authenticated.
  (data (i32.const 3072) "\01")
  (data (i32.const 3100) "\09")

  ;; A linear congruential generator that takes the input in at each step.
  (func $draw (param $connection i32) (result i32)
    (local $x i32)
    (local.set $x (i32.add (global.get $drawn) (i32.load offset=56 (local.get $connection))))
    (local.set $x (i32.add (local.get $x) (i32.mul (i32.load offset=64 (local.get $connection)) (i32.const 0x9e3779b1))))
    (local.set $x (i32.add (local.get $x) (i32.mul (i32.load8_u (local.get $connection)) (i32.const 0x85ebca77))))
    (global.set $drawn (i32.add (i32.mul (local.get $x) (i32.const 1664525)) (i32.const 1013904223)))
    ;; Inputs that follow each other are to give bits that do not.
    (local.set $x (global.get $drawn))
    (local.set $x (i32.mul (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 16))) (i32.const 0x85ebca6b)))
    (local.set $x (i32.mul (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 13))) (i32.const 0xc2b2ae35)))
    (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 16))))

  (func $sometimes (param $connection i32) (result i32)
    (local $bits i32)
    (global.set $heap (i32.const 65536))
    (local.set $bits (call $draw (local.get $connection)))
    (if (i32.and (local.get $bits) (i32.const 1)) (then unreachable))
    (if (i32.ne (i32.load8_u (local.get $connection)) (i32.const 5)) (then (return (i32.const 2048))))
    (select (i32.const 3072) (i32.const 8192) (i32.and (local.get $bits) (i32.const 2))))
"#;

/// The component of a core module that is written as text.
pub(crate) fn component(module: &str) -> Vec<u8> {
    component_of_world(module, |resolve, package| resolve.select_world(&[package], Some("policy-module")).unwrap())
}

/// The same, for a world that the test chooses.
pub(crate) fn component_of_world(
    module: &str,
    world: impl FnOnce(&mut Resolve, wit_parser::PackageId) -> wit_parser::WorldId,
) -> Vec<u8> {
    let mut resolve = Resolve::default();
    // Packages at different depths use this file.
    let contract =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("wit")).find(|folder| folder.is_dir());
    let (package, _) = resolve.push_dir(contract.unwrap()).unwrap();
    let world = world(&mut resolve, package);
    let mut module = wat::parse_str(module).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}

/// The octets of a decision that refuses, as they lie in memory at [`DATA`]: `reason` is the number of the case. With
/// `observed`, the verdict is `continue` and the refusal is the `would`.
pub(crate) fn refusal(reply: &Reply, reason: u8, observed: bool) -> Vec<u8> {
    const DECISION: usize = 124;
    let Reply { code, enhanced_code, lines, close } = reply;
    let mut octets = vec![0; DECISION];
    let mut append = |text: &[u8]| -> [u8; 8] {
        let at = DATA + u32::try_from(octets.len()).unwrap();
        octets.extend_from_slice(text);
        octets.resize(octets.len().next_multiple_of(4), 0);
        (u64::from(at) | (text.len() as u64) << 32).to_le_bytes()
    };
    let enhanced_code = append(enhanced_code.as_bytes());
    let texts: Vec<u8> = lines.iter().flat_map(|line| append(line.as_bytes())).collect();
    let mut list = append(&texts);
    list[4..].copy_from_slice(&u32::try_from(lines.len()).unwrap().to_le_bytes());

    let (option, verdict) = if observed { (Some(32), 36) } else { (None, 0) };
    if let Some(option) = option {
        octets[option] = 1;
    }
    octets[verdict] = 2;
    let reply = verdict + 4;
    octets[reply..reply + 2].copy_from_slice(&code.to_le_bytes());
    octets[reply + 4..reply + 12].copy_from_slice(&enhanced_code);
    octets[reply + 12..reply + 20].copy_from_slice(&list);
    octets[reply + 20] = u8::from(*close);
    octets[28] = reason;
    octets
}

/// The number of the case `unauthenticated` of the contract's `reason`.
pub(crate) const UNAUTHENTICATED: u8 = 10;
