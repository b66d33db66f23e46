//! Asking for memory that may be refused.

use core::cell::Cell;

thread_local! {
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

/// A vector with room for so many values; None where there is no memory for it.
pub fn try_vec<T>(length: usize) -> Option<Vec<T>> {
    let mut room = Vec::new();
    ASKING.set(true);
    let given = room.try_reserve_exact(length).is_ok();
    ASKING.set(false);
    given.then_some(room)
}

/// Whether whoever is asking for memory now can do without it.
pub fn may_be_refused() -> bool {
    ASKING.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_memory_for_is_refused() {
        assert!(try_vec::<u8>(isize::MAX as usize).is_none());
        assert!(try_vec::<u64>(usize::MAX).is_none());
        assert!(try_vec::<u64>(10).is_some_and(|room| room.capacity() >= 10 && room.is_empty()));
        assert!(!may_be_refused());
    }
}
