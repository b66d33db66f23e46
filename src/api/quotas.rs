//! What is used of quotas, granting more of them, charging them after a call, and handing over a
//! standby's charges to the primary.

use pgrx::prelude::*;

use crate::admin::quotas::{self, NewCharge, NewGrant};
use crate::limits::handover::{self, Handed};
use crate::pg::call::Call;
use crate::pg::error::OrRaise;
use crate::pg::ffi::guard::passing_errors;
use crate::pg::types::table::TableIterator;
use crate::pg::types::{Text, Timestamp, Uuid};

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_quota(
    account: default!(Option<Text>, "NULL"),
    id: default!(Option<Uuid>, "NULL"),
    call: Call,
) -> TableIterator<
    'static,
    (
        name!(meter, Text),
        name!(period, Text),
        name!(applies_to, Text),
        name!(amount, i64),
        name!(granted, i64),
        name!(used, i64),
        name!(remaining, i64),
        name!(period_start, Timestamp),
        name!(resets_at, Timestamp),
    ),
> {
    passing_errors(|| {
        let text = |text: &str| Text::new(&call, text.as_bytes());
        let rows = quotas::used(&call, account, id).or_raise().into_iter().map(|used| {
            let quota = used.quota;
            (
                text(quota.meter.as_str()),
                text(quota.span.name()),
                text(used.holder.name()),
                quota.amount,
                used.granted,
                used.used,
                used.remaining(),
                Timestamp::from_micros(quota.period.start),
                Timestamp::from_micros(quota.period.end),
            )
        });
        TableIterator::new(&call, rows)
    })
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_grant_quota(
    account: Option<Text>,
    amount: Option<i64>,
    meter: default!(Option<Text>, "'calls'"),
    reason: default!(Option<Text>, "NULL"),
    idempotency_key: default!(Option<Text>, "NULL"),
    period: default!(Option<Text>, "NULL"),
    call: Call,
) -> i64 {
    passing_errors(|| {
        let grant = NewGrant { account, amount, meter, reason, idempotency_key, period };
        quotas::grant(&call, grant).or_raise()
    })
}

/// It checks its caller where it refunds, and so is not SECURITY DEFINER.
#[pg_extern(volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_charge(
    id: Option<Uuid>,
    cost: Option<i64>,
    meter: default!(Option<Text>, "'calls'"),
    idempotency_key: default!(Option<Text>, "NULL"),
    call: Call,
) -> Option<i64> {
    passing_errors(|| {
        quotas::charge(&call, NewCharge { id, cost, meter, idempotency_key }).or_raise()
    })
}

#[pg_extern(volatile, parallel_unsafe)]
fn vpk_pending_charges(
    max_rows: default!(Option<i32>, "10000"),
    call: Call,
) -> TableIterator<
    'static,
    (
        name!(charge, i64),
        name!(key_id, Uuid),
        name!(applies_to, Text),
        name!(meter, Text),
        name!(period, Text),
        name!(period_start, Timestamp),
        name!(amount, i64),
        name!(charged, i64),
        name!(warn_from, i64),
        name!(charged_at, Timestamp),
    ),
> {
    passing_errors(|| {
        let text = |text: &str| Text::new(&call, text.as_bytes());
        let rows = handover::pending(max_rows).or_raise().into_iter().map(|report| {
            let charge = report.charge;
            (
                report.number,
                Uuid::new(&call, charge.key),
                text(charge.counts.holder.name()),
                text(charge.counts.meter.as_str()),
                text(charge.counts.span.name()),
                Timestamp::from_micros(charge.counts.period_start),
                charge.amount,
                charge.charged,
                charge.warn_from,
                report.charged_at,
            )
        });
        TableIterator::new(&call, rows)
    })
}

#[pg_extern(volatile, parallel_unsafe)]
fn vpk_settle_charges(charge: Option<i64>) -> bool {
    passing_errors(|| handover::settle(charge).or_raise())
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
#[expect(clippy::too_many_arguments, reason = "an SQL function has as many arguments")]
fn vpk_add_charges(
    key_id: Option<Uuid>,
    applies_to: Option<Text>,
    meter: Option<Text>,
    period: Option<Text>,
    period_start: Option<Timestamp>,
    amount: Option<i64>,
    charged: Option<i64>,
    warn_from: Option<i64>,
    charged_at: Option<Timestamp>,
    call: Call,
) -> bool {
    passing_errors(|| {
        let handed = Handed {
            key_id,
            applies_to,
            meter,
            period,
            period_start,
            amount,
            charged,
            warn_from,
            charged_at,
        };
        handover::add(&call, &handed).or_raise()
    })
}
