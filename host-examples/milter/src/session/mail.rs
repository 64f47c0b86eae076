//! The message that is coming in, as far as it is wanted.

use smtp_fallback_daemon::memory::Share;
use smtp_fallback_milter_codec::Agreement;
use smtp_fallback_policy::contract::{Envelope, Message};
use smtp_fallback_verify::summary;

/// Of the fields that say which mail it is, so many octets are kept.
const NAMING_MAX: usize = 64 << 10;
/// More Authentication-Results fields are not kept: the policy reads no more.
const RESULTS_MAX: usize = smtp_fallback_policy::authentication_results::MAX_FIELDS;

/// A message, from MAIL on.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) mail_from: String,
    pub(super) recipients: Vec<String>,
    /// Values of Authentication-Results fields, the topmost first.
    pub(super) results: Vec<String>,
    /// The fields that [`summary`] reads.
    naming: Vec<u8>,
    /// Header and body, where they are verified here.
    text: Text,
    /// Octets of header and body.
    size: u64,
    body_begun: bool,
}

#[derive(Debug)]
enum Text {
    /// Nobody needs it.
    Unwanted,
    Kept {
        octets: Vec<u8>,
        share: Share,
        limit: usize,
    },
    /// It is larger than the limit, or there was no memory for it.
    TooLarge,
}

impl Mail {
    /// A message of this sender. `keep`: the memory for its text, and the most octets of it, where it is wanted.
    pub(super) fn new(mail_from: String, keep: Option<(Share, usize)>) -> Mail {
        let text = match keep {
            Some((share, limit)) => Text::Kept { octets: Vec::new(), share, limit },
            None => Text::Unwanted,
        };
        Mail { mail_from, recipients: Vec::new(), results: Vec::new(), naming: Vec::new(), text, size: 0, body_begun: false }
    }

    /// A header field.
    pub(super) fn field(&mut self, agreement: &Agreement, name: &[u8], value: &[u8]) {
        let mut field = Vec::with_capacity(name.len() + value.len() + 8);
        agreement.write_field(name, value, &mut field);
        let is = |known: &str| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes());
        if is("Authentication-Results") && self.results.len() < RESULTS_MAX {
            self.results.push(super::text(&field[name.len() + 1..]));
        }
        if ["Message-ID", "Date", "From"].into_iter().any(is) && self.naming.len() + field.len() <= NAMING_MAX {
            self.naming.extend_from_slice(&field);
        }
        self.add(&field);
    }

    /// A part of the body.
    pub(super) fn body(&mut self, octets: &[u8]) {
        self.end_header();
        self.add(octets);
    }

    fn end_header(&mut self) {
        if !std::mem::replace(&mut self.body_begun, true) {
            self.add(b"\r\n");
        }
    }

    fn add(&mut self, more: &[u8]) {
        self.size += more.len() as u64;
        let Text::Kept { octets, share, limit } = &mut self.text else { return };
        if octets.len() + more.len() <= *limit && share.take(more.len()) {
            octets.extend_from_slice(more);
        } else {
            share.give_back(octets.len());
            self.text = Text::TooLarge;
        }
    }

    /// Header and body; none where they were not kept.
    pub(super) fn text(&self) -> Option<&[u8]> {
        match &self.text {
            Text::Kept { octets, .. } => Some(octets),
            Text::Unwanted | Text::TooLarge => None,
        }
    }

    /// The sender and the recipients.
    pub(super) fn envelope(&self) -> Envelope {
        Envelope { mail_from: self.mail_from.clone(), recipients: self.recipients.clone() }
    }

    /// What it says of itself.
    pub(super) fn message(&self) -> Message {
        let size = u32::try_from(self.size).unwrap_or(u32::MAX);
        Message { size, ..summary(&[&self.naming, &b"\r\n"[..]].concat()) }
    }

    /// Octets of header and body.
    pub(super) fn size(&self) -> u64 {
        self.size
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        if let Text::Kept { octets, share, .. } = &self.text {
            share.give_back(octets.len());
        }
    }
}
