//! What a host counts, for Prometheus. `METRICS.md` is the catalogue; a test holds it to this.
//!
//! Labels are words of fixed lists only, never text that a client chose: the number of time series is bounded.

mod collect;
mod words;

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use smtp_fallback_policy::contract::{Connection, Decision, MatchKind, Message, Note, Reason, Stage, Verdict};
use smtp_fallback_store::WriteBack;

pub(crate) use collect::Sampled;
use words::{Mode, code_word, note_word, stage_word, verdict_word};

/// All names begin so.
const PREFIX: &str = "smtp_fallback";

/// Times of fall-back, in seconds: from at once, over the first retries of MTAs, to the five days that they try for.
const DELAYS: [f64; 13] =
    [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14_400.0, 21_600.0, 86_400.0, 172_800.0, 432_000.0];

/// The metrics of a host. Counting takes less than a microsecond and never waits for a scrape.
pub struct Metrics {
    registry: Registry,
    decisions: Family<DecisionLabels, Counter>,
    would: Family<DecisionLabels, Counter>,
    message_bytes: Family<FamilyLabels, Counter>,
    refused_bytes: Family<ModeLabels, Counter>,
    delay: Family<MatchLabels, Histogram, fn() -> Histogram>,
    repeated: Family<RepeatLabels, Counter>,
    repeated_bytes: Family<RepeatLabels, Counter>,
    penalty_changes: Family<ChangeLabels, Counter>,
    probes: Family<ModeLabels, Counter>,
    temporary_errors: Family<OutcomeLabels, Counter>,
    let_in: Counter,
    let_ins_begun: Counter,
    notes: Family<NoteLabels, Counter>,
    records_stored: Counter,
    records_dropped: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    stage: &'static str,
    verdict: &'static str,
    reason: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FamilyLabels {
    family: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModeLabels {
    mode: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MatchLabels {
    matched: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RepeatLabels {
    family: &'static str,
    matched: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChangeLabels {
    change: &'static str,
    mode: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NoteLabels {
    note: &'static str,
}

impl Metrics {
    /// All zero. `sampled` are what each scrape asks of the host.
    pub(crate) fn new(sampled: Arc<dyn Sampled>) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let mut all = Registrar(&mut registry);
        let mut metrics = Metrics {
            decisions: all.add("decisions", "Decisions of the policy that took effect"),
            would: all.add("would_decisions", "What enforce mode would have answered, where the decision was not enforced"),
            message_bytes: all.add("message_bytes", "Octets of messages that were heard to their end"),
            refused_bytes: all.add("refused_bytes", "Octets of messages that were refused after they were heard to their end"),
            delay: all.add_family(
                "fall_back_delay_seconds",
                "Time from the first refusal of a mail over IPv6 until it was brought over IPv4",
                Family::new_with_constructor((|| Histogram::new(DELAYS)) as fn() -> Histogram),
            ),
            repeated: all.add("repeated_messages", "Messages that had been refused before and were sent again"),
            repeated_bytes: all.add("repeated_bytes", "Octets of messages that had been refused before and were sent again"),
            penalty_changes: all.add("penalty_changes", "Penalties of networks that began, were renewed, or ended"),
            probes: all.add("probes", "Connections that passed their network's penalty as a probe"),
            temporary_errors: all.add("temporary_errors", "Messages whose authentication had a temporary error that decided"),
            let_in: all
                .add("let_in_messages", "Messages without authentication that were let in, since their clients do not fall back"),
            let_ins_begun: all
                .add("let_ins_begun", "Networks that the policy began to let in, since a client does not fall back"),
            notes: all.add("notes", "Other remarks of the policy on its decisions"),
            records_stored: all.add("records_stored", "Records that were written to the store"),
            records_dropped: all
                .add("records_dropped", "Records that were lost: the store failed, or others were faster at every try"),
            registry: Registry::default(),
        };
        registry.register_collector(Box::new(collect::Collect(sampled)));
        metrics.registry = registry;
        metrics.begin_at_zero();
        metrics
    }

    /// Counts a decision at any stage. `message` is the one that was judged, at the end of data.
    pub fn decision(&self, connection: &Connection, message: Option<&Message>, decision: &Decision) {
        let stage = stage_word(connection.stage);
        let reason = decision.reason.as_str();
        let labels =
            |verdict: &Verdict| DecisionLabels { stage, verdict: verdict_word(verdict), reason, code: code_word(verdict) };
        self.decisions.get_or_create(&labels(&decision.verdict)).inc();
        let mode = Mode::of(decision);
        if let Some(would) = &decision.would {
            self.would.get_or_create(&labels(would)).inc();
        }
        let family = if connection.client.is_ipv4() { "ipv4" } else { "ipv6" };
        let bytes = message.filter(|_| connection.stage == Stage::EndOfData).map_or(0, |message| message.size.into());
        if bytes > 0 {
            self.message_bytes.get_or_create(&FamilyLabels { family }).inc_by(bytes);
            if matches!(decision.would.as_ref().unwrap_or(&decision.verdict), Verdict::Refuse(_)) {
                self.refused_bytes.get_or_create(&ModeLabels { mode: mode.as_str() }).inc_by(bytes);
            }
        }
        if let Some(link) = &decision.linked {
            let matched = match link.match_kind {
                MatchKind::Exact => "exact",
                MatchKind::Inferred => "inferred",
            };
            let labels = RepeatLabels { family, matched };
            self.repeated.get_or_create(&labels).inc();
            self.repeated_bytes.get_or_create(&labels).inc_by(bytes);
            if family == "ipv4" {
                self.delay.get_or_create(&MatchLabels { matched }).observe(f64::from(link.seconds));
            }
        }
        self.reason(decision.reason, decision, connection.stage);
        for note in &decision.notes {
            self.note(note, mode);
        }
    }

    /// Counts what became of a decision's records.
    pub fn written(&self, written: &WriteBack) {
        self.records_stored.inc_by(written.stored as u64);
        self.records_dropped.inc_by(written.dropped as u64);
    }

    /// Counts records that were lost for another reason, such as a store without an answer in time.
    pub fn records_dropped(&self, records: u64) {
        self.records_dropped.inc_by(records);
    }

    fn reason(&self, reason: Reason, decision: &Decision, stage: Stage) {
        match reason {
            Reason::TemporaryError => self.outcome("accepted"),
            Reason::TemporaryErrorBudget => self.outcome("refused"),
            Reason::LetIn if stage == Stage::EndOfData && decision.would.is_none() => {
                self.let_in.inc();
            }
            _ => {}
        }
    }

    fn outcome(&self, outcome: &'static str) {
        self.temporary_errors.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    fn note(&self, note: &Note, mode: Mode) {
        let mode = mode.as_str();
        let change = match note {
            Note::PenaltyBegins => "begun",
            Note::PenaltyRenewed => "renewed",
            Note::PenaltyEnds => "ended",
            Note::Probe => {
                self.probes.get_or_create(&ModeLabels { mode }).inc();
                return;
            }
            Note::LetInBegins => {
                self.let_ins_begun.inc();
                return;
            }
            other => {
                self.notes.get_or_create(&NoteLabels { note: note_word(other) }).inc();
                return;
            }
        };
        self.penalty_changes.get_or_create(&ChangeLabels { change, mode }).inc();
    }

    /// Series that are there from the start, so that their first increase is seen as one.
    fn begin_at_zero(&self) {
        for family in ["ipv4", "ipv6"] {
            drop(self.message_bytes.get_or_create_owned(&FamilyLabels { family }));
            for matched in ["exact", "inferred"] {
                drop(self.repeated.get_or_create_owned(&RepeatLabels { family, matched }));
                drop(self.repeated_bytes.get_or_create_owned(&RepeatLabels { family, matched }));
            }
        }
        for matched in ["exact", "inferred"] {
            drop(self.delay.get_or_create_owned(&MatchLabels { matched }));
        }
        for outcome in ["accepted", "refused"] {
            drop(self.temporary_errors.get_or_create_owned(&OutcomeLabels { outcome }));
        }
        for mode in Mode::ALL.map(Mode::as_str) {
            drop(self.refused_bytes.get_or_create_owned(&ModeLabels { mode }));
            drop(self.probes.get_or_create_owned(&ModeLabels { mode }));
            for change in ["begun", "renewed", "ended"] {
                drop(self.penalty_changes.get_or_create_owned(&ChangeLabels { change, mode }));
            }
        }
        for note in words::NOTES {
            drop(self.notes.get_or_create_owned(&NoteLabels { note }));
        }
    }

    /// All metrics as text. `openmetrics`: in OpenMetrics 1.0, else in Prometheus' own format 0.0.4.
    pub(crate) fn encode(&self, openmetrics: bool) -> Result<String, fmt::Error> {
        let mut out = String::with_capacity(16 * 1024);
        if openmetrics {
            text::encode(&mut out, &self.registry)?;
        } else {
            prometheus_text::encode(&mut out, &self.registry)?;
        }
        Ok(out)
    }
}

/// Registers metrics as it hands them out.
struct Registrar<'a>(&'a mut Registry);

impl Registrar<'_> {
    fn add<M>(&mut self, name: &str, help: &str) -> M
    where
        M: prometheus_client::registry::Metric + Clone + Default,
    {
        self.add_family(name, help, M::default())
    }

    fn add_family<M>(&mut self, name: &str, help: &str, metric: M) -> M
    where
        M: prometheus_client::registry::Metric + Clone,
    {
        self.0.register(name, help, metric.clone());
        metric
    }
}
