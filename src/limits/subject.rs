//! Whose calls are limited, and the hashes by which the memory knows them.
//!
//! Everything here is plain data, and calls nothing of the server: see
//! [`crate::pg::ffi::unguarded`].

use pure::limits::applicable::Holder;
use pure::limits::id::{HashKey, HolderHash, HolderName};

use crate::pg::server::database;
use crate::store::lookup::Limits;

/// Whose calls are limited.
#[derive(Clone, Copy)]
pub struct Subject<'call> {
    /// The name of the account.
    pub account: &'call [u8],
    /// The id of the key; None stands for the account alone.
    pub key: Option<[u8; 16]>,
    /// What the tables say of its limits.
    pub limits: &'call Limits<'call>,
}

/// The hashes of a subject's holders, each made when it is first needed.
pub struct Hashes {
    key: HashKey,
    account: Option<HolderHash>,
    own: Option<HolderHash>,
}

impl Hashes {
    /// None is made yet.
    pub const fn under(key: HashKey) -> Hashes {
        Hashes { key, account: None, own: None }
    }

    /// The hash of the account or the key of a subject, always the same one.
    #[inline]
    pub fn of(&mut self, holder: Holder, subject: &Subject) -> HolderHash {
        let hash = |name| self.key.holder(database::own(), name);
        match (holder, &subject.key) {
            (Holder::Key, Some(id)) => *self.own.get_or_insert_with(|| hash(HolderName::Key(id))),
            _ => {
                let name = HolderName::Account(subject.account);
                *self.account.get_or_insert_with(|| hash(name))
            }
        }
    }

    /// The one or two holders whose hash was needed. None if none was.
    #[inline]
    pub fn holders(&self) -> Option<[u64; 2]> {
        let [account, own] = [self.account, self.own].map(|hash| hash.map(HolderHash::holder));
        Some([account.or(own)?, own.or(account)?])
    }
}

impl Subject<'_> {
    /// The texts of the rate limits of the plan, the account and the key.
    #[inline]
    pub(super) fn rate_limits(&self) -> [Option<&[u8]>; 3] {
        let Limits { plan, account, key } = self.limits;
        [plan.rate_limits, account.rate_limits, key.rate_limits]
    }
}
