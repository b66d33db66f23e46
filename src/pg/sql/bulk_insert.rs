//! Insertion of rows by the calls of one statement, into tables that stay open until it ends.
//!
//! The executor costs more to start than a row costs to insert: each time, it opens tables and
//! indexes and reads the expressions of CHECK constraints from the catalogue. Here they are opened
//! at a statement's second call. A row is then inserted by ExecSimpleRelationInsert
//! (src/backend/executor/execReplication.c), as the apply worker of logical replication inserts it,
//! in the way of COPY FROM (src/backend/commands/copyfrom.c). Defaults, constraints, indexes and
//! WAL are the server's work.
//!
//! Triggers that fire after each row fire when the call's rows are inserted. The executor inserts
//! into a table with other triggers, rules, row security, generated columns or a column whose type
//! was changed.
//!
//! The state is plain data in memory of the calling statement. It is found through the statement's
//! list of expression contexts. The callback there ends it when the statement ends. After an error
//! there is no callback: the resource owner closes the relations, as it does for any statement.

use core::marker::PhantomData;
use core::{ptr, slice};

use pgrx::pg_sys::{self, CommandId, Datum, EState, ExprContext, SubTransactionId};

use crate::pg::call::Call;
use crate::pg::ffi::guard::guarded;
use crate::pg::ffi::{compat, guarded, unguarded};
use crate::pg::read::snapshot;
use crate::pg::redaction::hash;
use crate::pg::server::setting_level;
use crate::pg::sql::bulk_table::{
    KEEP_LOCK, Open, Table, is_plain, open_table, same_indexes, same_triggers,
};
use crate::pg::types::{Parameter, TypedDatum};

/// The tables that one statement holds open.
#[derive(Clone, Copy)]
pub struct Bulk<'call> {
    /// The state of the calling statement, with open tables.
    state: *mut StatementState,
    /// The call.
    call: PhantomData<&'call Call>,
}

/// The number of tables of one bulk.
const TABLES: usize = 2;
/// The longest text that is remembered, in bytes: 255 characters of 4 bytes.
const REMEMBERED: usize = 1020;

/// What [`Bulk::insert`] has inserted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// The rows, and nothing else was written.
    Alone,
    /// The rows, and a trigger wrote more, for example.
    WithMore,
    /// Not the rows that a table leaves out because they conflict.
    Partly,
}

/// The state of a statement that calls for rows. All zeroes are a state without tables.
#[repr(C)]
struct StatementState {
    /// The calls so far.
    calls: Calls,
    /// The subtransaction of the first call.
    subtransaction: SubTransactionId,
    /// Whether the statement itself changes rows, which does not show in the command counter.
    changes_rows: bool,
    /// The executor's state for the insertions.
    estate: *mut EState,
    /// The open tables.
    open: [Open; TABLES],
    /// The text that is remembered.
    remembered: [u8; REMEMBERED],
    /// Its length in bytes; 0 where there is none.
    remembered_length: usize,
    /// The position of the transaction when the text was remembered.
    remembered_in: (SubTransactionId, CommandId),
}

/// The calls of a statement so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Calls {
    /// There was one, whose rows the executor has inserted.
    One,
    /// There were more, and the tables are open.
    Open,
    /// There were more, and the executor inserts their rows.
    Executor,
}

