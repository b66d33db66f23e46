//! SQL statements, which a backend prepares once and keeps.
//!
//! pgrx's own SPI plans a statement at each call, and assigns a transaction id before each
//! statement that may write.

use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicPtr, Ordering};
use core::{marker::PhantomData, ptr};
use std::ffi::CString;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::pg::call::Call;
use crate::pg::error;
use crate::pg::ffi::{allocator, guarded};
use crate::pg::read::snapshot;
use crate::pg::redaction::hash;
use crate::pg::server::setting_level;
use crate::pg::sql::isolation;
use crate::pg::types::{FromRaw, Parameter, Text, TextArray, Timestamp, TypedDatum, Uuid};

/// A statement with the types of its parameters.
pub struct Statement {
    /// The text.
    sql: &'static CStr,
    /// The types of the parameters.
    types: &'static [Oid],
    /// How the server plans it: the flags of a cursor.
    options: u32,
    /// Whether it is planned as if a sequential scan cost much.
    by_index: bool,
    /// The kept plan; null until the first use.
    plan: AtomicPtr<pg_sys::_SPI_plan>,
}

/// Which rows a statement sees, and whether it may write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It sees what is committed at this instant and what the own transaction did, and may write.
    Write,
    /// It sees the same, and may not write.
    ReadLatest,
    /// It sees what is committed at this instant, and may not write.
    ReadCommitted,
    /// It sees what the calling query sees, and may not write.
    Read,
}

/// The rows that a statement returned, in the call's memory.
pub struct Rows<'call> {
    /// The types of the columns.
    types: Vec<Oid>,
    /// The values, row after row.
    values: Vec<Option<Datum>>,
    /// The number of rows that the statement returned or changed.
    processed: u64,
    /// The call.
    call: PhantomData<&'call Call>,
}

/// One row. Columns have numbers from 0 on. Its methods raise 55000 where the column is of another
/// type than the one that the method's name says: the owner of the tables has changed it.
#[derive(Clone, Copy)]
pub struct Row<'rows> {
    /// The types of the columns.
    types: &'rows [Oid],
    /// The values.
    values: &'rows [Option<Datum>],
}

impl Statement {
    /// A statement, in which every name is qualified, and the types of its parameters.
    pub const fn new(sql: &'static CStr, types: &'static [Oid]) -> Statement {
        let plan = AtomicPtr::new(ptr::null_mut());
        Statement { sql, types, options: 0, by_index: false, plan }
    }

    /// A statement that never reads a whole table where an index can find the rows. A vacuum tells
    /// the planner how few rows a table has, and how large its indexes have become: it expects a
    /// row's share of an index, and takes that for more than the whole table
    /// (src/backend/utils/adt/selfuncs.c: genericcostestimate).
    pub const fn by_index(sql: &'static CStr, types: &'static [Oid]) -> Statement {
        Statement { by_index: true, ..Statement::new(sql, types) }
    }

    /// A statement that is planned for the parameters of each call, since they decide which plan is
    /// good. From the sixth call on the server may take one plan for all, which then reads a whole
    /// table where one row is asked for (src/backend/utils/cache/plancache.c: choose_custom_plan).
    pub const fn planned_at_each_call(sql: &'static CStr, types: &'static [Oid]) -> Statement {
        let options = pg_sys::CURSOR_OPT_CUSTOM_PLAN;
        Statement { options, ..Statement::new(sql, types) }
    }

