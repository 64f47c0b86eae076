//! Whether a peer decides as the module does: over every call of the vectors that asks for nothing beyond what peers are given, and over
//! generated ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use smtp_fallback_policy::contract::{Decision, Note, Reason};

use crate::generated;
use crate::input::{Call, Input, Settings};
use crate::ruling::Ruling;
use crate::{Failed, Peer};

/// The calls of `decide` that the vectors make.
pub(crate) fn calls(file: &str) -> Result<Vec<Call>, Failed> {
    serde_json::from_str(&fs::read_to_string(file)?).map_err(|error| format!("{file}: {error}").into())
}

/// A call that peers can answer.
struct Comparable {
    call: Call,
    settings: Settings,
    input: Input,
}

/// Those of the calls that peers can answer.
///
/// A call is left out where there is no policy, where the policy has settings beyond the peers', where the records hold what no peer was given
/// (a network that is let in or not believed, an address's evidence of an earlier second), and where the module drew a probe or
/// recognised a mail that does not fall back.
fn comparable(calls: Vec<Call>) -> Result<Vec<Comparable>, Failed> {
    let mut settings: BTreeMap<String, Option<Settings>> = BTreeMap::new();
    let mut all = Vec::new();
    for call in calls {
        let Some(policy_json) = &call.policy_json else { continue };
        if !settings.contains_key(policy_json) {
            settings.insert(policy_json.clone(), Settings::of(policy_json)?);
        }
        let settings = settings.get(policy_json).cloned().flatten();
        let asked = settings.zip(Input::of(&call.arguments)).filter(|_| needs_no_history(&call.decision));
        all.extend(asked.map(|(settings, input)| Comparable { call, settings, input }));
    }
    Ok(all)
}

fn needs_no_history(decision: &Decision) -> bool {
    !matches!(decision.reason, Reason::LetIn | Reason::NeverFallsBack) && !decision.notes.contains(&Note::Probe)
}

/// Asks a peer all of them, and says how many there are; an error for the first with another answer.
pub(crate) fn run<P: Peer>(file: &str) -> Result<(), Failed> {
    let calls = calls(file)?;
    let whole = calls.len();
    let of_vectors = comparable(calls)?;
    let generated = comparable(generated::calls()?)?;
    let mut loaded: Option<(&str, P)> = None;
    for Comparable { call, settings, input } in of_vectors.iter().chain(&generated) {
        let policy_json = call.policy_json.as_deref().unwrap_or_default();
        let peer = match loaded.take() {
            Some((loaded, peer)) if loaded == policy_json => peer,
            _ => P::new(settings)?,
        };
        let (_, peer) = loaded.insert((policy_json, peer));
        let found = peer.decide(input).map_err(|error| format!("{}: {error}\n  asked    {input:?}", call.file))?;
        let expected = Ruling::of(&call.decision);
        if found != expected {
            let file = &call.file;
            return Err(
                format!("{file}:\n  asked    {input:?} by {policy_json}\n  found    {found:?}\n  expected {expected:?}").into()
            );
        }
    }
    let files: BTreeSet<&str> = of_vectors.iter().map(|each| each.call.file.as_str()).collect();
    let reasons: BTreeSet<&str> = of_vectors.iter().chain(&generated).map(|each| each.call.decision.reason.as_str()).collect();
    let (calls, generated, files) = (of_vectors.len(), generated.len(), files.len());
    println!(
        "{calls} of {whole} calls of the vectors, in {files} files, and {generated} generated ones, by {} reasons",
        reasons.len()
    );
    if calls == 0 || generated == 0 { Err("no call can be compared".into()) } else { Ok(()) }
}
