//! Text in the server's encoding.

use pgrx::pg_sys;

/// How many characters the text has.
pub fn characters(text: &[u8]) -> usize {
    // SAFETY: pg_mbstrlen_with_len reads at most the given bytes of valid text
    // (src/backend/utils/mb/mbutils.c).
    let characters =
        unsafe { pg_sys::pg_mbstrlen_with_len(text.as_ptr().cast(), text.len() as i32) };
    usize::try_from(characters).unwrap_or(0)
}

/// How many bytes the first `limit` characters of the text have.
pub fn bytes_of_characters(text: &[u8], limit: usize) -> usize {
    let limit = i32::try_from(limit).unwrap_or(i32::MAX);
    // SAFETY: pg_mbcharcliplen reads at most the given bytes of valid text
    // (src/backend/utils/mb/mbutils.c).
    let bytes = unsafe { pg_sys::pg_mbcharcliplen(text.as_ptr().cast(), text.len() as i32, limit) };
    usize::try_from(bytes).unwrap_or(0)
}
