//! Statuses as values of the SQL enum `vpk_status`.
//!
//! The type is taken from the result of the called function. A look-up by its name would depend on
//! the `search_path`. An enum's value is the OID of its row in pg_enum.

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
use crate::pg::ffi::guarded;
use crate::pg::ffi::per_backend::PerBackend;

/// The SQL type, for the generated install script alone: its labels are the list of
/// [`pure::answer::status`], its schema has the name of the module.
#[pgrx::pg_schema]
#[allow(
    non_camel_case_types,
    missing_docs,
    clippy::missing_docs_in_private_items,
    clippy::upper_case_acronyms,
    reason = "the names are those of SQL"
)]
mod vpk {
    /// Declares an enum of the labels in the list of statuses.
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
        // SAFETY: the closure reads the value alone.
        let known = unsafe {
            KNOWN.with(|known| known.as_ref().map(|known| known.labels[status as usize]))
        };
        StatusLabel(known.unwrap_or_else(|| {
            let found = look_up(call);
            // SAFETY: the closure writes the value alone.
            unsafe { KNOWN.with(|known| *known = Some(found)) };
            found.labels[status as usize]
        }))
    }

    /// The status that an argument stands for.
    pub fn status(self) -> Option<Status> {
        // SAFETY: the tuple stays until it is released, after its label was read, which is a
        // null-terminated name (src/backend/utils/cache/syscache.c, src/include/catalog/pg_enum.h).
        unsafe {
            let tuple =
                guarded::SearchSysCache1(SysCacheIdentifier::ENUMOID as i32, Datum::from(self.0));
            if tuple.is_null() {
                return None;
            }
            let form: pg_sys::Form_pg_enum = pg_sys::GETSTRUCT(tuple).cast();
            let label = CStr::from_ptr((*form).enumlabel.data.as_ptr());
            let status = Status::from_label(label.to_bytes());
            guarded::ReleaseSysCache(tuple);
            status
        }
    }
}

/// The enum in this database.
#[derive(Clone, Copy)]
struct Labels {
    /// The OID of the type.
    enum_type: Oid,
    /// The OIDs of its labels, by [`Status`].
    labels: [Oid; Status::COUNT],
}

/// The enum, once it was looked up.
static KNOWN: PerBackend<Option<Labels>> = PerBackend::new(None);

/// Finds the enum among the columns of the call's result, and its labels.
fn look_up(call: &Call) -> Labels {
    let info = call.info().expect("a worker's transaction has no result");
    // SAFETY: get_call_result_type reads the catalogue row of the function that is called, and
    // returns a tuple descriptor of `natts` attributes or none (src/backend/utils/fmgr/funcapi.c).
    let enum_type = unsafe {
        let mut scalar = Oid::INVALID;
        let mut row: pg_sys::TupleDesc = ptr::null_mut();
        guarded::get_call_result_type(ptr::from_ref(info).cast_mut(), &mut scalar, &mut row);
        let columns = if row.is_null() { 0 } else { (*row).natts };
        (1..=columns)
            .map(|column| guarded::SPI_gettypeid(row, column))
            .chain([scalar])
            .find(|candidate| guarded::type_is_enum(*candidate))
            .unwrap_or(Oid::INVALID)
    };
    let mut labels = [Oid::INVALID; Status::COUNT];
    for &status in Status::ALL {
        let mut label = [0; pg_sys::NAMEDATALEN as usize];
        label[..status.label().len()].copy_from_slice(status.label().as_bytes());
        // SAFETY: pg_enum is looked up by type and label, which is a null-terminated name. The
        // tuple stays until it is released, after its OID was read
        // (src/backend/utils/cache/syscache.c).
        labels[status as usize] = unsafe {
            let tuple = guarded::SearchSysCache2(
                SysCacheIdentifier::ENUMTYPOIDNAME as i32,
                Datum::from(enum_type),
                Datum::from(label.as_ptr()),
            );
            if tuple.is_null() {
                pgrx::error!("type vpk_status has no label \"{}\"", status.label());
            }
            let form: pg_sys::Form_pg_enum = pg_sys::GETSTRUCT(tuple).cast();
            let oid = (*form).oid;
            guarded::ReleaseSysCache(tuple);
            oid
        };
    }
    Labels { enum_type, labels }
}

/// Has the catalogue caches call [`forget`] when an enum changes. Called once, when the library is
/// loaded.
pub(in crate::pg) fn register_callbacks() {
    // SAFETY: the callback has the signature of SyscacheCallbackFunction
    // (src/include/utils/inval.h), and cannot raise an error.
    unsafe {
        pg_sys::CacheRegisterSyscacheCallback(
            SysCacheIdentifier::ENUMTYPOIDNAME as i32,
            Some(forget),
            Datum::null(),
        );
    }
}

/// Forgets the enum. Runs wherever invalidation messages are processed
/// (src/backend/utils/cache/inval.c). So it calls no server function and allocates nothing.
///
/// # Safety
/// [`KNOWN`] is not in use.
unsafe extern "C-unwind" fn forget(_: Datum, _cache: i32, _hash: u32) {
    // SAFETY: the caller's: the server calls this from its own functions, which no closure given to
    // the cell calls.
    unsafe { KNOWN.with(|known| *known = None) }
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

    /// The type as it was last found. Rows are formed by the tuple descriptor of the function.
    fn type_oid() -> Oid {
        // SAFETY: the closure reads the value alone.
        let known = unsafe { KNOWN.with(|known| known.as_ref().map(|known| known.enum_type)) };
        known.unwrap_or(Oid::INVALID)
    }
}

// SAFETY: the server passes an enum's value as its OID (src/include/catalog/pg_enum.h).
unsafe impl<'fcx> ArgAbi<'fcx> for StatusLabel {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the caller's; pgrx deals with null before.
        unsafe { arg.unbox_arg_using_from_datum() }.expect("an argument that is not null")
    }
}

// SAFETY: an enum's value is returned as its OID (src/include/catalog/pg_enum.h).
unsafe impl BoxRet for StatusLabel {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> pgrx::datum::Datum<'fcx> {
        // SAFETY: the caller's: the call returns this value and nothing else.
        unsafe { fcinfo.return_raw_datum(Datum::from(self.0)) }
    }
}

// SAFETY: the SQL type is the one that [`vpk`] declares.
unsafe impl SqlTranslatable for StatusLabel {
    const TYPE_IDENT: &'static str = <vpk::vpk_status as SqlTranslatable>::TYPE_IDENT;
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::ThisExtension;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> =
        <vpk::vpk_status as SqlTranslatable>::ARGUMENT_SQL;
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        <vpk::vpk_status as SqlTranslatable>::RETURN_SQL;
}
