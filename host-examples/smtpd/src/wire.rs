//! Lines from the client, octets of a message, and the replies, over one connection.
//!
//! A command ends with CRLF and nothing else. What a bare LF, a bare CR or NUL makes of a line depends on who reads it, and that is
//! what SMTP smuggling lives on: such a line is refused, and never read as two.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::channel::Channel;
use crate::chunks::Chunks;
use crate::data::Decoder;

/// The longest command line with its CRLF. RFC 5321 §4.5.3.1.4 asks for 512; RFC 1870, RFC 3461 and RFC 6531 add up to 1100 to that.
pub const COMMAND_MAX: usize = 2048;

/// How long the client is waited for after the last reply (A4).
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// How much of a refused line is skipped.
const SKIP_OCTETS: usize = 1 << 20;
/// Octets of a message read at once.
const BLOCK: usize = 16 * 1024;
/// Octets of commands read at once: a client that is waited for takes no more than this, and most are waited for.
const COMMANDS: usize = 1024;

/// How far the server's shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not at all.
    Serving,
    /// Transactions in hand are finished, sessions without one are closed.
    Draining,
    /// Whatever still waits for its client is closed.
    Stopping,
}

/// A command line, without its CRLF.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// One to be read as a command.
    Complete(Vec<u8>),
    /// One that must not be. Its rest is skipped, up to its CRLF.
    Bad(Fault),
    /// Such a one that begins with BDAT: how long the chunk behind it is nobody knows.
    BadChunk(Fault),
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is longer than the limit.
    TooLong,
    /// A CR without LF.
    BareCr,
    /// An LF without CR.
    BareLf,
    /// A NUL octet.
    Nul,
}

/// Why nothing more comes from the client.
#[derive(Debug)]
pub enum End {
    /// The client closed the connection, or it broke, or the client did not take its replies.
    Closed,
    /// The client was silent for too long.
    Idle,
    /// The server shuts down.
    ShuttingDown,
    /// The client sent more than the server is willing to skip.
    Flood,
    /// The TLS handshake failed, so that nothing can be said any more; says why.
    Handshake(String),
}

/// One connection, with its buffers.
pub struct Wire<S> {
    stream: Channel<S>,
    input: Vec<u8>,
    /// Octets of `input` that were dealt with.
    used: usize,
    output: Vec<u8>,
    /// The rest of a refused line is being skipped; how much of it was.
    skipped: Option<usize>,
    patience: Patience,
    phase: watch::Receiver<Phase>,
}

