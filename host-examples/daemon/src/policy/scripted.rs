//! A policy that a function plays: for tests of those who ask.

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{
    AuthResults, Connection, Decision, Envelope, Key, KeyKind, Message, Reason, RecordUpdate, Stage, Verdict,
};

use super::Decider;

/// Decides by a function, and wants the record of the client's address, and then that of the address it names.
pub struct Scripted<F>(pub F);

impl<F> Decider for Scripted<F>
where
    F: Fn(&Connection, Option<&Envelope>, Option<&AuthResults>) -> Decision + Send + Sync,
{
    fn keys(&self, connection: &Connection, _: Option<&Envelope>, _: Option<&Message>) -> Vec<Key> {
        let named = connection.records.iter().map(|record| key(u128::from(record.value[0])));
        std::iter::once(key(connection.client.bits())).chain(named).collect()
    }

    fn decide(
        &self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        _: Option<&Message>,
        results: Option<&AuthResults>,
    ) -> Decision {
        (self.0)(connection, envelope, results)
    }

    fn authentication_results(&self, fields: &[String], trusted_ids: &[String]) -> Option<AuthResults> {
        Some(smtp_fallback_policy::parse_authentication_results(fields, trusted_ids))
    }
}

/// A decision that says nothing but its verdict.
pub fn decision(verdict: Verdict) -> Decision {
    Decision { verdict, reason: Reason::Undecided, ..Decision::without_policy(Stage::Mail) }
}

/// The key of the record of an address.
pub fn key(bits: u128) -> Key {
    Key { kind: KeyKind::Address, address: Address::from_bits(bits), prefix_length: 128 }
}

/// A record of one octet about an address.
pub fn update(bits: u128, value: u8) -> RecordUpdate {
    RecordUpdate { key: key(bits), value: vec![value], expires_in: 60, weight: 1 }
}
