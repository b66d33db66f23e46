//! Values that a session keeps, for code outside of [`crate::pg`].

use core::cell::{Cell, UnsafeCell};

/// A static value that the process's only thread reads and writes.
///
/// Other than [`crate::pg::ffi::per_backend::PerBackend`], it asks its user for no promise: a flag
/// says that it is in use. Where an error of the server has left a use, it stays in use, and so out
/// of reach for the rest of the session.
pub struct Kept<T> {
    value: UnsafeCell<T>,
    in_use: Cell<bool>,
}

// SAFETY: a process of the server has one thread that calls functions of the library. pgrx checks
// that at each guarded call (pgrx-pg-sys src/submodules/thread_check.rs).
unsafe impl<T> Sync for Kept<T> {}

impl<T> Kept<T> {
    /// A value at first.
    pub const fn new(value: T) -> Kept<T> {
        Kept { value: UnsafeCell::new(value), in_use: Cell::new(false) }
    }

    /// Runs `run` with the value; None where it is in use. `run` should call nothing of the server.
    #[inline]
    pub fn with<R>(&self, run: impl FnOnce(&mut T) -> R) -> Option<R> {
        if self.in_use.replace(true) {
            return None;
        }
        // SAFETY: there is one thread, and the flag says that no other use of the value has begun
        // and not ended. The result cannot hold the reference: its type is chosen before the
        // reference's lifetime.
        let result = run(unsafe { &mut *self.value.get() });
        self.in_use.set(false);
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_not_given_twice_at_a_time() {
        static COUNT: Kept<u32> = Kept::new(1);
        assert_eq!(COUNT.with(|count| (COUNT.with(|_| ()), *count)), Some((None, 1)));
        COUNT.with(|count| *count += 1);
        assert_eq!(COUNT.with(|count| *count), Some(2));
    }
}
