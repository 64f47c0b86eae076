//! Records of any octets.

use std::sync::LazyLock;

use super::octets::Octets;
use super::sound;
use crate::address::Address;
use crate::contract::{
    AuthResult, AuthResults, Connection, Decision, Envelope, Key, KeyKind, Message, Note, Spf, Stage, StoredRecord,
};
use crate::module::{Module, inspect};
use crate::network::Network;
use crate::record::{self, AddressRecord, BudgetRecord, Codec as _, MailRead, NetworkRecord, Record};

const KINDS: [KeyKind; 5] = [KeyKind::Address, KeyKind::Network, KeyKind::Budget, KeyKind::Exact, KeyKind::Inferred];

const CLIENT: Address = Address::from_words([0x2001_0db8, 0x0001_0002, 0, 0x25]);

/// A call changes nothing in a module, so those of one process can share it: their policies are read once.
static MODULES: LazyLock<[Module; 2]> = LazyLock::new(|| {
    [r#"{"no_fallback": {"action": "reject"}}"#, r#"{"decide_at": "earliest"}"#].map(|policy| {
        let mut module = Module::new();
        module.configure(policy, b"0123456789abcdef").expect("a policy");
        module
    })
});

/// Reads the octets as a record: its kind, the time at which it is used, and its value.
///
/// - `inspect` shows what can be read and nothing else, as a JSON object by this module's reader and by another, `is_json`;
/// - what is read and written is shown as the same, and stays the same octets from then on;
/// - `decide` takes it in each place; one that cannot be read counts as absent, and that is noted.
pub fn check_record(octets: &[u8], is_json: impl Fn(&str) -> bool) {
    let mut octets = Octets(octets);
    let (kind, now, flags) = (octets.of(&KINDS), octets.number(), octets.octet());
    let record = StoredRecord { key: Key { kind, address: CLIENT, prefix_length: 128 }, value: octets.0.to_vec() };
    let read = Record::read(&record);
    match inspect(&record) {
        Ok(json) => {
            assert!(read.is_some(), "{json}");
            assert!(is_json(&json) && json.chars().all(|c| c >= ' '), "{json}");
            // Fields of a policy it has none, but that is the only fault: each error names a field.
            let errors = crate::policy::parse(&json).expect_err("no policy");
            assert!(errors.iter().all(|error| !error.pointer.is_empty()), "{json}: {errors:?}");
        }
        Err(error) => assert!(read.is_none(), "{error}"),
    }
    if read.is_some() {
        check_written(&record);
    }
    let network = Network::of(CLIENT, 64);
    let update = record::exempt(network, Some(&record.value), now.into(), u32::from(flags)).expect("IPv6");
    let let_in = NetworkRecord::decode(&update.value).expect("what was written");
    if kind == KeyKind::Network {
        let before = NetworkRecord::decode(&record.value).unwrap_or_default();
        let mut before = NetworkRecord::decode(&before.encode()).expect("what was written");
        before.let_in = let_in.let_in;
        assert_eq!(let_in, before, "the rest is kept");
    }
    check_use(kind, &record.value, now, flags);
}

/// What is written of a record that can be read.
fn written(found: &StoredRecord) -> StoredRecord {
    let value = &found.value;
    let value = match found.key.kind {
        KeyKind::Address => AddressRecord::decode(value).map(|record| record.encode()),
        KeyKind::Network => NetworkRecord::decode(value).map(|record| record.encode()),
        KeyKind::Budget => BudgetRecord::decode(value).map(|record| record.encode()),
        KeyKind::Exact | KeyKind::Inferred => MailRead::decode(value).map(|record| record.encode()),
    };
    StoredRecord { key: found.key, value: value.expect("it could be read") }
}

/// Written once it may have lost what means nothing, such as the time of no evidence; then it stays as it is.
fn check_written(found: &StoredRecord) {
    let again = written(found);
    assert!(again.value.len() <= 1024, "{} octets", again.value.len());
    assert_eq!(inspect(&again), inspect(found), "what is shown of it");
    assert_eq!(written(&again), again);
}

/// In decisions about a client whose record this is.
fn check_use(kind: KeyKind, value: &[u8], now: u32, flags: u8) {
    let module = &MODULES[usize::from(flags & 1)];
    let envelope = Envelope { mail_from: "smith@example.net".into(), recipients: vec!["jones@example.org".into()] };
    let message = Message { message_id: Some("<1@example.net>".into()), date: None, from_domain: None, size: 1 };
    let spf = Spf { result: if flags & 2 == 0 { AuthResult::Fail } else { AuthResult::Pass }, domain: "example.net".into() };
    let results = AuthResults { spf_mail_from: Some(spf), dkim: Some(Vec::new()), ..AuthResults::default() };
    for stage in [Stage::Greeting, Stage::Ehlo, Stage::Rcpt, Stage::Data, Stage::EndOfData] {
        // Over IPv4, too: there a mail's record is used.
        let client = if flags & 4 == 0 { CLIENT } else { Address::from_words([0, 0, 0xffff, 0xc000_0201]) };
        let mut connection = Connection::new(stage, client);
        connection.ehlo_name = Some("mail.example.net".into());
        (connection.now, connection.nonce) = (now.into(), u32::from(flags));
        (connection.acknowledged, connection.keyword_shown) = (flags & 8 != 0, flags & 16 != 0);
        connection.ipv4_arrivals_visible = flags & 32 != 0;
        let envelope = (stage >= Stage::Mail).then_some(&envelope);
        let message = (stage == Stage::EndOfData).then_some(&message);
        let results = (stage >= Stage::Data).then_some(&results);
        let keys = module.keys(&connection, envelope, message);
        let Some(&key) = keys.iter().find(|key| key.kind == kind) else { continue };
        connection.records.push(StoredRecord { key, value: value.to_vec() });
        let keys = module.keys(&connection, envelope, message);
        let decision = module.decide(&connection, envelope, message, results);
        sound::check(&connection, message, &keys, &decision);
        if Record::read(&connection.records[0]).is_none() {
            connection.records.clear();
            check_as_absent(decision, &module.decide(&connection, envelope, message, results));
        }
    }
}

/// But for the note, and that only where the record was wanted.
fn check_as_absent(mut decision: Decision, without: &Decision) {
    decision.notes.retain(|note| *note != Note::MalformedRecord);
    assert_eq!(&decision, without);
}
