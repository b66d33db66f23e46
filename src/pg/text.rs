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