impl<'call> Bulk<'call> {
    /// The bulk of the calling statement. With None, the caller lets the executor insert: at the
    /// statement's first call, and where the tables or the transaction need more than an insertion.
    pub fn of_statement(call: &'call Call, tables: &[Table; TABLES]) -> Option<Bulk<'call>> {
        // SAFETY: a set-returning function's resultinfo is a ReturnSetInfo, whose context belongs
        // to the calling statement (src/backend/executor/execSRF.c). The statement's memory
        // outlives the call. `begin` has made the state that `find` finds. Where its tables are
        // open, their relations are.
        unsafe {
            if pg_sys::XactReadOnly || pg_sys::IsInParallelMode() || access_is_audited() {
                return None;
            }
            let statement = statement(call)?;
            let Some(state) = find(statement) else {
                begin(statement);
                return None;
            };
            // A cursor outlives the savepoint in which it is read. A rollback to that savepoint may
            // have undone changes of the tables' columns, indexes and constraints.
            if (*state).subtransaction != command_position().0 {
                return None;
            }
            if (*state).calls == Calls::One {
                (*state).calls =
                    if open(state, statement, tables) { Calls::Open } else { Calls::Executor };
            }
            let usable = (*state).calls == Calls::Open
                && (*state).open.iter().all(|open| {
                    is_plain(open.relation)
                        && same_indexes(open)
                        && same_triggers((*open.relation).trigdesc, (*open.result).ri_TrigDesc)
                });
            usable.then_some(Bulk { state, call: PhantomData })
        }
    }

    /// Inserts rows: for each table in turn the values of its given columns, in order. The next
    /// statement sees them, as after any statement. Panics where a value is not of its column's
    /// type.
    ///
    /// A row that conflicts is left out where its table says so.
    pub fn insert(self, call: &Call, rows: [&[Parameter]; TABLES]) -> Inserted {
        // SAFETY: the state is this statement's, and its tables are open.
        let open = unsafe { (*self.state).open };
        for (open, row) in open.iter().zip(rows) {
            assert_eq!(row.len(), open.given, "values of a row");
            // SAFETY: `open_table` has set both.
            let columns = unsafe { slice::from_raw_parts(open.columns, open.given) };
            for (value, (name, kind)) in row.iter().zip(columns) {
                let fits = value.is_none_or(|value| value.of_type(*kind).is_some());
                assert!(fits, "the type of column {name:?}");
            }
        }
        rows.iter().for_each(|row| hash::note(call, row));
        let (_, before) = command_position();
        // SAFETY: `open_table` has set the results.
        let triggers = unsafe { open.iter().any(|open| !(*open.result).ri_TrigDesc.is_null()) };
        // SAFETY: triggers are queued and fired as by create_edata_for_relation and finish_edata of
        // src/backend/replication/logical/worker.c. Then nothing uses the rows any more. The values
        // are of their columns' types. The closure holds plain data, and cannot panic.
        let insert = || unsafe {
            guarded(|| {
                let estate = (*self.state).estate;
                // Constraints, defaults and triggers read by the snapshot of a statement of its
                // own.
                unguarded::PushActiveSnapshot(snapshot::latest().as_ptr());
                if triggers {
                    unguarded::AfterTriggerBeginQuery();
                }
                let mut complete = true;
                for (open, row) in open.iter().zip(&rows) {
                    complete &= insert_unguarded(estate, *open, row);
                }
                if triggers {
                    unguarded::AfterTriggerEndQuery(estate);
                }
                let context = (*estate).es_per_tuple_exprcontext;
                unguarded::MemoryContextReset((*context).ecxt_per_tuple_memory);
                unguarded::PopActiveSnapshot();
                unguarded::CommandCounterIncrement();
                complete
            })
        };
        let complete = hash::without_hashes_in_errors(|| match triggers {
            true => setting_level::in_own_level(insert),
            false => insert(),
        });
        let (_, after) = command_position();
        match complete {
            false => Inserted::Partly,
            true if after == before.wrapping_add(1) => Inserted::Alone,
            true => Inserted::WithMore,
        }
    }

    /// Remembers a text, for as long as the transaction does nothing else.
    pub fn remember(self, text: &[u8]) {
        // SAFETY: the state is this statement's, and one call at a time uses it.
        let state = unsafe { &mut *self.state };
        state.remembered_length = 0;
        if text.len() <= REMEMBERED && !state.changes_rows {
            state.remembered[..text.len()].copy_from_slice(text);
            state.remembered_length = text.len();
            state.remembered_in = command_position();
        }
    }

    /// Whether the text is the one that is remembered, and the transaction has done nothing since:
    /// it has neither written a row nor begun or ended a savepoint.
    pub fn remembers(self, text: &[u8]) -> bool {
        // SAFETY: the state is this statement's, and one call at a time uses it.
        let state = unsafe { &*self.state };
        state.remembered_length > 0
            && state.remembered[..state.remembered_length] == *text
            && state.remembered_in == command_position()
    }
}

/// Inserts a row; false where it conflicts and is left out. Unguarded: see
/// [`crate::pg::ffi::unguarded`].
///
/// # Safety
/// The table is open for the executor's state. The row has a value of its type, or null, for each
/// given column.
unsafe fn insert_unguarded(estate: *mut EState, open: Open, row: &[Parameter]) -> bool {
    // SAFETY: the caller's. The slot has as many values as the table has columns, and each place is
    // one of them. An expression is evaluated as by ExecEvalExprSwitchContext of
    // src/include/executor/executor.h; ExecInitExpr has set its function. `insert` resets the
    // memory of the row. Every kind of slot has a function to clear it
    // (src/include/executor/tuptable.h). Nothing here panics, which the guard of the caller would
    // not survive: hence the unchecked unwraps.
    unsafe {
        let slot = open.slot;
        let clear = (*(*slot).tts_ops).clear.unwrap_unchecked();
        clear(slot);
        let columns = (*(*slot).tts_tupleDescriptor).natts as usize;
        let context = (*estate).es_per_tuple_exprcontext;
        for column in 0..columns {
            let default = *open.defaults.add(column);
            let (mut value, mut null) = (Datum::null(), true);
            if !default.is_null() {
                let evaluate = (*default).evalfunc.unwrap_unchecked();
                let old = pg_sys::CurrentMemoryContext;
                pg_sys::CurrentMemoryContext = (*context).ecxt_per_tuple_memory;
                value = evaluate(default, context, &mut null);
                pg_sys::CurrentMemoryContext = old;
            }
            *(*slot).tts_values.add(column) = value;
            *(*slot).tts_isnull.add(column) = null;
        }
        for (place, value) in slice::from_raw_parts(open.places, open.given).iter().zip(row) {
            *(*slot).tts_values.add(*place) = value.map_or(Datum::null(), TypedDatum::value);
            *(*slot).tts_isnull.add(*place) = value.is_none();
        }
        unguarded::ExecStoreVirtualTuple(slot);
        let free = open.arbiters.is_null()
            || compat::is_key_free_unguarded(open.result, slot, estate, open.arbiters);
        if free {
            unguarded::ExecSimpleRelationInsert(open.result, estate, slot);
        }
        clear(slot);
        free
    }
}

/// The position of the own transaction.
fn command_position() -> (SubTransactionId, CommandId) {
    // SAFETY: both functions read a variable (src/backend/access/transam/xact.c).
    unsafe { (pg_sys::GetCurrentSubTransactionId(), pg_sys::GetCurrentCommandId(false)) }
}

/// The executor's state of the statement that calls a set-returning function.
fn statement(call: &Call) -> Option<*mut EState> {
    // SAFETY: the result's information is null or a node, whose type is checked. Each pointer on
    // the way may be null where there is no statement (src/include/nodes/execnodes.h).
    unsafe {
        let result: *mut pg_sys::ReturnSetInfo = call.info()?.resultinfo.cast();
        if result.is_null() || (*result).type_ != pg_sys::NodeTag::T_ReturnSetInfo {
            return None;
        }
        let context = (*result).econtext.as_ref()?;
        (!context.ecxt_estate.is_null()).then_some(context.ecxt_estate)
    }
}

/// Whether an extension checks or records each access to a table, as pgaudit and sepgsql do.
fn access_is_audited() -> bool {
    // SAFETY: reads a variable that is set when libraries are loaded
    // (src/backend/executor/execMain.c).
    let hook = unsafe { pg_sys::ExecutorCheckPerms_hook };
    hook.is_some()
}

/// The state of a statement, where this is not its first call.
///
/// # Safety
/// The statement is being executed.
unsafe fn find(statement: *mut EState) -> Option<*mut StatementState> {
    // SAFETY: the caller's. The list is of expression contexts (src/backend/executor/execUtils.c).
    // Only `begin` registers the callback, with a state as its argument.
    unsafe {
        let list = (*statement).es_exprcontexts.as_ref()?;
        let contexts = slice::from_raw_parts(list.elements, list.length as usize);
        contexts.iter().find_map(|cell| {
            let context: *mut ExprContext = cell.ptr_value.cast();
            let callback = (*context).ecxt_callbacks.as_ref()?;
            let ours = callback.function.is_some_and(|function| {
                ptr::fn_addr_eq(function, end as unsafe extern "C-unwind" fn(Datum))
            });
            ours.then(|| callback.arg.cast_mut_ptr())
        })
    }
}

/// Makes the state of a statement at its first call.
///
/// # Safety
/// The statement is being executed.
unsafe fn begin(statement: *mut EState) {
    // SAFETY: the caller's. All zeroes are a state without tables, and `calls` is set. The
    // expression context and its callback stay until FreeExecutorState
    // (src/backend/executor/execUtils.c).
    unsafe {
        let memory = (*statement).es_query_cxt;
        let state: *mut StatementState =
            guarded::MemoryContextAllocZero(memory, size_of::<StatementState>()).cast();
        (*state).calls = Calls::One;
        (*state).subtransaction = command_position().0;
        (*state).changes_rows = changes_rows(statement);
        let context = guarded::CreateExprContext(statement);
        guarded::RegisterExprContextCallback(context, Some(end), Datum::from(state));
    }
}

/// Whether a statement updates or deletes rows itself. Such rows get the number of the command with
/// which the statement began, although there have been more commands since.
///
/// # Safety
/// The statement is being executed.
unsafe fn changes_rows(statement: *mut EState) -> bool {
    // SAFETY: the caller's. The plan is null, or that of the statement
    // (src/include/nodes/execnodes.h).
    unsafe { (*statement).es_plannedstmt.as_ref() }.is_none_or(|plan| {
        let command = plan.commandType;
        plan.hasModifyingCTE
            || (command != pg_sys::CmdType::CMD_SELECT && command != pg_sys::CmdType::CMD_INSERT)
    })
}

/// Opens the tables, all or none.
///
/// # Safety
/// The state is that of the statement, which is being executed, and has no open tables.
unsafe fn open(
    state: *mut StatementState,
    statement: *mut EState,
    tables: &[Table; TABLES],
) -> bool {
    // SAFETY: the caller's. Everything is made in the statement's memory or in a child of it
    // (src/backend/executor/execUtils.c: CreateExecutorState). The guarded closure holds plain
    // data, and cannot panic.
    unsafe {
        let old = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = (*statement).es_query_cxt;
        let estate = guarded::CreateExecutorState();
        pg_sys::CurrentMemoryContext = (*estate).es_query_cxt;
        guarded::MakePerTupleExprContext(estate);
        (*state).estate = estate;
        let opened = tables
            .iter()
            .zip(&mut (*state).open)
            .all(|(table, room)| open_table(estate, table).inspect(|open| *room = *open).is_some());
        pg_sys::CurrentMemoryContext = old;
        if !opened {
            guarded(|| close_unguarded(state));
        }
        opened
    }
}

/// Closes the tables that are open, which stay locked. Unguarded: see
/// [`crate::pg::ffi::unguarded`].
///
/// # Safety
/// `open` has made the executor's state, and nothing uses it or the tables any more.
unsafe fn close_unguarded(state: *mut StatementState) {
    // SAFETY: the caller's. A table that was not opened is null
    // (src/backend/executor/execTuples.c, execIndexing.c, execUtils.c).
    unsafe {
        for open in (*state).open.iter().filter(|open| !open.relation.is_null()) {
            unguarded::ExecDropSingleTupleTableSlot(open.slot);
            unguarded::ExecCloseIndices(open.result);
            unguarded::table_close(open.relation, KEEP_LOCK);
        }
        let estate = (*state).estate;
        unguarded::ExecResetTupleTable((*estate).es_tupleTable, false);
        unguarded::FreeExecutorState(estate);
    }
}

/// Runs when the statement ends without an error (src/backend/executor/execUtils.c:
/// FreeExecutorState), under the resource owner under which it ran.
///
/// # Safety
/// The argument is the one that [`begin`] has registered.
unsafe extern "C-unwind" fn end(state: Datum) {
    // SAFETY: the caller's: the state stays until its callback has run. No frame here has a
    // destructor.
    unsafe {
        let state: *mut StatementState = state.cast_mut_ptr();
        if (*state).calls == Calls::Open {
            close_unguarded(state);
        }
    }
}
