//! The uses in vpk.key_usage: what a flush writes there and to vpk.usage_history.

use pgrx::pg_sys::{
    BOOLOID, INT8ARRAYOID, INT8OID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID, UUIDARRAYOID, UUIDOID,
};

use pure::usage::history::{self, KeyUses};
use pure::usage::slots::Pending;

use crate::pg::call::Call;
use crate::pg::sql::own_table::OwnTable;
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
    pub(super) fn of(row: Row) -> Option<Skipped> {
        Some(Skipped { key: row.uuid(0)?.to_bytes(), exists: row.is(1) })
    }
}

/// Adds uses to those in the table, and to the history where that is `kept`. Returns the keys that
/// it skipped; None in a database without the extension.
pub fn flush(call: &Call, batch: &[Pending], kept: bool) -> Option<Vec<Skipped>> {
    OwnTable::find(call, "keys")?;
    let table = OwnTable::find(call, "key_usage")?;
    let has_history = OwnTable::find_newer(call, "usage_history").is_some();
    let (keys, earlier) = history::by_key(batch);
    let mut parameters = vec![
        types::array_of_uuids(keys.iter().map(|of| of.key)),
        types::array_of_timestamps(keys.iter().map(|of| of.last_used_at)),
        types::array_of_bigints(keys.iter().map(|of| bigint(of.uses))),
    ];
    let statement = if has_history {
        parameters.extend([
            types::array_of_timestamps(keys.iter().map(KeyUses::hour)),
            types::array_of_bigints(keys.iter().map(|of| bigint(of.uses_in_hour))),
            types::array_of_uuids(earlier.iter().map(|of| of.key)),
            types::array_of_timestamps(earlier.iter().map(|of| of.hour)),
            types::array_of_bigints(earlier.iter().map(|of| bigint(of.number))),
            Some(kept.into()),
        ]);
        &FLUSH
    } else {
        &FLUSH_WITHOUT_HISTORY
    };
    Some(
        table.as_owner(|| {
            statement.write(call, &parameters).iter().filter_map(Skipped::of).collect()
        }),
    )
}

/// A number that is too large for the table is the largest there.
fn bigint(number: u64) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// Declares a statement that writes uses of keys: `hours` are the columns of `noted` beside the
/// key, its last use and the number; `in_hour` and `sets` are what an added and an updated row gets
/// beside these; `history` is what becomes of the uses in other hours.
///
/// The statement waits for no row and so takes part in no deadlock. It skips a row of the table
/// that another transaction is changing or removing. It also skips a key that another transaction
/// is changing or removing, or to which [`ADD`] is adding a first use; the next flush writes these.
/// Only the first use of a key locks the key's row, so that a removal of the key waits for the new
/// row, which [`FORGET`] then sees.
///
/// A count that has reached the maximum stays there: an error would keep the uses of all other keys
/// from the table.
macro_rules! flush {
    (
        noted: $noted:literal,
        sets: $sets:literal,
        column: $column:literal,
        in_hour: $in_hour:literal,
        history: $history:literal,
        types: $types:expr
    ) => {
        Statement::new(
            sql!(
                "WITH noted AS MATERIALIZED (
        ",
                $noted,
                "
    ), free AS MATERIALIZED (
        SELECT u.*
          FROM vpk.key_usage AS u JOIN noted AS n ON n.key_id = u.key_id
           FOR NO KEY UPDATE OF u SKIP LOCKED
    ), updated AS (
        UPDATE vpk.key_usage AS u
           SET last_used_at = greatest(u.last_used_at, n.last_used_at),
               uses = u.uses + least(n.uses, 9223372036854775807 - u.uses)",
                $sets,
                "
          FROM free AS f JOIN noted AS n ON n.key_id = f.key_id
         WHERE u.key_id = f.key_id
        RETURNING u.key_id
    ), unused AS MATERIALIZED (
        SELECT k.id
          FROM vpk.keys AS k JOIN noted AS n ON n.key_id = k.id
         WHERE NOT EXISTS (SELECT FROM vpk.key_usage AS u WHERE u.key_id = k.id)
           FOR UPDATE OF k SKIP LOCKED
    ), added AS (
        INSERT INTO vpk.key_usage AS u (key_id, last_used_at, uses",
                $column,
                ")
        SELECT n.key_id, n.last_used_at, n.uses",
                $in_hour,
                "
          FROM unused AS k JOIN noted AS n ON n.key_id = k.id
        ON CONFLICT (key_id) DO NOTHING
        RETURNING u.key_id
    )",
                $history,
                "
    SELECT n.key_id, EXISTS (SELECT FROM vpk.keys AS k WHERE k.id = n.key_id)
      FROM noted AS n
     WHERE NOT EXISTS (SELECT FROM updated AS u WHERE u.key_id = n.key_id)
       AND NOT EXISTS (SELECT FROM added AS a WHERE a.key_id = n.key_id)"
            ),
            $types,
        )
    };
}

