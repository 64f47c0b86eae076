//! The policy module as a WebAssembly component: the WIT package `smtp-fallback:policy` exported from linear memory.
//!
//! Everything here is the border: types are moved across it, decisions are made in `smtp-fallback-policy`. The crate is empty
//! on every target but wasm32, so that the workspace builds natively. `cargo xtask component` builds and wraps it.
#![cfg(target_arch = "wasm32")]
#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod allocator;
mod convert;

use std::cell::RefCell;

use smtp_fallback_policy as policy;
use smtp_fallback_policy::Module;

use bindings::exports::smtp_fallback::policy::policy as wit;
use convert::Cross;

/// What wit-bindgen writes: the contract's types, and the exported functions that read and write linear memory.
#[allow(unsafe_code, missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "policy-module" });
    use super::Instance;
    export!(Instance with_types_in self);
}

std::thread_local! {
    /// A component instance has one thread and one policy.
    static MODULE: RefCell<Module> = const { RefCell::new(Module::new()) };
}

#[global_allocator]
static BLOCKS: allocator::Blocks = allocator::Blocks::new();

/// Implements the interface `policy`.
struct Instance;

impl wit::Guest for Instance {
    fn configure(policy_json: String, secret: Vec<u8>) -> Result<wit::Summary, Vec<wit::PolicyError>> {
        MODULE.with_borrow_mut(|module| module.configure(&policy_json, &secret)).cross()
    }

    fn schema() -> String {
        policy::schema().to_owned()
    }

    fn describe() -> wit::Description {
        policy::describe().cross()
    }

    fn keys(connection: wit::Connection, envelope: Option<wit::Envelope>, message: Option<wit::Message>) -> Vec<wit::Key> {
        let (envelope, message) = (envelope.cross(), message.cross());
        MODULE.with_borrow(|module| module.keys(&connection.cross(), envelope.as_ref(), message.as_ref())).cross()
    }

    fn decide(
        connection: wit::Connection,
        envelope: Option<wit::Envelope>,
        message: Option<wit::Message>,
        auth_results: Option<wit::AuthResults>,
    ) -> wit::Decision {
        let (envelope, message, results) = (envelope.cross(), message.cross(), auth_results.cross());
        MODULE
            .with_borrow(|module| module.decide(&connection.cross(), envelope.as_ref(), message.as_ref(), results.as_ref()))
            .cross()
    }

    fn explain(
        connection: wit::Connection,
        envelope: Option<wit::Envelope>,
        message: Option<wit::Message>,
        auth_results: Option<wit::AuthResults>,
    ) -> String {
        let (envelope, message, results) = (envelope.cross(), message.cross(), auth_results.cross());
        MODULE.with_borrow(|module| module.explain(&connection.cross(), envelope.as_ref(), message.as_ref(), results.as_ref()))
    }

    fn parse_address(text: String) -> Result<wit::Address, String> {
        policy::parse_address(&text).cross()
    }

    fn inspect(stored_record: wit::StoredRecord) -> Result<String, String> {
        policy::inspect(&stored_record.cross())
    }

    fn parse_authentication_results(headers: Vec<String>, trusted_ids: Vec<String>) -> wit::AuthResults {
        policy::parse_authentication_results(&headers, &trusted_ids).cross()
    }
}
