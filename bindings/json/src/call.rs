//! A call as its caller writes it.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Unexpected, Visitor};
use smtp_fallback_policy::contract::{AuthResults, Connection, Envelope, Key, Message, StoredRecord};

/// The names of all functions, those of `wit/policy.wit`.
pub const FUNCTIONS: [&str; 9] =
    ["configure", "schema", "describe", "keys", "decide", "explain", "parse-address", "inspect", "parse-authentication-results"];

/// A call of one of the contract's functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `configure`: `{"policy-json": TEXT, "secret": TEXT or OCTETS}`. The secret may be missing, which is that of no octets.
    Configure {
        /// The policy.
        policy_json: String,
        /// The secret; of a text its octets in UTF-8.
        secret: Vec<u8>,
    },
    /// `schema`: `{}`.
    Schema,
    /// `describe`: `{}`.
    Describe,
    /// `keys`: the arguments of `decide`, whose `auth-results` it does not read.
    Keys(Box<Arguments>),
    /// `decide`: `{"connection": …, "envelope": …, "message": …, "auth-results": …}`, of which the last three may be missing.
    Decide(Box<Arguments>),
    /// `explain`: the arguments of `decide`.
    Explain(Box<Arguments>),
    /// `parse-address`: `{"text": TEXT}`.
    ParseAddress(String),
    /// `inspect`: `{"key": KEY, "value": OCTETS}`.
    Inspect(StoredRecord),
    /// `parse-authentication-results`: `{"headers": [TEXT, …], "trusted-ids": [TEXT, …]}`.
    ParseAuthenticationResults {
        /// The header fields, the topmost first.
        headers: Vec<String>,
        /// The authserv-ids that count.
        trusted_ids: Vec<String>,
    },
}

/// The arguments of `keys`, `decide` and `explain`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Arguments {
    /// The session so far.
    pub connection: Connection,
    /// Absent before MAIL.
    pub envelope: Option<Envelope>,
    /// Absent before the end of data.
    pub message: Option<Message>,
    /// Absent until something is known.
    pub auth_results: Option<AuthResults>,
}

/// A call that cannot be made: the module was not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no such function.
    #[error("there is no function {name:?}, expected one of {}", FUNCTIONS.join(", "))]
    Function {
        /// The name.
        name: String,
    },
    /// The arguments are no JSON, or not those of the function. The text says where, by line and column.
    #[error("{function}: {error}")]
    Arguments {
        /// The function's name.
        function: &'static str,
        /// What was found and what was expected.
        error: String,
    },
}

impl Call {
    /// Reads the arguments of this function, a JSON object. Never panics, whatever it is given.
    pub fn read(function: &str, arguments: &str) -> Result<Call, CallError> {
        let Some(&name) = FUNCTIONS.iter().find(|name| **name == function) else {
            return Err(CallError::Function { name: function.chars().take(100).collect() });
        };
        let read = match name {
            "configure" => {
                read(arguments).map(|Configure { policy_json, secret: Octets(secret) }| Call::Configure { policy_json, secret })
            }
            "schema" => read(arguments).map(|Nothing {}| Call::Schema),
            "describe" => read(arguments).map(|Nothing {}| Call::Describe),
            "keys" => read(arguments).map(Call::Keys),
            "decide" => read(arguments).map(Call::Decide),
            "explain" => read(arguments).map(Call::Explain),
            "parse-address" => read(arguments).map(|ParseAddress { text }| Call::ParseAddress(text)),
            "inspect" => read(arguments).map(|Inspect { key, value }| Call::Inspect(StoredRecord { key, value })),
            _ => read(arguments).map(|Fields { headers, trusted_ids }| Call::ParseAuthenticationResults { headers, trusted_ids }),
        };
        read.map_err(|error| CallError::Arguments { function: name, error: error.to_string() })
    }
}

fn read<'a, T: Deserialize<'a>>(arguments: &'a str) -> Result<T, serde_json::Error> {
    // serde would take a list for an object, by the order of the fields.
    let (space, rest) = arguments.split_at(arguments.len() - arguments.trim_ascii_start().len());
    if rest.starts_with('[') {
        let line = space.matches('\n').count() + 1;
        let column = space.rsplit('\n').next().map_or(0, str::len) + 1;
        let found = "found a list, expected an object of the arguments by their names";
        return Err(serde_json::Error::custom(format_args!("{found} at line {line} column {column}")));
    }
    serde_json::from_str(arguments)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Configure {
    policy_json: String,
    #[serde(default)]
    secret: Octets,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ParseAddress {
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Inspect {
    key: Key,
    value: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Fields {
    headers: Vec<String>,
    trusted_ids: Vec<String>,
}

/// Octets that are written as a text, which stands for its UTF-8, or as numbers: a secret may be either.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Octets(pub Vec<u8>);

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Octets;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text, or a list of octets")
            }

            fn visit_str<E>(self, text: &str) -> Result<Octets, E> {
                Ok(Octets(text.as_bytes().to_vec()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Octets, A::Error> {
                let mut octets = Vec::new();
                while let Some(number) = list.next_element::<u64>()? {
                    let octet = u8::try_from(number);
                    octets.push(octet.map_err(|_| A::Error::invalid_value(Unexpected::Unsigned(number), &"an octet, 0 to 255"))?);
                }
                Ok(Octets(octets))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(function: &str, arguments: &str) -> String {
        Call::read(function, arguments).expect_err("must fail").to_string()
    }

    #[test]
    fn a_secret_is_a_text_or_octets() {
        let secret = |secret: &str| match Call::read("configure", &format!(r#"{{"policy-json": "{{}}"{secret}}}"#)) {
            Ok(Call::Configure { secret, .. }) => secret,
            other => panic!("{other:?}"),
        };
        assert_eq!(secret(r#", "secret": "é""#), [0xc3, 0xa9]);
        assert_eq!(secret(r#", "secret": [0, 255]"#), [0, 255]);
        assert!(secret("").is_empty());
        assert!(error("configure", r#"{"policy-json": "{}", "secret": [256]}"#).contains("an octet, 0 to 255"));
        assert!(error("configure", r#"{"policy-json": "{}", "secret": null}"#).contains("a text, or a list of octets"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        assert!(error("Decide", "{}").contains(r#"no function "Decide", expected one of configure, schema"#));
        assert_eq!(error("decide", "{\n}"), "decide: missing field `connection` at line 2 column 1");
        assert_eq!(error("parse-address", ""), "parse-address: EOF while parsing a value at line 1 column 0");
        assert!(error("parse-address", r#"{"test": "::1"}"#).contains("unknown field `test`, expected `text`"));
        assert!(error("keys", &"{\"connection\":".repeat(100_000)).contains("keys: "));
        let list = "parse-address: found a list, expected an object of the arguments by their names at line 2 column 2";
        assert_eq!(error("parse-address", "\n [\"::1\"]"), list);
        assert!(error(&"x".repeat(1000), "{}").len() < 400, "a long name is cut");
    }

    #[test]
    fn every_function_of_the_contract_has_its_call() {
        let wit = include_str!("../../../wit/policy.wit");
        let names: Vec<&str> = wit.lines().filter_map(|line| line.trim().split_once(": func(").map(|(name, _)| name)).collect();
        assert_eq!(names, FUNCTIONS);
        for function in FUNCTIONS {
            // Each reads arguments of its own: none takes a field that no function has.
            assert!(error(function, r#"{"no-such-field": 1}"#).contains("unknown field `no-such-field`"), "{function}");
        }
    }
}
