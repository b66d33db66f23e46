//! The statements that flush uses to their table.

use pgrx::pg_sys::{
    INT8ARRAYOID, INT8OID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID, UUIDARRAYOID, UUIDOID,
};

use pure::usage::slots::Pending;

use crate::pg::background::own_table::OwnTable;
use crate::pg::call::Call;
use crate::pg::sql::statement::Statement;
use crate::pg::types;

/// A key whose uses did not come to the table.
pub struct Skipped {
    pub key: [u8; 16],
    /// Whether there is such a key, so that trying again makes sense.
    pub exists: bool,
}

/// Adds uses to what the table has, and tells what was left. None in a database without the extension.
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
        rows.iter()
            .filter_map(|row| Some(Skipped { key: row.uuid(0)?.to_bytes(), exists: row.is(1) }))
            .collect()
    }))
}

/// Keys, last instants, numbers of uses. The keys that were left out, and whether they exist.
///
/// It waits for no row and so takes part in no deadlock: a row of the table that somebody else is
/// changing or removing is left for the next time, and so is a key that is just being changed or removed,
/// or to which [`ADD`] is adding a first use. Only a key's first use locks its row, so that a removal waits
/// for the new row, which [`FORGET`] then sees.
///
/// A number that is full stays so: an error would keep all others from the table as well.
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

/// Key, last instant, number of uses. A row where there is such a key. It waits for who is changing
/// the same row, or removing the key.
pub static ADD: Statement = Statement::new(
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

/// Keys that the transaction has removed. Their usage goes too.
///
/// It is a statement of its own, with a snapshot of its own: the removal of a key waits for a worker
/// that is bringing its first use, and a snapshot from before that does not show the row.
pub static FORGET: Statement =
    Statement::new(c"DELETE FROM vpk.key_usage AS u WHERE u.key_id = ANY ($1)", &[UUIDARRAYOID]);
