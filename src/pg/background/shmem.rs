//! The shared memory of the extension: a list of named [`REGIONS`].
//!
//! It exists only if the library is in `shared_preload_libraries`. It uses no locks of the server:
//! everything in it is an atomic number, and the spin locks that guard some of them are held for a
//! few instructions that cannot fail. If a process dies there (SIGKILL), the postmaster starts over
//! with new memory (src/backend/postmaster/postmaster.c: HandleChildCrash).
//!
//! [`super::usage_file`] carries the content over a restart.

use core::ffi::{CStr, c_int};
use core::ptr;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::Relaxed;

use pgrx::pg_sys::{self, Datum};

use pure::limits::bucket_set::{Set, WAYS};
use pure::limits::bucket_sets::Sets;
use pure::limits::id::HashKey;
use pure::limits::quota_set::QuotaSet;
use pure::limits::quota_sets::QuotaSets;
use pure::limits::restart::Limits;
use pure::usage::shared::{Header, Ledger};
use pure::usage::slots::{Slot, Slots};

use crate::pg::background::usage_file;
use crate::pg::server::{random, settings};

/// A part of the shared memory, which the view pg_shmem_allocations shows by its name. All zeroes
/// are its initial state.
struct Region {
    /// Its name in the server.
    name: &'static CStr,
    /// Its size in bytes, which cannot change while the server runs.
    size: fn() -> usize,
    /// The alignment of its content.
    alignment: usize,
}

/// The position of a region in [`REGIONS`].
#[derive(Clone, Copy)]
enum At {
    Ledger,
    UsageSlots,
    RefusalSlots,
    RateSets,
    IdentifierSets,
    QuotaSets,
}

const REGIONS: [Region; 6] = [
    Region {
        name: c"vibepeak_keys ledger",
        size: || size_of::<Header>(),
        alignment: align_of::<Header>(),
    },
    Region {
        name: c"vibepeak_keys usage slots",
        size: || settings::usage_slots() * size_of::<Slot>(),
        alignment: align_of::<Slot>(),
    },
    Region {
        name: c"vibepeak_keys refusal slots",
        size: || refusal_slots() * size_of::<Slot>(),
        alignment: align_of::<Slot>(),
    },
    Region {
        name: c"vibepeak_keys rate sets",
        size: || rate_set_count() * size_of::<Set>(),
        alignment: align_of::<Set>(),
    },
    Region {
        name: c"vibepeak_keys identifier sets",
        size: || identifier_set_count() * size_of::<Set>(),
        alignment: align_of::<Set>(),
    },
    Region {
        name: c"vibepeak_keys quota sets",
        size: || rate_set_count() * size_of::<QuotaSet>(),
        alignment: align_of::<QuotaSet>(),
    },
];

/// The number of slots for refusals of keys: those of a key have a slot for each status.
fn refusal_slots() -> usize {
    (settings::usage_slots() / 8).max(64)
}

/// The number of sets with the buckets of accounts and keys.
fn rate_set_count() -> usize {
    settings::rate_slots().div_ceil(WAYS)
}

/// The number of sets with the buckets of identifiers and client addresses.
fn identifier_set_count() -> usize {
    settings::identifier_slots().div_ceil(WAYS)
}

/// Every allocation in shared memory begins at a multiple of this and takes a multiple of it
/// (src/backend/storage/ipc/shmem.c: ShmemAllocRaw; src/include/pg_config_manual.h:
/// PG_CACHE_LINE_SIZE).
const UNIT: usize = pg_sys::PG_CACHE_LINE_SIZE as usize;

const _: () = {
    let mut at = 0;
    while at < REGIONS.len() {
        assert!(REGIONS[at].alignment <= UNIT);
        at += 1;
    }
};

/// Where the regions are; null if the library was not preloaded. Set in the postmaster, whose
/// children have the same memory at the same addresses.
static ADDRESSES: [AtomicPtr<u8>; REGIONS.len()] =
    [const { AtomicPtr::new(ptr::null_mut()) }; REGIONS.len()];

static mut NEXT_REQUEST: pg_sys::shmem_request_hook_type = None;
static mut NEXT_STARTUP: pg_sys::shmem_startup_hook_type = None;

/// Where a region begins; null if the library was not preloaded.
#[inline]
fn address<T>(region: At) -> *const T {
    ADDRESSES[region as usize].load(Relaxed).cast::<T>().cast_const()
}

/// The ledger, if the library was preloaded.
#[inline]
pub fn ledger() -> Option<Ledger<'static>> {
    // SAFETY: `on_startup` made the regions: a header, and as many slots as the setting says, which
    // cannot change while the server runs. They stay for the life of the process. All were made
    // before any process of the server could ask, or none was.
    unsafe {
        let header = address::<Header>(At::Ledger).as_ref()?;
        let slots = core::slice::from_raw_parts(address(At::UsageSlots), settings::usage_slots());
        let refusals = core::slice::from_raw_parts(address(At::RefusalSlots), refusal_slots());
        Some(Ledger { header, slots: Slots(slots), refusals: Slots(refusals) })
    }
}

