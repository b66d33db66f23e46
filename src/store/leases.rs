//! The leases of concurrent tasks.

use core::ops::ControlFlow;

use pgrx::pg_sys::{INTERVALOID, TEXTOID, TIMESTAMPTZOID, UUIDOID};

use crate::pg::call::Call;
use crate::pg::read::catalog::Table;
use crate::pg::read::scan::{Opened, Wanted};
use crate::pg::read::snapshot;
use crate::pg::server::clock;
use crate::pg::sql::isolation;
use crate::pg::sql::statement::Statement;
use crate::pg::types::{Interval, SqlValue, Text, Timestamp, Uuid};
use crate::store::columns::{self, task_leases::EXPIRES_AT};

/// The end of a lease that starts now; None where the time to live is null or out of range.
///
/// Days and months depend on the session's time zone. The server adds them.
pub fn end_of(call: &Call, ttl: Option<Interval>) -> Option<Timestamp> {
    /// 100 years, as the server compares intervals: months of 30 days.
    const LONGEST: i64 = 100 * 12 * 30 * 86_400 * 1_000_000;
    match ttl?.fields(call) {
        (0, 0, micros @ 1..=LONGEST) => {
            Some(Timestamp::from_micros(clock::now().micros() + micros))
        }
        _ => END.read(call, &[ttl.map(Interval::datum)]).first().and_then(|row| row.timestamp(0)),
    }
}

static END: Statement = Statement::new(
    c"SELECT CASE WHEN $1 > interval '0' AND $1 <= interval '100 years'
                       AND pg_catalog.now() + $1 > pg_catalog.now()
                  THEN pg_catalog.clock_timestamp() + $1 END",
    &[INTERVALOID],
);

/// The leases of an account.
#[derive(Clone, Copy, Default)]
pub struct Leases {
    /// How many have not ended: the running tasks.
    pub running: i64,
    /// When the first of those ends; None where none is running.
    pub first_end: Option<Timestamp>,
    /// Whether there are some that have ended.
    pub some_ended: bool,
}

/// How many leases of an account have not ended.
pub fn running(account: Text) -> i64 {
    let leases = Opened::open(Table::TaskLeases, columns::shape(Table::TaskLeases));
    let now = clock::now().micros();
    let mut running = 0;
    leases.each_visible(Some(Wanted::text(account)), snapshot::latest(), |tuple| {
        let end = tuple.timestamp(EXPIRES_AT);
        running += i64::from(end.is_some_and(|end| end.micros() > now));
        ControlFlow::Continue(())
    });
    leases.close();
    running
}

/// Counts the leases of an account, on the latest snapshot, for a call that will write them.
///
/// Finished tasks leave index entries until the next vacuum, and a large empty table after it. So
/// the index is scanned, and dead entries are marked. Leases that have ended come first in it. They
/// are many if all callers have a stricter isolation level, which leaves them to others. So the
/// scan stops at the first one, and another scan begins behind them.
///
/// Unguarded: see [`crate::pg::ffi::unguarded`].
pub fn count(account: Text) -> Leases {
    let opened = Opened::open(Table::TaskLeases, columns::shape(Table::TaskLeases));
    let (now, snapshot) = (clock::now(), snapshot::latest());
    let scan = |after| {
        let mut found = Leases::default();
        opened.each_visible_for_write(Some(Wanted::text(account)), after, snapshot, |tuple| {
            let end = tuple.timestamp(EXPIRES_AT);
            let Some(end) = end.filter(|end| end.micros() > now.micros()) else {
                found.some_ended = true;
                return if after.is_none() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                };
            };
            found.running += 1;
            let first = found.first_end.filter(|first| first.micros() < end.micros());
            found.first_end = first.or(Some(end));
            ControlFlow::Continue(())
        });
        found
    };
    let mut found = scan(None);
    if found.some_ended {
        found = Leases { some_ended: true, ..scan(Some((EXPIRES_AT, now))) };
    }
    opened.close();
    found
}

