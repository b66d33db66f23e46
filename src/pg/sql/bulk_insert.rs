//! Rows that the calls of one statement insert, into tables that stay open until it ends.
//!
//! To start the executor for a row is dearer than the row: tables and indexes are opened, and the
//! expressions of CHECK constraints are read from the catalogue, each time. Here they are opened at a
//! statement's second call, and a row goes the way of the server's own bulk loaders (COPY FROM,
//! src/backend/commands/copyfrom.c, and the apply worker of logical replication), by
//! ExecSimpleRelationInsert (src/backend/executor/execReplication.c): defaults, constraints, indexes
//! and WAL are the server's.
//!
//! Triggers that fire after each row do so when the call's rows are in. What only the executor can do is
//! left to it: a table with other triggers, rules, row security, generated columns or a column whose
//! type was changed is not inserted into in this way.
//!
//! What is state is plain data in memory of the calling statement. It is found through the statement's
//! list of expression contexts, and ended by the callback there when the statement ends. After an error
//! there is no callback: the resource owner closes the relations, as it does for any statement.

use core::ffi::{CStr, c_char};
use core::{ptr, slice};

use pgrx::pg_sys::{
    self, CommandId, Datum, EState, ExprContext, ExprState, Oid, Relation, ResultRelInfo,
    SubTransactionId, Trigger, TriggerDesc, TupleTableSlot,
};

use crate::pg::call::Call;
use crate::pg::ffi::guard::guarded;
use crate::pg::ffi::unguarded;
use crate::pg::read::snapshot;
use crate::pg::types::Parameter;

/// A table of the schema `vpk`, and those of its columns that a row has values for.
pub struct Table {
    /// Its name.
    pub name: &'static CStr,
    /// Names and types; the others take their defaults.
    pub columns: &'static [(&'static CStr, Oid)],
}

/// The tables that one statement holds open.
#[derive(Clone, Copy)]
pub struct Bulk(*mut StatementState);

/// The tables of one bulk.
const TABLES: usize = 2;
/// The longest text that is remembered, in bytes: that of 255 characters of 4.
const REMEMBERED: usize = 1020;

#[repr(C)]
struct StatementState {
    calls: Calls,
    /// Where the first call was.
    subtransaction: SubTransactionId,
    /// Whether the statement itself changes rows, which the command counter does not tell.
    changes_rows: bool,
    estate: *mut EState,
    open: [Open; TABLES],
    remembered: [u8; REMEMBERED],
    remembered_length: usize,
    remembered_in: (SubTransactionId, CommandId),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Calls {
    /// One so far, by the executor.
    One,
    /// The tables are open.
    Open,
    /// They need the executor.
    Executor,
}

/// A table as it is inserted into.
#[derive(Clone, Copy)]
struct Open {
    relation: Relation,
    result: *mut ResultRelInfo,
    slot: *mut TupleTableSlot,
    /// For each given column, its place in the slot.
    places: *mut usize,
    given: usize,
    /// For each place, the expression of the default, or null.
    defaults: *mut *mut ExprState,
}

const LOCK: pg_sys::LOCKMODE = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
const KEEP_LOCK: pg_sys::LOCKMODE = pg_sys::NoLock as pg_sys::LOCKMODE;

/// Room for what a later minor release appends to the structure.
const SPARE: usize = 256;

impl Bulk {
    /// The bulk of the calling statement. None is for the executor: at the statement's first call, and
    /// where the tables, or the transaction, ask for more than an insertion.
    pub fn of_statement(call: &Call, tables: &[Table; TABLES]) -> Option<Bulk> {
        // SAFETY: a set-returning function's resultinfo is a ReturnSetInfo (src/backend/executor/
        // execSRF.c); its context belongs to the statement that calls, whose memory outlives the call.
        // What is state was put there by `begin`.
        unsafe {
            if pg_sys::XactReadOnly || pg_sys::IsInParallelMode() || access_is_audited() {
                return None;
            }
            let statement = statement(call)?;
            let Some(state) = find(statement) else {
                begin(statement);
                return None;
            };
            // A cursor outlives the savepoint in which it is read. What the tables looked like there
            // may have been undone: their columns, indexes and constraints.
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
            usable.then_some(Bulk(state))
        }
    }

