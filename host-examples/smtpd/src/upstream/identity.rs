//! Telling upstream who the client is.
//!
//! Upstream trusts our address. Whatever it is told, or not told, it must never take the client for us.

use std::borrow::Cow;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Client, Error, Name, Reply};

/// The longest command with its CRLF (RFC 5321 §4.5.3.1.4).
const COMMAND_MAX: usize = 512;
/// The longest EHLO name (RFC 5321 §4.5.3.1.2), and the longest value of an attribute that Postfix takes, in xtext.
const VALUE_MAX: usize = 255;
/// An attribute that is not known, as opposed to one that is not told: upstream keeps ours in place of the latter.
const UNAVAILABLE: &str = "[UNAVAILABLE]";

/// The client's name for EHLO: printable ASCII without spaces, or else the literal of its address (RFC 5321 §4.1.3).
pub(super) fn ehlo_name<'a>(client: &Client<'a>) -> Cow<'a, str> {
    if is_sendable(client.ehlo_name) {
        return Cow::Borrowed(client.ehlo_name);
    }
    Cow::Owned(match client.address.ip().to_canonical() {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    })
}

/// The line of the PROXY protocol, version 1, with its CRLF: 107 octets at most.
///
/// It has one family for both addresses. If they differ, ours is replaced by the unspecified address of the client's family: `UNKNOWN`
/// would make upstream take the address of the connection, which is ours, for the client's.
pub(super) fn proxy_v1(client: &Client<'_>) -> String {
    let source = client.address.ip().to_canonical();
    let destination = match (source, client.destination.ip().to_canonical()) {
        (IpAddr::V4(_), IpAddr::V6(_)) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        (IpAddr::V6(_), IpAddr::V4(_)) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        (_, same) => same,
    };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {source} {destination} {} {}\r\n", client.address.port(), client.destination.port())
}

/// The XCLIENT commands, without CRLF, for an upstream that announced the attributes in `announced`; or why there are none.
///
/// One, if it fits in 512 octets. If not, NAME and ADDR are in the last: Postfix asks again after each whether it may believe the next.
/// What upstream announced is told, all of it: an attribute that is not would keep its value, which is ours.
pub(super) fn xclient(announced: &[String], client: &Client<'_>) -> Result<Vec<String>, String> {
    if announced.is_empty() {
        return Err("it does not announce XCLIENT to this host (Postfix: smtpd_authorized_xclient_hosts)".to_owned());
    }
    let is_announced = |attribute: &str| announced.iter().any(|name| name == attribute);
    if !is_announced("ADDR") {
        return Err(format!("it announces XCLIENT without ADDR: {}", announced.join(" ")));
    }
    let name = match &client.name {
        Name::Confirmed(name) if is_host_name(name) => name,
        Name::Confirmed(_) | Name::None => UNAVAILABLE,
        Name::TemporarilyUnknown => "[TEMPUNAVAIL]",
    };
    let helo = Some(client.ehlo_name).filter(|name| is_sendable(name)).map(xtext).filter(|value| value.len() <= VALUE_MAX);
    let attributes = [
        ("PROTO", if client.extended { "ESMTP" } else { "SMTP" }.to_owned()),
        ("HELO", helo.unwrap_or_else(|| UNAVAILABLE.to_owned())),
        ("DESTADDR", address(client.destination)),
        ("DESTPORT", port(client.destination)),
        ("REVERSE_NAME", name.to_owned()),
        ("NAME", name.to_owned()),
        ("ADDR", address(client.address)),
        ("PORT", port(client.address)),
    ];
    let attributes = attributes.into_iter().filter(|(attribute, _)| is_announced(attribute));
    let attributes: Vec<String> = attributes.map(|(attribute, value)| format!(" {attribute}={value}")).collect();
    // From the end, so that the last command is the full one.
    let mut commands = vec![String::new()];
    for attribute in attributes.iter().rev() {
        if "XCLIENT".len() + attribute.len() + commands[0].len() + "\r\n".len() > COMMAND_MAX {
            commands.insert(0, String::new());
        }
        commands[0].insert_str(0, attribute);
    }
    Ok(commands.into_iter().map(|attributes| format!("XCLIENT{attributes}")).collect())
}

/// What a reply to XCLIENT other than 2yz means. Upstream either dislikes the command, which is for the operator to put right, or, as
/// at its greeting, the client.
pub(super) fn xclient_refused(reply: Reply) -> Error {
    let unauthorised = reply.lines.iter().any(|line| line.to_ascii_lowercase().contains("insufficient authorization"));
    if (500..=504).contains(&reply.code) || unauthorised {
        return Error::Misconfigured(format!("it refused XCLIENT: {reply}"));
    }
    Error::Refused(reply)
}

fn is_sendable(ehlo_name: &str) -> bool {
    (1..=VALUE_MAX).contains(&ehlo_name.len()) && ehlo_name.bytes().all(|octet| octet.is_ascii_graphic())
}

/// What Postfix takes for a host name; it refuses the command for any other.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_numeric = name.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    name.len() <= VALUE_MAX && name.split('.').all(is_label) && !is_numeric
}