    /// Runs it as a statement that may write.
    ///
    /// It sees what is committed at this instant, as the queries of foreign keys do
    /// (src/backend/utils/adt/ri_triggers.c: ri_PerformCheck). A transaction that keeps an older
    /// snapshot may not change a row that its snapshot does not show: it gets a serialization
    /// failure (40001), and never overlooks a row.
    pub fn write<'call>(&self, call: &'call Call, parameters: &[Parameter]) -> Rows<'call> {
        self.run(call, Mode::Write, parameters)
    }

    /// Runs it as part of the calling query.
    pub fn read<'call>(&self, call: &'call Call, parameters: &[Parameter]) -> Rows<'call> {
        self.run(call, Mode::Read, parameters)
    }

    /// Runs it on what is committed at this instant and what the own transaction did.
    pub fn read_latest<'call>(&self, call: &'call Call, parameters: &[Parameter]) -> Rows<'call> {
        self.run(call, Mode::ReadLatest, parameters)
    }

    /// Runs it on what is committed at this instant alone.
    pub fn read_committed<'call>(
        &self,
        call: &'call Call,
        parameters: &[Parameter],
    ) -> Rows<'call> {
        self.run(call, Mode::ReadCommitted, parameters)
    }

    /// Runs it. Panics where a parameter is not of the type that the statement has for it. No hash
    /// of a key gets into the log or into an error.
    fn run<'call>(&self, call: &'call Call, mode: Mode, parameters: &[Parameter]) -> Rows<'call> {
        hash::note(call, parameters);
        hash::without_hashes_in_errors(|| self.execute(call, mode, parameters))
    }

    /// Executes it.
    fn execute<'call>(
        &self,
        call: &'call Call,
        mode: Mode,
        parameters: &[Parameter],
    ) -> Rows<'call> {
        assert_eq!(parameters.len(), self.types.len(), "parameters of {:?}", self.sql);
        if mode == Mode::Write {
            call.prevent_if_read_only();
        }
        let of_type = |(value, kind): (&Parameter, &Oid)| match value {
            Some(value) => value.of_type(*kind).expect("a parameter of the statement's type"),
            None => Datum::null(),
        };
        let mut values: Vec<Datum> = parameters.iter().zip(self.types).map(of_type).collect();
        let nulls: Vec<c_char> = parameters
            .iter()
            .map(|value| if value.is_none() { b'n' } else { b' ' } as c_char)
            .collect();
        // SAFETY: SPI's protocol (src/backend/executor/spi.c). Every call is guarded, so that an
        // error unwinds the vectors; the abort of the (sub)transaction then ends the connection.
        // The statement has as many parameters as types, each of its type. SPI copies the snapshot.
        // What `collect` returns is in the memory that was current before SPI was connected: the
        // call's.
        unsafe {
            guarded::SPI_connect();
            let plan = self.plan();
            let snapshot = match mode {
                Mode::Write | Mode::ReadLatest => snapshot::latest_guarded().as_ptr(),
                Mode::ReadCommitted => snapshot::committed_guarded().as_ptr(),
                Mode::Read => guarded::GetActiveSnapshot(),
            };
            let crosscheck = match mode {
                Mode::Write if isolation::uses_transaction_snapshot() => {
                    guarded::GetTransactionSnapshot()
                }
                _ => ptr::null_mut(),
            };
            let mut run = || {
                guarded::SPI_execute_snapshot(
                    plan,
                    values.as_mut_ptr(),
                    nulls.as_ptr(),
                    snapshot,
                    crosscheck,
                    mode != Mode::Write,
                    true,
                    0,
                )
            };
            let code = match (self.by_index, mode) {
                (true, _) => without_sequential_scans(run),
                // It may run triggers of foreign keys, as the owners of other tables.
                (false, Mode::Write) => setting_level::in_own_level(run),
                (false, _) => run(),
            };
            if code < 0 {
                pgrx::error!("SPI_execute_snapshot failed with code {code}");
            }
            let rows = collect(call);
            guarded::SPI_finish();
            rows
        }
    }

    /// The kept plan, which is made at the first use in this backend.
    ///
    /// # Safety
    /// SPI is connected.
    unsafe fn plan(&self) -> pg_sys::SPIPlanPtr {
        let kept = self.plan.load(Ordering::Relaxed);
        if !kept.is_null() {
            return kept;
        }
        // SAFETY: the caller's. SPI_keepplan moves the plan to memory that stays as long as the
        // backend, and the plan cache follows changes to the objects that it refers to
        // (src/backend/executor/spi.c, src/backend/utils/cache/plancache.c).
        unsafe {
            let plan = guarded::SPI_prepare_cursor(
                self.sql.as_ptr(),
                self.types.len() as i32,
                self.types.as_ptr().cast_mut(),
                self.options as i32,
            );
            if plan.is_null() || guarded::SPI_keepplan(plan) != 0 {
                let code = pg_sys::SPI_result;
                pgrx::error!("SPI_prepare_cursor failed with code {code}");
            }
            self.plan.store(plan, Ordering::Relaxed);
            plan
        }
    }
}

/// Runs `run` while the planner avoids sequential scans.
fn without_sequential_scans<R>(run: impl FnOnce() -> R) -> R {
    setting_level::in_own_level(|| {
        setting_level::set(c"enable_seqscan", c"off", pg_sys::GucContext::PGC_USERSET, 0);
        run()
    })
}

/// Runs a query whose text is known only now, with one parameter, as part of the calling
/// transaction. It sees what its isolation level shows.
pub fn query<'call>(call: &'call Call, text: &str, parameter: TypedDatum) -> Rows<'call> {
    call.prevent_if_read_only();
    let text = CString::new(text).expect("a query without a null character");
    let (mut kind, mut value) = (parameter.kind(), parameter.value());
    // SAFETY: SPI's protocol (src/backend/executor/spi.c). Every call is guarded, so that an error
    // unwinds the text. The query has one parameter, of its type. What `collect` returns is in the
    // memory that was current before SPI was connected: the call's.
    unsafe {
        guarded::SPI_connect();
        let code = guarded::SPI_execute_with_args(
            text.as_ptr(),
            1,
            &mut kind,
            &mut value,
            ptr::null(),
            false,
            0,
        );
        if code < 0 {
            pgrx::error!("SPI_execute_with_args failed with code {code}");
        }
        let rows = collect(call);
        guarded::SPI_finish();
        rows
    }
}

