//! A table that is open for insertions, and whether a row needs no more than to be inserted.
//!
//! The executor inserts into tables that need more: see [`super::bulk_insert`].

use core::ffi::{CStr, c_char};
use core::{ptr, slice};

use pgrx::pg_sys::{
    self, EState, ExprState, Oid, Relation, ResultRelInfo, Trigger, TriggerDesc, TupleTableSlot,
};

use crate::pg::ffi::guarded;

/// A table of the schema `vpk`, and its columns that a row has values for.
pub struct Table {
    /// Its name.
    pub name: &'static CStr,
    /// Names and types. The other columns take their defaults.
    pub columns: &'static [(&'static CStr, Oid)],
    /// Whether a row whose primary key is taken is left out, as by `ON CONFLICT … DO NOTHING`.
    pub skips_conflicts: bool,
}

/// An open table.
#[derive(Clone, Copy)]
pub(super) struct Open {
    /// The table; null where it was not opened.
    pub(super) relation: Relation,
    /// The table and its indexes, as the executor has them.
    pub(super) result: *mut ResultRelInfo,
    /// The row that is being inserted.
    pub(super) slot: *mut TupleTableSlot,
    /// For each given column, its place in the slot.
    pub(super) places: *mut usize,
    /// The given columns, `given` of them.
    pub(super) columns: *const (&'static CStr, Oid),
    /// The number of given columns.
    pub(super) given: usize,
    /// For each place, the expression of the default, or null.
    pub(super) defaults: *mut *mut ExprState,
    /// A list of the primary key, if a row that conflicts with it is left out; else null.
    pub(super) arbiters: *mut pg_sys::List,
}

/// The lock of a statement that inserts.
const LOCK: pg_sys::LOCKMODE = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
/// Closes a table and keeps it locked until the transaction ends.
pub(super) const KEEP_LOCK: pg_sys::LOCKMODE = pg_sys::NoLock as pg_sys::LOCKMODE;

/// Room for fields that a later minor release appends to a structure, in bytes.
const SPARE: usize = 256;

/// Opens a table with its indexes, in the current memory, if its rows need no more than an
/// insertion.
///
/// # Safety
/// The executor's state is a new one, in whose memory the table is opened.
pub(super) unsafe fn open_table(estate: *mut EState, table: &Table) -> Option<Open> {
    // SAFETY: the caller's. As for any insertion, the relation is locked before anything of it is
    // read (src/backend/access/table/table.c). A table that was dropped or renamed before the lock
    // was acquired is left to the executor. The result's information is prepared as by
    // InitResultRelInfo's other callers (src/backend/executor/execMain.c), in zeroed memory.
    unsafe {
        let schema = guarded::get_namespace_oid(c"vpk".as_ptr(), true);
        let named = || guarded::get_relname_relid(table.name.as_ptr(), schema);
        let relation = guarded::try_table_open(named(), LOCK);
        if relation.is_null() {
            return None;
        }
        let oid = (*relation).rd_id;
        let allowed = guarded::pg_class_aclcheck(
            oid,
            pg_sys::GetUserId(),
            pg_sys::ACL_INSERT as pg_sys::AclMode,
        ) == pg_sys::AclResult::ACLCHECK_OK;
        let columns = if named() == oid && is_plain(relation) && allowed {
            columns(relation, table).zip(arbiters(relation, table))
        } else {
            None
        };
        let Some(((places, defaults), arbiters)) = columns else {
            guarded::table_close(relation, KEEP_LOCK);
            return None;
        };
        let result: *mut ResultRelInfo =
            guarded::palloc0(size_of::<ResultRelInfo>() + SPARE).cast();
        (*result).type_ = pg_sys::NodeTag::T_ResultRelInfo;
        guarded::InitResultRelInfo(result, relation, 0, ptr::null_mut(), 0);
        // Triggers look for it in this list.
        (*estate).es_opened_result_relations =
            guarded::lappend((*estate).es_opened_result_relations, result.cast());
        guarded::ExecOpenIndices(result, table.skips_conflicts);
        let slot = guarded::table_slot_create(relation, ptr::null_mut());
        let (columns, given) = (table.columns.as_ptr(), table.columns.len());
        Some(Open { relation, result, slot, places, columns, given, defaults, arbiters })
    }
}

/// The list for [`Open::arbiters`]. None where the table has no primary key, although its rows are
/// left out if they conflict with it.
///
/// # Safety
/// The relation is open.
unsafe fn arbiters(relation: Relation, table: &Table) -> Option<*mut pg_sys::List> {
    if !table.skips_conflicts {
        return Some(ptr::null_mut());
    }
    // SAFETY: the caller's. The list of the indexes comes with the primary key
    // (src/backend/utils/cache/relcache.c: RelationGetIndexList).
    unsafe {
        guarded::RelationGetIndexList(relation);
        let key = (*relation).rd_pkindex;
        (key != Oid::INVALID).then(|| guarded::lappend_oid(ptr::null_mut(), key))
    }
}

/// Whether a row is inserted as it is, and nothing follows but triggers that fire after it.
///
/// # Safety
/// The relation is open.
pub(super) unsafe fn is_plain(relation: Relation) -> bool {
    // SAFETY: the caller's. The triggers are null where there are none (src/include/utils/rel.h).
    unsafe {
        let relation = &*relation;
        let triggers = relation.trigdesc.as_ref();
        (*relation.rd_rel).relkind as u8 == pg_sys::RELKIND_RELATION
            && !(*relation.rd_rel).relrowsecurity
            && relation.rd_rules.is_null()
            && triggers.is_none_or(|triggers| {
                !(triggers.trig_insert_before_row
                    || triggers.trig_insert_instead_row
                    || triggers.trig_insert_before_statement
                    || triggers.trig_insert_after_statement
                    || triggers.trig_insert_new_table)
            })
    }
}

/// Whether the indexes of a table are those with which it was opened. The server makes no index for
/// a table in use, unless the table is attached to a partitioned one. Also false while the indexes
/// are not known.
///
/// # Safety
/// The table is open.
pub(super) unsafe fn same_indexes(open: &Open) -> bool {
    // SAFETY: the caller's. The list is null where there are no indexes
    // (src/backend/utils/cache/relcache.c: RelationGetIndexList). ExecOpenIndices has opened as
    // many as it says (src/backend/executor/execIndexing.c).
    unsafe {
        let now = match (*open.relation).rd_indexlist.as_ref() {
            Some(list) => slice::from_raw_parts(list.elements, list.length as usize),
            None => &[],
        };
        let opened: &[Relation] = match (*open.result).ri_NumIndices as usize {
            0 => &[],
            number => slice::from_raw_parts((*open.result).ri_IndexRelationDescs, number),
        };
        (*open.relation).rd_indexvalid
            && now
                .iter()
                .map(|index| index.oid_value)
                .eq(opened.iter().map(|index| (**index).rd_id))
    }
}

/// Whether the triggers of a table are those with which it was opened.
///
/// # Safety
/// Both are null, or the triggers of an open table.
pub(super) unsafe fn same_triggers(now: *const TriggerDesc, opened: *const TriggerDesc) -> bool {
    // SAFETY: the caller's. They have as many triggers as they say
    // (src/include/utils/reltrigger.h).
    unsafe {
        let of = |triggers: *const TriggerDesc| match triggers.as_ref() {
            Some(all) => slice::from_raw_parts(all.triggers, all.numtriggers as usize),
            None => &[],
        };
        let (now, opened) = (of(now), of(opened));
        now.len() == opened.len()
            && now.iter().zip(opened).all(|(now, opened)| same_trigger(now, opened))
    }
}

/// Whether two triggers are one, which has not been replaced.
///
/// # Safety
/// Both are triggers of an open table.
unsafe fn same_trigger(now: &Trigger, opened: &Trigger) -> bool {
    // SAFETY: the caller's. A trigger has as many arguments as it says, and its condition is null
    // where it has none (src/include/utils/reltrigger.h). Both are null-terminated strings.
    unsafe {
        let text = |text: *mut c_char| (!text.is_null()).then(|| CStr::from_ptr(text));
        let what = |trigger: &Trigger| {
            (trigger.tgoid, trigger.tgfoid, trigger.tgtype, trigger.tgenabled, trigger.tgnargs)
        };
        what(now) == what(opened)
            && text(now.tgqual) == text(opened.tgqual)
            && (0..now.tgnargs as usize)
                .all(|n| text(*now.tgargs.add(n)) == text(*opened.tgargs.add(n)))
    }
}

/// The places of the given columns, and the default of each other column, which is null where it
/// has none. None where a given column is missing or of another type, or a column is generated.
///
/// # Safety
/// The relation is open.
unsafe fn columns(relation: Relation, table: &Table) -> Option<(*mut usize, *mut *mut ExprState)> {
    // SAFETY: the caller's. The arrays have room for every column. Defaults are prepared as by
    // BeginCopyFrom (src/backend/commands/copyfrom.c). A name is a null-terminated copy
    // (src/backend/utils/cache/lsyscache.c).
    unsafe {
        let oid = (*relation).rd_id;
        let number = (*(*relation).rd_att).natts;
        let places: *mut usize = guarded::palloc0(size_of::<usize>() * table.columns.len()).cast();
        let defaults: *mut *mut ExprState =
            guarded::palloc0(size_of::<*mut ExprState>() * number as usize).cast();
        let mut found = 0;
        for (place, attribute) in (1..=number as pg_sys::AttrNumber).enumerate() {
            let (mut kind, mut modifier, mut collation) = (Oid::INVALID, 0, Oid::INVALID);
            guarded::get_atttypetypmodcoll(
                oid,
                attribute,
                &mut kind,
                &mut modifier,
                &mut collation,
            );
            if kind == Oid::INVALID {
                continue; // a dropped column, whose value is null
            }
            if guarded::get_attgenerated(oid, attribute) != 0 {
                return None;
            }
            let name = CStr::from_ptr(guarded::get_attname(oid, attribute, false));
            if let Some(given) = table.columns.iter().position(|(column, _)| *column == name) {
                if kind != table.columns[given].1 || modifier >= 0 {
                    return None;
                }
                *places.add(given) = place;
                found += 1;
            } else {
                let default = guarded::build_column_default(relation, attribute.into());
                if !default.is_null() {
                    let planned = guarded::expression_planner(default.cast());
                    *defaults.add(place) = guarded::ExecInitExpr(planned, ptr::null_mut());
                }
            }
        }
        (found == table.columns.len()).then_some((places, defaults))
    }
}
