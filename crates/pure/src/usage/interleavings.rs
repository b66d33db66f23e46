//! Every interleaving of a few threads, and every value that a weak memory model lets them read, up
//! to a number of preemptions. Only loom can run these tests: see tools/test/loom.

use std::sync::Arc;

use loom::model::Builder;
use loom::thread;

use crate::spin::SpinLock;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{AtomicI32, AtomicU64};
use crate::usage::claim::{number_of, try_exclusive};
use crate::usage::handover::Handover;
use crate::usage::history::HOUR;
use crate::usage::slots::{Noted, Slot, Slots};
use crate::usage::written::Rest;

const DATABASE: u32 = 1;
const KEY: [u8; 16] = [1; 16];
const TRANSACTION: u64 = 7;

fn check(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut model = Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(run);
}

/// Adds 1 in two steps, between which another thread could come.
fn increment(number: &AtomicU64) {
    number.store(number.load(Relaxed) + 1, Relaxed);
}

#[test]
fn the_spin_lock_excludes() {
    check(3, || {
        let shared = Arc::new((SpinLock::default(), AtomicU64::new(0)));
        let other = Arc::clone(&shared);
        let other = thread::spawn(move || {
            let (lock, number) = &*other;
            lock.with(|| increment(number));
            u64::from(lock.try_with(|| increment(number)).is_some())
        });
        let (lock, number) = &*shared;
        let tried = u64::from(lock.try_with(|| increment(number)).is_some());
        lock.with(|| increment(number));
        let others = other.join().expect("a thread");
        assert_eq!(lock.with(|| number.load(Relaxed)), 2 + tried + others);
    });
}

#[test]
fn a_claimed_place_excludes() {
    check(3, || {
        let shared = Arc::new((AtomicI32::new(0), AtomicU64::new(0)));
        let others = Arc::clone(&shared);
        let other = thread::spawn(move || {
            let (place, number) = &*others;
            u64::from(try_exclusive(place, 2, || increment(number)).is_some())
        });
        let (place, number) = &*shared;
        let own = u64::from(try_exclusive(place, 1, || increment(number)).is_some());
        let done = own + other.join().expect("a thread");
        assert_eq!(number.load(Relaxed), done);
    });
}

/// Notes one use; returns how many were noted.
fn note(slots: &[Slot], at: i64) -> u64 {
    u64::from(Slots(slots).note(DATABASE, &KEY, at, 1) != Noted::Full)
}

/// G4: nothing is lost or counted twice while uses are flushed, be they of one hour or of several,
/// and whether there is a slot for each hour or not.
#[test]
fn uses_noted_during_a_flush_are_counted_once() {
    for (size, preemptions, step) in [(1, 2, 1), (2, 1, 1), (1, 1, HOUR), (2, 1, HOUR)] {
        check(preemptions, move || {
            let memory: Arc<Vec<Slot>> = Arc::new((0..size).map(|_| Slot::default()).collect());
            let before = note(&memory, 0);
            let writers: Vec<_> = (1..3)
                .map(|at| {
                    let memory = Arc::clone(&memory);
                    thread::spawn(move || note(&memory, at * step))
                })
                .collect();
            let slots = Slots(&memory);
            let (batch, _) = slots.collect(DATABASE, 0, 10, Rest::NONE);
            slots.settle(batch.iter(), None);
            let flushed: u64 = batch.iter().map(|pending| pending.uses).sum();
            let noted: u64 = writers.into_iter().map(|it| it.join().expect("a thread")).sum();
            let left: u64 = slots.all().expect("no slot is locked").iter().map(|it| it.uses).sum();
            assert_eq!(flushed + left, before + noted);
        });
    }
}

/// G4: a query never counts a use twice or misses one, wherever it comes between the commit of a
/// flush and its settling.
#[test]
fn a_query_counts_each_use_once_while_they_are_flushed() {
    check(3, || {
        let shared =
            Arc::new(([Slot::default()], AtomicI32::new(0), AtomicU64::new(0), AtomicU64::new(0)));
        let noted = note(&shared.0, 0);
        let flusher = Arc::clone(&shared);
        // As `Ledger::begin` and `Ledger::end` do, without the many counters of a header.
        let flusher = thread::spawn(move || {
            let (memory, place, open, table) = &*flusher;
            let slots = Slots(memory);
            try_exclusive(place, 1, || {
                let (batch, _) = slots.collect(DATABASE, 0, 10, Rest::NONE);
                open.store(TRANSACTION, Release);
                slots.begin(batch.iter(), TRANSACTION);
                table.store(batch.iter().map(|pending| pending.uses).sum(), Release);
                slots.settle(batch.iter(), Some(Rest::NONE));
                open.store(0, Release);
            });
        });
        let (memory, place, open, table) = &*shared;
        // The snapshot is taken first, and shows the row as it is then.
        let row = table.load(Acquire);
        let open = number_of(place, open);
        let unseen = Slots(memory).unseen(DATABASE, &KEY, open, |_| row > 0);
        assert_eq!(row + unseen.uses, noted);
        flusher.join().expect("a thread");
    });
}

/// Hands over pending uses, if no other caller does; returns their number.
fn hand_over(memory: &[Slot], place: &AtomicI32, own: i32) -> u64 {
    let slots = Slots(memory);
    let handed_over = try_exclusive(place, own, || {
        let mut handover = Handover::new(slots.collect(DATABASE, 0, 10, Rest::NONE).0);
        let reported: u64 = handover.report().iter().map(|report| report.uses).sum();
        slots.settle(handover.take(&KEY, reported).iter(), None);
        reported
    });
    handed_over.unwrap_or(0)
}

/// G4: two callers hand over each use once, also uses that are noted at the same time.
#[test]
fn two_callers_hand_over_each_use_once() {
    check(2, || {
        let shared = Arc::new(([Slot::default()], AtomicI32::new(0)));
        let before = note(&shared.0, 1);
        let other = Arc::clone(&shared);
        let other = thread::spawn(move || hand_over(&other.0, &other.1, 2));
        let writer = Arc::clone(&shared);
        let writer = thread::spawn(move || note(&writer.0, 2));
        let own = hand_over(&shared.0, &shared.1, 1);
        let handed_over = own + other.join().expect("a thread");
        let noted = before + writer.join().expect("a thread");
        let left = Slots(&shared.0).all().expect("no slot is locked");
        assert_eq!(handed_over + left.iter().map(|pending| pending.uses).sum::<u64>(), noted);
    });
}