/// Deletes the leases of an account that have ended, skipping rows that others have locked. Does
/// so only where a row that was deleted concurrently is not an error: transactions of a stricter
/// isolation level leave the leases to others.
pub fn clear_ended(call: &Call, account: Text) {
    if !isolation::uses_transaction_snapshot() {
        CLEAR_ENDED.write(call, &[Some(account.datum())]);
    }
}

/// Only an ordered index scan can skip the dead entries that an earlier one has met, and end before
/// the leases that are running. `LIMIT NULL` prevents a bitmap scan, and reading the clock in a
/// subselect makes it an index condition. An array, since a join may begin with the leases of all
/// accounts: while few tasks are running, the server takes the table for small, but it can have
/// many leases that are gone and not yet vacuumed.
static CLEAR_ENDED: Statement = Statement::by_index(
    c"DELETE FROM vpk.task_leases AS l
       WHERE l.lease = ANY (ARRAY(SELECT e.lease FROM vpk.task_leases AS e
                                   WHERE e.account = $1
                                     AND e.expires_at <= (SELECT pg_catalog.clock_timestamp())
                                   ORDER BY e.expires_at LIMIT (SELECT NULL::bigint)
                                     FOR UPDATE SKIP LOCKED))",
    &[TEXTOID],
);

/// A lease to insert.
pub struct NewLease {
    /// Identifies the lease.
    pub lease: Uuid,
    /// The account whose plan it counts against.
    pub account: Text,
    /// The key that starts the task.
    pub key: Uuid,
    /// When the task starts.
    pub started_at: Timestamp,
    /// When the lease ends if nobody extends it.
    pub expires_at: Timestamp,
}

/// Inserts a lease.
pub fn start(call: &Call, lease: &NewLease) {
    let parameters = [
        Some(lease.lease.datum()),
        Some(lease.account.datum()),
        Some(lease.key.datum()),
        Some(lease.started_at.datum()),
        Some(lease.expires_at.datum()),
    ];
    START.write(call, &parameters);
}

static START: Statement = Statement::new(
    c"INSERT INTO vpk.task_leases (lease, account, key_id, started_at, expires_at)
      VALUES ($1, $2, $3, $4, $5)",
    &[UUIDOID, TEXTOID, UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID],
);

/// The account of a lease, on the latest snapshot; None where there is no such lease.
pub fn account_of(call: &Call, lease: Option<Uuid>) -> Option<Text> {
    let rows = ACCOUNT_OF.read_latest(call, &[lease.map(Uuid::datum)]);
    rows.first().and_then(|row| row.text(0))
}

static ACCOUNT_OF: Statement = Statement::by_index(
    c"SELECT l.account::text FROM vpk.task_leases AS l WHERE l.lease = $1",
    &[UUIDOID],
);

/// Moves the end of a lease. Returns the new end; None where the lease is missing or has ended.
pub fn extend(call: &Call, lease: Option<Uuid>, ttl: Option<Interval>) -> Option<Timestamp> {
    let rows = EXTEND.write(call, &[lease.map(Uuid::datum), ttl.map(Interval::datum)]);
    rows.first().and_then(|row| row.timestamp(0))
}

static EXTEND: Statement = Statement::by_index(
    c"UPDATE vpk.task_leases AS l SET expires_at = pg_catalog.clock_timestamp() + $2
       WHERE l.lease = $1 AND l.expires_at > pg_catalog.clock_timestamp()
      RETURNING l.expires_at",
    &[UUIDOID, INTERVALOID],
);

/// Deletes a lease. Returns whether it existed and had not ended.
pub fn finish(call: &Call, lease: Option<Uuid>) -> bool {
    FINISH.write(call, &[lease.map(Uuid::datum)]).first().is_some_and(|row| row.is(0))
}

static FINISH: Statement = Statement::by_index(
    c"DELETE FROM vpk.task_leases AS l WHERE l.lease = $1
      RETURNING l.expires_at > pg_catalog.clock_timestamp()",
    &[UUIDOID],
);
