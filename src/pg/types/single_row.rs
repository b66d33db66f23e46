//! A table of one row, as a function's result.
//!
//! pgrx returns a table row by row. The server calls the function a second time to learn that there
//! is no other row, which costs the same for SECURITY DEFINER and SET again, and pgrx looks up the
//! result type each time. Here the row goes into a tuple store at the first call
//! (src/backend/utils/fmgr/README: "materialize mode").

use pgrx::callconv::RetAbi;
use pgrx::datum::IntoDatum;
use pgrx::pg_sys::{self, Datum, FunctionCallInfo, SetFunctionReturnMode};
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

use crate::pg::error;
use crate::pg::ffi::unguarded;

/// One row. It has the name of pgrx's type, by which `#[pg_extern]` recognises a function that
/// returns a table.
pub struct TableIterator<'row, Row>(Row, core::marker::PhantomData<&'row ()>);

impl<Row> TableIterator<'_, Row> {
    /// A table of this row.
    pub fn once(row: Row) -> Self {
        TableIterator(row, core::marker::PhantomData)
    }
}

/// Lets a function return a row of so many columns.
macro_rules! returned_rows {
    ($($column:ident)+) => {
        // SAFETY: pgrx makes the function's SQL declaration of the same columns
        // (pgrx src/callconv.rs: RetAbi).
        #[allow(non_snake_case, reason = "a name stands for a column's type and its value")]
        unsafe impl<$($column: IntoDatum),+> RetAbi for TableIterator<'_, ($($column,)+)> {
            type Item = Self;
            type Ret = Self;

            fn to_ret(self) -> Self {
                self
            }

            unsafe fn box_ret_in_fcinfo(info: FunctionCallInfo, ret: Self) -> Datum {
                let ($($column,)+) = ret.0;
                // SAFETY: the caller's: `info` describes the call of this function, which is
                // declared to return these columns.
                unsafe { store(info, [$($column.into_datum()),+]) }
            }

            unsafe fn move_into_fcinfo_fcx(self, _: FunctionCallInfo) {}

            unsafe fn fill_fcinfo_fcx(&self, _: FunctionCallInfo) {}
        }
    };
}

returned_rows!(A B C D E F G H I);

/// Puts the row into a tuple store of the calling statement.
///
/// # Safety
/// `info` describes the call of a function that is declared to return these columns.
unsafe fn store<const COLUMNS: usize>(
    info: FunctionCallInfo,
    row: [Option<Datum>; COLUMNS],
) -> Datum {
    // SAFETY: the caller's. This is the protocol of ExecMakeTableFunctionResult and
    // ExecMakeFunctionResultSet (src/backend/executor/execSRF.c), which pass a ReturnSetInfo and
    // own the tuple store that they are given. The frame holds plain data, so that an error may
    // pass over it.
    unsafe {
        let result: *mut pg_sys::ReturnSetInfo = (*info).resultinfo.cast();
        if result.is_null()
            || (*result).type_ != pg_sys::NodeTag::T_ReturnSetInfo
            || (*result).allowedModes & SetFunctionReturnMode::SFRM_Materialize as i32 == 0
            || (*result).expectedDesc.is_null()
        {
            error::no_set_expected();
        }
        let columns = (*result).expectedDesc;
        assert_eq!(usize::try_from((*columns).natts), Ok(COLUMNS), "columns of the result");
        let mut values = row.map(|value| value.unwrap_or(Datum::null()));
        let mut nulls = row.map(|value| value.is_none());
        let old = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = (*(*result).econtext).ecxt_per_query_memory;
        let random =
            (*result).allowedModes & SetFunctionReturnMode::SFRM_Materialize_Random as i32 != 0;
        let store = unguarded::tuplestore_begin_heap(random, false, pg_sys::work_mem);
        unguarded::tuplestore_putvalues(store, columns, values.as_mut_ptr(), nulls.as_mut_ptr());
        pg_sys::CurrentMemoryContext = old;
        (*result).returnMode = SetFunctionReturnMode::SFRM_Materialize;
        (*result).setResult = store;
        (*info).isnull = true;
        Datum::null()
    }
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
