//! What has to be done when a transaction ends, however it ends.

use core::ffi::c_void;
use core::ptr;

use pgrx::pg_sys::{self, SubTransactionId, SubXactEvent, XactEvent};

use crate::pg::ffi::guarded;
use crate::pg::ffi::per_backend::PerBackend;

/// What is to be done at an end.
#[derive(Clone, Copy)]
struct AtEnd {
    /// Of this subtransaction, or of the transaction.
    of: SubTransactionId,
    run: fn(),
}

static AT_END: PerBackend<Option<AtEnd>> = PerBackend::new(None);
static REGISTERED: PerBackend<bool> = PerBackend::new(false);

/// Has `run` called once: when the transaction ends, or where the current subtransaction is rolled
/// back before that. What was asked for before in the transaction is then called instead.
///
/// `run` is called in the middle of a commit or an abort. It must not raise an error, panic or
/// allocate, nor wait for anything but a spin lock. The locks of the transaction are still held
/// then. The end of a session ends its transaction; after a crash, nothing is called.
pub fn at_end(run: fn()) {
    // SAFETY: reads a variable, and appends to the lists of callbacks, which stay registered, as
    // the library stays loaded (src/backend/access/transam/xact.c). The closures call no function
    // of the server. A callback that is registered twice, after an error, does nothing the second
    // time.
    unsafe {
        if !REGISTERED.with(|registered| *registered) {
            guarded::RegisterXactCallback(Some(on_end), ptr::null_mut());
            guarded::RegisterSubXactCallback(Some(on_end_of_subtransaction), ptr::null_mut());
            REGISTERED.with(|registered| *registered = true);
        }
        let of = pg_sys::GetCurrentSubTransactionId();
        AT_END.with(|at_end| _ = at_end.get_or_insert(AtEnd { of, run }));
    }
}

/// Runs when a transaction has committed, is prepared or aborts.
///
/// # Safety
/// The server calls it.
unsafe extern "C-unwind" fn on_end(event: XactEvent::Type, _: *mut c_void) {
    use XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    if matches!(event, XACT_EVENT_ABORT | XACT_EVENT_COMMIT | XACT_EVENT_PREPARE) {
        // SAFETY: the closure calls nothing.
        let ended = unsafe { AT_END.with(Option::take) };
        if let Some(AtEnd { run, .. }) = ended {
            run();
        }
    }
}

/// Runs when a subtransaction becomes a part of its parent, or is rolled back.
///
/// # Safety
/// The server calls it.
unsafe extern "C-unwind" fn on_end_of_subtransaction(
    event: SubXactEvent::Type,
    own: SubTransactionId,
    parent: SubTransactionId,
    _: *mut c_void,
) {
    use SubXactEvent::{SUBXACT_EVENT_ABORT_SUB, SUBXACT_EVENT_COMMIT_SUB};
    // SAFETY: the closure calls nothing.
    let ended = unsafe {
        AT_END.with(|at_end| match (at_end.as_mut(), event) {
            (Some(it), SUBXACT_EVENT_COMMIT_SUB) if it.of == own => {
                it.of = parent;
                None
            }
            (Some(it), SUBXACT_EVENT_ABORT_SUB) if it.of == own => at_end.take(),
            _ => None,
        })
    };
    if let Some(AtEnd { run, .. }) = ended {
        run();
    }
}
