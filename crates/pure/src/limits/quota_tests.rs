//! Tests of the slots of quotas, with a table that is an array.

use std::sync::atomic::{AtomicI64, AtomicU32};
use std::thread;

use proptest::prelude::*;

use crate::limits::applicable::Holder;
use crate::limits::bucket_set::BucketId;
use crate::limits::bucket_set::Set;
use crate::limits::bucket_sets::Sets;
use crate::limits::name::Name;
use crate::limits::pending_charge::PendingCharge;
use crate::limits::quota_decision::CountedQuota;
use crate::limits::quota_decision::{Counts, refusing};
use crate::limits::quota_period::Span;
use crate::limits::quota_set::{MaxAge, QuotaSet, Reading, SLOTS, Stored};
use crate::limits::quota_sets::QuotaSets;
use crate::limits::quotas::Usage;
use crate::sync::Ordering::Relaxed;

const LONG: MaxAge = MaxAge { idle: 5, pending: u32::MAX };
pub(super) const AT_1: Reading = Reading { database: 1, now: 1, max_age: LONG, over: i64::MIN };
pub(super) const KEY: [u8; 16] = [7; 16];

pub(super) struct Memory(Vec<Set>, Vec<QuotaSet>);

impl Memory {
    pub(super) fn new(number: usize) -> Memory {
        let sets = (0..number).map(|_| Set::default()).collect();
        Memory(sets, (0..number).map(|_| QuotaSet::default()).collect())
    }

    pub(super) fn quotas(&self) -> QuotaSets<'_> {
        QuotaSets { locks: Sets(&self.0), sets: &self.1 }
    }
}

pub(super) fn counted(holder: u64, number: u64, allowed: i64) -> CountedQuota {
    CountedQuota {
        id: BucketId { holder, policy: number << 8 },
        counts: Counts {
            holder: Holder::Account,
            meter: Name::parse(b"calls").expect("a name"),
            span: Span::Month,
            period_start: 9,
        },
        warn_from: 0,
        is_charged: true,
        period_end: 10,
        renewed: allowed,
        usage: Usage { allowed, base: 0, pending: 0 },
        likely: 0,
    }
}

/// The table, whose rows are numbered as quotas are.
struct Table([AtomicI64; 40]);

impl Default for Table {
    fn default() -> Table {
        Table(core::array::from_fn(|_| AtomicI64::new(0)))
    }
}

impl Table {
    fn of(&self, id: BucketId) -> &AtomicI64 {
        &self.0[(id.policy >> 8) as usize]
    }

    fn flush(&self, quotas: QuotaSets, now: u32) {
        let (batch, _) = quotas.collect(1, 0, 1_000);
        let added: Vec<_> = batch.iter().map(|each| (each, self.add(each))).collect();
        quotas.settle(added.into_iter(), now);
    }

    fn add(&self, charge: &PendingCharge) -> i64 {
        self.of(charge.id).fetch_add(charge.amount, Relaxed) + charge.amount
    }
}

/// What the memory says is used; None where the table has to be read.
fn used(quotas: QuotaSets, id: BucketId) -> Option<i64> {
    let mut all = [CountedQuota { id, ..counted(0, 0, 0) }];
    let read = |locked| quotas.read(locked, &mut all, AT_1.now, AT_1.max_age);
    let missing = quotas.locks.while_locked([id.holder; 2], read);
    (missing == 0).then(|| all[0].usage.used())
}

/// What a call does. Returns whether it passes; None if there was no slot.
fn call(quotas: QuotaSets, table: &Table, each: CountedQuota, now: u32) -> Option<bool> {
    let reading = Reading { now, ..AT_1 };
    let base = |each: &CountedQuota| table.of(each.id).load(Relaxed);
    quotas.while_known([each.id.holder; 2], &mut [each], reading, base, |locked, all| {
        let passes = refusing(all, 1).is_none();
        let charged = !passes || quotas.charge(locked, &KEY, all, 1) == 0;
        charged.then_some(passes)
    })
}

