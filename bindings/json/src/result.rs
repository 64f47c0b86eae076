//! Results as JSON.

use serde::Serialize;
use smtp_fallback_policy::Module;

use crate::Call;

/// Makes the call on this instance of the module, and prints its result.
pub fn answer(module: &mut Module, call: &Call) -> String {
    match call {
        Call::Configure { policy_json, secret } => print_result(&module.configure(policy_json, secret)),
        Call::Schema => print(smtp_fallback_policy::schema()),
        Call::Describe => print(&smtp_fallback_policy::describe()),
        Call::Keys(case) => print(&module.keys(&case.connection, case.envelope.as_ref(), case.message.as_ref())),
        Call::Decide(case) => {
            print(&module.decide(&case.connection, case.envelope.as_ref(), case.message.as_ref(), case.auth_results.as_ref()))
        }
        Call::Explain(case) => {
            print(&module.explain(&case.connection, case.envelope.as_ref(), case.message.as_ref(), case.auth_results.as_ref()))
        }
        Call::ParseAddress(text) => print_result(&smtp_fallback_policy::parse_address(text)),
        Call::Inspect(record) => print_result(&smtp_fallback_policy::inspect(record)),
        Call::ParseAuthenticationResults { headers, trusted_ids } => {
            print(&smtp_fallback_policy::parse_authentication_results(headers, trusted_ids))
        }
    }
}

/// A value of the contract as JSON, on one line.
pub fn print<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("the types of the contract have a JSON form: no map, and no key that is not a text")
}

/// `{"ok": …}` or `{"err": …}`.
pub fn print_result<T: Serialize, E: Serialize>(result: &Result<T, E>) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "lowercase")]
    enum Outcome<'a, T, E> {
        Ok(&'a T),
        Err(&'a E),
    }
    print(&match result {
        Ok(value) => Outcome::Ok(value),
        Err(error) => Outcome::Err(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_those_of_the_module() {
        let mut module = Module::new();
        let mut call = |function, arguments| answer(&mut module, &Call::read(function, arguments).expect("a call"));
        assert!(call("configure", r#"{"policy-json": "{\"mode\": 1}"}"#).starts_with(r#"{"err":[{"pointer":"/mode","line":1,"#));
        assert!(
            call("configure", r#"{"policy-json": "{}", "secret": "0123456789abcdef"}"#).starts_with(r#"{"ok":{"mode":"enforce""#)
        );
        assert_eq!(call("parse-address", r#"{"text": "192.0.2.1"}"#), r#"{"ok":"192.0.2.1"}"#);
        assert!(call("parse-address", r#"{"text": "x"}"#).starts_with(r#"{"err":"#));
        assert!(call("schema", "{}").starts_with('"'), "a text that holds JSON");
        assert!(call("describe", "{}").contains(r#""contract":"0.1.0""#));
    }
}
