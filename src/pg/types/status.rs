//! Statuses as values of the SQL enum `vpk_status`.
//!
//! The type is taken from the called function's own result, not looked up by name, which another
//! `search_path` would bend. An enum's value is the OID of its row in pg_enum.

use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::ptr;

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{FromDatum, IntoDatum};
use pgrx::pg_sys::{self, Datum, Oid, SysCacheIdentifier};
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

use pure::answer::status::Status;

use crate::pg::call::Call;

/// The SQL type, for the generated install script alone: its labels are the list of
/// [`pure::answer::status`].
mod declaration {
    #![allow(non_camel_case_types, missing_docs, clippy::upper_case_acronyms)]

    macro_rules! define_type {
        ($($name:ident $label:ident $http:literal $message:literal $description:literal;)+) => {
            #[derive(pgrx::PostgresEnum)]
            pub enum vpk_status {
                $($label),+
            }
        };
    }
    pure::statuses!(define_type);
}

/// A value of `vpk_status`: an argument, or a result.
#[derive(Clone, Copy)]
pub struct StatusLabel(Oid);

impl StatusLabel {
    /// The value of a status in the result of this call.
    pub fn new(call: &Call, status: Status) -> StatusLabel {
        // SAFETY: the cell is used by this thread alone, and no reference is held across a call.
        unsafe {
            if (*KNOWN.0.get()).is_none() {
                let known = look_up(call);
                *KNOWN.0.get() = Some(known);
            }
            match *KNOWN.0.get() {
                Some(known) => StatusLabel(known.labels[status as usize]),
                // An invalidation in between: what was found is still this statement's truth.
                None => StatusLabel(look_up(call).labels[status as usize]),
            }
        }
    }

    /// The status that an argument stands for.
    pub fn status(self) -> Option<Status> {
        // SAFETY: the tuple is held while its label is read, and released after.
        unsafe {
            let tuple =
                pg_sys::SearchSysCache1(SysCacheIdentifier::ENUMOID as i32, Datum::from(self.0));
            if tuple.is_null() {
                return None;
            }
            let form: pg_sys::Form_pg_enum = pg_sys::GETSTRUCT(tuple).cast();
            let label = CStr::from_ptr((*form).enumlabel.data.as_ptr());
            let status = Status::from_label(label.to_bytes());
            pg_sys::ReleaseSysCache(tuple);
            status
        }
    }
}

#[derive(Clone, Copy)]
struct Labels {
    enum_type: Oid,
    labels: [Oid; Status::COUNT],
}

struct Known(UnsafeCell<Option<Labels>>);

// SAFETY: a backend has one thread.
unsafe impl Sync for Known {}

static KNOWN: Known = Known(UnsafeCell::new(None));

/// Finds the enum among the columns of the call's result, and its labels.
fn look_up(call: &Call) -> Labels {
    // SAFETY: get_call_result_type reads the function's own catalogue row
    // (src/backend/utils/fmgr/funcapi.c); the tuple descriptor it may return has `natts` attributes.
    let enum_type = unsafe {
        let mut scalar = Oid::INVALID;
        let mut row: pg_sys::TupleDesc = ptr::null_mut();
        pg_sys::get_call_result_type(call.info(), &mut scalar, &mut row);
        let columns = if row.is_null() { 0 } else { (*row).natts };
        (1..=columns)
            .map(|column| pg_sys::SPI_gettypeid(row, column))
            .chain([scalar])
            .find(|candidate| pg_sys::type_is_enum(*candidate))
            .unwrap_or(Oid::INVALID)
    };
    let mut labels = [Oid::INVALID; Status::COUNT];
    for &status in Status::ALL {
        let mut label = [0; pg_sys::NAMEDATALEN as usize];
        label[..status.label().len()].copy_from_slice(status.label().as_bytes());
        // SAFETY: pg_enum is looked up by type and label, a null-terminated name; the tuple is
        // released after its OID is read.
        labels[status as usize] = unsafe {
            let tuple = pg_sys::SearchSysCache2(
                SysCacheIdentifier::ENUMTYPOIDNAME as i32,
                Datum::from(enum_type),
                Datum::from(label.as_ptr()),
            );
            if tuple.is_null() {
                pgrx::error!("type vpk_status has no label \"{}\"", status.label());
            }
            let form: pg_sys::Form_pg_enum = pg_sys::GETSTRUCT(tuple).cast();
            let oid = (*form).oid;
            pg_sys::ReleaseSysCache(tuple);
            oid
        };
    }
    Labels { enum_type, labels }
}

/// Asks the catalogue caches to say when an enum changes. Called once, at load.
pub(in crate::pg) fn register_callbacks() {
    // SAFETY: the callback has the signature of SyscacheCallbackFunction and cannot raise.
    unsafe {
        pg_sys::CacheRegisterSyscacheCallback(
            SysCacheIdentifier::ENUMTYPOIDNAME as i32,
            Some(forget),
            Datum::null(),
        );
    }
}

/// Runs wherever invalidation messages are processed: no server function, no allocation.
unsafe extern "C-unwind" fn forget(_: Datum, _cache: i32, _hash: u32) {
    // SAFETY: as in `StatusLabel::new`.
    unsafe { *KNOWN.0.get() = None }
}

impl FromDatum for StatusLabel {
    unsafe fn from_polymorphic_datum(datum: Datum, is_null: bool, _: Oid) -> Option<Self> {
        (!is_null).then(|| StatusLabel(Oid::from(datum.value() as u32)))
    }
}

impl IntoDatum for StatusLabel {
    fn into_datum(self) -> Option<Datum> {
        Some(Datum::from(self.0))
    }

    /// The type as it was last found; rows are formed by the function's own descriptor.
    fn type_oid() -> Oid {
        // SAFETY: as in `StatusLabel::new`.
        unsafe { (*KNOWN.0.get()).map_or(Oid::INVALID, |known| known.enum_type) }
    }
}

// SAFETY: an enum's value is passed as its OID.
unsafe impl<'fcx> ArgAbi<'fcx> for StatusLabel {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the caller's; null was dealt with before.
        unsafe { arg.unbox_arg_using_from_datum() }.expect("an argument that is not null")
    }
}

// SAFETY: an enum's value is returned as its OID.
unsafe impl BoxRet for StatusLabel {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> pgrx::datum::Datum<'fcx> {
        // SAFETY: as above.
        unsafe { fcinfo.return_raw_datum(Datum::from(self.0)) }
    }
}

// SAFETY: it is the type that `declaration` declares.
unsafe impl SqlTranslatable for StatusLabel {
    const TYPE_IDENT: &'static str = <declaration::vpk_status as SqlTranslatable>::TYPE_IDENT;
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::ThisExtension;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> =
        <declaration::vpk_status as SqlTranslatable>::ARGUMENT_SQL;
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        <declaration::vpk_status as SqlTranslatable>::RETURN_SQL;
}
