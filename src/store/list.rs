//! The statement that lists keys.

use pgrx::pg_sys::{INT4OID, TEXTOID, TIMESTAMPTZOID, UUIDOID};

use pure::validate::LATEST_EXPIRY;

use crate::pg::call::Call;
use crate::pg::ffi::allocator;
use crate::pg::server::clock;
use crate::pg::sql::statement::{Row, Statement};
use crate::pg::types::{Parameter, SqlValue, Text, TextArray, Timestamp, Uuid};

/// A key as it is listed: the columns of vpk.key_list.
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
    /// What it may be used for.
    pub scopes: Option<TextArray>,
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
            // Earlier releases accepted a later end.
            expires_at: row
                .timestamp(9)
                .map(|end| Timestamp::from_micros(end.micros().min(LATEST_EXPIRY))),
            revoked_at: row.timestamp(10),
            revoke_reason: row.text(11),
            rotated_from: row.uuid(12),
            state: row.text(13),
            scopes: row.text_array(14),
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
    /// Keys in this state.
    pub state: Option<Text>,
}

impl ListFilter {
    fn parameters(self) -> [Parameter; 6] {
        [
            self.account.map(Text::datum),
            self.id.map(Uuid::datum),
            self.after.map(Uuid::datum),
            self.max_rows.map(Into::into),
            self.state.map(Text::datum),
            Some(clock::now().datum()),
        ]
    }
}

/// Keys, newest first, as the calling query sees them.
pub fn list(call: &Call, filter: ListFilter) -> Vec<ListedKey> {
    let statement = match filter {
        ListFilter { id: Some(_), .. } => &ONE,
        ListFilter { account: Some(_), max_rows: Some(_), .. } => &PAGE_OF_ACCOUNT,
        ListFilter { account: Some(_), .. } => &ALL_OF_ACCOUNT,
        ListFilter { max_rows: Some(_), .. } => &PAGE,
        _ => &ALL,
    };
    let rows = statement.read(call, &filter.parameters());
    let mut listed = allocator::vec_or_raise(rows.iter().len());
    listed.extend(rows.iter().map(ListedKey::of));
    listed
}

/// One key, as the running function has just left it.
pub fn list_after_change(call: &Call, id: Uuid) -> Option<ListedKey> {
    let filter = ListFilter { id: Some(id), ..ListFilter::default() };
    ONE.write(call, &filter.parameters()).first().map(ListedKey::of)
}

/// Keys that meet a condition. A page is found first, so that the server reads no more rows than
/// it has. Without a page it sorts once, after the join.
///
/// The view vpk.key_list asks the clock for each row, so that the server would compute all of its
/// rows first. Here one time is a parameter. So a key that is found in a state is shown in it.
///
/// The condition on the state names columns: the server knows how many keys meet it, and does not
/// read a whole account for a page of active keys. It sees one branch, since it plans for the
/// parameters of each call.
macro_rules! keys {
    (where: $condition:literal, page: $page:literal) => {
        Statement::planned_at_each_call(
            sql!(
                "SELECT p.id, p.name, p.account, p.environment, p.prefix, p.hint, p.created_at,
                        u.last_used_at, coalesce(u.uses, 0), p.expires_at, p.revoked_at,
                        p.revoke_reason, p.rotated_from, p.state, p.scopes
                   FROM (SELECT k.id, k.name, k.account, k.environment, k.prefix, k.hint,
                                k.created_at, k.expires_at, k.revoked_at, k.revoke_reason,
                                k.rotated_from, k.scopes,
                                CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked'
                                     WHEN k.expires_at <= $6 THEN 'expired'
                                     WHEN k.disabled_at IS NOT NULL THEN 'disabled'
                                     ELSE 'active'
                                END AS state
                           FROM vpk.keys AS k
                          WHERE ",
                $condition,
                " AND CASE $5
                           WHEN 'revoked' THEN k.revoked_at IS NOT NULL
                           WHEN 'expired' THEN k.revoked_at IS NULL AND k.expires_at <= $6
                           WHEN 'disabled' THEN k.revoked_at IS NULL AND k.disabled_at IS NOT NULL
                                AND (k.expires_at IS NULL OR k.expires_at > $6)
                           WHEN 'active' THEN k.revoked_at IS NULL AND k.disabled_at IS NULL
                                AND (k.expires_at IS NULL OR k.expires_at > $6)
                           ELSE $5 IS NULL
                      END ",
                $page,
                ") AS p
                   LEFT JOIN vpk.key_usage AS u ON u.key_id = p.id
                  ORDER BY p.id DESC"
            ),
            &[TEXTOID, UUIDOID, UUIDOID, INT4OID, TEXTOID, TIMESTAMPTZOID],
        )
    };
}

static ONE: Statement = keys!(
    where: "k.id = $2 AND ($1 IS NULL OR k.account = $1) AND ($3 IS NULL OR k.id < $3)",
    page: "LIMIT $4"
);

/// Only the index on account and id has this order. With an equality, that on the id alone has it
/// too. The server takes that one for an account with many keys, and reads all newer keys of other
/// accounts before the first of this one.
static PAGE_OF_ACCOUNT: Statement = keys!(
    where: "k.account >= $1 AND ($3 IS NOT NULL OR k.account <= $1)
            AND ($3 IS NULL OR (k.account, k.id) < ($1, $3))",
    page: "ORDER BY k.account DESC, k.id DESC LIMIT $4"
);

static ALL_OF_ACCOUNT: Statement =
    keys!(where: "k.account = $1 AND ($3 IS NULL OR k.id < $3)", page: "");

static PAGE: Statement =
    keys!(where: "($3 IS NULL OR k.id < $3)", page: "ORDER BY k.id DESC LIMIT $4");

static ALL: Statement = keys!(where: "($3 IS NULL OR k.id < $3)", page: "");
