//! Seeing what a host does: Prometheus metrics, a status page for the postmaster, and the report on clients that do not fall back
//! (M1 to M6 of the draft).
//!
//! A host makes one [`Monitor`] from its [`Sources`], tells the monitor's [`Metrics`] of each decision, and lets a [`Listener`] serve it
//! on a loopback address. What needs the store's records (who is refused, who does not fall back, what waits) is read by a census in the
//! background, never by a request. The same [`Report`] can be made without a server, from any scan of a store.
#![forbid(unsafe_code)]

mod census;
mod metrics;
mod monitor;
mod page;
mod report;
mod server;
mod time;
mod visible;

pub use census::CensusError;
pub use metrics::Metrics;
pub use monitor::{Failures, Monitor, PolicyState, Problem, Sources};
pub use report::{
    ClientKind, Clients, LetInNetwork, LetInNow, Listing, Names, NeverFallsBack, PenaltyInForce, Records, Report, ReportBuilder,
    SettledMails, WaitingMail, WaitingMails, definitions,
};
pub use server::{BindError, Listener};
pub use visible::visible;
