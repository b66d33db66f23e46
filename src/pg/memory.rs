//! Memory of the library's own values, beside the contexts of the server.
//!
//! Where the system gives no more (a limit to the process, or `vm.overcommit_memory = 2`, as PostgreSQL's
//! documentation advises), Rust ends the process by SIGABRT, and the postmaster would start the whole
//! server over. Here that ends the one session, by the server's own FATAL error. What grows with the
//! data asks for its memory by [`vec`], which raises an error that the session survives.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_int;
use std::alloc::System;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::PgLogLevel;

use super::unguarded;
use crate::pure::room;

struct Memory;

// Tests of pure modules run without a server.
#[cfg(not(test))]
#[global_allocator]
static MEMORY: Memory = Memory;

// SAFETY: the system's allocator, which is asked with the caller's arguments. A request that it refuses
// is handed back as refused, or does not return: nothing unwinds.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        given(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        given(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's.
        given(unsafe { System.realloc(memory, layout, size) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn given(memory: *mut u8) -> *mut u8 {
    if memory.is_null() && !room::may_be_refused() {
        end_session();
    }
    memory
}

#[cold]
fn end_session() {
    // SAFETY: ereport(FATAL) of src/include/utils/elog.h. It needs no memory but what ErrorContext keeps
    // for this, and ends in proc_exit, which returns to no frame (src/backend/utils/error/elog.c:
    // errfinish). Nobody asks for memory while he holds a lock of the server or a word of ours.
    unsafe {
        if unguarded::errstart(PgLogLevel::FATAL as c_int, core::ptr::null()) {
            unguarded::errcode(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY as c_int);
            unguarded::errmsg(c"out of memory".as_ptr());
            unguarded::errfinish(c"vibepeak_keys".as_ptr(), 0, c"end_session".as_ptr());
        }
    }
}

/// A vector with room for so many values. Raises the server's out of memory where there is none.
pub fn vec<T>(length: usize) -> Vec<T> {
    room::vec(length).unwrap_or_else(|| {
        ErrorReport::new(
            PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY,
            "out of memory",
            "vibepeak_keys",
        )
        .report(PgLogLevel::ERROR);
        unreachable!("an error does not return")
    })
}
