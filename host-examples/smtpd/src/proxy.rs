//! The receiving side of the PROXY protocol, versions 1 and 2: a proxy in front tells the client's address (R11).
//!
//! Whoever sends such a header can claim any address: it is to be read from proxies in [`Trusted`](smtp_fallback_daemon::trusted::Trusted) only, and
//! must be there then.
//!
//! The parser is written by hand: it never reads past the header, so that nothing has to be handed on, and it is strict where the
//! crate `ppp` is not (2.3 takes ports such as `+25`, finds no end of `UNKNOWN` with more than four words behind it, and refuses `LOCAL`
//! whose addresses are left out).
//! Source: `proxy-protocol.txt` of HAProxy, sections 2.1 and 2.2.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Octets of a header of version 1 with its CRLF, at most (section 2.1).
const LINE: usize = 107;
/// Octets behind the first 16 of a header of version 2, at most: 36 for addresses, the rest for TLVs, which are skipped.
const BLOCK: usize = 2048;
/// How version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Octets before the length of a header of version 2 takes effect.
const FIXED: usize = 16;
/// How the lines of version 1 begin, and how many octets the shortest such line has.
const LINES: [(&[u8], usize); 3] = [
    (b"PROXY TCP4 ", b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n".len()),
    (b"PROXY TCP6 ", b"PROXY TCP6 :: :: 0 0\r\n".len()),
    (b"PROXY UNKNOWN", b"PROXY UNKNOWN\r\n".len()),
];
/// Octets of something else that an error shows.
const SHOWN: usize = 16;

/// What the proxy said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The client and the address it connected to, IPv4-mapped addresses as IPv4. `None` for `LOCAL`, `UNKNOWN` and unspecified
    /// addresses: the connection is the proxy's own, such as a health check, or it does not know whose it is.
    pub client: Option<(SocketAddr, SocketAddr)>,
}

/// Why there is no header. The connection is to be closed without a word: what comes next is not known to be SMTP.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProxyError {
    /// The connection failed.
    Io(io::Error),
    /// The proxy closed the connection after so many octets.
    Closed(usize),
    /// The header did not arrive in this time.
    Slow(Duration),
    /// The connection begins with something else; its first octets, escaped.
    Missing(String),
    /// A line of version 1 is wrong in this respect.
    Line(&'static str),
    /// A version other than 2, in the binary form.
    Version(u8),
    /// A command other than LOCAL (0) and PROXY (1).
    Command(u8),
    /// Addresses and transport other than TCP over IPv4 (0x11) or IPv6 (0x21).
    Family(u8),
    /// The length of version 2 is too small for its addresses or over the limit: octets found, and the least and the most expected.
    Length(usize, usize, usize),
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no PROXY protocol header: ")?;
        match self {
            ProxyError::Io(error) => write!(f, "{error}"),
            ProxyError::Closed(0) => f.write_str("the proxy closed the connection at once"),
            ProxyError::Closed(octets) => write!(f, "the proxy closed the connection after {octets} octets of it"),
            ProxyError::Slow(limit) => write!(f, "it did not arrive within {limit:?}"),
            ProxyError::Missing(found) => write!(
                f,
                "the connection begins with \"{found}\"; let the proxy send the header (HAProxy: send-proxy-v2), or remove its \
                 address from `proxy_from`"
            ),
            ProxyError::Line(fault) => write!(f, "{fault} (version 1)"),
            ProxyError::Version(version) => write!(f, "version {version}; expected 1 or 2"),
            ProxyError::Command(command) => write!(f, "command {command}; expected 0 (LOCAL) or 1 (PROXY) (version 2)"),
            ProxyError::Family(family) => {
                write!(f, "family and transport {family:#04x}; expected TCP over IPv4 (0x11) or over IPv6 (0x21) (version 2)")
            }
            ProxyError::Length(found, least, most) => write!(f, "a length of {found}; expected {least} to {most} (version 2)"),
        }
    }
}

impl std::error::Error for ProxyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ProxyError::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// Reads the header at the start of a connection, within `limit` for the whole of it. No octet behind it is read: the stream goes on
/// with what the client sent. After an error the stream is of no use.
pub async fn read<S: AsyncRead + Unpin>(stream: &mut S, limit: Duration) -> Result<Header, ProxyError> {
    tokio::time::timeout(limit, read_whole(stream)).await.unwrap_or(Err(ProxyError::Slow(limit)))
}

