//! The policy module for JavaScript: one class, whose functions are called by name with arguments in JSON.
//!
//! What users see is written in JavaScript (`package/`): names in camelCase, defaults, typed errors. The crate is empty on every target but
//! wasm32, so that the workspace builds natively. `cargo xtask npm` builds it and packs it.
#![cfg(target_arch = "wasm32")]

use smtp_fallback_json::{Call, answer};
use smtp_fallback_policy::Module;
use wasm_bindgen::prelude::*;

/// One instance of the module, with a policy of its own or none.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Raw(Module);

#[wasm_bindgen]
impl Raw {
    /// Without a policy.
    #[wasm_bindgen(constructor)]
    #[expect(clippy::new_without_default, reason = "JavaScript knows no Default")]
    pub fn new() -> Raw {
        Raw(Module::new())
    }

    /// Calls a function of the contract. A call that cannot be made throws a text that says why: a text, so that nothing else that is thrown can
    /// be taken for it.
    pub fn call(&mut self, function: &str, arguments: &str) -> Result<String, String> {
        let call = Call::read(function, arguments).map_err(|error| error.to_string())?;
        Ok(answer(&mut self.0, &call))
    }
}
