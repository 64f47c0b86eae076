//! Requests and answers, as JSON.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{Key, KeyKind, StoredRecord};
use smtp_fallback_policy::network::{Network, NetworkError};

use crate::{Cursor, Health, Listed};

/// The longest line of a request, in octets, its end included: room for 64 keys, or for two values of 4096 octets.
pub const MAX_LINE_OCTETS: usize = 64 * 1024;

/// The most keys of one `get`.
pub const MAX_KEYS: usize = 64;

/// The most records that one `scan` asks for: 1.5 MB of the longest values.
pub const MAX_SCAN: usize = 256;

/// A request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    Get {
        keys: Vec<JsonKey>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        now: Option<u64>,
    },
    CompareAndSet {
        key: JsonKey,
        #[serde(default)]
        expected: Option<Octets>,
        value: Octets,
        expires_in: u32,
        weight: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<Address>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        now: Option<u64>,
    },
    Scan {
        #[serde(default)]
        cursor: Cursor,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<usize>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        now: Option<u64>,
    },
    Keys {
        address: Address,
    },
    Secret {},
    Health {},
    About {},
}

/// The name of the only request that changes something.
pub(crate) const COMPARE_AND_SET: &str = "compare-and-set";

impl Request {
    /// What `request` says.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Request::Get { .. } => "get",
            Request::CompareAndSet { .. } => COMPARE_AND_SET,
            Request::Scan { .. } => "scan",
            Request::Keys { .. } => "keys",
            Request::Secret {} => "secret",
            Request::Health {} => "health",
            Request::About {} => "about",
        }
    }
}

/// An answer; which one is in the name of its first field.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Answer<T> {
    Error { error: String },
    Done(T),
}

/// The answer to `get`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Records {
    pub(crate) records: Vec<JsonRecord>,
}

/// The answer to `compare-and-set`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Swapped {
    pub(crate) swap: JsonSwap,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum JsonSwap {
    Stored,
    Conflict,
}

/// The answer to `scan`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Scanned {
    pub(crate) records: Vec<JsonListed>,
    pub(crate) next: Option<Cursor>,
}

/// The answer to `keys`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Keys {
    pub(crate) keys: Vec<JsonKey>,
}

/// The answer to `secret`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SecretGiven {
    pub(crate) secret: Octets,
}

/// The answer to `health`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HealthGiven {
    pub(crate) health: Health,
}

/// The answer to `about`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AboutGiven {
    pub(crate) about: About,
}

/// Which host answers at the control socket, and which policy module it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct About {
    /// The program, such as `smtp-fallback-smtpd`.
    pub program: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the component that it runs, in hexadecimal; absent while it runs none.
    pub component: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct JsonRecord {
    key: JsonKey,
    value: Octets,
}

impl From<StoredRecord> for JsonRecord {
    fn from(record: StoredRecord) -> Self {
        JsonRecord { key: JsonKey(record.key), value: Octets(record.value) }
    }
}