/// The buckets of accounts and keys, if the library was preloaded.
#[inline]
pub fn rate_sets() -> Option<Sets<'static>> {
    sets(At::RateSets, rate_set_count())
}

/// The buckets of identifiers and client addresses, if the library was preloaded.
#[inline]
pub fn identifier_sets() -> Option<Sets<'static>> {
    sets(At::IdentifierSets, identifier_set_count())
}

/// What is used of quotas, if the library was preloaded.
#[inline]
pub fn quota_sets() -> Option<QuotaSets<'static>> {
    let locks = rate_sets()?;
    // SAFETY: `on_startup` made the region for as many sets as there are of the buckets beside
    // them. It stays for the life of the process.
    let sets = unsafe { core::slice::from_raw_parts(address(At::QuotaSets), locks.0.len()) };
    Some(QuotaSets { locks, sets })
}

/// The sets of a region, if the library was preloaded.
#[inline]
fn sets(region: At, count: usize) -> Option<Sets<'static>> {
    let first = address::<Set>(region);
    if first.is_null() {
        return None;
    }
    // SAFETY: `on_startup` made the region for as many sets as the setting says, which cannot
    // change while the server runs. It stays for the life of the process.
    Some(Sets(unsafe { core::slice::from_raw_parts(first, count) }))
}

/// The key of the hashes that name buckets, if the library was preloaded.
#[inline]
pub fn hash_key() -> Option<HashKey> {
    // SAFETY: `on_startup` made the region, which stays for the life of the process.
    let header = unsafe { address::<Header>(At::Ledger).as_ref() };
    header.map(|header| header.hash_key.get())
}

/// The buckets of all limits and the key of their hashes, if the library was preloaded.
fn limits() -> Option<Limits<'static>> {
    let hash_key = &ledger()?.header.hash_key;
    let (rates, identifiers, quotas) = (rate_sets()?, identifier_sets()?, quota_sets()?);
    Some(Limits { hash_key, rates, identifiers, quotas })
}

/// Asks the postmaster for the memory. Called while it loads the library.
pub(in crate::pg) fn request() {
    // SAFETY: hooks are set while libraries are preloaded, and call the one that was there before
    // (src/backend/utils/init/miscinit.c: process_shmem_requests).
    unsafe {
        NEXT_REQUEST = pg_sys::shmem_request_hook;
        pg_sys::shmem_request_hook = Some(on_request);
        NEXT_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(on_startup);
    }
}

/// Asks for the memory, while the postmaster starts.
#[pgrx::pg_guard]
extern "C-unwind" fn on_request() {
    // SAFETY: the hook that was there before is called as the server would call it, and the
    // function is called where it may be (src/backend/storage/ipc/ipci.c: RequestAddinShmemSpace).
    unsafe {
        if let Some(next) = NEXT_REQUEST {
            next();
        }
        for region in &REGIONS {
            pg_sys::RequestAddinShmemSpace((region.size)().next_multiple_of(UNIT));
        }
    }
}

/// Runs in the postmaster, at its start and again after a crash of one of its children.
#[pgrx::pg_guard]
extern "C-unwind" fn on_startup() {
    // SAFETY: the hook that was there before is called as the server would call it
    // (src/backend/storage/ipc/ipci.c). Only the postmaster runs this: children that do, which
    // would need AddinShmemInitLock, exist on Windows only. ShmemInitStruct returns memory of that
    // size and alignment (src/backend/storage/ipc/shmem.c), and all zeroes are the initial state of
    // each region. Callbacks are removed when they have run, and children remove the postmaster's
    // (src/backend/storage/ipc/ipc.c: shmem_exit, on_exit_reset).
    unsafe {
        if let Some(next) = NEXT_STARTUP {
            next();
        }
        for (region, address) in REGIONS.iter().zip(&ADDRESSES) {
            let size = (region.size)();
            let mut found = false;
            let memory = pg_sys::ShmemInitStruct(region.name.as_ptr(), size, &mut found);
            if !found {
                memory.cast::<u8>().write_bytes(0, size);
            }
            address.store(memory.cast(), Relaxed);
        }
        pg_sys::on_shmem_exit(Some(on_postmaster_exit), Datum::null());
    }
    if let Some((ledger, limits)) = ledger().zip(limits()) {
        limits.hash_key.set(random::hash_key());
        usage_file::load(ledger, limits);
    }
}

/// The last thing that the postmaster does, when no other process is left.
#[pgrx::pg_guard]
extern "C-unwind" fn on_postmaster_exit(code: c_int, _nothing: Datum) {
    if let Some((ledger, limits)) = ledger().zip(limits()) {
        // After a crash the memory is not to be trusted. An immediate shutdown ends processes
        // anywhere: a flush may have committed uses that the memory still has, and a slot may be
        // half written.
        usage_file::save(ledger, limits, code == 0 && ledger.header.flusher.load(Relaxed) == 0);
    }
}
