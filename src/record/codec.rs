//! How records are written: one octet for the format, one for the kind, then parts.
//!
//! A part is a tag, a length and as many octets. A reader passes over tags that it does not know, so that an older host can share the
//! store with newer ones while they are upgraded; the records that it writes meanwhile lack what it does not know. Numbers are
//! little-endian.

use super::{AddressRecord, BudgetRecord, NetworkRecord, PenaltyRecord, Record, Window};
use crate::evidence::Evidence;

const FORMAT: u8 = 1;

const ADDRESS: u8 = b'a';
const NETWORK: u8 = b'n';
const BUDGET: u8 = b'b';

/// Far above what any version writes: a longer value is foreign.
const MAX_LENGTH: usize = 1024;

const EVIDENCE: u8 = 1;
const PENALTY: u8 = 2;
const CAPABLE: u8 = 3;
const INCAPABLE: u8 = 4;
const TEMPORARY: u8 = 5;

impl Record for AddressRecord {
    fn decode(value: &[u8]) -> Option<Self> {
        let mut record = AddressRecord::default();
        read(value, ADDRESS, |tag, part| {
            if tag == EVIDENCE {
                record.evidence = evidence(part)?;
            }
            Some(())
        })?;
        Some(record)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(ADDRESS);
        out.evidence(self.evidence);
        out.0
    }
}

impl Record for NetworkRecord {
    fn decode(value: &[u8]) -> Option<Self> {
        let mut record = NetworkRecord::default();
        read(value, NETWORK, |tag, mut part| {
            match tag {
                EVIDENCE => record.evidence = evidence(part)?,
                PENALTY => {
                    let penalty = PenaltyRecord {
                        refuse_until: u64(&mut part)?,
                        last_failure: u64(&mut part)?,
                        doublings: u8(&mut part)?,
                        simulated: match u8(&mut part)? {
                            0 => false,
                            1 => true,
                            _ => return None,
                        },
                    };
                    record.penalty = part.is_empty().then_some(penalty);
                    record.penalty?;
                }
                CAPABLE => record.capable_at = Some(whole_u64(part)?),
                INCAPABLE => record.incapable_at = Some(whole_u64(part)?),
                TEMPORARY => record.temporary = Some(window(part)?),
                _ => {}
            }
            Some(())
        })?;
        Some(record)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(NETWORK);
        out.evidence(self.evidence);
        if let Some(penalty) = self.penalty {
            out.part(PENALTY, 18);
            out.0.extend_from_slice(&penalty.refuse_until.to_le_bytes());
            out.0.extend_from_slice(&penalty.last_failure.to_le_bytes());
            out.0.extend_from_slice(&[penalty.doublings, penalty.simulated.into()]);
        }
        out.time(CAPABLE, self.capable_at);
        out.time(INCAPABLE, self.incapable_at);
        out.window(self.temporary);
        out.0
    }
}

impl Record for BudgetRecord {
    fn decode(value: &[u8]) -> Option<Self> {
        let mut record = BudgetRecord::default();
        read(value, BUDGET, |tag, part| {
            if tag == TEMPORARY {
                record.temporary = Some(window(part)?);
            }
            Some(())
        })?;
        Some(record)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(BUDGET);
        out.window(self.temporary);
        out.0
    }
}

/// Goes through the parts of a record. `None` when the value is no record of this kind, a part repeats, or `part` says so.
fn read(value: &[u8], kind: u8, mut part: impl FnMut(u8, &[u8]) -> Option<()>) -> Option<()> {
    let &[FORMAT, found, ref rest @ ..] = value else { return None };
    if found != kind || value.len() > MAX_LENGTH {
        return None;
    }
    let mut rest = rest;
    let mut last = 0;
    while let &[tag, length, ref tail @ ..] = rest {
        // Parts are written in the order of their tags, which also excludes repeats.
        if tag <= last {
            return None;
        }
        last = tag;
        let (octets, after) = tail.split_at_checked(length.into())?;
        part(tag, octets)?;
        rest = after;
    }
    rest.is_empty().then_some(())
}

fn evidence(mut part: &[u8]) -> Option<Evidence> {
    let evidence = Evidence { passed: u32(&mut part)?, failed: u32(&mut part)?, at: u64(&mut part)? };
    part.is_empty().then_some(evidence)
}