async fn read_whole<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Header, ProxyError> {
    let mut head = Vec::with_capacity(LINE);
    loop {
        match parse(&head)? {
            Parsed::Whole(header) => return Ok(header),
            Parsed::Part { missing } => {
                let had = head.len();
                head.resize(had + missing, 0);
                let read = stream.read(&mut head[had..]).await.map_err(ProxyError::Io)?;
                if read == 0 {
                    return Err(ProxyError::Closed(had));
                }
                head.truncate(had + read);
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Whole(Header),
    /// At least so many octets, and never 0, follow that belong to the header.
    Part {
        missing: usize,
    },
}

/// Judges what has arrived. What cannot become a header is an error at once, without waiting for more.
fn parse(head: &[u8]) -> Result<Parsed, ProxyError> {
    let shared = head.len().min(SIGNATURE.len());
    if head.is_empty() {
        // The shortest header there is: less than the 16 octets of version 2.
        Ok(Parsed::Part { missing: LINES[2].1 })
    } else if head[..shared] == SIGNATURE[..shared] {
        parse_block(head)
    } else {
        parse_line(head)
    }
}

fn parse_line(head: &[u8]) -> Result<Parsed, ProxyError> {
    let begins = |begin: &[u8]| head.iter().zip(begin).all(|(a, b)| a == b);
    if !begins(b"PROXY ") {
        return Err(ProxyError::Missing(head[..head.len().min(SHOWN)].escape_ascii().to_string()));
    }
    // While several forms are possible, the shortest counts.
    let shortest = LINES.iter().filter(|(begin, _)| begins(begin)).map(|&(_, shortest)| shortest).min();
    let shortest = shortest.ok_or(ProxyError::Line("the protocol is none of TCP4, TCP6 and UNKNOWN"))?;
    let end = head.iter().position(|octet| matches!(octet, b'\r' | b'\n'));
    match end.map(|end| (&head[..end], &head[end..])) {
        Some((line, b"\r\n")) => Ok(Parsed::Whole(Header { client: parse_words(line)? })),
        Some((_, b"\r")) if head.len() < LINE => Ok(Parsed::Part { missing: 1 }),
        None if head.len() < shortest => Ok(Parsed::Part { missing: shortest - head.len() }),
        // CR and LF are to come.
        None if head.len() + 2 <= LINE => Ok(Parsed::Part { missing: 2 }),
        Some((_, [b'\r', b'\n', ..])) => Err(ProxyError::Line("words are missing")),
        Some((_, [_, _, ..] | b"\n")) => Err(ProxyError::Line("the line does not end with CR LF")),
        _ => Err(ProxyError::Line("the line is longer than 107 octets")),
    }
}

/// The client and the address it connected to.
type Addresses = (SocketAddr, SocketAddr);

fn parse_words(line: &[u8]) -> Result<Option<Addresses>, ProxyError> {
    let line = std::str::from_utf8(line).unwrap_or_default();
    let mut words = line.split(' ').skip(1);
    match words.next() {
        Some("TCP4") => parse_addresses::<Ipv4Addr>(words).map(Some),
        Some("TCP6") => parse_addresses::<Ipv6Addr>(words).map(Some),
        Some("UNKNOWN") => Ok(None),
        _ => Err(ProxyError::Line("the protocol is none of TCP4, TCP6 and UNKNOWN")),
    }
}

fn parse_addresses<'a, A: FromStr + Into<IpAddr>>(mut words: impl Iterator<Item = &'a str>) -> Result<Addresses, ProxyError> {
    let mut address = || words.next()?.parse::<A>().ok().map(Into::into);
    let source = address().ok_or(ProxyError::Line("the source is no address of the protocol named"))?;
    let destination = address().ok_or(ProxyError::Line("the destination is no address of the protocol named"))?;
    let mut port = || words.next().and_then(parse_port);
    let source_port = port().ok_or(ProxyError::Line("the source port is no number from 0 to 65535"))?;
    let destination_port = port().ok_or(ProxyError::Line("the destination port is no number from 0 to 65535"))?;
    match words.next() {
        None => Ok((canonical(source, source_port), canonical(destination, destination_port))),
        Some(_) => Err(ProxyError::Line("something follows the destination port")),
    }
}

/// Digits only, and without zeros in front.
fn parse_port(word: &str) -> Option<u16> {
    let digits = word.bytes().all(|octet| octet.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| digits)
}

fn canonical(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

/// Version 2. `head` agrees with the signature as far as it goes.
fn parse_block(head: &[u8]) -> Result<Parsed, ProxyError> {
    let command = match head.get(SIGNATURE.len()) {
        Some(octet) if octet >> 4 != 2 => return Err(ProxyError::Version(octet >> 4)),
        Some(octet) => octet & 15,
        None => 0,
    };
    if command > 1 {
        return Err(ProxyError::Command(command));
    }
    let Some((&[.., family, high, low], block)) = head.split_first_chunk::<FIXED>() else {
        return Ok(Parsed::Part { missing: FIXED - head.len() });
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    // What the addresses of the family take.
    let least = match (command, family) {
        // LOCAL: the family is to be ignored, and so is what follows.
        (0, _) | (1, 0x00) => 0,
        (_, 0x11) => 12,
        (_, 0x21) => 36,
        _ => return Err(ProxyError::Family(family)),
    };
    if !(least..=BLOCK).contains(&length) {
        return Err(ProxyError::Length(length, least, BLOCK));
    }
    if block.len() < length {
        return Ok(Parsed::Part { missing: length - block.len() });
    }
    let client = match least {
        12 => block.first_chunk::<12>().map(|b| addresses::<4>(b)),
        36 => block.first_chunk::<36>().map(|b| addresses::<16>(b)),
        _ => None,
    };
    Ok(Parsed::Whole(Header { client }))
}

/// Two addresses of `N` octets, then two ports.
fn addresses<const N: usize>(block: &[u8]) -> Addresses
where
    IpAddr: From<[u8; N]>,
{
    let address = |at: usize| IpAddr::from(std::array::from_fn::<u8, N, _>(|i| block[at + i]));
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    (canonical(address(0), port(2 * N)), canonical(address(N), port(2 * N + 2)))
}

#[cfg(test)]
mod tests;
