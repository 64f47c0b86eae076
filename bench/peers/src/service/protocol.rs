//! Requests and answers as text: `name=value` in lines, ended by an empty one.

use std::fmt::{Display, Write};

use smtp_fallback_policy::contract::{
    Arc, AuthResult, AuthResults, Connection, Dkim, Dmarc, Envelope, Iprev, Message, Spf, Stage, Tls, Verdict,
};

use crate::Failed;
use crate::input::Arguments;
use crate::ruling::{listener, word};

/// The request of a client, with Postfix's names where it has them.
pub(crate) fn request(arguments: &Arguments) -> String {
    let Arguments { connection, envelope, message, auth_results } = arguments;
    let mut text = String::with_capacity(1024);
    let mut put = |name: &str, value: &dyn Display| {
        let start = text.len();
        // Writing to a text does not fail.
        let _ = write!(text, "{name}={value}");
        // What a client said is a part of it: as in Postfix, nothing ends a line but its end.
        if text.bytes().skip(start).any(|octet| octet.is_ascii_control()) {
            let line = text.split_off(start);
            text.extend(line.chars().map(|c| if c.is_ascii_control() { '?' } else { c }));
        }
        text.push('\n');
    };
    put("request", &"smtpd_access_policy");
    put("protocol_state", &state(connection.stage));
    put("client_address", &connection.client);
    if let Some(name) = &connection.ehlo_name {
        put("helo_name", name);
    }
    if connection.authenticated {
        put("sasl_method", &"plain");
    }
    match &connection.tls {
        Tls::None => {}
        Tls::Encrypted => put("encryption_protocol", &"TLSv1.3"),
        Tls::Verified(names) => {
            put("encryption_protocol", &"TLSv1.3");
            put("ccert_subject", &names.join(","));
        }
    }
    put("x_listener", &listener(connection.listener));
    for (name, flag) in flags(connection) {
        put(name, &u8::from(flag));
    }
    put("x_time", &connection.now);
    put("x_nonce", &connection.nonce);
    if let Some(Envelope { mail_from, recipients }) = envelope {
        put("sender", mail_from);
        recipients.iter().for_each(|recipient| put("recipient", recipient));
    }
    if let Some(Message { message_id, date, from_domain, size }) = message {
        put("size", size);
        for (name, value) in [("x_message_id", message_id), ("x_date", date), ("x_from_domain", from_domain)] {
            value.iter().for_each(|value| put(name, value));
        }
    }
    if let Some(AuthResults { spf_mail_from, spf_helo, dkim, dmarc, arc, iprev }) = auth_results {
        put("x_results", &1);
        for (name, spf) in [("x_spf_mail_from", spf_mail_from), ("x_spf_helo", spf_helo)] {
            spf.iter().for_each(|spf| put(name, &format_args!("{} {}", spf.result.as_str(), spf.domain)));
        }
        if let Some(signatures) = dkim {
            put("x_dkim_signatures", &signatures.len());
            for Dkim { result, domain, selector, testing } in signatures {
                put("x_dkim", &format_args!("{} {} {domain} {selector}", result.as_str(), u8::from(*testing)));
            }
        }
        dmarc.iter().for_each(|dmarc| put("x_dmarc", &format_args!("{} {}", dmarc.result.as_str(), dmarc.domain)));
        arc.iter().for_each(|arc| put("x_arc", &format_args!("{} {}", arc.result.as_str(), arc.sealers.join(" "))));
        iprev.iter().for_each(|iprev| {
            put("x_iprev", &format_args!("{} {}", iprev.result.as_str(), iprev.name.as_deref().unwrap_or_default()));
        });
    }
    text.push('\n');
    text
}

fn flags(connection: &Connection) -> [(&'static str, bool); 5] {
    [
        ("x_listener_offers", connection.listener_offers),
        ("x_keyword_shown", connection.keyword_shown),
        ("x_acknowledged", connection.acknowledged),
        ("x_reachable_over_ipv4", connection.reachable_over_ipv4),
        ("x_ipv4_arrivals_visible", connection.ipv4_arrivals_visible),
    ]
}

/// Postfix's word for a stage.
fn state(stage: Stage) -> &'static str {
    match stage {
        Stage::Greeting => "CONNECT",
        Stage::Ehlo => "EHLO",
        Stage::Mail => "MAIL",
        Stage::Rcpt => "RCPT",
        Stage::Data => "DATA",
        Stage::EndOfData => "END-OF-MESSAGE",
    }
}

