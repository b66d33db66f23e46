//! The extension's own errors, raised with their SQLSTATE.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::PgLogLevel;

use pure::error::{CallError, Condition};

/// Results whose error can be raised as an error of the server.
pub trait OrRaise<T> {
    /// The value. Raises the error where there is none.
    fn or_raise(self) -> T;
}

impl<T> OrRaise<T> for Result<T, CallError> {
    fn or_raise(self) -> T {
        self.unwrap_or_else(|error| raise(error))
    }
}

/// Raises an error of a call.
pub(in crate::pg) fn raise(error: CallError) -> ! {
    let code = match error.condition {
        Condition::InvalidParameterValue => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        Condition::ObjectNotInPrerequisiteState => {
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
        }
        Condition::UniqueViolation => PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION,
        Condition::LockNotAvailable => PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        Condition::InsufficientPrivilege => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
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

/// Tells the client something, and goes on.
pub fn notice(message: &'static str, hint: &'static str) {
    ErrorReport::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message, "vibepeak_keys")
        .set_hint(hint)
        .report(PgLogLevel::NOTICE);
}

/// Raises 42704: the database has no extension, or one without its schema.
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

/// What to do where a table of the extension was changed.
pub(in crate::pg) const UNDO_CHANGE: &str = "Undo the change, or restore the table from a backup. \
                                             The item \"tables\" of vpk_doctor() says what was \
                                             changed.";

/// Raises 55000: a statement returned a column of a type that the tables do not have it in.
pub fn changed_type() -> ! {
    raise(
        CallError::out_of_place(
            "a column of the tables of extension \"vibepeak_keys\" has another type",
        )
        .hint(UNDO_CHANGE),
    )
}

/// Raises 55000: the name of a table of the extension is that of nothing, or of something else.
pub fn not_own_table(name: &str) -> ! {
    raise(
        CallError::out_of_place(format!(
            "\"vpk.{name}\" is not the table of extension \"vibepeak_keys\""
        ))
        .hint(UNDO_CHANGE),
    )
}

/// Raises 25006: a function that writes was called in a read-only transaction.
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

/// Raises 0A000: a function that returns a table was called in a place that accepts none.
pub fn no_set_expected() -> ! {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        "set-valued function called in context that cannot accept a set",
        "vibepeak_keys",
    )
    .report(PgLogLevel::ERROR);
    unreachable!("an error does not return")
}
