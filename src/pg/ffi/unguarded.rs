//! Server functions as C declares them, without pgrx's guard around each.
//!
//! pgrx catches every error a server function raises, copies parts of it and raises a new one. On the
//! way to an answer that must not happen: cancel, timeout, out of memory or a broken page pass
//! through unchanged, with their context and position, and no `sigsetjmp` is paid for each call. An
//! error leaves these functions by `siglongjmp` (src/backend/utils/error/elog.c: pg_re_throw), past
//! the Rust frames between here and the server's own handler.
//!
//! Hooks that run at each statement call on in the same way.
//!
//! The rule that makes it sound: **no frame above a call holds a value with a destructor**. All that
//! the callers keep is plain data in memory of the server (RFC 2945 of Rust, "plain old frames").

use core::ffi::{c_char, c_int, c_void};

use pgrx::pg_sys::{
    ArrayType, AttrNumber, Buffer, Datum, DestReceiver, EState, HeapTuple, IndexScanDesc, LOCKMODE,
    List, MemoryContext, MemoryContextCallback, Oid, ParamListInfo, PlannedStmt,
    ProcessUtilityContext, Query, QueryCompletion, QueryDesc, QueryEnvironment, RegProcedure,
    Relation, ResultRelInfo, ScanDirection, ScanKey, Size, Snapshot, StrategyNumber,
    TableAmRoutine, TimestampTz, TransactionId, TupleDesc, TupleTableSlot, Tuplestorestate,
    varlena,
};

