//! Redaction of keys in the server log and wherever statements are shown.
//!
//! Every line of the log passes [`on_log`], which redacts its texts before they are written. The
//! text of a statement is redacted as soon as the server has parsed it, for everything that shows
//! it or keeps it: pg_stat_activity, the STATEMENT lines of the log, pg_stat_statements.
//!
//! Text is changed in place only in the process of a client, and only where `debug_query_string` or
//! the active portal points. There it is the text that the client has sent, or the copy that a
//! prepared statement or a portal keeps of it. The server does not parse these copies a second time
//! (src/backend/tcop/postgres.c; src/backend/utils/cache/plancache.c: RevalidateCachedQuery starts
//! from the raw parse tree). A background worker may run the same text again
//! (src/test/modules/worker_spi does, in a loop). The text of a nested statement belongs to code
//! that may parse it again: PL/pgSQL does after an error, and PL/Python passes the buffer of an
//! immutable string. Of these texts, the server goes on with a redacted copy.
//!
//! These hooks run at each statement, and so without pgrx's guard. They hold nothing with a
//! destructor, cannot panic, and raise no error but the out of memory of a copy. A preloaded
//! library installs them when all libraries are loaded. So they run before the hooks of other
//! libraries, in any order of loading.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::{Relaxed, Release};
use core::{ptr, slice};

use pgrx::PgLogLevel;
use pgrx::pg_sys::{
    self, BackendType, DestReceiver, EState, ErrorData, JumbleState, MemoryContextCallback,
    ParamListInfo, ParseState, PlannedStmt, ProcessUtilityContext, Query, QueryCompletion,
    QueryDesc, QueryEnvironment, SubTransactionId, SubXactEvent, XactEvent,
};

use pure::key::redact;

use crate::pg::ffi::unguarded;
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
        pg_sys::emit_log_hook = Some(on_log);
        NEXT_ANALYZE = pg_sys::post_parse_analyze_hook;
        pg_sys::post_parse_analyze_hook = Some(on_analyze);
        NEXT_PLANNER = pg_sys::planner_hook;
        pg_sys::planner_hook = Some(on_plan);
        NEXT_START = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(on_start);
        NEXT_UTILITY = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(on_utility);
        pg_sys::RegisterXactCallback(Some(on_transaction_end), ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(on_subtransaction_end), ptr::null_mut());
    }
}

/// Redacts a line before it is written. The client is sent the same texts afterwards
/// (src/backend/utils/error/elog.c: EmitErrorReport).
///
/// # Safety
/// The server calls it with the report of the line.
unsafe extern "C-unwind" fn on_log(report: *mut ErrorData) {
    // SAFETY: the caller's. A text is null, or a null-terminated string that errmsg or one of its
    // kin has allocated for this report (src/backend/utils/error/elog.c). A text that is a constant
    // has no key in it, and so is not written to.
    unsafe {
        if settings::redact_logs() {
            let report = &mut *report;
            for text in [
                report.message,
                report.detail,
                report.detail_log,
                report.hint,
                report.context,
                report.backtrace,
                report.internalquery,
                report.schema_name,
                report.table_name,
                report.column_name,
                report.datatype_name,
                report.constraint_name,
            ] {
                redact_string(text, redact::redact_keys);
            }
            redact_statement(report);
        }
        if let Some(next) = NEXT_LOG {
            next(report);
        }
    }
}

/// Redacts the text of the statement that is written with the line.
///
/// With an error the statement is over. With a lesser message, as one of level DEBUG, the text may
/// still have to be parsed. Then it must not change, and is left out of the line.
///
/// # Safety
/// The server is about to write the line.
unsafe fn redact_statement(report: &mut ErrorData) {
    // SAFETY: the text is null or a null-terminated string (src/backend/tcop/postgres.c). It is
    // written to in the process of a client only, where it is a buffer of the server that holds the
    // text that the client has sent, and after the statement has failed, so that nothing parses it
    // again.
    unsafe {
        let statement = pg_sys::debug_query_string;
        if report.elevel >= PgLogLevel::ERROR as c_int && serves_client() {
            if redact_string(statement.cast_mut(), redact::redact_keys) {
                redact_activity();
            }
        } else if !statement.is_null() && redact::shows_key(CStr::from_ptr(statement).to_bytes()) {
            report.hide_stmt = true;
        }
    }
}

/// Redacts a string in place; whether there was a key in it.
///
/// # Safety
/// It is null, or a null-terminated string that may be changed if there is a key in it.
unsafe fn redact_string(text: *mut c_char, redact: impl Fn(&mut [u8]) -> bool) -> bool {
    if text.is_null() {
        return false;
    }
    // SAFETY: the caller's. Redaction keeps the length, and writes only where there is a key.
    unsafe {
        let length = CStr::from_ptr(text).count_bytes();
        redact(slice::from_raw_parts_mut(text.cast(), length))
    }
}

