//! Statements on the leases of concurrent tasks.

use pgrx::pg_sys::{INTERVALOID, TEXTOID, TIMESTAMPTZOID, UUIDOID};

use crate::pg::call::Call;
use crate::pg::sql::isolation;
use crate::pg::sql::statement::Statement;
use crate::pg::types::Parameter;
use crate::pg::types::{SqlValue, Text};

/// A time to live. Its end from now, null where it is out of range.
pub static END: Statement = Statement::new(
    c"SELECT CASE WHEN $1 > interval '0' AND $1 <= interval '100 years'
                       AND pg_catalog.now() + $1 > pg_catalog.now()
                  THEN pg_catalog.clock_timestamp() + $1 END",
    &[INTERVALOID],
);

/// Tasks that have ended leave dead entries in the index until the next vacuum. Only an ordered index
/// scan passes over those of them that it has met before, and starts behind those that are over. So the
/// clock is read once, in a subselect, to be an index condition, and the limit, which is none, keeps the
/// planner from a bitmap.
///
/// Account, to be run on the latest snapshot: the number of its tasks that are running, and what the
/// plan allows, null for no limit.
pub static RUNNING: Statement = Statement::new(
    c"SELECT (SELECT pg_catalog.count(*)
                FROM (SELECT FROM vpk.task_leases AS l
                       WHERE l.account = a.account
                         AND l.expires_at > (SELECT pg_catalog.clock_timestamp())
                       ORDER BY l.expires_at LIMIT (SELECT NULL::bigint)) AS r),
             p.concurrent_tasks
        FROM vpk.accounts AS a JOIN vpk.plans AS p ON p.plan = a.plan
       WHERE a.account = $1",
    &[TEXTOID],
);

/// Takes the account's leases that have ended away, as far as nobody else is at them. Only where a
/// row that somebody has just deleted is no error: a stricter transaction leaves them to another.
pub fn clear_ended(call: &Call, account: Text) {
    if !isolation::uses_transaction_snapshot() {
        CLEAR_ENDED.write(call, &[Some(account.datum())]);
    }
}

/// Account. Leases that have ended go, as far as nobody else is at them. For its shape see [`RUNNING`].
static CLEAR_ENDED: Statement = Statement::new(
    c"DELETE FROM vpk.task_leases AS l
       WHERE l.lease IN (SELECT e.lease FROM vpk.task_leases AS e
                          WHERE e.account = $1
                            AND e.expires_at <= (SELECT pg_catalog.clock_timestamp())
                          ORDER BY e.expires_at LIMIT (SELECT NULL::bigint)
                            FOR UPDATE SKIP LOCKED)",
    &[TEXTOID],
);

/// Lease, account, key, started_at, expires_at.
pub static START: Statement = Statement::new(
    c"INSERT INTO vpk.task_leases (lease, account, key_id, started_at, expires_at)
      VALUES ($1, $2, $3, $4, $5)",
    &[UUIDOID, TEXTOID, UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID],
);

/// The account of a lease.
pub fn account_of(call: &Call, lease: Parameter) -> Option<Text> {
    ACCOUNT_OF.read_latest(call, &[lease]).first().and_then(|row| row.text(0))
}

/// Lease. Its account.
static ACCOUNT_OF: Statement =
    Statement::new(c"SELECT l.account FROM vpk.task_leases AS l WHERE l.lease = $1", &[UUIDOID]);

/// Lease, time to live. Its new end, where it has not ended.
pub static EXTEND: Statement = Statement::new(
    c"UPDATE vpk.task_leases AS l SET expires_at = pg_catalog.clock_timestamp() + $2
       WHERE l.lease = $1 AND l.expires_at > pg_catalog.clock_timestamp()
      RETURNING l.expires_at",
    &[UUIDOID, INTERVALOID],
);

/// Lease. It goes; whether it had not ended.
pub static FINISH: Statement = Statement::new(
    c"DELETE FROM vpk.task_leases AS l WHERE l.lease = $1
      RETURNING l.expires_at > pg_catalog.clock_timestamp()",
    &[UUIDOID],
);
