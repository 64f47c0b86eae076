//! Upstreams that follow a script, over memory and over real sockets.

mod connect;
mod message;
mod step;

use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpSocket, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// For time-outs that are to be seen.
const SHORT: Duration = Duration::from_millis(60);

const PLAIN: &str = "S 220 mx.example ESMTP
    C EHLO front.example
    S 250-mx.example
    S 250-SIZE 1000
    S 250 8BITMIME
    ";

/// What connects the two.
#[derive(Clone, Copy, Debug)]
enum Transport {
    /// Memory, with room for a few octets only.
    Memory,
    Tcp,
    Unix,
}

const TRANSPORTS: [Transport; 3] = [Transport::Memory, Transport::Tcp, Transport::Unix];

async fn pair(transport: Transport) -> (Box<dyn Stream>, Box<dyn Stream>) {
    match transport {
        Transport::Memory => {
            let (ours, theirs) = duplex(7);
            (Box::new(ours), Box::new(theirs))
        }
        Transport::Tcp => {
            // Buffers so small that a message of some size does not fit.
            let [listener, ours] = [(); 2].map(|()| TcpSocket::new_v4().expect("a socket"));
            listener.set_recv_buffer_size(8192).and(ours.set_send_buffer_size(8192)).expect("a new socket");
            listener.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
            let listener = listener.listen(1).expect("bound");
            let address = listener.local_addr().expect("bound");
            let (ours, theirs) = tokio::join!(ours.connect(address), listener.accept());
            let (ours, theirs) = (ours.expect("connected"), theirs.expect("connected").0);
            // What is still held back when a socket is closed with unread input is lost.
            theirs.set_nodelay(true).expect("open");
            (Box::new(ours), Box::new(theirs))
        }
        Transport::Unix => {
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            (Box::new(ours), Box::new(theirs))
        }
    }
}

/// An upstream that follows a script, line by line:
/// - `S text`: sends the text, where `\r`, `\n`, `\0` and `\e` mean themselves, and CRLF, unless it ends with `\c`;
/// - `O text`: the same octet by octet;
/// - `C text`: reads a line, which must be that;
/// - `T text`: reads a message up to its dot, which must be that, with the dot;
/// - `W`: reads on until the client has closed;
/// - `H`: holds the connection without reading, until [`Peer::rest`] is called.
///
/// At the end it closes the connection. What `W` has read is the result of [`Peer::rest`].
struct Peer {
    script: JoinHandle<Vec<u8>>,
    release: Arc<Notify>,
}

impl Peer {
    fn new(mut stream: Box<dyn Stream>, script: &str) -> Self {
        let script: Vec<String> =
            script.lines().map(|line| line.trim_start().to_owned()).filter(|line| !line.is_empty()).collect();
        let release = Arc::new(Notify::new());
        let released = Arc::clone(&release);
        let script = tokio::spawn(async move {
            let mut read = Vec::new();
            for line in script {
                let (step, text) = line.split_once(' ').unwrap_or((&line, ""));
                let text = text.replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0").replace("\\e", "\x1b");
                let sent = text.strip_suffix("\\c").map_or_else(|| format!("{text}\r\n"), str::to_owned);
                match step {
                    // The client may have had enough by now.
                    "S" => drop(stream.write_all(sent.as_bytes()).await),
                    "O" => {
                        for octet in sent.bytes() {
                            stream.write_all(&[octet]).await.expect("open");
                            tokio::task::yield_now().await;
                        }
                    }
                    "C" => assert_eq!(until(&mut stream, &mut read, b"\r\n").await, sent),
                    "T" => assert_eq!(until(&mut stream, &mut read, b".\r\n").await, sent),
                    "H" => released.notified().await,
                    "W" => drop(stream.read_to_end(&mut read).await),
                    other => panic!("no step {other}"),
                }
            }
            read
        });
        Peer { script, release }
    }

    async fn rest(self) -> String {
        self.release.notify_one();
        let rest = timeout(PATIENCE, self.script).await.expect("the script ends").expect("the client kept to the script");
        String::from_utf8(rest).expect("ASCII")
    }
}

/// Reads up to `end`, octet by octet.
async fn until(stream: &mut Box<dyn Stream>, read: &mut Vec<u8>, end: &[u8]) -> String {
    let whole = if end == b"\r\n" { end.to_vec() } else { [b"\r\n", end].concat() };
    while !read.ends_with(&whole) && read != end {
        let octet = timeout(PATIENCE, stream.read_u8()).await.expect("in time");
        read.push(octet.unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(read))));
    }
    String::from_utf8(std::mem::take(read)).expect("UTF-8")
}

fn settings(tell: Tell) -> Settings {
    Settings {
        address: Address::Tcp((Ipv4Addr::LOCALHOST, 9).into()),
        protocol: Protocol::Smtp,
        tell,
        host_name: "front.example".to_owned(),
        timeouts: Timeouts {
            greeting: PATIENCE,
            command: PATIENCE,
            data: PATIENCE,
            block: PATIENCE,
            dot: PATIENCE,
            ..Timeouts::default()
        },
    }
}

fn client() -> Client<'static> {
    Client {
        address: "192.0.2.1:1234".parse().expect("valid"),
        destination: "192.0.2.2:25".parse().expect("valid"),
        ehlo_name: "mail.example.com",
        extended: true,
        name: Name::None,
    }
}

/// A client in front of an upstream that follows `script` after its greeting and EHLO.
async fn plain(transport: Transport, script: &str) -> (Upstream, Peer) {
    with(transport, &settings(Tell::Nothing), &format!("{PLAIN}{script}")).await
}

async fn with(transport: Transport, settings: &Settings, script: &str) -> (Upstream, Peer) {
    let (ours, theirs) = pair(transport).await;
    let peer = Peer::new(theirs, script);
    let upstream = Upstream::over(ours, settings, &client()).await;
    (upstream.unwrap_or_else(|error| panic!("{error}")), peer)
}

/// A connection whose other end is in the test's own hands.
async fn by_hand() -> (Upstream, DuplexStream) {
    let (ours, mut theirs) = duplex(1024);
    let greeting = async {
        theirs.write_all(b"220 mx\r\n").await.expect("open");
        theirs.read_exact(&mut [0; "EHLO front.example\r\n".len()]).await.expect("EHLO");
        theirs.write_all(b"250 mx\r\n").await.expect("open");
    };
    let settings = settings(Tell::Nothing);
    let client = client();
    let (upstream, ()) = tokio::join!(Upstream::over(Box::new(ours), &settings, &client), greeting);
    (upstream.expect("connected"), theirs)
}

fn reply(code: u16, text: &str) -> Reply {
    Reply { code, lines: vec![text.to_owned()] }
}

/// What is asked of a dead connection is not sent.
async fn assert_dead(upstream: &mut Upstream) {
    assert!(!upstream.is_alive());
    assert!(matches!(upstream.command("RSET").await, Err(Error::Closed(_))));
    assert!(matches!(upstream.message(&[b"a\r\n"], 1).await, Err(Error::Closed(_))));
    assert!(matches!(upstream.keep_alive().await, Error::Closed(_)));
}
