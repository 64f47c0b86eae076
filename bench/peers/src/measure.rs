//! Measures one peer, and prints what `cargo xtask bench peers` reads: nanoseconds of a decision of each kind, and resident memory.

use std::fs;
use std::hint::black_box;
use std::time::Instant;

use serde::Deserialize;
use smtp_fallback_policy::contract::Verdict;

use crate::input::{Arguments, Input, Settings};
use crate::{Failed, Peer};

/// Decisions before the memory is looked at for the first time.
const WARM_UP: u32 = 1000;

/// The file that `smtp-fallback-bench` prints.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Cases {
    pub(crate) policy_json: String,
    pub(crate) secret: String,
    cases: Vec<Case>,
}

/// One mail, or a greeting.
#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) decide: Arguments,
}

impl Cases {
    pub(crate) fn read(file: &str) -> Result<Self, Failed> {
        Ok(serde_json::from_str(&fs::read_to_string(file)?)?)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter()
    }

    /// Measures `ask`, which says whether there was a refusal, in each case.
    pub(crate) fn measure<T>(
        &self,
        count: u32,
        prepare: impl Fn(&Case) -> Result<T, Failed>,
        mut ask: impl FnMut(&T) -> Result<bool, Failed>,
    ) -> Result<(), Failed> {
        let mut before = None;
        for case in &self.cases {
            let asked = prepare(case)?;
            if ask(&asked)? != (case.name == "refusal") {
                return Err(format!("{}: another verdict", case.name).into());
            }
            for _ in 0..WARM_UP {
                ask(&asked)?;
            }
            before = before.or(resident());
            let start = Instant::now();
            for _ in 0..count {
                ask(&asked)?;
            }
            println!("{} {}", case.name, start.elapsed().as_nanos() / u128::from(count.max(1)));
        }
        println!("memory {} {}", before.unwrap_or(0), resident().unwrap_or(0));
        Ok(())
    }
}

/// Measures a peer in this process.
pub(crate) fn run<P: Peer>(file: &str, count: u32) -> Result<(), Failed> {
    let cases = Cases::read(file)?;
    let settings = Settings::of(&cases.policy_json)?.ok_or("the policy has settings that peers do not have")?;
    let mut peer = P::new(&settings)?;
    cases.measure(
        count,
        |case| Input::of(&case.decide).ok_or_else(|| format!("{}: its records hold what peers do not know", case.name).into()),
        |input| Ok(matches!(black_box(peer.decide(input)?).verdict, Verdict::Refuse(_))),
    )
}

/// Resident memory of this process in KiB.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().trim_end_matches(" kB").parse().ok()
}
