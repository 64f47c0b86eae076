//! What a peer answers, as its host takes it: in the contract's types, like the module's own answer.

use serde::de::DeserializeOwned;
use serde::de::IntoDeserializer;
use smtp_fallback_policy::contract::{Decision, Listener, Reason, Reply, Stage, Verdict};

use crate::Failed;

/// The part of a decision that peers make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ruling {
    pub(crate) verdict: Verdict,
    pub(crate) reason: Reason,
    /// In observe mode: what enforce mode would have answered.
    pub(crate) would: Option<Verdict>,
}

impl Ruling {
    pub(crate) fn of(decision: &Decision) -> Ruling {
        let Decision { verdict, reason, would, .. } = decision.clone();
        Ruling { verdict, reason, would }
    }
}

/// The verdict of this name; the reply belongs to a refusal.
pub(crate) fn verdict(name: &str, reply: Option<Reply>) -> Result<Verdict, Failed> {
    Ok(match (name, reply) {
        ("continue", _) => Verdict::Continue,
        ("accept", _) => Verdict::Accept,
        ("refuse", Some(reply)) => Verdict::Refuse(reply),
        (other, _) => return Err(format!("found verdict {other:?}, expected continue, accept, or refuse with a reply").into()),
    })
}

/// A word of the contract, such as a reason.
pub(crate) fn word<T: DeserializeOwned>(name: &str) -> Result<T, Failed> {
    let deserializer: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = name.into_deserializer();
    Ok(T::deserialize(deserializer)?)
}

/// The contract's word for a stage.
pub(crate) fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Greeting => "greeting",
        Stage::Ehlo => "ehlo",
        Stage::Mail => "mail",
        Stage::Rcpt => "rcpt",
        Stage::Data => "data",
        Stage::EndOfData => "end-of-data",
    }
}

/// The contract's word for a listener.
pub(crate) fn listener(listener: Listener) -> &'static str {
    match listener {
        Listener::Mx => "mx",
        Listener::Submission => "submission",
        Listener::Lmtp => "lmtp",
    }
}
