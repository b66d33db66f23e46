//! What a session remembers of its lookups, and may answer from without reading a table again.
//!
//! An entry is valid only in the epoch that it was read in ([`pure::cache::epoch`]).
//! Everything here is unguarded: see [`crate::pg::ffi::unguarded`].

use core::cell::RefCell;

use pure::cache::access::Accesses;
use pure::cache::epoch::Epoch;
use pure::cache::keys::{CachedKey, CachedKeys};
use pure::cache::tids;
use pure::key::token::HASH_LENGTH;

use super::stored::StoredKey;
use super::{LookUp, Moved, READ_TOGETHER};
use crate::pg::read::catalog::Table;
use crate::pg::read::{catalog, in_place};
use crate::pg::server::settings;
use crate::pg::types::Text;

thread_local! {
    static ACCESSES: RefCell<Accesses> = const { RefCell::new(Accesses::new()) };
    static KEYS: RefCell<CachedKeys> = const { RefCell::new(CachedKeys::new()) };
}

/// Whether the visible rows of these tables can change only together with the epoch. This holds for
/// heaps, where each transaction that changes a row has a transaction id. Another access method may
/// have transactions that have none.
fn follow_epochs(tables: &[Table]) -> bool {
    tables.iter().all(|table| in_place::knows(*table))
}

impl StoredKey<'_> {
    /// What to cache of the key, whose account has API access or not. None for a key that is
    /// limited to networks, which the cache has no room for.
    pub fn to_cached(self, api_access: bool) -> Option<CachedKey> {
        let environment = self.environment.filter(|_| self.allowed_ips.is_none())?;
        Some(CachedKey {
            id: self.id,
            environment,
            revoked: self.revoked,
            disabled: self.disabled,
            expires_at: self.expires_at.unwrap_or(i64::MAX),
            api_access,
        })
    }
}

impl LookUp<'_> {
    /// Identifies what this lookup can see of the tables; None where that cannot be told, or where
    /// nothing may be cached.
    ///
    /// The invalidation message of a rewrite arrives after its commit. Until then the old file is
    /// read, under a snapshot that already includes the rewrite. So the count of invalidations is
    /// part of the epoch.
    pub fn epoch(&self) -> Option<Epoch> {
        let snapshot = self.snapshot.number()?;
        let relations = catalog::changes();
        (settings::cache_share() > 0).then_some(Epoch { snapshot, relations })
    }

    /// The cached key of a hash, with its access, where it was read in this epoch. Reads no table.
    pub fn cached_key(&self, epoch: Epoch, hash: &[u8; HASH_LENGTH]) -> Option<CachedKey> {
        if self.missed.is_some() {
            return None;
        }
        let limit = settings::cache_share();
        let found = KEYS.with_borrow_mut(|keys| keys.find(epoch, hash, limit))?;
        in_place::may_leave_the_page().then_some(found)
    }

    /// Caches a key with its access. Both were read after the epoch was determined.
    pub fn cache_key(&self, epoch: Epoch, hash: &[u8; HASH_LENGTH], key: CachedKey) {
        if !follow_epochs(&READ_TOGETHER) {
            return;
        }
        let limit = settings::cache_share();
        KEYS.with_borrow_mut(|keys| keys.remember(epoch, hash, key, limit));
    }

    /// Whether an account's plan includes API access. Reads no table where the answer was found in
    /// this epoch.
    pub fn has_access(&self, account: Text) -> Result<bool, Moved> {
        let name = account.bytes_unguarded(self.call);
        let tag = tids::tag(Table::Accounts as u8, name);
        let epoch = self.epoch();
        let known = |epoch| ACCESSES.with_borrow(|accesses| accesses.find(epoch, tag, name));
        if let Some(known) = epoch.and_then(known) {
            return Ok(known);
        }
        let plan = self.plan_of(account)?;
        let included = plan.map(|plan| self.includes_access(plan)).transpose()?.flatten();
        let included = included.unwrap_or(false);
        if let Some(epoch) = epoch.filter(|_| follow_epochs(&[Table::Accounts, Table::Plans])) {
            ACCESSES.with_borrow_mut(|accesses| accesses.remember(epoch, tag, name, included));
        }
        Ok(included)
    }
}
