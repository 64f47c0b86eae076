//! Any sessions, decided natively and by the shipped component, for fuzzing.

use std::cell::RefCell;

use smtp_fallback_embed::Component;
use smtp_fallback_policy::any::{Asked, check_decide};
use smtp_fallback_policy::contract::{Stage, Verdict};

use crate::{Embedded, Face};

/// What was asked of both.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls {
    /// Decisions.
    pub decisions: usize,
    /// Those of them that refuse.
    pub refusals: usize,
    /// Decisions in words.
    pub told: usize,
    /// Records that were shown.
    pub shown: usize,
}

/// Configured instances of one component. A session is often tried again under the policy that it had, and reading a policy takes as
/// long as some decisions.
struct Instances {
    component: Component,
    /// By policy and secret, the one used last at the end.
    configured: Vec<(String, Vec<u8>, Embedded)>,
}

/// Fewer than the default limits allow at once.
const MAX_CONFIGURED: usize = 48;

thread_local! {
    static INSTANCES: RefCell<Instances> =
        RefCell::new(Instances { component: Embedded::component(), configured: Vec::new() });
}

/// Reads the octets as [`check_decide`] does, and makes each call to the component, too: `keys` and `decide` answer the same there, `explain`
/// where it was asked natively, and `inspect` for each record that was found. `saving`, words in half of the sessions, and `inspect` at their end.
///
/// The instances live as long as the thread, so that what a call leaves behind would be seen in a later one.
pub fn check_component(octets: &[u8], saving: bool) -> Calls {
    INSTANCES.with_borrow_mut(|instances| {
        let mut calls = Calls::default();
        let mut is_chosen = false;
        check_decide(octets, saving, |asked| {
            // One input has one policy.
            if !is_chosen {
                instances.choose(asked.policy, asked.secret);
                is_chosen = true;
            }
            let (_, _, component) = instances.configured.last_mut().expect("one was chosen");
            check_calls(component, asked, saving, &mut calls);
        });
        calls
    })
}

impl Instances {
    /// Puts the instance with this policy at the end.
    fn choose(&mut self, policy: &str, secret: &[u8]) {
        let place = self.configured.iter().rposition(|(of, with, _)| of == policy && with == secret);
        let chosen = match place {
            Some(place) => self.configured.remove(place),
            None => {
                if self.configured.len() == MAX_CONFIGURED {
                    self.configured.remove(0);
                }
                let mut embedded = Embedded::new(&self.component);
                embedded.configure(policy, secret).expect("the library took this policy");
                (policy.to_owned(), secret.to_owned(), embedded)
            }
        };
        self.configured.push(chosen);
    }
}

fn check_calls(component: &mut Embedded, asked: &Asked<'_>, saving: bool, calls: &mut Calls) {
    let Asked { connection, envelope, message, auth_results, .. } = *asked;
    assert_eq!(component.keys(connection, envelope, message), asked.keys, "{asked:?}");
    assert_eq!(&component.decide(connection, envelope, message, auth_results), asked.decision, "{asked:?}");
    calls.decisions += 1;
    calls.refusals += usize::from(matches!(asked.decision.verdict, Verdict::Refuse(_)));
    let Some(told) = asked.told else { return };
    assert_eq!(component.explain(connection, envelope, message, auth_results), told, "{asked:?}");
    calls.told += 1;
    if !saving || connection.stage == Stage::EndOfData {
        for record in &connection.records {
            assert_eq!(component.inspect(record), smtp_fallback_policy::inspect(record), "{record:?}");
            calls.shown += 1;
        }
    }
}
