use super::*;
use proptest::prelude::*;

fn parse(line: &str) -> Command {
    Command::parse(line.as_bytes()).unwrap_or_else(|reply| panic!("{line:?}: {reply:?}"))
}

fn refused(line: &str) -> (u16, String) {
    let reply = Command::parse(line.as_bytes()).expect_err(line);
    (reply.code, reply.enhanced.expect("has one").into_owned())
}

fn code(code: u16, enhanced: &str) -> (u16, String) {
    (code, enhanced.to_owned())
}

#[test]
fn reads_commands_in_any_case_and_with_trailing_space() {
    assert_eq!(parse("ehlo mx.example"), Command::Ehlo("mx.example".into()));
    assert_eq!(parse("HELO  [IPv6:::1]\t "), Command::Helo("[IPv6:::1]".into()));
    assert_eq!(parse("Data"), Command::Data);
    assert_eq!(parse("RSET "), Command::Rset);
    assert_eq!(parse("NOOP whatever"), Command::Noop);
    assert_eq!(parse("quit"), Command::Quit);
    assert_eq!(parse("HELP mail"), Command::Help);
    assert_eq!(parse("VRFY smith"), Command::Vrfy);
    assert_eq!(parse("starttls "), Command::Starttls);
}

#[test]
fn a8_reads_the_verb() {
    for verb in ["IPV6-IPV4-FALLBACK", "ipv6-ipv4-fallback", "Ipv6-iPv4-Fallback "] {
        assert_eq!(parse(verb), Command::Fallback { argument: false });
    }
    assert_eq!(parse("IPV6-IPV4-FALLBACK yes"), Command::Fallback { argument: true });
    assert_eq!(refused("IPV6-IPV4-FALLBACKS"), code(500, "5.5.1"));
}

#[test]
fn refuses_what_is_no_command() {
    assert_eq!(refused(""), code(500, "5.5.1"));
    assert_eq!(refused("BREW / HTTP/1.1"), code(500, "5.5.1"));
    assert_eq!(refused("GETTING / HTTP/1.1"), code(500, "5.5.1"));
    assert_eq!(refused("GET"), code(500, "5.5.1"));
    assert_eq!(refused("DATA now"), code(501, "5.5.4"));
    assert_eq!(refused("QUIT please"), code(501, "5.5.4"));
    assert_eq!(refused("AUTH PLAIN"), code(502, "5.5.1"));
    assert_eq!(refused("NOOP\x1b[2J"), code(500, "5.5.2"));
    for line in ["EHLO é", "é", "NOOP \u{85}", "MAIL FROM:<a\u{2028}@b>", "NOOP \u{7f}"] {
        assert_eq!(refused(line), code(500, "5.5.2"), "{line}");
    }
    assert_eq!(Command::parse(b"NOOP \xff").expect_err("is no UTF-8").code, 500);
    assert_eq!(refused("VRFY"), code(501, "5.5.4"));
    assert_eq!(refused("STARTTLS now"), code(501, "5.5.4"));
}

#[test]
fn reads_chunks() {
    assert_eq!(parse("BDAT 0"), Command::Bdat(Chunk { size: 0, last: false }));
    assert_eq!(parse("bdat  12 \tlast "), Command::Bdat(Chunk { size: 12, last: true }));
    let largest = Chunk { size: 9_999_999_999_999_999_999, last: false };
    assert_eq!(parse("BDAT 9999999999999999999"), Command::Bdat(largest));
}

#[test]
fn a_chunk_without_its_size_ends_the_session() {
    for line in [
        "BDAT",
        "BDAT x",
        "BDAT -1",
        "BDAT +1",
        "BDAT 1e3",
        "BDAT 0x10",
        "BDAT LAST",
        "BDAT 1 FIRST",
        "BDAT 1 LAST 2",
        "BDAT 1 2",
        "BDAT 18446744073709551616",
        "BDAT 99999999999999999999999999999999",
        "BDAT 1,000",
        "BDAT 1.0",
    ] {
        assert_eq!(refused(line), code(501, "5.5.4"), "{line}");
        assert!(Command::parse(line.as_bytes()).expect_err(line).close, "{line}");
    }
    for line in [&b"BDAT 1\x00"[..], b"bdat \xff", "BDAT ١".as_bytes()] {
        assert!(Command::parse(line).expect_err("is no command").close);
    }
}

#[test]
fn http_ends_the_session() {
    for line in ["GET / HTTP/1.1", "HEAD /", "POST /mail HTTP/1.1", "PUT /", "CONNECT mx.example:25 HTTP/1.1", "OPTIONS *"] {
        assert_eq!(refused(line), code(421, "4.7.0"), "{line}");
        assert!(Command::parse(line.as_bytes()).expect_err(line).close, "{line}");
    }
}

