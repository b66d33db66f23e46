//! A spin lock in memory that processes share.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// A lock of one word, for a few instructions that cannot fail. All zeroes is free.
#[derive(Default)]
pub struct SpinLock(AtomicU32);

impl SpinLock {
    /// Runs it while holding the word, or not at all where another process holds it.
    pub fn try_with<R>(&self, run: impl FnOnce() -> R) -> Option<R> {
        self.0.compare_exchange(0, 1, Acquire, Relaxed).ok()?;
        let result = run();
        self.0.store(0, Release);
        Some(result)
    }

    /// Runs it while holding the word, for which it waits.
    pub fn with<R>(&self, run: impl FnOnce() -> R) -> R {
        while self.0.compare_exchange_weak(0, 1, Acquire, Relaxed).is_err() {
            // The holder may have lost its processor.
            std::thread::yield_now();
        }
        let result = run();
        self.0.store(0, Release);
        result
    }
}
