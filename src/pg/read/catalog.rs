//! Where the extension's relations are in this database.
//!
//! Names are looked up once per backend, and again after the relation cache got an invalidation
//! message for one of them, or for every relation. Only the owner of the schema `vpk` can give one
//! of these names to another relation. So what is found by its name is compared with its
//! [`super::shape`] before a row of it is read. Whether that was done, and what is known of the
//! file, is forgotten together with the names.

use core::ffi::CStr;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use pgrx::pg_sys::{self, Datum, Oid, SysCacheIdentifier};

use crate::pg::ffi::per_backend::PerBackend;
use crate::pg::ffi::{compat, unguarded};
use crate::pg::read::shape::{Difference, Index};

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
    /// What is used of quotas, by account or key. A database that was not updated to 0.10.0 does
    /// not have it.
    QuotaUsage,
}

impl Table {
    /// The number of tables.
    pub const COUNT: usize = 5;

    /// The name of each table, and its index as each release has made it, the latest first.
    const NAMES: [(&CStr, &[Index]); Table::COUNT] = [
        // Before 0.3.0 this index was a B-tree. The hash index got another name, so that an older
        // library finds no index: it would not compare the rows of a hash index with the hash.
        (
            c"keys",
            &[
                Index::hash_of_bytea(c"keys_key_hash_excl"),
                Index::btree_of_bytea(c"keys_key_hash_key"),
            ],
        ),
        (c"accounts", &[Index::btree_of_text(c"accounts_pkey")]),
        (c"plans", &[Index::btree_of_text(c"plans_pkey")]),
        (c"task_leases", &[Index::btree_of_text(c"task_leases_account_idx")]),
        (c"quota_usage", &[Index::btree_of_text(c"quota_usage_pkey")]),
    ];

    /// All tables, in the order of their numbers.
    pub const ALL: [Table; Table::COUNT] =
        [Table::Keys, Table::Accounts, Table::Plans, Table::TaskLeases, Table::QuotaUsage];

    /// Its name in the schema `vpk`.
    pub fn name(self) -> &'static str {
        Table::NAMES[self as usize].0.to_str().unwrap_or_default()
    }

    /// Its index as each release has made it, the latest first.
    pub(in crate::pg) fn indexes(self) -> &'static [Index] {
        Table::NAMES[self as usize].1
    }
}

/// The file of a table, as it was when the table was last open.
#[derive(Clone, Copy)]
pub(in crate::pg) struct File {
    /// Identifies the file.
    pub(in crate::pg) locator: compat::FileLocator,
    /// The tuple descriptors of the rows in it.
    pub(in crate::pg) descriptors: Descriptors,
}

/// What is known of the columns of a row on a page.
#[derive(Clone, Copy)]
pub(in crate::pg) struct Descriptors {
    /// The tuple descriptor of the columns that every row has.
    pub(in crate::pg) first: pg_sys::TupleDesc,
    /// That of all columns that may be read: also those that an update has appended, which an older
    /// row does not have.
    pub(in crate::pg) all: pg_sys::TupleDesc,
    /// The columns that an update has appended, if they may be read.
    pub(in crate::pg) appended: Option<Appended>,
}

/// Columns that an update has appended, in the list of nulls of a row.
#[derive(Clone, Copy)]
pub(in crate::pg) struct Appended {
    /// The number of the first one.
    pub(in crate::pg) first: pg_sys::AttrNumber,
    /// Their bits in the byte of the list that has the first one's.
    pub(in crate::pg) mask: u8,
}

/// The relations of this database.
#[derive(Clone, Copy)]
struct Relations {
    /// The tables with their indexes, by [`Table`]; invalid OIDs for one that older releases lack.
    indexed: [Indexed; Table::COUNT],
    /// The last column that may be read of each table that, with its index, was compared with its
    /// shape and is as it has to be; 0 where it was not compared.
    checked: [pg_sys::AttrNumber; Table::COUNT],
    /// The files of the tables, where they are known. Only that of a table that was checked is.
    files: [Option<File>; Table::COUNT],
}

impl Relations {
    /// Whether a relation is one of these.
    fn contains(&self, relation: Oid) -> bool {
        self.indexed.iter().any(|indexed| indexed.table == relation || indexed.index == relation)
    }
}

/// The relations, once they were looked up.
static KNOWN: PerBackend<Option<Relations>> = PerBackend::new(None);

/// How many times [`KNOWN`] was emptied.
static CHANGES: AtomicU64 = AtomicU64::new(0);

/// The number of invalidations so far.
fn changes() -> u64 {
    CHANGES.load(Relaxed)
}

/// A table and its index, or what is missing.
pub fn indexed(table: Table) -> Result<Indexed, Difference> {
    loop {
        // SAFETY: the closure reads the value alone.
        let known = unsafe {
            KNOWN.with(|known| known.as_ref().map(|known| known.indexed[table as usize]))
        };
        if let Some(known) = known.filter(|known| known.table != Oid::INVALID) {
            return Ok(known);
        }
        let before = changes();
        let found = look_up();
        // Each look-up can process invalidation messages, also of a relation whose name was looked
        // up before.
        if changes() != before {
            continue;
        }
        // What is missing is looked for again the next time: no message tells that another relation
        // got the name.
        if let [Ok(keys), Ok(accounts), Ok(plans), Ok(leases), quota_usage] = found {
            let missing = Indexed { table: Oid::INVALID, index: Oid::INVALID };
            let indexed = [keys, accounts, plans, leases, quota_usage.unwrap_or(missing)];
            let (checked, files) = ([0; Table::COUNT], [None; Table::COUNT]);
            // SAFETY: the closure writes the value alone.
            unsafe { KNOWN.with(|known| *known = Some(Relations { indexed, checked, files })) };
        }
        return found[table as usize];
    }
}

