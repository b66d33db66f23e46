//! Whether a table and its index have the shape that a reader relies on.
//!
//! A statement is checked by the server against the catalogue; what is read here is not. Rows are
//! found through an index that is known by its name, and their columns are taken by number as
//! values of a type that the caller names. The owner of the tables can change all of that. To read
//! such a row would ignore a limit, or take a number for an address in memory.
//!
//! So [`super::scan::Opened::open`] compares an open table with its [`Shape`], once after each
//! change of which the relation cache is told, and raises an error if they differ.

use core::ffi::CStr;
use core::slice;

use pgrx::pg_sys::{self, AttrNumber, Oid};

use pure::error::CallError;

use crate::pg::error;
use crate::pg::ffi::{compat, unguarded};
use crate::pg::read::catalog::{self, Table};

/// A type of columns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its OID.
    pub oid: Oid,
    /// Its name in SQL.
    pub name: &'static str,
}

impl Kind {
    /// `bigint`.
    pub const BIGINT: Kind = Kind { oid: pg_sys::INT8OID, name: "bigint" };
    /// `boolean`.
    pub const BOOLEAN: Kind = Kind { oid: pg_sys::BOOLOID, name: "boolean" };
    /// `bytea`.
    pub const BYTEA: Kind = Kind { oid: pg_sys::BYTEAOID, name: "bytea" };
    /// `cidr[]`.
    pub const CIDR_ARRAY: Kind = Kind { oid: pg_sys::CIDRARRAYOID, name: "cidr[]" };
    /// `integer`.
    pub const INTEGER: Kind = Kind { oid: pg_sys::INT4OID, name: "integer" };
    /// `jsonb`.
    pub const JSONB: Kind = Kind { oid: pg_sys::JSONBOID, name: "jsonb" };
    /// `text`.
    pub const TEXT: Kind = Kind { oid: pg_sys::TEXTOID, name: "text" };
    /// `text[]`.
    pub const TEXT_ARRAY: Kind = Kind { oid: pg_sys::TEXTARRAYOID, name: "text[]" };
    /// `timestamp with time zone`.
    pub const TIMESTAMPTZ: Kind =
        Kind { oid: pg_sys::TIMESTAMPTZOID, name: "timestamp with time zone" };
    /// `uuid`.
    pub const UUID: Kind = Kind { oid: pg_sys::UUIDOID, name: "uuid" };
}

/// A column that is read by its number.
#[derive(PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static CStr,
    /// Its number, from 1 on.
    pub number: AttrNumber,
    /// Its type.
    pub kind: Kind,
}

/// What a reader relies on in a table.
pub struct Shape {
    /// The columns that are read, and that every release has made.
    pub columns: &'static [Column],
    /// Those that an update has appended.
    pub appended: Option<Appended>,
    /// The one by which rows are found, which is the first column of the index.
    pub key: &'static Column,
}

/// Columns that an update has appended to a table. In a database that was not updated yet they are
/// not read: there is none, or one that somebody else has added.
pub struct Appended {
    /// The columns, without a default. So they are null in every row from before the update.
    pub columns: &'static [Column],
    /// A relation in the schema `vpk` that the same update makes. Where it is, so are the columns.
    pub made_with: &'static CStr,
}

impl Shape {
    /// The last column that every release has made and that is read.
    pub fn last(&self) -> AttrNumber {
        self.columns.last().map_or(0, |column| column.number)
    }

    /// The first column that an update has appended.
    pub(in crate::pg) fn first_appended(&self) -> Option<AttrNumber> {
        self.appended.as_ref()?.columns.first().map(|column| column.number)
    }
}

/// How a release has made the index of a table. Every column of it is a plain one, and it has every
/// row.
pub(in crate::pg) struct Index {
    /// Its name.
    pub(in crate::pg) name: &'static CStr,
    /// The access method.
    method: Oid,
    /// The operator family of the first column: the default of its type
    /// (src/include/catalog/pg_opfamily.dat).
    family: Oid,
    /// The collation of the first column.
    collation: Oid,
    /// The part of its definition that says this.
    definition: &'static str,
}

impl Index {
    /// A hash index on a `bytea`.
    pub(in crate::pg) const fn hash_of_bytea(name: &'static CStr) -> Index {
        Index {
            name,
            method: pg_sys::HASH_AM_OID,
            family: Oid::from_u32(2223),
            collation: Oid::INVALID,
            definition: "USING hash",
        }
    }

    /// A B-tree on a `bytea`.
    pub(in crate::pg) const fn btree_of_bytea(name: &'static CStr) -> Index {
        Index {
            name,
            method: pg_sys::BTREE_AM_OID,
            family: pg_sys::BYTEA_BTREE_FAM_OID,
            collation: Oid::INVALID,
            definition: "USING btree",
        }
    }

    /// A B-tree on a `text` of collation "C".
    pub(in crate::pg) const fn btree_of_text(name: &'static CStr) -> Index {
        Index {
            name,
            method: pg_sys::BTREE_AM_OID,
            family: pg_sys::TEXT_BTREE_FAM_OID,
            collation: pg_sys::C_COLLATION_OID,
            definition: "USING btree, in collation \"C\"",
        }
    }
}

