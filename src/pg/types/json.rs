//! jsonb, to and from text.

use core::ffi::CStr;

use pgrx::pg_sys;

use pure::encoding;

use crate::pg::ffi::guarded;
use crate::pg::types::{FromRaw, Json};

/// A jsonb of a value whose strings are widened text (see [`encoding`]).
pub fn jsonb(value: &serde_json::Value) -> Json {
    let mut text = encoding::narrow(&value.to_string());
    text.push(0);
    // SAFETY: jsonb_in takes a null-terminated string in the server's encoding and returns a jsonb
    // in the current memory context (src/backend/utils/adt/jsonb.c). There is no NUL within the
    // string, since JSON escapes it.
    unsafe {
        Json::from_raw(guarded::OidInputFunctionCall(
            pg_sys::Oid::from(pg_sys::F_JSONB_IN),
            text.as_mut_ptr().cast(),
            pg_sys::Oid::INVALID,
            -1,
        ))
    }
}

impl Json {
    /// Its text, in the server's encoding.
    pub fn text(self) -> Vec<u8> {
        // SAFETY: jsonb_out returns a null-terminated string in the current memory context
        // (src/backend/utils/adt/jsonb.c).
        unsafe {
            let text =
                guarded::OidOutputFunctionCall(pg_sys::Oid::from(pg_sys::F_JSONB_OUT), self.raw());
            CStr::from_ptr(text).to_bytes().to_vec()
        }
    }
}
