//! SQL types as arguments and results, by their datum.
//!
//! pgrx reads `text` as `&str`, which fails for bytes that are not UTF-8, and detoasts at once. These
//! types carry the datum as it came and look into it when asked.

pub mod array;
pub mod encoding;
pub mod json;
pub mod single_row;
pub mod status;

use core::slice;

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{FromDatum, IntoDatum};
use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::prelude::impl_sql_translatable;

use pure::request::network::Network;

use crate::pg::call::Call;
use crate::pg::ffi::guard::guarded;
use crate::pg::ffi::unguarded;

/// A value of one SQL type.
pub trait SqlValue {
    /// The datum as it came.
    fn datum(self) -> Datum;

    /// A value of this type, as the server handed it out.
    fn from_raw(datum: Datum) -> Self;
}

macro_rules! sql_types {
    ($($(#[$doc:meta])* $name:ident $sql:literal $oid:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name(Datum);

        impl SqlValue for $name {
            fn datum(self) -> Datum {
                self.0
            }

            fn from_raw(datum: Datum) -> $name {
                $name(datum)
            }
        }

        impl FromDatum for $name {
            unsafe fn from_polymorphic_datum(datum: Datum, is_null: bool, _: Oid) -> Option<Self> {
                (!is_null).then_some($name(datum))
            }
        }

        impl IntoDatum for $name {
            fn into_datum(self) -> Option<Datum> {
                Some(self.0)
            }

            fn type_oid() -> Oid {
                pg_sys::$oid
            }
        }

        // SAFETY: the datum is taken as it is, and looked into according to its SQL type, which the
        // generated SQL declares.
        unsafe impl<'fcx> ArgAbi<'fcx> for $name {
            unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
                // SAFETY: the caller's; null was dealt with before.
                unsafe { arg.unbox_arg_using_from_datum() }.expect("an argument that is not null")
            }
        }

        // SAFETY: the datum is one of this SQL type, allocated in the server's memory.
        unsafe impl BoxRet for $name {
            unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> pgrx::datum::Datum<'fcx> {
                // SAFETY: as above.
                unsafe { fcinfo.return_raw_datum(self.0) }
            }
        }

        impl_sql_translatable!($name, $sql);
    )+};
}

sql_types! {
    /// `text`, in the server's encoding.
    Text "text" TEXTOID;
    /// `text[]`.
    TextArray "text[]" TEXTARRAYOID;
    /// `bytea`.
    Bytes "bytea" BYTEAOID;
    /// `cidr[]`.
    CidrArray "cidr[]" CIDRARRAYOID;
    /// `inet`.
    Inet "inet" INETOID;
    /// `jsonb`.
    Json "jsonb" JSONBOID;
    /// `interval`.
    Interval "interval" INTERVALOID;
    /// `uuid`.
    Uuid "uuid" UUIDOID;
    /// `timestamp with time zone`.
    Timestamp "timestamp with time zone" TIMESTAMPTZOID;
    /// `regrole`.
    Role "regrole" REGROLEOID;
}

/// A value for a parameter: None is null.
pub type Parameter = Option<Datum>;

/// A `uuid[]`.
pub fn array_of_uuids(values: impl Iterator<Item = [u8; 16]>) -> Parameter {
    values.map(pgrx::Uuid::from_bytes).collect::<Vec<_>>().into_datum()
}

/// A `bigint[]`.
pub fn array_of_bigints(values: impl Iterator<Item = i64>) -> Parameter {
    values.collect::<Vec<_>>().into_datum()
}

/// A `timestamptz[]` of instants in microseconds since 2000.
pub fn array_of_timestamps(values: impl Iterator<Item = i64>) -> Parameter {
    values.map(Timestamp::from_micros).collect::<Vec<_>>().into_datum()
}

/// What a caller presented, as far as it is worth looking at.
pub struct Presented<'call> {
    /// The bytes, or the first of them.
    pub bytes: &'call [u8],
    /// Whether there are more.
    pub cut: bool,
}

impl Text {
    /// At most the first `limit` bytes. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn presented(self, _: &Call, limit: usize) -> Presented<'_> {
        presented(self.0, limit)
    }

    /// The text's bytes.
    pub fn bytes(self, _: &Call) -> &[u8] {
        guarded(|| packed(self.0))
    }

    /// The text's bytes. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn bytes_unguarded(self, _: &Call) -> &[u8] {
        packed(self.0)
    }

    /// A text of these bytes, which are valid in the server's encoding.
    pub fn new(call: &Call, bytes: &[u8]) -> Text {
        guarded(|| Text(varlena(call, bytes)))
    }

    /// The same text in the call's memory. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn kept(self, call: &Call) -> Text {
        Text(varlena(call, packed(self.0)))
    }
}

impl Bytes {
    /// At most the first `limit` bytes. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn presented(self, _: &Call, limit: usize) -> Presented<'_> {
        presented(self.0, limit)
    }

    /// Its bytes. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn bytes_unguarded(self, _: &Call) -> &[u8] {
        packed(self.0)
    }

    /// A bytea of these bytes.
    pub fn new(call: &Call, bytes: &[u8]) -> Bytes {
        guarded(|| Bytes(varlena(call, bytes)))
    }

    /// A bytea of these bytes. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn new_unguarded(call: &Call, bytes: &[u8]) -> Bytes {
        Bytes(varlena(call, bytes))
    }
}

