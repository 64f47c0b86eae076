//! Lines from the client, octets of a message, and the replies, over one connection.
//!
//! A command ends with CRLF and nothing else. What a bare LF, a bare CR or NUL makes of a line depends on who reads it, and that is
//! what SMTP smuggling lives on: such a line is refused, and never read as two.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::data::Decoder;

/// The longest command line with its CRLF. RFC 5321 §4.5.3.1.4 asks for 512, and more for what the extensions add to MAIL.
pub const COMMAND_MAX: usize = 1024;

/// How long the client is waited for after the last reply (A4).
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// How much of a refused line is skipped.
const SKIP_OCTETS: usize = 1 << 20;
/// Octets read at once.
const CHUNK: usize = 16 * 1024;

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
    /// The client closed the connection, or it broke.
    Closed,
    /// The client was silent for too long, or did not take its replies.
    Idle,
    /// The server shuts down.
    ShuttingDown,
    /// The client sent more than the server is willing to skip.
    Flood,
}

/// One connection, with its buffers.
pub struct Wire<S> {
    stream: S,
    input: Vec<u8>,
    /// Octets of `input` that were dealt with.
    used: usize,
    output: Vec<u8>,
    /// The rest of a refused line is being skipped; how much of it was.
    skipped: Option<usize>,
    idle: Duration,
    phase: watch::Receiver<Phase>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// `idle` is how long to wait for the client, in either direction.
    pub fn new(stream: S, idle: Duration, phase: watch::Receiver<Phase>) -> Self {
        Wire { stream, input: Vec::new(), used: 0, output: Vec::new(), skipped: None, idle, phase }
    }

    /// Where replies are written. They go out when the server has to wait for the client: a group of pipelined commands gets its
    /// replies together (RFC 2920 §3.2).
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// The next command line. The wait for it ends when the server's shutdown has come to `interrupted_by`.
    pub async fn command(&mut self, interrupted_by: Phase) -> Result<Line, End> {
        let deadline = Instant::now() + self.idle;
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
            self.fill(interrupted_by, deadline).await?;
        }
    }

    /// Reads a message into `decoder`, until `deadline` at the latest: up to its end, or until the decoder is exhausted.
    pub async fn message(&mut self, decoder: &mut Decoder, deadline: Instant) -> Result<(), End> {
        loop {
            self.used += decoder.push(&self.input[self.used..]);
            if decoder.is_done() || decoder.is_exhausted() {
                return Ok(());
            }
            let block = Instant::now() + self.idle;
            self.fill(Phase::Stopping, block.min(deadline)).await?;
        }
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
        let sent = timeout(self.idle, sent).await;
        self.output.clear();
        sent.map_err(|_| End::Idle)?.map_err(|_| End::Closed)
    }

    /// Closes in good order (A4): sends what is left, shuts down the sending side, and reads what the client still sends, so that no
    /// reset eats the reply. That ends with the client's own end or after 5 s, however much is sent: a client in the middle of a long
    /// message reads the reply only when it has sent all of it.
    pub async fn close(mut self) {
        if self.flush().await.is_err() || self.stream.shutdown().await.is_err() {
            return;
        }
        let mut rest = vec![0; CHUNK];
        let drained = async { while matches!(self.stream.read(&mut rest).await, Ok(1..)) {} };
        // Whether the time was up makes no difference: the connection is closed now.
        let _ = timeout(DRAIN_TIME, drained).await;
    }

    async fn fill(&mut self, interrupted_by: Phase, deadline: Instant) -> Result<(), End> {
        self.flush().await?;
        self.input.drain(..self.used);
        self.used = 0;
        self.input.reserve(CHUNK);
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
        self.used += used;
        Some(Line::Bad(fault))
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

    fn wire() -> (Wire<DuplexStream>, DuplexStream, watch::Sender<Phase>) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (sender, phase) = watch::channel(Phase::Serving);
        (Wire::new(ours, IDLE, phase), theirs, sender)
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
        while let Ok(line) = wire.command(Phase::Draining).await {
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
        assert!(matches!(wire.command(Phase::Draining).await, Ok(Line::Bad(Fault::TooLong))));
        assert!(matches!(wire.command(Phase::Draining).await, Err(End::Flood)));
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
        wire.command(Phase::Draining).await.expect("a line");
        wire.output().extend_from_slice(b"1");
        wire.command(Phase::Draining).await.expect("a line");
        wire.output().extend_from_slice(b"2");
        let mut sent = [0; 2];
        assert!(timeout(Duration::from_millis(20), client.read(&mut sent)).await.is_err(), "sent too early");
        assert!(matches!(wire.command(Phase::Draining).await, Err(End::Idle)));
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
        assert!(matches!(wire.command(Phase::Draining).await, Err(End::Idle)));
        assert!(start.elapsed() < IDLE * 3, "octet by octet is no way to stay");
        drop(wire);
        drip.await.expect("no panic");
    }

    #[tokio::test]
    async fn shutdown_ends_the_wait_from_the_named_phase_on() {
        let (mut wire, _client, phase) = wire();
        phase.send(Phase::Draining).expect("a receiver");
        assert!(matches!(wire.command(Phase::Draining).await, Err(End::ShuttingDown)));
        assert!(matches!(wire.command(Phase::Stopping).await, Err(End::Idle)));
        phase.send(Phase::Stopping).expect("a receiver");
        assert!(matches!(wire.command(Phase::Stopping).await, Err(End::ShuttingDown)));
    }
}