/// The parameters are the keys, their last uses and numbers of uses, the hours of the last uses and
/// the numbers in these; then keys, hours and numbers of uses in earlier hours; and whether the
/// history is kept. A row for each skipped key, for [`Skipped::of`].
///
/// A row keeps the uses in the hour of its last use. Those of another hour, be they the row's or
/// new, go to the history: the row's as a rule once an hour, when a later one begins. Whoever
/// changes what the history has of the uses of a key holds the lock of that row, but for the worker
/// itself.
static FLUSH: Statement = flush!(
    noted: "SELECT n.key_id, n.last_used_at, n.uses, n.hour, n.uses_in_hour
          FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3),
                          pg_catalog.unnest($4), pg_catalog.unnest($5))
               AS n (key_id, last_used_at, uses, hour, uses_in_hour)",
    sets: ",
               uses_in_hour = CASE
                   WHEN u.last_used_at < n.hour THEN n.uses_in_hour
                   WHEN u.last_used_at >= n.hour + interval '1 hour' THEN u.uses_in_hour
                   ELSE coalesce(u.uses_in_hour, 0)
                        + least(n.uses_in_hour, 9223372036854775807 - coalesce(u.uses_in_hour, 0))
               END",
    column: ", uses_in_hour",
    in_hour: ", n.uses_in_hour",
    history: ", past AS (
        SELECT pg_catalog.date_trunc('hour', f.last_used_at, 'UTC') AS starts_at, f.key_id,
               f.uses_in_hour AS uses
          FROM free AS f JOIN noted AS n ON n.key_id = f.key_id
         WHERE f.last_used_at < n.hour AND f.uses_in_hour > 0
        UNION ALL
        SELECT n.hour, n.key_id, n.uses_in_hour
          FROM free AS f JOIN noted AS n ON n.key_id = f.key_id
         WHERE f.last_used_at >= n.hour + interval '1 hour'
        UNION ALL
        SELECT e.hour, e.key_id, e.uses
          FROM ROWS FROM (pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8))
               AS e (key_id, hour, uses)
         WHERE e.key_id IN (SELECT u.key_id FROM updated AS u UNION ALL
                            SELECT a.key_id FROM added AS a)
    ), history AS (
        INSERT INTO vpk.usage_history AS h (starts_at, key_id, status, uses)
        SELECT p.starts_at, p.key_id, 'VALID',
               least(pg_catalog.sum(p.uses), 9223372036854775807)::pg_catalog.int8
          FROM past AS p WHERE $9
         GROUP BY p.starts_at, p.key_id
         ORDER BY p.starts_at, p.key_id
        ON CONFLICT (starts_at, key_id, status) DO UPDATE
           SET uses = h.uses + least(EXCLUDED.uses, 9223372036854775807 - h.uses)
    )",
    types: &[
        UUIDARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID,
        UUIDARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, BOOLOID,
    ]
);

/// The same for a database that was not updated to 0.10.0. The parameters are the first three.
static FLUSH_WITHOUT_HISTORY: Statement = flush!(
    noted: "SELECT n.key_id, n.last_used_at, n.uses
          FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3))
               AS n (key_id, last_used_at, uses)",
    sets: "",
    column: "",
    in_hour: "",
    history: "",
    types: &[UUIDARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID]
);

