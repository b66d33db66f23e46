//! Errors of our own, raised with their SQLSTATE.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::PgLogLevel;

use pure::error::{CallError, Condition};

/// Takes the value out, or raises the error as an error of the server.
pub trait OrRaise<T> {
    /// As the trait says.
    fn or_raise(self) -> T;
}

impl<T> OrRaise<T> for Result<T, CallError> {
    fn or_raise(self) -> T {
        self.unwrap_or_else(|error| raise(error))
    }
}

fn raise(error: CallError) -> ! {
    let code = match error.condition {
        Condition::InvalidParameterValue => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        Condition::ObjectNotInPrerequisiteState => {
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
        }
        Condition::LockNotAvailable => PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
    };
    let mut report = ErrorReport::new(code, error.message, "vibepeak_keys");
    if let Some(detail) = error.detail {
        report = report.set_detail(detail);
    }
    if let Some(hint) = error.hint {
        report = report.set_hint(hint);
    }
    report.report(PgLogLevel::ERROR);
    unreachable!("an error does not return")
}

/// Raises that the database has no extension, or one that was taken apart.
pub fn not_installed() -> ! {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
        "the tables of extension \"vibepeak_keys\" are missing in this database",
        "vibepeak_keys",
    )
    .set_hint("Create the extension anew, or restore it from a backup.")
    .report(PgLogLevel::ERROR);
    unreachable!("an error does not return")
}

/// Raises that a function which writes was called where nothing can be written.
pub fn read_only(function: &str) -> ! {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
        format!("cannot execute {function}() in a read-only transaction"),
        "vibepeak_keys",
    )
    .set_hint("Call it on the primary, in a transaction that may write.")
    .report(PgLogLevel::ERROR);
    unreachable!("an error does not return")
}

/// Raises that a function which returns a table was called where there can be none.
pub fn no_set_expected() -> ! {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        "set-valued function called in context that cannot accept a set",
        "vibepeak_keys",
    )
    .report(PgLogLevel::ERROR);
    unreachable!("an error does not return")
}
