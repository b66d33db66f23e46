//! What was charged to quotas over time, in vpk.charge_history.

use pgrx::pg_sys::{
    INT8ARRAYOID, TEXTARRAYOID, TEXTOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID, UUIDARRAYOID, UUIDOID,
};

use pure::instant::Micros;
use pure::limits::pending_charge::PendingCharge;
use pure::usage::history::hour_of;

use super::{UsageFilter, fold_table, prune_table};
use crate::pg::call::Call;
use crate::pg::server::clock;
use crate::pg::sql::own_table::OwnTable;
use crate::pg::sql::statement::{Row, Statement};
use crate::pg::types::{self, SqlValue, Text, TextArray, Timestamp, TypedDatum, Uuid};

/// Adds charges to the current hour. Returns whether the table has each now, or never will because
/// the database has no such table.
pub fn add(call: &Call, batch: &[PendingCharge]) -> Vec<bool> {
    write(call, &ADD, batch, hour_of(clock::now().micros()))
}

/// Adds a charge that another server has counted to the hour of an instant. Waits for a transaction
/// that changes the same row or removes the key. The caller has the lock on adding charges.
pub fn add_one(call: &Call, charge: &PendingCharge, at: Timestamp) {
    // The row that it has waited for may be gone then, and the next statement makes it anew.
    let add = || write(call, &ADD_ONE, core::slice::from_ref(charge), hour_of(at.micros()));
    if add() == [false] {
        add();
    }
}

fn write(call: &Call, statement: &Statement, batch: &[PendingCharge], hour: Micros) -> Vec<bool> {
    let found = OwnTable::find(call, "keys");
    let found = found.and_then(|_| OwnTable::find_newer(call, "charge_history"));
    let Some(table) = found else { return vec![true; batch.len()] };
    let texts = |of: fn(&PendingCharge) -> &str| Some(TextArray::new(batch.iter().map(of)).datum());
    let parameters = [
        types::array_of_uuids(batch.iter().map(|charge| charge.key)),
        texts(|charge| charge.counts.holder.name()),
        texts(|charge| charge.counts.meter.as_str()),
        types::array_of_bigints(batch.iter().map(|charge| charge.charged)),
        Some(Timestamp::from_micros(hour).datum()),
    ];
    table.as_owner(|| statement.write(call, &parameters).iter().map(|row| row.is(0)).collect())
}

/// Declares a statement that adds charges to an hour; `others` is what becomes of rows that others
/// hold. A row for each charge, in order: whether it was added. A flush waits for no row: what
/// others hold waits for the next one. A key is locked only where a row of an hour is new; its
/// removal waits for that row, which [`FORGET`] then sees.
macro_rules! add {
    (others: $others:literal) => {
        Statement::new(
            sql!("WITH noted AS MATERIALIZED (
                SELECT n.key_id, n.kind, n.meter, n.amount, n.at
                  FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3),
                                  pg_catalog.unnest($4)) WITH ORDINALITY
                       AS n (key_id, kind, meter, amount, at)
            ), summed AS MATERIALIZED (
                SELECT n.key_id, n.kind COLLATE \"C\" AS kind, n.meter COLLATE \"C\" AS meter,
                       greatest(-9223372036854775807, least(9223372036854775807,
                           pg_catalog.sum(n.amount)))::pg_catalog.int8 AS amount
                  FROM noted AS n WHERE n.amount <> 0
                 GROUP BY 1, 2, 3
            ), free AS MATERIALIZED (
                SELECT h.key_id, h.kind, h.meter
                  FROM vpk.charge_history AS h JOIN summed AS s USING (key_id, kind, meter)
                 WHERE h.starts_at = $5
                   FOR NO KEY UPDATE OF h", $others, "
            ), updated AS (
                UPDATE vpk.charge_history AS h
                   SET amount = greatest(-9223372036854775807, least(9223372036854775807,
                           h.amount::pg_catalog.numeric + s.amount))::pg_catalog.int8
                  FROM free AS f JOIN summed AS s USING (key_id, kind, meter)
                 WHERE h.starts_at = $5 AND h.key_id = f.key_id AND h.kind = f.kind AND h.meter = f.meter
                RETURNING h.key_id, h.kind, h.meter
            ), fresh AS MATERIALIZED (
                SELECT s.key_id, s.kind, s.meter, s.amount
                  FROM summed AS s
                 WHERE NOT EXISTS (
                           SELECT FROM vpk.charge_history AS h
                            WHERE h.starts_at = $5 AND h.key_id = s.key_id AND h.kind = s.kind
                              AND h.meter = s.meter)
            ), known AS MATERIALIZED (
                SELECT k.id FROM vpk.keys AS k WHERE k.id IN (SELECT f.key_id FROM fresh AS f)
                   FOR KEY SHARE", $others, "
            ), added AS (
                INSERT INTO vpk.charge_history AS h (starts_at, key_id, kind, meter, amount)
                SELECT $5, f.key_id, f.kind, f.meter, f.amount
                  FROM fresh AS f JOIN known AS k ON k.id = f.key_id
                ON CONFLICT (starts_at, key_id, kind, meter) DO NOTHING
                RETURNING h.key_id, h.kind, h.meter
            ), done AS MATERIALIZED (
                SELECT u.key_id, u.kind, u.meter FROM updated AS u
                UNION ALL
                SELECT a.key_id, a.kind, a.meter FROM added AS a
            )
            SELECT n.amount = 0 OR d.key_id IS NOT NULL
              FROM noted AS n LEFT JOIN done AS d USING (key_id, kind, meter)
             ORDER BY n.at"),
            &[UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID],
        )
    };
}

