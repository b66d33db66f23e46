//! Adding charges to what is used of quotas, in vpk.quota_usage.

use pgrx::pg_sys::{INT8ARRAYOID, TEXTARRAYOID, TEXTOID, TIMESTAMPTZARRAYOID, UUIDARRAYOID};

use pure::limits::pending_charge::PendingCharge;

use super::exists;
use crate::pg::call::Call;
use crate::pg::sql::own_table::OwnTable;
use crate::pg::sql::statement::Statement;
use crate::pg::types::{self, SqlValue, TextArray, Uuid};
use crate::store::events::{self, Caller, missed_events, record_events};
use crate::store::keys;

/// What became of a charge in a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// It was added to the table, which has so much now.
    Added(i64),
    /// Another transaction holds the row, or the key.
    Locked,
    /// There is no such key, and so no account: an open transaction may have created it.
    NoKey,
}

/// Adds charges to those in the table, and records an event where a quota comes to the share from
/// which on it warns. Returns what became of each; None in a database without the table.
pub fn flush(call: &Call, batch: &[PendingCharge]) -> Option<Vec<Flushed>> {
    write(call, &FLUSH, batch)
}

/// Adds a charge that another server has counted, as a flush does; false where there is no such
/// key. Waits for a transaction that changes the same row or removes the account. The caller has
/// the lock on adding charges.
pub fn add(call: &Call, charge: &PendingCharge) -> bool {
    lock_account(call, charge);
    // The row that it has waited for may be gone then, and the next statement makes it anew.
    (0..2).any(|_| {
        let added = write(call, &ADD, core::slice::from_ref(charge));
        added.is_some_and(|added| matches!(added[..], [Flushed::Added(_)]))
    })
}

/// Locks the account before its rows. Its deletion and its renaming do so too.
fn lock_account(call: &Call, charge: &PendingCharge) {
    if let Some(table) = OwnTable::find(call, "keys") {
        table.as_owner(|| keys::lock_account(call, Uuid::new(call, charge.key)));
    }
}

fn write(call: &Call, statement: &Statement, batch: &[PendingCharge]) -> Option<Vec<Flushed>> {
    if !exists(call) {
        return None;
    }
    OwnTable::find(call, "keys")?;
    let table = OwnTable::find(call, "quota_usage")?;
    let texts = |of: fn(&PendingCharge) -> &str| Some(TextArray::new(batch.iter().map(of)).datum());
    let numbers = |of: fn(&PendingCharge) -> i64| types::array_of_bigints(batch.iter().map(of));
    let caller = Caller::of(call);
    let parameters = [
        types::array_of_uuids(batch.iter().map(|charge| charge.key)),
        texts(|charge| charge.counts.holder.name()),
        texts(|charge| charge.counts.meter.as_str()),
        texts(|charge| charge.counts.span.name()),
        types::array_of_timestamps(batch.iter().map(|charge| charge.counts.period_start)),
        numbers(|charge| charge.amount),
        numbers(|charge| charge.warn_from),
        Some(caller.role.datum()),
        Some(caller.session_role.datum()),
    ];
    Some(table.as_owner(|| {
        let rows = events::write(call, statement, &parameters);
        let found = rows.iter().map(|row| match (row.bigint(0), row.is(1)) {
            (Some(used), _) => Flushed::Added(used),
            (None, true) => Flushed::Locked,
            (None, false) => Flushed::NoKey,
        });
        found.collect()
    }))
}

