//! The answers of the DNS that are kept: as long as they hold, and within a limit in octets, for their size is up to whoever gives them.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::{Name, RecordType};

/// Octets for each entry that the settings allow.
const OCTETS_PER_ENTRY: usize = 1024;
/// What an entry takes besides its data and its names, at most, in octets: in the table, and in the line of those that will go.
const OVERHEAD: usize = 256;

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Datum {
    /// TXT, its strings put together.
    Text(Box<[u8]>),
    /// A and AAAA.
    Address(IpAddr),
    /// MX: the preference and the host.
    Mx(u16, Name),
    /// PTR.
    Name(Name),
}

type Key = (Name, RecordType);

/// Shared by all checks.
pub(crate) struct Cache {
    max_entries: usize,
    max_octets: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: HashMap<Key, Entry>,
    /// The oldest first; what was replaced since stays in it for a while.
    line: VecDeque<(u64, Key)>,
    octets: usize,
    next: u64,
}

struct Entry {
    answer: Arc<[Datum]>,
    valid_until: Instant,
    octets: usize,
    number: u64,
}

impl Cache {
    pub(crate) fn new(max_entries: usize) -> Cache {
        Cache { max_entries, max_octets: max_entries.saturating_mul(OCTETS_PER_ENTRY), state: Mutex::default() }
    }

    /// `name` is in lower case, here and below.
    pub(crate) fn find(&self, name: &Name, kind: RecordType, now: Instant) -> Option<Arc<[Datum]>> {
        if self.max_entries == 0 {
            return None;
        }
        let key = (name.clone(), kind);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.entries.get(&key) {
            Some(entry) if entry.valid_until > now => Some(entry.answer.clone()),
            Some(_) => {
                state.remove(&key);
                None
            }
            None => None,
        }
    }

    pub(crate) fn keep(&self, name: Name, kind: RecordType, answer: Arc<[Datum]>, now: Instant, ttl: Duration) {
        let octets = weight(&name, &answer);
        if ttl.is_zero() || self.max_entries == 0 || octets > self.max_octets {
            return;
        }
        let key = (name, kind);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.remove(&key);
        while state.entries.len() >= self.max_entries || state.octets + octets > self.max_octets {
            let Some((number, oldest)) = state.line.pop_front() else { break };
            if state.entries.get(&oldest).is_some_and(|entry| entry.number == number) {
                state.remove(&oldest);
            }
        }
        let number = state.next;
        state.next += 1;
        state.octets += octets;
        state.line.push_back((number, key.clone()));
        state.entries.insert(key, Entry { answer, valid_until: now + ttl, octets, number });
        state.shorten_line();
    }
}

impl State {
    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.octets -= entry.octets;
        }
    }

    /// Takes out what is not there any more, so seldom that it costs little: the line is never twice as long as the table, nearly.
    fn shorten_line(&mut self) {
        if self.line.len() > 2 * self.entries.len() + 16 {
            let entries = &self.entries;
            self.line.retain(|(number, key)| entries.get(key).is_some_and(|entry| entry.number == *number));
        }
    }
}

/// What an entry takes, in octets, rather too much than too little.
fn weight(name: &Name, answer: &[Datum]) -> usize {
    let data = answer.iter().map(|datum| {
        let more = match datum {
            // With what the allocator needs.
            Datum::Text(text) => text.len() + 32,
            Datum::Address(_) => 0,
            Datum::Mx(_, name) | Datum::Name(name) => of_name(name),
        };
        size_of::<Datum>() + more
    });
    // The name is in the table, and in the line, perhaps twice.
    OVERHEAD + 3 * (size_of::<Key>() + of_name(name)) + data.sum::<usize>()
}

/// A name with its ends of labels, where it has them allocated.
fn of_name(name: &Name) -> usize {
    name.len() + usize::from(name.num_labels()) + 64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests {
    use super::*;

    fn name(number: usize) -> Name {
        Name::from_ascii(format!("d{number}.example.")).unwrap()
    }

    fn text(octets: usize) -> Arc<[Datum]> {
        vec![Datum::Text(vec![b'x'; octets].into())].into()
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn what_holds_is_found() {
        let cache = Cache::new(10);
        let now = Instant::now();
        cache.keep(name(1), RecordType::TXT, text(1), now, HOUR);
        cache.keep(name(2), RecordType::TXT, text(2), now, Duration::ZERO);
        cache.keep(name(3), RecordType::TXT, Vec::new().into(), now, HOUR);
        assert_eq!(cache.find(&name(1), RecordType::TXT, now), Some(text(1)));
        assert_eq!(cache.find(&name(1), RecordType::TXT, now + HOUR - Duration::from_secs(1)), Some(text(1)));
        assert_eq!(cache.find(&name(1), RecordType::A, now), None);
        assert_eq!(cache.find(&name(2), RecordType::TXT, now), None);
        assert_eq!(cache.find(&name(3), RecordType::TXT, now), Some(Vec::new().into()), "there is nothing");
        assert_eq!(cache.find(&name(1), RecordType::TXT, now + HOUR), None);
        assert_eq!(cache.find(&name(1), RecordType::TXT, now), None, "it was taken out");
        let none = Cache::new(0);
        none.keep(name(1), RecordType::TXT, text(1), now, HOUR);
        assert_eq!(none.find(&name(1), RecordType::TXT, now), None);
    }

    #[test]
    fn the_limits_are_kept() {
        let now = Instant::now();
        for (octets, kept) in [(0, 100), (10_000, 9), (50_000, 2), (110_000, 0)] {
            let cache = Cache::new(100);
            for number in 0..1000 {
                cache.keep(name(number), RecordType::TXT, text(octets), now, HOUR);
            }
            let found: Vec<_> = (0..1000).filter(|&number| cache.find(&name(number), RecordType::TXT, now).is_some()).collect();
            assert_eq!(found, (1000 - kept..1000).collect::<Vec<_>>(), "of {octets} octets, the newest");
            let state = cache.state.lock().unwrap();
            assert!(state.octets <= 100 * OCTETS_PER_ENTRY && state.line.len() <= 2 * kept + 16);
        }
    }

    #[test]
    fn replacing_one_takes_no_more_room() {
        let cache = Cache::new(10);
        let now = Instant::now();
        for number in 0..10_000 {
            cache.keep(name(number % 2), RecordType::TXT, text(number % 100), now, HOUR);
        }
        assert_eq!(cache.find(&name(1), RecordType::TXT, now), Some(text(99)));
        let state = cache.state.lock().unwrap();
        assert_eq!(state.entries.len(), 2);
        assert_eq!(state.octets, weight(&name(0), &text(98)) + weight(&name(1), &text(99)));
        assert!(state.line.len() <= 20);
    }

    #[test]
    fn many_small_records_weigh_what_they_take() {
        let texts: Vec<_> = (0..4000).map(|_| Datum::Text([b'x'].into())).collect();
        let least = 4000 * (size_of::<Datum>() + 16);
        assert!(weight(&name(1), &texts) > least);
    }
}
