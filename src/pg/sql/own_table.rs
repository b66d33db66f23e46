//! A table of the extension that is written to as the table's owner.

use core::marker::PhantomData;
use std::ffi::CString;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::pg::call::Call;
use crate::pg::error;
use crate::pg::ffi::guarded;
use crate::pg::server::caller;

/// A table of the extension, which is locked until the transaction ends.
#[derive(Clone, Copy)]
pub struct OwnTable<'call> {
    /// The OID of the role that owns it.
    owner: Oid,
    /// The call, in whose transaction the table is locked.
    call: PhantomData<&'call Call>,
}

/// What a name stands for.
enum Found<'call> {
    /// A table of the extension.
    Own(OwnTable<'call>),
    /// Something else, or nothing.
    Other,
    /// There is no extension.
    NoExtension,
}

impl<'call> OwnTable<'call> {
    /// Finds a table of the extension in the schema vpk, and locks it. None where there is no
    /// extension. Raises 55000 where the name is that of something else.
    pub fn find(call: &'call Call, name: &str) -> Option<OwnTable<'call>> {
        match Self::look(call, name) {
            Found::Own(table) => Some(table),
            Found::NoExtension => None,
            Found::Other => error::not_own_table(name),
        }
    }

    /// The same for a table that databases of earlier releases do not have: None there.
    pub fn find_newer(call: &'call Call, name: &str) -> Option<OwnTable<'call>> {
        match Self::look(call, name) {
            Found::Own(table) => Some(table),
            Found::NoExtension | Found::Other => None,
        }
    }

    fn look(_: &'call Call, name: &str) -> Found<'call> {
        let Ok(c_name) = CString::new(name) else { return Found::Other };
        // SAFETY: these are catalogue look-ups in a transaction, which the call stands for. The
        // lock comes first, so that what is found afterwards stays true
        // (src/backend/utils/cache/lsyscache.c, src/backend/catalog/pg_depend.c). The tuple stays
        // until it is released.
        let owner = unsafe {
            let schema = guarded::get_namespace_oid(c"vpk".as_ptr(), true);
            let table = guarded::get_relname_relid(c_name.as_ptr(), schema);
            if table != Oid::INVALID {
                guarded::LockRelationOid(table, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
            }
            let extension = guarded::get_extension_oid(c"vibepeak_keys".as_ptr(), true);
            if extension == Oid::INVALID {
                return Found::NoExtension;
            }
            let tuple = guarded::SearchSysCache1(
                pg_sys::SysCacheIdentifier::RELOID as i32,
                Datum::from(table),
            );
            if tuple.is_null() {
                None
            } else {
                let form: pg_sys::Form_pg_class = pg_sys::GETSTRUCT(tuple).cast();
                let (kind, owner) = ((*form).relkind as u8, (*form).relowner);
                guarded::ReleaseSysCache(tuple);
                let member =
                    guarded::getExtensionOfObject(pg_sys::RelationRelationId, table) == extension;
                (kind == pg_sys::RELKIND_RELATION && member).then_some(owner)
            }
        };
        owner.map_or(Found::Other, |owner| Found::Own(OwnTable { owner, call: PhantomData }))
    }

    /// Runs `act` as the table's owner, and not as the superuser that a worker is. `act` can do
    /// nothing that would outlast it. So a trigger that the owner has put on the table has the
    /// privileges of the owner.
    pub fn as_owner<R>(self, act: impl FnOnce() -> R) -> R {
        caller::acting_as(self.owner, act)
    }
}
