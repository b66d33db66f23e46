//! The uses in vpk.key_usage.

use pgrx::pg_sys::{
    INT8ARRAYOID, INT8OID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID, UUIDARRAYOID, UUIDOID,
};

use pure::usage::slots::Pending;

use crate::pg::background::own_table::OwnTable;
use crate::pg::call::Call;
use crate::pg::sql::statement::{Row, Statement};
use crate::pg::types::{self, SqlValue, Timestamp, Uuid};
use crate::store::keys::RemovedKeys;
use crate::store::quotas;

/// A key whose uses a flush did not write to the table.
pub struct Skipped {
    /// The id of the key.
    pub key: [u8; 16],
    /// Whether there is such a key, so that another try makes sense.
    pub exists: bool,
}

impl Skipped {
    fn of(row: Row) -> Option<Skipped> {
        Some(Skipped { key: row.uuid(0)?.to_bytes(), exists: row.is(1) })
    }
}

/// Adds uses to those in the table. Returns the keys that it skipped; None in a database without
/// the extension.
pub fn flush(call: &Call, batch: &[Pending]) -> Option<Vec<Skipped>> {
    OwnTable::find(call, "keys")?;
    let table = OwnTable::find(call, "key_usage")?;
    Some(table.as_owner(|| {
        let rows = FLUSH.write(
            call,
            &[
                types::array_of_uuids(batch.iter().map(|pending| pending.key)),
                types::array_of_timestamps(batch.iter().map(|pending| pending.last_used_at)),
                types::array_of_bigints(
                    batch.iter().map(|pending| pending.uses.try_into().unwrap_or(i64::MAX)),
                ),
            ],
        );
        rows.iter().filter_map(Skipped::of).collect()
    }))
}

/// The parameters are the keys, their last uses, and their numbers of uses. A row for each skipped
/// key, for [`Skipped::of`].
///
/// The statement waits for no row and so takes part in no deadlock. It skips a row of the table
/// that another transaction is changing or removing. It also skips a key that another transaction
/// is changing or removing, or to which [`ADD`] is adding a first use; the next flush writes these.
/// Only the first use of a key locks the key's row, so that a removal of the key waits for the new
/// row, which [`FORGET`] then sees.
///
/// A count that has reached the maximum stays there: an error would keep the uses of all other keys
/// from the table.
static FLUSH: Statement = Statement::new(
    c"WITH noted AS MATERIALIZED (
        SELECT n.key_id, pg_catalog.max(n.last_used_at) AS last_used_at,
               pg_catalog.sum(n.uses)::pg_catalog.int8 AS uses
          FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3))
               AS n (key_id, last_used_at, uses)
         GROUP BY n.key_id
    ), free AS MATERIALIZED (
        SELECT u.key_id
          FROM vpk.key_usage AS u JOIN noted AS n ON n.key_id = u.key_id
           FOR NO KEY UPDATE OF u SKIP LOCKED
    ), updated AS (
        UPDATE vpk.key_usage AS u
           SET last_used_at = greatest(u.last_used_at, n.last_used_at),
               uses = u.uses + least(n.uses, 9223372036854775807 - u.uses)
          FROM free AS f JOIN noted AS n ON n.key_id = f.key_id
         WHERE u.key_id = f.key_id
        RETURNING u.key_id
    ), unused AS MATERIALIZED (
        SELECT k.id
          FROM vpk.keys AS k JOIN noted AS n ON n.key_id = k.id
         WHERE NOT EXISTS (SELECT FROM vpk.key_usage AS u WHERE u.key_id = k.id)
           FOR UPDATE OF k SKIP LOCKED
    ), added AS (
        INSERT INTO vpk.key_usage AS u (key_id, last_used_at, uses)
        SELECT n.key_id, n.last_used_at, n.uses
          FROM unused AS k JOIN noted AS n ON n.key_id = k.id
        ON CONFLICT (key_id) DO NOTHING
        RETURNING u.key_id
    )
    SELECT n.key_id, EXISTS (SELECT FROM vpk.keys AS k WHERE k.id = n.key_id)
      FROM noted AS n
     WHERE NOT EXISTS (SELECT FROM updated AS u WHERE u.key_id = n.key_id)
       AND NOT EXISTS (SELECT FROM added AS a WHERE a.key_id = n.key_id)",
    &[UUIDARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID],
);

/// Adds uses of a key; false where there is no such key. Waits for a transaction that is changing
/// the same row or removing the key.
pub fn add(call: &Call, key: Uuid, last_used_at: Timestamp, uses: i64) -> bool {
    let parameters = [Some(key.datum()), Some(last_used_at.datum()), Some(uses.into())];
    !ADD.write(call, &parameters).is_empty()
}

static ADD: Statement = Statement::new(
    c"WITH used AS (
        SELECT k.id FROM vpk.keys AS k WHERE k.id = $1 FOR KEY SHARE
    )
    INSERT INTO vpk.key_usage AS u (key_id, last_used_at, uses)
    SELECT k.id, $2, $3 FROM used AS k
    ON CONFLICT (key_id) DO UPDATE
       SET last_used_at = greatest(u.last_used_at, EXCLUDED.last_used_at),
           uses = u.uses + least(EXCLUDED.uses, 9223372036854775807 - u.uses)
    RETURNING u.key_id",
    &[UUIDOID, TIMESTAMPTZOID, INT8OID],
);

/// Deletes the usage of keys that the transaction has removed.
///
/// This is a statement with a snapshot of its own. The removal of a key waits for a flush that is
/// adding the key's first use, and an older snapshot does not show the new row.
pub fn forget(call: &Call, removed: &RemovedKeys) {
    if let Some(ids) = removed.ids {
        FORGET.write(call, &[Some(ids)]);
        quotas::forget_keys(call, ids);
    }
}

static FORGET: Statement =
    Statement::new(c"DELETE FROM vpk.key_usage AS u WHERE u.key_id = ANY ($1)", &[UUIDARRAYOID]);
