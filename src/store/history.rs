//! Usage over time, in vpk.usage_history: reading it, adding refusals, pruning, and making days of
//! hours. Uses are added by the flush of [`super::usage`], and charges by [`charges`].

use pgrx::pg_sys::{
    INT8ARRAYOID, TEXTARRAYOID, TEXTOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID, UUIDARRAYOID, UUIDOID,
};

use pure::usage::history::HourCount;

use crate::pg::call::Call;
use crate::pg::sql::own_table::OwnTable;
use crate::pg::sql::statement::{Row, Statement};
use crate::pg::types::{self, SqlValue, Text, TextArray, Timestamp, TypedDatum, Uuid};
use crate::store::usage::Skipped;

/// How many rows the worker removes in a transaction at most.
const BATCH: i64 = 1_000;

/// The instants, in order, at which rows of the history begin: `first` is a condition on the first,
/// `next` on those after. Looks into the index once for each.
macro_rules! instants {
    (of: $table:literal, first: $first:literal, next: $next:literal) => {
        concat!(
            "instants (starts_at) AS (
                (SELECT h.starts_at FROM ",
            $table,
            " AS h WHERE ",
            $first,
            " ORDER BY h.starts_at LIMIT 1)
                UNION ALL
                SELECT (SELECT h.starts_at FROM ",
            $table,
            " AS h
                         WHERE h.starts_at > i.starts_at AND ",
            $next,
            " ORDER BY h.starts_at LIMIT 1)
                  FROM instants AS i WHERE i.starts_at IS NOT NULL
            )"
        )
    };
}

/// Declares the statement that deletes the oldest rows of a table. The parameters are the instant
/// before which they begin, and how many at most.
macro_rules! prune {
    (of: $table:literal) => {
        Statement::new(
            sql!(
                "DELETE FROM ",
                $table,
                " AS h
                  WHERE h.ctid = ANY (ARRAY(
                        SELECT o.ctid FROM ",
                $table,
                " AS o
                         WHERE o.starts_at < $1 ORDER BY o.starts_at LIMIT $2 FOR UPDATE SKIP LOCKED))"
            ),
            &[pgrx::pg_sys::TIMESTAMPTZOID, pgrx::pg_sys::INT8OID],
        )
    };
}

/// Declares the statement that adds hours to their days: those of some keys of the earliest day
/// that has hours. `by` are the columns of a row beside its instant and its key, `number` is what
/// is added up. The parameters are the instant before which the hours begin, at which a day begins,
/// and how many rows at most. Returns how many it was.
///
/// The row of an hour at midnight becomes that of its day. So a day is a row that begins with one,
/// as is its first hour; the instant says which it is. Keys are taken in their order, and all of
/// their hours at once if the limit allows, so that the row of a day is written once.
///
/// Arrays and not joins: the server then looks into the index for each hour and key, whatever it
/// believes of the number of rows.
macro_rules! fold {
    (of: $table:literal, by: $by:literal, number: $number:literal) => {
        Statement::new(
            sql!(
                "WITH RECURSIVE ",
                instants!(of: $table, first: "h.starts_at < $1", next: "h.starts_at < $1"),
                ", hours AS MATERIALIZED (
                    SELECT i.starts_at, pg_catalog.date_trunc('day', i.starts_at, 'UTC') AS day
                      FROM instants AS i
                     WHERE i.starts_at <> pg_catalog.date_trunc('day', i.starts_at, 'UTC')
                ), first AS MATERIALIZED (
                    SELECT pg_catalog.min(h.starts_at) AS starts_at, pg_catalog.min(h.day) AS day
                      FROM hours AS h
                ), old AS MATERIALIZED (
                    SELECT o.ctid AS at
                      FROM ",
                $table,
                " AS o
                     WHERE o.starts_at = ANY (ARRAY(
                               SELECT h.starts_at FROM hours AS h
                                WHERE h.day = (SELECT f.day FROM first AS f)))
                       AND o.key_id = ANY (ARRAY(
                               SELECT DISTINCT s.key_id
                                 FROM (SELECT k.key_id FROM ",
                $table,
                " AS k
                                        WHERE k.starts_at = (SELECT f.starts_at FROM first AS f)
                                        ORDER BY k.key_id LIMIT 40) AS s))
                     LIMIT $2 FOR UPDATE SKIP LOCKED
                ), gone AS (
                    DELETE FROM ",
                $table,
                " AS h
                     WHERE h.ctid = ANY (ARRAY(SELECT o.at FROM old AS o))
                    RETURNING h.key_id, ",
                $by,
                ", ",
                $number,
                " AS number
                ), days AS (
                    INSERT INTO ",
                $table,
                " AS h (starts_at, key_id, ",
                $by,
                ", ",
                $number,
                ")
                    SELECT f.day, g.key_id, ",
                $by,
                ", greatest(-9223372036854775807, least(9223372036854775807,
                               pg_catalog.sum(g.number)))::pg_catalog.int8
                      FROM gone AS g, first AS f
                     GROUP BY f.day, g.key_id, ",
                $by,
                "    ORDER BY g.key_id
                    ON CONFLICT (starts_at, key_id, ",
                $by,
                ") DO UPDATE SET ",
                $number,
                " = greatest(-9223372036854775807, least(9223372036854775807,
                        h.",
                $number,
                "::pg_catalog.numeric + EXCLUDED.",
                $number,
                "))::pg_catalog.int8
                )
                SELECT pg_catalog.count(*) FROM gone AS g"
            ),
            &[pgrx::pg_sys::TIMESTAMPTZOID, pgrx::pg_sys::INT8OID],
        )
    };
}