/// G11: another process may have moved the slot since it was looked up.
#[test]
fn a_quota_is_found_wherever_it_was_expected() {
    let (memory, table) = (Memory::new(1), Table::default());
    let (quotas, mut both) = (memory.quotas(), [1, 2].map(|number| counted(0, number, 10)));
    for (quota, calls) in both.into_iter().zip([3, 5]) {
        assert!((0..calls).all(|_| call(quotas, &table, quota, 1) == Some(true)));
    }
    for likely in 0..=u8::MAX {
        both.iter_mut().for_each(|each| each.likely = likely);
        let read = |locked| quotas.read(locked, &mut both, AT_1.now, AT_1.max_age);
        assert_eq!(quotas.locks.while_locked([0; 2], read), 0);
        assert_eq!(both.map(|each| each.usage.used()), [3, 5], "expected at {likely}");
    }
}

#[test]
fn calls_pass_up_to_the_amount_and_what_the_table_has_counts() {
    let (memory, table) = (Memory::new(3), Table::default());
    let quotas = memory.quotas();
    table.0[1].store(7, Relaxed);
    let quota = counted(1 << 63, 1, 10);
    let passed = (0..5).filter(|_| call(quotas, &table, quota, 1) == Some(true)).count();
    assert_eq!((passed, used(quotas, quota.id)), (3, Some(10)));
    // More is allowed at once, and what is used stays.
    let more = counted(1 << 63, 1, 11);
    assert_eq!(call(quotas, &table, more, 1), Some(true));
    assert_eq!(call(quotas, &table, more, 1), Some(false));
    table.flush(quotas, 1);
    assert_eq!((table.0[1].load(Relaxed), used(quotas, quota.id)), (11, Some(11)));
    assert_eq!((quotas.databases(), used(quotas, counted(0, 1, 0).id)), (vec![], None));
}

#[test]
fn refunds_and_late_charges_survive_a_flush_that_is_under_way() {
    let (memory, table) = (Memory::new(1), Table::default());
    let quotas = memory.quotas();
    let quota = counted(0, 1, 100);
    let charge = |cost| {
        quotas.locks.while_locked([0; 2], |locked| {
            let mut all = [quota];
            assert_eq!(quotas.read(locked, &mut all, 1, LONG), 0);
            quotas.charge(locked, &KEY, &mut all, cost)
        })
    };
    call(quotas, &table, quota, 1);
    assert_eq!(charge(150), 0);
    assert_eq!((used(quotas, quota.id), call(quotas, &table, quota, 1)), (Some(151), Some(false)));
    let (batch, _) = quotas.collect(1, 0, 10);
    // All of it is given back while it is being written: nothing is pending, and the slot stays.
    charge(-200);
    assert_eq!(used(quotas, quota.id), Some(0));
    fill(quotas);
    assert_eq!(used(quotas, quota.id), Some(0));
    // The flush may fail.
    quotas.release(batch.iter());
    assert_eq!((used(quotas, quota.id), table.0[1].load(Relaxed)), (Some(0), 0));
    charge(5);
    let (batch, _) = quotas.collect(1, 0, 10);
    charge(-2);
    let added = table.add(&batch[0]);
    quotas.settle(batch.iter().map(|each| (each, added)), 1);
    assert_eq!((added, used(quotas, quota.id)), (5, Some(3)));
    table.flush(quotas, 1);
    assert_eq!(table.0[1].load(Relaxed), 3);
}

/// Claims every slot of the first set that is free or idle. Returns how many there were.
fn fill(quotas: QuotaSets) -> usize {
    let store = |number: u64| {
        let quota = counted(0, 20 + number, 1);
        let stored = quotas.store_base(&quota, 0, quotas.number_of(quota.id), AT_1);
        let holders = [0; 2];
        quotas.locks.while_locked(holders, |locked| {
            let mut all = [quota];
            quotas.read(locked, &mut all, 1, LONG);
            quotas.charge(locked, &KEY, &mut all, 1)
        });
        stored == Stored::Yes
    };
    (0..SLOTS as u64).filter(|number| store(*number)).count()
}

