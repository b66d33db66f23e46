//! A spin lock in memory that processes share.

use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{AtomicU32, yield_now};

/// A lock to hold for a few instructions that cannot fail. Zero is free.
#[derive(Default)]
pub struct SpinLock(AtomicU32);

impl SpinLock {
    /// Runs `run` with the lock held; returns None if another process holds it.
    pub fn try_with<R>(&self, run: impl FnOnce() -> R) -> Option<R> {
        self.0.compare_exchange(0, 1, Acquire, Relaxed).ok()?;
        let result = run();
        self.0.store(0, Release);
        Some(result)
    }

    /// Waits for the lock and runs `run` with it held.
    pub fn with<R>(&self, run: impl FnOnce() -> R) -> R {
        while self.0.compare_exchange_weak(0, 1, Acquire, Relaxed).is_err() {
            // The process that holds it may have lost its processor.
            yield_now();
        }
        let result = run();
        self.0.store(0, Release);
        result
    }
}
