//! SQL types as arguments and results, by their datum.
//!
//! pgrx reads `text` as `&str`, which fails for bytes that are not UTF-8, and detoasts at once.
//! These types carry the datum as it came, and read it when they are asked to.
//!
//! A value is made by the server, by a constructor here, or from a column whose type is known. So
//! it always is a datum of its SQL type. It is good for the call in which it was made. Neither a
//! static variable nor another thread can have it, since a datum is neither `Send` nor `Sync`.

pub mod appended;
pub mod array;
pub mod encoding;
pub mod json;
pub mod kept_json;
pub mod status;
pub mod table;
pub mod time;
mod varlena;

use std::net::IpAddr;

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{FromDatum, IntoDatum};
use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::prelude::impl_sql_translatable;

use pure::request::network::Network;

use crate::pg::call::Call;
use crate::pg::ffi::guard::guarded;
use crate::pg::types::varlena::presented_unguarded;

pub(in crate::pg) use crate::pg::types::varlena::{
    detoasted_copy_unguarded, packed_unguarded, varlena_of_parts_unguarded, varlena_unguarded,
};

/// A value of one SQL type.
pub trait SqlValue: Copy {
    /// The value with its type, as a parameter for a statement.
    fn datum(self) -> TypedDatum;
}

/// A value together with its SQL type.
#[derive(Clone, Copy)]
pub struct TypedDatum {
    /// The value.
    value: Datum,
    /// The OID of its type.
    kind: Oid,
}

impl TypedDatum {
    /// A value with its type.
    ///
    /// # Safety
    /// The value is one of the type.
    pub(in crate::pg) const unsafe fn new(value: Datum, kind: Oid) -> TypedDatum {
        TypedDatum { value, kind }
    }

    /// The value.
    pub(in crate::pg) fn value(self) -> Datum {
        self.value
    }

    /// The OID of its type.
    pub(in crate::pg) fn kind(self) -> Oid {
        self.kind
    }

    /// The value, where it is of the type.
    pub(in crate::pg) fn of_type(self, kind: Oid) -> Option<Datum> {
        (self.kind == kind).then_some(self.value)
    }
}

impl From<bool> for TypedDatum {
    fn from(value: bool) -> TypedDatum {
        TypedDatum { value: Datum::from(value), kind: pg_sys::BOOLOID }
    }
}

impl From<i32> for TypedDatum {
    fn from(value: i32) -> TypedDatum {
        TypedDatum { value: Datum::from(value), kind: pg_sys::INT4OID }
    }
}

impl From<i64> for TypedDatum {
    fn from(value: i64) -> TypedDatum {
        TypedDatum { value: Datum::from(value), kind: pg_sys::INT8OID }
    }
}

/// A value for a parameter: None is null.
pub type Parameter = Option<TypedDatum>;

/// A type whose values can be made of a datum.
pub(in crate::pg) trait FromRaw: Copy {
    /// The OID of the SQL type.
    const OID: Oid;

    /// A value of this type.
    ///
    /// # Safety
    /// The datum is a value of the SQL type and is not null. What it points to stays for as long as
    /// the value is used.
    unsafe fn from_raw(datum: Datum) -> Self;

    /// The datum.
    fn raw(self) -> Datum;
}

impl FromRaw for i32 {
    const OID: Oid = pg_sys::INT4OID;

    unsafe fn from_raw(datum: Datum) -> i32 {
        datum.value() as i32
    }

    fn raw(self) -> Datum {
        Datum::from(self)
    }
}