#[test]
fn a_slot_with_something_pending_is_not_taken() {
    let (memory, table) = (Memory::new(1), Table::default());
    let quotas = memory.quotas();
    let quota = counted(0, 1, 10);
    call(quotas, &table, quota, 1);
    assert_eq!(fill(quotas), SLOTS - 1);
    assert_eq!(call(quotas, &table, counted(0, 2, 1), 1), None);
    table.flush(quotas, 1);
    assert_eq!(call(quotas, &table, counted(0, 2, 1), 1), Some(true));
    assert_eq!(fill(quotas), SLOTS - 1);
    assert_eq!((used(quotas, quota.id), table.0[1].load(Relaxed)), (None, 1));
}

/// Where nobody flushes, periods that are over make room.
#[test]
fn a_period_that_is_over_gives_its_slot_only_where_nobody_flushes() {
    let memory = Memory::new(1);
    let quotas = memory.quotas();
    assert_eq!(fill(quotas), SLOTS);
    let quota = counted(0, 1, 10);
    let store =
        |over| quotas.store_base(&quota, 0, quotas.number_of(quota.id), Reading { over, ..AT_1 });
    // It ends within the first second.
    assert_eq!([i64::MIN, 999_999].map(store), [Stored::NoRoom; 2]);
    assert_eq!(store(1_000_000), Stored::Yes);
    assert_eq!(used(quotas, quota.id), Some(0));
}

/// A session reads the base, and meanwhile another one counts, the flush writes it, and the
/// slot goes to another quota.
#[test]
fn a_base_of_before_a_flush_is_not_stored() {
    let (memory, table) = (Memory::new(1), Table::default());
    let quotas = memory.quotas();
    let quota = counted(0, 1, 10);
    let (number, base) = (quotas.number_of(quota.id), table.0[1].load(Relaxed));
    call(quotas, &table, quota, 1);
    table.flush(quotas, 1);
    assert_eq!(quotas.store_base(&quota, base, number, AT_1), Stored::Outdated);
    assert_eq!(fill(quotas), SLOTS);
    assert_eq!(used(quotas, quota.id), None);
    assert_eq!(quotas.store_base(&quota, base, number, AT_1), Stored::Outdated);
    // Nor is one that was read while a flush was under way: the table may have it already.
    let memory = Memory::new(1);
    let quotas = memory.quotas();
    call(quotas, &table, quota, 1);
    let _batch = quotas.collect(1, 0, 10);
    let number = quotas.number_of(quota.id);
    assert_eq!(quotas.store_base(&quota, 1, number, AT_1), Stored::BeingFlushed);
}

#[test]
fn an_old_base_is_read_again() {
    let (memory, table) = (Memory::new(1), Table::default());
    let quotas = memory.quotas();
    let quota = counted(0, 1, 10);
    call(quotas, &table, quota, 1);
    // While something is pending, the next flush reads it.
    table.0[1].store(10, Relaxed);
    assert_eq!(call(quotas, &table, quota, 100), Some(true));
    table.flush(quotas, 100);
    assert_eq!(used(quotas, quota.id), Some(12));
    table.0[1].store(3, Relaxed);
    assert_eq!(call(quotas, &table, quota, 105), Some(false));
    assert_eq!(call(quotas, &table, quota, 106), Some(true));
    assert_eq!(used(quotas, quota.id), Some(4));
}

/// G12: the first flush begins with the server, and can take longer than a call waits for it.
#[test]
fn a_call_during_the_first_flush_after_a_restart_knows_what_the_table_has() {
    let (memory, table) = (Memory::new(1), Table::default());
    table.0[1].store(7, Relaxed);
    let (quotas, quota) = (memory.quotas(), counted(0, 1, 10));
    assert_eq!(call(quotas, &table, quota, 1), Some(true));
    let exported = quotas.export().expect("no lock is held");
    let restarted = Memory::new(1);
    let quotas = restarted.quotas();
    quotas.import(&exported);
    let (batch, _) = quotas.collect(1, 0, 1_000);
    let passed = [(); 4].map(|()| call(quotas, &table, quota, 1));
    assert_eq!(passed, [Some(true), Some(true), Some(false), Some(false)]);
    let added: Vec<_> = batch.iter().map(|each| (each, table.add(each))).collect();
    quotas.settle(added.into_iter(), 1);
    table.flush(quotas, 1);
    assert_eq!((table.0[1].load(Relaxed), used(quotas, quota.id)), (10, Some(10)));
}

