//! Keys out of the log and out of sight.
//!
//! Every line of the log passes [`on_log`], which masks what is about to be written. The text of a
//! statement is masked as soon as the server has parsed it, for those who show it or keep it:
//! pg_stat_activity, the log's STATEMENT, pg_stat_statements.
//!
//! Text is changed in place only in the process of a client, and only where `debug_query_string` or
//! the active portal points: there it is what the client has sent, or what a prepared statement or a
//! portal keeps of it, and nothing reads it for its meaning once it was parsed
//! (src/backend/tcop/postgres.c; src/backend/utils/cache/plancache.c: RevalidateCachedQuery starts from
//! the raw parse tree). A background worker may run the same text once more
//! (src/test/modules/worker_spi does, in a loop). Text of nested statements is somebody's own, who may
//! parse it again: PL/pgSQL does after an error, and PL/Python lends the buffer of a string that cannot
//! change. Of it, the others are given a masked copy.
//!
//! These hooks run at each statement, and so without pgrx's guard: they hold nothing with a
//! destructor, cannot panic, and raise nothing but the out of memory of a copy. They are installed
//! when all libraries are loaded, and so are asked first, whatever the order of loading.

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

/// Whose lines are masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redaction {
    /// Every process's.
    Server,
    /// This session's.
    Session,
    /// Nobody's.
    Off,
}

const SERVER: u8 = 1;
const SESSION: u8 = 2;
static INSTALLED: AtomicU8 = AtomicU8::new(0);

/// Whose lines are masked now.
pub fn scope() -> Redaction {
    match INSTALLED.load(Relaxed) {
        SERVER if settings::redact_logs() => Redaction::Server,
        SESSION if settings::redact_logs() => Redaction::Session,
        _ => Redaction::Off,
    }
}

static mut NEXT_LOG: pg_sys::emit_log_hook_type = None;
static mut NEXT_ANALYZE: pg_sys::post_parse_analyze_hook_type = None;
static mut NEXT_PLANNER: pg_sys::planner_hook_type = None;
static mut NEXT_START: pg_sys::ExecutorStart_hook_type = None;
static mut NEXT_UTILITY: pg_sys::ProcessUtility_hook_type = None;

/// Takes the hooks over, once in the life of a process: the postmaster calls it again when it starts
/// over after a crash.
pub(super) fn install(whole_server: bool) {
    let scope = if whole_server { SERVER } else { SESSION };
    if INSTALLED.swap(scope, Relaxed) != 0 {
        return;
    }
    // SAFETY: a process has one thread; whoever had a hook before is called by ours.
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

/// Before a line is written (src/backend/utils/error/elog.c: EmitErrorReport). The client is sent the
/// same texts afterwards.
unsafe extern "C-unwind" fn on_log(report: *mut ErrorData) {
    // SAFETY: the texts are null, or null-terminated strings that errmsg and its kin have allocated for
    // this report. No constant among them has a key to be masked.
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
                mask_string(text, redact::redact_keys);
            }
            mask_statement(report);
        }
        if let Some(next) = NEXT_LOG {
            next(report);
        }
    }
}

/// The text of the statement goes with the line.
///
/// With an error the statement is over. With anything less, the text may be still to be parsed, when
/// messages of level DEBUG are logged: then it must not change, and is left out of the line.
unsafe fn mask_statement(report: &mut ErrorData) {
    // SAFETY: the text is the one that is written with the line.
    unsafe {
        let statement = pg_sys::debug_query_string;
        if report.elevel >= PgLogLevel::ERROR as c_int && serves_client() {
            if mask_string(statement.cast_mut(), redact::redact_keys) {
                mask_activity();
            }
        } else if !statement.is_null() && redact::shows_key(CStr::from_ptr(statement).to_bytes()) {
            report.hide_stmt = true;
        }
    }
}

/// Masks a string in place; whether there was a key.
///
/// # Safety
/// It is null, or a null-terminated string that may be changed if there is a key in it.
unsafe fn mask_string(text: *mut c_char, mask: impl Fn(&mut [u8]) -> bool) -> bool {
    if text.is_null() {
        return false;
    }
    // SAFETY: the caller's. Masking changes no length.
    unsafe {
        let length = CStr::from_ptr(text).count_bytes();
        mask(slice::from_raw_parts_mut(text.cast(), length))
    }
}

