//! What the documentation says of limits (docs/limits.md): which of them count the calls of a key,
//! how a call is answered, and what is used then. Nothing comes back.

use std::collections::BTreeMap;

use crate::support::known::VALID;

pub const KEYS: usize = 3;
pub const RATE_LIMITED: &str = "RATE_LIMITED";
pub const QUOTA_EXCEEDED: &str = "QUOTA_EXCEEDED";

/// What a limit counts. An account and a key have one limit of a kind at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A rate limit, by its name.
    Rate(&'static str),
    /// A quota, by its meter and period.
    Quota(&'static str, &'static str),
}

pub const KINDS: [Kind; 6] = [
    Kind::Rate("a"),
    Kind::Rate("b"),
    Kind::Rate("c"),
    GRANTED,
    Kind::Quota("calls", "year"),
    Kind::Quota("tokens", "total"),
];

/// The one that is granted more. Both plans have it.
pub const GRANTED: Kind = Kind::Quota("calls", "total");

/// Limits of a plan, an account or a key, with how much each allows.
pub type Limits = BTreeMap<Kind, i64>;

/// Who uses a limit up: a key alone, or the account with all its keys.
pub type Holder = Option<usize>;

/// A limit that counts the calls of a key or an account.
#[derive(Clone, Copy)]
pub struct Applied {
    pub holder: Holder,
    pub kind: Kind,
    /// How much it allows, without what was granted.
    pub amount: i64,
}

/// An account with its keys, and the two plans that it can have.
#[derive(Default)]
pub struct Model {
    pub plans: [Limits; 2],
    /// The one that it has.
    pub plan: usize,
    pub account: Limits,
    pub keys: [Limits; KEYS],
    used: BTreeMap<(Holder, Kind), i64>,
    pub granted: i64,
}

impl Model {
    /// Those that count the calls of a key, or of the account: the account's first, and in order.
    pub fn applied(&self, key: Holder) -> Vec<Applied> {
        // "The account's limit replaces the plan's. The key's replaces the plan's for that key, and
        // the account's still counts."
        let mut of_account = self.account.clone();
        for (kind, amount) in &self.plans[self.plan] {
            if key.is_none_or(|key| !self.keys[key].contains_key(kind)) {
                of_account.entry(*kind).or_insert(*amount);
            }
        }
        let of_key = key.map(|key| self.keys[key].clone()).unwrap_or_default();
        let limit = |holder, limits: Limits| {
            limits.into_iter().map(move |(kind, amount)| Applied { holder, kind, amount })
        };
        limit(None, of_account).chain(limit(key, of_key)).collect()
    }

    /// The limits of the account or a key that are set for itself.
    pub fn own(&mut self, holder: Holder) -> &mut Limits {
        match holder {
            Some(key) => &mut self.keys[key],
            None => &mut self.account,
        }
    }

    pub fn used(&self, holder: Holder, kind: Kind) -> i64 {
        self.used.get(&(holder, kind)).copied().unwrap_or(0)
    }

    /// What was granted on top of a limit.
    pub fn granted(&self, limit: &Applied) -> i64 {
        if (limit.holder, limit.kind) == (None, GRANTED) { self.granted } else { 0 }
    }

    pub fn left(&self, limit: &Applied) -> i64 {
        limit.amount + self.granted(limit) - self.used(limit.holder, limit.kind)
    }

    /// Nothing is used any more of a limit. Returns whether something was.
    pub fn forget(&mut self, holder: Holder, kind: Kind) -> bool {
        self.used.remove(&(holder, kind)).is_some_and(|used| used > 0)
    }

    fn add(&mut self, limit: &Applied, amount: i64) {
        let used = self.used.entry((limit.holder, limit.kind)).or_default();
        // "A refund never brings what is used below 0."
        *used = (*used + amount).max(0);
    }

    /// The answer to a call, which is charged if it passes.
    pub fn call(&mut self, key: usize, cost: i64) -> &'static str {
        let applied = self.applied(Some(key));
        let answer = self.answer(&applied, cost);
        if answer == VALID {
            self.pass(&applied, cost);
        }
        answer
    }

    fn answer(&self, applied: &[Applied], cost: i64) -> &'static str {
        // "A cost of 0 is answered as a cost of 1 would be."
        let cost = cost.max(1);
        let refuses = |limit: &&Applied| match limit.kind {
            Kind::Rate(_) | Kind::Quota("calls", _) => self.left(limit) < cost,
            Kind::Quota(..) => self.left(limit) < 1,
        };
        let refusing: Vec<_> = applied.iter().filter(refuses).collect();
        if refusing.is_empty() {
            VALID
        } else if refusing.iter().any(|limit| matches!(limit.kind, Kind::Rate(_))) {
            RATE_LIMITED
        } else {
            QUOTA_EXCEEDED
        }
    }

    fn pass(&mut self, applied: &[Applied], cost: i64) {
        for limit in applied {
            if matches!(limit.kind, Kind::Rate(_) | Kind::Quota("calls", _)) {
                self.add(limit, cost);
            }
        }
    }

    /// A charge after a call. Returns the least that remains of the quotas of the meter.
    pub fn charge(&mut self, key: usize, meter: &str, cost: i64) -> Option<i64> {
        let mut applied = self.applied(Some(key));
        applied.retain(|limit| matches!(limit.kind, Kind::Quota(it, _) if it == meter));
        applied.iter().for_each(|limit| self.add(limit, cost));
        applied.iter().map(|limit| self.left(limit)).min()
    }

    /// Racing calls of cost 1, each with its key and its answer. Which of them pass is their race;
    /// but no limit lets more pass than it has, and a call is refused only by one that is used up:
    /// so no call more could have passed. Returns what is wrong.
    pub fn race(&mut self, calls: &[(usize, String)]) -> Option<String> {
        for (key, _) in calls.iter().filter(|(_, answer)| answer == VALID) {
            self.pass(&self.applied(Some(*key)), 1);
        }
        calls.iter().find_map(|(key, answer)| {
            let applied = self.applied(Some(*key));
            let right = match answer.as_str() {
                VALID => applied.iter().all(|limit| match limit.kind {
                    Kind::Rate(_) | Kind::Quota("calls", _) => self.left(limit) >= 0,
                    Kind::Quota(..) => self.left(limit) > 0,
                }),
                RATE_LIMITED | QUOTA_EXCEEDED => applied.iter().any(|limit| {
                    matches!(limit.kind, Kind::Rate(_)) == (answer == RATE_LIMITED)
                        && self.left(limit) <= 0
                }),
                _ => false,
            };
            (!right).then(|| {
                let passed = calls.iter().filter(|(_, answer)| answer == VALID).count();
                let left: Vec<_> = applied
                    .iter()
                    .map(|limit| (limit.holder, limit.kind, self.left(limit)))
                    .collect();
                let number = calls.len();
                format!(
                    "{passed} of {number} passed; one of key {key} was {answer}, with {left:?} left"
                )
            })
        })
    }

    /// What is used of all quotas, also of those that are not set any more.
    pub fn quotas_used(&self) -> impl Iterator<Item = (Holder, &'static str, &'static str, i64)> {
        self.used.iter().filter(|(_, used)| **used > 0).filter_map(|((holder, kind), used)| {
            match kind {
                Kind::Quota(meter, span) => Some((*holder, *meter, *span, *used)),
                Kind::Rate(_) => None,
            }
        })
    }
}
