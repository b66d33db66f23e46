//! What an update of the extension appends to a function: arguments, and code under another name.

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pg_sys::{FunctionCallInfo, NullableDatum};
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

use crate::pg::types::FromRaw;

/// An argument that a later release has appended, with the number of the arguments before it. It is
/// null where the caller does not pass it: the statement was planned before the update, or the
/// database was not updated yet.
#[derive(Clone, Copy)]
pub struct Appended<T, const BEFORE: usize>(pub Option<T>);

// SAFETY: the server passes a value of the type that the generated SQL declares for the argument
// (pgrx src/callconv.rs), or none. pgrx counts only those that it fetches itself, so that a further
// argument of another kind cannot follow.
unsafe impl<'fcx, T: FromRaw, const BEFORE: usize> ArgAbi<'fcx> for Appended<T, BEFORE> {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the caller's: there is always a FunctionCallInfo, which has `nargs` arguments
        // (src/include/fmgr.h).
        unsafe {
            let info = FunctionCallInfo::unbox_arg_unchecked(arg);
            let passed = usize::try_from((*info).nargs).unwrap_or(0);
            let argument: Option<NullableDatum> =
                (BEFORE < passed).then(|| *(*info).args.as_ptr().add(BEFORE));
            let argument = argument.filter(|argument| !argument.isnull);
            Appended(argument.map(|argument| T::from_raw(argument.value)))
        }
    }

    fn is_virtual_arg() -> bool {
        true
    }
}

// SAFETY: it is declared as the type of its value is.
unsafe impl<T: SqlTranslatable, const BEFORE: usize> SqlTranslatable for Appended<T, BEFORE> {
    const TYPE_IDENT: &'static str = T::TYPE_IDENT;
    const TYPE_ORIGIN: TypeOrigin = T::TYPE_ORIGIN;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = T::ARGUMENT_SQL;
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = T::RETURN_SQL;
}

/// Exports a function also under the name that the SQL of an older release has for it. An update
/// takes a new name, which an older library lacks, so that such a library is not called with what
/// it does not know.
macro_rules! also_named {
    ($new:ident, $old:ident, $old_info:ident) => {
        #[doc = concat!("[`", stringify!($new), "`] for the SQL of an older release.")]
        ///
        /// # Safety
        /// The server calls it (src/include/fmgr.h).
        #[allow(unsafe_code, reason = "the server finds a function by its name")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $old(
            info: pgrx::pg_sys::FunctionCallInfo,
        ) -> pgrx::pg_sys::Datum {
            // SAFETY: the caller's.
            unsafe { $new(info) }
        }

        /// Its calling convention, for the server.
        #[allow(unsafe_code, reason = "the server finds a function by its name")]
        #[unsafe(no_mangle)]
        pub extern "C" fn $old_info() -> &'static pgrx::pg_sys::Pg_finfo_record {
            const VERSION_1: pgrx::pg_sys::Pg_finfo_record =
                pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &VERSION_1
        }
    };
}
pub(crate) use also_named;
