/*
 * A table access method whose rows are seen or not without any transaction: a heap that shows nothing of
 * itself while there is a file of a certain name in the data folder.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/heapam.h"
#include "access/tableam.h"
#include "fmgr.h"
#include "nodes/execnodes.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(other_heap_handler);

static bool
satisfies_snapshot(Relation relation, TupleTableSlot *slot, Snapshot snapshot)
{
    return access("nothing_is_shown", F_OK) != 0 &&
        GetHeapamTableAmRoutine()->tuple_satisfies_snapshot(relation, slot, snapshot);
}

/* heap_getnext(), of which the heap builds its indexes, insists on a heap. */
static double
index_build_range_scan(Relation table, Relation index, IndexInfo *info, bool allow_sync, bool anyvisible,
                       bool progress, BlockNumber start, BlockNumber blocks,
                       IndexBuildCallback callback, void *state, TableScanDesc scan)
{
    const TableAmRoutine *routine = table->rd_tableam;
    double      rows;

    table->rd_tableam = GetHeapamTableAmRoutine();
    rows = table->rd_tableam->index_build_range_scan(table, index, info, allow_sync, anyvisible, progress,
                                                     start, blocks, callback, state, scan);
    table->rd_tableam = routine;
    return rows;
}

Datum
other_heap_handler(PG_FUNCTION_ARGS)
{
    static TableAmRoutine routine;

    routine = *GetHeapamTableAmRoutine();
    routine.tuple_satisfies_snapshot = satisfies_snapshot;
    routine.index_build_range_scan = index_build_range_scan;
    PG_RETURN_POINTER(&routine);
}
