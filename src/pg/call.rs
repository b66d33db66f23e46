//! One call of an SQL function: its memory, and its result.

use core::ffi::CStr;

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

use crate::pg::error;
use crate::pg::ffi::guard::guarded;
use crate::pg::ffi::{allocator, guarded, unguarded};

/// The call that is being executed, or a worker's transaction. It stands for the memory context
/// that the server has set up for it: memory that is allocated in it stays at least as long as the
/// call does.
///
/// A process that has one is connected to a database and in a transaction.
pub struct Call {
    /// The server's description of the call; null in a worker's transaction.
    info: pg_sys::FunctionCallInfo,
    /// The memory context.
    memory: pg_sys::MemoryContext,
}

impl Call {
    /// Stands for a worker's transaction, which calls no function, but needs memory.
    ///
    /// # Safety
    /// The process is in a transaction, which outlives the result.
    pub(in crate::pg) unsafe fn of_worker() -> Call {
        // SAFETY: the closure holds plain data, and cannot panic.
        unsafe { guarded(allocator::take_reserve_unguarded) };
        allocator::watch_errors();
        // SAFETY: CurrentMemoryContext is always set (src/backend/utils/mmgr/mcxt.c).
        Call { info: core::ptr::null_mut(), memory: unsafe { pg_sys::CurrentMemoryContext } }
    }

    /// The server's description of the call; None in a worker's transaction.
    pub(in crate::pg) fn info(&self) -> Option<&pg_sys::FunctionCallInfoBaseData> {
        // SAFETY: it is null or what the server passed to the function that is being executed,
        // which outlives this (src/include/fmgr.h).
        unsafe { self.info.as_ref() }
    }

    /// The memory context in which the call's results are made.
    pub(in crate::pg) fn memory(&self) -> pg_sys::MemoryContext {
        self.memory
    }

    /// Raises 25006 where the transaction may not write, as the server does for a command
    /// (src/backend/tcop/utility.c: PreventCommandIfReadOnly). The error names the function that
    /// was called; the server would name the statement inside.
    pub fn prevent_if_read_only(&self) {
        // SAFETY: reads a variable, which is true on a standby too
        // (src/backend/access/transam/xact.c: StartTransaction).
        if !unsafe { pg_sys::XactReadOnly } {
            return;
        }
        // A worker's transaction may write.
        let Some(info) = self.info() else { return };
        // SAFETY: a function that is called has its lookup data (src/include/fmgr.h). The name is a
        // null-terminated copy, or null (src/backend/utils/cache/lsyscache.c: get_func_name).
        let name = unsafe {
            let name = guarded::get_func_name((*info.flinfo).fn_oid);
            (!name.is_null()).then(|| CStr::from_ptr(name))
        };
        error::read_only(&name.unwrap_or(c"the function").to_string_lossy())
    }

    /// A copy of the values in the call's memory. The iterator knows an upper bound of their
    /// number.
    ///
    /// Unguarded: see [`crate::pg::ffi::unguarded`].
    #[expect(clippy::mut_from_ref, reason = "each call returns new memory")]
    pub fn keep_unguarded<T: Copy>(&self, values: impl Iterator<Item = T>) -> &mut [T] {
        let room = values.size_hint().1.unwrap_or(0);
        // SAFETY: MemoryContextAlloc returns memory of the asked size or raises an error. The
        // memory is aligned to MAXALIGN (8), which the const block shows to be enough. It stays
        // until the context is reset, which is after the call has returned: the context is the one
        // that was current when the function was called (src/backend/executor/execExpr.c,
        // execSRF.c), or, where pgrx returns a set row by row, its multi-call context
        // (src/backend/utils/fmgr/funcapi.c). Exactly the first `count` values are written and
        // read.
        unsafe {
            const { assert!(align_of::<T>() <= 8) };
            let target: *mut T =
                unguarded::MemoryContextAlloc(self.memory, (room * size_of::<T>()).max(1)).cast();
            let mut count = 0;
            for value in values.take(room) {
                target.add(count).write(value);
                count += 1;
            }
            core::slice::from_raw_parts_mut(target, count)
        }
    }

    /// The same for values that follow each other, which are copied as a whole.
    ///
    /// Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn copy_unguarded<T: Copy>(&self, values: &[T]) -> &[T] {
        // SAFETY: as above. The new memory is apart from that of the values.
        unsafe {
            const { assert!(align_of::<T>() <= 8) };
            let size = size_of_val(values).max(1);
            let target: *mut T = unguarded::MemoryContextAlloc(self.memory, size).cast();
            target.copy_from_nonoverlapping(values.as_ptr(), values.len());
            core::slice::from_raw_parts(target, values.len())
        }
    }

    /// The same for bytes that follow each other in as many parts, in one allocation.
    ///
    /// Unguarded: see [`crate::pg::ffi::unguarded`].
    #[inline]
    pub fn copy_parts_unguarded<const N: usize>(&self, parts: [&[u8]; N]) -> [&[u8]; N] {
        let size = parts.iter().map(|part| part.len()).sum::<usize>().max(1);
        // SAFETY: as above. The new memory has room for all parts.
        unsafe {
            let mut target: *mut u8 = unguarded::MemoryContextAlloc(self.memory, size).cast();
            parts.map(|part| {
                target.copy_from_nonoverlapping(part.as_ptr(), part.len());
                let copy = core::slice::from_raw_parts(target, part.len());
                target = target.add(part.len());
                copy
            })
        }
    }
}

// SAFETY: the type takes no argument of the SQL function, as pgrx's own for FunctionCallInfo does
// (pgrx src/callconv.rs).
unsafe impl<'fcx> ArgAbi<'fcx> for Call {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        allocator::arm_reserve_unguarded();
        // SAFETY: the caller's: there is always a FunctionCallInfo. CurrentMemoryContext is always
        // set (src/backend/utils/mmgr/mcxt.c).
        unsafe {
            Call {
                info: pg_sys::FunctionCallInfo::unbox_arg_unchecked(arg),
                memory: pg_sys::CurrentMemoryContext,
            }
        }
    }

    fn is_virtual_arg() -> bool {
        true
    }
}

// SAFETY: the type does not appear in SQL.
unsafe impl SqlTranslatable for Call {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Call);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::Skip);
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Ok(ReturnsRef::One(SqlMappingRef::Skip));
}
