//! Usage over time: what a flush adds to the rows of keys and to those of hours.
//!
//! A key's row of the table has the number of its uses in the hour of its last use. When that hour
//! is over, the flush that finds a later use moves the number to a row of its own. So the row of a
//! key in constant use is written no more often than without a history.

use crate::answer::status::Status;
use crate::instant::Micros;
use crate::usage::slots::Pending;

/// The length of an hour, in microseconds.
pub const HOUR: Micros = 3_600_000_000;
/// The length of a day, in microseconds.
pub const DAY: Micros = 24 * HOUR;
/// How many days have a row for each hour; those before have one for the whole day.
pub const DAYS_OF_HOURS: i64 = 8;

/// When the hour of an instant begins, in UTC.
pub const fn hour_of(at: Micros) -> Micros {
    at.saturating_sub(at.rem_euclid(HOUR))
}

/// When the day of an instant begins, in UTC.
pub const fn day_of(at: Micros) -> Micros {
    at.saturating_sub(at.rem_euclid(DAY))
}

/// The first instant whose day has a row for each hour.
pub const fn first_of_hours(now: Micros) -> Micros {
    day_of(now.saturating_sub(DAYS_OF_HOURS * DAY))
}

/// The uses of one key in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUses {
    /// The key's id.
    pub key: [u8; 16],
    /// The latest use.
    pub last_used_at: Micros,
    /// The number of uses.
    pub uses: u64,
    /// How many of them are in the hour of the latest.
    pub uses_in_hour: u64,
}

impl KeyUses {
    /// When the hour of the latest use begins.
    pub const fn hour(&self) -> Micros {
        hour_of(self.last_used_at)
    }
}

/// The answers of one status to one key in one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HourCount {
    /// The key's id.
    pub key: [u8; 16],
    /// When the hour begins.
    pub hour: Micros,
    /// The answer.
    pub status: Status,
    /// How many there were.
    pub number: u64,
}

/// The uses in a batch by key, in the order of the keys, and those that are in an hour before that
/// of the latest of their key. A key may be in several slots.
pub fn by_key(batch: &[Pending]) -> (Vec<KeyUses>, Vec<HourCount>) {
    let mut sorted: Vec<&Pending> = batch.iter().collect();
    sorted.sort_unstable_by_key(|pending| (pending.key, pending.last_used_at));
    let mut keys: Vec<KeyUses> = Vec::new();
    let mut earlier = Vec::new();
    for pending in sorted {
        let Pending { key, last_used_at, uses, status, .. } = *pending;
        let first = KeyUses { key, last_used_at, uses, uses_in_hour: uses };
        let Some(last) = keys.last_mut().filter(|last| last.key == key) else {
            keys.push(first);
            continue;
        };
        let (hour, number) = (last.hour(), last.uses_in_hour);
        last.last_used_at = last_used_at;
        last.uses = last.uses.saturating_add(uses);
        if last.hour() == hour {
            last.uses_in_hour = number.saturating_add(uses);
        } else {
            last.uses_in_hour = uses;
            earlier.push(HourCount { key, hour, status, number });
        }
    }
    (keys, earlier)
}

