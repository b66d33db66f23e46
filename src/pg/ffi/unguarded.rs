//! Server functions as C declares them, without a guard around each.
//!
//! A guard around a call catches the error that the server raises inside, and unwinds the frames of
//! Rust ([`super::guard`]). A verification has no frame to unwind. There, a cancel, a timeout, an
//! out of memory or a broken page passes through unchanged, with its context and position, and no
//! call pays for a `sigsetjmp`. An error leaves these functions by `siglongjmp`
//! (src/backend/utils/error/elog.c: pg_re_throw). It passes over the Rust frames between here and
//! the handler that the server itself has set.
//!
//! The hooks that run at each statement call the server in the same way.
//!
//! **The rule** makes this sound: no frame above a call of these functions holds a value with a
//! destructor. The callers hold plain data alone, in memory of the server (RFC 2945 of Rust calls
//! such frames "plain old frames"). A Rust function that calls these functions passes the rule on
//! to its own callers. Such a function is called *unguarded*. In [`crate::pg::read`], every
//! function is unguarded; anywhere else its name ends with `_unguarded`.

use core::ffi::{c_char, c_int, c_void};

use pgrx::pg_sys::{
    ArrayType, AttrNumber, BlockNumber, Buffer, Datum, DestReceiver, EState, ForkNumber, HeapTuple,
    IndexScanDesc, LOCKMODE, List, MemoryContext, MemoryContextCallback, Oid, ParamListInfo,
    PlannedStmt, ProcessUtilityContext, Query, QueryCompletion, QueryDesc, QueryEnvironment,
    RegProcedure, Relation, ResultRelInfo, ScanDirection, ScanKey, Size, Snapshot, StrategyNumber,
    TableAmRoutine, TimeLineID, Timestamp, TimestampTz, TupleDesc, TupleTableSlot, XLogRecPtr,
    fsec_t, pg_tm, pg_tz, varlena,
};

use crate::pg::ffi::compat::FileLocator;