/// How a table differs from its shape.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// There is no schema of the extension.
    NoSchema,
    /// There is no such table.
    NoTable(Table),
    /// The name of the table is that of something else.
    NotATable(Table),
    /// A column is missing, or has another number or type.
    Column(Table, &'static Column),
    /// No index has a name that a release has given to it.
    NoIndex(Table),
    /// The index is not as a release has made it, with this column as its first one.
    Index(Table, &'static Column),
}

impl Difference {
    /// Raises 55000, or 42704 in a database without the extension.
    pub(in crate::pg) fn raise(self) -> ! {
        if self == Difference::NoSchema {
            error::not_installed();
        }
        let error = CallError::out_of_place(self.message()).hint(error::UNDO_CHANGE);
        error::raise(match self.detail() {
            Some(detail) => error.detail(detail),
            None => error,
        })
    }

    /// What differs.
    pub fn message(self) -> String {
        match self {
            Difference::NoSchema => "schema \"vpk\" is missing".to_owned(),
            Difference::NoTable(table) => format!("table \"vpk.{}\" is missing", table.name()),
            Difference::NotATable(table) => format!("\"vpk.{}\" is not a table", table.name()),
            Difference::Column(table, column) => {
                format!(
                    "column \"{}\" of table \"vpk.{}\" was changed",
                    shown(column.name),
                    table.name()
                )
            }
            Difference::NoIndex(table) => {
                format!(
                    "index \"{}\" of table \"vpk.{}\" is missing",
                    index_name(table),
                    table.name()
                )
            }
            Difference::Index(table, _) => {
                format!(
                    "index \"{}\" of table \"vpk.{}\" was changed",
                    index_name(table),
                    table.name()
                )
            }
        }
    }

    /// What it has to be.
    pub fn detail(self) -> Option<String> {
        match self {
            Difference::Column(_, Column { name, number, kind }) => Some(format!(
                "Column {number} of the table has to be \"{}\" of type {}.",
                shown(name),
                kind.name
            )),
            Difference::Index(table, key) => Some(format!(
                "It has to be a valid index of that table, {}, with \"{}\" as its first column, \
                 and neither a predicate nor an expression.",
                table.indexes()[0].definition,
                shown(key.name)
            )),
            _ => None,
        }
    }
}

/// A name of the extension's own, which is ASCII.
fn shown(name: &'static CStr) -> &'static str {
    name.to_str().unwrap_or_default()
}

/// The latest name of the index of a table.
fn index_name(table: Table) -> &'static str {
    shown(table.indexes()[0].name)
}

/// The last column that may be read of a table that, with its index, has its shape, or else the
/// first difference. Unguarded: see [`crate::pg::read`].
///
/// # Safety
/// Both relations are open and locked.
pub(in crate::pg) unsafe fn last_column(
    table: Table,
    shape: &'static Shape,
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
) -> Result<AttrNumber, Difference> {
    let appended = shape.appended.as_ref().filter(|it| catalog::has_relation(it.made_with));
    let appended = appended.map_or(&[][..], |it| it.columns);
    // SAFETY: the caller's. An open relation has its row of pg_class (src/include/utils/rel.h).
    unsafe {
        if (*(*heap).rd_rel).relkind as u8 != pg_sys::RELKIND_RELATION {
            return Err(Difference::NotATable(table));
        }
        if let Some(column) = shape.columns.iter().chain(appended).find(|it| !has(heap, it)) {
            return Err(Difference::Column(table, column));
        }
        if !is_index_of(heap, index, table.indexes(), shape.key) {
            return Err(Difference::Index(table, shape.key));
        }
    }
    Ok(appended.last().map_or(shape.last(), |column| column.number))
}

/// Whether a table has a column under its name, number and type, with values that are stored.
///
/// # Safety
/// The table is open.
unsafe fn has(heap: pg_sys::Relation, column: &Column) -> bool {
    /// attgenerated of a column that is computed when it is read, from PostgreSQL 18 on
    /// (src/include/catalog/pg_attribute.h).
    const VIRTUAL: u8 = b'v';
    // SAFETY: the caller's: the tuple descriptor has `natts` attributes. A name is null-terminated
    // (src/include/c.h: NameData).
    unsafe {
        let descriptor = (*heap).rd_att;
        if (*descriptor).natts < column.number.into() {
            return false;
        }
        let attribute = &*compat::attribute(descriptor, column.number);
        !attribute.attisdropped
            && attribute.atttypid == column.kind.oid
            && attribute.attgenerated as u8 != VIRTUAL
            && CStr::from_ptr(attribute.attname.data.as_ptr()) == column.name
    }
}

/// Whether an index is one of the table, and as a release has made it.
///
/// # Safety
/// Both relations are open.
unsafe fn is_index_of(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    released: &[Index],
    key: &Column,
) -> bool {
    // SAFETY: the caller's. An index has its row of pg_index, as a structure and as a tuple, with
    // as many numbers of columns as it says, and an operator family and a collation for each key
    // column; all that is null in another relation (src/include/utils/rel.h,
    // src/backend/utils/cache/relcache.c: RelationInitIndexAccessInfo). The predicate comes after
    // the columns of the structure, so that the tuple is asked. heap_attisnull without a tuple
    // descriptor reads the tuple alone (src/backend/access/common/heaptuple.c).
    unsafe {
        let Some(form) = (*index).rd_index.as_ref() else { return false };
        let columns = slice::from_raw_parts(form.indkey.values.as_ptr(), form.indnatts as usize);
        let method = (*(*index).rd_rel).relam;
        let (family, collation) = (*(*index).rd_opfamily, *(*index).rd_indcollation);
        (*(*index).rd_rel).relkind as u8 == pg_sys::RELKIND_INDEX
            && form.indrelid == (*heap).rd_id
            && form.indisvalid
            && form.indisready
            && form.indislive
            && columns.first() == Some(&key.number)
            // An expression has the number 0 here.
            && !columns.contains(&0)
            && unguarded::heap_attisnull(
                (*index).rd_indextuple,
                pg_sys::Anum_pg_index_indpred as i32,
                core::ptr::null_mut(),
            )
            && released.iter().any(|released| {
                (method, family, collation) == (released.method, released.family, released.collation)
            })
    }
}
