#![allow(clippy::unwrap_used)] // A test may panic.

use super::*;

fn connection(stage: Stage) -> Connection {
    Connection { listener_offers: true, ..Connection::new(stage, "2001:db8::1".parse().unwrap()) }
}

fn reply(code: u16) -> Reply {
    let class = code / 100;
    Reply { code, enhanced_code: format!("{class}.4.8"), lines: vec!["Try IPv4".to_owned()], close: code != 456 }
}

/// At the end of data, from an IPv6 client that did not issue the verb.
fn check(reply: &Reply) -> Result<(), ReplyError> {
    check_reply(reply, Reason::Unauthenticated, &connection(Stage::EndOfData))
}

#[test]
fn codes() {
    assert_eq!(check(&reply(421)), Ok(()));
    assert_eq!(check(&reply(451)), Ok(()));
    for code in [0, 250, 354, 450, 452, 457, 550, 554, u16::MAX] {
        assert_eq!(check(&reply(code)), Err(ReplyError::Code { code, reason: Reason::Unauthenticated }));
    }
    let connection = connection(Stage::EndOfData);
    assert_eq!(check_reply(&reply(550), Reason::NeverFallsBack, &connection), Ok(()));
    let wrong = check_reply(&reply(554), Reason::NeverFallsBack, &connection);
    assert_eq!(wrong, Err(ReplyError::Code { code: 554, reason: Reason::NeverFallsBack }));
}

#[test]
fn only_a_client_that_issued_the_verb_gets_456() {
    assert_eq!(check(&reply(456)), Err(ReplyError::NotAcknowledged));
    let connection = Connection { acknowledged: true, ..connection(Stage::EndOfData) };
    assert_eq!(check_reply(&reply(456), Reason::Unauthenticated, &connection), Ok(()));
}

#[test]
fn no_client_over_ipv4_is_refused() {
    for client in ["192.0.2.1", "::ffff:192.0.2.1", "64:ff9b::c000:201"] {
        let connection = Connection { client: client.parse().unwrap(), ..connection(Stage::EndOfData) };
        assert_eq!(check_reply(&reply(451), Reason::Penalty, &connection), Err(ReplyError::Ipv4), "{client}");
    }
}

#[test]
fn codes_fit_the_stage() {
    let at = |stage, code| {
        let connection = Connection { acknowledged: true, ..connection(stage) };
        check_reply(&reply(code), Reason::NeverFallsBack, &connection)
    };
    for code in [421, 451] {
        assert_eq!(at(Stage::Greeting, code), Ok(()));
    }
    for code in [456, 550] {
        assert_eq!(at(Stage::Greeting, code), Err(ReplyError::Stage { code, stage: Stage::Greeting }));
    }
    assert_eq!(at(Stage::Ehlo, 421), Ok(()));
    for code in [451, 456, 550] {
        assert_eq!(at(Stage::Ehlo, code), Err(ReplyError::Stage { code, stage: Stage::Ehlo }));
    }
    for stage in [Stage::Mail, Stage::Rcpt, Stage::Data, Stage::EndOfData] {
        for code in [421, 451, 456, 550] {
            assert_eq!(at(stage, code), Ok(()), "{code} at {stage:?}");
        }
    }
}

#[test]
fn the_connection_closes_where_the_reply_says_so() {
    let open = |stage, code| {
        let reply = Reply { close: false, ..reply(code) };
        check_reply(&reply, Reason::Unauthenticated, &connection(stage))
    };
    assert_eq!(open(Stage::Greeting, 451), Err(ReplyError::NotClosing { code: 451, stage: Stage::Greeting }));
    for stage in [Stage::Greeting, Stage::Ehlo, Stage::Mail, Stage::EndOfData] {
        assert_eq!(open(stage, 421), Err(ReplyError::NotClosing { code: 421, stage }));
    }
    assert_eq!(open(Stage::EndOfData, 451), Ok(()));
    let acknowledged = Connection { acknowledged: true, ..connection(Stage::EndOfData) };
    let closing = Reply { close: true, ..reply(456) };
    assert_eq!(check_reply(&closing, Reason::Unauthenticated, &acknowledged), Err(ReplyError::Closing));
    assert_eq!(check_reply(&Reply { close: false, ..closing }, Reason::Unauthenticated, &acknowledged), Ok(()));
}

#[test]
fn enhanced_codes() {
    let with = |enhanced_code: &str| check(&Reply { enhanced_code: enhanced_code.to_owned(), ..reply(451) });
    for good in ["4.4.8", "4.7.26", "4.0.0", "4.999.999"] {
        assert_eq!(with(good), Ok(()), "{good}");
    }
    for bad in
        ["", "4", "4.4", "4.4.", "4..8", "4.4.8.1", "4.4.1000", "4.1000.1", "4.4.x", "4.4.8 ", "4.4.8\r\n", "4.4.+8", "44.4.8"]
    {
        assert!(matches!(with(bad), Err(ReplyError::EnhancedCode { code: 451, .. })), "{bad:?}");
    }
    for other_class in ["2.0.0", "5.4.8", "0.4.8"] {
        assert!(matches!(with(other_class), Err(ReplyError::EnhancedCode { .. })), "{other_class}");
    }
    let Err(ReplyError::EnhancedCode { enhanced_code, .. }) = with(&"9".repeat(1000)) else { panic!("an error is expected") };
    assert_eq!(enhanced_code.len(), 20);
}

#[test]
fn lines_are_printable_ascii() {
    let with = |line: &str| check(&Reply { lines: vec!["first".to_owned(), line.to_owned()], ..reply(451) });
    assert_eq!(with(" !~"), Ok(()));
    for bad in ["", "a\r\n250 ok", "a\n", "a\r", "a\0b", "tab\t", "\x7f", "caf\u{e9}", "\u{1f600}"] {
        assert_eq!(with(bad), Err(ReplyError::Line(2)), "{bad:?}");
    }
}

#[test]
fn lines_are_counted() {
    let with = |count| check(&Reply { lines: vec!["text".to_owned(); count], ..reply(451) });
    assert_eq!(with(0), Err(ReplyError::LineCount(0)));
    assert_eq!(with(1), Ok(()));
    assert_eq!(with(16), Ok(()));
    assert_eq!(with(17), Err(ReplyError::LineCount(17)));
}

#[test]
fn a_line_fits_512_octets_with_its_codes() {
    let with = |enhanced_code: &str, octets| {
        check(&Reply { enhanced_code: enhanced_code.to_owned(), lines: vec!["x".repeat(octets)], ..reply(451) })
    };
    // "451 4.4.8 " and CRLF are 12 octets.
    assert_eq!(with("4.4.8", 500), Ok(()));
    assert_eq!(with("4.4.8", 501), Err(ReplyError::LineLength(1)));
    assert_eq!(with("4.999.999", 496), Ok(()));
    assert_eq!(with("4.999.999", 497), Err(ReplyError::LineLength(1)));
}

#[test]
fn errors_say_what_was_expected() {
    let said = |code, enhanced_code: &str| {
        check(&Reply { enhanced_code: enhanced_code.to_owned(), ..reply(code) }).unwrap_err().to_string()
    };
    assert_eq!(said(451, "5.4.8"), "enhanced code \"5.4.8\"; expected a form such as 4.4.8");
    assert_eq!(
        said(554, "5.4.8"),
        "code 554 for the reason unauthenticated; expected 451, 421 or 456, or 550 for never-falls-back"
    );
}