#[test]
fn what_is_pending_outlives_a_restart() {
    let (memory, table) = (Memory::new(1), Table::default());
    let quotas = memory.quotas();
    let quota = CountedQuota { warn_from: 8, ..counted(0, 1, 10) };
    (0..4).for_each(|_| _ = call(quotas, &table, quota, 1));
    call(quotas, &table, counted(0, 2, 10), 1);
    let exported = quotas.export().expect("no set is locked");
    assert_eq!(exported.len(), 2);
    assert_eq!((exported[0].key, exported[0].counts), (KEY, quota.counts));
    assert_eq!((exported[0].amount, exported[0].warn_from), (4, 8));
    memory.0[0].lock.with(|| assert_eq!(quotas.export(), None));
    let memory = Memory::new(5);
    let quotas = memory.quotas();
    assert_eq!((quotas.import(&exported), used(quotas, quota.id)), (0, None));
    table.0[1].store(5, Relaxed);
    assert_eq!(call(quotas, &table, quota, 1), Some(true));
    assert_eq!(call(quotas, &table, quota, 1), Some(false));
    assert_eq!(quotas.databases(), [1]);
    quotas.forget_databases(|database| database == 1);
    assert_eq!((quotas.databases(), used(quotas, quota.id)), (vec![], None));
}

/// G12: of racing calls exactly as many pass as the quota allows, while flushes run and slots go
/// to other quotas. What the table and the memory have in the end is what has passed.
#[test]
fn racing_calls_pass_exactly_up_to_the_amount() {
    const ALLOWED: i64 = 3_000;
    let (memory, table, ended) = (Memory::new(1), Table::default(), AtomicU32::new(0));
    let quotas = memory.quotas();
    let passed: usize = thread::scope(|scope| {
        let calls = |thread: u32| {
            let (table, ended) = (&table, &ended);
            move || {
                let one = |at: u32| {
                    // Slots are fewer than quotas.
                    let other = counted(0, 2 + u64::from((at + thread) % 30), 1 << 40);
                    call(quotas, table, other, 1);
                    call(quotas, table, counted(0, 1, ALLOWED), 1)
                };
                let mut passed = 0;
                for at in 0..2_000 {
                    while match one(at) {
                        Some(true) => {
                            passed += 1;
                            false
                        }
                        Some(false) => false,
                        None => true,
                    } {
                        thread::yield_now();
                    }
                }
                ended.fetch_add(1, Relaxed);
                passed
            }
        };
        let callers: Vec<_> = (0..4).map(|thread| scope.spawn(calls(thread))).collect();
        while ended.load(Relaxed) < 4 {
            table.flush(quotas, 1);
            thread::yield_now();
        }
        callers.into_iter().map(|caller| caller.join().expect("a caller")).sum()
    });
    table.flush(quotas, 1);
    assert_eq!((passed as i64, table.0[1].load(Relaxed)), (ALLOWED, ALLOWED));
}

