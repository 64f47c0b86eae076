//! The host that is asked.

use std::path::Path;

use smtp_fallback_policy::contract::{Key, RecordUpdate, StoredRecord};
use smtp_fallback_policy::network::Network;
use smtp_fallback_policy::{address::Address, inspect};
use smtp_fallback_store::control::ControlStore;
use smtp_fallback_store::{Cursor, Listed, Page, Store as _, Swap, Write};

use crate::fail::Fail;
use crate::output::remark;
use crate::time::now;

/// Records of one request.
const PAGE: usize = 256;

/// How often a change is tried while others change the same record.
const TRIES: u32 = 32;

/// A running host.
pub(crate) struct Host(ControlStore);

impl Host {
    pub(crate) async fn connect(socket: &Path) -> Result<Host, Fail> {
        Ok(Host(ControlStore::connect(socket).await?))
    }

    /// After a change: says where it may not last, since the host has only a local copy of its shared store. `then` is what may become of it.
    pub(crate) async fn remark_if_alone(&self, then: &str) {
        // Nothing is said where the host does not tell: the change is made all the same.
        if self.0.host_health().await.is_ok_and(|health| health.serves_local_copy) {
            remark(&format!(
                "The host's shared store gives no answer, or takes no writes: this holds on this host only until it does again; {then}."
            ));
        }
    }

    /// The keys of an address, its network and its /48 under the policy in force.
    pub(crate) async fn keys_of(&self, address: Address) -> Result<Vec<Key>, Fail> {
        Ok(self.0.keys_of(address).await?)
    }

    /// The records under these keys, in the keys' order.
    pub(crate) async fn get(&self, keys: &[Key]) -> Result<Vec<StoredRecord>, Fail> {
        let mut records = self.0.get_many(keys, now()).await?;
        records.sort_by_key(|record| keys.iter().position(|key| *key == record.key));
        Ok(records)
    }

    /// Hands all records to `each`, until it says that it has enough.
    pub(crate) async fn scan(&self, mut each: impl FnMut(Listed) -> Result<bool, Fail>) -> Result<(), Fail> {
        let mut cursor = Cursor::default();
        // A page may be empty and lead on, as where a part of the records has expired. It ends with the store's walk
        // through its records.
        loop {
            let Page { records, next } = self.0.scan(cursor, PAGE, now()).await?;
            for record in records {
                if !each(record)? {
                    return Ok(());
                }
            }
            match next {
                Some(next) => cursor = next,
                None => return Ok(()),
            }
        }
    }

    /// Stores what `change` makes of the record that is there; nothing where it makes `None`. Gives the update that is in force.
    pub(crate) async fn change(
        &self,
        key: Key,
        mut change: impl FnMut(Option<&[u8]>, u64) -> Result<Option<RecordUpdate>, Fail>,
    ) -> Result<Option<RecordUpdate>, Fail> {
        for _ in 0..TRIES {
            let now = now();
            let found = self.0.get_many(&[key], now).await?.pop().map(|record| record.value);
            let Some(update) = change(found.as_deref(), now)? else { return Ok(None) };
            if self.swap(found.as_deref(), &update, now).await? == Swap::Stored {
                return Ok(Some(update));
            }
        }
        Err(Fail::Other(format!(
            "the host changed the record of {} at each of {TRIES} tries; try again, when less mail comes from there",
            crate::target::key_name(&key)
        )))
    }

    /// Stores the update if that is there.
    pub(crate) async fn swap(&self, expected: Option<&[u8]>, update: &RecordUpdate, now: u64) -> Result<Swap, Fail> {
        let source = source_of(update);
        Ok(self.0.compare_and_set(Write { expected, update, source, now }).await?)
    }
}

/// The client that a record is about: it is in the key of all but mails, and in the record of those.
fn source_of(update: &RecordUpdate) -> Address {
    use smtp_fallback_policy::contract::KeyKind::{Exact, Inferred};
    if !matches!(update.key.kind, Exact | Inferred) {
        return update.key.address;
    }
    let shown = inspect(&StoredRecord { key: update.key, value: update.value.clone() }).unwrap_or_default();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap_or_default();
    let network = shown["network"].as_str().and_then(|text| Network::parse(text).ok());
    network.map_or(update.key.address, Network::prefix)
}
