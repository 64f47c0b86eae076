//! What is loaded, and what is refused.
#![allow(clippy::unwrap_used)] // A test may panic.

mod common;

use std::time::Duration;

use common::{component, component_of_world, module};
use smtp_fallback_embed::{Component, Failure, Limits, LoadError};

fn load(bytes: &[u8]) -> Result<Component, LoadError> {
    Component::from_bytes(bytes, &Limits::default())
}

#[test]
fn a_component_of_the_contract() {
    let component = load(&component(&module("", "", &[]))).unwrap();
    assert_eq!(component.limits(), &Limits::default());
}

#[test]
fn a_component_with_imports() {
    // A world that takes the time from its host.
    let bytes = component_of_world(&module(r#"(import "now" "now" (func (result i64)))"#, "", &[]), |resolve, _| {
        let with_import = r#"
            package test:%import;
            world policy-with-import {
                import now: interface { now: func() -> u64; }
                export smtp-fallback:policy/policy@0.1.0;
            }"#;
        let package = resolve.push_str("import.wit", with_import).unwrap();
        resolve.select_world(&[package], None).unwrap()
    });
    let error = load(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "the component imports now; the policy component imports nothing");
}

#[test]
fn a_component_of_another_contract() {
    let bytes = wat::parse_str("(component)").unwrap();
    let error = load(&bytes).unwrap_err();
    assert!(matches!(error, LoadError::Contract(_)), "{error}");
    assert!(error.to_string().starts_with("the component does not export smtp-fallback:policy/policy@0.1.0: "), "{error}");
}

#[test]
fn the_same_names_with_other_types() {
    let wit = include_str!("../../../wit/policy.wit");
    let other = wit.replace("schema: func() -> string;", "schema: func() -> u32;");
    assert_ne!(other, wit);
    let bytes = component_of_world(&module("", "", &[]), |resolve, _| {
        *resolve = wit_parser::Resolve::default();
        let package = resolve.push_str("policy.wit", &other).unwrap();
        resolve.select_world(&[package], None).unwrap()
    });
    let error = load(&bytes).unwrap_err();
    assert!(matches!(error, LoadError::Contract(_)), "{error}");
    assert!(error.to_string().ends_with("expected `string` found `u32`"), "{error}");
}

#[test]
fn a_component_that_fails_on_starting() {
    let start = |body: &str| {
        module("", "", &[]).replace("(func $misbehave", &format!("(start $start) (func $start {body}) (func $misbehave"))
    };
    let trap = load(&component(&start("unreachable"))).unwrap_err();
    assert!(matches!(trap, LoadError::Start(Failure::Trap(_))), "{trap}");
    let endless = load(&component(&start("(loop (br 0))"))).unwrap_err();
    assert!(matches!(endless, LoadError::Start(Failure::Deadline(_))), "{endless}");
}

#[test]
fn a_component_larger_than_the_limit() {
    let bytes = component(&module("", "", &[]));
    let with = |memory| Component::from_bytes(&bytes, &Limits { memory, ..Limits::default() });
    with(128 << 10).unwrap();
    let error = with(64 << 10).unwrap_err();
    assert!(matches!(error, LoadError::Invalid(_)), "{error}");
}

#[test]
fn what_is_no_component() {
    let core = wat::parse_str("(module)").unwrap();
    let error = load(&core).unwrap_err().to_string();
    assert!(error.ends_with("it is a core module; `cargo xtask component` makes a component of it"), "{error}");
    for bytes in [&b""[..], b"\0asm", b"\x7fELF\x02\x01\x01", b"(component)", &component(&module("", "", &[]))[..500]] {
        let error = load(bytes).unwrap_err();
        assert!(matches!(error, LoadError::Invalid(_)), "{error}");
    }
}

#[test]
fn a_file_that_is_not_there() {
    let error = Component::from_file("/nonexistent/policy.wasm", &Limits::default()).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/policy.wasm: "), "{error}");
    assert!(error.ends_with("build the component by `cargo xtask component`"), "{error}");
}

#[test]
fn limits_that_make_no_sense() {
    let bytes = component(&module("", "", &[]));
    let with = |limits| Component::from_bytes(&bytes, &limits).map(drop);
    let usual = Limits::default;
    for limits in [
        Limits { deadline: Duration::from_micros(999), ..usual() },
        Limits { deadline: Duration::MAX, ..usual() },
        Limits { memory: 65535, ..usual() },
        Limits { memory: usize::MAX, ..usual() },
        Limits { instances: 0, ..usual() },
        Limits { instances: 10_001, ..usual() },
    ] {
        assert!(matches!(with(limits.clone()), Err(LoadError::Limits(_))), "{limits:?}");
    }
    with(Limits { deadline: Duration::from_millis(1), ..usual() }).unwrap();
    with(Limits { instances: 1, ..usual() }).unwrap();
}
