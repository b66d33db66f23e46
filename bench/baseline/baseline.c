/*
 * baseline.c: the functions that vpk_verify and vpk_authenticate are compared with.
 *
 * baseline_empty_answer takes the arguments of vpk_authenticate and returns a
 * row with its columns, always the same.
 *
 * Each of the others takes a token. The lookups return the account of the key with
 * the token's SHA-256, from the same table and index that vpk_verify reads, or
 * null. They check nothing (revocation, expiry, plan) and count no use.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(baseline_nothing);
PG_FUNCTION_INFO_V1(baseline_empty_answer);
PG_FUNCTION_INFO_V1(baseline_spi_lookup);
PG_FUNCTION_INFO_V1(baseline_index_lookup);

/* The call itself and its argument. */
Datum
baseline_nothing(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

/*
 * A row that is made once in a session. The result is still marked as a single
 * one when the function returns, which ends the set after one call.
 */
Datum
baseline_empty_answer(PG_FUNCTION_ARGS)
{
	static Datum row = (Datum) 0;

	if (row == (Datum) 0)
	{
		char	   *columns[] = {
			"VALID", "200", "01900000-0000-7000-8000-000000000000", "key 100000", "default",
			"Pro", "live", "{}", "{}", NULL, "req_000000000000000000000000", "{}", NULL
		};
		ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
		TupleDesc	shape = BlessTupleDesc(CreateTupleDescCopy(result->expectedDesc));

		row = HeapTupleGetDatum(BuildTupleFromCStrings(TupleDescGetAttInMetadata(shape), columns));
		MemoryContextSwitchTo(caller);
	}
	PG_RETURN_DATUM(row);
}

/* The SHA-256 of a text, as a bytea; what the SQL function sha256() does. */
static Datum
hash_of(text *token)
{
	bytea	   *hash = palloc(VARHDRSZ + PG_SHA256_DIGEST_LENGTH);
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);

	SET_VARSIZE(hash, VARHDRSZ + PG_SHA256_DIGEST_LENGTH);
	if (pg_cryptohash_init(context) < 0 ||
		pg_cryptohash_update(context, (uint8 *) VARDATA_ANY(token), VARSIZE_ANY_EXHDR(token)) < 0 ||
		pg_cryptohash_final(context, (uint8 *) VARDATA(hash), PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "could not compute SHA-256");
	pg_cryptohash_free(context);
	return PointerGetDatum(hash);
}

/* A plan that is prepared once and kept, as an extension is written by the book. */
Datum
baseline_spi_lookup(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	Datum		hash = hash_of(PG_GETARG_TEXT_PP(0));
	Datum		account = (Datum) 0;
	bool		isnull = true;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (plan == NULL)
	{
		Oid			types[] = {BYTEAOID};

		plan = SPI_prepare("SELECT k.account FROM vpk.keys AS k WHERE k.key_hash = $1", 1, types);
		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "SPI_prepare failed");
	}
	if (SPI_execute_plan(plan, &hash, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_plan failed");
	if (SPI_processed == 1)
	{
		account = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		if (!isnull)
			account = SPI_datumTransfer(account, false, -1);
	}
	SPI_finish();

	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(account);
}

/* The plain look-up in the index, without planner and executor. */
Datum
baseline_index_lookup(PG_FUNCTION_ARGS)
{
	static Oid	keys = InvalidOid;
	static Oid	by_hash = InvalidOid;
	static AttrNumber hash_column;
	static AttrNumber account_column;
	Datum		hash = hash_of(PG_GETARG_TEXT_PP(0));
	Datum		account = (Datum) 0;
	Relation	table;
	Relation	index;
	TupleTableSlot *slot;
	IndexScanDesc scan;
	ScanKeyData key;
	bool		isnull = true;

	if (!OidIsValid(keys))
	{
		Oid			schema = get_namespace_oid("vpk", false);

		by_hash = get_relname_relid("keys_key_hash_excl", schema);
		hash_column = get_attnum(get_relname_relid("keys", schema), "key_hash");
		account_column = get_attnum(get_relname_relid("keys", schema), "account");
		keys = get_relname_relid("keys", schema);
	}

	table = table_open(keys, AccessShareLock);
	index = index_open(by_hash, AccessShareLock);
	slot = table_slot_create(table, NULL);
	ScanKeyInit(&key, 1, HTEqualStrategyNumber, F_BYTEAEQ, hash);
#if PG_VERSION_NUM >= 180000
	scan = index_beginscan(table, index, GetActiveSnapshot(), NULL, 1, 0);
#else
	scan = index_beginscan(table, index, GetActiveSnapshot(), 1, 0);
#endif
	index_rescan(scan, &key, 1, NULL, 0);
	while (isnull && index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		Datum		stored = slot_getattr(slot, hash_column, &isnull);

		/* A hash index also brings rows whose hash code is the same. */
		isnull = !DatumGetBool(DirectFunctionCall2(byteaeq, stored, hash));
		if (isnull)
			continue;
		account = slot_getattr(slot, account_column, &isnull);
		if (!isnull)
			account = PointerGetDatum(PG_DETOAST_DATUM_COPY(account));
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(table, AccessShareLock);

	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(account);
}