/// Adds uses of a key, and those of another hour than the row's to the history where that is
/// `kept`; false where there is no such key. Waits for a transaction that is changing the same row
/// or removing the key.
pub fn add(call: &Call, key: Uuid, last_used_at: Timestamp, uses: i64, kept: bool) -> bool {
    let parameters = [Some(key.datum()), Some(last_used_at.datum()), Some(uses.into())];
    // The tables are locked first, in the order of a flush: an update of the extension then waits,
    // or is over.
    let tables = OwnTable::find(call, "keys").and_then(|_| OwnTable::find(call, "key_usage"));
    if tables.and_then(|_| OwnTable::find_newer(call, "usage_history")).is_none() {
        return !ADD_WITHOUT_HISTORY.write(call, &parameters).is_empty();
    }
    // The row is made first, so that the statement that adds the uses finds and locks it.
    if MAKE_ROW.write(call, &parameters[..2]).is_empty() {
        return false;
    }
    let [key, last_used_at, uses] = parameters;
    !ADD.write(call, &[key, last_used_at, uses, Some(kept.into())]).is_empty()
}

static MAKE_ROW: Statement = Statement::new(
    c"WITH used AS (
        SELECT k.id FROM vpk.keys AS k WHERE k.id = $1 FOR KEY SHARE
    ), made AS (
        INSERT INTO vpk.key_usage AS u (key_id, last_used_at, uses)
        SELECT k.id, $2, 0 FROM used AS k
        ON CONFLICT (key_id) DO NOTHING
    )
    SELECT k.id FROM used AS k",
    &[UUIDOID, TIMESTAMPTZOID],
);

static ADD: Statement = Statement::new(
    c"WITH held AS MATERIALIZED (
        SELECT u.key_id, u.last_used_at, u.uses_in_hour,
               pg_catalog.date_trunc('hour', u.last_used_at, 'UTC') AS hour,
               pg_catalog.date_trunc('hour', $2, 'UTC') AS new_hour
          FROM vpk.key_usage AS u WHERE u.key_id = $1 FOR NO KEY UPDATE
    ), history AS (
        INSERT INTO vpk.usage_history AS h (starts_at, key_id, status, uses)
        SELECT p.starts_at, p.key_id, 'VALID', p.uses
          FROM (SELECT h.hour, h.key_id, h.uses_in_hour FROM held AS h
                 WHERE h.hour < h.new_hour AND h.uses_in_hour > 0
                UNION ALL
                SELECT h.new_hour, h.key_id, $3 FROM held AS h WHERE h.hour > h.new_hour
               ) AS p (starts_at, key_id, uses)
         WHERE $4
        ON CONFLICT (starts_at, key_id, status) DO UPDATE
           SET uses = h.uses + least(EXCLUDED.uses, 9223372036854775807 - h.uses)
    )
    UPDATE vpk.key_usage AS u
       SET last_used_at = greatest(u.last_used_at, $2),
           uses = u.uses + least($3, 9223372036854775807 - u.uses),
           uses_in_hour = CASE
               WHEN h.hour < h.new_hour THEN $3
               WHEN h.hour > h.new_hour THEN u.uses_in_hour
               ELSE coalesce(u.uses_in_hour, 0)
                    + least($3, 9223372036854775807 - coalesce(u.uses_in_hour, 0))
           END
      FROM held AS h
     WHERE u.key_id = h.key_id
    RETURNING u.key_id",
    &[UUIDOID, TIMESTAMPTZOID, INT8OID, BOOLOID],
);

/// The same for a database that was not updated to 0.10.0.
static ADD_WITHOUT_HISTORY: Statement = Statement::new(
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

/// Deletes the usage of keys that the transaction has removed, and its history.
///
/// These are statements with a snapshot of their own. The removal of a key waits for a flush that
/// is adding the key's first use, and an older snapshot does not show the new row. That of the
/// usage waits for a flush that adds to the history.
pub fn forget(call: &Call, removed: &RemovedKeys) {
    if let Some(ids) = removed.ids {
        FORGET.write(call, &[Some(ids)]);
        quotas::forget_keys(call, ids);
        if OwnTable::find_newer(call, "usage_history").is_some() {
            super::history::forget(call, ids);
            super::history::charges::forget(call, ids);
        }
    }
}

static FORGET: Statement =
    Statement::new(c"DELETE FROM vpk.key_usage AS u WHERE u.key_id = ANY ($1)", &[UUIDARRAYOID]);
