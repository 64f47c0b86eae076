//! How records are written: one octet for the format, one for the kind, then parts.
//!
//! A part is a tag, a length and as many octets. A reader passes over tags that it does not know, so that an older host can share the
//! store with newer ones while they are upgraded; the records that it writes meanwhile lack what it does not know. Numbers are
//! little-endian; times are seconds since 1970 in four octets, later ones than 2106-02-07 count as that day. Records are small, since a store
//! has millions: that of a network whose mail was judged has 16 octets.

use std::borrow::Cow;

use super::{
    AddressRecord, BudgetRecord, Codec, LetIn, MailRead, MailRecord, MessageId, NetworkRecord, PenaltyRecord, RefusedFor,
    Settled, SettledBy, Waiting, Window,
};
use crate::address::Address;
use crate::evidence::Evidence;
use crate::network::Network;

const FORMAT: u8 = 1;

const ADDRESS: u8 = b'a';
const NETWORK: u8 = b'n';
const BUDGET: u8 = b'b';
const MAIL: u8 = b'm';

/// Far above what any version writes: a longer value is foreign.
const MAX_LENGTH: usize = 1024;

const EVIDENCE: u8 = 1;
const PENALTY: u8 = 2;
const CAPABLE: u8 = 3;
const INCAPABLE: u8 = 4;
const TEMPORARY: u8 = 5;
const LET_IN: u8 = 6;
const WAITING: u8 = 7;
const NOT_BELIEVED: u8 = 8;
const PROBED: u8 = 9;
const PROBE: u8 = 10;

// Of a mail.
const REFUSED: u8 = 1;
const SETTLED: u8 = 2;
const LACKED: u8 = 3;
const EHLO_NAME: u8 = 4;
const SENDER_DOMAIN: u8 = 5;