/// Redacts the text that pg_stat_activity shows of this process.
///
/// A new report of the text would reset the query's id. So the text is changed by the protocol of
/// src/include/utils/backend_status.h (PGSTAT_BEGIN_WRITE_ACTIVITY): readers read again when the
/// counter was odd or has changed. The critical section of that protocol is for writers that may
/// raise errors.
fn redact_activity() {
    // SAFETY: the entry is that of this process, which alone writes there. The text has room for
    // pgstat_track_activity_query_size bytes and ends with a null
    // (src/backend/utils/activity/backend_status.c).
    unsafe {
        let entry = pg_sys::MyBEEntry;
        if entry.is_null() || (*entry).st_activity_raw.is_null() {
            return;
        }
        let room = usize::try_from(pg_sys::pgstat_track_activity_query_size).unwrap_or(0);
        let text: &mut [u8] = slice::from_raw_parts_mut((*entry).st_activity_raw.cast(), room);
        let length = memchr::memchr(0, text).unwrap_or(room);
        let text = &mut text[..length];
        if !redact::shows_key(text) {
            return;
        }
        let count = &raw mut (*entry).st_changecount;
        count.write_volatile(count.read_volatile().wrapping_add(1));
        core::sync::atomic::fence(Release);
        redact::redact_keys(text);
        core::sync::atomic::fence(Release);
        count.write_volatile(count.read_volatile().wrapping_add(1));
    }
}

/// The redacted text of a statement: the text itself where there is no key in it.
///
/// # Safety
/// The text is null or a null-terminated string, and was parsed.
unsafe fn redacted(text: *const c_char) -> *const c_char {
    if text.is_null() || !settings::redact_logs() {
        return text;
    }
    // SAFETY: the caller's. A text that is redacted in place is in memory of the server and is not
    // parsed again (see the head of this file). A copy stays as long as the current memory context,
    // which is that of the statement.
    unsafe {
        let bytes = CStr::from_ptr(text).to_bytes_with_nul();
        if !redact::shows_key(bytes) {
            return text;
        }
        redact_activity();
        if serves_client() {
            // Where the server executes a portal, it shows another copy, of the portal's text.
            let shown = pg_sys::debug_query_string;
            redact_string(shown.cast_mut(), redact::redact_source);
            let portal = pg_sys::ActivePortal;
            if ptr::eq(text, shown) || (!portal.is_null() && ptr::eq(text, (*portal).sourceText)) {
                redact_string(text.cast_mut(), redact::redact_source);
                return text;
            }
        }
        let copy: *mut u8 = unguarded::palloc(bytes.len()).cast();
        copy.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        redact_string(copy.cast(), redact::redact_source);
        copy.cast()
    }
}

/// Whether this process executes the statements of a client.
fn serves_client() -> bool {
    // SAFETY: reads a variable that is set once, when the process starts
    // (src/backend/utils/init/miscinit.c).
    let kind = unsafe { pg_sys::MyBackendType };
    matches!(kind, BackendType::B_BACKEND | BackendType::B_WAL_SENDER)
}

/// Runs when a statement was analysed, also for a utility statement (src/backend/parser/analyze.c).
///
/// # Safety
/// The server calls it.
unsafe extern "C-unwind" fn on_analyze(
    state: *mut ParseState,
    query: *mut Query,
    jumble: *mut JumbleState,
) {
    // SAFETY: the caller's. The text was parsed; the server reads the state's text from here on
    // only for the positions of errors (src/backend/parser/parse_node.c: parser_errposition).
    unsafe {
        let text = redacted((*state).p_sourcetext);
        (*state).p_sourcetext = text;
        // Without locations of constants, pg_stat_statements keeps the text as it is, and does not
        // scan it again.
        if !jumble.is_null()
            && !text.is_null()
            && settings::redact_logs()
            && redact::may_be_tag(CStr::from_ptr(text).to_bytes())
        {
            (*jumble).clocations_count = 0;
        }
        if let Some(next) = NEXT_ANALYZE {
            next(state, query, jumble);
        }
    }
}