    /// Inserts rows: for each table in turn the values of its given columns, in order. What was inserted
    /// is visible to what comes next, as after any statement.
    ///
    /// Returns whether nothing else was written: no trigger has, for example.
    pub fn insert(self, rows: [&[Parameter]; TABLES]) -> bool {
        // SAFETY: what is state is this statement's.
        let open = unsafe { (*self.0).open };
        for (open, row) in open.iter().zip(rows) {
            assert_eq!(row.len(), open.given, "values of a row");
        }
        let (_, before) = command_position();
        guarded(|| {
            // SAFETY: triggers are queued and fired as by create_edata_for_relation and
            // finish_edata of src/backend/replication/logical/worker.c; then nothing of the rows is
            // used any more.
            unsafe {
                let estate = (*self.0).estate;
                // What constraints, defaults and triggers read is what a statement of its own would.
                unguarded::PushActiveSnapshot(snapshot::latest());
                let triggers = open.iter().any(|open| !(*open.result).ri_TrigDesc.is_null());
                if triggers {
                    unguarded::AfterTriggerBeginQuery();
                }
                for (open, row) in open.iter().zip(&rows) {
                    self.insert_unguarded(*open, row);
                }
                if triggers {
                    unguarded::AfterTriggerEndQuery(estate);
                }
                let context = (*estate).es_per_tuple_exprcontext;
                unguarded::MemoryContextReset((*context).ecxt_per_tuple_memory);
                unguarded::PopActiveSnapshot();
                unguarded::CommandCounterIncrement();
            }
        });
        let (_, after) = command_position();
        after == before.wrapping_add(1)
    }

    /// Unguarded: see [`crate::pg::ffi::unguarded`].
    fn insert_unguarded(self, open: Open, row: &[Parameter]) {
        // SAFETY: the slot has as many values as the table has columns, and places are among them. An
        // expression is evaluated as ExecEvalExprSwitchContext of src/include/executor/executor.h
        // does; the memory of the row is reset by `insert`.
        unsafe {
            let slot = open.slot;
            let clear = (*(*slot).tts_ops).clear.expect("every kind of slot has it");
            clear(slot);
            let columns = (*(*slot).tts_tupleDescriptor).natts as usize;
            let context = (*(*self.0).estate).es_per_tuple_exprcontext;
            for column in 0..columns {
                let default = *open.defaults.add(column);
                let (mut value, mut null) = (Datum::null(), true);
                if !default.is_null() {
                    let evaluate = (*default).evalfunc.expect("ExecInitExpr sets it");
                    let old = pg_sys::CurrentMemoryContext;
                    pg_sys::CurrentMemoryContext = (*context).ecxt_per_tuple_memory;
                    value = evaluate(default, context, &mut null);
                    pg_sys::CurrentMemoryContext = old;
                }
                *(*slot).tts_values.add(column) = value;
                *(*slot).tts_isnull.add(column) = null;
            }
            for (place, value) in slice::from_raw_parts(open.places, open.given).iter().zip(row) {
                *(*slot).tts_values.add(*place) = value.unwrap_or(Datum::null());
                *(*slot).tts_isnull.add(*place) = value.is_none();
            }
            unguarded::ExecStoreVirtualTuple(slot);
            unguarded::ExecSimpleRelationInsert(open.result, (*self.0).estate, slot);
            clear(slot);
        }
    }

