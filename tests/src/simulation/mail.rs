//! A mail, and what the receiver's checks say of it.

use smtp_fallback_policy::contract::{AuthResult, AuthResults, Dkim, Envelope, Message, Spf};

use super::random::Random;

/// A mail on its way.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) envelope: Envelope,
    pub(super) message: Message,
    /// The domain of the client's EHLO name: the identity that SPF checks for a bounce.
    pub(super) helo_domain: String,
    spf: Passes,
    dkim: Passes,
}

/// When an authentication method passes. What fails is as good as not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passes {
    Always,
    Never,
    /// From this time on.
    Since(u64),
}

/// How a sender's mail is made.
#[derive(Clone, Copy, Debug)]
pub enum Writing {
    /// Authenticated, but for so many per cent of it.
    Sound {
        /// 0 to 100.
        failing_percent: u8,
    },
    /// Its domain's SPF record does not name its server, and it does not sign. One mail in ten is a bounce.
    BrokenSpf,
    /// The same, until the SPF record is right.
    FixedAt(
        /// Seconds since 1970.
        u64,
    ),
    /// Mail of others, sent on: SPF fails. The signatures of so many per cent of it survive.
    Forwarded {
        /// The envelope's sender is rewritten, to a domain without SPF.
        srs: bool,
        /// 0 to 100.
        signed_percent: u8,
    },
    /// A forged sender for each mail.
    Forged,
    /// Every mail has the same forged sender, Message-ID and Date: each looks like a retry of the one before.
    Template,
}

impl Writing {
    /// The mail that is written at `now`. `domain` is the sender's own, `number` is unique among its mails.
    pub(super) fn mail(self, domain: &str, helo_domain: &str, number: u32, now: u64, random: &mut Random) -> Mail {
        let user = random.below(5);
        let stranger = format!("site{}.example", random.below(1000));
        let own = || format!("user{user}@{domain}");
        let word = |random: &mut Random| (0..6).map(|_| char::from(b'a' + random.below(26) as u8)).collect::<String>();
        let (mail_from, spf, dkim) = match self {
            Writing::Sound { failing_percent } => {
                let passes = if random.percent(failing_percent.into()) { Passes::Never } else { Passes::Always };
                // A quarter of the sound mail has one of the two only.
                let (spf, dkim) = match random.below(8) {
                    0 => (passes, Passes::Never),
                    1 => (Passes::Never, passes),
                    _ => (passes, passes),
                };
                (format!("bounce-{number}@{domain}"), spf, dkim)
            }
            Writing::BrokenSpf if random.percent(10) => (String::new(), Passes::Never, Passes::Never),
            Writing::BrokenSpf => (own(), Passes::Never, Passes::Never),
            Writing::FixedAt(time) => (own(), Passes::Since(time), Passes::Never),
            Writing::Forwarded { srs, signed_percent } => {
                let dkim = if random.percent(signed_percent.into()) { Passes::Always } else { Passes::Never };
                let mail_from = if srs {
                    format!("SRS0={}={}={stranger}=user{user}@{domain}", word(random), now / 86_400 % 1024)
                } else {
                    format!("user{user}@{stranger}")
                };
                (mail_from, Passes::Never, dkim)
            }
            Writing::Forged => (format!("{}@{stranger}", word(random)), Passes::Never, Passes::Never),
            Writing::Template => ("winner@lottery.example".into(), Passes::Never, Passes::Never),
        };
        let is_template = matches!(self, Writing::Template);
        let (id, written) = if is_template { (0, 0) } else { (number, now) };
        let from_domain = mail_from.rsplit_once('@').map_or(domain, |(_, at)| at).to_owned();
        Mail {
            envelope: Envelope { mail_from, recipients: vec!["bob@receiver.example".into()] },
            message: Message {
                message_id: Some(format!("<{id}.{written}@{domain}>")),
                date: Some(format!("written at {written}")),
                from_domain: Some(from_domain),
                // From 2 to 120 kB: the lesser number of three is mostly small.
                size: (0..3).map(|_| 2_000 + random.below(118_000) as u32).min().unwrap_or(2_000),
            },
            helo_domain: helo_domain.to_owned(),
            spf,
            dkim,
        }
    }
}

impl Mail {
    /// What the checks find at `now`.
    pub(super) fn auth_results(&self, now: u64) -> AuthResults {
        let domain = self.envelope.mail_from.rsplit_once('@').map_or("", |(_, domain)| domain);
        let spf = |domain: &str| Some(Spf { result: self.spf.result(now), domain: domain.to_owned() });
        let signature = Dkim { result: AuthResult::Pass, domain: domain.to_owned(), selector: "s1".into(), testing: false };
        AuthResults {
            spf_mail_from: if domain.is_empty() { None } else { spf(domain) },
            spf_helo: spf(&self.helo_domain),
            dkim: Some(if self.dkim.result(now) == AuthResult::Pass { vec![signature] } else { Vec::new() }),
            ..AuthResults::default()
        }
    }

    /// Whether the default policy's requirement is met at `now` (P10).
    pub(super) fn passes(&self, now: u64) -> bool {
        self.spf.result(now) == AuthResult::Pass || self.dkim.result(now) == AuthResult::Pass
    }
}

impl Passes {
    fn result(self, now: u64) -> AuthResult {
        match self {
            Passes::Always => AuthResult::Pass,
            Passes::Since(time) if now >= time => AuthResult::Pass,
            Passes::Never | Passes::Since(_) => AuthResult::Softfail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(writing: Writing, number: u32) -> Mail {
        writing.mail("sender.example", "mx0.sender.example", number, 100, &mut Random::new(number.into()))
    }

    #[test]
    fn a_mended_spf_record_passes_from_then_on() {
        let mail = mail(Writing::FixedAt(500), 1);
        assert!(!mail.passes(499) && mail.passes(500));
        let result = |now| mail.auth_results(now).spf_mail_from.map(|spf| spf.result);
        assert_eq!((result(499), result(500)), (Some(AuthResult::Softfail), Some(AuthResult::Pass)));
    }

    #[test]
    fn shares_are_as_stated() {
        let passing = |writing: Writing| (0..1000).filter(|&number| mail(writing, number).passes(0)).count();
        assert!((950..=990).contains(&passing(Writing::Sound { failing_percent: 3 })));
        assert!((550..=650).contains(&passing(Writing::Forwarded { srs: true, signed_percent: 60 })));
        assert_eq!(passing(Writing::BrokenSpf) + passing(Writing::Forged) + passing(Writing::Template), 0);
    }

    #[test]
    fn every_mail_is_another_but_those_of_a_template() {
        let same = |writing| mail(writing, 1).message.message_id == mail(writing, 2).message.message_id;
        assert!(same(Writing::Template) && !same(Writing::Forged) && !same(Writing::BrokenSpf));
    }
}
