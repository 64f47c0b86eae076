//! Temporary errors: how many messages pass on them, within 24 h of the first (A27).

use crate::policy::TemporaryErrors;
use crate::record::{BudgetRecord, NetworkRecord, Window};

/// Takes one message from both budgets, that of the network and that of its /48; `false`, and nothing taken, when one is used up.
pub(crate) fn take(policy: &TemporaryErrors, network: &mut NetworkRecord, budget: &mut BudgetRecord, now: u64) -> bool {
    let (Some(in_network), Some(in_budget)) =
        (Window::one_more(network.temporary, policy.per_network, now), Window::one_more(budget.temporary, policy.per_48, now))
    else {
        return false;
    };
    network.temporary = Some(in_network);
    budget.temporary = Some(in_budget);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = 24 * 3600;

    const POLICY: TemporaryErrors = TemporaryErrors { per_network: 10, per_48: 20 };

    #[test]
    fn ten_per_network_in_24_hours_from_the_first() {
        let (mut network, mut budget) = Default::default();
        for n in 0..10 {
            assert!(take(&POLICY, &mut network, &mut budget, 1000 + n), "{n}");
        }
        assert!(!take(&POLICY, &mut network, &mut budget, 1000 + WINDOW - 1));
        assert_eq!(network.temporary, Some(Window { since: 1000, count: 10 }), "a refusal takes nothing");
        assert!(take(&POLICY, &mut network, &mut budget, 1000 + WINDOW));
        assert_eq!(network.temporary, Some(Window { since: 1000 + WINDOW, count: 1 }));
    }

    #[test]
    fn twenty_per_48_whatever_the_network() {
        let mut budget = BudgetRecord::default();
        for n in 0..20 {
            assert!(take(&POLICY, &mut NetworkRecord::default(), &mut budget, 1000), "{n}");
        }
        let mut network = NetworkRecord::default();
        assert!(!take(&POLICY, &mut network, &mut budget, 1000));
        assert_eq!(network.temporary, None);
    }

    #[test]
    fn the_largest_count_is_used_up() {
        let mut network = NetworkRecord { temporary: Some(Window { since: 1000, count: u32::MAX }), ..NetworkRecord::default() };
        assert!(!take(&POLICY, &mut network, &mut BudgetRecord::default(), 1000));
        assert_eq!(Window::ends_at(network.temporary, u64::MAX), 1000 + WINDOW);
    }

    #[test]
    fn a_window_from_the_future_starts_now() {
        let mut network = NetworkRecord { temporary: Some(Window { since: u64::MAX, count: 10 }), ..NetworkRecord::default() };
        assert!(take(&POLICY, &mut network, &mut BudgetRecord::default(), 1000));
        assert_eq!(network.temporary, Some(Window { since: 1000, count: 1 }));
    }
}