impl Codec<'_> for AddressRecord {
    fn decode(value: &[u8]) -> Option<Self> {
        let mut record = AddressRecord::default();
        read(value, ADDRESS, &mut |tag, part| {
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

impl Codec<'_> for NetworkRecord {
    fn decode(value: &[u8]) -> Option<Self> {
        let mut record = NetworkRecord::default();
        read(value, NETWORK, &mut |tag, mut part| {
            match tag {
                EVIDENCE => record.evidence = evidence(part)?,
                PENALTY => {
                    let penalty = PenaltyRecord {
                        refuse_until: time(&mut part)?,
                        last_failure: time(&mut part)?,
                        doublings: u8(&mut part)?,
                        simulated: boolean(&mut part)?,
                    };
                    record.penalty = part.is_empty().then_some(penalty);
                    record.penalty?;
                }
                CAPABLE => record.capable_at = Some(whole_time(part)?),
                INCAPABLE => record.incapable_at = Some(whole_time(part)?),
                TEMPORARY => record.temporary = Some(window(part)?),
                LET_IN => record.let_in = Some(let_in(part)?),
                WAITING => record.waiting = waiting(part)?,
                NOT_BELIEVED => record.not_believed_until = Some(whole_time(part)?),
                PROBED => record.probed_at = Some(whole_time(part)?),
                PROBE => {
                    record.probe = Some(u32(&mut part)?);
                    part.is_empty().then_some(())?;
                }
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
            out.part(PENALTY, 10);
            out.seconds(penalty.refuse_until);
            out.seconds(penalty.last_failure);
            out.0.extend_from_slice(&[penalty.doublings, penalty.simulated.into()]);
        }
        out.time(CAPABLE, self.capable_at);
        out.time(INCAPABLE, self.incapable_at);
        out.window(TEMPORARY, self.temporary);
        if let Some(let_in) = self.let_in {
            let failing = let_in.failing.unwrap_or(Window { since: 0, count: 0 });
            out.part(LET_IN, 17);
            out.seconds(let_in.since);
            out.seconds(let_in.until);
            out.0.push(let_in.by_operator.into());
            out.seconds(failing.since);
            out.u32(failing.count);
        }
        let waiting = self.waiting.iter().flatten();
        let count = waiting.clone().count();
        if count > 0 {
            out.part(WAITING, count as u8 * WAITING_OCTETS as u8);
            for waiting in waiting {
                out.u32(waiting.exact);
                out.u32(waiting.inferred);
                out.seconds(waiting.since);
                out.0.push(waiting.acknowledged.into());
            }
        }
        out.time(NOT_BELIEVED, self.not_believed_until);
        out.time(PROBED, self.probed_at);
        if let Some(nonce) = self.probe {
            out.part(PROBE, 4);
            out.0.extend_from_slice(&nonce.to_le_bytes());
        }
        out.0
    }
}

impl Codec<'_> for BudgetRecord {
    fn decode(value: &[u8]) -> Option<Self> {
        let mut record = BudgetRecord::default();
        read(value, BUDGET, &mut |tag, part| {
            match tag {
                TEMPORARY => record.temporary = Some(window(part)?),
                LET_IN => record.let_in = Some(window(part)?),
                _ => {}
            }
            Some(())
        })?;
        Some(record)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(BUDGET);
        out.window(TEMPORARY, self.temporary);
        out.window(LET_IN, self.let_in);
        out.0
    }
}

impl<'a> Codec<'a> for MailRead<'a> {
    fn decode(value: &'a [u8]) -> Option<Self> {
        let mut record = MailRecord {
            network: Network::of(Address::from_bits(0), 0),
            first_refusal: 0,
            last_refusal: 0,
            refusals: 0,
            acknowledged: false,
            message_id: MessageId::Absent,
            refused_for: RefusedFor::Unauthenticated,
            lacked: Cow::Borrowed(""),
            ehlo_name: Cow::Borrowed(""),
            sender_domain: Cow::Borrowed(""),
            settled: None,
        };
        read(value, MAIL, &mut |tag, mut part| {
            match tag {
                REFUSED => {
                    let prefix = Address::from_bits(take(&mut part).map(u128::from_le_bytes)?);
                    let length = u8(&mut part)?;
                    record.network = Network::of(prefix, length);
                    if record.network.prefix() != prefix || length > 128 {
                        return None;
                    }
                    record.first_refusal = time(&mut part)?;
                    record.last_refusal = time(&mut part)?;
                    record.refusals = u32(&mut part)?;
                    record.acknowledged = boolean(&mut part)?;
                    record.message_id = *MESSAGE_IDS.get(usize::from(u8(&mut part)?))?;
                    record.refused_for = match u8(&mut part)? {
                        0 => RefusedFor::Unauthenticated,
                        1 => RefusedFor::Distrusted,
                        _ => return None,
                    };
                    return part.is_empty().then_some(());
                }
                SETTLED => {
                    let at = time(&mut part)?;
                    let &[by] = part else { return None };
                    let by = *SETTLED_BY.get(usize::from(by))?;
                    record.settled = Some(Settled { at, by });
                }
                LACKED => record.lacked = text(part)?,
                EHLO_NAME => record.ehlo_name = text(part)?,
                SENDER_DOMAIN => record.sender_domain = text(part)?,
                _ => {}
            }
            Some(())
        })?;
        // Without a refusal it says nothing.
        (record.refusals > 0).then_some(record)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out =
            Writer::with_capacity(MAIL, MAIL_OCTETS + self.lacked.len() + self.ehlo_name.len() + self.sender_domain.len());
        out.part(REFUSED, 32);
        out.0.extend_from_slice(&self.network.prefix().bits().to_le_bytes());
        out.0.push(self.network.length());
        out.seconds(self.first_refusal);
        out.seconds(self.last_refusal);
        out.u32(self.refusals);
        let distrusted = self.refused_for == RefusedFor::Distrusted;
        let message_id = MESSAGE_IDS.iter().position(|known| *known == self.message_id).unwrap_or_default() as u8;
        out.0.extend_from_slice(&[self.acknowledged.into(), message_id, distrusted.into()]);
        if let Some(settled) = self.settled {
            out.part(SETTLED, 5);
            out.seconds(settled.at);
            out.0.push(SETTLED_BY.iter().position(|by| *by == settled.by).unwrap_or_default() as u8);
        }
        out.text(LACKED, &self.lacked);
        out.text(EHLO_NAME, &self.ehlo_name);
        out.text(SENDER_DOMAIN, &self.sender_domain);
        out.0
    }
}

/// By their numbers in a record.
const MESSAGE_IDS: [MessageId; 3] = [MessageId::Absent, MessageId::Known, MessageId::NotYet];

/// By their numbers in a record.
pub(super) const SETTLED_BY: [SettledBy; 4] = [SettledBy::Ipv4, SettledBy::Ipv6, SettledBy::LetIn, SettledBy::Rejected];

/// What a mail takes without its texts.
pub(super) const MAIL_OCTETS: usize = 2 + (2 + 32) + (2 + 5) + 3 * 2;

/// What one waiting mail takes.
const WAITING_OCTETS: usize = 13;

/// Goes through the parts of a record. `None` when the value is no record of this kind, a part repeats, or `part` says so.
fn read<'a>(value: &'a [u8], kind: u8, part: &mut dyn FnMut(u8, &'a [u8]) -> Option<()>) -> Option<()> {
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
    let evidence = Evidence { passed: u32(&mut part)?, failed: u32(&mut part)?, at: time(&mut part)? };
    part.is_empty().then_some(evidence)
}

fn window(mut part: &[u8]) -> Option<Window> {
    let window = Window { since: time(&mut part)?, count: u32(&mut part)? };
    part.is_empty().then_some(window)
}

fn let_in(mut part: &[u8]) -> Option<LetIn> {
    let since = time(&mut part)?;
    let until = time(&mut part)?;
    let by_operator = boolean(&mut part)?;
    let failing = window(part)?;
    Some(LetIn { since, until, by_operator, failing: (failing.count > 0).then_some(failing) })
}

fn waiting(mut part: &[u8]) -> Option<[Option<Waiting>; 4]> {
    let mut all = [None; 4];
    if !part.len().is_multiple_of(WAITING_OCTETS) || part.len() / WAITING_OCTETS > all.len() {
        return None;
    }
    for place in &mut all {
        if part.is_empty() {
            break;
        }
        *place = Some(Waiting {
            exact: u32(&mut part)?,
            inferred: u32(&mut part)?,
            since: time(&mut part)?,
            acknowledged: boolean(&mut part)?,
        });
    }
    Some(all)
}

/// Texts of a mail's record: the longest is what it lacked.
fn text(part: &[u8]) -> Option<Cow<'_, str>> {
    std::str::from_utf8(part).ok().map(Into::into)
}

fn whole_time(mut part: &[u8]) -> Option<u64> {
    let time = time(&mut part)?;
    part.is_empty().then_some(time)
}

fn time(part: &mut &[u8]) -> Option<u64> {
    u32(part).map(u64::from)
}

fn u32(part: &mut &[u8]) -> Option<u32> {
    take(part).map(u32::from_le_bytes)
}

fn u8(part: &mut &[u8]) -> Option<u8> {
    take(part).map(|[octet]| octet)
}

fn boolean(part: &mut &[u8]) -> Option<bool> {
    match u8(part)? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
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
        Writer::with_capacity(kind, 76)
    }

    fn with_capacity(kind: u8, octets: usize) -> Self {
        let mut out = Vec::with_capacity(octets);
        out.extend_from_slice(&[FORMAT, kind]);
        Writer(out)
    }

    fn seconds(&mut self, time: u64) {
        self.u32(u32::try_from(time).unwrap_or(u32::MAX));
    }

    fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn part(&mut self, tag: u8, length: u8) {
        self.0.extend_from_slice(&[tag, length]);
    }

    fn evidence(&mut self, evidence: Evidence) {
        if evidence.passed > 0 || evidence.failed > 0 {
            self.part(EVIDENCE, 12);
            self.u32(evidence.passed);
            self.u32(evidence.failed);
            self.seconds(evidence.at);
        }
    }

    fn time(&mut self, tag: u8, time: Option<u64>) {
        if let Some(time) = time {
            self.part(tag, 4);
            self.seconds(time);
        }
    }

    /// No text is longer than 255 octets: the module cuts them before.
    fn text(&mut self, tag: u8, text: &str) {
        let octets = text.as_bytes().get(..255).unwrap_or(text.as_bytes());
        if !octets.is_empty() {
            self.part(tag, octets.len() as u8);
            self.0.extend_from_slice(octets);
        }
    }

    fn window(&mut self, tag: u8, window: Option<Window>) {
        if let Some(window) = window {
            self.part(tag, 8);
            self.seconds(window.since);
            self.u32(window.count);
        }
    }
}