/// The answers in a batch by key, hour and status, in that order.
pub fn by_hour(batch: &[Pending]) -> Vec<HourCount> {
    let count = |it: &Pending| HourCount {
        key: it.key,
        hour: hour_of(it.last_used_at),
        status: it.status,
        number: it.uses,
    };
    let mut counts: Vec<HourCount> = batch.iter().map(count).collect();
    counts.sort_unstable();
    counts.dedup_by(|next, kept| {
        let same = (next.key, next.hour, next.status) == (kept.key, kept.hour, kept.status);
        if same {
            kept.number = kept.number.saturating_add(next.number);
        }
        same
    });
    counts
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sync::Ordering::Relaxed;
    use crate::usage::shared::{Header, Ledger};
    use crate::usage::slots::{Noted, Slot, Slots};
    use crate::usage::written::Rest;

    const NINE: Micros = 9 * HOUR;

    fn pending(key: u8, last_used_at: Micros, status: Status, uses: u64) -> Pending {
        Pending { slot: 0, database: 1, key: [key; 16], status, last_used_at, uses }
    }

    #[test]
    fn hours_and_days_begin_at_or_before_an_instant() {
        assert_eq!([0, 1, HOUR - 1, HOUR].map(hour_of), [0, 0, 0, HOUR]);
        assert_eq!([-1, -HOUR, -HOUR - 1].map(hour_of), [-HOUR, -HOUR, -2 * HOUR]);
        assert_eq!([DAY + NINE, DAY - 1, -1].map(day_of), [DAY, 0, -DAY]);
        assert_eq!(first_of_hours(10 * DAY + NINE), 2 * DAY);
        assert_eq!([hour_of(Micros::MIN), day_of(Micros::MIN)], [Micros::MIN; 2]);
    }

    /// G4: the sum of a batch is that of its rows, whatever hours it has.
    #[test]
    fn uses_of_the_latest_hour_are_the_keys_and_those_before_have_rows() {
        let uses = |key, at, uses| pending(key, at, Status::Valid, uses);
        let batch = [
            uses(2, NINE + 5, 3),
            uses(1, NINE + 7, 10),
            uses(1, NINE - 1, 20),
            uses(1, NINE + 6, 30),
            uses(1, NINE - HOUR - 1, 40),
        ];
        let (keys, earlier) = by_key(&batch);
        let first = KeyUses { key: [1; 16], last_used_at: NINE + 7, uses: 100, uses_in_hour: 40 };
        let second = KeyUses { key: [2; 16], last_used_at: NINE + 5, uses: 3, uses_in_hour: 3 };
        assert_eq!(keys, [first, second]);
        let row = |hour, number| HourCount { key: [1; 16], hour, status: Status::Valid, number };
        assert_eq!(earlier, [row(NINE - 2 * HOUR, 40), row(NINE - HOUR, 20)]);
        let in_rows: u64 = earlier.iter().map(|row| row.number).sum();
        let in_keys: u64 = keys.iter().map(|key| key.uses_in_hour).sum();
        assert_eq!(in_rows + in_keys, 103);
    }

    #[test]
    fn refusals_add_up_by_key_hour_and_status() {
        let batch = [
            pending(2, NINE, Status::ApiKeyRevoked, 1),
            pending(1, NINE, Status::RateLimited, 2),
            pending(1, NINE + 1, Status::IpNotAllowed, 4),
            pending(1, NINE + 2, Status::RateLimited, 8),
            pending(1, NINE + HOUR, Status::RateLimited, 16),
        ];
        let row = |key, hour, status, number| HourCount { key: [key; 16], hour, status, number };
        let expected = [
            row(1, NINE, Status::IpNotAllowed, 4),
            row(1, NINE, Status::RateLimited, 10),
            row(1, NINE + HOUR, Status::RateLimited, 16),
            row(2, NINE, Status::ApiKeyRevoked, 1),
        ];
        assert_eq!(by_hour(&batch), expected);
    }

    fn found(slots: Slots) -> Vec<(Status, Micros, u64)> {
        let mut found: Vec<_> = slots.all().expect("no slot is locked");
        found.sort_unstable_by_key(|it| (it.status, it.last_used_at));
        found.iter().map(|it| (it.status, it.last_used_at, it.uses)).collect()
    }

    #[test]
    fn a_use_of_another_hour_takes_another_slot() {
        let memory: Vec<_> = (0..8).map(|_| Slot::default()).collect();
        let slots = Slots(&memory);
        let note = |at| slots.note(1, &[1; 16], at, 1);
        assert_eq!(note(NINE - 1), Noted::Claimed);
        assert_eq!(note(NINE - HOUR), Noted::Added);
        assert_eq!(note(NINE), Noted::Claimed);
        assert_eq!(note(NINE + HOUR - 1), Noted::Added);
        // Of a session that has looked at the clock before.
        assert_eq!(note(NINE - 2), Noted::Added);
        assert_eq!(
            found(slots),
            [(Status::Valid, NINE - 1, 3), (Status::Valid, NINE + HOUR - 1, 2)]
        );
        assert_eq!(slots.unseen(1, &[1; 16], 0, |_| true).uses, 5);
        let (batch, _) = slots.collect(1, 0, 10, Rest::NONE);
        assert_eq!(slots.settle(batch.iter(), None), 2);
    }

    /// G4: the turn of an hour drops no use, however full the slots are.
    #[test]
    fn a_use_of_another_hour_stays_in_its_slot_where_no_other_is_free() {
        let memory: Vec<_> = (0..2).map(|_| Slot::default()).collect();
        let slots = Slots(&memory);
        [1, 2].iter().for_each(|key| _ = slots.note(1, &[*key; 16], NINE - 1, 1));
        assert_eq!(slots.note(1, &[3; 16], NINE, 1), Noted::Full);
        assert_eq!(slots.note(1, &[1; 16], NINE, 1), Noted::Added);
        assert_eq!(found(slots), [(Status::Valid, NINE - 1, 1), (Status::Valid, NINE, 2)]);
    }

    #[test]
    fn each_status_has_its_slot() {
        let memory: Vec<_> = (0..8).map(|_| Slot::default()).collect();
        let slots = Slots(&memory);
        let count = |status| slots.count(1, &[1; 16], status, NINE, u64::MAX);
        assert_eq!(count(Status::RateLimited), Noted::Claimed);
        assert_eq!(count(Status::ConcurrencyLimitExceeded), Noted::Claimed);
        assert_eq!(count(Status::RateLimited), Noted::Added);
        let most = (1 << 56) - 1;
        let statuses = [Status::RateLimited, Status::ConcurrencyLimitExceeded];
        assert_eq!(found(slots), statuses.map(|status| (status, NINE, most)));
        let batch = slots.all().expect("no slot is locked");
        assert_eq!(slots.settle(batch.iter(), None), 2);
        assert_eq!((found(slots), slots.pending(1)), (vec![], 0));
    }

    /// G4: however many keys are refused, no use is dropped for it, and none is flushed sooner.
    #[test]
    fn a_flood_of_refusals_takes_nothing_from_uses() {
        let header = Header::default();
        let [slots, refusals] =
            [8, 4].map(|size| (0..size).map(|_| Slot::default()).collect::<Vec<_>>());
        let ledger = Ledger { header: &header, slots: Slots(&slots), refusals: Slots(&refusals) };
        let tally = ledger.tally(1, 1).expect("a tally");
        let refuse = |key: u8| ledger.note_refusal(1, &[key; 16], Status::ApiKeyRevoked, NINE);
        let asked: Vec<_> = (0..100).map(refuse).collect();
        assert_eq!(asked.iter().filter(|asked| **asked).count(), 1, "one early flush");
        assert_eq!((ledger.crowded(), ledger.slots.pending(1)), (false, 0));
        let minute = Duration::from_secs(60);
        assert!(!ledger.rest(NINE, minute).is_none(), "keys in use rest");
        assert!(ledger.rest_of_refusals(NINE, minute).is_none());
        (0..8).for_each(|key| _ = ledger.note(1, &[key; 16], NINE, Some(tally)));
        assert_eq!((ledger.slots.pending(1), tally.dropped.load(Relaxed)), (8, 0));
        assert_eq!(ledger.unseen(1, &[1; 16], |_| true).uses, 1, "a refusal is no use");
    }

    /// G4: refusals are written, rest and survive a restart as uses do.
    #[test]
    fn refusals_are_settled_rest_and_survive_a_restart() {
        let (header, next) = (Header::default(), Header::default());
        let memory: Vec<_> = (0..8).map(|_| Slot::default()).collect();
        let ledger = |header| Ledger { header, slots: Slots(&[]), refusals: Slots(&memory) };
        let of = ledger(&header);
        let minute = Duration::from_secs(60);
        let refuse = |at| of.note_refusal(1, &[1; 16], Status::RateLimited, at);
        refuse(NINE);
        assert_eq!((of.databases(NINE, minute), header.refused.load(Relaxed)), (vec![1], 1));
        let rest = of.rest_of_refusals(NINE + 1, minute);
        let (batch, _) = of.refusals.collect(1, 0, 10, rest);
        refuse(NINE + 2);
        of.settle_refusals(batch.iter(), Some(rest));
        assert_eq!(header.refused.load(Relaxed), 1);
        let second = 1_000_000;
        assert_eq!(of.databases(NINE + 59 * second, minute), [0; 0]);
        assert_eq!(of.databases(NINE + 61 * second, minute), [1]);
        let snapshot = of.export().expect("no slot is locked");
        assert_eq!(snapshot.uses.len(), 1);
        let memory: Vec<_> = (0..8).map(|_| Slot::default()).collect();
        let of = Ledger { header: &next, slots: Slots(&[]), refusals: Slots(&memory) };
        of.import(&snapshot);
        assert_eq!(found(of.refusals), [(Status::RateLimited, NINE + 2, 1)]);
        assert_eq!(next.refused.load(Relaxed), 1);
        let (batch, _) = of.refusals.collect(1, 0, 10, Rest::NONE);
        of.settle_refusals(batch.iter(), None);
        assert_eq!((of.refusals.pending(1), next.refused.load(Relaxed)), (0, 0));
    }
}