/// How long the client is waited for (RFC 5321 §4.5.3.2).
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a command line, and for the client to take the replies.
    pub command: Duration,
    /// For the next block of a message.
    pub block: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Over a connection that was just accepted.
    pub fn new(stream: S, patience: Patience, phase: watch::Receiver<Phase>) -> Self {
        let stream = Channel::Plain(stream);
        Wire { stream, input: Vec::new(), used: 0, output: Vec::new(), skipped: None, patience, phase }
    }

    /// Where replies are written. They go out when the server has to wait for the client: a group of pipelined commands gets its
    /// replies together (RFC 2920 §3.2).
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// The next command line, until `latest` at the latest. The wait for it ends when the server's shutdown has come to `interrupted_by`.
    pub async fn command(&mut self, interrupted_by: Phase, latest: Option<Instant>) -> Result<Line, End> {
        let now = Instant::now();
        if latest.is_some_and(|latest| now >= latest) {
            return Err(End::Idle);
        }
        let deadline = latest.into_iter().fold(now + self.patience.command, Instant::min);
        loop {
            if *self.phase.borrow() >= interrupted_by {
                return Err(End::ShuttingDown);
            }
            if let Some(line) = self.next_line() {
                return Ok(line);
            }
            if self.skipped.is_some_and(|skipped| skipped > SKIP_OCTETS) {
                return Err(End::Flood);
            }
            self.fill(COMMANDS, interrupted_by, deadline).await?;
        }
    }

    /// Whether the client sends anything, or goes, within `time`: before the greeting it has to wait (RFC 5321 §4.3.1).
    pub async fn speaks_within(&mut self, time: Duration) -> Result<bool, End> {
        if self.has_input() {
            return Ok(true);
        }
        match self.fill(COMMANDS, Phase::Draining, Instant::now() + time).await {
            Ok(()) => Ok(true),
            Err(End::Idle) => Ok(false),
            Err(end) => Err(end),
        }
    }

    /// Reads a message into `decoder`, until `deadline` at the latest: up to its end, or until the decoder is exhausted.
    pub async fn message(&mut self, decoder: &mut Decoder, deadline: Instant) -> Result<(), End> {
        loop {
            self.used += decoder.push(&self.input[self.used..]);
            if decoder.is_done() || decoder.is_exhausted() {
                return Ok(());
            }
            let block = Instant::now() + self.patience.block;
            self.fill(BLOCK, Phase::Stopping, block.min(deadline)).await?;
        }
    }

    /// Reads a chunk of `size` octets, until `deadline` at the latest: into `chunks`, or into nowhere.
    pub async fn chunk(&mut self, size: u64, mut chunks: Option<&mut Chunks>, deadline: Instant) -> Result<(), End> {
        let mut left = size;
        while left > 0 {
            let ready = &self.input[self.used..];
            let ready = &ready[..ready.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            if let Some(chunks) = &mut chunks {
                chunks.push(ready);
            }
            left -= ready.len() as u64;
            self.used += ready.len();
            if left > 0 {
                let block = Instant::now() + self.patience.block;
                self.fill(BLOCK, Phase::Stopping, block.min(deadline)).await?;
            }
        }
        Ok(())
    }

    /// Throws away, unread, what the client sent in the clear behind STARTTLS (RFC 3207 §4.2): somebody else may have put it there. Says
    /// how much that was.
    pub fn discard_input(&mut self) -> usize {
        let discarded = self.input.len() - self.used;
        self.input = Vec::new();
        self.used = 0;
        self.skipped = None;
        discarded
    }

    /// Sends the replies written so far and makes the TLS handshake, for which there is `time`. No input may be left.
    pub async fn start_tls(&mut self, acceptor: &TlsAcceptor, time: Duration) -> Result<(), End> {
        self.flush().await?;
        match timeout(time, self.stream.start_tls(acceptor)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(End::Handshake(error.to_string())),
            Err(_) => Err(End::Handshake(format!("not done within {} s", time.as_secs()))),
        }
    }

    /// The certificates that the client showed, its own first.
    pub fn client_certificates(&self) -> &[CertificateDer<'static>] {
        self.stream.client_certificates()
    }

    /// TLS version and cipher suite, where TLS is in use.
    pub fn tls_description(&self) -> Option<String> {
        self.stream.tls_description()
    }

    /// Whether octets of the client were received that are not dealt with yet.
    pub fn has_input(&self) -> bool {
        self.used < self.input.len()
    }

    /// Sends the replies written so far.
    pub async fn flush(&mut self) -> Result<(), End> {
        if self.output.is_empty() {
            return Ok(());
        }
        let sent = async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await
        };
        let sent = timeout(self.patience.command, sent).await;
        // A long reply was an exception: its room is not kept.
        self.output = Vec::new();
        // Who does not take its replies gets no more of them: the last one was perhaps cut in the middle.
        sent.map_err(|_| End::Closed)?.map_err(|_| End::Closed)
    }

    /// Closes in good order (A4): sends what is left, shuts down the sending side, and reads what the client still sends, so that no
    /// reset eats the reply. That ends with the client's own end or after 5 s, however much is sent: a client in the middle of a long
    /// message reads the reply only when it has sent all of it.
    pub async fn close(mut self) {
        if self.flush().await.is_err() {
            return;
        }
        // TLS has something to say here, which a client may refuse to take.
        if !matches!(timeout(DRAIN_TIME, self.stream.shutdown()).await, Ok(Ok(()))) {
            return;
        }
        let mut rest = vec![0; BLOCK];
        let drained = async { while matches!(self.stream.read(&mut rest).await, Ok(1..)) {} };
        // Whether the time was up makes no difference: the connection is closed now.
        let _ = timeout(DRAIN_TIME, drained).await;
    }

    /// Waits for up to `most` octets more.
    async fn fill(&mut self, most: usize, interrupted_by: Phase, deadline: Instant) -> Result<(), End> {
        self.flush().await?;
        self.input.drain(..self.used);
        self.used = 0;
        if self.input.is_empty() && self.input.capacity() > most {
            // Room for blocks of a message is not kept while a command is waited for.
            self.input = Vec::new();
        }
        self.input.reserve_exact(most);
        tokio::select! {
            biased;
            _ = self.phase.wait_for(|phase| *phase >= interrupted_by) => Err(End::ShuttingDown),
            read = timeout_at(deadline, self.stream.read_buf(&mut self.input)) => match read {
                Err(_) => Err(End::Idle),
                Ok(Ok(0) | Err(_)) => Err(End::Closed),
                Ok(Ok(_)) => Ok(()),
            },
        }
    }

    /// The next line of `input`, once it can be judged.
    fn next_line(&mut self) -> Option<Line> {
        if self.skipped.is_some() && !self.skip() {
            return None;
        }
        let pending = &self.input[self.used..];
        let (fault, used) = match pending.iter().position(|octet| *octet == b'\n') {
            // The end of the line is not in doubt, its content may be.
            Some(lf) if lf > 0 && pending[lf - 1] == b'\r' => {
                let line = &pending[..lf - 1];
                let fault = if lf + 1 > COMMAND_MAX {
                    Fault::TooLong
                } else if line.contains(&b'\r') {
                    Fault::BareCr
                } else if line.contains(&0) {
                    Fault::Nul
                } else {
                    let line = line.to_vec();
                    self.used += lf + 1;
                    return Some(Line::Complete(line));
                };
                (fault, lf + 1)
            }
            // Refused at once, so that someone who types sees why; the rest up to the CRLF belongs to the same line.
            Some(lf) => {
                self.skipped = Some(0);
                (Fault::BareLf, lf + 1)
            }
            None if pending.len() >= COMMAND_MAX => {
                self.skipped = Some(0);
                // Its last octet may be the CR of the CRLF that ends the line.
                (Fault::TooLong, pending.len() - usize::from(pending.ends_with(b"\r")))
            }
            None => return None,
        };
        let is_chunk = pending.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT"));
        self.used += used;
        Some(if is_chunk { Line::BadChunk(fault) } else { Line::Bad(fault) })
    }

    /// Skips up to the next CRLF; says whether it was there.
    fn skip(&mut self) -> bool {
        let pending = &self.input[self.used..];
        if let Some(cr) = pending.windows(2).position(|pair| pair == b"\r\n") {
            self.used += cr + 2;
            self.skipped = None;
            return true;
        }
        let used = pending.len() - usize::from(pending.ends_with(b"\r"));
        self.used += used;
        self.skipped = self.skipped.map(|skipped| skipped + used);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::DuplexStream;

    const IDLE: Duration = Duration::from_millis(200);
    const PATIENCE: Patience = Patience { command: IDLE, block: IDLE };

    fn wire() -> (Wire<DuplexStream>, DuplexStream, watch::Sender<Phase>) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (sender, phase) = watch::channel(Phase::Serving);
        (Wire::new(ours, PATIENCE, phase), theirs, sender)
    }

    /// The lines that `input` is read as, in pieces of `piece` octets.
    async fn lines(input: &[u8], piece: usize) -> Vec<Line> {
        let (mut wire, mut client, _phase) = wire();
        let input = input.to_vec();
        let write = tokio::spawn(async move {
            for part in input.chunks(piece) {
                client.write_all(part).await.expect("open");
                tokio::task::yield_now().await;
            }
        });
        let mut lines = Vec::new();
        while let Ok(line) = wire.command(Phase::Draining, None).await {
            lines.push(line);
        }
        write.await.expect("no panic");
        lines
    }

    fn complete(text: &str) -> Line {
        Line::Complete(text.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn only_crlf_ends_a_command() {
        for piece in [1, 2, 3, 1000] {
            assert_eq!(lines(b"NOOP\r\nQUIT\r\n", piece).await, [complete("NOOP"), complete("QUIT")]);
            assert_eq!(lines(b"\r\n", piece).await, [complete("")]);
            assert_eq!(lines(b"NOOP", piece).await, []);
            // One line, one reply: what follows the bare LF is no command of its own.
            assert_eq!(lines(b"NOOP\nQUIT\r\nRSET\r\n", piece).await, [Line::Bad(Fault::BareLf), complete("RSET")]);
            assert_eq!(lines(b"\nQUIT\r\nRSET\r\n", piece).await, [Line::Bad(Fault::BareLf), complete("RSET")]);
            assert_eq!(lines(b"NOOP\rQUIT\r\nRSET\r\n", piece).await, [Line::Bad(Fault::BareCr), complete("RSET")]);
            assert_eq!(lines(b"NOOP\r\r\nRSET\r\n", piece).await, [Line::Bad(Fault::BareCr), complete("RSET")]);
            assert_eq!(lines(b"NO\0OP\r\nRSET\r\n", piece).await, [Line::Bad(Fault::Nul), complete("RSET")]);
            assert_eq!(lines(b"bdat 5\0\r\nRSET\r\n", piece).await, [Line::BadChunk(Fault::Nul), complete("RSET")]);
        }
    }

    #[tokio::test]
    async fn a_command_line_has_a_limit() {
        for piece in [1, 7, 100_000] {
            let longest = "x".repeat(COMMAND_MAX - 2);
            assert_eq!(lines(format!("{longest}\r\n").as_bytes(), piece).await, [complete(&longest)]);
            let too_long = [Line::Bad(Fault::TooLong), complete("RSET")];
            assert_eq!(lines(format!("{longest}y\r\nRSET\r\n").as_bytes(), piece).await, too_long);
            assert_eq!(lines(format!("{}\r\nRSET\r\n", longest.repeat(9)).as_bytes(), piece).await, too_long);
        }
    }

    #[tokio::test]
    async fn a_line_without_end_is_not_skipped_forever() {
        let (mut wire, mut client, _phase) = wire();
        let flood = tokio::spawn(async move { while client.write_all(&[b'x'; 4096]).await.is_ok() {} });
        assert!(matches!(wire.command(Phase::Draining, None).await, Ok(Line::Bad(Fault::TooLong))));
        assert!(matches!(wire.command(Phase::Draining, None).await, Err(End::Flood)));
        drop(wire);
        flood.await.expect("no panic");
    }

    #[tokio::test]
    async fn a4_the_drain_ends_by_time_and_not_by_octets() {
        let (mut wire, mut client, _phase) = wire();
        let flood = tokio::spawn(async move {
            let mut sent: usize = 0;
            while client.write_all(&[b'x'; 1 << 16]).await.is_ok() {
                sent += 1 << 16;
                // Leaves the processor to the other tests.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            sent
        });
        wire.output().extend_from_slice(b"421 4.7.0 closing\r\n");
        let start = Instant::now();
        wire.close().await;
        assert!((DRAIN_TIME..DRAIN_TIME * 2).contains(&start.elapsed()), "{:?}", start.elapsed());
        let sent = flood.await.expect("no panic");
        assert!(sent > 4 << 20, "{sent} octets");
    }

    #[tokio::test]
    async fn replies_go_out_when_the_input_is_used_up() {
        let (mut wire, mut client, _phase) = wire();
        client.write_all(b"NOOP\r\nNOOP\r\n").await.expect("open");
        wire.command(Phase::Draining, None).await.expect("a line");
        wire.output().extend_from_slice(b"1");
        wire.command(Phase::Draining, None).await.expect("a line");
        wire.output().extend_from_slice(b"2");
        let mut sent = [0; 2];
        assert!(timeout(Duration::from_millis(20), client.read(&mut sent)).await.is_err(), "sent too early");
        assert!(matches!(wire.command(Phase::Draining, None).await, Err(End::Idle)));
        assert_eq!(client.read(&mut sent).await.expect("open"), 2);
        assert_eq!(&sent, b"12");
    }

    #[tokio::test]
    async fn silence_ends_the_wait_however_it_is_spread() {
        let (mut wire, mut client, _phase) = wire();
        let drip = tokio::spawn(async move {
            for _ in 0..20 {
                tokio::time::sleep(IDLE / 4).await;
                if client.write_all(b"x").await.is_err() {
                    return;
                }
            }
        });
        let start = Instant::now();
        assert!(matches!(wire.command(Phase::Draining, None).await, Err(End::Idle)));
        assert!(start.elapsed() < IDLE * 3, "octet by octet is no way to stay");
        drop(wire);
        drip.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_chunk_is_as_long_as_it_says() {
        let (mut wire, mut client, _phase) = wire();
        let later = Instant::now() + Duration::from_secs(10);
        client.write_all(b"a\r\nQUIT\r\nNOOP\r\n").await.expect("open");
        let mut chunks = Chunks::new(100, &smtp_fallback_daemon::memory::Share::unlimited());
        wire.chunk(0, Some(&mut chunks), later).await.expect("nothing to read");
        wire.chunk(3, Some(&mut chunks), later).await.expect("is there");
        wire.chunk(6, None, later).await.expect("is there");
        assert_eq!(wire.command(Phase::Draining, None).await.expect("is there"), complete("NOOP"));
        assert_eq!(chunks.finish().expect("whole").octets(), b"a\r\n");
        let start = Instant::now();
        assert!(matches!(wire.chunk(u64::MAX, None, later).await, Err(End::Idle)), "a block has its time");
        assert!(start.elapsed() < IDLE * 3);
    }

    #[tokio::test]
    async fn a_client_may_speak_too_early() {
        let (mut wire, mut client, _phase) = wire();
        assert!(!wire.speaks_within(IDLE / 4).await.expect("open"));
        client.write_all(b"EHLO a\r\n").await.expect("open");
        assert!(wire.speaks_within(IDLE).await.expect("open"));
        assert!(wire.speaks_within(IDLE).await.expect("open"), "and it stays so");
        assert_eq!(wire.command(Phase::Draining, None).await.expect("kept"), complete("EHLO a"));
        drop(client);
        assert!(matches!(wire.speaks_within(IDLE).await, Err(End::Closed)));
    }

    #[tokio::test]
    async fn a_waiting_connection_keeps_little_room() {
        let (mut wire, mut client, _phase) = wire();
        client.write_all(&[b'x'; 9000]).await.expect("open");
        wire.chunk(9000, None, Instant::now() + IDLE).await.expect("is there");
        wire.output().extend_from_slice(&[b'x'; 5000]);
        assert!(matches!(wire.command(Phase::Draining, None).await, Err(End::Idle)));
        assert!(wire.input.capacity() <= COMMANDS && wire.output.capacity() == 0, "{}", wire.input.capacity());
    }

    #[tokio::test]
    async fn shutdown_ends_the_wait_from_the_named_phase_on() {
        let (mut wire, _client, phase) = wire();
        phase.send(Phase::Draining).expect("a receiver");
        assert!(matches!(wire.command(Phase::Draining, None).await, Err(End::ShuttingDown)));
        assert!(matches!(wire.command(Phase::Stopping, None).await, Err(End::Idle)));
        phase.send(Phase::Stopping).expect("a receiver");
        assert!(matches!(wire.command(Phase::Stopping, None).await, Err(End::ShuttingDown)));
    }
}
