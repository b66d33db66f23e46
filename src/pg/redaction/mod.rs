//! Redaction of keys in the server log and wherever statements are shown.
//!
//! Every line of the log passes [`line`], which redacts its texts before they are written. The text
//! of a [`statement`] is redacted as soon as the server has analysed it, for everything that shows
//! it or keeps it: pg_stat_activity, the STATEMENT lines of the log, pg_stat_statements, the plan
//! cache. [`hash`] is about the hashes of keys.
//!
//! Text is changed in place only where the server does not parse it a second time. In the process
//! of a client, this is so where `debug_query_string` or the active portal points: the text that
//! the client has sent, or the copy that a portal keeps of it (src/backend/tcop/postgres.c). In
//! every process, it is so for the copy that the plan cache keeps, since RevalidateCachedQuery
//! starts from the raw parse tree (src/backend/utils/cache/plancache.c).
//!
//! A background worker may run the same text again (src/test/modules/worker_spi does, in a loop).
//! The text of a nested statement belongs to code that may parse it again: PL/pgSQL does after an
//! error, and PL/Python passes the buffer of an immutable string. Of these texts, the server goes
//! on with a redacted copy.
//!
//! These hooks run at each statement, and so without pgrx's guard. They hold nothing with a
//! destructor, cannot panic, and raise no error but the out of memory of a copy. A preloaded
//! library installs them when all libraries are loaded. So they run before the hooks of other
//! libraries, in any order of loading.

mod activity;
pub(in crate::pg) mod hash;
mod line;
mod statement;

use core::ffi::{CStr, c_char};
use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::Relaxed;
use core::{ptr, slice};

use pgrx::pg_sys::{self, BackendType};

use pure::key::redact;

use crate::pg::server::settings;

/// The processes whose lines in the log are redacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redaction {
    /// Every process.
    Server,
    /// This session.
    Session,
    /// None.
    Off,
}

/// The hooks are installed in every process.
const SERVER: u8 = 1;
/// The hooks are installed in this session.
const SESSION: u8 = 2;
/// Where the hooks are installed; 0 for nowhere.
static INSTALLED: AtomicU8 = AtomicU8::new(0);

/// The processes whose lines are redacted now.
pub fn scope() -> Redaction {
    match INSTALLED.load(Relaxed) {
        SERVER if settings::redact_logs() => Redaction::Server,
        SESSION if settings::redact_logs() => Redaction::Session,
        _ => Redaction::Off,
    }
}

/// The hooks that were there before ours.
static mut NEXT_LOG: pg_sys::emit_log_hook_type = None;
/// See [`NEXT_LOG`].
static mut NEXT_ANALYZE: pg_sys::post_parse_analyze_hook_type = None;
/// See [`NEXT_LOG`].
static mut NEXT_PLANNER: pg_sys::planner_hook_type = None;
/// See [`NEXT_LOG`].
static mut NEXT_START: pg_sys::ExecutorStart_hook_type = None;
/// See [`NEXT_LOG`].
static mut NEXT_UTILITY: pg_sys::ProcessUtility_hook_type = None;
/// See [`NEXT_LOG`].
static mut NEXT_STARTUP: pg_sys::shmem_startup_hook_type = None;

/// Installs the hooks in every process, once all libraries are preloaded. Called while the
/// postmaster loads the library.
///
/// At that time the postmaster calls the hook for shared memory
/// (src/backend/postmaster/postmaster.c: PostmasterMain). Hooks that are installed last are called
/// first.
pub(in crate::pg) fn install_at_startup() {
    // SAFETY: the process has one thread. Our hook calls the one that was there before
    // (src/backend/storage/ipc/ipci.c: CreateSharedMemoryAndSemaphores).
    unsafe {
        NEXT_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(on_startup);
    }
}

/// Installs the hooks in this session.
pub(in crate::pg) fn install_for_session() {
    install(SESSION);
}

/// Runs in the postmaster, at its start and again after a crash of one of its children.
#[pgrx::pg_guard]
extern "C-unwind" fn on_startup() {
    // SAFETY: the hook that was there before is called as the server would call it
    // (src/backend/storage/ipc/ipci.c: CreateSharedMemoryAndSemaphores).
    unsafe {
        if let Some(next) = NEXT_STARTUP {
            next();
        }
    }
    install(SERVER);
}

/// Installs the hooks, once in a process.
fn install(scope: u8) {
    if INSTALLED.swap(scope, Relaxed) != 0 {
        return;
    }
    // SAFETY: the process has one thread. Our hooks have the signatures of the server's and call
    // those that were there before. The callbacks stay registered, as the library stays loaded
    // (src/backend/access/transam/xact.c).
    unsafe {
        NEXT_LOG = pg_sys::emit_log_hook;
        pg_sys::emit_log_hook = Some(line::on_log);
        NEXT_ANALYZE = pg_sys::post_parse_analyze_hook;
        pg_sys::post_parse_analyze_hook = Some(statement::on_analyze);
        NEXT_PLANNER = pg_sys::planner_hook;
        pg_sys::planner_hook = Some(statement::on_plan);
        NEXT_START = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(statement::on_start);
        NEXT_UTILITY = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(statement::on_utility);
        pg_sys::RegisterXactCallback(Some(activity::on_transaction_end), ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(activity::on_subtransaction_end), ptr::null_mut());
    }
}

/// Redacts a string in place.
///
/// # Safety
/// It is null, or a null-terminated string that may be changed if there is something to redact.
unsafe fn redact_string(text: *mut c_char, redact: impl FnOnce(&mut [u8]) -> bool) {
    if text.is_null() {
        return;
    }
    // SAFETY: the caller's. Redaction keeps the length, and writes only where there is something to
    // redact.
    unsafe {
        let length = CStr::from_ptr(text).count_bytes();
        redact(slice::from_raw_parts_mut(text.cast(), length));
    }
}

/// Whether a string shows a key.
///
/// # Safety
/// It is null or a null-terminated string.
unsafe fn shows_key(text: *const c_char) -> bool {
    // SAFETY: the caller's.
    unsafe { !text.is_null() && redact::shows_key(CStr::from_ptr(text).to_bytes()) }
}

/// Whether this process executes the statements of a client.
fn serves_client() -> bool {
    // SAFETY: reads a variable that is set once, when the process starts
    // (src/backend/utils/init/miscinit.c).
    let kind = unsafe { pg_sys::MyBackendType };
    matches!(kind, BackendType::B_BACKEND | BackendType::B_WAL_SENDER)
}
