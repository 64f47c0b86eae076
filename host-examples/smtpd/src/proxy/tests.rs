//! The forms of the header, and what is none.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use proptest::prelude::*;
use tokio::io::{AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::*;

const AMPLE: Duration = Duration::from_secs(60);

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(future)
}

/// Reads from a connection that brings these octets and is closed then, and gives back what was left for the session.
fn read_all(mut octets: &[u8]) -> (Result<Header, String>, Vec<u8>) {
    let read = run(read(&mut octets, AMPLE));
    (read.map_err(|error| error.to_string()), octets.to_vec())
}

fn client(source: &str, destination: &str) -> Header {
    Header { client: Some((source.parse().expect(source), destination.parse().expect(destination))) }
}

const NOBODY: Header = Header { client: None };

fn block(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, rest].concat()
}

const IPV4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0, 25];

fn ipv6(source: &str, destination: &str) -> Vec<u8> {
    let octets = |text: &str| text.parse::<Ipv6Addr>().expect(text).octets();
    [&octets(source)[..], &octets(destination), &[0xdc, 0x04, 0, 25]].concat()
}

/// Every form, with what it says.
fn forms() -> Vec<(Vec<u8>, Header)> {
    let four = client("192.0.2.1:56324", "198.51.100.2:25");
    let six = client("[2001:db8::1]:56324", "[2001:db8::2]:25");
    let line = |text: &str| text.as_bytes().to_vec();
    let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LINE - 16));
    vec![
        (line("PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\r\n"), four),
        (line("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n"), client("0.0.0.0:0", "0.0.0.0:0")),
        (line("PROXY TCP4 1.1.1.1 1.1.1.1 1 65535\r\n"), client("1.1.1.1:1", "1.1.1.1:65535")),
        (line("PROXY TCP6 2001:db8::1 2001:DB8::2 56324 25\r\n"), six),
        (line("PROXY TCP6 :: :: 0 0\r\n"), client("[::]:0", "[::]:0")),
        (line("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c633:6402 56324 25\r\n"), four),
        (line("PROXY UNKNOWN\r\n"), NOBODY),
        (line("PROXY UNKNOWN \r\n"), NOBODY),
        (line("PROXY UNKNOWN a b c d e f g 1.1.1.1\r\n"), NOBODY),
        (line(&longest), NOBODY),
        (block(0x21, 0x11, &IPV4), four),
        (block(0x21, 0x11, &[&IPV4[..], &[0x04, 0, 2, 0, 0]].concat()), four),
        (block(0x21, 0x21, &ipv6("2001:db8::1", "2001:db8::2")), six),
        (block(0x21, 0x21, &ipv6("::ffff:192.0.2.1", "::ffff:198.51.100.2")), four),
        (block(0x21, 0x21, &[&ipv6("2001:db8::1", "2001:db8::2")[..], &[7; BLOCK - 36]].concat()), six),
        (block(0x21, 0x00, b""), NOBODY),
        (block(0x21, 0x00, b"ignored"), NOBODY),
        (block(0x20, 0x00, b""), NOBODY),
        // The family of LOCAL is ignored, even where there are no addresses or the family is unknown.
        (block(0x20, 0x11, b""), NOBODY),
        (block(0x20, 0x11, &IPV4), NOBODY),
        (block(0x20, 0xff, b"ignored"), NOBODY),
    ]
}

#[test]
fn reads_every_form_and_nothing_behind_it() {
    for (octets, header) in forms() {
        for rest in [&b""[..], b"\n", b"EHLO client.example\r\n", b"PROXY UNKNOWN\r\n"] {
            let (read, left) = read_all(&[&octets[..], rest].concat());
            assert_eq!((read, &left[..]), (Ok(header), rest), "{}", octets.escape_ascii());
        }
    }
}

#[test]
fn reads_octet_by_octet() {
    for (octets, header) in forms() {
        let whole = [&octets[..], b"EHLO"].concat();
        let (mut proxy, mut server) = tokio::io::duplex(1);
        let (read, left) = run(async {
            let sent = async {
                proxy.write_all(&whole).await.expect("the server reads");
                drop(proxy);
            };
            let received = async {
                let header = read(&mut server, AMPLE).await.expect("a header");
                let mut left = Vec::new();
                server.read_to_end(&mut left).await.expect("the rest");
                (header, left)
            };
            tokio::join!(sent, received).1
        });
        assert_eq!((read, &left[..]), (header, &b"EHLO"[..]), "{}", octets.escape_ascii());
    }
}

