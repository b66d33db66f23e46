//! The findings of the doctor that somebody has accepted, in vpk.accepted_findings.

use pgrx::pg_sys::{TEXTOID, TIMESTAMPTZOID};

use pure::encoding::widen;

use crate::pg::call::Call;
use crate::pg::sql::statement::Statement;
use crate::pg::types::{SqlValue, Text, Timestamp};
use crate::store::events::Caller;

/// A finding that is accepted now, one character per byte of the server's text.
pub struct Accepted {
    /// The item.
    pub item: String,
    /// What was found: one line of a list, or all of a detail.
    pub what: String,
}

/// All findings that are accepted now. None of them where the table is missing, since the extension
/// was not updated, or was changed.
pub fn all(call: &Call) -> Vec<Accepted> {
    if !THERE.read(call, &[]).first().is_some_and(|row| row.is(0)) {
        return Vec::new();
    }
    let rows = ALL.read(call, &[]);
    let text = |text: Text| widen(text.bytes(call));
    let accepted = |item, what| Accepted { item: text(item), what: text(what) };
    rows.iter().filter_map(|row| Some(accepted(row.text(0)?, row.text(1)?))).collect()
}

static THERE: Statement = Statement::new(
    c"SELECT pg_catalog.count(*) = 3
        FROM pg_catalog.pg_namespace AS n
        JOIN pg_catalog.pg_class AS c
          ON c.relnamespace = n.oid AND c.relname = 'accepted_findings' AND c.relkind = 'r'
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
       WHERE n.nspname = 'vpk'
         AND (a.attname = 'item' AND a.atttypid = 'pg_catalog.text'::pg_catalog.regtype
           OR a.attname = 'what' AND a.atttypid = 'pg_catalog.text'::pg_catalog.regtype
           OR a.attname = 'until' AND a.atttypid = 'pg_catalog.timestamptz'::pg_catalog.regtype)",
    &[],
);

static ALL: Statement = Statement::new(
    c"SELECT f.item, f.what FROM vpk.accepted_findings AS f
       WHERE f.until > pg_catalog.clock_timestamp()",
    &[],
);

/// Accepts a finding until an instant, instead of what was accepted before.
pub fn accept(call: &Call, item: Text, what: Text, until: Timestamp, caller: Caller) {
    let parameters = [
        Some(item.datum()),
        Some(what.datum()),
        Some(until.datum()),
        Some(caller.role.datum()),
        Some(caller.session_role.datum()),
    ];
    ACCEPT.write(call, &parameters);
}

static ACCEPT: Statement = Statement::new(
    c"INSERT INTO vpk.accepted_findings AS f (item, what, until, role, session_role)
      VALUES ($1, $2, $3, $4, $5)
      ON CONFLICT (item, what) DO UPDATE
         SET until = excluded.until, accepted_at = excluded.accepted_at, role = excluded.role,
             session_role = excluded.session_role",
    &[TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, TEXTOID],
);

/// Takes an acceptance back.
pub fn withdraw(call: &Call, item: Text, what: Text) {
    WITHDRAW.write(call, &[Some(item.datum()), Some(what.datum())]);
}

static WITHDRAW: Statement = Statement::new(
    c"DELETE FROM vpk.accepted_findings AS f WHERE f.item = $1 AND f.what = $2",
    &[TEXTOID, TEXTOID],
);