fn window(mut part: &[u8]) -> Option<Window> {
    let window = Window { since: u64(&mut part)?, count: u32(&mut part)? };
    part.is_empty().then_some(window)
}

fn whole_u64(mut part: &[u8]) -> Option<u64> {
    let number = u64(&mut part)?;
    part.is_empty().then_some(number)
}

fn u64(part: &mut &[u8]) -> Option<u64> {
    take(part).map(u64::from_le_bytes)
}

fn u32(part: &mut &[u8]) -> Option<u32> {
    take(part).map(u32::from_le_bytes)
}

fn u8(part: &mut &[u8]) -> Option<u8> {
    take(part).map(|[octet]| octet)
}

fn take<const N: usize>(part: &mut &[u8]) -> Option<[u8; N]> {
    let (octets, rest) = part.split_first_chunk()?;
    *part = rest;
    Some(*octets)
}

struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u8) -> Self {
        // What a full network record takes.
        let mut out = Vec::with_capacity(76);
        out.extend_from_slice(&[FORMAT, kind]);
        Writer(out)
    }

    fn part(&mut self, tag: u8, length: u8) {
        self.0.extend_from_slice(&[tag, length]);
    }

    fn evidence(&mut self, evidence: Evidence) {
        if evidence.passed > 0 || evidence.failed > 0 {
            self.part(EVIDENCE, 16);
            self.0.extend_from_slice(&evidence.passed.to_le_bytes());
            self.0.extend_from_slice(&evidence.failed.to_le_bytes());
            self.0.extend_from_slice(&evidence.at.to_le_bytes());
        }
    }

    fn time(&mut self, tag: u8, time: Option<u64>) {
        if let Some(time) = time {
            self.part(tag, 8);
            self.0.extend_from_slice(&time.to_le_bytes());
        }
    }

    fn window(&mut self, window: Option<Window>) {
        if let Some(window) = window {
            self.part(TEMPORARY, 12);
            self.0.extend_from_slice(&window.since.to_le_bytes());
            self.0.extend_from_slice(&window.count.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> NetworkRecord {
        NetworkRecord {
            evidence: Evidence { passed: 1, failed: 2, at: 3 },
            penalty: Some(PenaltyRecord { refuse_until: 4, doublings: 5, last_failure: 6, simulated: true }),
            capable_at: Some(7),
            incapable_at: Some(8),
            temporary: Some(Window { since: 9, count: 10 }),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(NetworkRecord::decode(&full().encode()), Some(full()));
        assert_eq!(NetworkRecord::decode(&NetworkRecord::default().encode()), Some(NetworkRecord::default()));
        let address = AddressRecord { evidence: full().evidence };
        assert_eq!(AddressRecord::decode(&address.encode()), Some(address));
        let budget = BudgetRecord { temporary: full().temporary };
        assert_eq!(BudgetRecord::decode(&budget.encode()), Some(budget));
    }

    #[test]
    fn cut_repeated_and_foreign_values_are_no_record() {
        let value = full().encode();
        let ends = [2, 20, 40, 50, 60, 74]; // Before a part, a record is whole.
        for length in (0..value.len()).filter(|length| !ends.contains(length)) {
            assert_eq!(NetworkRecord::decode(&value[..length]), None, "{length}");
        }
        let repeated = [&value[..], &value[2..]].concat();
        assert_eq!(NetworkRecord::decode(&repeated), None);
        assert_eq!(AddressRecord::decode(&value), None, "another kind");
        assert_eq!(NetworkRecord::decode(&[2, b'n']), None, "another format");
        assert_eq!(NetworkRecord::decode(&[&[1, b'n', 9, 255][..], &[0; 255]].concat()), Some(NetworkRecord::default()));
    }

    #[test]
    fn parts_of_later_versions_are_passed_over() {
        let mut value = full().encode();
        value.extend_from_slice(&[200, 3, 1, 2, 3]);
        assert_eq!(NetworkRecord::decode(&value), Some(full()));
    }

    #[test]
    fn long_values_are_foreign() {
        let part = |tag: u8| [&[tag, 255][..], &[0; 255]].concat();
        let value = |parts: u8| [vec![1, b'n'], (0..parts).flat_map(|n| part(100 + n)).collect()].concat();
        assert!(NetworkRecord::decode(&value(3)).is_some());
        assert!(NetworkRecord::decode(&value(4)).is_none());
    }
}