impl From<JsonRecord> for StoredRecord {
    fn from(JsonRecord { key, value }: JsonRecord) -> Self {
        StoredRecord { key: key.0, value: value.0 }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct JsonListed {
    #[serde(flatten)]
    record: JsonRecord,
    expires_at: u64,
    weight: u32,
}

impl From<Listed> for JsonListed {
    fn from(Listed { record, expires_at, weight }: Listed) -> Self {
        JsonListed { record: record.into(), expires_at, weight }
    }
}

impl From<JsonListed> for Listed {
    fn from(JsonListed { record, expires_at, weight }: JsonListed) -> Self {
        Listed { record: record.into(), expires_at, weight }
    }
}

/// A key as the protocol writes it, which exports do too: `{"kind": "network", "network": "2001:db8::/64"}`, or
/// `{"kind": "exact", "hash": "00112233445566778899aabbccddeeff"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "KeyForm", try_from = "KeyForm")]
pub struct JsonKey(pub Key);

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum KeyForm {
    Address { network: String },
    Network { network: String },
    Budget { network: String },
    Exact { hash: String },
    Inferred { hash: String },
}

impl From<JsonKey> for KeyForm {
    fn from(JsonKey(key): JsonKey) -> Self {
        let network = || Network::of(key.address, key.prefix_length).to_string();
        let hash = || format!("{:032x}", key.address.bits());
        match key.kind {
            KeyKind::Address => KeyForm::Address { network: network() },
            KeyKind::Network => KeyForm::Network { network: network() },
            KeyKind::Budget => KeyForm::Budget { network: network() },
            KeyKind::Exact => KeyForm::Exact { hash: hash() },
            KeyKind::Inferred => KeyForm::Inferred { hash: hash() },
        }
    }
}

impl TryFrom<KeyForm> for JsonKey {
    type Error = String;

    fn try_from(form: KeyForm) -> Result<Self, String> {
        let network = |kind, text: &str| {
            let network = network(text)?;
            Ok(JsonKey(Key { kind, address: network.prefix(), prefix_length: network.length() }))
        };
        let hash = |kind, text: &str| Ok(JsonKey(Key { kind, address: Address::from_bits(hash(text)?), prefix_length: 128 }));
        match form {
            KeyForm::Address { network: text } => network(KeyKind::Address, &text),
            KeyForm::Network { network: text } => network(KeyKind::Network, &text),
            KeyForm::Budget { network: text } => network(KeyKind::Budget, &text),
            KeyForm::Exact { hash: text } => hash(KeyKind::Exact, &text),
            KeyForm::Inferred { hash: text } => hash(KeyKind::Inferred, &text),
        }
    }
}

fn network(text: &str) -> Result<Network, String> {
    Network::parse(text).map_err(|error| match error {
        NetworkError::HostBits(network) => format!("{text:?} has bits beyond its length set; expected {network}"),
        _ => format!("{text:?} is no network; expected one such as \"2001:db8::/64\""),
    })
}

/// Exactly 32 digits: `from_str_radix` alone would take a sign, and fewer.
fn hash(text: &str) -> Result<u128, String> {
    let error = || format!("{text:?} is no hash of a mail; expected 32 hexadecimal digits");
    if text.len() != 32 || !text.bytes().all(|octet| octet.is_ascii_hexdigit()) {
        return Err(error());
    }
    u128::from_str_radix(text, 16).map_err(|_| error())
}

/// Octets in base64 with padding (RFC 4648 §4).
#[derive(Clone, PartialEq, Eq)]
pub struct Octets(pub Vec<u8>);

impl fmt::Debug for Octets {
    /// The number only: the secret is among what this holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} octets", self.0.len())
    }
}

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let error = |error| serde::de::Error::custom(format!("no base64 with padding (RFC 4648): {error}"));
        BASE64_STANDARD.decode(text.as_bytes()).map(Octets).map_err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_as_they_are_written() {
        for text in [
            r#"{"request":"get","keys":[]}"#,
            r#"{"request":"compare-and-set","key":{"kind":"budget","network":"2001:db8::/48"},"value":"","expires-in":1,"weight":1}"#,
            r#"{"request":"scan"}"#,
            r#"{"request":"keys","address":"::1"}"#,
            r#"{"request":"secret"}"#,
            r#"{"request":"health"}"#,
        ] {
            let request: Request = serde_json::from_str(text).expect(text);
            let written = serde_json::to_value(&request).expect("a request");
            assert_eq!(written["request"], request.name());
        }
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        for text in [
            r#"{"kind":"network","network":"2001:db8::/64"}"#,
            r#"{"kind":"address","network":"2001:db8::25/128"}"#,
            r#"{"kind":"budget","network":"2001:db8::/48"}"#,
            r#"{"kind":"network","network":"192.0.2.0/24"}"#,
            r#"{"kind":"network","network":"::/0"}"#,
            r#"{"kind":"exact","hash":"00112233445566778899aabbccddeeff"}"#,
            r#"{"kind":"inferred","hash":"00000000000000000000000000000001"}"#,
        ] {
            let key: JsonKey = serde_json::from_str(text).expect(text);
            assert_eq!(serde_json::to_string(&key).expect("a key"), text);
        }
    }

    #[test]
    fn what_is_no_key_is_told_so() {
        for (text, part) in [
            (r#"{"kind":"network","network":"2001:db8::1/64"}"#, "expected 2001:db8::/64"),
            (r#"{"kind":"network","network":"mail.example"}"#, "\"2001:db8::/64\""),
            (r#"{"kind":"network","network":"2001:db8::/129"}"#, "no network"),
            (r#"{"kind":"network","hash":"00112233445566778899aabbccddeeff"}"#, "unknown field `hash`, expected `network`"),
            (r#"{"kind":"exact","hash":"0112233445566778899aabbccddeeff"}"#, "32 hexadecimal digits"),
            (r#"{"kind":"exact","hash":"+0112233445566778899aabbccddeeff"}"#, "32 hexadecimal digits"),
            (r#"{"kind":"mail","hash":"00112233445566778899aabbccddeeff"}"#, "unknown variant `mail`"),
            (r#"{"network":"2001:db8::/64"}"#, "missing field `kind`"),
        ] {
            let error = serde_json::from_str::<JsonKey>(text).expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn octets_are_base64_with_padding() {
        let octets: Octets = serde_json::from_str(r#""AW4=""#).expect("base64");
        assert_eq!(octets.0, [1, b'n']);
        assert_eq!(serde_json::to_string(&octets).expect("octets"), r#""AW4=""#);
        for text in [r#""AW4""#, r#""A_==""#, r#""é""#, "7"] {
            assert!(serde_json::from_str::<Octets>(text).is_err(), "{text}");
        }
    }
}
