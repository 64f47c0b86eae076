//! What `configure` and `describe` answer.

use serde::{Deserialize, Serialize};

/// Whether refusals reach the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nothing is refused; `would` says what enforce mode would have answered (A38).
    Observe,
    /// Refusals reach the client.
    Enforce,
}

/// An authentication method that a policy can ask for (P18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// SPF (RFC 7208).
    Spf,
    /// DKIM (RFC 6376).
    Dkim,
    /// DMARC (RFC 7489).
    Dmarc,
    /// ARC (RFC 8617), from trusted sealers.
    Arc,
    /// The client's forward-confirmed reverse name ("iprev", RFC 8601 §2.7.3).
    Fcrdns,
    /// A verified TLS client certificate.
    Tls,
}

/// A setting that is allowed but stricter or riskier than usual (P16).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PolicyWarning {
    /// JSON pointer (RFC 6901) to the setting.
    pub pointer: String,
    /// What is unusual about it, and what it may cost.
    pub message: String,
}

/// The policy that is now in force.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Summary {
    /// Whether refusals reach the client.
    pub mode: Mode,
    /// The methods whose results can change a decision.
    pub checks: Vec<Check>,
    /// What is unusual.
    pub warnings: Vec<PolicyWarning>,
}

/// One error in a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PolicyError {
    /// JSON pointer (RFC 6901) to the value; empty for the whole document and for syntax errors.
    pub pointer: String,
    /// 1-based.
    pub line: u32,
    /// 1-based, in Unicode scalar values.
    pub column: u32,
    /// 0-based, in octets of the UTF-8 text.
    pub offset: u32,
    /// What stands there.
    pub found: String,
    /// What could stand there.
    pub expected: String,
    /// What to do.
    pub advice: String,
}

impl std::fmt::Display for PolicyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PolicyError { pointer, line, column, found, expected, advice, .. } = self;
        let place = if pointer.is_empty() { "the policy" } else { pointer };
        write!(f, "line {line}, column {column}: {place}: found {found}, expected {expected}; {advice}")
    }
}

/// What this component is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Description {
    /// The version of the contract.
    pub contract: String,
    /// The EHLO keyword, which is also the verb.
    pub keyword: String,
    /// The policy that `{}` stands for, written out, as JSON.
    pub defaults: String,
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_error_says_where_what_and_what_to_do() {
        let error = |text: &str| crate::policy::parse(text).expect_err(text)[0].to_string();
        let misspelt = error("{\n  \"mode\": \"enfroce\"\n}");
        assert!(misspelt.starts_with("line 2, column 11: /mode: found \"enfroce\", expected "), "{misspelt}");
        assert!(misspelt.contains("; "), "what to do: {misspelt}");
        let whole = error("[]");
        assert!(whole.starts_with("line 1, column 1: the policy: found "), "{whole}");
    }

    #[test]
    fn it_says_how_many_domains_there_may_be() {
        let expected = |text| crate::policy::parse(text).expect_err("no policy").remove(0).expected;
        assert_eq!(expected(r#"{"exempt": {"domains": 1}}"#), "a list of at most 10000 domain names");
        assert_eq!(expected(r#"{"require": {"domains": []}}"#), "a list of 1 to 10000 domain names");
    }
}
