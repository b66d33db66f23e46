//! The events in vpk.events. No other file of the store names that table: each statement that
//! changes something records it by a part from here, and so does the insertion of many keys.

use pgrx::pg_sys::{INT8OID, JSONBOID, TEXTOID, TIMESTAMPTZOID, UUIDOID};

use crate::pg::call::Call;
use crate::pg::server::caller;
use crate::pg::sql::bulk_table::Table;
use crate::pg::sql::lock;
use crate::pg::sql::statement::{Rows, Statement};
use crate::pg::types::{Parameter, SqlValue, Text, Timestamp, Uuid};
use crate::store::listing::{Listing, listing};

/// The roles that an event records.
#[derive(Clone, Copy)]
pub struct Caller {
    /// The role that called: that of `SET ROLE`, or else the session's.
    pub role: Text,
    /// The role that logged in.
    pub session_role: Text,
}

impl Caller {
    /// The roles of this call.
    pub fn of(call: &Call) -> Caller {
        Caller { role: caller::outer_user(call), session_role: caller::session_user(call) }
    }
}

/// Two queries of a `WITH` that record events: `wanted` has the events, and `recorded` the ids of
/// those that it inserts. `$events` is a query with the columns `$columns` of vpk.events, its
/// constants typed; the columns that it leaves out take their defaults. `$role` and `$session_role`
/// stand for the fields of [`Caller`].
///
/// The sequence can be behind the rows: logical replication copies the rows of a table and leaves
/// its sequence. An event whose id is taken is not inserted, and the change does not fail for it:
/// [`write`] inserts it under another id.
macro_rules! record_events {
    ($columns:literal, of: $events:literal, by: $role:literal, $session_role:literal) => {
        concat!(
            "wanted AS (
                SELECT pg_catalog.nextval('vpk.events_id_seq'::pg_catalog.regclass) AS id, e.*, ",
            $role,
            " AS role, ",
            $session_role,
            " AS session_role FROM (",
            $events,
            ") AS e (",
            $columns,
            ")
            ), recorded AS (
                INSERT INTO vpk.events (id, ",
            $columns,
            ", role, session_role) OVERRIDING SYSTEM VALUE SELECT w.* FROM wanted AS w
                ON CONFLICT (id) DO NOTHING RETURNING id
            )"
        )
    };
}
pub(super) use record_events;

/// The events that `recorded` did not insert, as a `jsonb` for [`write`]; null where there are
/// none. `taken` says that an event of before this statement has the id. It may be purged by the
/// time that the missed one is tried again; a younger one cannot be.
macro_rules! missed_events {
    () => {
        "(SELECT pg_catalog.jsonb_agg(pg_catalog.to_jsonb(w) || pg_catalog.jsonb_build_object(
                     'taken', EXISTS (SELECT FROM vpk.events AS e WHERE e.id = w.id)))
            FROM wanted AS w WHERE w.id NOT IN (SELECT r.id FROM recorded AS r))"
    };
}
pub(super) use missed_events;

/// Runs a statement with [`record_events`] whose last column is [`missed_events`], the same in each
/// row, and inserts these.
pub(super) fn write<'call>(
    call: &'call Call,
    statement: &Statement,
    parameters: &[Parameter],
) -> Rows<'call> {
    let rows = statement.write(call, parameters);
    insert_missed(call, rows.first().and_then(|row| row.last()));
    rows
}

/// Inserts events whose ids were taken, under new ids. Another session can take such an id too: it
/// may have got it from the sequence before this one moved the sequence.
fn insert_missed(call: &Call, mut missed: Parameter) {
    while let Some(events) = missed {
        // One session after the other, so that none moves the sequence back.
        lock::while_events_are_numbered(|| MOVE_SEQUENCE.write(call, &[]));
        let rows = INSERT_MISSED.write(call, &[Some(events)]);
        missed = rows.first().and_then(|row| row.last());
    }
}

