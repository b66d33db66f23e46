//! The statements on accounts and plans.

use pgrx::pg_sys::{Oid, TEXTOID, TIMESTAMPTZOID};

use crate::pg::call::Call;
use crate::pg::sql::own_table::OwnTable;
use crate::pg::sql::statement::Statement;
use crate::pg::types::{SqlValue, Text, Timestamp};
use crate::store::events::{self, Caller, missed_events, record_events};
use crate::store::keys::RemovedKeys;
use crate::store::limits;
use crate::store::quotas;

/// The names of all plans, in order of rank.
pub fn plan_names(call: &Call) -> Vec<Text> {
    PLAN_NAMES.write(call, &[]).iter().filter_map(|row| row.text(0)).collect()
}

static PLAN_NAMES: Statement =
    Statement::new(c"SELECT p.plan FROM vpk.plans AS p ORDER BY p.rank, p.plan", &[]);

/// Whether an account is on a plan, which exists.
pub fn is_on_plan(call: &Call, account: Text, plan: Text) -> bool {
    !IS_ON_PLAN.write(call, &[Some(account.datum()), Some(plan.datum())]).is_empty()
}

static IS_ON_PLAN: Statement = Statement::new(
    c"SELECT a.account FROM vpk.accounts AS a JOIN vpk.plans AS p ON p.plan = a.plan
       WHERE a.account = $1 AND a.plan = $2",
    &[TEXTOID, TEXTOID],
);

/// Puts an account on a plan, and makes the account where it does not exist; false where there is
/// no such plan.
pub fn set_plan(call: &Call, account: Text, plan: Text, caller: Caller) -> bool {
    let Caller { role, session_role } = caller;
    let parameters = [account, plan, role, session_role].map(|text| Some(text.datum()));
    !events::write(call, &SET_PLAN, &parameters).is_empty()
}

static SET_PLAN: Statement = Statement::new(
    sql!(
        "WITH moved AS (
            INSERT INTO vpk.accounts AS a (account, plan)
            SELECT $1, p.plan FROM vpk.plans AS p WHERE p.plan = $2 FOR KEY SHARE
            ON CONFLICT (account) DO UPDATE SET plan = EXCLUDED.plan
            RETURNING a.account, a.plan
        ), ",
        record_events!(
            "event, account, details",
            of: "SELECT 'plan_set'::text, m.account,
                        pg_catalog.jsonb_build_object('plan', m.plan)
                   FROM moved AS m",
            by: "$3", "$4"
        ),
        " SELECT m.account, ",
        missed_events!(),
        " FROM moved AS m"
    ),
    &[TEXTOID, TEXTOID, TEXTOID, TEXTOID],
);

/// How often the row of an account is looked for that another transaction has replaced.
pub(super) const LOOKS: usize = 5;

/// Whether an account exists. Nobody can delete it until the transaction ends.
pub fn lock_against_deletion(call: &Call, account: Text) -> bool {
    !LOCK_AGAINST_DELETION.write(call, &[Some(account.datum())]).is_empty()
}

static LOCK_AGAINST_DELETION: Statement = Statement::new(
    c"SELECT a.account FROM vpk.accounts AS a WHERE a.account = $1 FOR KEY SHARE",
    &[TEXTOID],
);

/// Whether an account exists, as of now.
pub fn exists(call: &Call, account: Text) -> bool {
    EXISTS.read_latest(call, &[Some(account.datum())]).processed() > 0
}

static EXISTS: Statement =
    Statement::new(c"SELECT FROM vpk.accounts AS a WHERE a.account = $1", &[TEXTOID]);

/// Whether an account exists. Nobody else can add a key to it or delete it until the transaction
/// ends.
pub fn lock(call: &Call, account: Text) -> bool {
    !LOCK.write(call, &[Some(account.datum())]).is_empty()
}

static LOCK: Statement = Statement::new(
    c"SELECT a.account FROM vpk.accounts AS a WHERE a.account = $1 FOR UPDATE",
    &[TEXTOID],
);

/// Gives an account and all its rows another name, which no account has. Returns the number of its
/// keys.
pub fn rename(call: &Call, account: Text, new_account: Text, caller: Caller) -> i64 {
    let Caller { role, session_role } = caller;
    let parameters = [account, new_account, role, session_role].map(|text| Some(text.datum()));
    let statement = if limits::exist(call) { &RENAME } else { &RENAME_WITHOUT_LIMITS };
    let rows = events::write(call, statement, &parameters);
    events::rename(call, account, new_account);
    quotas::rename_account(call, account, new_account);
    rows.first().and_then(|row| row.bigint(0)).unwrap_or(0)
}

