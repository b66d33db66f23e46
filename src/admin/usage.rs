//! Usage over time: the arguments of `vpk_usage`, and its rows.

use serde_json::{Map, Value};

use pure::answer::status::Status;
use pure::encoding;
use pure::error::CallError;
use pure::usage::buckets::{Length, Range};

use super::arguments;
use crate::pg::call::Call;
use crate::pg::server::{clock, settings};
use crate::pg::types::{Interval, Timestamp};
use crate::store::history;

pub use crate::store::history::UsageFilter;

/// What happened in a bucket.
pub struct Bucket {
    /// When it begins.
    pub starts_at: Timestamp,
    /// The number of uses.
    pub uses: i64,
    /// The number of refusals, by status.
    pub denied: Map<String, Value>,
    /// What was charged to quotas, by meter; less than 0 where more was given back.
    pub charged: Map<String, Value>,
}

impl Bucket {
    fn new(start: i64) -> Bucket {
        let starts_at = Timestamp::from_micros(start);
        Bucket { starts_at, uses: 0, denied: Map::new(), charged: Map::new() }
    }

    fn is_empty(&self) -> bool {
        self.uses == 0 && self.denied.is_empty() && self.charged.is_empty()
    }
}

/// The usage of keys over time, in the hours that begin before `until`: in each bucket from the one
/// that contains `since` on, or else from the first that has something.
pub fn usage(
    call: &Call,
    mut filter: UsageFilter,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    length: Option<Interval>,
) -> Result<Vec<Bucket>, CallError> {
    filter.account = filter.account.map(|account| arguments::spelled_as_stored(call, account));
    let length = length.map(|length| {
        let (months, days, micros) = length.fields(call);
        Length::new(months, days, micros)
    });
    let range = Range {
        since: since.map(Timestamp::micros),
        until: until.map(Timestamp::micros),
        now: clock::now().micros(),
        kept: settings::usage_history(),
    };
    let starts = range.starts(length.transpose()?.unwrap_or(Length::HOUR))?;
    if starts.is_empty() {
        return Ok(Vec::new());
    }
    let mut buckets: Vec<Bucket> = starts.iter().copied().map(Bucket::new).collect();
    let end = Timestamp::from_micros(range.end());
    for counted in history::by_bucket(call, filter, &starts, end) {
        let Some(bucket) = buckets.get_mut(counted.bucket) else { continue };
        let status = counted.status.map(|status| status.bytes(call)).unwrap_or_default();
        if status == Status::Valid.label().as_bytes() {
            bucket.uses = counted.number;
        } else {
            bucket.denied.insert(encoding::widen(status), counted.number.into());
        }
    }
    for charged in history::charges::by_bucket(call, filter, &starts, end) {
        let Some(bucket) = buckets.get_mut(charged.bucket) else { continue };
        let meter = charged.meter.map(|meter| meter.bytes(call)).unwrap_or_default();
        bucket.charged.insert(encoding::widen(meter), charged.amount.into());
    }
    if since.is_none() {
        let first = buckets.iter().position(|bucket| !bucket.is_empty());
        buckets.drain(..first.unwrap_or(buckets.len()));
    }
    Ok(buckets)
}
