//! The quotas of accounts and keys: which apply now, and what is used of them.

use pure::instant::Micros;
use pure::limits::applicable::{Holder, applicable};
use pure::limits::grants::granted;
use pure::limits::id::{HolderHash, NameHash};
use pure::limits::period::{Period, Utc, Zone, containing};
use pure::limits::quota_set::{CountedQuota, Counts, MaxAge};
use pure::limits::quota_slots::Reading;
use pure::limits::quotas::{MAX_QUOTAS, Quota, Quotas, Usage};

use crate::pg::server::time_zone::NamedZone;
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

/// The texts of the columns that decide which quotas apply; None is null.
#[derive(Clone, Copy, Default)]
pub struct Texts<'text> {
    /// The quotas of the account's plan.
    pub plan: Option<&'text [u8]>,
    /// The account's own.
    pub account: Option<&'text [u8]>,
    /// The key's.
    pub key: Option<&'text [u8]>,
}

/// A quota that applies, in its current period.
#[derive(Clone, Copy)]
pub struct Current<'text> {
    /// Whose uses it counts.
    pub holder: Holder,
    /// The quota.
    pub quota: Quota<'text>,
    /// The current period.
    pub period: Period,
}

/// The quotas that apply now, those of the account first. A text that cannot be read is none.
pub fn current<'text>(texts: Texts<'text>, now: Micros) -> Vec<Current<'text>> {
    let [plan, account, key] = [texts.plan, texts.account, texts.key]
        .map(|text| Quotas::parse(text.unwrap_or_default()).unwrap_or_default());
    let all = applicable(&plan, &account, &key);
    all.map(|(holder, quota)| Current { holder, quota, period: period(&quota, now) }).collect()
}

/// The current period of a quota. A time zone that the server does not have is UTC.
fn period(quota: &Quota, now: Micros) -> Period {
    match quota.zone.and_then(time_zone::named) {
        Some(zone) => containing::<NamedZone>(quota.span, quota.anchor, &zone, now),
        None => containing(quota.span, quota.anchor, &Utc, now),
    }
}

impl Current<'_> {
    /// What it counts.
    pub fn counts(&self) -> Counts {
        Counts {
            holder: self.holder,
            meter: self.quota.meter,
            span: self.quota.span,
            period_start: self.period.start,
        }
    }

    /// What was granted on top of it, of the grants of the account.
    pub fn granted(&self, grants: Option<&[u8]>) -> i64 {
        match (self.holder, grants) {
            (Holder::Account, Some(grants)) => {
                granted(grants, self.quota.meter, self.quota.span, self.period.start)
            }
            _ => 0,
        }
    }

    /// It, as it is counted in the memory, for a holder of this hash. `charges` is the meter that
    /// the call is charged to.
    pub fn counted(
        &self,
        holder: HolderHash,
        grants: Option<&[u8]>,
        charges: &str,
    ) -> CountedQuota {
        let Current { quota, period, .. } = self;
        let allowed = quota.amount.saturating_add(self.granted(grants));
        CountedQuota {
            id: holder.bucket(NameHash::of_quota(quota.meter, quota.span, period.start)),
            counts: self.counts(),
            warn_from: quota.warn_at.map_or(0, |share| warn_from(allowed, share)),
            is_charged: quota.meter.as_str() == charges,
            period_end: period.end,
            usage: Usage { allowed, base: 0, pending: 0 },
        }
    }
}

/// The use from which on the flusher warns, at a share in hundredths. At least 1, as 0 is never.
fn warn_from(allowed: i64, share: u8) -> i64 {
    let exact = (i128::from(allowed) * i128::from(share)).div_euclid(100)
        + i128::from((i128::from(allowed) * i128::from(share)).rem_euclid(100) != 0);
    i64::try_from(exact).unwrap_or(i64::MAX).max(1)
}
