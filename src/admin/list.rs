//! What can be seen of keys.

use pure::error::CallError;

use crate::pg::call::Call;
use crate::pg::ffi::allocator;
use crate::pg::sql::statement::Row;
use crate::pg::types::{SqlValue, Text, Timestamp, Uuid};
use crate::store::keys;

/// A key as a dashboard shows it.
pub struct Listed {
    pub id: Option<Uuid>,
    pub name: Option<Text>,
    pub account: Option<Text>,
    pub environment: Option<Text>,
    pub prefix: Option<Text>,
    pub hint: Option<Text>,
    pub created_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
    pub uses: Option<i64>,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    pub revoke_reason: Option<Text>,
    pub rotated_from: Option<Uuid>,
    pub state: Option<Text>,
}

impl Listed {
    fn of(row: Row) -> Listed {
        Listed {
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

/// Keys, newest first: of an account, of an id, made before the key `after`, at most so many.
pub fn list(
    call: &Call,
    account: Option<Text>,
    id: Option<Uuid>,
    after: Option<Uuid>,
    max_rows: Option<i32>,
) -> Result<Vec<Listed>, CallError> {
    if max_rows.is_some_and(|rows| rows < 0) {
        return Err(CallError::invalid("max_rows must not be negative")
            .hint("Leave it out to list all keys."));
    }
    let parameters = [
        account.map(Text::datum),
        id.map(Uuid::datum),
        after.map(Uuid::datum),
        max_rows.map(Into::into),
    ];
    let rows = keys::LIST.read(call, &parameters);
    let mut listed = allocator::vec_or_raise(rows.iter().len());
    listed.extend(rows.iter().map(Listed::of));
    Ok(listed)
}

/// One key, as the running function has just left it.
pub(super) fn one_after_change(call: &Call, id: Uuid) -> Option<Listed> {
    keys::LIST.write(call, &[None, Some(id.datum()), None, None]).first().map(Listed::of)
}