/// Moves the sequence if it is behind the last event. It goes on a thousand numbers later: others
/// may take some between its being read and its being set.
static MOVE_SEQUENCE: Statement = Statement::new(
    c"SELECT pg_catalog.setval('vpk.events_id_seq'::pg_catalog.regclass, l.id + 1000)
        FROM (SELECT pg_catalog.max(e.id) AS id FROM vpk.events AS e) AS l, vpk.events_id_seq AS s
       WHERE s.last_value < l.id OR s.last_value = l.id AND NOT s.is_called",
    &[],
);

/// What an operator can do where [`sequence_behind`] finds something.
pub const HOW_TO_MOVE_SEQUENCE: &str = "Run SELECT setval('vpk.events_id_seq', (SELECT max(id) FROM \
     vpk.events)). No event is lost, but until then new ones can get ids below those of earlier ones.";

/// Whether the sequence is behind the last event: a line where it is.
pub fn sequence_behind(call: &Call) -> Listing {
    Listing::read(call, &SEQUENCE_BEHIND, &[])
}

static SEQUENCE_BEHIND: Statement = Statement::new(
    listing!(
        "SELECT pg_catalog.format('the sequence is at %s, the last event at %s', s.last_value, l.id)
                AS line
           FROM (SELECT pg_catalog.max(e.id) AS id FROM vpk.events AS e) AS l, vpk.events_id_seq AS s
          WHERE s.last_value < l.id OR s.last_value = l.id AND NOT s.is_called",
        order: ""
    ),
    &[],
);

/// An event whose id nobody has, and nobody had, was not inserted for another reason: a trigger of
/// an operator's did not want it.
static INSERT_MISSED: Statement = Statement::new(
    sql!(
        "WITH wanted AS (
            SELECT pg_catalog.nextval('vpk.events_id_seq'::pg_catalog.regclass) AS id,
                   coalesce(m.occurred_at, pg_catalog.clock_timestamp()) AS occurred_at, m.event,
                   m.key_id, m.account, m.role, m.session_role,
                   coalesce(m.details, '{}') AS details
              FROM pg_catalog.jsonb_to_recordset($1)
                   AS m (id pg_catalog.int8, occurred_at pg_catalog.timestamptz,
                         event pg_catalog.text, key_id pg_catalog.uuid, account pg_catalog.text,
                         role pg_catalog.text, session_role pg_catalog.text,
                         details pg_catalog.jsonb, taken pg_catalog.bool)
             WHERE m.taken OR EXISTS (SELECT FROM vpk.events AS e WHERE e.id = m.id)
        ), recorded AS (
            INSERT INTO vpk.events (id, occurred_at, event, key_id, account, role, session_role,
                                    details)
            OVERRIDING SYSTEM VALUE SELECT w.* FROM wanted AS w
            ON CONFLICT (id) DO NOTHING RETURNING id
        )
        SELECT ",
        missed_events!()
    ),
    &[JSONBOID],
);

/// Removes from the events of an account all that names it. They keep the ids of keys.
///
/// Runs after the statement that changes the rows of its keys. That one may have waited for a call
/// that recorded an event of such a key, which only a later snapshot shows.
pub(super) fn anonymize(call: &Call, account: Text) {
    ANONYMIZE.write(call, &[Some(account.datum())]);
}

static ANONYMIZE: Statement = Statement::new(
    c"UPDATE vpk.events AS e SET account = NULL, details = '{}' WHERE e.account = $1",
    &[TEXTOID],
);

/// Gives the events of an account its new name, so that they are found and anonymized with it. Runs
/// when [`anonymize`] would.
pub(super) fn rename(call: &Call, account: Text, new_account: Text) {
    RENAME.write(call, &[Some(account.datum()), Some(new_account.datum())]);
}

static RENAME: Statement = Statement::new(
    c"UPDATE vpk.events AS e SET account = $2 WHERE e.account = $1",
    &[TEXTOID, TEXTOID],
);

/// A part of a removal of old events.
pub struct PurgedPart {
    /// How many events were removed.
    pub removed: i64,
    /// How many were looked at, the oldest ones.
    pub oldest: i64,
}

/// Removes those of the oldest events that are of before an instant. Looks at so many, and at no
/// more than 10,000 at a time.
pub fn purge(call: &Call, before: Timestamp, max_events: i64) -> PurgedPart {
    let rows = PURGE.write(call, &[Some(before.datum()), Some(max_events.into())]);
    let number = |column| rows.first().and_then(|row| row.bigint(column)).unwrap_or(0);
    PurgedPart { removed: number(0), oldest: number(1) }
}

