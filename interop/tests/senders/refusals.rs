//! Hosts that refuse every client over IPv6 in one way, and accept all mail over IPv4.

use smtp_fallback_policy::contract::Reply;

#[allow(unreachable_pub, reason = "it is shared with the tests of another package")]
#[path = "../../../host-examples/embed/tests/common/mod.rs"]
mod fixture;

/// How a host refuses over IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    Greeting451,
    Ehlo421,
    Dot421,
    Dot456,
    Dot550,
}

impl Refusal {
    pub(crate) const ALL: [Refusal; 5] =
        [Refusal::Greeting451, Refusal::Ehlo421, Refusal::Dot421, Refusal::Dot456, Refusal::Dot550];

    /// As the head of a column has it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Refusal::Greeting451 => "451 greeting",
            Refusal::Ehlo421 => "421 at EHLO",
            Refusal::Dot421 => "421 after the dot",
            Refusal::Dot456 => "456 without the verb",
            Refusal::Dot550 => "550 after the dot",
        }
    }

    /// The port of its host.
    pub(crate) fn port(self) -> u16 {
        2600 + self as u16
    }

    /// The component that refuses so.
    pub(crate) fn component(self) -> Vec<u8> {
        // The stage by its number in the contract, the reply, and the number of the reason.
        let (stage, code, enhanced_code, close, reason) = match self {
            Refusal::Greeting451 => (0, 451, "4.4.8", true, fixture::UNAUTHENTICATED),
            Refusal::Ehlo421 => (1, 421, "4.4.8", true, fixture::UNAUTHENTICATED),
            Refusal::Dot421 => (END_OF_DATA, 421, "4.4.8", true, fixture::UNAUTHENTICATED),
            Refusal::Dot456 => (END_OF_DATA, 456, "4.4.8", false, fixture::UNAUTHENTICATED),
            Refusal::Dot550 => (END_OF_DATA, 550, "5.7.26", false, NEVER_FALLS_BACK),
        };
        let line = "SPF=none, DKIM=none: not accepted over IPv6, retry over IPv4 now".to_owned();
        let reply = Reply { code, enhanced_code: enhanced_code.to_owned(), lines: vec![line], close };
        let usual = fixture::module("", "", &fixture::refusal(&reply, reason, false));
        let call = "(call $answer (local.get 0))";
        assert_eq!(usual.matches(call).count(), 1);
        let module = usual.replace(call, "(call $of-address (local.get 0))");
        fixture::component(&module.replacen("(func $misbehave", &format!("{}\n  (func $misbehave", of_address(stage)), 1))
    }
}

/// The number of the stage at which a message is judged.
const END_OF_DATA: u8 = 5;
/// The number of the case `never-falls-back` of the contract's `reason`.
const NEVER_FALLS_BACK: u8 = 16;

/// Refuses an IPv6 client at this stage, accepts every message that comes to its end, and goes on otherwise. In the connection the stage lies at 0,
/// the client at 4, as four words: an IPv4 address begins with zeros.
fn of_address(stage: u8) -> String {
    format!(
        r#"(data (i32.const 3072) "\01")
  (data (i32.const 3100) "\09")
  (func $of-address (param $connection i32) (result i32)
    (local $stage i32)
    (global.set $heap (i32.const 65536))
    (local.set $stage (i32.load8_u (local.get $connection)))
    (if (i32.and (i32.eq (local.get $stage) (i32.const {stage})) (i32.ne (i32.load offset=4 (local.get $connection)) (i32.const 0)))
      (then (return (i32.const 8192))))
    (select (i32.const 3072) (i32.const 2048) (i32.eq (local.get $stage) (i32.const {END_OF_DATA}))))"#
    )
}
