//! Reading all records in the background, so that no request does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smtp_fallback_store::{Cursor, Page, Store, StoreError};
use tokio::time::timeout;

use crate::report::{Report, ReportBuilder};

/// The pause between two censuses.
pub(crate) const PAUSE: Duration = Duration::from_secs(15);
/// The pause is at least so many times as long as the census before it took: it never takes more than a tenth of the time.
const PAUSE_FACTOR: u32 = 9;

/// So many records are read at a time.
const PAGE: usize = 1000;
/// So long one page may take.
const PAGE_TIME: Duration = Duration::from_secs(10);
/// No store is so large that it has more pages: a hundred million records.
const MOST_PAGES: usize = 100_000;

/// What the last census found.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Absent until one succeeds.
    pub(crate) report: Option<Arc<Report>>,
    /// How long it took.
    pub(crate) took: Duration,
    /// Why the last attempt failed; absent when it succeeded.
    pub(crate) problem: Option<CensusError>,
    /// How many attempts failed.
    pub(crate) failures: u64,
}

/// Why the records could not all be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CensusError {
    /// The store gave an error.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store was too slow.
    #[error("a page of 1000 records took more than 10 s; check the load of the store")]
    Slow,
    /// The store's pages never ended.
    #[error("the store's list of records does not end; check that its cursors lead on")]
    Endless,
}

impl Census {
    /// What follows after an attempt that took so long.
    pub(crate) fn next(&self, attempt: Result<Report, CensusError>, took: Duration) -> Census {
        match attempt {
            Ok(report) => Census { report: Some(Arc::new(report)), took, problem: None, failures: self.failures },
            Err(problem) => Census {
                report: self.report.clone(),
                took: self.took,
                problem: Some(problem),
                failures: self.failures.saturating_add(1),
            },
        }
    }
}

/// Reads all records, page by page.
pub(crate) async fn take(store: &dyn Store, now: u64) -> Result<Report, CensusError> {
    let mut builder = ReportBuilder::new(now);
    let mut cursor = Cursor::default();
    for _ in 0..MOST_PAGES {
        let page = timeout(PAGE_TIME, store.scan(cursor.clone(), PAGE, now)).await;
        let Page { records, next } = page.map_err(|_| CensusError::Slow)??;
        // A store may give all that it has at once: others get their turn meanwhile.
        for records in records.chunks(PAGE) {
            for record in records {
                builder.add(record);
            }
            tokio::task::yield_now().await;
        }
        match next {
            None => return Ok(builder.finish()),
            Some(next) if next == cursor => return Err(CensusError::Endless),
            Some(next) => cursor = next,
        }
    }
    Err(CensusError::Endless)
}

/// How long to wait after an attempt that began at `begun`.
pub(crate) fn pause_after(begun: Instant) -> Duration {
    pause(begun.elapsed())
}

fn pause(took: Duration) -> Duration {
    PAUSE.max(took.saturating_mul(PAUSE_FACTOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_census_takes_a_tenth_of_the_time_at_most() {
        assert_eq!(pause(Duration::from_millis(5)), PAUSE);
        assert_eq!(pause(PAUSE / 9), PAUSE);
        assert_eq!(pause(Duration::from_secs(10)), Duration::from_secs(90));
    }

    #[test]
    fn after_a_failure_the_last_report_stays() {
        let report = Report { at: 7, ..Report::default() };
        let first = Census::default().next(Ok(report.clone()), Duration::from_secs(1));
        let failed = first.next(Err(CensusError::Slow), Duration::from_secs(9));
        assert_eq!(failed.report.as_deref(), Some(&report));
        assert_eq!((failed.problem.clone(), failed.failures, failed.took), (Some(CensusError::Slow), 1, Duration::from_secs(1)));
        let again = failed.next(Ok(Report::default()), Duration::ZERO);
        assert_eq!((again.problem, again.failures), (None, 1));
    }
}
