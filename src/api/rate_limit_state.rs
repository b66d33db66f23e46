//! `vpk_rate_limit_state` and `vpk_reset_rate_limit`.

use pgrx::prelude::*;

use crate::admin::rate_limit_state;
use crate::pg::call::Call;
use crate::pg::error::OrRaise;
use crate::pg::ffi::guard::passing_errors;
use crate::pg::types::table::TableIterator;
use crate::pg::types::{Interval, Text, Uuid};

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_rate_limit_state(
    account: default!(Option<Text>, "NULL"),
    id: default!(Option<Uuid>, "NULL"),
    call: Call,
) -> TableIterator<
    'static,
    (
        name!(policy, Text),
        name!(applies_to, Text),
        name!(amount, i32),
        name!(period, Interval),
        name!(burst, i32),
        name!(remaining, Option<i32>),
        name!(resets_in, Option<Interval>),
    ),
> {
    passing_errors(|| {
        let states = rate_limit_state::state(&call, account, id).or_raise();
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let rows = states.iter().map(|state| {
            let policy = state.named.policy;
            (
                Text::new(&call, state.named.name.as_str().as_bytes()),
                Text::new(&call, state.applies_to.as_bytes()),
                number(policy.amount()),
                Interval::of_seconds(&call, policy.period()),
                number(policy.burst()),
                state.left.map(|left| number(left.remaining)),
                state.left.map(|left| Interval::of_seconds(&call, left.resets_in)),
            )
        });
        TableIterator::new(&call, rows)
    })
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_reset_rate_limit(
    account: default!(Option<Text>, "NULL"),
    id: default!(Option<Uuid>, "NULL"),
    policy: default!(Option<Text>, "NULL"),
    call: Call,
) -> i32 {
    passing_errors(|| rate_limit_state::reset(&call, account, id, policy).or_raise())
}