    /// Remembers a text, for as long as the transaction does nothing else.
    pub fn remember(self, text: &[u8]) {
        // SAFETY: what is state is this statement's, and used by one call at a time.
        let state = unsafe { &mut *self.0 };
        state.remembered_length = 0;
        if text.len() <= REMEMBERED && !state.changes_rows {
            state.remembered[..text.len()].copy_from_slice(text);
            state.remembered_length = text.len();
            state.remembered_in = command_position();
        }
    }

    /// Whether the text is the one that is remembered, and the transaction has done nothing since:
    /// neither written a row nor begun or ended a savepoint.
    pub fn remembers(self, text: &[u8]) -> bool {
        // SAFETY: as above.
        let state = unsafe { &*self.0 };
        state.remembered_length > 0
            && state.remembered[..state.remembered_length] == *text
            && state.remembered_in == command_position()
    }
}

/// Where the own transaction is.
fn command_position() -> (SubTransactionId, CommandId) {
    // SAFETY: both read a variable of src/backend/access/transam/xact.c.
    unsafe { (pg_sys::GetCurrentSubTransactionId(), pg_sys::GetCurrentCommandId(false)) }
}

/// The state of the statement that calls a set-returning function.
unsafe fn statement(call: &Call) -> Option<*mut EState> {
    // SAFETY: the caller's; every pointer on the way may be null where there is no statement.
    unsafe {
        let result: *mut pg_sys::ReturnSetInfo = call.info().as_ref()?.resultinfo.cast();
        if result.is_null() || (*result).type_ != pg_sys::NodeTag::T_ReturnSetInfo {
            return None;
        }
        let context = (*result).econtext.as_ref()?;
        (!context.ecxt_estate.is_null()).then_some(context.ecxt_estate)
    }
}

/// Whether an extension checks or records each access to a table, as pgaudit and sepgsql do.
fn access_is_audited() -> bool {
    // SAFETY: a pointer that is set when libraries are loaded (src/backend/executor/execMain.c).
    let hook = unsafe { pg_sys::ExecutorCheckPerms_hook };
    hook.is_some()
}

/// What the statement holds, where this was not its first call.
unsafe fn find(statement: *mut EState) -> Option<*mut StatementState> {
    // SAFETY: the list is of expression contexts (src/backend/executor/execUtils.c). The callback is
    // registered by `begin` only.
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

/// Notes the first call.
unsafe fn begin(statement: *mut EState) {
    // SAFETY: zeroes are a StatementState without tables, and `calls` is set. The expression context and its
    // callback live until FreeExecutorState.
    unsafe {
        let memory = (*statement).es_query_cxt;
        let state: *mut StatementState =
            pg_sys::MemoryContextAllocZero(memory, size_of::<StatementState>()).cast();
        (*state).calls = Calls::One;
        (*state).subtransaction = command_position().0;
        (*state).changes_rows = changes_rows(statement);
        let context = pg_sys::CreateExprContext(statement);
        pg_sys::RegisterExprContextCallback(context, Some(end), Datum::from(state));
    }
}

/// Whether a statement updates or deletes rows itself. It does so by the number of the command with
/// which it began, however many there have been since.
unsafe fn changes_rows(statement: *mut EState) -> bool {
    // SAFETY: the plan is null, or the statement's own.
    unsafe { (*statement).es_plannedstmt.as_ref() }.is_none_or(|plan| {
        let command = plan.commandType;
        plan.hasModifyingCTE
            || (command != pg_sys::CmdType::CMD_SELECT && command != pg_sys::CmdType::CMD_INSERT)
    })
}

/// Opens the tables, all or none.
unsafe fn open(
    state: *mut StatementState,
    statement: *mut EState,
    tables: &[Table; TABLES],
) -> bool {
    // SAFETY: all of it lives in the statement's memory, below which CreateExecutorState makes its own.
    unsafe {
        let old = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = (*statement).es_query_cxt;
        let estate = pg_sys::CreateExecutorState();
        pg_sys::CurrentMemoryContext = (*estate).es_query_cxt;
        pg_sys::MakePerTupleExprContext(estate);
        (*state).estate = estate;
        let opened = tables
            .iter()
            .zip(&mut (*state).open)
            .all(|(table, room)| open_table(estate, table).inspect(|open| *room = *open).is_some());
        pg_sys::CurrentMemoryContext = old;
        if !opened {
            guarded(|| close(state));
        }
        opened
    }
}

/// Opens a table with its indexes, in the current memory, if a row needs no more than to be inserted.
unsafe fn open_table(estate: *mut EState, table: &Table) -> Option<Open> {
    // SAFETY: as for any insertion, the relation is locked before anything about it is read. A table
    // that was dropped or renamed before the lock was had is left to the executor.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"vpk".as_ptr(), true);
        let named = || pg_sys::get_relname_relid(table.name.as_ptr(), schema);
        let relation = pg_sys::try_table_open(named(), LOCK);
        if relation.is_null() {
            return None;
        }
        let oid = (*relation).rd_id;
        let allowed = pg_sys::pg_class_aclcheck(
            oid,
            pg_sys::GetUserId(),
            pg_sys::ACL_INSERT as pg_sys::AclMode,
        ) == pg_sys::AclResult::ACLCHECK_OK;
        let columns = if named() == oid && is_plain(relation) && allowed {
            columns(relation, table)
        } else {
            None
        };
        let Some((places, defaults)) = columns else {
            pg_sys::table_close(relation, KEEP_LOCK);
            return None;
        };
        let result: *mut ResultRelInfo = pg_sys::palloc0(size_of::<ResultRelInfo>() + SPARE).cast();
        (*result).type_ = pg_sys::NodeTag::T_ResultRelInfo;
        pg_sys::InitResultRelInfo(result, relation, 0, ptr::null_mut(), 0);
        // There the triggers find it.
        (*estate).es_opened_result_relations =
            pg_sys::lappend((*estate).es_opened_result_relations, result.cast());
        pg_sys::ExecOpenIndices(result, false);
        let slot = pg_sys::table_slot_create(relation, ptr::null_mut());
        Some(Open { relation, result, slot, places, given: table.columns.len(), defaults })
    }
}

/// Whether a row is inserted as it is, and no more happens than triggers after it.
unsafe fn is_plain(relation: Relation) -> bool {
    // SAFETY: the relation is open.
    unsafe {
        let relation = &*relation;
        let triggers = relation.trigdesc.as_ref();
        (*relation.rd_rel).relkind as u8 == pg_sys::RELKIND_RELATION
            && !(*relation.rd_rel).relrowsecurity
            && relation.rd_rules.is_null()
            && triggers.is_none_or(|triggers| {
                !(triggers.trig_insert_before_row
                    || triggers.trig_insert_instead_row
                    || triggers.trig_insert_before_statement
                    || triggers.trig_insert_after_statement
                    || triggers.trig_insert_new_table)
            })
    }
}

/// Whether the indexes of a table are those with which it was opened. The server makes none for a table
/// in use, but where it is attached to a partitioned one. Also false while they are not known.
unsafe fn same_indexes(open: &Open) -> bool {
    // SAFETY: the relation is open; its list is null where there are none (src/backend/utils/cache/
    // relcache.c: RelationGetIndexList). ExecOpenIndices has opened as many as it says.
    unsafe {
        let now = match (*open.relation).rd_indexlist.as_ref() {
            Some(list) => slice::from_raw_parts(list.elements, list.length as usize),
            None => &[],
        };
        let opened: &[Relation] = match (*open.result).ri_NumIndices as usize {
            0 => &[],
            number => slice::from_raw_parts((*open.result).ri_IndexRelationDescs, number),
        };
        (*open.relation).rd_indexvalid
            && now
                .iter()
                .map(|index| index.oid_value)
                .eq(opened.iter().map(|index| (**index).rd_id))
    }
}

/// Whether the triggers of a table are those with which it was opened.
unsafe fn same_triggers(now: *const TriggerDesc, opened: *const TriggerDesc) -> bool {
    // SAFETY: both are null, or have as many triggers as they say (src/include/utils/reltrigger.h).
    unsafe {
        let of = |triggers: *const TriggerDesc| match triggers.as_ref() {
            Some(all) => slice::from_raw_parts(all.triggers, all.numtriggers as usize),
            None => &[],
        };
        let (now, opened) = (of(now), of(opened));
        now.len() == opened.len()
            && now.iter().zip(opened).all(|(now, opened)| same_trigger(now, opened))
    }
}

/// Whether a trigger is the same, and has not been replaced.
unsafe fn same_trigger(now: &Trigger, opened: &Trigger) -> bool {
    // SAFETY: a trigger has as many arguments as it says, and the condition is null where it has none.
    unsafe {
        let text = |text: *mut c_char| (!text.is_null()).then(|| CStr::from_ptr(text));
        let what = |trigger: &Trigger| {
            (trigger.tgoid, trigger.tgfoid, trigger.tgtype, trigger.tgenabled, trigger.tgnargs)
        };
        what(now) == what(opened)
            && text(now.tgqual) == text(opened.tgqual)
            && (0..now.tgnargs as usize)
                .all(|n| text(*now.tgargs.add(n)) == text(*opened.tgargs.add(n)))
    }
}

/// The places of the given columns, and the default of each of the others, null where it has none. None
/// where a column is not what its name promises, or is computed from others.
unsafe fn columns(relation: Relation, table: &Table) -> Option<(*mut usize, *mut *mut ExprState)> {
    // SAFETY: the arrays have room for every column; the relation is open. Defaults are prepared as
    // BeginCopyFrom of src/backend/commands/copyfrom.c does.
    unsafe {
        let oid = (*relation).rd_id;
        let number = (*(*relation).rd_att).natts;
        let places: *mut usize = pg_sys::palloc0(size_of::<usize>() * table.columns.len()).cast();
        let defaults: *mut *mut ExprState =
            pg_sys::palloc0(size_of::<*mut ExprState>() * number as usize).cast();
        let mut found = 0;
        for (place, attribute) in (1..=number as pg_sys::AttrNumber).enumerate() {
            let (mut kind, mut modifier, mut collation) = (Oid::INVALID, 0, Oid::INVALID);
            pg_sys::get_atttypetypmodcoll(oid, attribute, &mut kind, &mut modifier, &mut collation);
            if kind == Oid::INVALID {
                continue; // a dropped column is null
            }
            if pg_sys::get_attgenerated(oid, attribute) != 0 {
                return None;
            }
            let name = CStr::from_ptr(pg_sys::get_attname(oid, attribute, false));
            if let Some(given) = table.columns.iter().position(|(column, _)| *column == name) {
                if kind != table.columns[given].1 || modifier >= 0 {
                    return None;
                }
                *places.add(given) = place;
                found += 1;
            } else {
                let default = pg_sys::build_column_default(relation, attribute.into());
                if !default.is_null() {
                    let planned = pg_sys::expression_planner(default.cast());
                    *defaults.add(place) = pg_sys::ExecInitExpr(planned, ptr::null_mut());
                }
            }
        }
        (found == table.columns.len()).then_some((places, defaults))
    }
}

/// Closes what is open; the tables stay locked. Unguarded: see [`crate::pg::ffi::unguarded`].
unsafe fn close(state: *mut StatementState) {
    // SAFETY: a table that was not opened is null.
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
unsafe extern "C-unwind" fn end(state: Datum) {
    // SAFETY: the argument that `begin` registered; no frame here has a destructor.
    unsafe {
        let state: *mut StatementState = state.cast_mut_ptr();
        if (*state).calls == Calls::Open {
            close(state);
        }
    }
}