/// Declares a Rust type for each SQL type, which is an argument and a result of functions.
macro_rules! sql_types {
    ($($(#[$doc:meta])* $name:ident $sql:literal $oid:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name(Datum);

        impl FromRaw for $name {
            const OID: Oid = pg_sys::$oid;

            #[inline]
            unsafe fn from_raw(datum: Datum) -> $name {
                $name(datum)
            }

            #[inline]
            fn raw(self) -> Datum {
                self.0
            }
        }

        impl SqlValue for $name {
            fn datum(self) -> TypedDatum {
                TypedDatum { value: self.0, kind: pg_sys::$oid }
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

        // SAFETY: the server passes a value of the type that the generated SQL declares for the
        // argument, which is this one (pgrx src/callconv.rs).
        unsafe impl<'fcx> ArgAbi<'fcx> for $name {
            unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
                // SAFETY: the caller's; pgrx deals with null before.
                unsafe { arg.unbox_arg_using_from_datum() }.expect("an argument that is not null")
            }
        }

        // SAFETY: the datum is a value of the type that the generated SQL declares for the result,
        // in memory that outlives the call.
        unsafe impl BoxRet for $name {
            unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> pgrx::datum::Datum<'fcx> {
                // SAFETY: the caller's: the call returns this value and nothing else.
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
    /// `date`.
    Date "date" DATEOID;
    /// `regrole`.
    Role "regrole" REGROLEOID;
}

/// A `uuid[]`.
pub fn array_of_uuids(values: impl Iterator<Item = [u8; 16]>) -> Parameter {
    let array = values.map(pgrx::Uuid::from_bytes).collect::<Vec<_>>().into_datum();
    array.map(|value| TypedDatum { value, kind: pg_sys::UUIDARRAYOID })
}

/// A `bigint[]`.
pub fn array_of_bigints(values: impl Iterator<Item = i64>) -> Parameter {
    let array = values.collect::<Vec<_>>().into_datum();
    array.map(|value| TypedDatum { value, kind: pg_sys::INT8ARRAYOID })
}

/// A `timestamptz[]`, of microseconds since 2000-01-01 UTC.
pub fn array_of_timestamps(values: impl Iterator<Item = i64>) -> Parameter {
    let array = values.map(Timestamp::from_micros).collect::<Vec<_>>().into_datum();
    array.map(|value| TypedDatum { value, kind: pg_sys::TIMESTAMPTZARRAYOID })
}

/// The beginning of a value that a caller presented.
pub struct Presented<'call> {
    /// The bytes, or the first of them.
    pub bytes: &'call [u8],
    /// Whether there are more.
    pub cut: bool,
}

impl Text {
    /// At most the first `limit` bytes. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn presented_unguarded(self, _: &Call, limit: usize) -> Presented<'_> {
        // SAFETY: a text is a varlena, and good for the call.
        unsafe { presented_unguarded(self.0, limit) }
    }

    /// The text's bytes.
    pub fn bytes(self, _: &Call) -> &[u8] {
        // SAFETY: a text is a varlena, and good for the call. The closure holds plain data.
        unsafe { guarded(|| packed_unguarded(self.0)) }
    }

    /// The text's bytes. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn bytes_unguarded(self, _: &Call) -> &[u8] {
        // SAFETY: a text is a varlena, and good for the call.
        unsafe { packed_unguarded(self.0) }
    }

    /// A text of these bytes, which are valid in the server's encoding.
    pub fn new(call: &Call, bytes: &[u8]) -> Text {
        // SAFETY: the function reads the bytes alone (src/backend/utils/mb/mbutils.c); with the
        // last argument it raises nothing.
        #[cfg(debug_assertions)]
        assert!(unsafe { pg_sys::pg_verifymbstr(bytes.as_ptr().cast(), bytes.len() as i32, true) });
        // SAFETY: the closure holds plain data, and cannot panic.
        Text(unsafe { guarded(|| varlena_unguarded(call, bytes)) })
    }
}

impl Bytes {
    /// At most the first `limit` bytes. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn presented_unguarded(self, _: &Call, limit: usize) -> Presented<'_> {
        // SAFETY: a bytea is a varlena, and good for the call.
        unsafe { presented_unguarded(self.0, limit) }
    }

    /// The bytes.
    pub(in crate::pg) fn bytes(self, _: &Call) -> &[u8] {
        // SAFETY: a bytea is a varlena, and good for the call. The closure holds plain data.
        unsafe { guarded(|| packed_unguarded(self.0)) }
    }

    /// A bytea of these bytes.
    pub fn new(call: &Call, bytes: &[u8]) -> Bytes {
        // SAFETY: the closure holds plain data, and cannot panic.
        Bytes(unsafe { guarded(|| varlena_unguarded(call, bytes)) })
    }

    /// A bytea of these bytes. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn new_unguarded(call: &Call, bytes: &[u8]) -> Bytes {
        Bytes(varlena_unguarded(call, bytes))
    }
}