#[test]
fn reads_what_comes_in_two_parts() {
    for (octets, header) in forms() {
        for length in 1..octets.len() {
            let behind = [&octets[length..], b"EHLO client.example\r\n"].concat();
            let mut stream = octets[..length].chain(&behind[..]);
            let read = run(read(&mut stream, AMPLE)).expect("a header");
            let left = stream.into_inner().1;
            assert_eq!((read, left), (header, &b"EHLO client.example\r\n"[..]), "{} {length}", octets.escape_ascii());
        }
    }
}

#[test]
fn a_line_may_have_107_octets() {
    let line = |length: usize| format!("PROXY UNKNOWN {}", "f".repeat(length - 14)).into_bytes();
    assert_eq!(parse(&line(105)).expect("CR and LF are to come"), Parsed::Part { missing: 2 });
    assert_eq!(parse(&[&line(105)[..], b"\r"].concat()).expect("LF is to come"), Parsed::Part { missing: 1 });
    assert_eq!(parse(&[&line(105)[..], b"\r\n"].concat()).expect("the longest"), Parsed::Whole(NOBODY));
    parse(&line(106)).expect_err("there is no room for CR and LF");
    parse(&[&line(106)[..], b"\r"].concat()).expect_err("there is no room for LF");
}

#[test]
fn a_connection_closed_within_the_header_is_no_header() {
    for (octets, _) in forms() {
        for length in 0..octets.len() {
            let error = read_all(&octets[..length]).0.expect_err("a part");
            assert!(error.contains("closed the connection"), "{}: {error}", octets[..length].escape_ascii());
        }
    }
}

#[test]
fn says_what_is_wrong() {
    let line = |text: &str| text.as_bytes().to_vec();
    let long = |ends: &str| format!("PROXY UNKNOWN {}{ends}", "f".repeat(LINE - 15)).into_bytes();
    for (octets, part) in [
        (line("EHLO client.example\r\n"), "begins with \"EHLO client.exa\"; let the proxy send"),
        (line("PROXIES\r\n"), "begins with \"PROXIES\\r\\n\""),
        (line("proxy TCP4 192.0.2.1"), "begins with \"proxy TCP4 192."),
        (line("\u{16}\u{3}\u{1}"), "begins with \"\\x16\\x03\\x01\""),
        (line("\r\n\r\n\0\r\nQUIX"), "begins with"),
        (line("PROXY TCP5 192.0.2.1"), "none of TCP4"),
        (line("PROXY \r\n"), "none of TCP4"),
        (line("PROXY UNKNOWN4\r\n"), "none of TCP4"),
        (line("PROXY TCP4 \r\nEHLO client.example\r\n"), "words are missing"),
        (line("PROXY TCP4 192.0.2.1\n198.51.100.2"), "does not end with CR LF"),
        (line("PROXY TCP4 192.0.2.1\r198.51.100.2 1"), "does not end with CR LF"),
        (line("PROXY UNKNOWN\n"), "does not end with CR LF"),
        (line("PROXY UNKNOWN abc\rd\r\n"), "does not end with CR LF"),
        (line("PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n"), "source is no address"),
        (line("PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n"), "source is no address"),
        (line("PROXY TCP4 2001:db8::1 198.51.100.2 1 2\r\n"), "source is no address"),
        (line("PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n"), "source is no address"),
        (line("PROXY TCP6 192.0.2.1 2001:db8::1 1 2\r\n"), "source is no address"),
        (line("PROXY TCP6 fe80::1%eth0 2001:db8::1 1 2\r\n"), "source is no address"),
        (line("PROXY TCP4 192.0.2.1 198.51.100 1 2000000\r\n"), "destination is no address"),
        (line("PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n"), "source port"),
        (line("PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n"), "source port"),
        (line("PROXY TCP4 192.0.2.1 198.51.100.2  2\r\n"), "source port"),
        (line("PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n"), "destination port"),
        (line("PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n"), "destination port"),
        (line("PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n"), "something follows"),
        (b"PROXY TCP4 192.0.2.1 \xff\xff\xff\xff 1 2\r\n".to_vec(), "none of TCP4"),
        (long("\r\n"), "longer than 107"),
        (long("f\r\n"), "longer than 107"),
        (long("").repeat(2), "longer than 107"),
        (block(0x11, 0x11, &IPV4), "version 1; expected 1 or 2"),
        (block(0x31, 0x11, &IPV4), "version 3"),
        (block(0x22, 0x11, &IPV4), "command 2"),
        (block(0x2f, 0x00, b""), "command 15"),
        (block(0x21, 0x12, &IPV4), "family and transport 0x12"),
        (block(0x21, 0x22, &[0; 36]), "family and transport 0x22"),
        (block(0x21, 0x31, &[0; 216]), "family and transport 0x31"),
        (block(0x21, 0x01, b""), "family and transport 0x01"),
        (block(0x21, 0x41, &IPV4), "family and transport 0x41"),
        (block(0x21, 0x11, &IPV4[..11]), "a length of 11; expected 12 to 2048"),
        (block(0x21, 0x21, &[0; 35]), "a length of 35; expected 36 to 2048"),
        (block(0x21, 0x11, &[0; BLOCK + 1]), "a length of 2049; expected 12 to 2048"),
        (block(0x20, 0x00, &[0; u16::MAX as usize]), "a length of 65535; expected 0 to 2048"),
    ] {
        let error = read_all(&octets).0.expect_err("no header");
        assert!(error.starts_with("no PROXY protocol header: ") && error.contains(part), "{}: {error}", octets.escape_ascii());
    }
}

