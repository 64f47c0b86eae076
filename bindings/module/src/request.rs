//! A call as it stands in memory.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use smtp_fallback_json::Call;
use smtp_fallback_policy::Module;

/// `{"call": NAME, "input": ARGUMENTS}`, as a step of a vector has it, in any order.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request<'a> {
    #[serde(borrow)]
    call: Cow<'a, str>,
    /// As text: which arguments these have to be is known when the name is.
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// Reads the call, makes it, and gives the result as JSON. The error says what was not understood; then nothing was called.
pub(crate) fn answer(module: &mut Module, request: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(request).map_err(|error| format!("the call is not in UTF-8: {error}"))?;
    // serde would take a list of the two, too.
    if text.trim_start().starts_with('[') {
        return Err("the call: found a list, expected an object with `call` and `input`".to_owned());
    }
    let Request { call, input } = serde_json::from_str(text).map_err(|error| format!("the call: {error}"))?;
    let call = Call::read(&call, input.map_or("{}", RawValue::get)).map_err(|error| error.to_string())?;
    Ok(smtp_fallback_json::answer(module, &call))
}

/// `{"error": TEXT}`.
pub(crate) fn print_error(error: &str) -> String {
    #[derive(Serialize)]
    struct NotUnderstood<'a> {
        error: &'a str,
    }
    smtp_fallback_json::print(&NotUnderstood { error })
}
