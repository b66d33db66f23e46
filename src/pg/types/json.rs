//! jsonb, to and from text.

use core::ffi::CStr;

use pgrx::pg_sys;

use pure::encoding;

use crate::pg::types::{Json, SqlValue};

/// A jsonb of a value whose strings are widened text (see [`encoding`]).
pub fn jsonb(value: &serde_json::Value) -> Json {
    let mut text = encoding::narrow(&value.to_string());
    text.push(0);
    // SAFETY: jsonb_in takes a null-terminated string in the server's encoding; a NUL inside is
    // impossible, since JSON escapes it.
    let datum = unsafe {
        pg_sys::OidInputFunctionCall(
            pg_sys::Oid::from(pg_sys::F_JSONB_IN),
            text.as_mut_ptr().cast(),
            pg_sys::Oid::INVALID,
            -1,
        )
    };
    Json::from_raw(datum)
}

impl Json {
    /// Its text, in the server's encoding.
    pub fn text(self) -> Vec<u8> {
        // SAFETY: jsonb_out returns a null-terminated string in the current memory context.
        unsafe {
            let text =
                pg_sys::OidOutputFunctionCall(pg_sys::Oid::from(pg_sys::F_JSONB_OUT), self.datum());
            CStr::from_ptr(text).to_bytes().to_vec()
        }
    }
}
