//! What is asked of the host at each scrape, and what the last census found.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use smtp_fallback_policy::contract::Mode;
use smtp_fallback_store::Health;

use crate::census::Census;
use crate::monitor::PolicyState;

/// Where the values of a scrape come from.
pub(crate) trait Sampled: Send + Sync {
    /// The policy now.
    fn policy(&self) -> PolicyState;
    /// How often the policy failed, by kind.
    fn failures(&self) -> Vec<(&'static str, u64)>;
    /// The store now.
    fn health(&self) -> Health;
    /// The last census, and what went wrong with later ones.
    fn census(&self) -> Arc<Census>;
    /// Seconds since 1970.
    fn now(&self) -> u64;
}

pub(super) struct Collect(pub(super) Arc<dyn Sampled>);

impl fmt::Debug for Collect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collect")
    }
}

impl Collector for Collect {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        let policy = self.0.policy();
        out.gauge("policy_loaded", "1 while a policy is loaded, else 0: everything is accepted", policy.mode.is_some().into())?;
        out.gauge("enforcing", "1 while refusals reach clients, else 0", (policy.mode == Some(Mode::Enforce)).into())?;
        out.gauge(
            "policy_problem",
            "1 while the policy on disk cannot be used, else 0; the one before stays in force, if there was one",
            policy.problem.is_some().into(),
        )?;
        let failures = self.0.failures();
        let failures = failures.iter().map(|(kind, count)| (*kind, *count));
        out.counters(
            "policy_failures",
            "Calls of the policy that gave no answer; the mail was treated by on_failure",
            "kind",
            failures,
        )?;
        self.store(&mut out)?;
        self.census(&mut out)
    }
}

impl Collect {
    fn store(&self, out: &mut Out<'_>) -> fmt::Result {
        let health = self.0.health();
        out.gauge("store_up", "1 while the store has no problem, else 0; /healthz says which", health.problem.is_none().into())?;
        out.gauge(
            "store_serves_local_copy",
            "1 while answers come from a local copy, since the shared store gives none",
            health.serves_local_copy.into(),
        )?;
        if let Some(records) = health.records {
            out.gauge("store_records", "Records in the store", records)?;
        }
        if let Some(capacity) = health.capacity {
            out.gauge("store_capacity_records", "Records that the store has room for", capacity)?;
        }
        out.gauge("store_unsaved_records", "Updates that are not on disk", health.unsaved)?;
        out.counter("store_evicted_records", "Unexpired records that had to go, since there was no room", health.evicted)?;
        out.counter(
            "store_conflicts",
            "Writes that found another value than they expected; they are tried again",
            health.conflicts,
        )?;
        out.counter("store_timeouts", "Calls of the store without an answer in time", health.timeouts)?;
        out.counter("store_dropped_records", "Updates that no store took", health.dropped)
    }

    /// Nothing of the records is shown before they were read once.
    fn census(&self, out: &mut Out<'_>) -> fmt::Result {
        let census = self.0.census();
        out.counter("census_failures", "Attempts to read all records that failed", census.failures)?;
        let Some(report) = &census.report else { return Ok(()) };
        out.gauge("census_timestamp_seconds", "When all records were last read, in seconds since 1970", report.at)?;
        out.gauge_f64("census_duration_seconds", "How long that took", census.took.as_secs_f64())?;
        let records = report.records;
        out.gauges(
            "census_records",
            "Records by kind, as last read",
            "kind",
            [
                ("address", records.address),
                ("network", records.network),
                ("budget", records.budget),
                ("mail", records.mail),
                ("unreadable", records.unreadable),
            ],
        )?;
        let waiting = &report.waiting;
        out.gauge("waiting_mails", "Refused mails that were not seen since and are still tried", waiting.mails)?;
        let age = waiting.oldest_since.map_or(0, |since| self.0.now().saturating_sub(since));
        out.gauge(
            "waiting_oldest_age_seconds",
            "Time since the first refusal of the oldest of them, 0 where there is none",
            age,
        )?;
        out.gauge("given_up_mails", "Refused mails that were not seen since, nor tried for 6 hours", waiting.given_up)?;
        out.gauges(
            "settled_mails",
            "Mails refused in the last days that were seen again",
            "how",
            [
                ("ipv4", report.settled.ipv4),
                ("ipv6", report.settled.ipv6),
                ("let-in", report.settled.let_in),
                ("rejected", report.settled.rejected),
            ],
        )?;
        let clients = report.clients.by_kind().map(|(kind, count)| (kind.as_str(), count));
        out.gauges("clients", "Networks with refused mail, by kind of client", "kind", clients)?;
        out.gauges(
            "penalties",
            "Networks that are refused at the greeting and not let in, or would be",
            "mode",
            [("enforce", report.penalties.total()), ("observe", report.simulated_penalties.total())],
        )?;
        out.gauge("networks_let_in", "Networks that are let in", report.let_in.total())
    }
}

/// Writes one metric after the other.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstGauge::new(value).encode(self.describe(name, help, MetricType::Gauge)?)
    }

    fn gauge_f64(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        ConstGauge::new(value).encode(self.describe(name, help, MetricType::Gauge)?)
    }

    fn gauges<const N: usize>(&mut self, name: &str, help: &str, label: &str, values: [(&'static str, u64); N]) -> fmt::Result {
        let mut family = self.describe(name, help, MetricType::Gauge)?;
        for (word, value) in values {
            ConstGauge::new(value).encode(family.encode_family(&[(label, word)])?)?;
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.describe(name, help, MetricType::Counter)?)
    }

    fn counters<'a>(&mut self, name: &str, help: &str, label: &str, values: impl Iterator<Item = (&'a str, u64)>) -> fmt::Result {
        let mut family = self.describe(name, help, MetricType::Counter)?;
        for (word, value) in values {
            ConstCounter::new(value).encode(family.encode_family(&[(label, word)])?)?;
        }
        Ok(())
    }

    /// The registry ends its own descriptions with a full stop; these are to look alike.
    fn describe<'a>(&'a mut self, name: &'a str, help: &str, kind: MetricType) -> Result<MetricEncoder<'a>, fmt::Error> {
        self.0.encode_descriptor(name, &format!("{help}."), None, kind)
    }
}
