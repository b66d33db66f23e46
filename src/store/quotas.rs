//! What is used of quotas, in vpk.quota_usage, and the idempotency keys of charges and grants.

pub mod charges;

use core::ops::ControlFlow;

use pgrx::pg_sys::{INT8OID, TEXTOID, TIMESTAMPTZOID, UUIDARRAYOID, UUIDOID};

use pure::limits::name::Name;
use pure::limits::pending_charge::PendingCharge;
use pure::limits::quota_decision::Counts;
use pure::limits::quota_period::Span;

use crate::pg::call::Call;
use crate::pg::read::catalog::Table;
use crate::pg::read::scan::{Opened, Wanted};
use crate::pg::read::snapshot;
use crate::pg::sql::statement::{Row, Statement};
use crate::pg::types::{self, Bytes, SqlValue, Text, Timestamp, TypedDatum, Uuid};
use crate::store::events::{self, Caller, missed_events, record_events};
use crate::store::limits::Subject;
use crate::store::lookup::columns::{self, quota_usage};

/// What the table has of a quota: 0 where it has nothing. `subject` is the account, or the id of
/// the key. What the own transaction did does not count: the number decides on the calls of all
/// sessions. Unguarded: see [`crate::pg::ffi::unguarded`].
pub fn used_unguarded(subject: Bytes, counts: &Counts) -> i64 {
    let opened = Opened::open(Table::QuotaUsage, columns::shape(Table::QuotaUsage));
    let mut used = 0;
    opened.each_visible(Some(Wanted::text_of(subject)), snapshot::committed(), |row| {
        let is = |column, name: &str| {
            row.text(column).is_some_and(|text| text.bytes() == name.as_bytes())
        };
        let start = row.timestamp(quota_usage::PERIOD_START).map(Timestamp::micros);
        if start == Some(counts.period_start)
            && is(quota_usage::SPAN, counts.span.name())
            && is(quota_usage::METER, counts.meter.as_str())
            && is(quota_usage::KIND, counts.holder.name())
        {
            used = row.bigint(quota_usage::USED).unwrap_or(0);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    opened.close();
    used
}

/// Whether the database has the tables: one that was not updated to 0.10.0 does not.
fn exists(call: &Call) -> bool {
    !EXISTS.read_latest(call, &[]).is_empty()
}

static EXISTS: Statement = Statement::new(
    c"SELECT 1 FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
       WHERE n.nspname = 'vpk' AND c.relname = 'quota_usage'",
    &[],
);

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
/// transaction that makes the same one. Removes some whose time is over, of any account.
pub fn note_request(
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
    c"WITH outdated AS (
          DELETE FROM vpk.charges AS c
           WHERE (c.account, c.kind, c.meter, c.idempotency_key) IN (
                     SELECT o.account, o.kind, o.meter, o.idempotency_key FROM vpk.charges AS o
                      WHERE o.kept_until < pg_catalog.clock_timestamp()
                        AND (o.account, o.kind, o.meter, o.idempotency_key) <> ($1, $2, $3, $4)
                      ORDER BY o.kept_until LIMIT 10 FOR UPDATE SKIP LOCKED)
      )
      INSERT INTO vpk.charges AS c (account, kind, meter, idempotency_key, kept_until)
      VALUES ($1, $2, $3, $4, $5)
      ON CONFLICT (account, kind, meter, idempotency_key) DO UPDATE
          SET kept_until = EXCLUDED.kept_until
          WHERE c.kept_until < pg_catalog.clock_timestamp()
      RETURNING c.account",
    &[TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID],
);

/// Deletes what is used of the quotas of removed keys.
pub(super) fn forget_keys(call: &Call, ids: TypedDatum) {
    if exists(call) {
        FORGET_KEYS.write(call, &[Some(ids)]);
    }
}

static FORGET_KEYS: Statement = Statement::new(
    c"DELETE FROM vpk.quota_usage AS u
       WHERE u.subject IN (SELECT k.id::text FROM pg_catalog.unnest($1) AS k (id))
         AND u.kind = 'key'",
    &[UUIDARRAYOID],
);

/// Deletes what is used of an account's quotas, and its idempotency keys. Runs after the statement
/// that deletes its keys: a flush may have added a row while that waited for it.
pub(super) fn forget_account(call: &Call, account: Text) {
    if !exists(call) {
        return;
    }
    FORGET_USED.write(call, &[Some(account.datum())]);
    FORGET_REQUESTS.write(call, &[Some(account.datum())]);
}

static FORGET_USED: Statement = Statement::new(
    c"DELETE FROM vpk.quota_usage AS u WHERE u.subject = $1 AND u.kind = 'account'",
    &[TEXTOID],
);

static FORGET_REQUESTS: Statement =
    Statement::new(c"DELETE FROM vpk.charges AS c WHERE c.account = $1", &[TEXTOID]);

/// Gives what is used of an account's quotas, and its idempotency keys, the account's new name.
pub(super) fn rename_account(call: &Call, account: Text, new_account: Text) {
    if !exists(call) {
        return;
    }
    let parameters = [Some(account.datum()), Some(new_account.datum())];
    // No account has the new name, but rows can be left of one that had it.
    forget_account(call, new_account);
    RENAME_USED.write(call, &parameters);
    RENAME_REQUESTS.write(call, &parameters);
}

static RENAME_USED: Statement = Statement::new(
    c"UPDATE vpk.quota_usage AS u SET subject = $2 WHERE u.subject = $1 AND u.kind = 'account'",
    &[TEXTOID, TEXTOID],
);

static RENAME_REQUESTS: Statement =
    Statement::new(c"UPDATE vpk.charges AS c SET account = $2 WHERE c.account = $1", &[TEXTOID; 2]);

/// Has a quota that is made now count from now on: deletes what was used of an earlier one.
pub fn begin(call: &Call, subject: Subject, meter: Name, span: Span) {
    let text = |text: &str| Some(Text::new(call, text.as_bytes()).datum());
    let (meter, span) = (text(meter.as_str()), text(span.name()));
    match subject {
        Subject::Plan(plan) => BEGIN_FOR_PLAN.write(call, &[Some(plan.datum()), meter, span]),
        Subject::Account(account) => {
            BEGIN_FOR_ACCOUNT.write(call, &[Some(account.datum()), meter, span])
        }
        Subject::Key(id) => BEGIN_FOR_KEY.write(call, &[Some(id.datum()), meter, span]),
    };
}

/// Accounts with such a quota of their own have it instead of the plan's.
static BEGIN_FOR_PLAN: Statement = Statement::new(
    c"DELETE FROM vpk.quota_usage AS u USING vpk.accounts AS a
       WHERE a.plan = $1 AND u.subject = a.account AND u.kind = 'account'
         AND u.meter = $2 AND u.span = $3
         AND NOT EXISTS (
                 SELECT FROM vpk.quota_rows(a.quotas) AS q
                  WHERE q.meter = $2 AND q.period = $3)",
    &[TEXTOID, TEXTOID, TEXTOID],
);

/// Of each charge, in order, whether its account has a quota of this kind of a plan, and none of
/// its own.
pub fn have_it_of_plan(
    call: &Call,
    plan: Text,
    meter: Name,
    span: Span,
    charges: &[PendingCharge],
) -> Vec<bool> {
    let text = |text: &str| Some(Text::new(call, text.as_bytes()).datum());
    let parameters = [
        Some(plan.datum()),
        text(meter.as_str()),
        text(span.name()),
        types::array_of_uuids(charges.iter().map(|charge| charge.key)),
    ];
    HAVE_IT_OF_PLAN.read_latest(call, &parameters).iter().map(|row| row.is(0)).collect()
}

static HAVE_IT_OF_PLAN: Statement = Statement::new(
    c"SELECT a.account IS NOT NULL
        FROM pg_catalog.unnest($4) WITH ORDINALITY AS n (id, at)
        LEFT JOIN (vpk.keys AS k JOIN vpk.accounts AS a ON a.account = k.account AND a.plan = $1)
          ON k.id = n.id
         AND NOT EXISTS (
                 SELECT FROM vpk.quota_rows(a.quotas) AS q
                  WHERE q.meter = $2 AND q.period = $3)
       ORDER BY n.at",
    &[TEXTOID, TEXTOID, TEXTOID, UUIDARRAYOID],
);

static BEGIN_FOR_ACCOUNT: Statement = Statement::new(
    c"DELETE FROM vpk.quota_usage AS u
       WHERE u.subject = $1 AND u.kind = 'account' AND u.meter = $2 AND u.span = $3",
    &[TEXTOID, TEXTOID, TEXTOID],
);

static BEGIN_FOR_KEY: Statement = Statement::new(
    c"DELETE FROM vpk.quota_usage AS u
       WHERE u.subject = $1::text AND u.kind = 'key' AND u.meter = $2 AND u.span = $3",
    &[UUIDOID, TEXTOID, TEXTOID],
);

/// Sets what was granted to an account, whose row the transaction has locked, and records it.
pub fn set_grants(
    call: &Call,
    account: Text,
    grants: &str,
    details: &GrantDetails,
    caller: Caller,
) {
    let text = |text: &str| Text::new(call, text.as_bytes()).datum();
    let parameters = [
        Some(account.datum()),
        Some(text(grants)),
        Some(text(details.meter)),
        Some(text(details.period)),
        Some(details.period_start.datum()),
        Some(details.amount.into()),
        details.reason.map(|reason| reason.datum()),
        Some(caller.role.datum()),
        Some(caller.session_role.datum()),
    ];
    events::write(call, &SET_GRANTS, &parameters);
}

/// What the event of a grant says.
pub struct GrantDetails<'call> {
    /// What is counted.
    pub meter: &'call str,
    /// The length of the period.
    pub period: &'call str,
    /// When the period began.
    pub period_start: Timestamp,
    /// How much was granted.
    pub amount: i64,
    /// Why, if the caller says so.
    pub reason: Option<Text>,
}

static SET_GRANTS: Statement = Statement::new(
    sql!(
        "WITH granted AS (
            UPDATE vpk.accounts AS a SET quota_grants = $2 WHERE a.account = $1 RETURNING a.account
        ), ",
        record_events!(
            "event, account, details",
            of: "SELECT 'quota_granted'::text, g.account,
                        pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                            'meter', $3, 'period', $4, 'period_start', $5, 'amount', $6,
                            'reason', $7))
                   FROM granted AS g",
            by: "$8", "$9"
        ),
        " SELECT ",
        missed_events!()
    ),
    &[TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, INT8OID, TEXTOID, TEXTOID, TEXTOID],
);

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
    LOCK_ACCOUNT.write(call, &[Some(account.datum())]);
    of_account(call, account)
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

/// The same, for callers that hold values with destructors.
pub fn used(call: &Call, subject: Text, counts: &Counts) -> i64 {
    let text = |text: &str| Some(Text::new(call, text.as_bytes()).datum());
    let parameters = [
        Some(subject.datum()),
        text(counts.holder.name()),
        text(counts.meter.as_str()),
        text(counts.span.name()),
        Some(Timestamp::from_micros(counts.period_start).datum()),
    ];
    USED.read_committed(call, &parameters).first().and_then(|row| row.bigint(0)).unwrap_or(0)
}

static USED: Statement = Statement::new(
    c"SELECT u.used FROM vpk.quota_usage AS u
       WHERE u.subject = $1 AND u.kind = $2 AND u.meter = $3 AND u.span = $4
         AND u.period_start = $5",
    &[TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID],
);