impl TextArray {
    /// An array of these ASCII texts.
    pub fn new<'text>(texts: impl Iterator<Item = &'text str>) -> TextArray {
        let texts: Vec<&str> = texts.collect();
        TextArray(texts.into_datum().expect("a vector is not null"))
    }

    /// An array of these texts.
    pub fn of(texts: Vec<Text>) -> TextArray {
        TextArray(texts.into_datum().expect("a vector is not null"))
    }

    /// Its elements, in order.
    pub fn elements(self, call: &Call) -> &[Option<&[u8]>] {
        // SAFETY: the closure holds plain data, and cannot panic.
        unsafe { guarded(|| self.elements_unguarded(call)) }
    }

    /// Its elements, in order. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn elements_unguarded(self, call: &Call) -> &[Option<&[u8]>] {
        // SAFETY: the datum is a text[], good for the call; so are its elements, which are
        // varlenas.
        unsafe {
            let elements = array::elements_unguarded(call, self.0, array::Element::TEXT);
            call.keep_unguarded(
                elements.iter().map(|element| element.map(|text| packed_unguarded(text))),
            )
        }
    }
}

impl CidrArray {
    /// Its networks, in order.
    pub fn networks(self, call: &Call) -> &[Option<Network>] {
        // SAFETY: the closure holds plain data, and cannot panic.
        unsafe { guarded(|| self.networks_unguarded(call)) }
    }

    /// Its networks, in order. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn networks_unguarded(self, call: &Call) -> &[Option<Network>] {
        // SAFETY: the datum is a cidr[], good for the call; a cidr is stored as an inet is
        // (src/include/utils/inet.h).
        let elements = unsafe { array::elements_unguarded(call, self.0, array::Element::CIDR) };
        call.keep_unguarded(
            elements.iter().map(|element| element.map(|cidr| Inet(cidr).network_unguarded())),
        )
    }
}

impl Inet {
    /// One address. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn new_unguarded(call: &Call, address: IpAddr) -> Inet {
        // src/include/utils/inet.h: family (2 is IPv4, 3 is IPv6), bits, address.
        Inet(match address {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                varlena_unguarded(call, &[2, 32, a, b, c, d])
            }
            IpAddr::V6(v6) => {
                let mut bytes = [0; 18];
                bytes[..2].copy_from_slice(&[3, 128]);
                bytes[2..].copy_from_slice(&v6.octets());
                varlena_unguarded(call, &bytes)
            }
        })
    }

    /// The address or network. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn network_unguarded(self) -> Network {
        // SAFETY: an inet is a varlena, and the bytes are not used after this function.
        let bytes = unsafe { packed_unguarded(self.0) };
        // src/include/utils/inet.h: family (2 is IPv4, 3 is IPv6), bits, address.
        match bytes {
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

impl Uuid {
    /// A uuid of these bytes.
    pub fn new(call: &Call, bytes: [u8; 16]) -> Uuid {
        // SAFETY: the closure holds plain data, and cannot panic.
        let kept = unsafe { guarded(|| call.keep_unguarded(bytes.iter().copied())) };
        Uuid(Datum::from(kept.as_ptr()))
    }

    /// Its bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        // SAFETY: a uuid is a pointer to 16 bytes (src/include/utils/uuid.h), good for the call.
        unsafe { self.0.cast_mut_ptr::<[u8; 16]>().read() }
    }
}

impl Timestamp {
    /// Microseconds since 2000-01-01 UTC (src/include/datatype/timestamp.h).
    pub fn micros(self) -> i64 {
        self.0.value() as i64
    }

    /// The instant that is so many microseconds after 2000-01-01 UTC.
    pub fn from_micros(micros: i64) -> Timestamp {
        Timestamp(Datum::from(micros))
    }

    /// Whether it is `infinity`.
    pub fn is_infinity(self) -> bool {
        self.micros() == i64::MAX
    }
}