fn address(address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("IPV6:{v6}"),
    }
}

fn port(address: SocketAddr) -> String {
    if address.port() == 0 { UNAVAILABLE.to_owned() } else { address.port().to_string() }
}

/// RFC 3461 §4, with more encoded than it asks for. Postfix cuts the command into words as if it had quoted strings, and before
/// it decodes any: a quotation mark in the EHLO name would swallow the ADDR behind it, and Postfix would answer 220 and keep our address.
fn xtext(value: &str) -> String {
    let mut encoded = String::new();
    for octet in value.bytes() {
        if octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_' | b':') {
            encoded.push(octet.into());
        } else {
            let _ = write!(encoded, "+{octet:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 9] = ["NAME", "ADDR", "PROTO", "HELO", "REVERSE_NAME", "PORT", "LOGIN", "DESTADDR", "DESTPORT"];

    fn client<'a>(address: &str, destination: &str, ehlo_name: &'a str) -> Client<'a> {
        let [address, destination] = [address, destination].map(|text| text.parse().expect("valid"));
        Client { address, destination, ehlo_name, extended: true, name: Name::None }
    }

    fn commands(announced: &[&str], client: &Client<'_>) -> Vec<String> {
        let announced: Vec<String> = announced.iter().map(|name| (*name).to_owned()).collect();
        let commands = xclient(&announced, client).expect("ADDR is announced");
        for command in &commands {
            assert!(command.len() + 2 <= COMMAND_MAX, "{command}");
            assert!(command.bytes().all(|octet| octet.is_ascii_graphic() || octet == b' '), "{command}");
        }
        commands
    }

    #[test]
    fn proxy_lines() {
        for (source, destination, expected) in [
            ("192.0.2.1:1234", "198.51.100.1:25", "TCP4 192.0.2.1 198.51.100.1 1234 25"),
            ("[2001:db8::1]:1234", "[2001:db8::2]:25", "TCP6 2001:db8::1 2001:db8::2 1234 25"),
            ("[::ffff:192.0.2.1]:1234", "198.51.100.1:25", "TCP4 192.0.2.1 198.51.100.1 1234 25"),
            ("[::ffff:192.0.2.1]:1234", "[::ffff:198.51.100.1]:25", "TCP4 192.0.2.1 198.51.100.1 1234 25"),
            // Never UNKNOWN, which would be us.
            ("192.0.2.1:0", "[2001:db8::2]:25", "TCP4 192.0.2.1 0.0.0.0 0 25"),
            ("[2001:db8::1]:1", "198.51.100.1:0", "TCP6 2001:db8::1 :: 1 0"),
            ("[2001:db8::1]:1", "[::ffff:198.51.100.1]:25", "TCP6 2001:db8::1 :: 1 25"),
            ("[fe80::1%7]:1", "[fe80::2%7]:25", "TCP6 fe80::1 fe80::2 1 25"),
        ] {
            assert_eq!(proxy_v1(&client(source, destination, "x")), format!("PROXY {expected}\r\n"));
        }
        let longest = "[1111:2222:3333:4444:5555:6666:7777:8888]:65535";
        assert!(proxy_v1(&client(longest, longest, "x")).len() <= 107);
    }

    #[test]
    fn one_command_says_all_that_is_announced() {
        let mut smith = client("[2001:db8::1]:1234", "198.51.100.1:25", "mail.example.com");
        assert_eq!(
            commands(&ALL, &smith),
            ["XCLIENT PROTO=ESMTP HELO=mail.example.com DESTADDR=198.51.100.1 DESTPORT=25 REVERSE_NAME=[UNAVAILABLE] \
              NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1 PORT=1234"]
        );
        smith.name = Name::Confirmed("mail.example.com".to_owned());
        assert_eq!(commands(&["ADDR", "NAME"], &smith), ["XCLIENT NAME=mail.example.com ADDR=IPV6:2001:db8::1"]);
        smith.name = Name::TemporarilyUnknown;
        smith.extended = false;
        assert_eq!(commands(&["ADDR", "NAME", "PROTO"], &smith), ["XCLIENT PROTO=SMTP NAME=[TEMPUNAVAIL] ADDR=IPV6:2001:db8::1"]);
        let mapped = client("[::ffff:192.0.2.1]:0", "[::]:0", "x");
        assert_eq!(
            commands(&["ADDR", "PORT", "DESTADDR", "DESTPORT"], &mapped),
            ["XCLIENT DESTADDR=IPV6::: DESTPORT=[UNAVAILABLE] ADDR=192.0.2.1 PORT=[UNAVAILABLE]"]
        );
    }

    #[test]
    fn without_addr_nothing_is_sent() {
        let smith = client("192.0.2.1:1", "192.0.2.2:25", "x");
        assert!(xclient(&[], &smith).expect_err("nothing").contains("smtpd_authorized_xclient_hosts"));
        let error = xclient(&["NAME".to_owned(), "ADDRESS".to_owned()], &smith).expect_err("no ADDR");
        assert!(error.contains("NAME ADDRESS"), "{error}");
    }

    #[test]
    fn no_name_breaks_out() {
        let helo = |name: &str| commands(&["ADDR", "HELO"], &client("192.0.2.1:1", "192.0.2.2:25", name))[0].clone();
        assert_eq!(helo("a+b=c\"d\\e<f>g(h"), "XCLIENT HELO=a+2Bb+3Dc+22d+5Ce+3Cf+3Eg+28h ADDR=192.0.2.1");
        assert_eq!(helo("[IPv6:2001:db8::1]"), "XCLIENT HELO=+5BIPv6:2001:db8::1+5D ADDR=192.0.2.1");
        for octet in (b'!'..=b'~').map(char::from).filter(|octet| !octet.is_ascii_alphanumeric() && !".-_:".contains(*octet)) {
            let expected = format!("XCLIENT HELO=+{:02X}x ADDR=192.0.2.1", u32::from(octet));
            assert_eq!(helo(&format!("{octet}x")), expected);
        }
        for name in ["", "a b", "a\r\nRSET", "a\rb", "a\0", "a\tb", "\u{7f}", "é", &"x".repeat(256), &"+".repeat(86)] {
            assert_eq!(helo(name), "XCLIENT HELO=[UNAVAILABLE] ADDR=192.0.2.1", "{name:?}");
        }
        assert_eq!(helo(&"+".repeat(85)), format!("XCLIENT HELO={} ADDR=192.0.2.1", "+2B".repeat(85)));
        for name in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "a=b",
            "-a.b",
            "a.b-",
            "192.0.2.1",
            "é.example",
            &"x".repeat(64),
            &"x.".repeat(128),
        ] {
            let smith = Client { name: Name::Confirmed(name.to_owned()), ..client("192.0.2.1:1", "192.0.2.2:25", "x") };
            assert_eq!(commands(&["ADDR", "NAME"], &smith), ["XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1"], "{name:?}");
        }
    }

    #[test]
    fn too_much_for_one_command_ends_with_name_and_addr() {
        let name = format!("{}x", "x.".repeat(127));
        let address = "[1111:2222:3333:4444:5555:6666:7777:8888]:65535";
        let smith = Client { name: Name::Confirmed(name.clone()), ..client(address, address, &name) };
        let commands = commands(&ALL, &smith);
        let attributes = |command: &str| {
            let attributes = command.split(' ').skip(1).map(|attribute| attribute.split('=').next().expect("one"));
            attributes.map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        let attributes: Vec<String> = commands.iter().map(|command| attributes(command)).collect();
        assert_eq!(attributes, ["PROTO HELO", "DESTADDR DESTPORT REVERSE_NAME", "NAME ADDR PORT"]);
    }

    #[test]
    fn a_command_has_512_octets_at_most() {
        let name = format!("{}y", "y.".repeat(126));
        let split = |helo: usize| {
            let helo = "x".repeat(helo);
            let smith = Client { name: Name::Confirmed(name.clone()), ..client("192.0.2.1:1", "192.0.2.2:25", &helo) };
            commands(&["HELO", "NAME", "ADDR"], &smith)
        };
        assert_eq!(split(223).iter().map(|command| command.len() + 2).collect::<Vec<_>>(), [512]);
        assert_eq!(split(224).len(), 2);
    }

    #[test]
    fn ehlo_names() {
        for (name, address, expected) in [
            ("mail.example.com", "192.0.2.1:1", "mail.example.com"),
            ("[192.0.2.9]", "192.0.2.1:1", "[192.0.2.9]"),
            ("a\"b", "192.0.2.1:1", "a\"b"),
            ("", "192.0.2.1:1", "[192.0.2.1]"),
            ("a b", "[::ffff:192.0.2.1]:1", "[192.0.2.1]"),
            ("a\r\nb", "[2001:db8::1]:1", "[IPv6:2001:db8::1]"),
            ("é", "192.0.2.1:1", "[192.0.2.1]"),
        ] {
            assert_eq!(ehlo_name(&client(address, "192.0.2.2:25", name)), expected);
        }
        assert_eq!(ehlo_name(&client("192.0.2.1:1", "192.0.2.2:25", &"x".repeat(255))).len(), 255);
        assert_eq!(ehlo_name(&client("192.0.2.1:1", "192.0.2.2:25", &"x".repeat(256))), "[192.0.2.1]");
    }

    #[test]
    fn a_refused_command_is_no_refused_client() {
        let meant = |code: u16, text: &str| xclient_refused(Reply { code, lines: vec![text.to_owned()] });
        for (code, text) in [(501, "5.5.4 Bad NAME syntax"), (500, ""), (502, ""), (503, ""), (504, "")] {
            assert!(matches!(meant(code, text), Error::Misconfigured(_)), "{code} {text}");
        }
        assert!(matches!(meant(550, "5.7.0 Error: insufficient authorization"), Error::Misconfigured(_)));
        for (code, text) in [(550, "5.7.1 blocked"), (554, ""), (421, ""), (450, ""), (505, "")] {
            assert!(matches!(meant(code, text), Error::Refused(reply) if reply.code == code), "{code} {text}");
        }
    }
}