/// Runs when a statement is planned. A prepared statement keeps a copy of its text that was made
/// before the statement was analysed. This hook is the first chance to redact that copy
/// (src/backend/utils/cache/plancache.c: CreateCachedPlan, BuildCachedPlan).
///
/// # Safety
/// The server calls it.
unsafe extern "C-unwind" fn on_plan(
    query: *mut Query,
    text: *const c_char,
    options: c_int,
    parameters: ParamListInfo,
) -> *mut PlannedStmt {
    // SAFETY: the caller's; the arguments are passed on (src/backend/optimizer/plan/planner.c).
    unsafe {
        let text = redacted(text);
        match NEXT_PLANNER {
            Some(next) => next(query, text, options, parameters),
            None => unguarded::standard_planner(query, text, options, parameters),
        }
    }
}

/// Runs when the execution of a statement starts. pg_stat_statements keeps the text of the
/// description, and parallel workers show it as their activity. A portal has a copy that was made
/// before the statement was planned for the first time. Its execution reports that copy as the
/// activity (src/backend/tcop/postgres.c: exec_bind_message).
///
/// # Safety
/// The server calls it.
unsafe extern "C-unwind" fn on_start(description: *mut QueryDesc, flags: c_int) {
    // SAFETY: the caller's. The description may point to any text, which nothing parses again
    // (src/backend/executor/execMain.c). A copy was allocated in the current memory context, before
    // the state, whose memory is a child of it (src/backend/executor/execUtils.c:
    // CreateExecutorState).
    unsafe {
        let text = (*description).sourceText;
        let copy = redacted(text);
        (*description).sourceText = copy;
        match NEXT_START {
            Some(next) => next(description, flags),
            None => unguarded::standard_ExecutorStart(description, flags),
        }
        if !ptr::eq(text, copy) {
            free_with((*description).estate, copy);
        }
    }
}

/// Frees a copy together with the memory of its execution. An SQL function starts an execution at
/// each call, in memory that stays as long as the calling statement
/// (src/backend/executor/functions.c).
///
/// # Safety
/// The copy was allocated before the state, in the memory that the state's is a child of.
unsafe fn free_with(state: *mut EState, copy: *const c_char) {
    // SAFETY: the caller's. A context's children are deleted before it is reset
    // (src/backend/utils/mmgr/mcxt.c), so that the copy is there when the callback frees it.
    // ExecutorEnd deletes the state last (src/backend/executor/execMain.c).
    unsafe {
        let memory = (*state).es_query_cxt;
        let size = size_of::<MemoryContextCallback>();
        let callback: *mut MemoryContextCallback =
            unguarded::MemoryContextAlloc(memory, size).cast();
        callback.write(MemoryContextCallback {
            func: Some(free),
            arg: copy.cast_mut().cast(),
            next: ptr::null_mut(),
        });
        unguarded::MemoryContextRegisterResetCallback(memory, callback);
    }
}

/// Frees a copy.
///
/// # Safety
/// The argument is the copy that [`free_with`] has registered.
unsafe extern "C-unwind" fn free(copy: *mut c_void) {
    // SAFETY: the caller's: `redacted` has allocated it by palloc (src/backend/utils/mmgr/mcxt.c).
    unsafe { unguarded::pfree(copy) }
}

/// Runs for a utility statement, also a prepared or nested one.
///
/// # Safety
/// The server calls it.
unsafe extern "C-unwind" fn on_utility(
    statement: *mut PlannedStmt,
    text: *const c_char,
    read_only: bool,
    context: ProcessUtilityContext::Type,
    parameters: ParamListInfo,
    environment: *mut QueryEnvironment,
    receiver: *mut DestReceiver,
    completion: *mut QueryCompletion,
) {
    // SAFETY: the caller's; the arguments are passed on. The text is for messages only
    // (src/backend/tcop/utility.c).
    unsafe {
        let text = redacted(text);
        let next = NEXT_UTILITY.unwrap_or(unguarded::standard_ProcessUtility);
        next(statement, text, read_only, context, parameters, environment, receiver, completion);
    }
}

/// Runs at the end of a transaction. A text that was never parsed stays in pg_stat_activity until
/// the next statement: after a syntax error that is not logged, for example.
///
/// # Safety
/// The server calls it.
unsafe extern "C-unwind" fn on_transaction_end(event: XactEvent::Type, _: *mut c_void) {
    let ended = matches!(event, XactEvent::XACT_EVENT_ABORT | XactEvent::XACT_EVENT_COMMIT);
    if ended && settings::redact_logs() {
        redact_activity();
    }
}

/// Runs at the end of a subtransaction, for the same reason.
///
/// # Safety
/// The server calls it.
unsafe extern "C-unwind" fn on_subtransaction_end(
    event: SubXactEvent::Type,
    _: SubTransactionId,
    _: SubTransactionId,
    _: *mut c_void,
) {
    if event == SubXactEvent::SUBXACT_EVENT_ABORT_SUB && settings::redact_logs() {
        redact_activity();
    }
}
