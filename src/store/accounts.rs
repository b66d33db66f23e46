//! Statements on accounts and plans.

use pgrx::pg_sys::{TEXTOID, TIMESTAMPTZOID};

use crate::pg::sql::statement::Statement;

/// All plans, in order of rank.
pub static PLANS: Statement =
    Statement::new(c"SELECT p.plan FROM vpk.plans AS p ORDER BY p.rank, p.plan", &[]);

/// Account, plan, role, session role. A row where the plan exists.
pub static SET_PLAN: Statement = Statement::new(
    c"WITH moved AS (
        INSERT INTO vpk.accounts AS a (account, plan)
        SELECT $1, p.plan FROM vpk.plans AS p WHERE p.plan = $2 FOR KEY SHARE
        ON CONFLICT (account) DO UPDATE SET plan = EXCLUDED.plan
        RETURNING a.account, a.plan
    )
    INSERT INTO vpk.events (event, account, role, session_role, details)
    SELECT 'plan_set', m.account, $3, $4, pg_catalog.jsonb_build_object('plan', m.plan)
      FROM moved AS m
    RETURNING account",
    &[TEXTOID, TEXTOID, TEXTOID, TEXTOID],
);

/// Account. A row where it exists; nobody can delete it until the transaction ends.
pub static KEEP: Statement = Statement::new(
    c"SELECT a.account FROM vpk.accounts AS a WHERE a.account = $1 FOR KEY SHARE",
    &[TEXTOID],
);

/// Account. A row where it exists; nobody else can add a key to it or delete it until the
/// transaction ends.
pub static LOCK: Statement = Statement::new(
    c"SELECT a.account FROM vpk.accounts AS a WHERE a.account = $1 FOR UPDATE",
    &[TEXTOID],
);

/// Account, role, session role, and an instant for the events. All that belongs to the account goes
/// but its row and what [`super::usage::FORGET`] takes; the number of its keys, and their ids. Events keep their ids, and lose what names the account.
pub static EMPTY: Statement = Statement::new(
    c"WITH deleted AS (
        DELETE FROM vpk.keys AS k WHERE k.account = $1 RETURNING k.id
    ), leases AS (
        DELETE FROM vpk.task_leases AS l WHERE l.account = $1
    ), forgotten AS (
        UPDATE vpk.events AS e SET account = NULL, details = '{}' WHERE e.account = $1
    ), recorded AS (
        INSERT INTO vpk.events (occurred_at, event, key_id, role, session_role)
        SELECT $4, 'key_deleted', d.id, $2, $3 FROM deleted AS d
        UNION ALL
        SELECT $4, 'account_deleted', NULL, $2, $3
    )
    SELECT pg_catalog.count(*), pg_catalog.array_agg(d.id) FROM deleted AS d",
    &[TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID],
);

/// Account. Its row goes.
pub static DELETE: Statement =
    Statement::new(c"DELETE FROM vpk.accounts AS a WHERE a.account = $1", &[TEXTOID]);

/// Plan. A row where an account is on it.
pub static ON_PLAN: Statement =
    Statement::new(c"SELECT FROM vpk.accounts AS a WHERE a.plan = $1 LIMIT 1", &[TEXTOID]);