/// The tables of others with a foreign key on vpk.accounts that has a row follow when the account's
/// row is deleted, each with its constraint. Nobody can add one until the transaction ends.
pub fn following(call: &Call) -> Vec<(Text, Text)> {
    OwnTable::find(call, "accounts");
    let rows = FOLLOWING.read_latest(call, &[]);
    rows.iter().filter_map(|row| row.text(0).zip(row.text(1))).collect()
}

static FOLLOWING: Statement = Statement::new(
    c"SELECT f.conrelid::pg_catalog.regclass::text, f.conname::text
        FROM pg_catalog.pg_constraint AS f
       WHERE f.contype = 'f' AND f.confrelid = 'vpk.accounts'::pg_catalog.regclass
         AND f.confdeltype NOT IN ('a', 'r') AND f.conparentid = 0
       ORDER BY 1, 2",
    &[],
);

/// The account gets a new row: the triggers note that the name is gone, and refuse an UPDATE of it.
/// The row also has `$values` in `$columns`.
macro_rules! rename {
    ($($columns:literal, $values:literal)?) => {
    sql!(
        "WITH added AS (
            INSERT INTO vpk.accounts (account, plan, created_at", $($columns,)? ")
            SELECT $2, a.plan, a.created_at", $($values,)? "
              FROM vpk.accounts AS a WHERE a.account = $1
        ), removed AS (
            DELETE FROM vpk.accounts AS a WHERE a.account = $1
        ), moved AS (
            UPDATE vpk.keys AS k SET account = $2 WHERE k.account = $1 RETURNING k.id
        ), leases AS (
            UPDATE vpk.task_leases AS l SET account = $2 WHERE l.account = $1
        ), ",
        record_events!(
            "event, account, details",
            of: "SELECT 'account_renamed'::text, $2,
                        pg_catalog.jsonb_build_object('renamed_from', $1)",
            by: "$3", "$4"
        ),
        " SELECT pg_catalog.count(*), ",
        missed_events!(),
        " FROM moved AS m"
    )
    };
}

/// With `pristine`, the row is taken as it is, as one that is restored: its limits may be in a form
/// that this release cannot read.
static RENAME: Statement = Statement::new(
    rename!(
        ", rate_limits, quotas, quota_grants, pristine",
        ", a.rate_limits, a.quotas, a.quota_grants, false"
    ),
    &FOUR_TEXTS,
);

/// For a database that was not updated yet.
static RENAME_WITHOUT_LIMITS: Statement = Statement::new(rename!(), &FOUR_TEXTS);

const FOUR_TEXTS: [Oid; 4] = [TEXTOID; 4];

/// Deletes all rows of an account except its own and its usage, which [`super::usage::forget`]
/// deletes. Anonymizes its events. `now` is the time of the events that it records.
pub fn empty(call: &Call, account: Text, now: Timestamp, caller: Caller) -> RemovedKeys {
    let parameters = [
        Some(account.datum()),
        Some(caller.role.datum()),
        Some(caller.session_role.datum()),
        Some(now.datum()),
    ];
    let removed = RemovedKeys::of(&events::write(call, &EMPTY, &parameters));
    events::anonymize(call, account);
    removed
}

static EMPTY: Statement = Statement::new(
    sql!(
        "WITH deleted AS (
            DELETE FROM vpk.keys AS k WHERE k.account = $1 RETURNING k.id
        ), leases AS (
            DELETE FROM vpk.task_leases AS l WHERE l.account = $1
        ), ",
        record_events!(
            "occurred_at, event, key_id",
            of: "SELECT $4, 'key_deleted'::text, d.id FROM deleted AS d
                 UNION ALL
                 SELECT $4, 'account_deleted', NULL",
            by: "$2", "$3"
        ),
        " SELECT pg_catalog.count(*), pg_catalog.array_agg(d.id), ",
        missed_events!(),
        " FROM deleted AS d"
    ),
    &[TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID],
);

/// Deletes the row of an account, and what is used of its quotas.
pub fn delete(call: &Call, account: Text) {
    quotas::forget_account(call, account);
    DELETE.write(call, &[Some(account.datum())]);
}

static DELETE: Statement =
    Statement::new(c"DELETE FROM vpk.accounts AS a WHERE a.account = $1", &[TEXTOID]);

/// Whether an account is on a plan, as of now: accounts that the transaction's snapshot does not
/// show count too.
pub fn is_plan_in_use(call: &Call, plan: Option<Text>) -> bool {
    ON_PLAN.read_latest(call, &[plan.map(Text::datum)]).processed() > 0
}

static ON_PLAN: Statement =
    Statement::new(c"SELECT FROM vpk.accounts AS a WHERE a.plan = $1 LIMIT 1", &[TEXTOID]);