/// The action that the service answers with: nothing to object, or a reply's first line.
pub(crate) fn action(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Continue | Verdict::Accept => "DUNNO".to_owned(),
        Verdict::Refuse(reply) => {
            format!("{} {} {}", reply.code, reply.enhanced_code, reply.lines.first().map_or("", String::as_str))
        }
    }
}

/// The request, as the service reads it.
pub(crate) fn read(request: &str) -> Result<Arguments, Failed> {
    let mut connection = Connection::new(Stage::Greeting, smtp_fallback_policy::address::Address::from_bits(0));
    let (mut envelope, mut message, mut results): (Option<Envelope>, Option<Message>, Option<AuthResults>) = (None, None, None);
    for line in request.lines().filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once('=').ok_or_else(|| format!("found {line:?}, expected name=value"))?;
        let text = || value.to_owned();
        match name {
            "protocol_state" => connection.stage = stage(value)?,
            "client_address" => connection.client = value.parse()?,
            "helo_name" => connection.ehlo_name = Some(text()),
            "sasl_method" => connection.authenticated = true,
            "encryption_protocol" => connection.tls = Tls::Encrypted,
            "ccert_subject" => connection.tls = Tls::Verified(value.split(',').map(str::to_owned).collect()),
            "x_listener" => connection.listener = word(value)?,
            "x_listener_offers" => connection.listener_offers = value == "1",
            "x_keyword_shown" => connection.keyword_shown = value == "1",
            "x_acknowledged" => connection.acknowledged = value == "1",
            "x_reachable_over_ipv4" => connection.reachable_over_ipv4 = value == "1",
            "x_ipv4_arrivals_visible" => connection.ipv4_arrivals_visible = value == "1",
            "x_time" => connection.now = value.parse()?,
            "x_nonce" => connection.nonce = value.parse()?,
            "sender" => envelope = Some(Envelope { mail_from: text(), recipients: Vec::new() }),
            "recipient" => envelope.as_mut().ok_or("a recipient has a sender")?.recipients.push(text()),
            "size" => {
                message = Some(Message { message_id: None, date: None, from_domain: None, size: value.parse()? });
            }
            "x_message_id" => message.as_mut().ok_or("a message has a size")?.message_id = Some(text()),
            "x_date" => message.as_mut().ok_or("a message has a size")?.date = Some(text()),
            "x_from_domain" => message.as_mut().ok_or("a message has a size")?.from_domain = Some(text()),
            "x_results" => results = Some(AuthResults::default()),
            _ if name.starts_with("x_") => read_result(results.as_mut().ok_or("a result is one of results")?, name, value)?,
            // Postfix has many more.
            _ => {}
        }
    }
    Ok(Arguments { connection, envelope, message, auth_results: results })
}

fn read_result(results: &mut AuthResults, name: &str, value: &str) -> Result<(), Failed> {
    if name == "x_dkim_signatures" {
        results.dkim = Some(Vec::with_capacity(value.parse()?));
        return Ok(());
    }
    let (result, rest) =
        value.split_once(' ').ok_or_else(|| format!("found {value:?}, expected a result and what it is about"))?;
    let (result, domain): (AuthResult, String) = (word(result)?, rest.to_owned());
    match name {
        "x_spf_mail_from" => results.spf_mail_from = Some(Spf { result, domain }),
        "x_spf_helo" => results.spf_helo = Some(Spf { result, domain }),
        "x_dkim" => {
            let mut words = rest.splitn(3, ' ').map(str::to_owned);
            let mut next = || words.next().ok_or("a signature has its testing flag, domain and selector");
            let (testing, domain, selector) = (next()? == "1", next()?, next()?);
            results.dkim.get_or_insert_default().push(Dkim { result, domain, selector, testing });
        }
        "x_dmarc" => results.dmarc = Some(Dmarc { result, domain }),
        "x_arc" => {
            let sealers = domain.split(' ').filter(|sealer| !sealer.is_empty()).map(str::to_owned).collect();
            results.arc = Some(Arc { result, sealers });
        }
        "x_iprev" => results.iprev = Some(Iprev { result, name: Some(domain).filter(|name| !name.is_empty()) }),
        _ => {}
    }
    Ok(())
}

fn stage(state: &str) -> Result<Stage, Failed> {
    let all = [Stage::Greeting, Stage::Ehlo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::EndOfData];
    all.into_iter().find(|&stage| self::state(stage) == state).ok_or_else(|| format!("found state {state:?}").into())
}
