//! SQL statements, planned once per backend and kept.
//!
//! pgrx's own SPI plans at each call, and assigns a transaction id before anything that may write.

use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicPtr, Ordering};
use core::{marker::PhantomData, ptr};

use pgrx::pg_sys::{self, Datum, Oid};

use crate::pg::call::Call;
use crate::pg::ffi::allocator;
use crate::pg::read::snapshot;
use crate::pg::sql::isolation;
use crate::pg::types::{Parameter, SqlValue, Text, Timestamp, Uuid};

/// A statement with the types of its parameters.
pub struct Statement {
    sql: &'static CStr,
    types: &'static [Oid],
    plan: AtomicPtr<pg_sys::_SPI_plan>,
}

/// What a statement sees, and whether it may write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// What is committed at this instant and what the own transaction did; it may write.
    Write,
    /// The same, without writing.
    ReadLatest,
    /// What the calling query sees, without writing.
    Read,
}

/// The rows that a statement returned, in the call's memory.
pub struct Rows<'call> {
    columns: usize,
    values: Vec<Option<Datum>>,
    processed: u64,
    call: PhantomData<&'call Call>,
}

/// One row of them.
#[derive(Clone, Copy)]
pub struct Row<'rows>(&'rows [Option<Datum>]);

impl Statement {
    /// A statement; every name in it is qualified.
    pub const fn new(sql: &'static CStr, types: &'static [Oid]) -> Statement {
        Statement { sql, types, plan: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Runs it as a statement that may write.
    ///
    /// It sees what is committed at this instant, as foreign keys do
    /// (src/backend/utils/adt/ri_triggers.c: ri_PerformCheck). A transaction that keeps an older
    /// snapshot may not change a row that this one does not show: that is a serialization failure
    /// (40001), and never a row that was overlooked.
    pub fn write<'call>(&self, call: &'call Call, parameters: &[Parameter]) -> Rows<'call> {
        self.run(call, Mode::Write, parameters)
    }

    /// Runs it as part of the calling query.
    pub fn read<'call>(&self, call: &'call Call, parameters: &[Parameter]) -> Rows<'call> {
        self.run(call, Mode::Read, parameters)
    }

    /// Runs it on what is committed at this instant.
    pub fn read_latest<'call>(&self, call: &'call Call, parameters: &[Parameter]) -> Rows<'call> {
        self.run(call, Mode::ReadLatest, parameters)
    }

    fn run<'call>(&self, call: &'call Call, mode: Mode, parameters: &[Parameter]) -> Rows<'call> {
        assert_eq!(parameters.len(), self.types.len(), "parameters of {:?}", self.sql);
        if mode == Mode::Write {
            call.prevent_if_read_only();
        }
        let mut values: Vec<Datum> =
            parameters.iter().map(|value| value.unwrap_or(Datum::null())).collect();
        let nulls: Vec<c_char> = parameters
            .iter()
            .map(|value| if value.is_none() { b'n' } else { b' ' } as c_char)
            .collect();
        // SAFETY: SPI's protocol (src/backend/executor/spi.c). Every call is guarded by pgrx, so that
        // an error unwinds the vectors; the connection is then cleaned up by the (sub)transaction's
        // abort. A statement that is run has as many parameters as types. SPI copies the snapshot.
        unsafe {
            pg_sys::SPI_connect();
            let plan = self.plan();
            let snapshot = match mode {
                Mode::Write | Mode::ReadLatest => snapshot::latest_guarded(),
                Mode::Read => pg_sys::GetActiveSnapshot(),
            };
            let crosscheck = match mode {
                Mode::Write if isolation::uses_transaction_snapshot() => {
                    pg_sys::GetTransactionSnapshot()
                }
                _ => ptr::null_mut(),
            };
            let code = pg_sys::SPI_execute_snapshot(
                plan,
                values.as_mut_ptr(),
                nulls.as_ptr(),
                snapshot,
                crosscheck,
                mode != Mode::Write,
                true,
                0,
            );
            if code < 0 {
                pgrx::error!("SPI_execute_snapshot failed with code {code}");
            }
            let rows = collect(call);
            pg_sys::SPI_finish();
            rows
        }
    }

    /// The kept plan, made at the first use in this backend.
    ///
    /// # Safety
    /// SPI is connected.
    unsafe fn plan(&self) -> pg_sys::SPIPlanPtr {
        let kept = self.plan.load(Ordering::Relaxed);
        if !kept.is_null() {
            return kept;
        }
        // SAFETY: the caller's; SPI_keepplan moves the plan to memory that lives as long as the
        // backend, and the plan cache follows changes to what it refers to.
        unsafe {
            let plan = pg_sys::SPI_prepare(
                self.sql.as_ptr(),
                self.types.len() as i32,
                self.types.as_ptr().cast_mut(),
            );
            if plan.is_null() || pg_sys::SPI_keepplan(plan) != 0 {
                let code = pg_sys::SPI_result;
                pgrx::error!("SPI_prepare failed with code {code}");
            }
            self.plan.store(plan, Ordering::Relaxed);
            plan
        }
    }
}