unsafe extern "C-unwind" {
    // src/backend/access/common/relation.c
    pub(in crate::pg) fn relation_open(relation: Oid, lock: LOCKMODE) -> Relation;
    pub(in crate::pg) fn try_relation_open(relation: Oid, lock: LOCKMODE) -> Relation;
    pub(in crate::pg) fn relation_close(relation: Relation, lock: LOCKMODE);

    // src/backend/access/table/table.c, src/backend/access/index/indexam.c
    pub(in crate::pg) fn table_close(relation: Relation, lock: LOCKMODE);
    pub(in crate::pg) fn index_rescan(
        scan: IndexScanDesc,
        keys: ScanKey,
        nkeys: c_int,
        orderbys: ScanKey,
        norderbys: c_int,
    );
    pub(in crate::pg) fn index_getnext_slot(
        scan: IndexScanDesc,
        direction: ScanDirection::Type,
        slot: *mut TupleTableSlot,
    ) -> bool;
    pub(in crate::pg) fn index_endscan(scan: IndexScanDesc);

    // src/backend/access/common/scankey.c
    pub(in crate::pg) fn ScanKeyEntryInitialize(
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
    pub(in crate::pg) fn table_slot_create(
        relation: Relation,
        register: *mut *mut List,
    ) -> *mut TupleTableSlot;
    pub(in crate::pg) fn ExecDropSingleTupleTableSlot(slot: *mut TupleTableSlot);
    pub(in crate::pg) fn slot_getsomeattrs_int(slot: *mut TupleTableSlot, attribute: c_int);

    // src/backend/access/common/heaptuple.c, src/backend/access/common/tupdesc.c
    pub(in crate::pg) fn heap_attisnull(
        tuple: HeapTuple,
        attribute: c_int,
        descriptor: TupleDesc,
    ) -> bool;
    pub(in crate::pg) fn heap_deform_tuple(
        tuple: HeapTuple,
        descriptor: TupleDesc,
        values: *mut Datum,
        nulls: *mut bool,
    );
    pub(in crate::pg) fn CreateTemplateTupleDesc(attributes: c_int) -> TupleDesc;
    pub(in crate::pg) fn TupleDescCopyEntry(
        target: TupleDesc,
        target_attribute: AttrNumber,
        source: TupleDesc,
        source_attribute: AttrNumber,
    );
    pub(in crate::pg) fn equalTupleDescs(one: TupleDesc, other: TupleDesc) -> bool;
    pub(in crate::pg) fn FreeTupleDesc(descriptor: TupleDesc);

    // src/backend/storage/buffer/bufmgr.c, src/backend/access/heap/heapam_visibility.c
    pub(in crate::pg) fn ReadRecentBuffer(
        file: FileLocator,
        fork: ForkNumber::Type,
        block: BlockNumber,
        buffer: Buffer,
    ) -> bool;
    pub(in crate::pg) fn LockBuffer(buffer: Buffer, mode: c_int);
    pub(in crate::pg) fn ReleaseBuffer(buffer: Buffer);
    pub(in crate::pg) fn HeapTupleSatisfiesVisibility(
        tuple: HeapTuple,
        snapshot: Snapshot,
        buffer: Buffer,
    ) -> bool;

    // src/backend/utils/cache/inval.c
    pub(in crate::pg) fn AcceptInvalidationMessages();

    // src/backend/executor/execReplication.c, execIndexing.c, execTuples.c, execUtils.c
    pub(in crate::pg) fn ExecSimpleRelationInsert(
        result: *mut ResultRelInfo,
        state: *mut EState,
        slot: *mut TupleTableSlot,
    );
    pub(in crate::pg) fn ExecCloseIndices(result: *mut ResultRelInfo);
    pub(in crate::pg) fn ExecStoreVirtualTuple(slot: *mut TupleTableSlot) -> *mut TupleTableSlot;
    pub(in crate::pg) fn ExecResetTupleTable(slots: *mut List, free: bool);
    pub(in crate::pg) fn FreeExecutorState(state: *mut EState);

    // src/backend/commands/trigger.c
    pub(in crate::pg) fn AfterTriggerBeginQuery();
    pub(in crate::pg) fn AfterTriggerEndQuery(state: *mut EState);

    // src/backend/access/transam/xact.c
    pub(in crate::pg) fn CommandCounterIncrement();

    // src/backend/utils/time/snapmgr.c
    pub(in crate::pg) fn PushActiveSnapshot(snapshot: Snapshot);
    pub(in crate::pg) fn PopActiveSnapshot();

    // src/backend/storage/lmgr/lmgr.c
    pub(in crate::pg) fn ConditionalLockRelationOid(relation: Oid, lock: LOCKMODE) -> bool;
    pub(in crate::pg) fn UnlockRelationOid(relation: Oid, lock: LOCKMODE);

    // src/backend/access/transam/xlog.c, src/backend/access/transam/xact.c
    pub(in crate::pg) fn RecoveryInProgress() -> bool;
    pub(in crate::pg) fn GetFlushRecPtr(timeline: *mut TimeLineID) -> XLogRecPtr;

    // src/backend/replication/syncrep.c
    pub(in crate::pg) fn SyncRepWaitForLSN(position: XLogRecPtr, commit: bool);

    // src/backend/storage/ipc/procarray.c
    pub(in crate::pg) fn GetSnapshotData(snapshot: Snapshot) -> Snapshot;

    // src/backend/access/common/detoast.c, src/backend/utils/fmgr/fmgr.c
    pub(in crate::pg) fn toast_raw_datum_size(value: Datum) -> Size;
    pub(in crate::pg) fn pg_detoast_datum(value: *mut varlena) -> *mut varlena;
    pub(in crate::pg) fn pg_detoast_datum_copy(value: *mut varlena) -> *mut varlena;
    pub(in crate::pg) fn pg_detoast_datum_packed(value: *mut varlena) -> *mut varlena;
    pub(in crate::pg) fn pg_detoast_datum_slice(
        value: *mut varlena,
        first: i32,
        count: i32,
    ) -> *mut varlena;

    // src/backend/utils/adt/arrayfuncs.c
    pub(in crate::pg) fn deconstruct_array(
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
    pub(in crate::pg) fn MemoryContextAlloc(context: MemoryContext, size: Size) -> *mut c_void;

    // src/backend/catalog/namespace.c, src/backend/utils/cache/lsyscache.c
    pub(in crate::pg) fn get_namespace_oid(name: *const c_char, missing_ok: bool) -> Oid;
    pub(in crate::pg) fn get_relname_relid(name: *const c_char, namespace: Oid) -> Oid;

    // src/backend/utils/mmgr/mcxt.c
    pub(in crate::pg) fn MemoryContextReset(context: MemoryContext);
    pub(in crate::pg) fn palloc(size: Size) -> *mut c_void;
    pub(in crate::pg) fn pfree(memory: *mut c_void);
    pub(in crate::pg) fn pstrdup(text: *const c_char) -> *mut c_char;
    pub(in crate::pg) fn MemoryContextRegisterResetCallback(
        context: MemoryContext,
        callback: *mut MemoryContextCallback,
    );

    // src/backend/optimizer/plan/planner.c, src/backend/executor/execMain.c,
    // src/backend/tcop/utility.c
    pub(in crate::pg) fn standard_planner(
        query: *mut Query,
        text: *const c_char,
        options: c_int,
        parameters: ParamListInfo,
    ) -> *mut PlannedStmt;
    pub(in crate::pg) fn standard_ExecutorStart(description: *mut QueryDesc, flags: c_int);
    pub(in crate::pg) fn standard_ProcessUtility(
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
    pub(in crate::pg) fn die(signal: c_int);

    // src/backend/utils/adt/timestamp.c
    pub(in crate::pg) fn GetCurrentTimestamp() -> TimestampTz;

    // src/backend/utils/adt/timestamp.c, datetime.c, src/timezone/localtime.c: these raise nothing
    pub(in crate::pg) fn timestamp2tm(
        timestamp: Timestamp,
        west: *mut c_int,
        fields: *mut pg_tm,
        micros: *mut fsec_t,
        abbreviation: *mut *const c_char,
        zone: *mut pg_tz,
    ) -> c_int;
    pub(in crate::pg) fn DetermineTimeZoneOffset(fields: *mut pg_tm, zone: *mut pg_tz) -> c_int;
    pub(in crate::pg) fn pg_tz_acceptable(zone: *mut pg_tz) -> bool;
    pub(in crate::pg) fn pg_get_timezone_name(zone: *mut pg_tz) -> *const c_char;

    // src/backend/access/heap/heapam_handler.c
    pub(in crate::pg) fn GetHeapamTableAmRoutine() -> *const TableAmRoutine;

    // src/backend/utils/error/elog.c
    pub(in crate::pg) fn geterrcode() -> c_int;
    pub(in crate::pg) fn EmitErrorReport();
    pub(in crate::pg) fn FlushErrorState();
    pub(in crate::pg) fn pg_re_throw() -> !;

    // src/backend/utils/misc/timeout.c
    pub(in crate::pg) fn enable_timeout_after(timeout: c_int, milliseconds: c_int);
    pub(in crate::pg) fn disable_timeout(timeout: c_int, keep_indicator: bool);
}

/// A member of the enum TimeoutId (src/include/utils/timeout.h), the same in 15 to 18.
pub(in crate::pg) const STATEMENT_TIMEOUT: c_int = 3;
