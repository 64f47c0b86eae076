//! The worst mail system that can stand behind a front: any CR and any LF ends a line, NUL is passed over, and a line with a single dot
//! ends a message. Whatever line end is smuggled to it, it is taken in.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::peer::OBSERVE;
use crate::server::{Server, Setting};

const EHLO: &[u8] = b"250-naive.example\r\n250-PIPELINING\r\n250-SIZE 99999999\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n\
    250-ENHANCEDSTATUSCODES\r\n250 XCLIENT NAME ADDR PORT PROTO HELO\r\n";

/// What it was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// All command lines, without their ends.
    pub(crate) commands: Vec<String>,
    /// The text of the messages, dots unstuffed, with CRLF at the line ends.
    pub(crate) messages: Vec<Vec<u8>>,
    /// What came between DATA and the dot, as it was sent, with the dot.
    pub(crate) wire: Vec<Vec<u8>>,
}

impl Heard {
    /// The commands that begin by this verb.
    pub(crate) fn with(&self, verb: &str) -> Vec<&str> {
        self.commands.iter().map(String::as_str).filter(|line| line.to_ascii_uppercase().starts_with(verb)).collect()
    }
}

/// Runs as long as the test.
pub(crate) struct Naive {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
}

impl Naive {
    pub(crate) async fn start() -> Naive {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let shared = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Naive { address, heard }
    }

    /// The program in front of it, which refuses nothing by policy.
    pub(crate) async fn front(&self, tables: &str) -> Server {
        let tables = format!(
            "[upstream]\naddress = \"{}\"\ntell = \"xclient\"\n\n[policy_limits]\ndeadline = \"10s\"\n\n{tables}",
            self.address
        );
        Server::start(Setting { policy: OBSERVE, top: "domains = [\"demo.example\"]".to_owned(), tables, ..Setting::default() })
            .await
    }

    /// What it has heard since it was last asked.
    pub(crate) fn heard(&self) -> Heard {
        std::mem::take(&mut self.heard.lock().unwrap())
    }
}

async fn serve(mut stream: TcpStream, heard: Arc<Mutex<Heard>>) {
    let mut text: Option<(Vec<u8>, Vec<u8>)> = None;
    let mut line = Vec::new();
    let mut after_cr = false;
    let mut input = [0; 4096];
    let _ = stream.write_all(b"220 naive.example ESMTP\r\n").await;
    while let Ok(read @ 1..) = stream.read(&mut input).await {
        for octet in &input[..read] {
            if let Some((_, wire)) = &mut text {
                wire.push(*octet);
            }
            // The LF of CRLF ends no other line.
            let second_half = std::mem::replace(&mut after_cr, *octet == b'\r') && *octet == b'\n';
            match octet {
                0 => continue,
                _ if second_half => continue,
                b'\r' | b'\n' => {}
                octet => {
                    line.push(*octet);
                    continue;
                }
            }
            let line = std::mem::take(&mut line);
            let reply: &[u8] = match &mut text {
                None => {
                    let command = String::from_utf8_lossy(&line).into_owned();
                    let verb = command.split(' ').next().unwrap_or_default().to_ascii_uppercase();
                    heard.lock().unwrap().commands.push(command);
                    match verb.as_str() {
                        "EHLO" => EHLO,
                        "XCLIENT" => b"220 naive.example ESMTP\r\n",
                        "DATA" => {
                            text = Some(Default::default());
                            b"354 go on\r\n"
                        }
                        "QUIT" => b"221 2.0.0 bye\r\n",
                        "" => continue,
                        _ => b"250 2.0.0 OK\r\n",
                    }
                }
                Some(_) if line == b"." => {
                    let (message, wire) = text.take().unwrap();
                    let mut heard = heard.lock().unwrap();
                    heard.messages.push(message);
                    heard.wire.push(wire);
                    b"250 2.0.0 taken\r\n"
                }
                Some((message, _)) => {
                    message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
                    message.extend_from_slice(b"\r\n");
                    continue;
                }
            };
            let _ = stream.write_all(reply).await;
        }
    }
}
