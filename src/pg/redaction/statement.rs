//! The texts of statements, and the copies that the server keeps of them.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;

use pgrx::pg_sys::{
    self, DestReceiver, EState, JumbleState, MemoryContextCallback, ParamListInfo, ParseState,
    PlannedStmt, ProcessUtilityContext, Query, QueryCompletion, QueryDesc, QueryEnvironment,
};

use pure::key::redact;

use super::activity::redact_activity;
use super::{
    NEXT_ANALYZE, NEXT_PLANNER, NEXT_START, NEXT_UTILITY, redact_string, serves_client, shows_key,
};
use crate::pg::ffi::unguarded;
use crate::pg::server::settings;

/// The redacted text of a statement: the text itself where there is no key in it.
///
/// # Safety
/// The text is null or a null-terminated string, and was parsed.
unsafe fn redacted(text: *const c_char) -> *const c_char {
    // SAFETY: the caller's.
    unsafe { if settings::redact_logs() && shows_key(text) { without_key(text) } else { text } }
}

/// The redacted text of a statement with a key in it.
///
/// # Safety
/// The text is a null-terminated string, and was parsed.
unsafe fn without_key(text: *const c_char) -> *const c_char {
    // SAFETY: the caller's. A text that is redacted in place is in memory of the server and is not
    // parsed again (see the head of this module). A copy stays as long as the current memory
    // context, which is that of the statement.
    unsafe {
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
        let bytes = CStr::from_ptr(text).to_bytes_with_nul();
        let copy: *mut u8 = unguarded::palloc(bytes.len()).cast();
        copy.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        redact_string(copy.cast(), redact::redact_source);
        copy.cast()
    }
}

/// Redacts the texts that the plan cache keeps of the statement that is analysed now.
///
/// CreateCachedPlan makes such a copy before the statement is analysed. It is the identifier of its
/// memory context, by which pg_backend_memory_contexts and the report of an out of memory show it.
/// That context is a child of the one that is current until the statement is analysed
/// (src/backend/utils/cache/plancache.c; src/backend/tcop/postgres.c: exec_parse_message;
/// src/backend/executor/spi.c: _SPI_prepare_plan; in 18 src/backend/executor/functions.c).
///
/// # Safety
/// A statement is analysed.
unsafe fn redact_plan_cache() {
    // SAFETY: the children of a memory context are a list (src/include/nodes/memnodes.h). Only the
    // plan cache names a context so; the identifier is its copy of the text, which nothing parses.
    unsafe {
        let mut context = (*pg_sys::CurrentMemoryContext).firstchild;
        while !context.is_null() {
            if CStr::from_ptr((*context).name) == c"CachedPlanSource" {
                redact_string((*context).ident.cast_mut(), redact::redact_source);
            }
            context = (*context).nextchild;
        }
    }
}

/// Runs when a statement was analysed, also for a utility statement (src/backend/parser/analyze.c).
///
/// # Safety
/// The server calls it.
pub(super) unsafe extern "C-unwind" fn on_analyze(
    state: *mut ParseState,
    query: *mut Query,
    jumble: *mut JumbleState,
) {
    // SAFETY: the caller's. The text was parsed; the server reads the state's text from here on
    // only for the positions of errors (src/backend/parser/parse_node.c: parser_errposition).
    unsafe {
        let mut text = (*state).p_sourcetext;
        if settings::redact_logs() && shows_key(text) {
            redact_plan_cache();
            text = without_key(text);
        }
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

/// Runs when a statement is planned. The text may be that of a nested statement, which was left as
/// it is, or of one that was analysed while `vibepeak_keys.redact_logs` was off.
///
/// # Safety
/// The server calls it.
pub(super) unsafe extern "C-unwind" fn on_plan(
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
/// description, and parallel workers show it as their activity.
///
/// # Safety
/// The server calls it.
pub(super) unsafe extern "C-unwind" fn on_start(description: *mut QueryDesc, flags: c_int) {
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
pub(super) unsafe extern "C-unwind" fn on_utility(
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