/// Runs statements that cannot be prepared, one after the other.
pub fn execute_utility(call: &Call, statements: &[Vec<u8>]) {
    call.prevent_if_read_only();
    for statement in statements {
        let mut text = statement.clone();
        text.push(0);
        // SAFETY: SPI's protocol (src/backend/executor/spi.c). Every call is guarded, so that an
        // error unwinds the text, which is null-terminated.
        unsafe {
            guarded::SPI_connect();
            let code = guarded::SPI_execute(text.as_ptr().cast(), false, 0);
            if code < 0 {
                pgrx::error!("SPI_execute failed with code {code}");
            }
            guarded::SPI_finish();
        }
    }
}

/// Copies the result of the last statement into the memory that was current when SPI was connected:
/// the call's.
///
/// # Safety
/// SPI is connected and has just run a statement.
unsafe fn collect(_: &Call) -> Rows<'_> {
    // SAFETY: the caller's: SPI_tuptable is that statement's, or null where it returned no rows.
    // Its tuples have the columns of its tuple descriptor. SPI_datumTransfer copies a value into
    // the memory that was current before SPI was connected (src/backend/executor/spi.c).
    unsafe {
        let table = pg_sys::SPI_tuptable;
        let mut rows = Rows {
            types: Vec::new(),
            values: Vec::new(),
            processed: pg_sys::SPI_processed,
            call: PhantomData,
        };
        if table.is_null() {
            return rows;
        }
        let descriptor = (*table).tupdesc;
        rows.types = (1..=(*descriptor).natts)
            .map(|column| guarded::SPI_gettypeid(descriptor, column))
            .collect();
        rows.values = allocator::vec_or_raise(rows.types.len() * (*table).numvals as usize);
        for row in 0..(*table).numvals as usize {
            let tuple = *(*table).vals.add(row);
            for (column, kind) in (1..).zip(&rows.types) {
                let mut null = false;
                let value = guarded::SPI_getbinval(tuple, descriptor, column, &mut null);
                let mut length = 0i16;
                let mut by_value = false;
                guarded::get_typlenbyval(*kind, &mut length, &mut by_value);
                let value =
                    (!null).then(|| guarded::SPI_datumTransfer(value, by_value, length.into()));
                rows.values.push(value);
            }
        }
        rows
    }
}

impl Rows<'_> {
    /// The number of rows that the statement returned or changed.
    pub fn processed(&self) -> i64 {
        i64::try_from(self.processed).unwrap_or(i64::MAX)
    }

    /// Whether it returned no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The first row.
    pub fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }

    /// All rows.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        let types = self.types.as_slice();
        self.values.chunks_exact(types.len().max(1)).map(move |values| Row { types, values })
    }
}

impl Row<'_> {
    /// A column of type `uuid`.
    pub fn uuid(self, column: usize) -> Option<Uuid> {
        self.column(column)
    }

    /// A column of type `text`.
    pub fn text(self, column: usize) -> Option<Text> {
        self.column(column)
    }

    /// A column of type `text[]`.
    pub fn text_array(self, column: usize) -> Option<TextArray> {
        self.column(column)
    }

    /// A column of type `timestamptz`.
    pub fn timestamp(self, column: usize) -> Option<Timestamp> {
        self.column(column)
    }

    /// A column of type `bigint`.
    pub fn bigint(self, column: usize) -> Option<i64> {
        self.value(column, pg_sys::INT8OID).map(|datum| datum.value() as i64)
    }

    /// A column of type `oid`.
    pub fn oid(self, column: usize) -> Option<Oid> {
        self.value(column, pg_sys::OIDOID).map(|datum| Oid::from(datum.value() as u32))
    }

    /// A column of type `integer`.
    pub fn integer(self, column: usize) -> Option<i32> {
        self.value(column, pg_sys::INT4OID).map(|datum| datum.value() as i32)
    }

    /// A column of any type, as a parameter for another statement.
    pub fn parameter(self, column: usize) -> Parameter {
        // SAFETY: the column is of this type.
        self.values[column].map(|datum| unsafe { TypedDatum::new(datum, self.types[column]) })
    }

    /// The last column, of any type, as a parameter for another statement.
    pub fn last(self) -> Parameter {
        self.parameter(self.values.len() - 1)
    }

    /// A column of type `boolean`; null is false.
    pub fn is(self, column: usize) -> bool {
        self.value(column, pg_sys::BOOLOID).is_some_and(|datum| datum.value() as u8 != 0)
    }

    /// A column of a type.
    fn column<T: FromRaw>(self, column: usize) -> Option<T> {
        // SAFETY: the column is of the type. `collect` has copied the value to the call's memory.
        self.value(column, T::OID).map(|datum| unsafe { T::from_raw(datum) })
    }

    /// The value of a column of a type.
    fn value(self, column: usize, kind: Oid) -> Option<Datum> {
        if self.types[column] != kind {
            error::changed_type();
        }
        self.values[column]
    }
}
