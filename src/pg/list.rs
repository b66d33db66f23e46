//! A list of plain values in place.

use core::mem::MaybeUninit;
use core::slice;

/// A list with room for `N` values. Places without a value are never written, so that a list costs
/// what its values do. A move copies all of it.
#[derive(Clone, Copy)]
pub struct List<T: Copy, const N: usize> {
    length: usize,
    /// The first `length` of them have a value.
    places: [MaybeUninit<T>; N],
}

impl<T: Copy, const N: usize> List<T, N> {
    /// No value.
    #[inline(always)]
    pub const fn new() -> List<T, N> {
        List { length: 0, places: [const { MaybeUninit::uninit() }; N] }
    }

    /// Adds a value. A value beyond the room is left out.
    #[inline]
    pub fn push(&mut self, value: T) {
        if let Some(place) = self.places.get_mut(self.length) {
            place.write(value);
            self.length += 1;
        }
    }

    /// The values.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: so many places have a value.
        unsafe { slice::from_raw_parts(self.places.as_ptr().cast(), self.length) }
    }

    /// The values, to be changed.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: so many places have a value.
        unsafe { slice::from_raw_parts_mut(self.places.as_mut_ptr().cast(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_up_to_the_room() {
        let mut list = List::<u32, 2>::new();
        assert!(list.as_slice().is_empty());
        (1..=3).for_each(|value| list.push(value));
        list.as_mut_slice()[0] = 7;
        assert_eq!(list.as_slice(), [7, 2]);
    }
}
