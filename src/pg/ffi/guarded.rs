//! Server functions behind [`guarded`], for callers that may hold values with destructors.
//!
//! An error that one of them raises unwinds the frames of its caller, and then goes on as it was.
//! See [`super::guard`].

#![allow(non_snake_case, clippy::too_many_arguments, reason = "names and arguments are those of C")]

use core::ffi::{c_char, c_int, c_long, c_void};

use pgrx::pg_sys::{
    AclMode, AclResult, AttrNumber, Datum, EState, ErrorData, Expr, ExprContext,
    ExprContextCallbackFunction, ExprState, FullTransactionId, FunctionCallInfo, GucAction,
    GucContext, GucSource, HeapTuple, Index, LOCKMODE, LOCKTAG, List, LockAcquireResult,
    MemoryContext, Node, Oid, PlanState, Relation, ResultRelInfo, SPIPlanPtr, Size, Snapshot,
    SubTransactionId, SubXactCallback, TransactionId, TupleDesc, TupleTableSlot, Tuplestorestate,
    TypeFuncClass, XactCallback, pg_tz,
};

use crate::pg::ffi::guard::guarded;

/// Declares server functions, as C has them, and puts the guard around each.
macro_rules! guarded_functions {
    ($(fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)?;)+) => {
        $(
            #[doc = concat!("The server's `", stringify!($name), "`.")]
            ///
            /// # Safety
            /// As in C.
            #[inline]
            pub(in crate::pg) unsafe fn $name($($argument: $kind),*) $(-> $result)? {
                unsafe extern "C-unwind" {
                    fn $name($($argument: $kind),*) $(-> $result)?;
                }
                // SAFETY: the caller's. The closure holds plain data, and cannot panic.
                unsafe { guarded(|| $name($($argument),*)) }
            }
        )+
    };
}

// src/backend/executor/spi.c
guarded_functions! {
    fn SPI_connect() -> c_int;
    fn SPI_finish() -> c_int;
    fn SPI_prepare_cursor(
        text: *const c_char,
        count: c_int,
        types: *mut Oid,
        options: c_int,
    ) -> SPIPlanPtr;
    fn SPI_keepplan(plan: SPIPlanPtr) -> c_int;
    fn SPI_execute(text: *const c_char, read_only: bool, limit: c_long) -> c_int;
    fn SPI_execute_with_args(
        text: *const c_char,
        count: c_int,
        types: *mut Oid,
        values: *mut Datum,
        nulls: *const c_char,
        read_only: bool,
        limit: c_long,
    ) -> c_int;
    fn SPI_execute_snapshot(
        plan: SPIPlanPtr,
        values: *mut Datum,
        nulls: *const c_char,
        snapshot: Snapshot,
        crosscheck: Snapshot,
        read_only: bool,
        fire_triggers: bool,
        limit: c_long,
    ) -> c_int;
    fn SPI_getbinval(
        tuple: HeapTuple,
        descriptor: TupleDesc,
        number: c_int,
        null: *mut bool,
    ) -> Datum;
    fn SPI_datumTransfer(value: Datum, by_value: bool, length: c_int) -> Datum;
    fn SPI_gettypeid(descriptor: TupleDesc, number: c_int) -> Oid;
}

// src/backend/utils/time/snapmgr.c, src/backend/storage/ipc/procarray.c,
// src/backend/access/transam/xact.c, varsup.c
guarded_functions! {
    fn ActiveSnapshotSet() -> bool;
    fn GetActiveSnapshot() -> Snapshot;
    fn XidInMVCCSnapshot(transaction: TransactionId, snapshot: Snapshot) -> bool;
    fn GetTransactionSnapshot() -> Snapshot;
    fn GetSnapshotData(snapshot: Snapshot) -> Snapshot;
    fn PushActiveSnapshot(snapshot: Snapshot);
    fn PopActiveSnapshot();
    fn StartTransactionCommand();
    fn CommitTransactionCommand();
    fn GetCurrentSubTransactionId() -> SubTransactionId;
    fn RegisterXactCallback(callback: XactCallback, argument: *mut c_void);
    fn RegisterSubXactCallback(callback: SubXactCallback, argument: *mut c_void);
    fn GetTopFullTransactionIdIfAny() -> FullTransactionId;
    fn ReadNextFullTransactionId() -> FullTransactionId;
}

// src/backend/storage/lmgr/lock.c, lmgr.c
guarded_functions! {
    fn LockAcquire(
        tag: *const LOCKTAG,
        mode: LOCKMODE,
        for_session: bool,
        dont_wait: bool,
    ) -> LockAcquireResult::Type;
    fn LockRelease(tag: *const LOCKTAG, mode: LOCKMODE, for_session: bool) -> bool;
    fn LockRelationOid(relation: Oid, mode: LOCKMODE);
}

// src/backend/utils/misc/guc.c
guarded_functions! {
    fn NewGUCNestLevel() -> c_int;
    fn AtEOXact_GUC(commit: bool, level: c_int);
    fn GetConfigOption(
        name: *const c_char,
        missing_ok: bool,
        restrict_privileged: bool,
    ) -> *const c_char;
    fn GetConfigOptionFlags(name: *const c_char, missing_ok: bool) -> c_int;
    fn set_config_option(
        name: *const c_char,
        value: *const c_char,
        context: GucContext::Type,
        source: GucSource::Type,
        action: GucAction::Type,
        change: bool,
        level: c_int,
        reload: bool,
    ) -> c_int;
}

