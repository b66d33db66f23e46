//! Limits of calls.

use pgrx::prelude::*;

use crate::limits::identifier::{self, Asked};
use crate::pg::call::Call;
use crate::pg::error::OrRaise;
use crate::pg::ffi::guard::passing_errors;
use crate::pg::types::table::TableIterator;
use crate::pg::types::{Interval, Text};

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
