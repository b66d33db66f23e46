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

use core::{ptr, slice};
use std::net::IpAddr;

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{FromDatum, IntoDatum};
use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::prelude::impl_sql_translatable;
use pgrx::varlena::{varatt_is_1b, varatt_is_1b_e, varatt_is_4b_u, vardata_any, varsize_any_exhdr};

use pure::request::network::Network;

use crate::pg::call::Call;
use crate::pg::ffi::guard::guarded;
use crate::pg::ffi::unguarded;

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

/// The first bytes of a varlena. Its length is checked before anything is detoasted. Unguarded: see
/// [`crate::pg::ffi::unguarded`].
///
/// # Safety
/// The datum is a varlena that stays for `'call`, and so does the current memory context.
unsafe fn presented_unguarded<'call>(datum: Datum, limit: usize) -> Presented<'call> {
    // SAFETY: the caller's. toast_raw_datum_size counts the four-byte header. A slice is a fresh
    // copy in the current context; a packed varlena is the datum's own or such a copy
    // (src/backend/access/common/detoast.c).
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

/// The contents of a varlena, detoasted where need be. Unguarded: see
/// [`crate::pg::ffi::unguarded`].
///
/// # Safety
/// The datum is a varlena that stays for `'kept`, and so does the current memory context.
#[inline]
pub(in crate::pg) unsafe fn packed_unguarded<'kept>(datum: Datum) -> &'kept [u8] {
    let value = datum.cast_mut_ptr();
    // SAFETY: the caller's. The header says whether the value is neither compressed nor external,
    // as most are; then the function would return the value itself. A detoasted copy is allocated
    // in the current context (src/backend/utils/fmgr/fmgr.c: pg_detoast_datum_packed).
    unsafe {
        let is_short = varatt_is_1b(value) && !varatt_is_1b_e(value);
        contents(match is_short || varatt_is_4b_u(value) {
            true => value,
            false => unguarded::pg_detoast_datum_packed(value),
        })
    }
}

/// A varlena of these bytes, in the call's memory. Unguarded: see [`crate::pg::ffi::unguarded`].
pub(in crate::pg) fn varlena_unguarded(call: &Call, bytes: &[u8]) -> Datum {
    varlena_of_parts_unguarded(call, [bytes, &[]])
}

/// The same of bytes in two parts.
pub(in crate::pg) fn varlena_of_parts_unguarded(call: &Call, [first, rest]: [&[u8]; 2]) -> Datum {
    let size = pg_sys::VARHDRSZ + first.len() + rest.len();
    // SAFETY: the allocation has room for the header and the bytes. It succeeds below 1 GB alone
    // (src/include/utils/memutils.h: MaxAllocSize), which a header of four bytes can say
    // (src/include/varatt.h, in 15 postgres.h: SET_VARSIZE_4B). The target is new memory.
    unsafe {
        let target = unguarded::MemoryContextAlloc(call.memory(), size);
        pgrx::varlena::set_varsize_4b(target.cast(), size as i32);
        let contents = target.cast::<u8>().add(pg_sys::VARHDRSZ);
        ptr::copy_nonoverlapping(first.as_ptr(), contents, first.len());
        ptr::copy_nonoverlapping(rest.as_ptr(), contents.add(first.len()), rest.len());
        Datum::from(target)
    }
}

/// A copy of a varlena in the call's memory, neither compressed nor external nor short. Unguarded:
/// see [`crate::pg::ffi::unguarded`].
///
/// # Safety
/// The datum is a varlena.
pub(in crate::pg) unsafe fn detoasted_copy_unguarded(call: &Call, datum: Datum) -> Datum {
    // SAFETY: the caller's (src/backend/utils/fmgr/fmgr.c: pg_detoast_datum_copy). The call's
    // context stays for the call. After an error, the server sets the current context anew
    // (src/backend/tcop/postgres.c: PostgresMain).
    unsafe {
        let before = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = call.memory();
        let copy = unguarded::pg_detoast_datum_copy(datum.cast_mut_ptr());
        pg_sys::CurrentMemoryContext = before;
        Datum::from(copy)
    }
}

/// The bytes behind a varlena's header.
///
/// # Safety
/// The varlena is neither compressed nor external, and stays for `'kept`.
unsafe fn contents<'kept>(value: *mut pg_sys::varlena) -> &'kept [u8] {
    // SAFETY: the caller's: such a varlena is a header with its own length, and the bytes
    // (src/include/varatt.h, in 15 postgres.h: VARDATA_ANY, VARSIZE_ANY_EXHDR).
    unsafe { slice::from_raw_parts(vardata_any(value).cast(), varsize_any_exhdr(value)) }
}
