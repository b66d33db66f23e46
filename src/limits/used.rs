//! What is used of quotas, for functions that are called by people and services, and charging them
//! after a call. Everything here may raise.

use pure::limits::applicable::Holder;
use pure::limits::current_quotas::CurrentQuota;
use pure::limits::id::{HashKey, HolderHash, HolderName};
use pure::limits::quota_decision::CountedQuota;
use pure::limits::quota_sets::QuotaSets;

use crate::limits::quotas::{self, Current};
use crate::pg::background::shmem;
use crate::pg::call::Call;
use crate::pg::server::{clock, database};
use crate::pg::types::{Text, Uuid};
use crate::store::quotas as table;
use crate::store::quotas::holding::Holding;
use crate::usage;

/// A quota of an account or a key, with what is used of it.
pub struct Used {
    /// Whose uses it counts.
    pub holder: Holder,
    /// The quota in its current period.
    pub quota: CurrentQuota,
    /// What was granted on top of it.
    pub granted: i64,
    /// How much is used.
    pub used: i64,
}

impl Used {
    /// How much is left; less than 0 if charges came after the calls.
    pub fn remaining(&self) -> i64 {
        let allowed = self.quota.amount.saturating_add(self.granted);
        allowed.saturating_sub(self.used)
    }
}

/// The memory with what is used, and the key of the hashes.
#[derive(Clone, Copy)]
struct Memory {
    sets: QuotaSets<'static>,
    hash_key: HashKey,
}

/// The memory; None if the library was not preloaded.
fn memory() -> Option<Memory> {
    Some(Memory { sets: shmem::quota_sets()?, hash_key: shmem::hash_key()? })
}

impl Memory {
    fn hash(self, call: &Call, holding: &Holding, holder: Holder) -> HolderHash {
        let key = holding.key.map(Uuid::to_bytes).unwrap_or_default();
        let name = match holder {
            Holder::Account => HolderName::Account(holding.account.bytes(call)),
            Holder::Key => HolderName::Key(&key),
        };
        self.hash_key.holder(database::own(), name)
    }
}

/// The quotas that apply to an account or a key now.
pub fn current(call: &Call, holding: &Holding) -> Vec<(Holder, CurrentQuota)> {
    let texts = [holding.of_plan, holding.of_account, holding.of_key];
    let texts = texts.map(|text| text.map(|text| text.bytes(call)));
    let current = Current::of(texts, clock::now().micros());
    current.map_or(Vec::new(), |current| current.applicable().collect())
}

/// A quota with what is used of it.
pub fn used(call: &Call, holding: &Holding, holder: Holder, quota: CurrentQuota) -> Used {
    let grants = holding.grants.map(|grants| grants.bytes(call));
    let in_table = || table::used(call, subject(call, holding, holder), &quota.counts(holder));
    let used = match memory() {
        None => in_table(),
        // While it is flushed, both the table and the memory have it.
        Some(memory) => {
            let hash = memory.hash(call, holding, holder);
            let mut counted = [quota.counted(holder, hash, grants, false)];
            let holders = [hash.holder(); 2];
            let base = |_: &CountedQuota| in_table();
            memory.sets.while_known(holders, &mut counted, quotas::reading(), base, |_, counted| {
                counted.first().map_or(0, |counted| counted.usage.used())
            })
        }
    };
    Used { holder, quota, granted: quota.granted(holder, grants), used }
}

/// Charges quotas of a key and its account, all of one meter. Returns the least that remains; None
/// if the library was not preloaded.
pub fn charge(
    call: &Call,
    holding: &Holding,
    key: Uuid,
    all: &[(Holder, CurrentQuota)],
    cost: i64,
) -> Option<i64> {
    let memory = memory()?;
    let grants = holding.grants.map(|grants| grants.bytes(call));
    let mut counted: Vec<CountedQuota> = all
        .iter()
        .map(|(holder, quota)| {
            let hash = memory.hash(call, holding, *holder);
            quota.counted(*holder, hash, grants, true)
        })
        .collect();
    let holders = [counted.first()?, counted.last()?].map(|each| each.id.holder);
    let base = |each: &CountedQuota| {
        table::used(call, subject(call, holding, each.counts.holder), &each.counts)
    };
    let key = key.to_bytes();
    let unstored = memory.sets.while_known(
        holders,
        &mut counted,
        quotas::reading(),
        base,
        |locked, counted| memory.sets.charge(locked, &key, counted, cost),
    );
    if unstored > 0 {
        usage::note_unenforced(unstored);
    }
    counted.iter().map(|each| each.usage.remaining()).min()
}

/// What the table knows a holder by.
fn subject(call: &Call, holding: &Holding, holder: Holder) -> Text {
    match (holder, holding.key) {
        (Holder::Key, Some(key)) => Text::new(call, &pure::uuid::text(key.to_bytes())),
        _ => holding.account,
    }
}