#[test]
fn a_client_must_name_itself_once() {
    for line in ["EHLO", "HELO ", "EHLO two names"] {
        assert_eq!(refused(line), code(501, "5.5.4"));
    }
    let longest = "x".repeat(255);
    assert_eq!(parse(&format!("EHLO {longest}")), Command::Ehlo(longest.clone()));
    assert_eq!(refused(&format!("EHLO {longest}x")), code(501, "5.5.4"));
}

#[test]
fn reads_mail() {
    let mail = |line: &str| match parse(line) {
        Command::Mail(Mail { from, parameters }) => (from.address().to_owned(), parameters.size, !parameters.is_empty()),
        other => panic!("{other:?}"),
    };
    assert_eq!(mail("MAIL FROM:<a@b.example>"), ("a@b.example".into(), None, false));
    assert_eq!(mail("mail from: <>"), (String::new(), None, false));
    assert_eq!(mail("MAIL FROM:<a@b> SIZE=12 BODY=8bitmime"), ("a@b".into(), Some(12), true));
    assert_eq!(mail("MAIL FROM:<a@b>  body=7BIT"), ("a@b".into(), None, true));
    assert_eq!(mail("MAIL FROM:<jörg@bücher.example> SMTPUTF8"), ("jörg@bücher.example".into(), None, true));
}

#[test]
fn refuses_wrong_arguments_of_mail() {
    for line in [
        "MAIL",
        "MAIL <a@b>",
        "MAIL TO:<a@b>",
        "MAIL FROM:<a@b> SIZE",
        "MAIL FROM:<a@b> SIZE=",
        "MAIL FROM:<a@b> SIZE=-1",
        "MAIL FROM:<a@b> SIZE=999999999999999999999",
        "MAIL FROM:<a@b> SIZE=1 SIZE=2",
        "MAIL FROM:<a@b> BODY=BINARYMIME",
        "MAIL FROM:<a@b> BODY",
        "MAIL FROM:<a@b> BODY=7BIT BODY=7BIT",
    ] {
        assert_eq!(refused(line), code(501, "5.5.4"), "{line}");
    }
    assert_eq!(refused("MAIL FROM:<a@b> AUTH=<>"), code(555, "5.5.4"));
    assert_eq!(refused("MAIL FROM:<a@b"), code(501, "5.1.7"));
    assert_eq!(refused("MAIL FROM:a@b"), code(501, "5.1.7"));
}

#[test]
fn reads_rcpt() {
    let postmaster = Rcpt { to: ForwardPath::Postmaster, parameters: RcptParameters::default() };
    assert_eq!(parse("RCPT TO:<Postmaster>"), Command::Rcpt(postmaster));
    let Command::Rcpt(Rcpt { to: ForwardPath::Mailbox(_), parameters }) = parse("rcpt to: <a@b.example> NOTIFY=NEVER") else {
        panic!("names a mailbox");
    };
    assert_eq!(parameters.notify.as_deref(), Some("NEVER"));
    assert_eq!(refused("RCPT TO:<>"), code(501, "5.1.3"));
    assert_eq!(refused("RCPT TO:<smith>"), code(501, "5.1.3"));
    assert_eq!(refused("RCPT FROM:<a@b>"), code(501, "5.5.4"));
    assert_eq!(refused("RCPT TO:<a@b> SIZE=1"), code(555, "5.5.4"));
}

proptest! {
    #[test]
    fn no_line_breaks_out(verb in "(MAIL FROM:|RCPT TO:|EHLO |mail from: ?<|)", rest in prop::collection::vec(any::<u8>(), 0..80)) {
        let line = [verb.as_bytes(), &rest].concat();
        let text = match Command::parse(&line) {
            Ok(Command::Mail(mail)) => mail.from.address().to_owned(),
            Ok(Command::Rcpt(rcpt)) => rcpt.to.to_string(),
            Ok(Command::Ehlo(name) | Command::Helo(name)) => name,
            _ => String::new(),
        };
        prop_assert!(!text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')), "{:?}", text);
    }

    #[test]
    fn any_valid_address_is_read(local in "[a-z0-9.+=_-]{1,64}|\"([ -!#-\\[\\]-~]|\\\\[ -~]){0,20}\"", domain in "[a-z0-9]{1,10}(\\.[a-z0-9]{1,10}){0,3}") {
        let address = format!("{local}@{domain}");
        match parse(&format!("RCPT TO:<{address}>")) {
            Command::Rcpt(Rcpt { to: ForwardPath::Mailbox(mailbox), .. }) => {
                prop_assert_eq!(mailbox.address(), address);
                prop_assert_eq!(mailbox.domain(), domain);
                prop_assert_eq!(mailbox.local_part(), local);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
