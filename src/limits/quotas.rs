//! The quotas of accounts and keys that apply now.

use pure::instant::Micros;
use pure::limits::applicable::{Holder, applicable};
use pure::limits::current_quotas::{CurrentQuota, CurrentQuotas};
use pure::limits::period::{Period, Utc, containing};
use pure::limits::quota_set::MaxAge;
use pure::limits::quota_slots::Reading;
use pure::limits::quotas::{MAX_QUOTAS, Quota};

use crate::pg::server::{clock, database, time_zone};

/// How many quotas apply to a call at most.
pub const MOST: usize = 3 * MAX_QUOTAS;

/// How old the base of a quota may be, in seconds. The flusher reads it where something is pending;
/// on a standby nobody does.
const MAX_AGE: MaxAge = MaxAge { idle: 2, pending: u32::MAX };
const MAX_AGE_ON_STANDBY: MaxAge = MaxAge { idle: 1, pending: 1 };

/// How the bases of quotas are read now.
pub fn reading() -> Reading {
    let max_age = if database::in_recovery() { MAX_AGE_ON_STANDBY } else { MAX_AGE };
    Reading { database: database::own(), now: clock::monotonic_seconds(), max_age }
}

/// The quotas of a plan, an account and a key, in their current periods.
#[derive(Clone, Copy)]
pub struct Current([CurrentQuotas; 3]);

impl Current {
    /// Those of the texts of their columns, in this order. None where nothing is set.
    pub fn of(texts: [Option<&[u8]>; 3], now: Micros) -> Option<Current> {
        if texts == [None; 3] {
            return None;
        }
        Some(Current(texts.map(|text| text.map_or(CurrentQuotas::NONE, |text| parsed(text, now)))))
    }

    /// Those that apply, the account's first.
    pub fn applicable(&self) -> impl Iterator<Item = (Holder, CurrentQuota)> + Clone + '_ {
        let [plan, account, key] = &self.0;
        applicable(plan, account, key)
    }
}

/// The quotas of a text. A session keeps them until a period ends.
fn parsed(text: &[u8], now: Micros) -> CurrentQuotas {
    CurrentQuotas::parse(text, |quota| period(quota, now))
}

/// The current period of a quota. A time zone that the server does not have is UTC.
fn period(quota: Quota, now: Micros) -> Period {
    match quota.zone.and_then(time_zone::named) {
        Some(zone) => containing(quota.span, quota.anchor, &zone, now),
        None => containing(quota.span, quota.anchor, &Utc, now),
    }
}