/// Ids grow with time, so the oldest events are found without an index on the time.
static PURGE: Statement = Statement::new(
    c"WITH oldest AS MATERIALIZED (
          SELECT o.id, o.occurred_at
            FROM (SELECT e.id, e.occurred_at FROM vpk.events AS e ORDER BY e.id LIMIT 10000) AS o
           LIMIT $2
      ), purged AS (
          DELETE FROM vpk.events AS e USING oldest AS o
           WHERE e.id = o.id AND o.occurred_at < $1 RETURNING e.id
      )
      SELECT (SELECT pg_catalog.count(*) FROM purged), (SELECT pg_catalog.count(*) FROM oldest)",
    &[TIMESTAMPTZOID, INT8OID],
);

/// Records that events were removed.
pub fn record_purge(call: &Call, before: Timestamp, number: i64, caller: Caller) {
    let parameters = [
        Some(before.datum()),
        Some(number.into()),
        Some(caller.role.datum()),
        Some(caller.session_role.datum()),
    ];
    write(call, &RECORD_PURGE, &parameters);
}

static RECORD_PURGE: Statement = Statement::new(
    sql!(
        "WITH ",
        record_events!(
            "event, details",
            of: "SELECT 'events_purged'::text,
                        pg_catalog.jsonb_build_object('before', $1, 'number', $2)",
            by: "$3", "$4"
        ),
        " SELECT ",
        missed_events!()
    ),
    &[TIMESTAMPTZOID, INT8OID, TEXTOID, TEXTOID],
);

/// A key that was issued for a request.
pub struct IssuedFor {
    /// Its id, as text.
    pub id: Text,
    /// When it was issued, as text.
    pub at: Text,
}

/// The key of an account that was issued for a request within a day.
pub fn issued_for(call: &Call, account: Text, idempotency_key: Text) -> Option<IssuedFor> {
    let rows = ISSUED_FOR.write(call, &[Some(account.datum()), Some(idempotency_key.datum())]);
    let row = rows.first()?;
    Some(IssuedFor { id: row.text(0)?, at: row.text(1)? })
}

static ISSUED_FOR: Statement = Statement::new(
    c"SELECT e.key_id::text, e.occurred_at::text FROM vpk.events AS e
       WHERE e.details ->> 'idempotency_key' = $2 AND e.event = 'key_created' AND e.account = $1
         AND e.occurred_at > pg_catalog.clock_timestamp() - interval '1 day'
       ORDER BY e.id DESC LIMIT 1",
    &[TEXTOID, TEXTOID],
);

/// Records that a key was issued, where [`Bulk`](crate::pg::sql::bulk_insert::Bulk) found the id of
/// its event taken.
pub(super) fn record_new_key(call: &Call, event: &EventRow) {
    write(call, &RECORD_NEW_KEY, event);
}

static RECORD_NEW_KEY: Statement = Statement::new(
    sql!(
        "WITH ",
        record_events!("event, key_id, account", of: "SELECT $1, $2, $3", by: "$4", "$5"),
        " SELECT ",
        missed_events!()
    ),
    &[TEXTOID, UUIDOID, TEXTOID, TEXTOID, TEXTOID],
);

/// What [`of_new_key`] gives values for; the other columns take their defaults.
pub(super) const TABLE: Table = Table {
    name: c"events",
    columns: &[
        (c"event", TEXTOID),
        (c"key_id", UUIDOID),
        (c"account", TEXTOID),
        (c"role", TEXTOID),
        (c"session_role", TEXTOID),
    ],
    skips_conflicts: true,
};

/// Values for the columns of [`TABLE`].
pub(super) type EventRow = [Parameter; TABLE.columns.len()];

/// The event of a new key.
pub(super) fn of_new_key(call: &Call, key: Uuid, account: Text, caller: Caller) -> EventRow {
    [
        Some(Text::new(call, b"key_created").datum()),
        Some(key.datum()),
        Some(account.datum()),
        Some(caller.role.datum()),
        Some(caller.session_role.datum()),
    ]
}