unsafe extern "C-unwind" {
    // src/backend/access/table/table.c, src/backend/access/index/indexam.c
    pub fn try_table_open(relation: Oid, lock: LOCKMODE) -> Relation;
    pub fn table_close(relation: Relation, lock: LOCKMODE);
    pub fn index_open(index: Oid, lock: LOCKMODE) -> Relation;
    pub fn index_close(index: Relation, lock: LOCKMODE);
    pub fn index_rescan(
        scan: IndexScanDesc,
        keys: ScanKey,
        nkeys: c_int,
        orderbys: ScanKey,
        norderbys: c_int,
    );
    pub fn index_getnext_slot(
        scan: IndexScanDesc,
        direction: ScanDirection::Type,
        slot: *mut TupleTableSlot,
    ) -> bool;
    pub fn index_endscan(scan: IndexScanDesc);

    // src/backend/access/common/scankey.c
    pub fn ScanKeyEntryInitialize(
        entry: ScanKey,
        flags: c_int,
        attribute: AttrNumber,
        strategy: StrategyNumber,
        subtype: Oid,
        collation: Oid,
        procedure: RegProcedure,
        argument: Datum,
    );

    // src/backend/access/table/tableam.c, src/backend/executor/execTuples.c
    pub fn table_slot_create(relation: Relation, register: *mut *mut c_void)
    -> *mut TupleTableSlot;
    pub fn ExecDropSingleTupleTableSlot(slot: *mut TupleTableSlot);
    pub fn slot_getsomeattrs_int(slot: *mut TupleTableSlot, attribute: c_int);

    // src/backend/access/common/heaptuple.c, src/backend/access/common/tupdesc.c
    pub fn nocachegetattr(tuple: HeapTuple, attribute: c_int, descriptor: TupleDesc) -> Datum;
    pub fn CreateTupleDescCopy(descriptor: TupleDesc) -> TupleDesc;
    pub fn FreeTupleDesc(descriptor: TupleDesc);

    // src/backend/storage/buffer/bufmgr.c, src/backend/access/heap/heapam_visibility.c
    pub fn LockBuffer(buffer: Buffer, mode: c_int);
    pub fn ReleaseBuffer(buffer: Buffer);
    pub fn HeapTupleSatisfiesVisibility(
        tuple: HeapTuple,
        snapshot: Snapshot,
        buffer: Buffer,
    ) -> bool;

    // src/backend/utils/cache/inval.c
    pub fn AcceptInvalidationMessages();

    // src/backend/executor/execReplication.c, execIndexing.c, execTuples.c, execUtils.c
    pub fn ExecSimpleRelationInsert(
        result: *mut ResultRelInfo,
        state: *mut EState,
        slot: *mut TupleTableSlot,
    );
    pub fn ExecCloseIndices(result: *mut ResultRelInfo);
    pub fn ExecStoreVirtualTuple(slot: *mut TupleTableSlot) -> *mut TupleTableSlot;
    pub fn ExecResetTupleTable(slots: *mut List, free: bool);
    pub fn FreeExecutorState(state: *mut EState);

    // src/backend/commands/trigger.c
    pub fn AfterTriggerBeginQuery();
    pub fn AfterTriggerEndQuery(state: *mut EState);

    // src/backend/access/transam/xact.c
    pub fn CommandCounterIncrement();

    // src/backend/utils/time/snapmgr.c
    pub fn PushActiveSnapshot(snapshot: Snapshot);
    pub fn PopActiveSnapshot();

    // src/backend/utils/sort/tuplestore.c
    pub fn tuplestore_begin_heap(
        random_access: bool,
        inter_transaction: bool,
        max_kilobytes: c_int,
    ) -> *mut Tuplestorestate;
    pub fn tuplestore_putvalues(
        store: *mut Tuplestorestate,
        columns: TupleDesc,
        values: *const Datum,
        nulls: *const bool,
    );

    // src/backend/storage/lmgr/lmgr.c
    pub fn ConditionalLockRelationOid(relation: Oid, lock: LOCKMODE) -> bool;
    pub fn UnlockRelationOid(relation: Oid, lock: LOCKMODE);

    // src/backend/access/transam/xlog.c, src/backend/access/transam/xact.c
    pub fn RecoveryInProgress() -> bool;
    pub fn GetTopTransactionIdIfAny() -> TransactionId;

    // src/backend/storage/ipc/procarray.c
    pub fn GetSnapshotData(snapshot: Snapshot) -> Snapshot;

    // src/backend/access/common/detoast.c, src/backend/utils/fmgr/fmgr.c
    pub fn toast_raw_datum_size(value: Datum) -> Size;
    pub fn pg_detoast_datum(value: *mut varlena) -> *mut varlena;
    pub fn pg_detoast_datum_copy(value: *mut varlena) -> *mut varlena;
    pub fn pg_detoast_datum_packed(value: *mut varlena) -> *mut varlena;
    pub fn pg_detoast_datum_slice(value: *mut varlena, first: i32, count: i32) -> *mut varlena;

    // src/backend/utils/adt/arrayfuncs.c
    pub fn deconstruct_array(
        array: *mut ArrayType,
        element: Oid,
        length: c_int,
        by_value: bool,
        alignment: c_char,
        elements: *mut *mut Datum,
        nulls: *mut *mut bool,
        count: *mut c_int,
    );

    // src/backend/utils/mmgr/mcxt.c
    pub fn MemoryContextAlloc(context: MemoryContext, size: Size) -> *mut c_void;

    // src/backend/catalog/namespace.c, src/backend/utils/cache/lsyscache.c
    pub fn get_namespace_oid(name: *const c_char, missing_ok: bool) -> Oid;
    pub fn get_relname_relid(name: *const c_char, namespace: Oid) -> Oid;

    // src/backend/utils/mmgr/mcxt.c
    pub fn MemoryContextReset(context: MemoryContext);
    pub fn palloc(size: Size) -> *mut c_void;
    pub fn pfree(memory: *mut c_void);
    pub fn MemoryContextRegisterResetCallback(
        context: MemoryContext,
        callback: *mut MemoryContextCallback,
    );

    // src/backend/optimizer/plan/planner.c, src/backend/executor/execMain.c, src/backend/tcop/utility.c
    pub fn standard_planner(
        query: *mut Query,
        text: *const c_char,
        options: c_int,
        parameters: ParamListInfo,
    ) -> *mut PlannedStmt;
    pub fn standard_ExecutorStart(description: *mut QueryDesc, flags: c_int);
    pub fn standard_ProcessUtility(
        statement: *mut PlannedStmt,
        text: *const c_char,
        read_only: bool,
        context: ProcessUtilityContext::Type,
        parameters: ParamListInfo,
        environment: *mut QueryEnvironment,
        receiver: *mut DestReceiver,
        completion: *mut QueryCompletion,
    );

    // src/backend/tcop/postgres.c: a signal handler
    pub fn die(signal: c_int);

    // src/backend/utils/adt/timestamp.c
    pub fn GetCurrentTimestamp() -> TimestampTz;

    // src/backend/access/heap/heapam_handler.c
    pub fn GetHeapamTableAmRoutine() -> *const TableAmRoutine;

    // src/backend/utils/error/elog.c
    pub fn geterrcode() -> c_int;

    // src/backend/utils/misc/timeout.c
    pub fn enable_timeout_after(timeout: c_int, milliseconds: c_int);
    pub fn disable_timeout(timeout: c_int, keep_indicator: bool);
}

/// A member of the enum TimeoutId (src/include/utils/timeout.h), the same in 15 to 18.
pub const STATEMENT_TIMEOUT: c_int = 3;
