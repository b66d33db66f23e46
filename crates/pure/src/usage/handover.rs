//! Uses that a standby hands over: what it has reports, and what of that may be taken from its memory.

use std::collections::HashMap;

use crate::usage::slots::Pending;

/// What was reports of the uses of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The key's id.
    pub key: [u8; 16],
    /// The latest use, in microseconds since 2000.
    pub last_used_at: i64,
    /// How many.
    pub uses: u64,
}

/// What was reports and not yet taken, by key. One key may be in several slots.
#[derive(Default)]
pub struct Handover(HashMap<[u8; 16], Vec<Pending>>);

impl Handover {
    /// Of uses that were collected.
    pub fn new(collected: Vec<Pending>) -> Handover {
        let mut keys: HashMap<[u8; 16], Vec<Pending>> = HashMap::new();
        for pending in collected {
            keys.entry(pending.key).or_default().push(pending);
        }
        for slots in keys.values_mut() {
            // The last is taken first: the slot with the latest use goes last.
            slots.sort_unstable_by_key(|pending| core::cmp::Reverse(pending.last_used_at));
        }
        Handover(keys)
    }

    /// What there is to report, in the order of the keys, so that whoever adds them to a table locks its
    /// rows in the order in which everybody does.
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
        reports.sort_unstable_by_key(|reports| reports.key);
        reports
    }

    /// Takes up to so many uses of a key: what is to be settled, slot by slot.
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
    use crate::usage::slots::{Slot, Slots};

    fn pending(slot: usize, key: u8, last_used_at: i64, uses: u64) -> Pending {
        Pending { slot, database: 1, key: [key; 16], last_used_at, uses }
    }

    #[test]
    fn keys_are_told_once_and_in_order() {
        let collected = vec![pending(4, 2, 10, 1), pending(0, 1, 20, 2), pending(3, 1, 30, 5)];
        let reports = |key, last_used_at, uses| Report { key: [key; 16], last_used_at, uses };
        assert_eq!(Handover::new(collected).report(), [reports(1, 30, 7), reports(2, 10, 1)]);
        assert_eq!(Handover::default().report(), []);
    }

    #[test]
    fn no_more_is_taken_than_was_told_and_the_latest_use_last() {
        let collected = vec![pending(7, 1, 30, 5), pending(0, 1, 20, 2), pending(3, 1, 10, 1)];
        let mut handover = Handover::new(collected);
        assert_eq!(handover.take(&[9; 16], 1), []);
        assert_eq!(handover.take(&[1; 16], 0), []);
        assert_eq!(handover.take(&[1; 16], 2), [pending(3, 1, 10, 1), pending(0, 1, 20, 1)]);
        let reports = Report { key: [1; 16], last_used_at: 30, uses: 6 };
        assert_eq!(handover.report(), [reports]);
        let rest = [pending(0, 1, 20, 1), pending(7, 1, 30, 5)];
        assert_eq!(handover.take(&[1; 16], u64::MAX), rest);
        assert_eq!((handover.take(&[1; 16], 1), handover.report()), (vec![], vec![]));
    }

    #[test]
    fn what_is_noted_in_between_stays() {
        let memory: Vec<_> = (0..8).map(|_| Slot::default()).collect();
        let slots = Slots(&memory);
        slots.note(1, &[1; 16], 10, 3);
        let mut handover = Handover::new(slots.collect(1, 0, 100).0);
        slots.note(1, &[1; 16], 20, 4);
        slots.settle(handover.take(&[1; 16], u64::MAX).iter());
        let left = slots.all().expect("no slot is held");
        assert_eq!((left.len(), left[0].uses, left[0].last_used_at), (1, 4, 20));
    }
}
