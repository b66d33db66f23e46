//! Where the extension's relations are in this database.
//!
//! Names are looked up once per backend and again after the relation cache was told of a change to
//! one of them (or of a change that it cannot name). The schema `vpk` is the extension's own: nobody
//! else can create in it, so that its name is as good as membership.

use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::pg::ffi::{compat, unguarded};

/// A table with the index through which it is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Indexed {
    /// The table.
    pub table: Oid,
    /// The index.
    pub index: Oid,
}

/// A table that is read without SPI.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Keys, by hash.
    Keys,
    /// Accounts, by name.
    Accounts,
    /// Plans, by name.
    Plans,
    /// Leases, by account.
    TaskLeases,
}

impl Table {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// The name of each table, and those that its index has had, the latest first.
    const NAMES: [(&CStr, &[&CStr]); Table::COUNT] = [
        // Before 0.3.0 it was a B-tree. It had another name, so that an older library finds none rather
        // than a hash index, whose rows it would not compare with the hash that it looks for.
        (c"keys", &[c"keys_key_hash_excl", c"keys_key_hash_key"]),
        (c"accounts", &[c"accounts_pkey"]),
        (c"plans", &[c"plans_pkey"]),
        (c"task_leases", &[c"task_leases_account_idx"]),
    ];
}

/// The file of a table, as it was when the table was last open, and the type of the rows in it.
#[derive(Clone, Copy)]
pub(in crate::pg) struct File {
    pub locator: compat::FileLocator,
    pub descriptor: pg_sys::TupleDesc,
}

#[derive(Clone, Copy)]
struct Relations {
    indexed: [Indexed; Table::COUNT],
    files: [Option<File>; Table::COUNT],
}

impl Relations {
    fn contains(&self, relation: Oid) -> bool {
        self.indexed.iter().any(|indexed| indexed.table == relation || indexed.index == relation)
    }
}

struct Known(UnsafeCell<Option<Relations>>);

// SAFETY: a backend has one thread.
unsafe impl Sync for Known {}

static KNOWN: Known = Known(UnsafeCell::new(None));

static CHANGES: AtomicU64 = AtomicU64::new(0);

/// How often what is known here was forgotten. As long as it is the same, so is each table's file.
pub fn changes() -> u64 {
    CHANGES.load(Relaxed)
}

/// A table and its index, or None in a database without the extension. Unguarded: see
/// [`crate::pg::ffi::unguarded`].
pub fn indexed(table: Table) -> Option<Indexed> {
    loop {
        // SAFETY: the cell is read and written by this thread alone, never across a call that could run
        // the callback below while a reference is held.
        unsafe {
            if let Some(known) = &*KNOWN.0.get() {
                return Some(known.indexed[table as usize]);
            }
        }
        let before = changes();
        let found = look_up();
        // Each look-up may bring news, of a relation too whose name was looked up before it.
        if changes() == before {
            let indexed = found?;
            // SAFETY: as above.
            unsafe { *KNOWN.0.get() = Some(Relations { indexed, files: [None; Table::COUNT] }) };
            return Some(indexed[table as usize]);
        }
    }
}

/// The tables with their indexes, by their names, as they were some time during the call. Unguarded: see
/// [`crate::pg::ffi::unguarded`].
fn look_up() -> Option<[Indexed; Table::COUNT]> {
    // SAFETY: a null-terminated string (src/backend/catalog/namespace.c).
    let schema = unsafe { unguarded::get_namespace_oid(c"vpk".as_ptr(), true) };
    let find = |name: &CStr| {
        // SAFETY: as above (src/backend/utils/cache/lsyscache.c).
        let relation = unsafe { unguarded::get_relname_relid(name.as_ptr(), schema) };
        (relation != Oid::INVALID).then_some(relation)
    };
    let mut indexed = [Indexed { table: Oid::INVALID, index: Oid::INVALID }; Table::COUNT];
    for (found, (table, indexes)) in indexed.iter_mut().zip(&Table::NAMES) {
        let index = indexes.iter().find_map(|index| find(index))?;
        *found = Indexed { table: find(table)?, index };
    }
    Some(indexed)
}

/// The file of a table, unless anything of the table has changed since it was set.
pub(in crate::pg) fn file(table: Table) -> Option<(Oid, File)> {
    // SAFETY: as in `indexed`.
    let known = unsafe { (*KNOWN.0.get()).as_ref() }?;
    Some((known.indexed[table as usize].table, known.files[table as usize]?))
}

/// Sets the file of a table that is open, and so cannot be given another. Nothing is set where the
/// table has changed since it was looked up.
pub(in crate::pg) fn set_file(table: Table, file: File) {
    // SAFETY: as in `indexed`.
    unsafe {
        if let Some(known) = &mut *KNOWN.0.get() {
            known.files[table as usize] = Some(file);
        }
    }
}

/// Looks the names up again at the next call of [`indexed`].
pub(in crate::pg) fn invalidate() {
    CHANGES.fetch_add(1, Relaxed);
    // SAFETY: as in `indexed`.
    unsafe { *KNOWN.0.get() = None }
}

/// Asks the relation cache to say when one of the relations changes. Called once, at load.
pub(in crate::pg) fn register_callbacks() {
    // SAFETY: the callback has the signature of RelcacheCallbackFunction and cannot raise.
    unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(forget), Datum::null()) }
}

/// Runs wherever invalidation messages are processed (src/backend/utils/cache/inval.c): no server
/// function, no allocation. An invalid OID stands for every relation; where nothing is known, any may be
/// one of them.
unsafe extern "C-unwind" fn forget(_: Datum, relation: Oid) {
    // SAFETY: as in `indexed`.
    unsafe {
        let known = KNOWN.0.get();
        if relation == Oid::INVALID
            || (*known).as_ref().is_none_or(|known| known.contains(relation))
        {
            *known = None;
            CHANGES.fetch_add(1, Relaxed);
        }
    }
}
