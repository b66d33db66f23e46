//! The order in which the launcher has databases flushed.
//!
//! A flush that fails can take seconds, for example where a lock is held that only the owner of the
//! database can take. The uses of all other databases wait that long. So a database whose last
//! flush failed comes after all others, and such databases together take at most a sixth of the
//! launcher's time: after each failure they rest for [`REST`] times as long as it took.

use std::time::{Duration, Instant};

/// How many times as long as a failed flush took the databases that failed rest after it.
const REST: u32 = 5;

/// Which databases failed, and until when they rest.
#[derive(Debug, Default)]
pub struct Turns {
    /// The databases whose last flush failed, in the order in which they failed.
    failed: Vec<u32>,
    /// Until then, none of them has its turn.
    rest_until: Option<Instant>,
}

impl Turns {
    /// The databases with pending uses, in the order of their turns. The others count as sound.
    pub fn order(&mut self, pending: &[u32]) -> Vec<u32> {
        self.failed.retain(|database| pending.contains(database));
        let sound = pending.iter().filter(|database| !self.failed.contains(database));
        sound.chain(&self.failed).copied().collect()
    }

    /// Whether a database does not have its turn, because it failed and the rest is not over.
    pub fn rests(&self, database: u32, now: Instant) -> bool {
        self.rest_until.is_some_and(|until| now < until) && self.failed.contains(&database)
    }

    /// A flush has succeeded.
    pub fn succeeded(&mut self, database: u32) {
        self.failed.retain(|failed| *failed != database);
    }

    /// A flush has failed, after this time.
    pub fn failed(&mut self, database: u32, now: Instant, took: Duration) {
        self.succeeded(database);
        self.failed.push(database);
        self.rest_until = self.rest_until.max(now.checked_add(took.saturating_mul(REST)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn databases_that_failed_come_last_in_the_order_of_their_failures() {
        let mut turns = Turns::default();
        let now = Instant::now();
        assert_eq!(turns.order(&[1, 2, 3, 4]), [1, 2, 3, 4]);
        turns.failed(3, now, SECOND);
        turns.failed(1, now, SECOND);
        assert_eq!(turns.order(&[1, 2, 3, 4]), [2, 4, 3, 1]);
        turns.failed(3, now, SECOND);
        assert_eq!(turns.order(&[1, 2, 3, 4]), [2, 4, 1, 3]);
        turns.succeeded(1);
        assert_eq!(turns.order(&[1, 2, 3, 4]), [1, 2, 4, 3]);
        // What has nothing pending, or was dropped, is forgotten.
        assert_eq!(turns.order(&[1]), [1]);
        assert_eq!(turns.order(&[1, 2, 3, 4]), [1, 2, 3, 4]);
    }

    #[test]
    fn databases_that_failed_rest_for_longer_than_the_failure_took() {
        let mut turns = Turns::default();
        let now = Instant::now();
        turns.failed(1, now, SECOND);
        turns.failed(2, now, SECOND / 2);
        for (after, rests) in [(Duration::ZERO, true), (4 * SECOND, true), (5 * SECOND, false)] {
            assert_eq!([1, 2].map(|failed| turns.rests(failed, now + after)), [rests; 2]);
            assert!(!turns.rests(3, now + after));
        }
        turns.succeeded(2);
        assert!(!turns.rests(2, now) && turns.rests(1, now));
    }
}
