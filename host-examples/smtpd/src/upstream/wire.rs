//! Octets to and from upstream.
//!
//! It reads while it writes: an upstream that has had enough in the middle of a message says so, and may read nothing more. Whatever is
//! read or written is on record before anything is waited for, so that any wait here can be dropped.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, timeout_at};

use super::reply::Reader;
use super::{Error, Reply};

/// Octets read at once.
const CHUNK: usize = 4096;
/// Reads in a row without waiting: enough for the longest reply that is not a flood.
const LOOKS: usize = 4;

/// What a connection to upstream runs over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

pub(super) struct Wire {
    stream: Box<dyn Stream>,
    reader: Reader,
    output: Vec<u8>,
    /// Octets of `output` that were written.
    written: usize,
    /// Upstream sends nothing more.
    ended: bool,
    /// Upstream takes nothing more, or is to get nothing more. What it sent before is still to be read: it may say why.
    deaf: bool,
}

impl Wire {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Wire { stream, reader: Reader::default(), output: Vec::new(), written: 0, ended: false, deaf: false }
    }

    /// Puts octets behind those to be written. They go out with the next wait.
    pub(super) fn queue(&mut self, octets: &[u8]) {
        self.output.extend_from_slice(octets);
    }

    /// Where octets to be written are put.
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Whether something is still to be written.
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether something was read that is not dealt with, be it the start of a reply.
    pub(super) fn has_input(&self) -> bool {
        !self.reader.is_empty()
    }

    /// Whether nothing was read, or only what may be the start of a reply 421.
    pub(super) fn may_be_closing(&self) -> bool {
        self.reader.may_be_closing()
    }

    /// Whether upstream has closed the connection.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Writes what is queued, and reads the next reply.
    pub(super) async fn reply(&mut self, at: &'static str, deadline: Instant) -> Result<Reply, Error> {
        // Each round reads or writes something, or is the last; the reader bounds what it takes.
        loop {
            if let Some(reply) = self.reader.next().map_err(|fault| Error::Broken { at, fault })? {
                return Ok(reply);
            }
            if self.ended {
                return Err(Error::Closed(at));
            }
            if !self.progress(deadline).await {
                return Err(Error::TimedOut(at));
            }
        }
    }

    /// Writes what is queued. False, with some of it unwritten, and it will never be written: upstream has said something, closed the
    /// connection, or takes nothing more.
    pub(super) async fn send(&mut self, at: &'static str, deadline: Instant) -> Result<bool, Error> {
        loop {
            if self.output.is_empty() {
                return Ok(true);
            }
            if self.has_input() || self.ended || self.deaf {
                self.deaf = true;
                return Ok(false);
            }
            if !self.progress(deadline).await {
                return Err(Error::TimedOut(at));
            }
        }
    }

    /// Waits until something was read or written, or the connection has ended. False: nothing of that by the deadline.
    pub(super) async fn progress(&mut self, deadline: Instant) -> bool {
        timeout_at(deadline, poll_fn(|cx| self.poll_progress(cx))).await.is_ok()
    }

    /// Reads what is there, without waiting.
    pub(super) fn look(&mut self) {
        // An answer at once, even when this task has used up its turn.
        let mut reading = unconstrained(poll_fn(|cx| self.poll_read(cx)));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..LOOKS {
            if Pin::new(&mut reading).poll(&mut cx).is_pending() {
                return;
            }
        }
    }

    /// Closes the sending side.
    pub(super) async fn close(&mut self) {
        // It may be closed already.
        let _ = self.stream.shutdown().await;
    }

    /// Reads before it writes: nothing is sent to an upstream that has just said that it wants no more.
    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_read(cx).is_ready() {
            return Poll::Ready(());
        }
        if self.output.is_empty() || self.deaf {
            return Poll::Pending;
        }
        match Pin::new(&mut self.stream).poll_write(cx, &self.output[self.written..]) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0) | Err(_)) => self.deaf = true,
            Poll::Ready(Ok(octets)) => self.written += octets,
        }
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
        Poll::Ready(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended {
            return Poll::Ready(());
        }
        let mut chunk = [0; CHUNK];
        let mut buffer = ReadBuf::new(&mut chunk);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.reader.push(buffer.filled()),
            Poll::Ready(_) => self.ended = true,
        }
        Poll::Ready(())
    }
}