/// Declares the statement that deletes the rows of keys, whose ids are its parameter.
macro_rules! forget {
    (of: $table:literal) => {
        Statement::new(
            sql!(
                "WITH RECURSIVE ",
                instants!(of: $table, first: "true", next: "true"),
                " DELETE FROM ",
                $table,
                " AS h
                   WHERE h.starts_at = ANY (ARRAY(SELECT i.starts_at FROM instants AS i))
                     AND h.key_id = ANY ($1)"
            ),
            &[pgrx::pg_sys::UUIDARRAYOID],
        )
    };
}

pub mod charges;

/// Adds refusals of keys. Returns the keys that it skipped; None in a database without a history.
pub fn add_refusals(call: &Call, counts: &[HourCount]) -> Option<Vec<Skipped>> {
    OwnTable::find(call, "keys")?;
    let table = OwnTable::find_newer(call, "usage_history")?;
    Some(table.as_owner(|| {
        let statuses = TextArray::new(counts.iter().map(|count| count.status.label()));
        let number = |count: &HourCount| count.number.try_into().unwrap_or(i64::MAX);
        let parameters = [
            types::array_of_uuids(counts.iter().map(|count| count.key)),
            types::array_of_timestamps(counts.iter().map(|count| count.hour)),
            Some(statuses.datum()),
            types::array_of_bigints(counts.iter().map(number)),
        ];
        ADD_REFUSALS.write(call, &parameters).iter().filter_map(Skipped::of).collect()
    }))
}

/// The parameters are the keys, the hours, the statuses and the numbers. A row for each skipped
/// key, for [`Skipped::of`]. A removal of a key waits for the new rows, which [`FORGET`] then sees.
static ADD_REFUSALS: Statement = Statement::new(
    c"WITH noted AS MATERIALIZED (
        SELECT n.key_id, n.starts_at, n.status, n.refusals
          FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3),
                          pg_catalog.unnest($4)) AS n (key_id, starts_at, status, refusals)
    ), known AS MATERIALIZED (
        SELECT k.id FROM vpk.keys AS k WHERE k.id IN (SELECT n.key_id FROM noted AS n)
           FOR KEY SHARE SKIP LOCKED
    ), added AS (
        INSERT INTO vpk.usage_history AS h (starts_at, key_id, status, uses)
        SELECT n.starts_at, n.key_id, n.status, n.refusals
          FROM noted AS n JOIN known AS k ON k.id = n.key_id
         ORDER BY n.starts_at, n.key_id
        ON CONFLICT (starts_at, key_id, status) DO UPDATE
           SET uses = h.uses + least(EXCLUDED.uses, 9223372036854775807 - h.uses)
    )
    SELECT DISTINCT n.key_id, EXISTS (SELECT FROM vpk.keys AS k WHERE k.id = n.key_id)
      FROM noted AS n
     WHERE NOT EXISTS (SELECT FROM known AS k WHERE k.id = n.key_id)",
    &[UUIDARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, INT8ARRAYOID],
);

/// Deletes the oldest rows, which begin before an instant, and at most so many as a transaction
/// may. Returns whether there may be more; None in a database without a history.
pub fn prune(call: &Call, before: Timestamp) -> Option<bool> {
    prune_table(call, "usage_history", &PRUNE, before)
}

static PRUNE: Statement = prune!(of: "vpk.usage_history");

/// Adds hours of before an instant to their days, at which `before` begins one: those of some keys
/// of the earliest day that has hours. Returns whether there may be more; None in a database
/// without a history.
pub fn fold(call: &Call, before: Timestamp) -> Option<bool> {
    fold_table(call, "usage_history", &FOLD, before)
}

static FOLD: Statement = fold!(of: "vpk.usage_history", by: "status", number: "uses");

/// Deletes the oldest rows of a table, as [`prune`] does.
fn prune_table(call: &Call, table: &str, prune: &Statement, before: Timestamp) -> Option<bool> {
    let table = OwnTable::find_newer(call, table)?;
    let parameters = [Some(before.datum()), Some(BATCH.into())];
    Some(table.as_owner(|| prune.write(call, &parameters).processed() == BATCH))
}

