//! Quotas in their current periods, without texts: what a session keeps of a column.

use crate::instant::Micros;
use crate::limits::applicable::{Holder, Limits};
use crate::limits::grants::granted;
use crate::limits::id::{HolderHash, NameHash};
use crate::limits::name::Name;
use crate::limits::quota_decision::{CountedQuota, Counts};
use crate::limits::quota_period::{Period, Span};
use crate::limits::quotas::{MAX_QUOTAS, Quota, Quotas, Usage};

/// A quota in its current period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentQuota {
    /// What is counted.
    pub meter: Name,
    /// The length of a period.
    pub span: Span,
    /// How much may be used, without what was granted.
    pub amount: i64,
    /// The share from which on an event warns, in hundredths.
    pub warn_at: Option<u8>,
    /// The current period.
    pub period: Period,
    /// The hash of meter, span and period.
    pub hash: NameHash,
}

/// The quotas of a column in their current periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentQuotas([Option<CurrentQuota>; MAX_QUOTAS]);

impl CurrentQuotas {
    /// No quota.
    pub const NONE: CurrentQuotas = CurrentQuotas([None; MAX_QUOTAS]);

    /// The quotas of the text of a column. A text that is no list of quotas has none: a
    /// verification does not fail for it. `current` is the current period of a quota.
    pub fn parse(text: &[u8], current: impl Fn(Quota) -> Period) -> CurrentQuotas {
        let mut quotas = CurrentQuotas::NONE;
        let parsed = Quotas::parse(text).unwrap_or_default();
        for (place, quota) in quotas.0.iter_mut().zip(parsed.iter()) {
            let Quota { meter, span, amount, warn_at, .. } = quota;
            let period = current(quota);
            let hash = NameHash::of_quota(meter, span, period.start);
            *place = Some(CurrentQuota { meter, span, amount, warn_at, period, hash });
        }
        quotas
    }

    /// Whether an instant is in each of the periods.
    pub fn are_current(&self, now: Micros) -> bool {
        self.iter().all(|quota| quota.period.start <= now && now < quota.period.end)
    }

    /// The quotas, in order.
    pub fn iter(&self) -> impl Iterator<Item = CurrentQuota> + Clone + '_ {
        // They come before the places that are free.
        self.0.iter().map_while(|place| *place)
    }
}

impl Limits for CurrentQuotas {
    type Limit = CurrentQuota;

    fn each(&self) -> impl Iterator<Item = CurrentQuota> + Clone {
        self.iter()
    }

    fn has_kind_of(&self, quota: CurrentQuota) -> bool {
        self.iter().any(|it| it.meter == quota.meter && it.span == quota.span)
    }
}

impl CurrentQuota {
    /// What was granted on top of it to the account, of the grants in the account's column. A key's
    /// own quota has none.
    pub fn granted(&self, holder: Holder, grants: Option<&[u8]>) -> i64 {
        match (holder, grants) {
            (Holder::Account, Some(text)) => {
                granted(text, self.meter, self.span, self.period.start)
            }
            _ => 0,
        }
    }

    /// What it counts of a holder.
    pub fn counts(&self, holder: Holder) -> Counts {
        let CurrentQuota { meter, span, period, .. } = *self;
        Counts { holder, meter, span, period_start: period.start }
    }

    /// It as it is counted in memory, for a holder of this hash. `is_charged` says whether the call
    /// is charged to it.
    pub fn counted(
        &self,
        holder: Holder,
        hash: HolderHash,
        grants: Option<&[u8]>,
        is_charged: bool,
    ) -> CountedQuota {
        let allowed = self.amount.saturating_add(self.granted(holder, grants));
        CountedQuota {
            id: hash.bucket(self.hash),
            counts: self.counts(holder),
            warn_from: self.warn_at.map_or(0, |share| warn_from(allowed, share)),
            is_charged,
            period_end: self.period.end,
            renewed: self.amount,
            usage: Usage { allowed, base: 0, pending: 0 },
            likely: 0,
        }
    }
}

/// The use from which on the flusher warns, at a share in hundredths. At least 1, as 0 is never.
fn warn_from(allowed: i64, share: u8) -> i64 {
    let hundredths = i128::from(allowed) * i128::from(share);
    let exact = hundredths.div_euclid(100) + i128::from(hundredths.rem_euclid(100) > 0);
    i64::try_from(exact).unwrap_or(i64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::id::{HashKey, HolderName};

    #[test]
    fn a_warning_comes_at_the_first_use_that_is_the_share() {
        for (allowed, share, from) in
            [(1_000, 80, 800), (999, 80, 800), (1, 1, 1), (0, 50, 1), (-5, 50, 1)]
        {
            assert_eq!(warn_from(allowed, share), from, "{allowed} {share}");
        }
        assert_eq!(warn_from(i64::MAX, 100), i64::MAX);
    }

    #[test]
    fn quotas_are_current_until_one_of_their_periods_ends() {
        let period = |quota: Quota| match quota.span {
            Span::Day => Period { start: 10, end: 20 },
            _ => Period { start: 0, end: 30 },
        };
        let quotas = CurrentQuotas::parse(b"calls=5/month warn 50%, calls=1/day", period);
        let current = [9, 10, 19, 20].map(|now| quotas.are_current(now));
        assert_eq!(current, [false, true, true, false]);
        assert!(CurrentQuotas::parse(b"calls", period).are_current(99));
        let [month, day] = [0, 1].map(|at| quotas.iter().nth(at).expect("a quota"));
        assert!(month.hash != day.hash && quotas.has_kind_of(day));
        let hash = HashKey([1; 16]).holder(1, HolderName::Account(b"acme"));
        let grants = Some(&b"calls/month@0=3, calls/day@0=7"[..]);
        let counted = |quota: CurrentQuota, holder| quota.counted(holder, hash, grants, true);
        assert_eq!(counted(month, Holder::Account).usage.allowed, 8);
        assert_eq!(counted(month, Holder::Account).warn_from, 4);
        assert_eq!(counted(month, Holder::Key).usage.allowed, 5);
        // The grant was for another day.
        assert_eq!(counted(day, Holder::Account).usage.allowed, 1);
        assert_eq!(counted(day, Holder::Account).id.holder, hash.only_bucket().holder);
    }
}