/// Masks what pg_stat_activity shows of this process.
///
/// Reporting the text anew would reset the query's id. The protocol is that of
/// src/include/utils/backend_status.h (PGSTAT_BEGIN_WRITE_ACTIVITY): readers look again when the
/// counter was odd or has changed. Its critical section is for writers that may raise.
fn mask_activity() {
    // SAFETY: the entry is this process's own, and it alone writes there; the text has room for
    // pgstat_track_activity_query_size bytes and ends with a null.
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

/// The text of a statement as others may have it: itself where there is no key in it.
///
/// # Safety
/// It is null or a null-terminated string, and was parsed.
unsafe fn redacted(text: *const c_char) -> *const c_char {
    if text.is_null() || !settings::redact_logs() {
        return text;
    }
    // SAFETY: the caller's. What is masked in place is the server's own memory (see above), and a copy
    // lives as long as what is being worked on, whose memory is the current.
    unsafe {
        let bytes = CStr::from_ptr(text).to_bytes_with_nul();
        if !redact::shows_key(bytes) {
            return text;
        }
        mask_activity();
        if serves_client() {
            // Executing a portal, the server shows one more copy, which was made of the portal's text.
            let shown = pg_sys::debug_query_string;
            mask_string(shown.cast_mut(), redact::redact_source);
            let portal = pg_sys::ActivePortal;
            if ptr::eq(text, shown) || (!portal.is_null() && ptr::eq(text, (*portal).sourceText)) {
                mask_string(text.cast_mut(), redact::redact_source);
                return text;
            }
        }
        let copy: *mut u8 = unguarded::palloc(bytes.len()).cast();
        copy.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        mask_string(copy.cast(), redact::redact_source);
        copy.cast()
    }
}

/// Whether this process does what a client says.
fn serves_client() -> bool {
    // SAFETY: set once, when the process starts.
    let kind = unsafe { pg_sys::MyBackendType };
    matches!(kind, BackendType::B_BACKEND | BackendType::B_WAL_SENDER)
}

/// After a statement was analysed (src/backend/parser/analyze.c), utility statements too.
unsafe extern "C-unwind" fn on_analyze(
    state: *mut ParseState,
    query: *mut Query,
    jumble: *mut JumbleState,
) {
    // SAFETY: the state is being used by the caller, for the positions of errors only from here on.
    unsafe {
        let text = redacted((*state).p_sourcetext);
        (*state).p_sourcetext = text;
        // Without places of constants, pg_stat_statements keeps the text as it is, and does not read
        // it once more.
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

/// What a prepared statement keeps is a copy that was made before it was analysed; here it is seen
/// for the first time (src/backend/utils/cache/plancache.c: CreateCachedPlan, BuildCachedPlan).
unsafe extern "C-unwind" fn on_plan(
    query: *mut Query,
    text: *const c_char,
    options: c_int,
    parameters: ParamListInfo,
) -> *mut PlannedStmt {
    // SAFETY: the arguments are passed on.
    unsafe {
        let text = redacted(text);
        match NEXT_PLANNER {
            Some(next) => next(query, text, options, parameters),
            None => unguarded::standard_planner(query, text, options, parameters),
        }
    }
}

/// Whose text is kept by pg_stat_statements and shown as the activity of parallel workers. A portal's
/// is a copy that was made before the statement was planned for the first time, and is what its
/// execution reports as the activity (src/backend/tcop/postgres.c: exec_bind_message).
unsafe extern "C-unwind" fn on_start(description: *mut QueryDesc, flags: c_int) {
    // SAFETY: the text is the description's own to point to, and is read by nobody for its meaning.
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

/// Frees a copy together with what its execution has used: an SQL function starts one for each call,
/// in memory that lives as long as the calling statement (src/backend/executor/functions.c).
///
/// # Safety
/// The copy was allocated before the state, in the memory that the state's is a child of.
unsafe fn free_with(state: *mut EState, copy: *const c_char) {
    // SAFETY: the caller's; children are deleted before their parent is reset
    // (src/backend/utils/mmgr/mcxt.c), and ExecutorEnd deletes the state last.
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

unsafe extern "C-unwind" fn free(copy: *mut c_void) {
    // SAFETY: see `free_with`.
    unsafe { unguarded::pfree(copy) }
}

/// Utility statements, prepared and nested ones too.
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
    // SAFETY: the arguments are passed on; the text is for messages only (src/backend/tcop/utility.c).
    unsafe {
        let text = redacted(text);
        let next = NEXT_UTILITY.unwrap_or(unguarded::standard_ProcessUtility);
        next(statement, text, read_only, context, parameters, environment, receiver, completion);
    }
}

/// What was never parsed stays in pg_stat_activity until the next statement: after a syntax error that
/// is not logged, for example.
unsafe extern "C-unwind" fn on_transaction_end(event: XactEvent::Type, _: *mut c_void) {
    let ended = matches!(event, XactEvent::XACT_EVENT_ABORT | XactEvent::XACT_EVENT_COMMIT);
    if ended && settings::redact_logs() {
        mask_activity();
    }
}

/// The same with a savepoint: the transaction goes on.
unsafe extern "C-unwind" fn on_subtransaction_end(
    event: SubXactEvent::Type,
    _: SubTransactionId,
    _: SubTransactionId,
    _: *mut c_void,
) {
    if event == SubXactEvent::SUBXACT_EVENT_ABORT_SUB && settings::redact_logs() {
        mask_activity();
    }
}
