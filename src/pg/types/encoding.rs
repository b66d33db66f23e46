//! Text in the server's encoding.

use pgrx::pg_sys;

use pure::encoding::Encoding;

/// The encoding of this database (src/backend/utils/mb/mbutils.c).
pub struct ServerEncoding;

/// The text as this database can show it. The catalogues that all databases share have texts in the
/// encoding of the database where they were written. Where such a text is invalid here, each byte
/// that is not ASCII becomes a question mark.
pub fn shown_here(mut text: Vec<u8>) -> Vec<u8> {
    let length = i32::try_from(text.len()).unwrap_or(i32::MAX);
    // SAFETY: the function reads the bytes alone; with the last argument it raises nothing
    // (src/backend/utils/mb/mbutils.c).
    if !unsafe { pg_sys::pg_verifymbstr(text.as_ptr().cast(), length, true) } {
        text.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b'?');
    }
    text
}

impl Encoding for ServerEncoding {
    fn is_utf8(&self) -> bool {
        // SAFETY: reads a variable of src/backend/utils/mb/mbutils.c.
        unsafe { pg_sys::GetDatabaseEncoding() == pg_sys::pg_enc::PG_UTF8 as i32 }
    }

    fn characters(&self, text: &[u8]) -> usize {
        let length = i32::try_from(text.len()).unwrap_or(i32::MAX);
        // SAFETY: pg_mbstrlen_with_len reads at most the given bytes: in every encoding of a
        // server, the first byte of a character says how long it is (src/common/wchar.c).
        let characters = unsafe { pg_sys::pg_mbstrlen_with_len(text.as_ptr().cast(), length) };
        usize::try_from(characters).unwrap_or(0)
    }

    fn bytes_of_characters(&self, text: &[u8], limit: usize) -> usize {
        let length = i32::try_from(text.len()).unwrap_or(i32::MAX);
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        // SAFETY: pg_mbcharcliplen reads at most the given bytes, as pg_mbstrlen_with_len does
        // (src/backend/utils/mb/mbutils.c).
        let bytes = unsafe { pg_sys::pg_mbcharcliplen(text.as_ptr().cast(), length, limit) };
        usize::try_from(bytes).unwrap_or(0)
    }
}