impl TextArray {
    /// An array of these ASCII texts.
    pub fn new<'text>(texts: impl Iterator<Item = &'text str>) -> TextArray {
        let texts: Vec<&str> = texts.collect();
        TextArray(texts.into_datum().unwrap_or(Datum::null()))
    }

    /// The same array in the call's memory. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn kept(self, _: &Call) -> TextArray {
        TextArray(detoasted_copy(self.0))
    }

    /// Its elements, in order.
    pub fn elements(self, call: &Call) -> &[Option<&[u8]>] {
        guarded(|| self.elements_unguarded(call))
    }

    /// Its elements, in order. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn elements_unguarded(self, call: &Call) -> &[Option<&[u8]>] {
        let elements = array::elements(call, self.0, array::Element::TEXT);
        call.keep(elements.iter().map(|element| element.map(packed)))
    }
}

impl CidrArray {
    /// Its networks, in order.
    pub fn networks(self, call: &Call) -> &[Option<Network>] {
        guarded(|| self.networks_unguarded(call))
    }

    /// Its networks, in order. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn networks_unguarded(self, call: &Call) -> &[Option<Network>] {
        let elements = array::elements(call, self.0, array::Element::CIDR);
        call.keep(elements.iter().map(|element| element.map(|datum| Inet(datum).network())))
    }
}

impl Inet {
    /// The address or network. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn network(self) -> Network {
        // src/include/utils/inet.h: family (2 is IPv4, 3 is IPv6), bits, address.
        match packed(self.0) {
            [2, bits, address @ ..] if address.len() >= 4 => {
                let mut octets = [0; 4];
                octets.copy_from_slice(&address[..4]);
                Network::v4(octets, *bits)
            }
            [_, bits, address @ ..] if address.len() >= 16 => {
                let mut octets = [0; 16];
                octets.copy_from_slice(&address[..16]);
                Network::v6(octets, *bits)
            }
            _ => Network::v6([0; 16], 128),
        }
    }
}

impl Json {
    /// The same value in the call's memory. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn kept(self, _: &Call) -> Json {
        Json(detoasted_copy(self.0))
    }
}

impl Uuid {
    /// A uuid of these bytes.
    pub fn new(call: &Call, bytes: [u8; 16]) -> Uuid {
        guarded(|| Uuid(Datum::from(call.keep(bytes.iter().copied()).as_ptr())))
    }

    /// Its bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        // SAFETY: a uuid is a pointer to 16 bytes (src/include/utils/uuid.h).
        unsafe { self.0.cast_mut_ptr::<[u8; 16]>().read() }
    }
}

impl Timestamp {
    /// Microseconds since 2000-01-01 UTC (src/include/datatype/timestamp.h).
    pub fn micros(self) -> i64 {
        self.0.value() as i64
    }

    /// The instant so many microseconds after 2000-01-01 UTC.
    pub fn from_micros(micros: i64) -> Timestamp {
        Timestamp(Datum::from(micros))
    }

    /// Whether it is `infinity`.
    pub fn is_infinity(self) -> bool {
        self.micros() == i64::MAX
    }
}

/// The first bytes of a varlena, whose length is judged before anything is detoasted. Unguarded: see
/// [`crate::pg::ffi::unguarded`].
fn presented<'call>(datum: Datum, limit: usize) -> Presented<'call> {
    // SAFETY: the datum is a varlena. toast_raw_datum_size counts the four-byte header
    // (src/backend/access/common/detoast.c). A slice is a fresh copy; a packed datum is the argument
    // itself or a copy: both outlive the call.
    unsafe {
        let length = unguarded::toast_raw_datum_size(datum) - pg_sys::VARHDRSZ;
        let cut = length > limit;
        let bytes = if cut {
            let limit = i32::try_from(limit).unwrap_or(i32::MAX);
            unguarded::pg_detoast_datum_slice(datum.cast_mut_ptr(), 0, limit)
        } else {
            unguarded::pg_detoast_datum_packed(datum.cast_mut_ptr())
        };
        Presented { bytes: contents(bytes), cut }
    }
}

/// The contents of a varlena, detoasted where need be. Unguarded: see [`crate::pg::ffi::unguarded`].
fn packed<'call>(datum: Datum) -> &'call [u8] {
    // SAFETY: the datum is a varlena; what is detoasted is allocated in the call's memory context,
    // and what is not is an argument or a tuple that outlives the call.
    unsafe { contents(unguarded::pg_detoast_datum_packed(datum.cast_mut_ptr())) }
}

/// A varlena of these bytes, in the call's memory. Unguarded: see [`crate::pg::ffi::unguarded`].
fn varlena(call: &Call, bytes: &[u8]) -> Datum {
    let size = pg_sys::VARHDRSZ + bytes.len();
    // SAFETY: the allocation has room for the header and the bytes; SET_VARSIZE_4B of
    // src/include/varatt.h.
    unsafe {
        let target = unguarded::MemoryContextAlloc(call.memory(), size);
        pgrx::varlena::set_varsize_4b(target.cast(), size as i32);
        let contents = target.cast::<u8>().add(pg_sys::VARHDRSZ);
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), contents, bytes.len());
        Datum::from(target)
    }
}

/// A copy of a varlena in the current memory, neither compressed nor external nor short. Unguarded:
/// see [`crate::pg::ffi::unguarded`].
fn detoasted_copy(datum: Datum) -> Datum {
    // SAFETY: the datum is a varlena.
    unsafe { Datum::from(unguarded::pg_detoast_datum_copy(datum.cast_mut_ptr())) }
}

/// The bytes behind a varlena's header.
///
/// # Safety
/// The varlena is neither compressed nor external, and outlives `'call`.
unsafe fn contents<'call>(value: *mut pg_sys::varlena) -> &'call [u8] {
    // SAFETY: the caller's.
    unsafe {
        slice::from_raw_parts(
            pgrx::varlena::vardata_any(value).cast(),
            pgrx::varlena::varsize_any_exhdr(value),
        )
    }
}
