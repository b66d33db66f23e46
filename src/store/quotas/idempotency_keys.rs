//! The idempotency keys of charges and grants, in vpk.charges. For how long one is kept is in
//! [`crate::admin::quotas`].

use pgrx::pg_sys::{INT8OID, TEXTOID, TIMESTAMPTZOID};

use pure::limits::name::Name;

use crate::pg::call::Call;
use crate::pg::sql::own_table::OwnTable;
use crate::pg::sql::statement::Statement;
use crate::pg::types::{SqlValue, Text, Timestamp};

/// What a request with an idempotency key does.
#[derive(Clone, Copy)]
pub enum Request {
    /// `vpk_charge`.
    Charge,
    /// `vpk_grant_quota`.
    Grant,
}

/// Notes a request of an account for a meter. Returns false if it was made before and its time is
/// not over. What one request took of several meters has one idempotency key. Waits for a
/// transaction that makes the same one.
pub fn note(
    call: &Call,
    account: Text,
    request: Request,
    meter: Name,
    idempotency_key: Text,
    kept_until: Timestamp,
) -> bool {
    let kind = match request {
        Request::Charge => "charge",
        Request::Grant => "grant",
    };
    let parameters = [
        Some(account.datum()),
        Some(Text::new(call, kind.as_bytes()).datum()),
        Some(Text::new(call, meter.as_str().as_bytes()).datum()),
        Some(idempotency_key.datum()),
        Some(kept_until.datum()),
    ];
    !NOTE_REQUEST.write(call, &parameters).is_empty()
}

static NOTE_REQUEST: Statement = Statement::new(
    c"INSERT INTO vpk.charges AS c (account, kind, meter, idempotency_key, kept_until)
      VALUES ($1, $2, $3, $4, $5)
      ON CONFLICT (account, kind, meter, idempotency_key) DO UPDATE
          SET kept_until = EXCLUDED.kept_until
          WHERE c.kept_until < pg_catalog.clock_timestamp()
      RETURNING c.account",
    &[TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID],
);

/// Removes idempotency keys whose time is over, at most a thousand. Returns whether there may be
/// more; None in a database without the table.
pub fn prune(call: &Call) -> Option<bool> {
    let table = OwnTable::find_newer(call, "charges")?;
    Some(table.as_owner(|| PRUNE.write(call, &[Some(MOST.into())]).processed() == MOST))
}

const MOST: i64 = 1_000;

/// The index on the time is searched for a value that does not change meanwhile.
static PRUNE: Statement = Statement::new(
    c"DELETE FROM vpk.charges AS c
       WHERE (c.account, c.kind, c.meter, c.idempotency_key) IN (
                 SELECT o.account, o.kind, o.meter, o.idempotency_key FROM vpk.charges AS o
                  WHERE o.kept_until < (SELECT pg_catalog.clock_timestamp())
                  ORDER BY o.kept_until LIMIT $1 FOR UPDATE SKIP LOCKED)",
    &[INT8OID],
);
