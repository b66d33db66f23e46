//! Allocating memory where failure is not an error.

use core::cell::Cell;

thread_local! {
    static FALLIBLE: Cell<bool> = const { Cell::new(false) };
}

/// An empty vector with room for so many values; None if there is no memory for it.
pub fn try_vec<T>(length: usize) -> Option<Vec<T>> {
    let mut room = Vec::new();
    FALLIBLE.set(true);
    let given = room.try_reserve_exact(length).is_ok();
    FALLIBLE.set(false);
    given.then_some(room)
}

/// Whether the current allocation may fail without an error: [`try_vec`] makes it.
pub fn may_be_refused() -> bool {
    FALLIBLE.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_without_memory_is_none() {
        assert!(try_vec::<u8>(isize::MAX as usize).is_none());
        assert!(try_vec::<u64>(usize::MAX).is_none());
        assert!(try_vec::<u64>(10).is_some_and(|room| room.capacity() >= 10 && room.is_empty()));
        assert!(!may_be_refused());
    }
}
