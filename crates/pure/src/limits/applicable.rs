//! The policies and quotas that apply to a call of a key.
//!
//! Of the same kind (policies of one name, quotas of one meter and span), the account's replaces
//! the plan's, and the key's replaces the plan's for that key. The account's still counts for its
//! keys: nobody gets around it by a limit for a key.

/// Whose calls a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Those of all keys of an account. The limits of plans and accounts do.
    Account,
    /// Those of one key.
    Key,
}

impl Holder {
    /// Its name in a table.
    pub const fn name(self) -> &'static str {
        match self {
            Holder::Account => "account",
            Holder::Key => "key",
        }
    }

    /// The holder of a name.
    pub const fn from_name(name: &[u8]) -> Option<Holder> {
        match name {
            b"account" => Some(Holder::Account),
            b"key" => Some(Holder::Key),
            _ => None,
        }
    }

    /// The holder of a number, as `as` makes it.
    pub const fn from_number(number: u8) -> Option<Holder> {
        match number {
            0 => Some(Holder::Account),
            1 => Some(Holder::Key),
            _ => None,
        }
    }
}

/// The limits of which a plan, an account and a key can have one of each kind.
pub trait Limits {
    /// One of them.
    type Limit: Copy;

    /// All of them, in order.
    fn each(&self) -> impl Iterator<Item = Self::Limit> + Clone;

    /// Whether there is one of the same kind.
    fn has_kind_of(&self, limit: Self::Limit) -> bool;
}

/// The limits that apply to a call: those that count the account's calls first.
pub fn applicable<'row, L: Limits>(
    plan: &'row L,
    account: &'row L,
    key: &'row L,
) -> impl Iterator<Item = (Holder, L::Limit)> + Clone {
    let is_replaced = |limit| account.has_kind_of(limit) || key.has_kind_of(limit);
    let of_plan = plan.each().filter(move |limit| !is_replaced(*limit));
    let of_account = of_plan.chain(account.each()).map(|limit| (Holder::Account, limit));
    of_account.chain(key.each().map(|limit| (Holder::Key, limit)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::policies::examples::policies;
    use crate::limits::policies::{MAX_POLICIES, NamedPolicy, Policies};
    use crate::limits::quotas::Quotas;

    fn shown(plan: &str, account: &str, key: &str) -> String {
        let [plan, account, key] =
            [plan, account, key].map(|text| Policies::parse(text.as_bytes()).expect("policies"));
        let shown =
            applicable(&plan, &account, &key).map(|(holder, named)| format!("{holder:?} {named}"));
        shown.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_policy_replaces_the_plans_of_its_name() {
        assert_eq!(shown("", "", ""), "");
        assert_eq!(shown("m=1/1s", "", ""), "Account m=1/1s");
        assert_eq!(shown("m=1/1s", "m=2/1s", ""), "Account m=2/1s");
        assert_eq!(shown("m=1/1s", "", "m=3/1s"), "Key m=3/1s");
        assert_eq!(shown("m=1/1s", "m=2/1s", "m=3/1s"), "Account m=2/1s, Key m=3/1s");
        assert_eq!(
            shown("s=1/1s, m=9/1min", "h=5/1h", "k=3/1s"),
            "Account s=1/1s, Account m=9/1min, Account h=5/1h, Key k=3/1s"
        );
    }

    #[test]
    fn a_quota_replaces_the_plans_of_its_meter_and_span() {
        let [plan, account, key] = [
            "calls=1/day, calls=2/month, tokens=3/month",
            "calls=20/month in Asia/Kathmandu",
            "tokens=30/month, calls=40/total",
        ]
        .map(|text| Quotas::parse(text.as_bytes()).expect("quotas"));
        let found = applicable(&plan, &account, &key).map(|(holder, it)| (holder, it.amount));
        let expected =
            [(Holder::Account, 1), (Holder::Account, 20), (Holder::Key, 30), (Holder::Key, 40)];
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    proptest! {
        /// No bucket counts a call twice, and only a policy of the same name replaces one.
        #[test]
        fn every_policy_applies_once(
            plan in policies(),
            account in policies(),
            key in policies(),
        ) {
            let found: Vec<_> = applicable(&plan, &account, &key).collect();
            prop_assert!(found.len() <= 3 * MAX_POLICIES);
            for (at, (holder, named)) in found.iter().enumerate() {
                let is_same = |(other, it): &(Holder, NamedPolicy)| {
                    other == holder && it.name == named.name
                };
                prop_assert!(!found[..at].iter().any(is_same));
            }
            let applies = |holder, named| found.contains(&(holder, named));
            prop_assert!(key.iter().all(|named| applies(Holder::Key, named)));
            prop_assert!(account.iter().all(|named| applies(Holder::Account, named)));
            let is_kept = |named: &NamedPolicy| {
                account.get(named.name).is_none() && key.get(named.name).is_none()
            };
            let kept: Vec<_> = plan.iter().filter(is_kept).collect();
            prop_assert!(kept.iter().all(|named| applies(Holder::Account, *named)));
            let expected = kept.len() + account.iter().count() + key.iter().count();
            prop_assert_eq!(found.len(), expected);
        }
    }
}
