//! A table as a function's result, in a tuple store (src/backend/utils/fmgr/README: "materialize
//! mode").
//!
//! pgrx returns a table row by row. The server calls the function once more to learn that there is
//! no other row, which costs the same for SECURITY DEFINER and SET again. And when the function has
//! returned, pgrx looks up the result's columns. That takes longer than a verification, and an
//! update of the extension may have appended a column meanwhile, which the function knows nothing
//! of. Here the columns are those that the calling statement expects. They may be fewer than the
//! row has, and then are the first ones: the statement began before that update, or the database
//! was not updated yet.

use core::marker::PhantomData;
use core::ptr;

use pgrx::callconv::RetAbi;
use pgrx::datum::IntoDatum;
use pgrx::pg_sys::{self, Datum, FunctionCallInfo, SetFunctionReturnMode};
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

use crate::pg::call::Call;
use crate::pg::error;
use crate::pg::ffi::guarded;

/// A table. It has the name of pgrx's type, by which `#[pg_extern]` recognises a function that
/// returns one.
pub struct TableIterator<'row, Row> {
    /// The rows.
    store: *mut pg_sys::Tuplestorestate,
    /// What the function is declared to return.
    row: PhantomData<&'row Row>,
}

/// A row of a table.
pub trait Columns {
    /// Passes on the values of its columns, in order, and which of them are null.
    fn pass_to(self, receive: impl FnOnce(&[Datum], &[bool]));
}

/// Lets a function return rows of so many columns.
macro_rules! returned_rows {
    ($(($($column:ident)+))+) => {$(
        #[allow(non_snake_case, reason = "a name stands for a column's type and its value")]
        impl<$($column: IntoDatum),+> Columns for ($($column,)+) {
            fn pass_to(self, receive: impl FnOnce(&[Datum], &[bool])) {
                let ($($column,)+) = self;
                let values = [$($column.into_datum()),+];
                let nulls = values.map(|value| value.is_none());
                receive(&values.map(|value| value.unwrap_or(Datum::null())), &nulls);
            }
        }
    )+};
}

returned_rows! {
    (A B C)
    (A B C D)
    (A B C D E F)
    (A B C D E F G)
    (A B C D E F G H)
    (A B C D E F G H I)
    (A B C D E F G H I J)
    (A B C D E F G H I J K)
    (A B C D E F G H I J K L M)
    (A B C D E F G H I J K L M N)
    (A B C D E F G H I J K L M N O)
}

impl<Row: Columns> TableIterator<'_, Row> {
    /// A table of one row.
    pub fn once(call: &Call, row: Row) -> Self {
        Self::new(call, [row])
    }

    /// A table of these rows, whose columns are those of the function's declaration.
    pub fn new(call: &Call, rows: impl IntoIterator<Item = Row>) -> Self {
        let result = expected(call);
        // SAFETY: this is the protocol of ExecMakeTableFunctionResult and
        // ExecMakeFunctionResultSet (src/backend/executor/execSRF.c). They own the tuple store that
        // they are given, in the memory of the query, and close it. Values and nulls are as many as
        // the expected columns at least, each of the declared type.
        unsafe {
            let columns = result.expectedDesc;
            let random =
                result.allowedModes & SetFunctionReturnMode::SFRM_Materialize_Random as i32 != 0;
            let old = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = (*result.econtext).ecxt_per_query_memory;
            let store = guarded::tuplestore_begin_heap(random, false, pg_sys::work_mem);
            pg_sys::CurrentMemoryContext = old;
            for row in rows {
                row.pass_to(|values, nulls| {
                    let count = usize::try_from((*columns).natts).unwrap_or(usize::MAX);
                    assert!(count <= values.len(), "{count} columns of {}", values.len());
                    guarded::tuplestore_putvalues(store, columns, values.as_ptr(), nulls.as_ptr());
                });
            }
            TableIterator { store, row: PhantomData }
        }
    }
}

/// What the calling statement expects of the result. Raises an error where that is no table.
fn expected(call: &Call) -> &pg_sys::ReturnSetInfo {
    let node = call.info().map_or(ptr::null_mut(), |info| info.resultinfo);
    // SAFETY: it is null or a node (src/include/fmgr.h), which says itself what it is, and outlives
    // the call.
    let result = unsafe {
        node.as_ref()
            .filter(|node| node.type_ == pg_sys::NodeTag::T_ReturnSetInfo)
            .map(|node| &*ptr::from_ref(node).cast::<pg_sys::ReturnSetInfo>())
    };
    let materialized = SetFunctionReturnMode::SFRM_Materialize as i32;
    result
        .filter(|result| result.allowedModes & materialized != 0 && !result.expectedDesc.is_null())
        .unwrap_or_else(|| error::no_set_expected())
}

// SAFETY: the function returns the table that was made for the same call, and nothing else
// (src/backend/executor/execSRF.c).
unsafe impl<Row> RetAbi for TableIterator<'_, Row> {
    type Item = Self;
    type Ret = Self;

    fn to_ret(self) -> Self {
        self
    }

    unsafe fn box_ret_in_fcinfo(info: FunctionCallInfo, table: Self) -> Datum {
        // SAFETY: the caller's: `info` describes the call, for which `new` has found what the
        // statement expects.
        unsafe {
            let result: *mut pg_sys::ReturnSetInfo = (*info).resultinfo.cast();
            (*result).returnMode = SetFunctionReturnMode::SFRM_Materialize;
            (*result).setResult = table.store;
            (*info).isnull = true;
        }
        Datum::null()
    }

    unsafe fn move_into_fcinfo_fcx(self, _: FunctionCallInfo) {}

    unsafe fn fill_fcinfo_fcx(&self, _: FunctionCallInfo) {}
}

// SAFETY: it is declared as pgrx's own type of this name is (pgrx src/iter.rs).
unsafe impl<'row, Row> SqlTranslatable for TableIterator<'row, Row>
where
    pgrx::iter::TableIterator<'row, Row>: SqlTranslatable,
{
    const TYPE_IDENT: &'static str =
        <pgrx::iter::TableIterator<'row, Row> as SqlTranslatable>::TYPE_IDENT;
    const TYPE_ORIGIN: TypeOrigin =
        <pgrx::iter::TableIterator<'row, Row> as SqlTranslatable>::TYPE_ORIGIN;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Err(ArgumentError::Table);
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        <pgrx::iter::TableIterator<'row, Row> as SqlTranslatable>::RETURN_SQL;
}
