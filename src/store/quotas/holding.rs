//! The quotas that an account or a key has, as the columns of the tables say.

use pgrx::pg_sys::{TEXTOID, UUIDOID};

use super::exists;
use crate::pg::call::Call;
use crate::pg::sql::statement::{Row, Statement};
use crate::pg::types::{SqlValue, Text, Uuid};
use crate::store::accounts::LOOKS;

/// The columns that decide which quotas an account or a key has.
pub struct Holding {
    /// The account.
    pub account: Text,
    /// The id of the key; None for an account.
    pub key: Option<Uuid>,
    /// The quotas of its plan.
    pub of_plan: Option<Text>,
    /// Its own.
    pub of_account: Option<Text>,
    /// The key's.
    pub of_key: Option<Text>,
    /// What was granted to the account.
    pub grants: Option<Text>,
}

impl Holding {
    fn of(row: Row) -> Option<Holding> {
        Some(Holding {
            account: row.text(0)?,
            key: row.uuid(1),
            of_plan: row.text(2),
            of_account: row.text(3),
            of_key: row.text(4),
            grants: row.text(5),
        })
    }
}

/// Those of an account, as of now; None if there is no such account.
pub fn of_account(call: &Call, account: Text) -> Option<Holding> {
    if !exists(call) {
        return None;
    }
    OF_ACCOUNT.read_latest(call, &[Some(account.datum())]).first().and_then(Holding::of)
}

static OF_ACCOUNT: Statement = Statement::new(
    c"SELECT a.account, NULL::pg_catalog.uuid, p.quotas, a.quotas, NULL::text, a.quota_grants
        FROM vpk.accounts AS a LEFT JOIN vpk.plans AS p ON p.plan = a.plan
       WHERE a.account = $1",
    &[TEXTOID],
);

/// Those of an account, whose row is locked until the transaction ends. They are read after the
/// wait for the lock: a statement that locks one table reads the others as they were before.
pub fn lock_account(call: &Call, account: Text) -> Option<Holding> {
    let lock = || !LOCK_ACCOUNT.write(call, &[Some(account.datum())]).is_empty();
    // What it waits for may rename the account there and back, which leaves another row.
    (0..LOOKS).any(|_| lock()).then(|| of_account(call, account)).flatten()
}

static LOCK_ACCOUNT: Statement = Statement::new(
    c"SELECT a.account FROM vpk.accounts AS a WHERE a.account = $1 FOR NO KEY UPDATE",
    &[TEXTOID],
);

/// Those of a key and its account, as of now; None if there is no such key.
pub fn of_key(call: &Call, id: Uuid) -> Option<Holding> {
    OF_KEY.read_latest(call, &[Some(id.datum())]).first().and_then(Holding::of)
}

static OF_KEY: Statement = Statement::new(
    c"SELECT k.account, k.id, p.quotas, a.quotas, k.quotas, a.quota_grants
        FROM vpk.keys AS k
        LEFT JOIN vpk.accounts AS a ON a.account = k.account
        LEFT JOIN vpk.plans AS p ON p.plan = a.plan
       WHERE k.id = $1",
    &[UUIDOID],
);
