//! The statement that lists keys.

use pgrx::pg_sys::{INT4OID, TEXTOID, UUIDOID};

use crate::pg::call::Call;
use crate::pg::ffi::allocator;
use crate::pg::sql::statement::{Row, Statement};
use crate::pg::types::{Parameter, SqlValue, Text, Timestamp, Uuid};

/// A row of vpk.key_list.
pub struct ListedKey {
    /// Identifies the key.
    pub id: Option<Uuid>,
    /// What it is called.
    pub name: Option<Text>,
    /// The account that owns it.
    pub account: Option<Text>,
    /// The name of its environment.
    pub environment: Option<Text>,
    /// The first 8 characters of its token.
    pub prefix: Option<Text>,
    /// The first 13 characters of its token.
    pub hint: Option<Text>,
    /// When it was issued.
    pub created_at: Option<Timestamp>,
    /// Its last successful verification; None where none is in vpk.key_usage.
    pub last_used_at: Option<Timestamp>,
    /// The number of its successful verifications.
    pub uses: Option<i64>,
    /// When it expires; None is never.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked; None is not.
    pub revoked_at: Option<Timestamp>,
    /// Why it was revoked.
    pub revoke_reason: Option<Text>,
    /// The key that it replaces.
    pub rotated_from: Option<Uuid>,
    /// `active`, `disabled`, `revoked` or `expired`.
    pub state: Option<Text>,
}

impl ListedKey {
    fn of(row: Row) -> ListedKey {
        ListedKey {
            id: row.uuid(0),
            name: row.text(1),
            account: row.text(2),
            environment: row.text(3),
            prefix: row.text(4),
            hint: row.text(5),
            created_at: row.timestamp(6),
            last_used_at: row.timestamp(7),
            uses: row.bigint(8),
            expires_at: row.timestamp(9),
            revoked_at: row.timestamp(10),
            revoke_reason: row.text(11),
            rotated_from: row.uuid(12),
            state: row.text(13),
        }
    }
}

/// Which keys to list; None is no condition.
#[derive(Clone, Copy, Default)]
pub struct ListFilter {
    /// Keys of this account.
    pub account: Option<Text>,
    /// The key of this id.
    pub id: Option<Uuid>,
    /// Keys that were issued before this one.
    pub after: Option<Uuid>,
    /// At most so many.
    pub max_rows: Option<i32>,
}

impl ListFilter {
    fn parameters(self) -> [Parameter; 4] {
        [
            self.account.map(Text::datum),
            self.id.map(Uuid::datum),
            self.after.map(Uuid::datum),
            self.max_rows.map(Into::into),
        ]
    }
}

/// Keys, newest first, as the calling query sees them.
pub fn list(call: &Call, filter: ListFilter) -> Vec<ListedKey> {
    let statement = if filter.max_rows.is_some() { &PAGE } else { &LIST };
    let rows = statement.read(call, &filter.parameters());
    let mut listed = allocator::vec_or_raise(rows.iter().len());
    listed.extend(rows.iter().map(ListedKey::of));
    listed
}

/// One key, as the running function has just left it.
pub fn list_after_change(call: &Call, id: Uuid) -> Option<ListedKey> {
    let filter = ListFilter { id: Some(id), ..ListFilter::default() };
    LIST.write(call, &filter.parameters()).first().map(ListedKey::of)
}

/// A page, whose keys are found first: the view computes each state by the clock, so that the
/// server computes all of its rows before it orders them.
static PAGE: Statement = Statement::planned_at_each_call(
    c"SELECT l.id, l.name, l.account, l.environment, l.prefix, l.hint, l.created_at,
             l.last_used_at, l.uses, l.expires_at, l.revoked_at, l.revoke_reason, l.rotated_from,
             l.state
        FROM (SELECT k.id FROM vpk.keys AS k
               WHERE ($1 IS NULL OR k.account = $1)
                 AND ($2 IS NULL OR k.id = $2)
                 AND ($3 IS NULL OR k.id < $3)
               ORDER BY k.id DESC
               LIMIT $4) AS p,
             LATERAL (SELECT v.* FROM vpk.key_list AS v WHERE v.id = p.id OFFSET 0) AS l
       ORDER BY p.id DESC",
    &[TEXTOID, UUIDOID, UUIDOID, INT4OID],
);

static LIST: Statement = Statement::planned_at_each_call(
    c"SELECT l.id, l.name, l.account, l.environment, l.prefix, l.hint, l.created_at,
             l.last_used_at, l.uses, l.expires_at, l.revoked_at, l.revoke_reason, l.rotated_from,
             l.state
        FROM vpk.key_list AS l
       WHERE ($1 IS NULL OR l.account = $1)
         AND ($2 IS NULL OR l.id = $2)
         AND ($3 IS NULL OR l.id < $3)
       ORDER BY l.id DESC
       LIMIT $4",
    &[TEXTOID, UUIDOID, UUIDOID, INT4OID],
);