proptest! {
    /// G12: whatever happens in whatever order, the memory knows exactly what is used, and the
    /// table has it in the end.
    #[test]
    fn what_is_used_is_known_exactly(
        steps in prop::collection::vec((0..6_u8, 0..4_u64, -3..6_i64), 0..80),
    ) {
        let (memory, table) = (Memory::new(1), Table::default());
        let quotas = memory.quotas();
        let (mut all_used, mut read, mut batch) = ([0_i64; 4], Vec::new(), Vec::new());
        for (step, number, cost) in steps {
            let quota = counted(0, number, 1 << 40);
            match step {
                // A session begins to read a base, and one that did stores it.
                0 => read.push((quota, quotas.number_of(quota.id), table.of(quota.id).load(Relaxed))),
                1 => if let Some((quota, number, base)) = read.pop() {
                    quotas.store_base(&quota, base, number, AT_1);
                },
                2 => {
                    call(quotas, &table, quota, 1);
                    let before = used(quotas, quota.id).expect("a slot");
                    prop_assert_eq!(before, all_used[number as usize] + 1);
                    quotas.locks.while_locked([0; 2], |locked| {
                        let mut all = [quota];
                        quotas.read(locked, &mut all, 1, LONG);
                        quotas.charge(locked, &KEY, &mut all, cost);
                    });
                    all_used[number as usize] = (before + cost).max(0);
                }
                3 => {
                    quotas.release(batch.iter());
                    batch = quotas.collect(1, 0, 10).0;
                }
                4 => {
                    let added: Vec<_> = batch.iter().map(|it| (it, table.add(it))).collect();
                    quotas.settle(added.into_iter(), 1);
                    batch.clear();
                }
                // Other quotas take the slots, and leave.
                _ => {
                    fill(quotas);
                    quotas.release(std::mem::take(&mut batch).iter());
                    table.flush(quotas, 1);
                }
            }
        }
        quotas.release(batch.iter());
        table.flush(quotas, 1);
        for (number, used) in all_used.into_iter().enumerate() {
            prop_assert_eq!(table.0[number].load(Relaxed), used);
        }
    }
}

/// Charges quotas whose base is 0, or gives back.
fn charge(quotas: QuotaSets, all: &mut [CountedQuota], cost: i64) {
    let holders = [all[0].id.holder, all[all.len() - 1].id.holder];
    quotas.while_known(
        holders,
        all,
        AT_1,
        |_| 0,
        |locked, all| {
            assert_eq!(quotas.charge(locked, &KEY, all, cost), 0);
        },
    );
}

/// What is pending of each quota, and what of it the history has to have.
fn pending(quotas: QuotaSets) -> Vec<(i64, i64)> {
    let all = quotas.export().expect("no set is locked");
    all.iter().map(|each| (each.amount, each.charged)).collect()
}

#[test]
fn a_charge_counts_once_in_the_history_however_many_quotas_it_is_charged_to() {
    let memory = Memory::new(1);
    let quotas = memory.quotas();
    let mut all = [counted(0, 1, 10), counted(0, 2, 10), counted(1, 3, 10)];
    all[2].counts.holder = Holder::Key;
    charge(quotas, &mut all, 5);
    assert_eq!(pending(quotas), [(5, 0), (5, 0), (5, 5)]);
    // Without the key's own, it counts with the account's.
    charge(quotas, &mut all[..2], 2);
    assert_eq!(pending(quotas), [(7, 0), (7, 2), (5, 5)]);
    // The one that has used most gives back most.
    charge(quotas, &mut all, -9);
    assert_eq!(pending(quotas), [(0, 2), (0, -2)]);
    // What is pending for the history alone keeps the slot.
    assert_eq!(quotas.databases(), [1]);
    let (batch, _) = quotas.collect(1, 0, 10);
    quotas.release(batch.iter());
    assert_eq!(pending(quotas), [(0, 0); 0]);
}

#[test]
fn what_the_history_does_not_have_stays_when_the_quota_is_settled() {
    let memory = Memory::new(1);
    let quotas = memory.quotas();
    charge(quotas, &mut [counted(0, 1, 10)], 5);
    let (batch, _) = quotas.collect(1, 0, 10);
    let without = PendingCharge { charged: 0, ..batch[0] };
    quotas.settle([(&without, 5)].into_iter(), 1);
    assert_eq!(pending(quotas), [(0, 5)]);
    charge(quotas, &mut [counted(0, 1, 10)], 2);
    let (batch, _) = quotas.collect(1, 0, 10);
    assert_eq!((batch[0].amount, batch[0].charged), (2, 7));
    // The history has it, and the other table has not.
    quotas.release([PendingCharge { amount: 2, ..batch[0] }].iter());
    assert_eq!(pending(quotas), [(2, 0)]);
    let (batch, _) = quotas.collect(1, 0, 10);
    quotas.forget(batch.iter());
    assert_eq!((pending(quotas), quotas.databases()), (vec![], vec![]));
}
