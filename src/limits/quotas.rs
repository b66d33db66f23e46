//! The quotas of accounts and keys that apply now.

use pure::instant::Micros;
use pure::limits::applicable::{Holder, applicable};
use pure::limits::by_text::ByText;
use pure::limits::current_quotas::{CurrentQuota, CurrentQuotas};
use pure::limits::quota_decision::{CALLS, CountedQuota};
use pure::limits::quota_period::{Period, Utc, containing};
use pure::limits::quota_set::{MaxAge, Reading};
use pure::limits::quotas::{MAX_QUOTAS, Quota};

use crate::limits::subject::{Hashes, Subject};
use crate::pg::call::Call;
use crate::pg::list::List;
use crate::pg::server::kept::Kept;
use crate::pg::server::{clock, database, time_zone};
use crate::pg::types::Bytes;
use crate::store::lookup::Limits;
use crate::store::quotas as table;

/// How many quotas apply to a call at most.
pub const MOST: usize = 3 * MAX_QUOTAS;

/// How old the base of a quota may be, in seconds. The flusher reads it where something is pending;
/// on a standby nobody does.
const MAX_AGE: MaxAge = MaxAge { idle: 2, pending: u32::MAX };
const MAX_AGE_ON_STANDBY: MaxAge = MaxAge { idle: 1, pending: 1 };

/// How the bases of quotas are read now.
pub fn reading() -> Reading {
    let (max_age, over) = match database::in_recovery() {
        true => (MAX_AGE_ON_STANDBY, clock::now().micros()),
        false => (MAX_AGE, Micros::MIN),
    };
    Reading { database: database::own(), now: clock::monotonic_seconds(), max_age, over }
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
        // Not `map`: it would leave a clean-up above a call of the server.
        let mut current = Current([CurrentQuotas::NONE; 3]);
        for (quotas, text) in current.0.iter_mut().zip(&texts) {
            if let Some(text) = text {
                with_parsed(text, now, |parsed| *quotas = *parsed);
            }
        }
        Some(current)
    }

    /// Those that apply, the account's first.
    pub fn applicable(&self) -> impl Iterator<Item = (Holder, CurrentQuota)> + Clone + '_ {
        let [plan, account, key] = &self.0;
        applicable(plan, account, key)
    }
}

/// The quotas that apply to a call of a subject, as they are counted in memory.
#[derive(Clone, Copy)]
pub struct Counted {
    /// When the call was made.
    pub now: Micros,
    /// The quotas, those of the account first.
    quotas: List<CountedQuota, MOST>,
}

impl Counted {
    /// No quota, for a call that is made now.
    #[inline(always)]
    pub const fn none(now: Micros) -> Counted {
        Counted { now, quotas: List::new() }
    }

    /// Adds the quotas of a subject.
    #[inline]
    pub fn add(&mut self, subject: &Subject, hashes: &mut Hashes) {
        let Limits { plan, account, key } = subject.limits;
        let texts = [plan.quotas, account.quotas, key.quotas];
        if texts != [None; 3] {
            self.add_some(texts, subject, hashes);
        }
    }

    fn add_some(&mut self, texts: [Option<&[u8]>; 3], subject: &Subject, hashes: &mut Hashes) {
        let grants = subject.limits.account.quota_grants;
        let now = self.now;
        let mut add = |holder, quota: &CurrentQuota| {
            let is_charged = quota.meter.is(CALLS);
            let hash = hashes.of(holder, subject);
            self.quotas.push(quota.counted(holder, hash, grants, is_charged));
        };
        match texts {
            // Nothing replaces them.
            [Some(text), None, None] | [None, Some(text), None] => {
                with_parsed(text, now, |quotas| {
                    quotas.iter().for_each(|quota| add(Holder::Account, &quota));
                });
            }
            _ => {
                if let Some(current) = Current::of(texts, now) {
                    current.applicable().for_each(|(holder, quota)| add(holder, &quota));
                }
            }
        }
    }

    /// The quotas.
    pub fn quotas(&self) -> &[CountedQuota] {
        self.quotas.as_slice()
    }

    /// The quotas, to be read and charged.
    pub fn quotas_mut(&mut self) -> &mut [CountedQuota] {
        self.quotas.as_mut_slice()
    }
}

/// What the table has of a quota of a subject. Unguarded: see [`crate::pg::ffi::unguarded`].
pub fn base_unguarded(call: &Call, subject: &Subject, counted: &CountedQuota) -> i64 {
    let name = match (counted.counts.holder, subject.key) {
        (Holder::Key, Some(key)) => Bytes::new_unguarded(call, &pure::uuid::text(key)),
        _ => Bytes::new_unguarded(call, subject.account),
    };
    table::used_unguarded(name, &counted.counts)
}

/// Runs `run` with the quotas of a text, which a session keeps until a period ends. It should call
/// nothing of the server.
#[inline]
fn with_parsed(text: &[u8], now: Micros, mut run: impl FnMut(&CurrentQuotas)) {
    static PARSED: Kept<ByText<CurrentQuotas>> = Kept::new(ByText::new());
    let find = |texts: &mut ByText<CurrentQuotas>| {
        texts.find(text).filter(|quotas| quotas.are_current(now)).map(&mut run)
    };
    if PARSED.with(find).flatten().is_none() {
        let quotas = CurrentQuotas::parse(text, |quota| period(quota, now));
        PARSED.with(|texts| texts.set(text, quotas));
        run(&quotas);
    }
}

/// The current period of a quota. A time zone that the server does not have is UTC.
fn period(quota: Quota, now: Micros) -> Period {
    match quota.zone.and_then(time_zone::named) {
        Some(zone) => containing(quota.span, quota.anchor, &zone, now),
        None => containing(quota.span, quota.anchor, &Utc, now),
    }
}