/// Adds hours of a table to their days, as [`fold`] does.
fn fold_table(call: &Call, table: &str, fold: &Statement, before: Timestamp) -> Option<bool> {
    let table = OwnTable::find_newer(call, table)?;
    let parameters = [Some(before.datum()), Some(BATCH.into())];
    let folded = table.as_owner(|| {
        fold.write(call, &parameters).first().and_then(|row| row.bigint(0)).unwrap_or(0)
    });
    Some(folded > 0)
}

/// Deletes the history of keys, whose ids are an `uuid[]`.
pub(super) fn forget(call: &Call, ids: TypedDatum) {
    FORGET.write(call, &[Some(ids)]);
}

static FORGET: Statement = forget!(of: "vpk.usage_history");

/// Answers of a status in a bucket.
pub struct Counted {
    /// The number of the bucket, from 0 on.
    pub bucket: usize,
    /// The status.
    pub status: Option<Text>,
    /// How many there were.
    pub number: i64,
}

impl Counted {
    fn of(row: Row) -> Option<Counted> {
        let bucket = usize::try_from(row.integer(0)?.checked_sub(1)?).ok()?;
        Some(Counted { bucket, status: row.text(1), number: row.bigint(2)? })
    }
}

/// The keys whose usage is wanted.
#[derive(Clone, Copy, Default)]
pub struct UsageFilter {
    /// Those of this account; None is any.
    pub account: Option<Text>,
    /// The key of this id; None is any.
    pub id: Option<Uuid>,
}

/// The answers to keys in hours that begin before `until`, by bucket and status, as the calling
/// query sees them. `starts` are the instants at which buckets begin, in order.
pub fn by_bucket(
    call: &Call,
    filter: UsageFilter,
    starts: &[i64],
    until: Timestamp,
) -> Vec<Counted> {
    let (account, id) = (filter.account.map(Text::datum), filter.id.map(Uuid::datum));
    let statement = if account.is_none() && id.is_none() {
        &OF_ALL
    } else if MANY.read(call, &[account, id]).is_empty() {
        &OF_SOME
    } else {
        &OF_MANY
    };
    let starts = types::array_of_timestamps(starts.iter().copied());
    let rows = statement.read(call, &[account, id, starts, Some(until.datum())]);
    rows.iter().filter_map(Counted::of).collect()
}

/// Whether there are more keys than the history is looked into for one by one.
static MANY: Statement = Statement::new(
    c"SELECT k.id FROM vpk.keys AS k
       WHERE ($1 IS NULL OR k.account = $1) AND ($2 IS NULL OR k.id = $2)
       OFFSET 300 LIMIT 1",
    &[TEXTOID, UUIDOID],
);

/// The rows of the history and of the hours of last uses that meet a condition.
macro_rules! by_bucket {
    (with: $with:expr, history: $history:literal, last: $last:literal) => {
        Statement::planned_at_each_call(
            sql!(
                "WITH RECURSIVE ",
                $with,
                " SELECT pg_catalog.width_bucket(f.starts_at, $3), f.status,
                         least(pg_catalog.sum(f.uses), 9223372036854775807)::pg_catalog.int8
                    FROM (SELECT h.starts_at, h.status, h.uses
                            FROM vpk.usage_history AS h
                           WHERE h.starts_at >= $3[1] AND h.starts_at < $4 AND ",
                $history,
                "           UNION ALL
                          SELECT u.last_used_at, 'VALID', u.uses_in_hour
                            FROM vpk.key_usage AS u
                           WHERE u.last_used_at >= $3[1] AND u.last_used_at < $4
                                 AND u.uses_in_hour > 0 AND ",
                $last,
                "        ) AS f
                   GROUP BY 1, 2"
            ),
            &[TEXTOID, UUIDOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID],
        )
    };
}

static OF_ALL: Statement = by_bucket!(
    with: "none AS (SELECT $1::text, $2::uuid)",
    history: "true",
    last: "true"
);

static OF_MANY: Statement = by_bucket!(
    with: "wanted AS (
        SELECT k.id FROM vpk.keys AS k
         WHERE ($1 IS NULL OR k.account = $1) AND ($2 IS NULL OR k.id = $2))",
    history: "h.key_id IN (SELECT w.id FROM wanted AS w)",
    last: "u.key_id IN (SELECT w.id FROM wanted AS w)"
);

/// Looks into the index for each hour and key, however many other keys there are.
static OF_SOME: Statement = by_bucket!(
    with: concat!(
        instants!(of: "vpk.usage_history", first: "h.starts_at >= $3[1] AND h.starts_at < $4", next: "h.starts_at < $4"),
        ", wanted AS MATERIALIZED (
            SELECT k.id FROM vpk.keys AS k
             WHERE ($1 IS NULL OR k.account = $1) AND ($2 IS NULL OR k.id = $2))"
    ),
    history: "h.starts_at = ANY (ARRAY(SELECT i.starts_at FROM instants AS i))
              AND h.key_id = ANY (ARRAY(SELECT w.id FROM wanted AS w))",
    last: "u.key_id = ANY (ARRAY(SELECT w.id FROM wanted AS w))"
);
