//! The message that is coming in, as far as it is wanted.

use smtp_fallback_daemon::memory::Share;
use smtp_fallback_milter_codec::Agreement;
use smtp_fallback_policy::authentication_results::{MAX_OCTETS, authserv_id};
use smtp_fallback_policy::contract::{Envelope, Message};
use smtp_fallback_verify::summary;

/// Of the fields that say which mail it is, so many octets are kept.
const NAMING_MAX: usize = 64 << 10;
/// So many recipients are kept, and so many octets of them. Postfix takes a thousand of a message; Sendmail may have no limit.
const RECIPIENTS_MAX: usize = 1000;
const RECIPIENTS_OCTETS: usize = 128 << 10;
/// Stands for the recipients that are not kept: nobody, who is exempt nowhere.
const MORE_RECIPIENTS: &str = "";
/// What a text in memory grows by, at least.
const STEP: usize = 16 << 10;
/// Of the Authentication-Results fields with one id: that which counts, and a second one, by which neither does.
const RESULTS_OF_AN_ID: usize = 2;

/// A message, from MAIL on.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) mail_from: String,
    recipients: Vec<String>,
    /// Values of Authentication-Results fields with a trusted id, the topmost first, each with the place of its id among those.
    pub(super) results: Vec<(usize, String)>,
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
        /// What of `share` it has: what it may grow to before it takes more.
        taken: usize,
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
            Some((share, limit)) => Text::Kept { octets: Vec::new(), taken: 0, share, limit },
            None => Text::Unwanted,
        };
        Mail { mail_from, recipients: Vec::new(), results: Vec::new(), naming: Vec::new(), text, size: 0, body_begun: false }
    }

    /// A recipient. Of too many, one that is nobody stands for the rest: that all are exempt must not be said of those that were not looked at.
    pub(super) fn recipient(&mut self, recipient: String) {
        let octets: usize = self.recipients.iter().map(String::len).sum();
        if self.recipients.len() < RECIPIENTS_MAX && octets + recipient.len() <= RECIPIENTS_OCTETS {
            self.recipients.push(recipient);
        } else if self.recipients.last().is_none_or(|last| last != MORE_RECIPIENTS) {
            self.recipients.push(MORE_RECIPIENTS.to_owned());
        }
    }

    /// A header field. Of Authentication-Results those with one of `ids` are kept: the client may have written any number of others.
    pub(super) fn field(&mut self, agreement: &Agreement, ids: &[String], name: &[u8], value: &[u8]) {
        let mut field = Vec::with_capacity(name.len() + value.len() + 8);
        agreement.write_field(name, value, &mut field);
        let is = |known: &str| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes());
        if !ids.is_empty() && is("Authentication-Results") {
            self.result(ids, super::text(&field[name.len() + 1..]));
        }
        if ["Message-ID", "Date", "From"].into_iter().any(is) && self.naming.len() + field.len() <= NAMING_MAX {
            self.naming.extend_from_slice(&field);
        }
        self.add(&field);
    }

    fn result(&mut self, ids: &[String], field: String) {
        let Some(found) = authserv_id(&field) else { return };
        for place in ids.iter().enumerate().filter(|(_, id)| id.eq_ignore_ascii_case(&found)).map(|(place, _)| place) {
            if self.results.iter().filter(|(kept, _)| *kept == place).count() < RESULTS_OF_AN_ID {
                // One that is too long to be read is one all the same.
                self.results.push((place, if field.len() <= MAX_OCTETS { field.clone() } else { String::new() }));
            }
        }
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
        let Text::Kept { octets, taken, share, limit } = &mut self.text else { return };
        let length = octets.len() + more.len();
        if length > *taken {
            // Half as much again, so that a long text is not copied for each part of it. What it may grow to is what it is charged for.
            let wanted = (*taken + (*taken / 2).max(STEP)).max(length).min(*limit);
            if length > *limit || !share.take(wanted - *taken) {
                share.give_back(*taken);
                self.text = Text::TooLarge;
                return;
            }
            *taken = wanted;
            octets.reserve_exact(wanted - octets.len());
        }
        octets.extend_from_slice(more);
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
        if let Text::Kept { taken, share, .. } = &self.text {
            share.give_back(*taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use smtp_fallback_milter_codec::{Actions, Offer, Protocol, Wishes};

    use super::*;

    /// That values come with the space that follows the colon, or without it.
    fn agreement(leading_space: bool) -> Agreement {
        let protocol = if leading_space { Protocol::LEADING_SPACE } else { Protocol::NONE };
        Agreement::new(Offer { version: 6, actions: Actions::NONE, protocol }, &Wishes::POLICY).expect("version 6")
    }

    fn mail(keep: Option<(Share, usize)>) -> Mail {
        Mail::new("smith@none.example".to_owned(), keep)
    }

    fn kept(limit: usize) -> Mail {
        mail(Some((Share::unlimited(), limit)))
    }

    /// A field of a message whose MTA gives values as they are.
    fn field(mail: &mut Mail, ids: &[String], name: &str, value: &str) {
        mail.field(&agreement(true), ids, name.as_bytes(), value.as_bytes());
    }

    #[test]
    fn the_text_is_that_of_the_message_to_the_octet() {
        let mut mail = kept(1000);
        for (name, value) in [("From", "smith@none.example"), ("Subject", "  folded\n\tonce\n  and twice  "), ("X-Empty", "")] {
            field(&mut mail, &[], name, value);
        }
        mail.body(b"\r");
        mail.body(b"\n.dot\r\n");
        mail.body(b"");
        let text = &b"From:smith@none.example\r\nSubject:  folded\r\n\tonce\r\n  and twice  \r\nX-Empty:\r\n\r\n\r\n.dot\r\n"[..];
        assert_eq!(mail.text(), Some(text));
        assert_eq!((mail.size(), mail.message().size), (text.len() as u64, text.len() as u32));
    }

    #[test]
    fn a_space_that_was_taken_away_is_put_back() {
        let mut mail = kept(1000);
        mail.field(&agreement(false), &[], b"Subject", b"a\n\tb");
        mail.body(b"");
        assert_eq!(mail.text(), Some(&b"Subject: a\r\n\tb\r\n\r\n"[..]));
    }

    #[test]
    fn what_nobody_needs_or_is_too_large_is_counted_and_not_kept() {
        for (keep, kept) in [(None, false), (Some((Share::unlimited(), 21)), false), (Some((Share::unlimited(), 22)), true)] {
            let mut mail = mail(keep);
            field(&mut mail, &[], "Subject", " x");
            mail.body(b"12345678");
            assert_eq!((mail.text().is_some(), mail.size()), (kept, 22), "{mail:?}");
        }
    }

    #[test]
    fn however_large_its_fields_are_little_of_them_is_kept_beside_the_text() {
        let mut mail = mail(None);
        let long = "x".repeat(NAMING_MAX);
        field(&mut mail, &[], "Message-ID", &format!(" <{long}@client.example>"));
        field(&mut mail, &[], "From", " smith@none.example");
        for _ in 0..10 {
            field(&mut mail, &[], "Date", &format!(" {}", &long[..NAMING_MAX / 2]));
        }
        assert!(mail.naming.starts_with(b"From: smith@none.example\r\nDate: x") && mail.naming.len() <= NAMING_MAX);
    }

    #[test]
    fn recipients_beyond_the_limit_are_one_who_is_nobody() {
        let kept = |count: usize, recipient: &str| {
            let mut mail = mail(None);
            (0..count).for_each(|_| mail.recipient(recipient.to_owned()));
            mail.envelope().recipients
        };
        assert_eq!(kept(RECIPIENTS_MAX, "postmaster"), vec!["postmaster"; RECIPIENTS_MAX]);
        let more = kept(RECIPIENTS_MAX + 5, "postmaster");
        assert_eq!((more.len(), more[RECIPIENTS_MAX].as_str()), (RECIPIENTS_MAX + 1, MORE_RECIPIENTS));
        let long = kept(5, &"x".repeat(RECIPIENTS_OCTETS / 2));
        assert_eq!((long.len(), long[2].as_str()), (3, MORE_RECIPIENTS));
    }

    #[test]
    fn memory_is_charged_for_what_the_text_may_grow_to() {
        let memory = smtp_fallback_daemon::memory::Memory::new(100_000, 100_000);
        let share = memory.share(smtp_fallback_policy::network::Network::parse("2001:db8::/64").expect("a network"));
        let left =
            |share: &Share| (0..100_000).rev().find(|octets| share.take(*octets)).inspect(|octets| share.give_back(*octets));
        let mut kept = mail(Some((share.clone(), 60_000)));
        kept.body(b"x");
        assert_eq!(left(&share), Some(100_000 - STEP));
        let Text::Kept { octets, taken, .. } = &kept.text else { panic!("{kept:?}") };
        assert_eq!((octets.capacity(), *taken), (STEP, STEP));
        kept.body(&b"x".repeat(59_000));
        assert!(kept.text().is_some() && left(&share) < Some(41_000));
        kept.body(&b"x".repeat(2_000));
        assert!(kept.text().is_none());
        assert_eq!(left(&share), Some(99_999));
    }

    #[test]
    fn of_fields_with_results_two_of_each_trusted_id_are_kept() {
        let ids = ["mx.demo.example".to_owned(), "spf.demo.example".to_owned()];
        let mut mail = mail(None);
        for _ in 0..3 {
            field(&mut mail, &ids, "Authentication-Results", " elsewhere.example; spf=pass");
            field(&mut mail, &ids, "authentication-RESULTS", " MX.Demo.example; none");
            field(&mut mail, &ids, "X-Authentication-Results", " mx.demo.example; none");
        }
        field(&mut mail, &ids, "Authentication-Results", "\n spf.demo.example 1;\n none");
        let places: Vec<usize> = mail.results.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [0, 0, 1], "{mail:?}");
        assert_eq!(mail.results[0].1, " MX.Demo.example; none\r\n");
        // Nobody asks for them where messages are verified here.
        let mut mail = kept(1000);
        field(&mut mail, &[], "Authentication-Results", " mx.demo.example; none");
        assert!(mail.results.is_empty());
    }
}
