//! Uses that a standby hands over to the primary: what it has reported, and what may be subtracted
//! from its memory.

use std::collections::HashMap;

use crate::instant::Micros;
use crate::usage::slots::Pending;

/// The uses of one key, as they are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The key's id.
    pub key: [u8; 16],
    /// The latest use.
    pub last_used_at: Micros,
    /// The number of uses.
    pub uses: u64,
}

/// Uses that were reported and not yet taken, by key. One key may be in several slots.
#[derive(Default)]
pub struct Handover(HashMap<[u8; 16], Vec<Pending>>);

impl Handover {
    /// The handover of uses that were collected.
    pub fn new(collected: Vec<Pending>) -> Handover {
        let mut keys: HashMap<[u8; 16], Vec<Pending>> = HashMap::new();
        for pending in collected {
            keys.entry(pending.key).or_default().push(pending);
        }
        for slots in keys.values_mut() {
            // Taken from the end: the slot with the latest use is taken last.
            slots.sort_unstable_by_key(|pending| core::cmp::Reverse(pending.last_used_at));
        }
        Handover(keys)
    }

    /// The uses to report, in the order of the keys: all sessions that add them to a table then
    /// lock its rows in the same order.
    pub fn report(&self) -> Vec<Report> {
        let mut reports: Vec<Report> = self
            .0
            .iter()
            .filter_map(|(key, slots)| {
                let last_used_at = slots.iter().map(|pending| pending.last_used_at).max()?;
                let uses = slots.iter().map(|pending| pending.uses).fold(0, u64::saturating_add);
                Some(Report { key: *key, last_used_at, uses })
            })
            .collect();
        reports.sort_unstable_by_key(|report| report.key);
        reports
    }

    /// Takes up to so many uses of a key. Returns, slot by slot, what the caller must settle.
    pub fn take(&mut self, key: &[u8; 16], uses: u64) -> Vec<Pending> {
        let mut taken = Vec::new();
        let mut wanted = uses;
        let Some(slots) = self.0.get_mut(key) else { return taken };
        while wanted > 0
            && let Some(last) = slots.last_mut()
        {
            let part = Pending { uses: last.uses.min(wanted), ..*last };
            wanted -= part.uses;
            last.uses -= part.uses;
            if last.uses == 0 {
                slots.pop();
            }
            taken.push(part);
        }
        if slots.is_empty() {
            self.0.remove(key);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::status::Status;
    use crate::usage::slots::{Slot, Slots};
    use crate::usage::written::Rest;

    fn pending(slot: usize, key: u8, last_used_at: i64, uses: u64) -> Pending {
        let status = Status::Valid;
        Pending { slot, database: 1, key: [key; 16], status, last_used_at, uses }
    }

    #[test]
    fn keys_are_reported_once_and_in_order() {
        let collected = vec![pending(4, 2, 10, 1), pending(0, 1, 20, 2), pending(3, 1, 30, 5)];
        let report = |key, last_used_at, uses| Report { key: [key; 16], last_used_at, uses };
        assert_eq!(Handover::new(collected).report(), [report(1, 30, 7), report(2, 10, 1)]);
        assert_eq!(Handover::default().report(), []);
    }

    #[test]
    fn no_more_is_taken_than_was_reported_and_the_latest_use_last() {
        let collected = vec![pending(7, 1, 30, 5), pending(0, 1, 20, 2), pending(3, 1, 10, 1)];
        let mut handover = Handover::new(collected);
        assert_eq!(handover.take(&[9; 16], 1), []);
        assert_eq!(handover.take(&[1; 16], 0), []);
        assert_eq!(handover.take(&[1; 16], 2), [pending(3, 1, 10, 1), pending(0, 1, 20, 1)]);
        let report = Report { key: [1; 16], last_used_at: 30, uses: 6 };
        assert_eq!(handover.report(), [report]);
        let rest = [pending(0, 1, 20, 1), pending(7, 1, 30, 5)];
        assert_eq!(handover.take(&[1; 16], u64::MAX), rest);
        assert_eq!((handover.take(&[1; 16], 1), handover.report()), (vec![], vec![]));
    }

    #[test]
    fn uses_that_are_noted_in_between_stay() {
        let memory: Vec<_> = (0..8).map(|_| Slot::default()).collect();
        let slots = Slots(&memory);
        slots.note(1, &[1; 16], 10, 3);
        let mut handover = Handover::new(slots.collect(1, 0, 100, Rest::NONE).0);
        slots.note(1, &[1; 16], 20, 4);
        slots.settle(handover.take(&[1; 16], u64::MAX).iter(), None);
        let left = slots.all().expect("no slot is locked");
        assert_eq!((left.len(), left[0].uses, left[0].last_used_at), (1, 4, 20));
    }
}
