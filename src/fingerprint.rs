//! Which mail is it? (A33) The fingerprint of a mail is the same over IPv6 and over IPv4, and at each retry.

use std::borrow::Cow;

use crate::address::Address;
use crate::contract::{Connection, Envelope, Key, KeyKind, Message};
use crate::hash::{HashKey, Texts};

/// The keys under which a mail's refusal is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprints {
    /// Of sender, Message-ID and Date. Recipients are no part of it: a server may send a mail to some of them over IPv6 and to others over
    /// IPv4. Absent for mail without Message-ID, and before the message is there.
    pub(crate) exact: Option<Key>,
    /// Of sender and EHLO name. Absent for the null sender: bounces of many mails would be one.
    pub(crate) inferred: Option<Key>,
}

/// The kinds of fingerprints, for the hash.
const EXACT: u8 = 1;
const INFERRED: u8 = 2;

impl Fingerprints {
    /// Those of the mail that is being sent; none where the host gave no secret.
    pub(crate) fn of(key: HashKey, connection: &Connection, envelope: Option<&Envelope>, message: Option<&Message>) -> Self {
        let Some(envelope) = envelope.filter(|_| key.is_secret()) else { return Fingerprints::default() };
        let message_id = message.and_then(|message| message.message_id.as_deref()).map(bare).unwrap_or_default();
        let date = message.and_then(|message| message.date.as_deref()).unwrap_or_default().trim();
        let ehlo_name = connection.ehlo_name.as_deref();
        let octets = envelope.mail_from.len() + (message_id.len() + date.len()).max(ehlo_name.map_or(0, str::len));
        let mut texts = Texts::with_capacity(octets + 1);
        let sender = texts.push(&|out| add_sender(&envelope.mail_from, out));
        let exact = (!message_id.is_empty()).then(|| {
            texts.push(&|out| out.extend_from_slice(message_id.as_bytes()));
            texts.push(&|out| out.extend_from_slice(date.as_bytes()));
            mail_key(KeyKind::Exact, key.fingerprint(EXACT, &mut texts))
        });
        let inferred = ehlo_name.filter(|_| sender > 0).map(|name| {
            texts.keep_first(sender);
            texts.push(&|out| out.extend(name.bytes().map(|octet| octet.to_ascii_lowercase())));
            mail_key(KeyKind::Inferred, key.fingerprint(INFERRED, &mut texts))
        });
        Fingerprints { exact, inferred }
    }

    /// Both, as far as they exist.
    pub(crate) fn keys(self) -> impl Iterator<Item = Key> {
        self.exact.into_iter().chain(self.inferred)
    }
}

/// The first 32 bits of a fingerprint, by which a network's record knows its mails; never 0.
pub(crate) fn tag(key: Key) -> u32 {
    key.address.words()[0] | 1
}

fn mail_key(kind: KeyKind, hash: u128) -> Key {
    Key { kind, address: Address::from_bits(hash), prefix_length: 128 }
}

/// A Message-ID without its angle brackets.
fn bare(message_id: &str) -> &str {
    let text = message_id.trim();
    text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text)
}

/// Adds the sender, in lower case, without what changes from mail to mail or from hop to hop: tags of BATV, wraps of SRS, the recipients of
/// VERP, numbers.
fn add_sender(mail_from: &str, out: &mut Vec<u8>) {
    let mut lower = Cow::Borrowed(mail_from);
    if mail_from.bytes().any(|octet| octet.is_ascii_uppercase()) {
        lower.to_mut().make_ascii_lowercase();
    }
    let (mut local, mut domain) = lower.rsplit_once('@').unwrap_or((&lower, ""));
    // Of most senders there is nothing to take away: all forms have one of these signs.
    if local.bytes().any(|octet| matches!(octet, b'=' | b'+')) {
        local = without_batv(local);
        if let Some((original, at)) = without_srs(local) {
            (local, domain) = (without_batv(original), at);
        }
        local = without_verp(local);
    }
    let before = out.len();
    let mut after_digit = false;
    for octet in local.bytes() {
        let is_digit = octet.is_ascii_digit();
        // A number, however long, is one sign: mailing lists and shops count their bounce addresses.
        if !is_digit {
            out.push(octet);
        } else if !after_digit {
            out.push(b'#');
        }
        after_digit = is_digit;
    }
    if out.len() > before || !domain.is_empty() {
        out.push(b'@');
        out.extend_from_slice(domain.as_bytes());
    }
}

