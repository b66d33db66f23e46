//! Memory of the library's own values, beside the contexts of the server.
//!
//! Where the system gives no more (a limit to the process, or `vm.overcommit_memory = 2`, as PostgreSQL's
//! documentation advises), Rust ends the process by SIGABRT, and the postmaster would start the whole
//! server over. Here that ends the one session, by the server's own FATAL error. What grows with the
//! data asks for its memory by [`vec`], which raises an error that the session survives.
//!
//! An error of the server needs memory too, once pgrx has caught it: it copies it, and raises it anew, in
//! the context that has just got none. So each process has a reserve, which it gives back to the system
//! at the first such error, and at the next call takes again: a call that cannot have it is refused.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::Relaxed;
use std::alloc::System;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pg_sys::{self, ErrorContextCallback};
use pgrx::prelude::PgLogLevel;

use pure::fallible;

use crate::pg::ffi::unguarded;

struct Memory;

#[global_allocator]
static MEMORY: Memory = Memory;

// SAFETY: the system's allocator, which is asked with the caller's arguments. A request that it refuses
// is handed back as refused, or does not return: nothing unwinds.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        given(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        given(|| unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's.
        given(|| unsafe { System.realloc(memory, layout, size) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn given(ask: impl Fn() -> *mut u8) -> *mut u8 {
    let memory = ask();
    if !memory.is_null() || fallible::may_be_refused() {
        return memory;
    }
    give_back();
    let memory = ask();
    if memory.is_null() {
        out_of_memory(PgLogLevel::FATAL);
    }
    memory
}

/// More than the largest block that a context insists on, 1 MB (src/backend/utils/mmgr/aset.c:
/// AllocSetAlloc): so much address space, of which nothing is used.
const RESERVE: Layout = match Layout::from_size_align(1_280 * 1_024, 16) {
    Ok(layout) => layout,
    Err(_) => panic!("a size"),
};

static RESERVED: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

/// Below all others that the server calls when there is an error, and so called with every one.
static mut LAST_CALLBACK: ErrorContextCallback = ErrorContextCallback {
    previous: ptr::null_mut(),
    callback: Some(on_error),
    arg: ptr::null_mut(),
};

/// Sees to it that there is a reserve, and that it is given back when it is needed. Without one, the
/// call is refused while that can still be done. Unguarded: see [`crate::pg::ffi::unguarded`].
pub(in crate::pg) fn arm_reserve() {
    // SAFETY: a list whose members are their makers' until they take them off, the last made first
    // (src/include/utils/elog.h). Ours is the last of the list and stays: who takes one off puts what
    // was below it first. After an error that ended a statement the list is empty
    // (src/backend/tcop/postgres.c: PostgresMain).
    unsafe {
        if RESERVED.load(Relaxed).is_null() {
            let reserve = System.alloc(RESERVE);
            if reserve.is_null() {
                out_of_memory(PgLogLevel::ERROR);
            }
            RESERVED.store(reserve, Relaxed);
        }
        let ours = &raw mut LAST_CALLBACK;
        let mut place = &raw mut pg_sys::error_context_stack;
        while !(*place).is_null() && !ptr::eq(*place, ours) {
            place = &raw mut (**place).previous;
        }
        *place = ours;
    }
}

fn give_back() {
    let reserved = RESERVED.swap(ptr::null_mut(), Relaxed);
    if !reserved.is_null() {
        // SAFETY: it came from there, with this layout.
        unsafe { System.dealloc(reserved, RESERVE) }
    }
}

unsafe extern "C-unwind" fn on_error(_nothing: *mut c_void) {
    // SAFETY: for callbacks like this one (src/backend/utils/error/elog.c: geterrcode).
    let code = unsafe { unguarded::geterrcode() };
    if code == PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY as c_int {
        give_back();
    }
}

/// Raises the server's own error.
#[cold]
#[cfg(not(test))]
fn out_of_memory(level: PgLogLevel) {
    use core::ffi::c_char;
    // src/backend/utils/error/elog.c
    unsafe extern "C-unwind" {
        fn errstart(level: c_int, domain: *const c_char) -> bool;
        fn errcode(code: c_int) -> c_int;
        fn errmsg(format: *const c_char, ...) -> c_int;
        fn errfinish(file: *const c_char, line: c_int, function: *const c_char);
    }
    // SAFETY: ereport of src/include/utils/elog.h. It needs no memory but what ErrorContext keeps for
    // this. FATAL ends in proc_exit, which returns to no frame (errfinish), and ERROR is for callers that
    // hold nothing with a destructor. Nobody asks for memory while he holds a lock of the server or a word
    // of ours.
    unsafe {
        if errstart(level as c_int, ptr::null()) {
            errcode(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY as c_int);
            errmsg(c"out of memory".as_ptr());
            errfinish(c"vibepeak_keys".as_ptr(), 0, c"out_of_memory".as_ptr());
        }
    }
}

/// Tests of pure modules run without a server.
#[cfg(test)]
fn out_of_memory(_level: PgLogLevel) {
    std::process::abort();
}

/// A vector with room for so many values. Raises the server's out of memory where there is none.
pub fn vec_or_raise<T>(length: usize) -> Vec<T> {
    fallible::try_vec(length).unwrap_or_else(|| {
        give_back();
        ErrorReport::new(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory", "vibepeak_keys")
            .report(PgLogLevel::ERROR);
        unreachable!("an error does not return")
    })
}
