//! Values that a backend keeps, and changes, for as long as it runs.

use core::cell::UnsafeCell;

/// A static value that the process's only thread reads and writes.
///
/// It costs what a variable costs: no flag is read, as in a `RefCell`, and no thread's storage is
/// looked up. In debug builds a flag is kept, and a second use during the first one panics.
pub(in crate::pg) struct PerBackend<T> {
    /// The value.
    value: UnsafeCell<T>,
    /// Whether a closure is using it.
    #[cfg(debug_assertions)]
    in_use: core::cell::Cell<bool>,
}

// SAFETY: a process of the server has one thread that calls functions of the library. pgrx checks
// that at each guarded call (pgrx-pg-sys src/submodules/thread_check.rs).
unsafe impl<T> Sync for PerBackend<T> {}

impl<T> PerBackend<T> {
    /// A cell with its first value.
    pub(in crate::pg) const fn new(value: T) -> PerBackend<T> {
        PerBackend {
            value: UnsafeCell::new(value),
            #[cfg(debug_assertions)]
            in_use: core::cell::Cell::new(false),
        }
    }

    /// Runs `run` with the value. The result cannot hold the reference: its type is chosen before
    /// the reference's lifetime.
    ///
    /// # Safety
    /// `run` uses this cell in no other way and calls no function of the server. Such a function
    /// can process invalidation messages, whose callbacks use cells like this one, and can leave
    /// `run` by an error.
    #[inline]
    pub(in crate::pg) unsafe fn with<R>(&self, run: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(debug_assertions)]
        assert!(!self.in_use.replace(true), "a value of the backend is in use already");
        // SAFETY: there is one thread, and by the caller's promise nothing else uses the value
        // while `run` does. No reference outlives `run`.
        let result = run(unsafe { &mut *self.value.get() });
        #[cfg(debug_assertions)]
        self.in_use.set(false);
        result
    }

    /// Where the value is, for a function of the server that fills it.
    pub(in crate::pg) const fn as_ptr(&self) -> *mut T {
        self.value.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_between_uses() {
        static COUNT: PerBackend<u32> = PerBackend::new(1);
        // SAFETY: this test alone uses the cell, and the closures use nothing else.
        let count = unsafe {
            COUNT.with(|count| *count += 1);
            COUNT.with(|count| *count)
        };
        assert_eq!(count, 2);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "in use already")]
    fn a_use_within_a_use_panics_in_debug_builds() {
        static COUNT: PerBackend<u32> = PerBackend::new(0);
        // SAFETY: the second use panics before it makes a reference.
        unsafe { COUNT.with(|_| COUNT.with(|_| ())) }
    }
}
