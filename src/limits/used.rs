//! What is used of quotas, for functions that are called by people and services, and charging them
//! after a call. Everything here may raise.

use core::sync::atomic::Ordering::Relaxed;

use pure::limits::applicable::Holder;
use pure::limits::id::{HashKey, HolderHash, HolderName};
use pure::limits::quota_set::CountedQuota;
use pure::limits::quota_slots::QuotaSets;

use crate::limits::quotas::{self, Current, Texts};
use crate::pg::background::shmem;
use crate::pg::call::Call;
use crate::pg::server::{clock, database};
use crate::pg::types::{Text, Uuid};
use crate::store::quotas::{self as table, Holding};

/// A quota of an account or a key, with what is used of it.
pub struct Used<'text> {
    /// The quota in its current period.
    pub current: Current<'text>,
    /// What was granted on top of it.
    pub granted: i64,
    /// How much is used.
    pub used: i64,
}

impl Used<'_> {
    /// How much is left; less than 0 if charges came after the calls.
    pub fn remaining(&self) -> i64 {
        let allowed = self.current.quota.amount.saturating_add(self.granted);
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
pub fn current<'call>(call: &'call Call, holding: &Holding) -> Vec<Current<'call>> {
    let bytes = |text: Option<Text>| text.map(|text| text.bytes(call));
    let texts = Texts {
        plan: bytes(holding.of_plan),
        account: bytes(holding.of_account),
        key: bytes(holding.of_key),
    };
    quotas::current(texts, clock::now().micros())
}

/// A quota with what is used of it: what the memory knows, or else the table has.
pub fn used<'text>(call: &Call, holding: &Holding, current: Current<'text>) -> Used<'text> {
    let grants = holding.grants.map(|grants| grants.bytes(call));
    let counted = memory().map(|memory| {
        let hash = memory.hash(call, holding, current.holder);
        (memory, current.counted(hash, grants, ""))
    });
    let known = counted.and_then(|(memory, counted)| memory.sets.used(counted.id));
    let used = known
        .unwrap_or_else(|| table::used(call, subject(call, holding, current.holder), &current.counts()));
    Used { current, granted: current.granted(grants), used }
}

/// Charges quotas of a key and its account, all of one meter. Returns the least that remains; None
/// if the library was not preloaded.
pub fn charge(
    call: &Call,
    holding: &Holding,
    key: Uuid,
    all: &[Current],
    cost: i64,
) -> Option<i64> {
    let memory = memory()?;
    let grants = holding.grants.map(|grants| grants.bytes(call));
    let mut counted: Vec<CountedQuota> = all
        .iter()
        .map(|each| {
            let hash = memory.hash(call, holding, each.holder);
            each.counted(hash, grants, each.quota.meter.as_str())
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
    if unstored > 0
        && let Some(ledger) = shmem::ledger()
        && let Some(tally) = ledger.tally(database::own(), clock::now().micros())
    {
        tally.limits_unenforced.fetch_add(unstored as u64, Relaxed);
    }
    counted.iter().map(|each| each.usage.remaining()).min()
}

/// What the table knows a holder by.
fn subject(call: &Call, holding: &Holding, holder: Holder) -> Text {
    match (holder, holding.key) {
        (Holder::Key, Some(key)) => {
            Text::new(call, &pure::uuid::text(key.to_bytes()))
        }
        _ => holding.account,
    }
}
