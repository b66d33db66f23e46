//! What is used of quotas, in vpk.quota_usage.

pub mod charges;
pub mod grants;
pub mod holding;
pub mod idempotency_keys;

use core::ops::ControlFlow;

use pgrx::pg_sys::{TEXTOID, TIMESTAMPTZOID, UUIDARRAYOID, UUIDOID};

use pure::limits::name::Name;
use pure::limits::pending_charge::PendingCharge;
use pure::limits::quota_decision::Counts;
use pure::limits::quota_period::Span;

use crate::pg::call::Call;
use crate::pg::read::catalog::Table;
use crate::pg::read::scan::{Opened, Wanted};
use crate::pg::read::snapshot;
use crate::pg::sql::statement::Statement;
use crate::pg::types::{self, Bytes, SqlValue, Text, Timestamp, TypedDatum};
use crate::store::columns::{self, quota_usage};
use crate::store::limits::Subject;

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

/// The same as [`used_unguarded`], for callers that hold values with destructors.
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