/// The tables with their indexes, by their names, as they were at some time during the call.
fn look_up() -> [Result<Indexed, Difference>; Table::COUNT] {
    // SAFETY: the name is a null-terminated string (src/backend/catalog/namespace.c).
    let schema = unsafe { unguarded::get_namespace_oid(c"vpk".as_ptr(), true) };
    let mut all = [Err(Difference::NoSchema); Table::COUNT];
    if schema == Oid::INVALID {
        return all;
    }
    let find = |name: &CStr| {
        // SAFETY: the name is a null-terminated string (src/backend/utils/cache/lsyscache.c).
        let relation = unsafe { unguarded::get_relname_relid(name.as_ptr(), schema) };
        (relation != Oid::INVALID).then_some(relation)
    };
    // An array's own iterators have destructors, those of a slice have none.
    for (found, table) in all.iter_mut().zip(&Table::ALL) {
        let (name, indexes) = Table::NAMES[*table as usize];
        let index = indexes.iter().find_map(|index| find(index.name));
        *found = match (find(name), index) {
            (None, _) => Err(Difference::NoTable(*table)),
            (_, None) => Err(Difference::NoIndex(*table)),
            (Some(table), Some(index)) => Ok(Indexed { table, index }),
        };
    }
    all
}

/// Whether the schema `vpk` has a relation of this name. Unguarded: see [`crate::pg::read`].
pub(in crate::pg) fn has_relation(name: &CStr) -> bool {
    // SAFETY: both names are null-terminated strings (src/backend/catalog/namespace.c,
    // src/backend/utils/cache/lsyscache.c).
    unsafe {
        let schema = unguarded::get_namespace_oid(c"vpk".as_ptr(), true);
        unguarded::get_relname_relid(name.as_ptr(), schema) != Oid::INVALID
    }
}

/// The last column of a table that may be read. None where the table was not checked since anything
/// of it or its index has changed.
pub(in crate::pg) fn checked(table: Table) -> Option<pg_sys::AttrNumber> {
    // SAFETY: the closure reads the value alone.
    let last = unsafe {
        KNOWN.with(|known| known.as_ref().map_or(0, |known| known.checked[table as usize]))
    };
    (last > 0).then_some(last)
}

/// Notes that a table was checked, and the last column that may be read. Notes nothing where the
/// table or its index has changed since it was looked up.
///
/// # Safety
/// The table and its index are open, and were compared with the shape since.
pub(in crate::pg) unsafe fn set_checked(table: Table, last: pg_sys::AttrNumber) {
    // SAFETY: the closure writes the value alone.
    unsafe {
        KNOWN.with(|known| {
            if let Some(known) = known {
                known.checked[table as usize] = last;
            }
        });
    }
}

/// The OID of a table and its file. None where anything of the table has changed since
/// [`set_file`] was called. So a table that has a file here was checked since its last change.
pub(in crate::pg) fn file(table: Table) -> Option<(Oid, File)> {
    // SAFETY: the closure reads the value alone.
    unsafe {
        KNOWN.with(|known| {
            let known = known.as_ref()?;
            Some((known.indexed[table as usize].table, known.files[table as usize]?))
        })
    }
}

/// Sets the file of a table. Sets nothing where the table has changed since it was checked.
///
/// # Safety
/// The table is open, and so cannot get another file. The tuple descriptors are those of the table,
/// and are never freed.
pub(in crate::pg) unsafe fn set_file(table: Table, file: File) {
    // SAFETY: the closure writes the value alone.
    unsafe {
        KNOWN.with(|known| {
            if let Some(known) = known.as_mut().filter(|known| known.checked[table as usize] > 0) {
                known.files[table as usize] = Some(file);
            }
        });
    }
}

/// Has the next call of [`indexed`] look the names up again.
pub(in crate::pg) fn invalidate() {
    CHANGES.fetch_add(1, Relaxed);
    // SAFETY: the closure writes the value alone.
    unsafe { KNOWN.with(|known| *known = None) }
}

/// Has the relation cache call [`forget`] when a relation changes, and the catalog cache
/// [`forget_schema`] when a schema does: no message about a table tells that its schema got another
/// name. Called once, when the library is loaded.
pub(in crate::pg) fn register_callbacks() {
    // SAFETY: the callbacks have the signatures of RelcacheCallbackFunction and
    // SyscacheCallbackFunction (src/include/utils/inval.h), and cannot raise an error.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(forget), Datum::null());
        pg_sys::CacheRegisterSyscacheCallback(
            SysCacheIdentifier::NAMESPACEOID as i32,
            Some(forget_schema),
            Datum::null(),
        );
    }
}

/// Forgets the relations when a schema changes.
///
/// # Safety
/// As for [`forget`].
unsafe extern "C-unwind" fn forget_schema(argument: Datum, _cache: i32, _hash: u32) {
    // SAFETY: the caller's.
    unsafe { forget(argument, Oid::INVALID) }
}

/// Forgets the relations when one of them changes. An invalid OID stands for every relation. Where
/// none is known, the relation that changes may be one of them.
///
/// Runs wherever invalidation messages are processed (src/backend/utils/cache/inval.c). So it calls
/// no server function and allocates nothing.
///
/// # Safety
/// [`KNOWN`] is not in use.
unsafe extern "C-unwind" fn forget(_: Datum, relation: Oid) {
    // SAFETY: the caller's: the server calls this from its own functions, which no closure given to
    // the cell calls. The closure here reads and writes the value and a number.
    unsafe {
        KNOWN.with(|known| {
            if relation == Oid::INVALID
                || known.as_ref().is_none_or(|known| known.contains(relation))
            {
                *known = None;
                CHANGES.fetch_add(1, Relaxed);
            }
        });
    }
}