// src/backend/access/table/table.c, tableam.c, src/backend/executor/execMain.c, execIndexing.c,
// execUtils.c, execExpr.c, src/backend/optimizer/plan/planner.c,
// src/backend/rewrite/rewriteHandler.c
guarded_functions! {
    fn try_table_open(relation: Oid, mode: LOCKMODE) -> Relation;
    fn table_close(relation: Relation, mode: LOCKMODE);
    fn table_slot_create(relation: Relation, register: *mut *mut List) -> *mut TupleTableSlot;
    fn InitResultRelInfo(
        result: *mut ResultRelInfo,
        relation: Relation,
        index: Index,
        partition_root: *mut ResultRelInfo,
        instrument: c_int,
    );
    fn ExecOpenIndices(result: *mut ResultRelInfo, speculative: bool);
    fn CreateExecutorState() -> *mut EState;
    fn CreateExprContext(state: *mut EState) -> *mut ExprContext;
    fn MakePerTupleExprContext(state: *mut EState) -> *mut ExprContext;
    fn RegisterExprContextCallback(
        context: *mut ExprContext,
        function: ExprContextCallbackFunction,
        argument: Datum,
    );
    fn ExecInitExpr(node: *mut Expr, parent: *mut PlanState) -> *mut ExprState;
    fn expression_planner(expression: *mut Expr) -> *mut Expr;
    fn build_column_default(relation: Relation, attribute: c_int) -> *mut Node;
}

// src/backend/utils/cache/syscache.c, lsyscache.c, src/backend/catalog/namespace.c, aclchk.c,
// pg_depend.c, src/backend/commands/extension.c, src/backend/utils/init/miscinit.c,
// src/backend/utils/fmgr/funcapi.c
guarded_functions! {
    fn GetUserIdAndSecContext(role: *mut Oid, context: *mut c_int);
    fn SetUserIdAndSecContext(role: Oid, context: c_int);
    fn SearchSysCache1(cache: c_int, key: Datum) -> HeapTuple;
    fn SearchSysCache2(cache: c_int, first: Datum, second: Datum) -> HeapTuple;
    fn ReleaseSysCache(tuple: HeapTuple);
    fn get_namespace_oid(name: *const c_char, missing_ok: bool) -> Oid;
    fn get_relname_relid(name: *const c_char, namespace: Oid) -> Oid;
    fn get_func_name(function: Oid) -> *mut c_char;
    fn get_attname(relation: Oid, attribute: AttrNumber, missing_ok: bool) -> *mut c_char;
    fn get_attgenerated(relation: Oid, attribute: AttrNumber) -> c_char;
    fn get_atttypetypmodcoll(
        relation: Oid,
        attribute: AttrNumber,
        kind: *mut Oid,
        modifier: *mut i32,
        collation: *mut Oid,
    );
    fn get_typlenbyval(kind: Oid, length: *mut i16, by_value: *mut bool);
    fn type_is_enum(kind: Oid) -> bool;
    fn get_call_result_type(
        info: FunctionCallInfo,
        kind: *mut Oid,
        descriptor: *mut TupleDesc,
    ) -> TypeFuncClass::Type;
    fn get_extension_oid(name: *const c_char, missing_ok: bool) -> Oid;
    fn getExtensionOfObject(class: Oid, object: Oid) -> Oid;
    fn pg_class_aclcheck(relation: Oid, role: Oid, mode: AclMode) -> AclResult::Type;
    fn GetUserNameFromId(role: Oid, missing_ok: bool) -> *mut c_char;
}

// src/backend/utils/fmgr/fmgr.c
guarded_functions! {
    fn OidInputFunctionCall(
        function: Oid,
        text: *mut c_char,
        parameter: Oid,
        modifier: i32,
    ) -> Datum;
    fn OidOutputFunctionCall(function: Oid, value: Datum) -> *mut c_char;
}

// src/backend/utils/mmgr/mcxt.c, src/backend/nodes/list.c
guarded_functions! {
    fn palloc0(size: Size) -> *mut c_void;
    fn MemoryContextAllocZero(context: MemoryContext, size: Size) -> *mut c_void;
    fn lappend(list: *mut List, item: *mut c_void) -> *mut List;
    fn lappend_oid(list: *mut List, item: Oid) -> *mut List;
    fn RelationGetIndexList(relation: Relation) -> *mut List;
}

// src/timezone/pgtz.c
guarded_functions! {
    fn pg_tzset(name: *const c_char) -> *mut pg_tz;
}

// src/backend/utils/sort/tuplestore.c
guarded_functions! {
    fn tuplestore_begin_heap(
        random_access: bool,
        inter_transaction: bool,
        max_kilobytes: c_int,
    ) -> *mut Tuplestorestate;
    fn tuplestore_putvalues(
        store: *mut Tuplestorestate,
        columns: TupleDesc,
        values: *const Datum,
        nulls: *const bool,
    );
}

// src/backend/utils/error/elog.c
guarded_functions! {
    fn CopyErrorData() -> *mut ErrorData;
    fn ReThrowError(error: *mut ErrorData) -> !;
}