/// `prvs=tag=local` (draft-levine-smtp-batv), and what SparkPost and Barracuda write.
fn without_batv(local: &str) -> &str {
    let tagged = ["prvs=", "msprvs1=", "btv1=="].into_iter().find_map(|word| local.strip_prefix(word));
    tagged.and_then(|rest| rest.split_once('=')).map_or(local, |(_, rest)| rest.trim_start_matches('='))
}

/// `SRS0=hash=time=domain=local` and `SRS1=hash=forwarder==hash=time=domain=local`: local part and domain of the sender before.
fn without_srs(local: &str) -> Option<(&str, &str)> {
    let rest = match local.strip_prefix("srs0") {
        Some(rest) => rest.strip_prefix(['=', '+', '-'])?,
        None => {
            let rest = local.strip_prefix("srs1")?.strip_prefix(['=', '+', '-'])?;
            let after =
                |mark: &[u8; 2]| rest.as_bytes().windows(2).position(|pair| pair == mark).and_then(|at| rest.get(at + 2..));
            [b"==", b"=+", b"=-"].into_iter().find_map(after)?
        }
    };
    let mut parts = rest.splitn(4, '=');
    let (_hash, _time) = (parts.next()?, parts.next()?);
    let domain = parts.next()?;
    Some((parts.next()?, domain))
}

/// `list-bounces+user=example.com` and `list-bounces-user=example.com` without the recipient, `user+tag` without the tag.
fn without_verp(local: &str) -> &str {
    let cut = match local.find('+').filter(|&at| at > 0) {
        Some(at) => Some(at),
        None => local.split_once('=').and_then(|(before, _)| before.rfind('-')).filter(|&at| at > 0),
    };
    cut.and_then(|at| local.get(..at)).unwrap_or(local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_from_mail_to_mail_is_left_out() {
        for (mail_from, expected) in [
            ("alice@example.net", "alice@example.net"),
            ("Alice@EXAMPLE.net", "alice@example.net"),
            ("prvs=2345abcdef=alice@example.net", "alice@example.net"),
            ("msprvs1=19876abc=bounces-77@example.net", "bounces-#@example.net"),
            ("btv1==012abc==alice@example.net", "alice@example.net"),
            ("SRS0=HHH=TT=example.net=alice@forward.example", "alice@example.net"),
            ("srs0+HHH=TT=example.net=alice@forward.example", "alice@example.net"),
            ("SRS0=HHH=TT=example.net=a=b@forward.example", "a=b@example.net"),
            ("SRS1=GGG=first.example==HHH=TT=example.net=alice@second.example", "alice@example.net"),
            ("SRS0=HHH=TT=example.net=prvs=0123=alice@forward.example", "alice@example.net"),
            ("list-bounces+bob=example.org@lists.example", "list-bounces@lists.example"),
            ("list-bounces-bob=example.org@lists.example", "list-bounces@lists.example"),
            ("bounce-123456-7@shop.example", "bounce-#-#@shop.example"),
            ("+tag@example.net", "+tag@example.net"),
            ("=x@example.net", "=x@example.net"),
            ("-bob=example.org@lists.example", "-bob=example.org@lists.example"),
            ("postmaster", "postmaster@"),
            ("\"a@b\"@example.net", "\"a@b\"@example.net"),
            ("", ""),
        ] {
            let mut sender = Vec::new();
            add_sender(mail_from, &mut sender);
            assert_eq!(String::from_utf8_lossy(&sender), expected, "{mail_from}");
        }
    }

    #[test]
    fn what_only_looks_like_a_wrap_stays() {
        for mail_from in ["prvs=abc@example.net", "srs0@example.net", "srs0=a=b@example.net", "srs1=a=b=c=d=e@example.net"] {
            let (local, domain) = mail_from.rsplit_once('@').expect("an address");
            assert_eq!((without_batv(local), without_srs(local)), (local, None), "{domain}");
        }
    }

    #[test]
    fn angle_brackets_of_a_message_id_do_not_matter() {
        assert_eq!(bare(" <1@example.net> "), "1@example.net");
        assert_eq!(bare("1@example.net"), "1@example.net");
        assert_eq!(bare("<1@example.net"), "<1@example.net");
        assert_eq!(bare("<>"), "");
    }

    #[test]
    fn a_tag_is_odd_whatever_the_fingerprint() {
        let tag = |word: u32| tag(mail_key(KeyKind::Exact, u128::from(word) << 96));
        assert_eq!([tag(0), tag(1), tag(2)], [1, 1, 3]);
    }
}