/// Runs statements that cannot be prepared, one after the other.
pub fn execute_utility(call: &Call, statements: &[Vec<u8>]) {
    call.prevent_if_read_only();
    for statement in statements {
        let mut text = statement.clone();
        text.push(0);
        // SAFETY: as in `Statement::run`; the text is null-terminated.
        unsafe {
            pg_sys::SPI_connect();
            let code = pg_sys::SPI_execute(text.as_ptr().cast(), false, 0);
            if code < 0 {
                pgrx::error!("SPI_execute failed with code {code}");
            }
            pg_sys::SPI_finish();
        }
    }
}

/// Copies the result of the last statement into the memory that was current when SPI was connected:
/// the call's.
///
/// # Safety
/// SPI is connected and has just run a statement.
unsafe fn collect(_: &Call) -> Rows<'_> {
    // SAFETY: SPI_tuptable is that statement's, or null where it returned no rows.
    unsafe {
        let table = pg_sys::SPI_tuptable;
        let mut rows = Rows {
            columns: 0,
            values: Vec::new(),
            processed: pg_sys::SPI_processed,
            call: PhantomData,
        };
        if table.is_null() {
            return rows;
        }
        let descriptor = (*table).tupdesc;
        rows.columns = usize::try_from((*descriptor).natts).unwrap_or(0);
        rows.values = allocator::vec_or_raise(rows.columns * (*table).numvals as usize);
        for row in 0..(*table).numvals as usize {
            let tuple = *(*table).vals.add(row);
            for column in 1..=(*descriptor).natts {
                let mut null = false;
                let value = pg_sys::SPI_getbinval(tuple, descriptor, column, &mut null);
                let mut length = 0i16;
                let mut by_value = false;
                pg_sys::get_typlenbyval(
                    pg_sys::SPI_gettypeid(descriptor, column),
                    &mut length,
                    &mut by_value,
                );
                let value =
                    (!null).then(|| pg_sys::SPI_datumTransfer(value, by_value, length.into()));
                rows.values.push(value);
            }
        }
        rows
    }
}

impl Rows<'_> {
    /// How many rows the statement returned or changed.
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
        self.values.chunks_exact(self.columns.max(1)).map(Row)
    }
}

macro_rules! columns {
    ($($(#[$doc:meta])* $method:ident $kind:ident;)+) => {$(
        $(#[$doc])*
        pub fn $method(self, column: usize) -> Option<$kind> {
            self.0[column].map($kind::from_raw)
        }
    )+};
}

impl Row<'_> {
    columns! {
        /// A column of type `uuid`; the first is 0.
        uuid Uuid;
        /// A column of type `text`.
        text Text;
        /// A column of type `timestamptz`.
        timestamp Timestamp;
    }

    /// A column of type `bigint`.
    pub fn bigint(self, column: usize) -> Option<i64> {
        self.0[column].map(|datum| datum.value() as i64)
    }

    /// A column of type `integer`.
    pub fn integer(self, column: usize) -> Option<i32> {
        self.0[column].map(|datum| datum.value() as i32)
    }

    /// A column of any type, as a parameter for another statement.
    pub fn parameter(self, column: usize) -> Parameter {
        self.0[column]
    }

    /// A column of type `boolean`, null as false.
    pub fn is(self, column: usize) -> bool {
        self.0[column].is_some_and(|datum| datum.value() as u8 != 0)
    }
}