/// Declares a statement that adds charges; `others` is what becomes of rows that others hold.
///
/// A row for each charge, in order: what the table has now, where it was added, and whether there
/// is such a key.
///
/// Like the flush of uses, that of charges waits for no row: what others hold waits for the next
/// flush. A row is added only while the account's row is there: a transaction that renames or
/// deletes the account has removed it, and does not find a row that is added meanwhile. When the
/// row of a period is added, those of earlier ones go that were not changed for a day.
macro_rules! add {
    (others: $others:literal) => {
        Statement::new(
            sql!(
                "WITH noted AS MATERIALIZED (
                    SELECT n.at, n.kind, n.meter, n.span, n.period_start, n.amount, n.warn_from, k.id,
                           k.account,
                           CASE n.kind WHEN 'key' THEN k.id::text ELSE k.account END COLLATE \"C\" AS subject
                      FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3),
                                      pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6),
                                      pg_catalog.unnest($7)) WITH ORDINALITY
                           AS n (key_id, kind, meter, span, period_start, amount, warn_from, at)
                      LEFT JOIN vpk.keys AS k ON k.id = n.key_id
                ), summed AS MATERIALIZED (
                    SELECT n.subject, n.kind, n.meter, n.span, n.period_start,
                           greatest(-9223372036854775807, least(9223372036854775807,
                               pg_catalog.sum(n.amount)))::pg_catalog.int8 AS amount,
                           pg_catalog.max(n.warn_from) AS warn_from, pg_catalog.min(n.account) AS account,
                           (pg_catalog.array_agg(n.id))[1] AS id
                      FROM noted AS n WHERE n.id IS NOT NULL
                     GROUP BY n.subject, n.kind, n.meter, n.span, n.period_start
                ), free AS MATERIALIZED (
                    SELECT u.subject, u.kind, u.meter, u.span, u.period_start, u.warned
                      FROM vpk.quota_usage AS u
                      JOIN summed AS s USING (subject, kind, meter, span, period_start)
                       FOR NO KEY UPDATE OF u",
                $others,
                "
                ), updated AS (
                    UPDATE vpk.quota_usage AS u
                       SET used = greatest(0, u.used + least(s.amount, 9223372036854775807 - u.used)),
                           warned = u.warned OR s.warn_from > 0 AND s.warn_from
                               <= u.used + least(s.amount, 9223372036854775807 - u.used),
                           updated_at = pg_catalog.clock_timestamp()
                      FROM free AS f JOIN summed AS s USING (subject, kind, meter, span, period_start)
                     WHERE u.subject = f.subject AND u.kind = f.kind AND u.meter = f.meter
                       AND u.span = f.span AND u.period_start = f.period_start
                    RETURNING u.subject, u.kind, u.meter, u.span, u.period_start, u.used,
                              u.warned AND NOT f.warned AS warns, s.account
                ), unused AS MATERIALIZED (
                    SELECT s.subject, s.kind, s.meter, s.span, s.period_start
                      FROM vpk.keys AS k
                      JOIN summed AS s ON s.id = k.id
                      JOIN vpk.accounts AS a ON a.account = s.account
                     WHERE NOT EXISTS (
                               SELECT FROM vpk.quota_usage AS u
                                WHERE u.subject = s.subject AND u.kind = s.kind AND u.meter = s.meter
                                  AND u.span = s.span AND u.period_start = s.period_start)
                       FOR KEY SHARE OF k, a",
                $others,
                "
                ), added AS (
                    INSERT INTO vpk.quota_usage AS u (subject, kind, meter, span, period_start, used, warned)
                    SELECT s.subject, s.kind, s.meter, s.span, s.period_start, greatest(0, s.amount),
                           s.warn_from > 0 AND s.amount >= s.warn_from
                      FROM summed AS s
                      JOIN unused AS n USING (subject, kind, meter, span, period_start)
                    ON CONFLICT (subject, kind, meter, span, period_start) DO NOTHING
                    RETURNING u.subject, u.kind, u.meter, u.span, u.period_start, u.used, u.warned
                ), outdated AS (
                    DELETE FROM vpk.quota_usage AS u
                     WHERE u.ctid = ANY (ARRAY(
                               SELECT o.ctid FROM vpk.quota_usage AS o JOIN added AS a
                                   ON o.subject = a.subject AND o.kind = a.kind
                                  AND o.meter = a.meter AND o.span = a.span
                                  AND o.period_start < a.period_start
                                WHERE o.updated_at < pg_catalog.clock_timestamp() - interval '1 day'
                                  FOR UPDATE OF o SKIP LOCKED))
                ), done AS MATERIALIZED (
                    SELECT u.* FROM updated AS u
                    UNION ALL
                    SELECT a.*, s.account
                      FROM added AS a JOIN summed AS s USING (subject, kind, meter, span, period_start)
                ), ",
                record_events!(
                    "event, account, key_id, details",
                    of: "SELECT 'quota_warning'::text, d.account,
                                CASE d.kind WHEN 'key' THEN d.subject::pg_catalog.uuid END,
                                pg_catalog.jsonb_build_object(
                                    'meter', d.meter, 'period', d.span, 'period_start', d.period_start,
                                    'used', d.used, 'applies_to', d.kind)
                           FROM done AS d WHERE d.warns",
                    by: "$8", "$9"
                ),
                " SELECT d.used, n.id IS NOT NULL, ",
                missed_events!(),
                " FROM noted AS n
                  LEFT JOIN done AS d USING (subject, kind, meter, span, period_start)
                 ORDER BY n.at"
            ),
            &[
                UUIDARRAYOID,
                TEXTARRAYOID,
                TEXTARRAYOID,
                TEXTARRAYOID,
                TIMESTAMPTZARRAYOID,
                INT8ARRAYOID,
                INT8ARRAYOID,
                TEXTOID,
                TEXTOID,
            ],
        )
    };
}

static FLUSH: Statement = add!(others: " SKIP LOCKED");

static ADD: Statement = add!(others: "");
