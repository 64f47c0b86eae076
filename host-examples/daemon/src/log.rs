//! Logs, by tracing, to standard error. Texts that a client chose are always written quoted and escaped.
//!
//! The README lists the fields of each event.

use std::io::IsTerminal;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use smtp_fallback_policy::contract::{AuthResult, AuthResults, Connection, Decision, Key, KeyKind, Reply, Verdict};
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
use crate::policy::Question;

/// Starts logging. `filter` was checked when the configuration was read.
pub fn start(filter: &str, format: LogFormat) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_target(false)
        // A line that cannot be written is lost. To say so on standard error as well would panic, and end the session.
        .log_internal_errors(false);
    let started = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    if let Err(error) = started {
        eprintln!("logging cannot be started: {error}");
    }
}

/// One line for a decision: at `info` when it means something, at `debug` when it only says "go on". `id` is that of the message, at the
/// end of data; `mail` is the key by which the mail is recognised when it comes back, as `smtp-fallback cache get` takes it.
pub fn decision(client: IpAddr, id: Option<&str>, question: &Question, mail: Option<&Key>, decision: &Decision) {
    let Question { connection, envelope, message, results } = question;
    let (verdict, reply) = words(&decision.verdict);
    let would = decision.would.as_ref().map(|would| match words(would) {
        (verdict, Some(reply)) => format!("{verdict} {}", reply.code),
        (verdict, None) => verdict.to_owned(),
    });
    let stage = stage(connection);
    let mail_from = envelope.as_ref().map(|envelope| envelope.mail_from.as_str());
    let notes = (!decision.notes.is_empty()).then(|| joined(decision.notes.iter().map(|note| note.as_str())));
    let domains = (!decision.authenticated_domains.is_empty()).then(|| joined(decision.authenticated_domains.iter()));
    let results = results.as_ref().map(evidence);
    let size = message.as_ref().map(|message| message.size);
    let mail = mail.map(|key| {
        let kind = if key.kind == KeyKind::Exact { "exact" } else { "inferred" };
        format!("{kind}:{:032x}", key.address.bits())
    });
    let linked = decision.linked.map(|link| link.seconds);
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                event = "decision",
                stage,
                %client,
                id,
                mail,
                size,
                ehlo = connection.ehlo_name.as_deref(),
                mail_from,
                verdict,
                reason = decision.reason.as_str(),
                code = reply.map(|reply| reply.code),
                enhanced = reply.map(|reply| reply.enhanced_code.as_str()),
                would,
                results,
                domains,
                linked,
                notes,
                acknowledged = connection.acknowledged,
            )
        };
    }
    let goes_on =
        [Some(&decision.verdict), decision.would.as_ref()].into_iter().flatten().all(|verdict| *verdict == Verdict::Continue);
    if goes_on && notes.is_none() { line!(debug) } else { line!(info) }
}

/// Warns, once a minute at most, that results were temporary errors: where that is the name servers' doing, the policy does little.
#[derive(Debug, Default)]
pub struct TemporaryErrors {
    since_warning: AtomicU64,
    /// When the next warning may be, in seconds since 1970.
    next: AtomicU64,
}

impl TemporaryErrors {
    /// To be told of each message's results; `now` in seconds since 1970.
    pub fn saw(&self, results: &AuthResults, now: u64) {
        if let Some(messages) = self.due(results, now) {
            tracing::warn!(
                event = "temporary-errors",
                messages,
                "verification had temporary errors since the last warning; if they are many, look at the name servers"
            );
        }
    }

    /// How many messages there are to warn of.
    fn due(&self, results: &AuthResults, now: u64) -> Option<u64> {
        let AuthResults { spf_mail_from, spf_helo, dkim, dmarc, arc, iprev: _ } = results;
        let spf = [spf_mail_from, spf_helo].into_iter().flatten().map(|spf| spf.result);
        let dkim = dkim.iter().flatten().map(|dkim| dkim.result);
        let others = [dmarc.as_ref().map(|dmarc| dmarc.result), arc.as_ref().map(|arc| arc.result)].into_iter().flatten();
        if !spf.chain(dkim).chain(others).any(|result| result == AuthResult::Temperror) {
            return None;
        }
        self.since_warning.fetch_add(1, Ordering::Relaxed);
        let next = self.next.load(Ordering::Relaxed);
        // Of several sessions at once, one warns.
        let mine = now >= next && self.next.compare_exchange(next, now + 60, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        mine.then(|| self.since_warning.swap(0, Ordering::Relaxed))
    }
}

fn words(verdict: &Verdict) -> (&'static str, Option<&Reply>) {
    match verdict {
        Verdict::Continue => ("continue", None),
        Verdict::Accept => ("accept", None),
        Verdict::Refuse(reply) => ("refuse", Some(reply)),
    }
}

fn stage(connection: &Connection) -> &'static str {
    use smtp_fallback_policy::contract::Stage::*;
    match connection.stage {
        Greeting => "greeting",
        Ehlo => "ehlo",
        Mail => "mail",
        Rcpt => "rcpt",
        Data => "data",
        EndOfData => "end-of-data",
    }
}

fn evidence(results: &AuthResults) -> String {
    let AuthResults { spf_mail_from, spf_helo, dkim, dmarc, arc, iprev } = results;
    let word = |method: &str, result: AuthResult, detail: &str| match detail {
        "" => format!("{method}={}", result.as_str()),
        detail => format!("{method}={} ({detail})", result.as_str()),
    };
    let mut words = Vec::new();
    words.extend(spf_mail_from.iter().map(|spf| word("spf", spf.result, &spf.domain)));
    words.extend(spf_helo.iter().map(|spf| word("spf-helo", spf.result, &spf.domain)));
    match dkim.as_deref() {
        Some([]) => words.push("dkim=none".to_owned()),
        Some(signatures) => words.extend(signatures.iter().map(|dkim| word("dkim", dkim.result, &dkim.domain))),
        None => {}
    }
    words.extend(dmarc.iter().map(|dmarc| word("dmarc", dmarc.result, &dmarc.domain)));
    words.extend(arc.iter().map(|arc| word("arc", arc.result, &arc.sealers.join(" "))));
    words.extend(iprev.iter().map(|iprev| word("iprev", iprev.result, iprev.name.as_deref().unwrap_or_default())));
    words.join(", ")
}

fn joined<S: AsRef<str>>(words: impl Iterator<Item = S>) -> String {
    words.map(|word| word.as_ref().to_owned()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use smtp_fallback_policy::contract::Spf;

    use super::*;

    #[test]
    fn warns_of_temporary_errors_once_a_minute() {
        let results =
            |result| AuthResults { spf_helo: Some(Spf { result, domain: "a.example".to_owned() }), ..AuthResults::default() };
        let errors = TemporaryErrors::default();
        assert_eq!(errors.due(&results(AuthResult::Fail), 1000), None);
        assert_eq!(errors.due(&results(AuthResult::Temperror), 1000), Some(1));
        assert_eq!(errors.due(&results(AuthResult::Temperror), 1059), None);
        assert_eq!(errors.due(&results(AuthResult::Temperror), 1060), Some(2));
    }
}
