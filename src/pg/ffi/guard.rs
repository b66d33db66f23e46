//! The boundary between the server's errors, which jump over frames, and Rust, which unwinds them.
//!
//! The server raises an error by `siglongjmp` to the handler that was set last. [`guarded`] sets
//! one around a call, and unwinds the Rust frames of its caller, so that their destructors run.
//! [`passing_errors`], which is around the body of each SQL function, then has the server go on to
//! the handler before. Meanwhile the error stays where the server keeps it, as in a PG_CATCH that
//! ends with PG_RE_THROW (src/include/utils/elog.h). So nothing of it is lost, and nothing is
//! copied, for which there may be no memory.
//!
//! No destructor of ours calls the server, which might raise a second error there. pgrx has a guard
//! around each server function that it declares. It copies some fields of the error, and raises a
//! new one of them. So what can raise an error is called through [`super::guarded`] instead.

use core::any::Any;
use core::ffi::{CStr, c_int};
use core::mem::MaybeUninit;
use core::ptr;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, AssertUnwindSafe, catch_unwind, resume_unwind};

use cee_scape::call_with_sigsetjmp;
use pgrx::pg_sys::{self, ErrorData};

use crate::pg::ffi::{guarded, unguarded};

/// What unwinds the frames of Rust: an error of the server, or anything else.
pub(in crate::pg) type Unwound = Box<dyn Any + Send>;

/// An error that the server has raised and keeps. It unwinds the frames of Rust.
struct ServerError;

/// Runs `call`. An error that the server raises inside unwinds the frames of the caller.
///
/// # Safety
/// `call` cannot panic, and holds no value with a destructor where it calls the server: an error
/// passes over its frames without unwinding them.
#[inline]
pub(in crate::pg) unsafe fn guarded<T>(call: impl FnOnce() -> T) -> T {
    // SAFETY: the caller's. The process has one thread. The handlers are set and restored as by
    // PG_TRY and PG_END_TRY (src/include/utils/elog.h). SigJmpBufFields is the C library's
    // sigjmp_buf. Where the call returned, it has written the result.
    unsafe {
        let memory = pg_sys::CurrentMemoryContext;
        let handler = pg_sys::PG_exception_stack;
        let callbacks = pg_sys::error_context_stack;
        let mut result = MaybeUninit::uninit();
        let jumped = call_with_sigsetjmp(false, |place| {
            pg_sys::PG_exception_stack = ptr::from_ref(place).cast_mut().cast();
            result.write(call());
            0
        });
        pg_sys::PG_exception_stack = handler;
        pg_sys::error_context_stack = callbacks;
        if jumped == 0 {
            return result.assume_init();
        }
        // The server switched to the memory of errors.
        pg_sys::CurrentMemoryContext = memory;
        unwind()
    }
}

/// Unwinds the frames of Rust, for an error that the server keeps. There is no panic, of which a
/// hook would be told.
#[cold]
fn unwind() -> ! {
    resume_unwind(Box::new(ServerError))
}

/// Runs the body of an SQL function or of a worker. An error of the server that unwinds it passes
/// through unchanged; the extension's own errors are left to pgrx.
///
/// Unguarded: see [`super::unguarded`].
pub fn passing_errors<R>(body: impl FnOnce() -> R) -> R {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => return result,
        Err(unwound) => go_on_unless_server_error(unwound),
    }
    // SAFETY: the server has raised the error, and keeps it (src/backend/utils/error/elog.c:
    // pg_re_throw). It jumps to the handler of the function's caller. No frame up to there holds a
    // value with a destructor.
    unsafe { unguarded::pg_re_throw() }
}

/// Goes on with what unwinds the frames of Rust, unless it is an error of the server.
fn go_on_unless_server_error(unwound: Unwound) {
    if server_error_code(&unwound).is_none() {
        resume_unwind(unwound);
    }
}

/// The SQLSTATE of the server's error that unwinds the frames of Rust, as the server numbers it.
/// None for anything else.
pub(in crate::pg) fn server_error_code(unwound: &Unwound) -> Option<c_int> {
    // SAFETY: the server keeps the error, and nothing else was raised since
    // (src/backend/utils/error/elog.c: geterrcode).
    unwound.is::<ServerError>().then(|| unsafe { unguarded::geterrcode() })
}

/// The message of the server's error that unwinds the frames of Rust. None for anything else.
pub(in crate::pg) fn server_error_message(unwound: &Unwound) -> Option<String> {
    let copy = copy_of_server_error(unwound)?;
    // SAFETY: the copy's message is a null-terminated string, or null (src/include/utils/elog.h:
    // ErrorData).
    let message = unsafe { (*copy).message.as_ref().map(|text| CStr::from_ptr(text)) };
    Some(message.unwrap_or_default().to_string_lossy().into_owned())
}

/// Goes on with what unwinds the frames of Rust. Where it is an error of the server, `change` may
/// have it replaced by changing a copy, and returns whether it has.
pub(in crate::pg) fn go_on_with(
    unwound: Unwound,
    change: impl FnOnce(&mut ErrorData) -> bool,
) -> ! {
    if let Some(copy) = copy_of_server_error(&unwound) {
        // SAFETY: the copy is a new one, which nothing else refers to. The server copies what it is
        // given (src/backend/utils/error/elog.c: ReThrowError).
        unsafe {
            if change(&mut *copy) {
                forget_server_error(unwound);
                guarded::ReThrowError(copy);
            }
        }
    }
    resume_unwind(unwound)
}

/// A copy of the server's error, in the current memory.
fn copy_of_server_error(unwound: &Unwound) -> Option<*mut ErrorData> {
    // SAFETY: the server keeps the error. CurrentMemoryContext is not that of errors, since
    // `guarded` has restored it (src/backend/utils/error/elog.c: CopyErrorData). Where there is no
    // memory for the copy, that error takes the place of this one.
    unwound.is::<ServerError>().then(|| unsafe { guarded::CopyErrorData() })
}

/// Has the server forget the error that it keeps. The transaction has failed nevertheless.
pub(in crate::pg) fn forget_server_error(unwound: Unwound) {
    if unwound.is::<ServerError>() {
        // SAFETY: nothing refers to what the server keeps: a copy has memory of its own
        // (src/backend/utils/error/elog.c: FlushErrorState).
        unsafe { unguarded::FlushErrorState() }
    }
}

/// Keeps stacks out of errors, also if the server's environment asks for them. Called when the
/// library is loaded.
///
/// With `RUST_BACKTRACE`, pgrx's hook takes a stack at each panic, and pgrx puts it into the DETAIL
/// that the client gets (pgrx-pg-sys src/submodules/panic.rs). Without its hook, the error of a
/// panic has no place in the source.
pub(in crate::pg) fn keep_stacks_out() {
    let of_pgrx = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if Backtrace::capture().status() != BacktraceStatus::Captured {
            of_pgrx(info);
        }
    }));
}
