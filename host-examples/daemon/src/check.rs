//! `--check-config`: what the start would refuse, and what is unusual, all at once.

use smtp_fallback_policy::contract::Mode;

use crate::args::{Program, Run};
use crate::beside::Found;
use crate::config::Settings;
use crate::run::{MX_RULE, NOT_OVER_IPV4, Outcome, place, runtime, word};
use crate::source::PolicySource;
use crate::{beside, privileges, records};

/// Tries everything that the configuration names, and prints what it finds. `own` is what the daemon found out about its own part, within a
/// tokio runtime.
///
/// # Errors
/// The last thing that is wrong; those before it are printed.
pub fn check(program: Program, settings: &Settings, run: &Run, own: impl FnOnce(&mut Found)) -> Outcome {
    let mut found = beside::check(&settings.store, settings.monitor.as_ref());
    runtime()?.block_on(async { own(&mut found) });
    records::check(&settings.store, &mut found);
    let Found { mut warnings, mut errors } = found;
    if let Some(user) = &settings.user
        && let Err(error) = privileges::check(user, settings.group.as_deref())
    {
        errors.push(error.to_string());
    }
    let mut mode = None;
    match PolicySource::new(settings, run.observe, None).load() {
        Err(error) => errors.push(error.to_string()),
        Ok(policy) => {
            if let Some(error) = policy.cache {
                println!("warning: component_cache is not used: {error}");
            }
            if policy.mode == Mode::Enforce {
                println!("note: the policy enforces: {MX_RULE}");
                if !settings.reachable_over_ipv4 {
                    warnings.push(NOT_OVER_IPV4.to_owned());
                }
            }
            for warning in &policy.warnings {
                println!("warning: policy {}: {}", place(&warning.pointer), warning.message);
            }
            mode = Some(policy.mode);
        }
    }
    for warning in &warnings {
        println!("warning: {warning}");
    }
    println!("ipv4_arrivals_visible is {}: {}", settings.ipv4_arrivals.visible, settings.ipv4_arrivals.why);
    let last = errors.pop();
    for error in &errors {
        eprintln!("{}: {error}", program.name);
    }
    match (last, mode) {
        (Some(last), _) => Err(last.into()),
        (None, mode) => {
            println!("{} can be used; the policy is in {} mode", run.config.display(), mode.map_or("no", word));
            Ok(())
        }
    }
}
