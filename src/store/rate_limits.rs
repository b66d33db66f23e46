//! The rate limits of an account or a key, as the tables have them.

use pgrx::pg_sys::{TEXTOID, UUIDOID};

use crate::pg::call::Call;
use crate::pg::sql::statement::{Row, Statement};
use crate::pg::types::{SqlValue, Text, Uuid};

/// The columns with rate limits that apply to an account or a key; None is null.
#[derive(Clone, Copy)]
pub struct RateLimits {
    /// The account.
    pub account: Text,
    /// Those of its plan.
    pub of_plan: Option<Text>,
    /// Its own.
    pub of_account: Option<Text>,
    /// Those of the key; None also where an account was asked for.
    pub of_key: Option<Text>,
}

/// The rate limits of an account; None where there is no such account.
pub fn of_account(call: &Call, account: Text) -> Option<RateLimits> {
    let rows = OF_ACCOUNT.read_latest(call, &[Some(account.datum())]);
    rows.first().and_then(read)
}

static OF_ACCOUNT: Statement = Statement::new(
    c"SELECT a.account, p.rate_limits, a.rate_limits, NULL::pg_catalog.text
        FROM vpk.accounts AS a LEFT JOIN vpk.plans AS p ON p.plan = a.plan
       WHERE a.account = $1",
    &[TEXTOID],
);

/// The rate limits of a key; None where there is no such key.
pub fn of_key(call: &Call, id: Uuid) -> Option<RateLimits> {
    let rows = OF_KEY.read_latest(call, &[Some(id.datum())]);
    rows.first().and_then(read)
}

static OF_KEY: Statement = Statement::new(
    c"SELECT k.account, p.rate_limits, a.rate_limits, k.rate_limits
        FROM vpk.keys AS k
        LEFT JOIN vpk.accounts AS a ON a.account = k.account
        LEFT JOIN vpk.plans AS p ON p.plan = a.plan
       WHERE k.id = $1",
    &[UUIDOID],
);

fn read(row: Row) -> Option<RateLimits> {
    Some(RateLimits {
        account: row.text(0)?,
        of_plan: row.text(1),
        of_account: row.text(2),
        of_key: row.text(3),
    })
}