static ADD: Statement = add!(others: " SKIP LOCKED");

static ADD_ONE: Statement = add!(others: "");

/// Deletes the oldest rows, as [`super::prune`] does.
pub fn prune(call: &Call, before: Timestamp) -> Option<bool> {
    prune_table(call, "charge_history", &PRUNE, before)
}

static PRUNE: Statement = prune!(of: "vpk.charge_history");

/// Adds hours to their days, as [`super::fold`] does.
pub fn fold(call: &Call, before: Timestamp) -> Option<bool> {
    fold_table(call, "charge_history", &FOLD, before)
}

static FOLD: Statement = fold!(of: "vpk.charge_history", by: "kind, meter", number: "amount");

/// Deletes the charges of keys, whose ids are an `uuid[]`.
pub fn forget(call: &Call, ids: TypedDatum) {
    FORGET.write(call, &[Some(ids)]);
}

static FORGET: Statement = forget!(of: "vpk.charge_history");

/// What was charged to a meter in a bucket.
pub struct Charged {
    /// The number of the bucket, from 0 on.
    pub bucket: usize,
    /// The meter.
    pub meter: Option<Text>,
    /// How much.
    pub amount: i64,
}

impl Charged {
    fn of(row: Row) -> Option<Charged> {
        let bucket = usize::try_from(row.integer(0)?.checked_sub(1)?).ok()?;
        Some(Charged { bucket, meter: row.text(1), amount: row.bigint(2)? })
    }
}

/// What was charged in hours that begin before `until`, by bucket and meter, as the calling query
/// sees it. Of one key: what was charged to quotas of its own. `starts` are the instants at which
/// buckets begin, in order.
pub fn by_bucket(
    call: &Call,
    filter: UsageFilter,
    starts: &[i64],
    until: Timestamp,
) -> Vec<Charged> {
    let (account, id) = (filter.account.map(Text::datum), filter.id.map(Uuid::datum));
    let starts = types::array_of_timestamps(starts.iter().copied());
    let rows = BY_BUCKET.read(call, &[account, id, starts, Some(until.datum())]);
    rows.iter().filter_map(Charged::of).collect()
}

static BY_BUCKET: Statement = Statement::planned_at_each_call(
    c"SELECT pg_catalog.width_bucket(h.starts_at, $3), h.meter,
             greatest(-9223372036854775807, least(9223372036854775807,
                 pg_catalog.sum(h.amount)))::pg_catalog.int8
        FROM vpk.charge_history AS h
       WHERE h.starts_at >= $3[1] AND h.starts_at < $4
         AND ($1 IS NULL
              OR h.key_id IN (SELECT k.id FROM vpk.keys AS k WHERE k.account = $1))
         AND ($2 IS NULL OR h.key_id = $2 AND h.kind = 'key')
       GROUP BY 1, 2
      HAVING pg_catalog.sum(h.amount) <> 0",
    &[TEXTOID, UUIDOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID],
);
