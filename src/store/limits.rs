//! The columns with rate limits and quotas, which plans, accounts and keys have.

use pgrx::pg_sys::{JSONBOID, TEXTOID, UUIDOID};

use crate::pg::call::Call;
use crate::pg::sql::statement::Statement;
use crate::pg::types::{Json, Parameter, SqlValue, Text, Uuid};
use crate::store::events::{self, Caller, missed_events, record_events};

/// What a limit is set for.
#[derive(Clone, Copy)]
pub enum Subject {
    /// All accounts on a plan.
    Plan(Text),
    /// An account.
    Account(Text),
    /// A key.
    Key(Uuid),
}

/// A column.
#[derive(Clone, Copy)]
pub enum Column {
    /// `rate_limits`.
    RateLimits,
    /// `quotas`.
    Quotas,
}

/// A change to a column, as its event has it.
pub struct Change {
    /// The name of the event.
    pub event: Text,
    /// Which limit was changed, and what it is now.
    pub details: Json,
}

/// Whether the tables have the columns. Those of a database that was not updated yet have none, and
/// a statement that names one would fail.
pub fn exist(call: &Call) -> bool {
    !EXIST.read_latest(call, &[]).is_empty()
}

static EXIST: Statement = Statement::new(
    c"SELECT pg_catalog.count(*)
        FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
       WHERE n.nspname = 'vpk' AND c.relname IN ('plans', 'accounts', 'keys')
         AND (a.attname IN ('rate_limits', 'quotas')
              OR c.relname = 'accounts' AND a.attname = 'quota_grants')
         AND a.atttypid = 'pg_catalog.text'::pg_catalog.regtype AND NOT a.attisdropped
      HAVING pg_catalog.count(*) = 7",
    &[],
);

impl Subject {
    /// The value that its row is found by.
    fn parameter(self) -> Parameter {
        Some(match self {
            Subject::Plan(name) | Subject::Account(name) => name.datum(),
            Subject::Key(id) => id.datum(),
        })
    }

    fn statements(self, column: Column) -> &'static Statements {
        let of_columns = match self {
            Subject::Plan(_) => &OF_PLANS,
            Subject::Account(_) => &OF_ACCOUNTS,
            Subject::Key(_) => &OF_KEYS,
        };
        &of_columns[column as usize]
    }
}

/// The statements on a column of a table.
struct Statements {
    /// Reads it, and locks the row.
    lock: Statement,
    /// Writes it, with an event.
    set: Statement,
}

/// The statements on `$column` of `$table`, whose rows are found by `$key`. `$of` are the columns
/// of an event that say whose limit it is.
macro_rules! statements {
    ($table:literal, $key:literal, $kind:ident, $column:literal, of: $of:literal) => {
        Statements {
            lock: Statement::new(
                sql!(
                    "SELECT t.",
                    $column,
                    " FROM vpk.",
                    $table,
                    " AS t WHERE t.",
                    $key,
                    " = $1 FOR NO KEY UPDATE"
                ),
                &[$kind],
            ),
            set: Statement::new(
                sql!(
                    "WITH changed AS (
                        UPDATE vpk.",
                    $table,
                    " AS t SET ",
                    $column,
                    " = $2 WHERE t.",
                    $key,
                    " = $1 RETURNING ",
                    $of,
                    "), ",
                    record_events!(
                        "event, key_id, account, details",
                        of: "SELECT $3, c.key_id, c.account, c.subject || $4 FROM changed AS c",
                        by: "$5", "$6"
                    ),
                    " SELECT ",
                    missed_events!(),
                    " FROM changed AS c"
                ),
                &[$kind, TEXTOID, TEXTOID, JSONBOID, TEXTOID, TEXTOID],
            ),
        }
    };
}

macro_rules! of_both_columns {
    ($table:literal, $key:literal, $kind:ident, of: $of:literal) => {
        [
            statements!($table, $key, $kind, "rate_limits", of: $of),
            statements!($table, $key, $kind, "quotas", of: $of),
        ]
    };
}

static OF_PLANS: [Statements; 2] = of_both_columns!(
    "plans", "plan", TEXTOID,
    of: "NULL::pg_catalog.uuid AS key_id, NULL::pg_catalog.text AS account,
         pg_catalog.jsonb_build_object('plan', t.plan) AS subject"
);
static OF_ACCOUNTS: [Statements; 2] = of_both_columns!(
    "accounts", "account", TEXTOID,
    of: "NULL::pg_catalog.uuid AS key_id, t.account, '{}'::pg_catalog.jsonb AS subject"
);
static OF_KEYS: [Statements; 2] = of_both_columns!(
    "keys", "id", UUIDOID,
    of: "t.id AS key_id, t.account, '{}'::pg_catalog.jsonb AS subject"
);

/// Locks the row of a subject until the transaction ends, and reads a column of it. The outer None
/// means that there is no such row.
pub fn lock(call: &Call, column: Column, subject: Subject) -> Option<Option<Text>> {
    let rows = subject.statements(column).lock.write(call, &[subject.parameter()]);
    rows.first().map(|row| row.text(0))
}

/// Writes a column of the row of a subject, with an event.
pub fn set(
    call: &Call,
    column: Column,
    subject: Subject,
    text: Option<Text>,
    change: &Change,
    caller: Caller,
) {
    let parameters = [
        subject.parameter(),
        text.map(Text::datum),
        Some(change.event.datum()),
        Some(change.details.datum()),
        Some(caller.role.datum()),
        Some(caller.session_role.datum()),
    ];
    events::write(call, &subject.statements(column).set, &parameters);
}

/// Whether the server lists a time zone of this name. It also takes other texts for time zones,
/// such as UTC+3 for three hours west of Greenwich.
pub fn is_listed_zone(call: &Call, name: Text) -> bool {
    !IS_LISTED_ZONE.read(call, &[Some(name.datum())]).is_empty()
}

static IS_LISTED_ZONE: Statement = Statement::new(
    c"SELECT z.name FROM pg_catalog.pg_timezone_names AS z WHERE z.name = $1 LIMIT 1",
    &[TEXTOID],
);
