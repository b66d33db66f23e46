//! jsonb values that a backend makes once and keeps. Making one of a text takes longer than a
//! verification.
//!
//! A value may end in a text that is another each time. In a jsonb, the bytes of the last value
//! come last. So such a text is appended to a value that has an empty one there, and its length is
//! added to the lengths of the values that it is the end of. (src/include/utils/jsonb.h; stored
//! values have this format, so that it is the same in all versions.)

use core::slice;

use pgrx::pg_sys::{self, Datum};
use serde_json::Value;

use crate::pg::call::Call;
use crate::pg::ffi::guard::guarded;
use crate::pg::ffi::per_backend::PerBackend;
use crate::pg::types::json::jsonb;
use crate::pg::types::{FromRaw, Json, packed_unguarded, varlena_of_parts_unguarded};

/// The size of a number in a jsonb, and its alignment.
const WORD: usize = size_of::<u32>();
/// How many values a text at the end belongs to: itself, and the object that has it.
const DEPTH: usize = 2;

/// Values by their numbers, less than `N`.
pub struct KeptJson<const N: usize>(PerBackend<[Option<Kept>; N]>);

/// A value that is kept. Nobody frees or changes it.
#[derive(Clone, Copy)]
struct Kept {
    /// What follows the header of the varlena, which precedes it in memory.
    content: &'static [u8],
    /// Where in the content the lengths are of a text at its end and of its object; None where
    /// there is no such text.
    lengths: Option<[usize; DEPTH]>,
}

impl<const N: usize> KeptJson<N> {
    /// None is made yet.
    pub const fn new() -> Self {
        KeptJson(PerBackend::new([None; N]))
    }

    /// The value of a number, which `make` returns when it is asked for first.
    pub fn get(&self, call: &Call, number: usize, make: impl FnOnce() -> Value) -> Json {
        let kept = self.kept(call, number, make);
        // SAFETY: the content follows the header of a jsonb, and stays.
        unsafe { Json::from_raw(Datum::from(kept.content.as_ptr().sub(pg_sys::VARHDRSZ))) }
    }

    /// The value of a number with this ASCII text at its end. `make` returns it with an empty text
    /// there: an object whose only member is an object, of whose members the text is the last one
    /// in the order of jsonb, by the length of the names.
    pub fn ending_in(
        &self,
        call: &Call,
        number: usize,
        text: &str,
        make: impl FnOnce() -> Value,
    ) -> Json {
        let Kept { content, lengths } = self.kept(call, number, make);
        let lengths = lengths.expect("a text is the last value");
        // SAFETY: the closure holds plain data, and cannot panic. The result is new memory, aligned
        // as the content of a jsonb is, with its lengths at the same places. Once they include the
        // text, it is a jsonb.
        unsafe {
            guarded(|| {
                let json = varlena_of_parts_unguarded(call, [content, text.as_bytes()]);
                for at in lengths {
                    *json.cast_mut_ptr::<u8>().add(pg_sys::VARHDRSZ + at).cast::<u32>() +=
                        text.len() as u32;
                }
                Json::from_raw(json)
            })
        }
    }

    fn kept(&self, call: &Call, number: usize, make: impl FnOnce() -> Value) -> Kept {
        // SAFETY: the closure reads the value alone.
        let kept = unsafe { self.0.with(|kept| kept[number]) };
        kept.unwrap_or_else(|| {
            let kept = Kept::new(call, jsonb(&make()));
            // SAFETY: the closure writes the value alone.
            unsafe { self.0.with(|all| all[number] = Some(kept)) };
            kept
        })
    }
}

impl Kept {
    fn new(_: &Call, json: Json) -> Kept {
        // SAFETY: a jsonb is a varlena, and good for the call. The closure holds plain data.
        let content = unsafe { guarded(|| packed_unguarded(json.raw())) };
        let words = (pg_sys::VARHDRSZ + content.len()).div_ceil(WORD);
        let memory = vec![0_u32; words].leak().as_mut_ptr().cast::<u8>();
        // SAFETY: the memory has room for header and content, and stays.
        let content = unsafe {
            pgrx::varlena::set_varsize_4b(memory.cast(), (pg_sys::VARHDRSZ + content.len()) as i32);
            let target = memory.add(pg_sys::VARHDRSZ);
            target.copy_from_nonoverlapping(content.as_ptr(), content.len());
            slice::from_raw_parts(target, content.len())
        };
        Kept { content, lengths: lengths_at_the_end(content) }
    }
}

/// Where the lengths are of an empty text at the end, and of the object that has it: the last entry
/// of each of the two objects. None where there is no such text.
fn lengths_at_the_end(content: &[u8]) -> Option<[usize; DEPTH]> {
    let (outer, entries) = last_entry(content, 0)?;
    let entry = word(content, outer)?;
    if entry & pg_sys::JENTRY_TYPEMASK != pg_sys::JENTRY_ISCONTAINER {
        return None;
    }
    // The object begins where the name ends, aligned.
    let name = word(content, entries)? & pg_sys::JENTRY_OFFLENMASK;
    let data = outer + WORD;
    let inner = (data + usize::try_from(name).ok()?).next_multiple_of(WORD);
    let (text, _) = last_entry(content, inner)?;
    (word(content, text)? == pg_sys::JENTRY_ISSTRING).then_some([outer, text])
}

/// Where the last entry of an object is, and the first one. The names have their entries before the
/// values. That of a last value has a length, and no offset, since its number is odd.
fn last_entry(content: &[u8], object: usize) -> Option<(usize, usize)> {
    let header = word(content, object)?;
    let members = usize::try_from(header & pg_sys::JB_CMASK).ok()?;
    if header & pg_sys::JB_FOBJECT == 0 || members == 0 {
        return None;
    }
    let first = object + WORD;
    Some((first + (2 * members - 1) * WORD, first))
}

/// The number at a place.
fn word(content: &[u8], at: usize) -> Option<u32> {
    content.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}
