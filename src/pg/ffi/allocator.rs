//! The allocator of Rust's own values, which live beside the server's memory contexts.
//!
//! The system refuses memory where a limit is set to the process, or with `vm.overcommit_memory =
//! 2`, which PostgreSQL's documentation recommends. Rust then ends the process by SIGABRT, and
//! after that the postmaster restarts the whole server. This allocator ends the one session
//! instead, by the server's own FATAL error. Code whose memory grows with the data asks for it by
//! [`vec_or_raise`], which raises an error that the session survives.
//!
//! An error of the server unwinds the frames of Rust, which itself allocates, and so does pgrx
//! where it copies an error of its own calls. After a second failure there the session would end.
//! So each process that calls the library keeps a reserve: a block of address space that it does
//! not touch. It gives the block back to the system at the first error of this kind, so that the
//! unwinding succeeds, and takes a new one at the next call. A call that cannot have a reserve
//! fails with an out of memory error before it does anything.

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

/// The system's allocator, with a reserve.
struct Memory;

/// The allocator of this library.
#[global_allocator]
static MEMORY: Memory = Memory;

// SAFETY: every request goes to the system's allocator with the caller's arguments. A request that
// it refuses returns null or does not return. Nothing unwinds.
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

/// Asks for memory, and once more without the reserve. Where there is none then, it ends the
/// session, unless the caller can do with a refusal.
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

/// The size of the reserve, more than the 1 MB of the largest block that a context asks for to
/// satisfy a small request (src/backend/utils/mmgr/aset.c: AllocSetAlloc).
const RESERVE: Layout = match Layout::from_size_align(1_280 * 1_024, 16) {
    Ok(layout) => layout,
    Err(_) => panic!("a size"),
};

/// The reserve of this process; null where it has none.
static RESERVED: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

/// The server calls each callback of a list when there is an error. This one is the last of the
/// list.
static mut LAST_CALLBACK: ErrorContextCallback = ErrorContextCallback {
    previous: ptr::null_mut(),
    callback: Some(on_error),
    arg: ptr::null_mut(),
};

/// Takes a reserve, unless the process has one, and has it given back when it is needed. Raises an
/// out of memory error where there is no reserve to be had.
///
/// Unguarded: see [`crate::pg::ffi::unguarded`].
pub(in crate::pg) fn arm_reserve_unguarded() {
    take_reserve_unguarded();
    watch_errors();
}

/// Takes a reserve, unless the process has one. Raises an out of memory error where there is no
/// reserve to be had.
///
/// Unguarded: see [`crate::pg::ffi::unguarded`].
pub(in crate::pg) fn take_reserve_unguarded() {
    if RESERVED.load(Relaxed).is_null() {
        // SAFETY: the reserve has a size above 0.
        let reserve = unsafe { System.alloc(RESERVE) };
        if reserve.is_null() {
            out_of_memory(PgLogLevel::ERROR);
        }
        RESERVED.store(reserve, Relaxed);
    }
}

/// Puts our callback on the list, unless it is there. Raises no error. Not under the
/// guard, which restores the list that it found ([`super::guard`]).
pub(in crate::pg) fn watch_errors() {
    // SAFETY: code that puts a callback on the list takes it off again, the last one first
    // (src/include/utils/elog.h). Ours is the last of the list and stays: code that takes one off
    // restores what was below it. After an error that ended a statement the list is empty
    // (src/backend/tcop/postgres.c: PostgresMain).
    unsafe {
        let ours = &raw mut LAST_CALLBACK;
        let mut place = &raw mut pg_sys::error_context_stack;
        while !(*place).is_null() && !ptr::eq(*place, ours) {
            place = &raw mut (**place).previous;
        }
        *place = ours;
    }
}

/// Gives the reserve back to the system.
fn give_back() {
    let reserved = RESERVED.swap(ptr::null_mut(), Relaxed);
    if !reserved.is_null() {
        // SAFETY: the block came from the same allocator, with this layout.
        unsafe { System.dealloc(reserved, RESERVE) }
    }
}

/// Runs with every error, before it is copied.
///
/// # Safety
/// An error is being reported.
unsafe extern "C-unwind" fn on_error(_nothing: *mut c_void) {
    // SAFETY: the caller's: geterrcode is made for callbacks like this one
    // (src/backend/utils/error/elog.c).
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
    // SAFETY: the protocol of ereport (src/include/utils/elog.h). It needs no memory but what
    // ErrorContext keeps for this. FATAL ends in proc_exit, which returns to no frame (errfinish).
    // ERROR is for `arm_reserve_unguarded`, whose callers hold nothing with a destructor. No code
    // allocates while it holds an LWLock, a spin lock of the server or one of our spin locks.
    unsafe {
        if errstart(level as c_int, ptr::null()) {
            errcode(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY as c_int);
            errmsg(c"out of memory".as_ptr());
            errfinish(c"vibepeak_keys".as_ptr(), 0, c"out_of_memory".as_ptr());
        }
    }
}

/// Unit tests run without a server.
#[cfg(test)]
fn out_of_memory(_level: PgLogLevel) {
    std::process::abort();
}

/// A vector with room for `length` values. Raises an out of memory error where there is none.
pub fn vec_or_raise<T>(length: usize) -> Vec<T> {
    fallible::try_vec(length).unwrap_or_else(|| {
        give_back();
        ErrorReport::new(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory", "vibepeak_keys")
            .report(PgLogLevel::ERROR);
        unreachable!("an error does not return")
    })
}
