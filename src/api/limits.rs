//! Limits: those of plans, accounts and keys, and of what an application names itself.

use pgrx::prelude::*;

use crate::admin::limits::{self, Given, NewQuota, RateLimit};
use crate::limits::identifier::{self, Asked};
use crate::pg::call::Call;
use crate::pg::error::OrRaise;
use crate::pg::ffi::guard::passing_errors;
use crate::pg::types::table::TableIterator;
use crate::pg::types::{Date, Interval, Text, Timestamp, Uuid};

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
#[expect(clippy::too_many_arguments, reason = "an SQL function has as many arguments")]
fn vpk_set_rate_limit(
    policy: Option<Text>,
    amount: Option<i32>,
    period: Option<Interval>,
    burst: default!(Option<i32>, "NULL"),
    plan: default!(Option<Text>, "NULL"),
    account: default!(Option<Text>, "NULL"),
    id: default!(Option<Uuid>, "NULL"),
    call: Call,
) {
    passing_errors(|| {
        let limit = RateLimit { policy, amount, period, burst };
        limits::set_rate_limit(&call, Given { plan, account, id }, limit).or_raise();
    })
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
#[expect(clippy::too_many_arguments, reason = "an SQL function has as many arguments")]
fn vpk_set_quota(
    amount: Option<i64>,
    period: default!(Option<Text>, "'month'"),
    meter: default!(Option<Text>, "'calls'"),
    plan: default!(Option<Text>, "NULL"),
    account: default!(Option<Text>, "NULL"),
    id: default!(Option<Uuid>, "NULL"),
    time_zone: default!(Option<Text>, "'UTC'"),
    anchor: default!(Option<Date>, "NULL"),
    warn_at: default!(Option<f32>, "NULL"),
    call: Call,
) {
    passing_errors(|| {
        let quota = NewQuota { amount, period, meter, time_zone, anchor, warn_at };
        limits::set_quota(&call, Given { plan, account, id }, quota).or_raise();
    })
}

/// Called by the triggers on `vpk.plans` and `vpk.accounts`.
#[pg_extern(immutable, parallel_safe, schema = "vpk")]
fn checked_rate_limits(rate_limits: Option<Text>, call: Call) -> Option<Text> {
    passing_errors(|| limits::checked_rate_limits(&call, rate_limits).or_raise())
}

/// Called by the triggers on `vpk.plans` and `vpk.accounts`.
#[pg_extern(immutable, parallel_safe, schema = "vpk")]
fn checked_quotas(quotas: Option<Text>, call: Call) -> Option<Text> {
    passing_errors(|| limits::checked_quotas(&call, quotas).or_raise())
}

/// For the view `vpk.rate_limits`.
#[pg_extern(immutable, parallel_safe, schema = "vpk")]
fn rate_limit_rows(
    rate_limits: Option<Text>,
    call: Call,
) -> TableIterator<
    'static,
    (
        name!(policy, Text),
        name!(amount, Option<i32>),
        name!(period, Interval),
        name!(burst, Option<i32>),
    ),
> {
    passing_errors(|| {
        let rows = limits::rate_limits(&call, rate_limits).into_iter().map(|named| {
            let policy = named.policy;
            (
                Text::new(&call, named.name.as_str().as_bytes()),
                i32::try_from(policy.amount()).ok(),
                Interval::of_seconds(&call, policy.period()),
                i32::try_from(policy.burst()).ok(),
            )
        });
        TableIterator::new(&call, rows)
    })
}

/// For the view `vpk.quotas`.
#[pg_extern(immutable, parallel_safe, schema = "vpk")]
fn quota_rows(
    quotas: Option<Text>,
    call: Call,
) -> TableIterator<
    'static,
    (
        name!(meter, Text),
        name!(period, Text),
        name!(amount, i64),
        name!(time_zone, Text),
        name!(anchor, Option<Date>),
        name!(warn_at, Option<f32>),
    ),
> {
    passing_errors(|| {
        let rows = limits::quotas(&call, quotas).into_iter().map(|quota| {
            (
                Text::new(&call, quota.meter.as_str().as_bytes()),
                Text::new(&call, quota.span.name().as_bytes()),
                quota.amount,
                Text::new(&call, quota.zone.unwrap_or("UTC").as_bytes()),
                quota.anchor.and_then(Date::of_day),
                quota.warn_at.map(|share| f32::from(share) / 100.0),
            )
        });
        TableIterator::new(&call, rows)
    })
}

/// The beginning of the period that an instant is in, or its end. No SQL of ours has it: a test
/// declares it, and compares the time zones with those of the server's own functions.
#[pg_extern(sql = false)]
fn quota_period(
    zone: Text,
    span: Text,
    anchor: Option<Date>,
    at: Timestamp,
    end: bool,
    call: Call,
) -> Option<Timestamp> {
    passing_errors(|| {
        limits::period(&call, zone, span, anchor, at)
            .map(|period| if end { period.end } else { period.start })
            .map(Timestamp::from_micros)
    })
}

#[pg_extern(volatile, parallel_unsafe)]
fn vpk_rate_limit(
    identifier: Option<Text>,
    amount: Option<i32>,
    period: Option<Interval>,
    burst: default!(Option<i32>, "NULL"),
    cost: default!(Option<i32>, "1"),
    call: Call,
) -> TableIterator<
    'static,
    (name!(allowed, bool), name!(remaining, i32), name!(retry_after, Option<i32>)),
> {
    passing_errors(|| {
        let identifier = identifier.map(|identifier| identifier.bytes_unguarded(&call));
        let asked = Asked { identifier, amount, period, burst, cost };
        let answer = identifier::limit(&call, &asked).or_raise();
        TableIterator::once(&call, (answer.allowed, answer.remaining, answer.retry_after))
    })
}
