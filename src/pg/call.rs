//! One call of an SQL function: its memory, and the types of its result.

use core::ffi::CStr;

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

use crate::pg::error;
use crate::pg::ffi::guard::guarded;
use crate::pg::ffi::{allocator, unguarded};

/// The call that is under way. It borrows nothing but stands for the memory context that the server
/// set up for it: what is allocated through it lives at least as long as it does.
pub struct Call {
    info: pg_sys::FunctionCallInfo,
    memory: pg_sys::MemoryContext,
}

impl Call {
    /// Stands for a worker's transaction, where no function is called: for what needs memory only.
    pub(super) fn of_worker() -> Call {
        guarded(allocator::arm_reserve);
        // SAFETY: CurrentMemoryContext is always set (src/backend/utils/mmgr/mcxt.c).
        Call { info: core::ptr::null_mut(), memory: unsafe { pg_sys::CurrentMemoryContext } }
    }

    pub(super) fn info(&self) -> pg_sys::FunctionCallInfo {
        self.info
    }

    /// The context in which this call's results live.
    pub(super) fn memory(&self) -> pg_sys::MemoryContext {
        self.memory
    }

    /// Raises 25006 where the transaction may not write, as the server does for a command
    /// (src/backend/tcop/utility.c: PreventCommandIfReadOnly), and says which function cannot run: the
    /// server would name the statements inside.
    pub fn prevent_if_read_only(&self) {
        // SAFETY: reads a variable, which is set on a standby too (src/backend/access/transam/xact.c:
        // StartTransaction). A function that is called has its lookup data; a worker's call has none, and may
        // write. The name is a null-terminated copy, or null.
        let name = unsafe {
            if !pg_sys::XactReadOnly || self.info.is_null() {
                return;
            }
            pg_sys::get_func_name((*(*self.info).flinfo).fn_oid)
        };
        // SAFETY: as above.
        let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) });
        error::read_only(&name.unwrap_or(c"the function").to_string_lossy())
    }

    /// A copy of the values in the call's memory; the iterator knows an upper bound of their number.
    /// Unguarded: see [`crate::pg::ffi::unguarded`].
    #[allow(clippy::mut_from_ref, reason = "each call returns memory of its own")]
    pub fn keep<T: Copy>(&self, values: impl Iterator<Item = T>) -> &mut [T] {
        let room = values.size_hint().1.unwrap_or(0);
        // SAFETY: MemoryContextAlloc returns MAXALIGNed memory of the asked size or raises; it stays
        // until the context is reset, which is not before the call has returned. T needs no more
        // than MAXALIGN (8), which the const block proves. Exactly the first `count` are read.
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
}

// SAFETY: a virtual argument, as pgrx's own for FunctionCallInfo (pgrx src/callconv.rs).
unsafe impl<'fcx> ArgAbi<'fcx> for Call {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        allocator::arm_reserve();
        // SAFETY: FunctionCallInfo is virtual and always there; CurrentMemoryContext is always set
        // (src/backend/utils/mmgr/mcxt.c).
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

// SAFETY: it does not appear in SQL.
unsafe impl SqlTranslatable for Call {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Call);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::Skip);
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Ok(ReturnsRef::One(SqlMappingRef::Skip));
}
