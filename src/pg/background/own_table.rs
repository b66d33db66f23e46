//! A table of the extension, to which a background worker writes as its owner.

use core::ffi::c_int;
use std::ffi::CString;

use pgrx::pg_sys::{self, Datum, Oid};

/// A table of the extension, and who owns it.
#[derive(Clone, Copy)]
pub struct OwnTable {
    owner: Oid,
}

impl OwnTable {
    /// Finds a table of the extension in the schema vpk and keeps it as it is until the transaction
    /// ends. None where there is no extension, or something else has the name.
    pub fn find(name: &str) -> Option<OwnTable> {
        let name = CString::new(name).ok()?;
        // SAFETY: catalogue look-ups. The lock comes first, so that what is found out afterwards stays
        // (src/backend/utils/cache/lsyscache.c, src/backend/catalog/pg_depend.c).
        unsafe {
            let schema = pg_sys::get_namespace_oid(c"vpk".as_ptr(), true);
            let table = pg_sys::get_relname_relid(name.as_ptr(), schema);
            let extension = pg_sys::get_extension_oid(c"vibepeak_keys".as_ptr(), true);
            if table == Oid::INVALID || extension == Oid::INVALID {
                return None;
            }
            pg_sys::LockRelationOid(table, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
            if pg_sys::getExtensionOfObject(pg_sys::RelationRelationId, table) != extension {
                return None;
            }
            let tuple = pg_sys::SearchSysCache1(
                pg_sys::SysCacheIdentifier::RELOID as i32,
                Datum::from(table),
            );
            if tuple.is_null() {
                return None;
            }
            let form: pg_sys::Form_pg_class = pg_sys::GETSTRUCT(tuple).cast();
            let owner =
                ((*form).relkind as u8 == pg_sys::RELKIND_RELATION).then(|| (*form).relowner);
            pg_sys::ReleaseSysCache(tuple);
            owner.map(|owner| OwnTable { owner })
        }
    }

    /// Acts as the table's owner and not as the superuser that a worker is, and can do nothing that
    /// would outlast the call: a trigger that the owner has put there has the owner's rights.
    pub fn as_owner<R>(self, act: impl FnOnce() -> R) -> R {
        let (mut role, mut context) = (Oid::INVALID, 0);
        // SAFETY: as src/backend/commands/vacuum.c does. An error ends the process.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut role, &mut context);
            let restricted =
                pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION;
            pg_sys::SetUserIdAndSecContext(self.owner, context | restricted as c_int);
            let result = act();
            pg_sys::SetUserIdAndSecContext(role, context);
            result
        }
    }
}