#[test]
fn what_cannot_become_a_header_is_not_waited_on() {
    for octets in [&b"E"[..], b"\r\n\r\nX", b"PROXY X", b"PROXY TCP4 1\n", b"PROXY TCP4 \r\n", b"\r\n\r\n\0\r\nQUIT\n\x12"] {
        let (mut proxy, mut server) = tokio::io::duplex(64);
        let read = run(async {
            proxy.write_all(octets).await.expect("there is room");
            read(&mut server, AMPLE).await
        });
        assert!(!matches!(read.expect_err("no header"), ProxyError::Slow(_)), "{}", octets.escape_ascii());
    }
}

/// Brings an octet at each interval, without an end.
struct Drip {
    octets: Vec<u8>,
    next: usize,
    interval: Duration,
    pause: Pin<Box<Sleep>>,
}

impl AsyncRead for Drip {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.pause.as_mut().poll(context));
        let next = Instant::now() + self.interval;
        self.pause.as_mut().reset(next);
        buffer.put_slice(&[self.octets[self.next % self.octets.len()]]);
        self.next += 1;
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_slow_header_ends_with_the_time_for_all_of_it() {
    let limit = Duration::from_millis(50);
    let error = run(async {
        let (_proxy, mut server) = tokio::io::duplex(1);
        read(&mut server, limit).await.expect_err("silence")
    });
    assert!(error.to_string().contains("within 50ms"), "{error}");
    let error = run(async {
        let interval = limit / 10;
        let pause = Box::pin(tokio::time::sleep(interval));
        let octets = block(0x20, 0, &[0; BLOCK]);
        read(&mut Drip { octets, next: 0, interval, pause }, limit).await.expect_err("too slow")
    });
    assert!(matches!(error, ProxyError::Slow(_)), "{error}");
}

proptest! {
    #[test]
    fn anything_is_judged_within_bounds(octets in octets_like_headers()) {
        let (read, left) = read_all(&octets);
        let used = octets.len() - left.len();
        prop_assert!(used <= FIXED + BLOCK);
        // What was judged whole is whole at exactly this length.
        if let Ok(header) = read {
            prop_assert_eq!(parse(&octets[..used]).expect("a header"), Parsed::Whole(header));
            let part = parse(&octets[..used - 1]).expect("a part");
            prop_assert_eq!(part, Parsed::Part { missing: 1 });
        }
    }

    #[test]
    fn addresses_come_back(source in any::<IpAddr>(), destination in any::<IpAddr>(), ports in any::<(u16, u16)>()) {
        let expected = Header { client: Some((canonical(source, ports.0), canonical(destination, ports.1))) };
        let word = if source.is_ipv4() && destination.is_ipv4() { "TCP4" } else { "TCP6" };
        let mapped = |address| match address {
            IpAddr::V4(v4) if word == "TCP6" => IpAddr::V6(v4.to_ipv6_mapped()),
            other => other,
        };
        let (source, destination) = (mapped(source), mapped(destination));
        let line = format!("PROXY {word} {source} {destination} {} {}\r\n", ports.0, ports.1);
        prop_assert_eq!(read_all(line.as_bytes()), (Ok(expected), vec![]));
        let mut rest = Vec::new();
        for address in [source, destination] {
            match address {
                IpAddr::V4(v4) => rest.extend(v4.octets()),
                IpAddr::V6(v6) => rest.extend(v6.octets()),
            }
        }
        rest.extend([ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat());
        let family = if word == "TCP4" { 0x11 } else { 0x21 };
        prop_assert_eq!(read_all(&block(0x21, family, &rest)), (Ok(expected), vec![]));
    }
}

/// Forms of [`forms`] with octets changed and cut, and octets at random.
fn octets_like_headers() -> impl Strategy<Value = Vec<u8>> {
    let changed = (prop::sample::select(forms()), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3));
    let changed = changed.prop_flat_map(|((mut octets, _), changes)| {
        for (at, octet) in changes {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        prop::collection::vec(any::<u8>(), 0..40).prop_map(move |rest| [&octets[..], &rest].concat())
    });
    prop_oneof![4 => changed, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}
