//! From DATA or the first BDAT to the reply to the end of the message.

use std::time::Duration;

use smtp_fallback_daemon::memory::Share;
use smtp_fallback_policy::contract::Stage;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::ask::Facts;
use super::transaction::Transaction;
use super::upstream::kept_alive;
use super::{Session, nonce, now};
use crate::chunks::Chunks;
use crate::command::Chunk;
use crate::data::Decoder;
use crate::reply::Reply;
use crate::text::{Fault, LINE_MAX, Text, skipped_at_most};
use crate::wire::End;

/// How long after a refused DATA the client is listened to for a message that it sent without waiting.
const EARLY_TIME: Duration = Duration::from_millis(5);

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// DATA, up to the reply to the dot.
    pub(super) async fn data(&mut self) -> Result<Option<Reply>, End> {
        if let Err(reply) = self.ready_for_message() {
            let reply = self.mistake(reply);
            return self.no_message(reply).await;
        }
        if self.transaction.as_ref().is_some_and(|transaction| transaction.chunks.is_some()) {
            let reply = self.mistake(Reply::new(503, "5.5.1", "the message has begun by BDAT, and goes on by BDAT"));
            return self.no_message(reply).await;
        }
        if let Some(refusal) = self.refused_before_message().await {
            return self.no_message(refusal).await;
        }
        self.send(Reply::bare(354, "send the message; a line with a single dot ends it")).await?;
        let mut decoder = Decoder::new(self.size_limit(), &self.share());
        let deadline = Instant::now() + self.service.limits.message_time;
        let Session { wire, upstream, last_words, .. } = self;
        kept_alive(upstream, last_words, wire.message(&mut decoder, deadline)).await?;
        self.idle_commands = 0;
        // Else so much of it was thrown away that its end is not waited for: there is no place where a command could start.
        let ended = decoder.is_done();
        // Where the message ends is clear, but not to everybody: the client may have meant its tail as commands.
        self.ambiguous |= decoder.is_ambiguous();
        let transaction = self.transaction.take().expect("only this function ends a transaction while a message is read");
        let reply = match decoder.finish() {
            Ok(text) => self.end_of_data(transaction, text).await,
            Err(fault) => self.spoiled(transaction, fault).await,
        };
        Ok(Some(if ended { reply } else { reply.and_close() }))
    }

    /// BDAT, up to the reply to the chunk (RFC 3030 §2). Its octets are read whatever the reply is: they are no commands.
    pub(super) async fn bdat(&mut self, chunk: Chunk) -> Result<Reply, End> {
        let reply = match self.ready_for_message() {
            Err(reply) => Some(self.mistake(reply)),
            Ok(()) => self.first_chunk().await,
        };
        if let Some(reply) = reply {
            return self.without_chunk(chunk, reply).await;
        }
        let mut transaction = self.transaction.take().expect("it is ready for a message");
        let mut chunks = transaction.chunks.take().expect("the first chunk has begun it");
        chunks.announce(chunk.size);
        if let Some(fault) = chunks.fault() {
            let reply = self.spoiled(transaction, fault).await;
            return self.without_chunk(chunk, reply).await;
        }
        let Session { wire, upstream, last_words, .. } = self;
        kept_alive(upstream, last_words, wire.chunk(chunk.size, Some(&mut chunks), transaction.deadline)).await?;
        if chunk.size > 0 || chunk.last {
            self.idle_commands = 0;
        }
        match (chunks.fault(), chunk.last) {
            (Some(fault), _) => Ok(self.spoiled(transaction, fault).await),
            (None, false) => {
                transaction.chunks = Some(chunks);
                self.transaction = Some(transaction);
                Ok(Reply::new(250, "2.0.0", format!("{} octets received", chunk.size)))
            }
            (None, true) => match chunks.finish() {
                Ok(text) => Ok(self.end_of_data(transaction, text).await),
                Err(fault) => Ok(self.spoiled(transaction, fault).await),
            },
        }
    }

    fn ready_for_message(&self) -> Result<(), Reply> {
        match &self.transaction {
            None => Err(Reply::new(503, "5.5.1", "MAIL must come first")),
            Some(transaction) if transaction.recipients.is_empty() => Err(Reply::new(554, "5.5.1", "no valid recipients")),
            Some(_) => Ok(()),
        }
    }

    /// Before the first chunk the policy is asked as it is at DATA; its refusal, or nothing.
    async fn first_chunk(&mut self) -> Option<Reply> {
        if self.transaction.as_ref().is_some_and(|transaction| transaction.chunks.is_some()) {
            return None;
        }
        if let Some(refusal) = self.refused_before_message().await {
            return Some(refusal);
        }
        let chunks = Chunks::new(self.size_limit(), &self.share());
        let deadline = Instant::now() + self.service.limits.message_time;
        if let Some(transaction) = &mut self.transaction {
            transaction.chunks = Some(chunks);
            transaction.deadline = deadline;
        }
        None
    }

    fn share(&self) -> Share {
        self.service.memory.share(self.origin.network)
    }

    /// Passes over a chunk that nobody wants, and gives the reply; closes where it is too long to be passed over.
    async fn without_chunk(&mut self, chunk: Chunk, reply: Reply) -> Result<Reply, End> {
        if chunk.size > skipped_at_most(self.service.limits.message_size) as u64 {
            return Ok(reply.and_close());
        }
        let deadline = Instant::now() + self.service.limits.message_time;
        self.wire.chunk(chunk.size, None, deadline).await?;
        Ok(reply)
    }

    /// Once all recipients are known, before the message. A refusal ends the transaction.
    async fn refused_before_message(&mut self) -> Option<Reply> {
        if let Some(gone) = self.upstream_gone() {
            self.transaction = None;
            return Some(gone);
        }
        let envelope = self.transaction.as_ref()?.envelope();
        let results = self.verify_envelope(&envelope.mail_from).await;
        if let Some(transaction) = &mut self.transaction {
            transaction.results = results.clone();
        }
        let refusal = self.ask(Stage::Data, Some(Facts { envelope, message: None, results, id: None })).await?;
        self.transaction = None;
        self.give_up_upstream(&refusal).await;
        Some(refusal)
    }

    /// The reply in place of 354. A client waits for it before it sends more (RFC 2920 §3.1); what has come already is perhaps a message,
    /// whose lines must not be read as commands.
    async fn no_message(&mut self, refusal: Reply) -> Result<Option<Reply>, End> {
        if refusal.close || !self.wire.speaks_within(EARLY_TIME).await? {
            return Ok(Some(refusal));
        }
        self.send(refusal).await?;
        Ok(Some(Reply::new(421, "4.7.0", "more was sent before the reply to DATA; closing").and_close()))
    }

    async fn end_of_data(&mut self, mut transaction: Transaction, text: Text) -> Reply {
        let id = message_id();
        if !self.settled {
            let envelope = transaction.envelope();
            let results = self.verify_message(&envelope.mail_from, transaction.results.take(), text.octets()).await;
            if let Some(results) = &results {
                self.service.temporary_errors.saw(results, now());
            }
            let message = smtp_fallback_verify::summary(text.octets());
            let facts = Facts { envelope, message: Some(message), results, id: Some(&id) };
            // A refused message is discarded here, never delivered later (R8).
            if let Some(refusal) = self.ask(Stage::EndOfData, Some(facts)).await {
                self.give_up_upstream(&refusal).await;
                return refusal;
            }
        }
        self.deliver(&transaction, text, &id).await
    }

    /// Ends the transaction of a message that is refused for its form, and gives the reply.
    async fn spoiled(&mut self, transaction: Transaction, fault: Fault) -> Reply {
        let word = match fault {
            Fault::BareCr => "bare-cr",
            Fault::BareLf => "bare-lf",
            Fault::Nul => "nul",
            Fault::LineTooLong => "line-too-long",
            Fault::TooLarge => "too-large",
            Fault::OutOfMemory => "out-of-memory",
        };
        let (ehlo, mail_from) = (self.ehlo_name(), transaction.mail_from.address());
        let recipients = transaction.recipients.len();
        tracing::info!(event = "message-refused", client = %self.client, ehlo, mail_from, recipients, fault = word);
        let reply = match fault {
            Fault::BareCr => Reply::new(550, "5.6.0", "the message has a CR without LF: lines end with CRLF"),
            Fault::BareLf => Reply::new(550, "5.6.0", "the message has an LF without CR: lines end with CRLF"),
            Fault::Nul => Reply::new(550, "5.6.0", "the message has a NUL octet"),
            Fault::LineTooLong => Reply::new(550, "5.6.0", format!("the message has a line longer than {LINE_MAX} octets")),
            Fault::TooLarge => self.too_large(),
            Fault::OutOfMemory => Reply::new(452, "4.3.1", "too many messages at once; try again later"),
        };
        let reply = self.mistake(reply);
        self.give_up_upstream(&reply).await;
        reply
    }
}

/// Names a message in replies, logs, its Received field and its file name.
fn message_id() -> String {
    let bits = getrandom::u64().unwrap_or_else(|_| u64::from(nonce()));
    format!("{bits:016x}")
}
