//! Work that only one process at a time may do. The process that does it writes its process id to a
//! place in shared memory, which is 0 otherwise.

use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{AtomicI32, AtomicU64};

/// Writes the own process id, unless another one is there. Returns whether it was written.
pub fn claim(place: &AtomicI32, own: i32) -> bool {
    place.compare_exchange(0, own, Acquire, Relaxed).is_ok()
}

/// Removes the own process id.
pub fn release(place: &AtomicI32) {
    place.store(0, Release);
}

/// The number that belongs to the process whose id is in the place; 0 if no id is there. If a
/// process fails, its number stays.
pub fn number_of(place: &AtomicI32, number: &AtomicU64) -> u64 {
    if place.load(Acquire) == 0 { 0 } else { number.load(Acquire) }
}

/// Runs `run` while the own process id is in the place; returns None if another one is there. `run`
/// must not raise or panic, and must be short.
pub fn try_exclusive<R>(place: &AtomicI32, own: i32, run: impl FnOnce() -> R) -> Option<R> {
    if !claim(place, own) {
        return None;
    }
    let result = run();
    release(place);
    Some(result)
}
