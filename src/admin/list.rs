//! Listing keys: the arguments, and the errors.

use pure::error::CallError;
use pure::validate;

use super::arguments;
use crate::pg::call::Call;
use crate::pg::sql::visibility::{self, Seen};
use crate::store::list;
use crate::usage::current;

pub use crate::store::list::{ListFilter, ListedKey};

/// Keys that match the filter, newest first.
pub fn list(call: &Call, mut filter: ListFilter) -> Result<Vec<ListedKey>, CallError> {
    if filter.max_rows.is_some_and(|rows| rows < 0) {
        return Err(CallError::invalid("max_rows must not be negative")
            .hint("Leave it out to list all keys."));
    }
    if let Some(state) = filter.state {
        validate::state(state.bytes(call))?;
    }
    filter.account = filter.account.map(|account| arguments::spelled_as_stored(call, account));
    let mut keys = list::list(call, filter);
    let seen = visibility::by_caller();
    keys.iter_mut().for_each(|key| with_current_uses(key, seen));
    Ok(keys)
}

/// Adds the uses that only this server's memory has.
pub(super) fn with_current_uses(key: &mut ListedKey, seen: Seen) {
    if let Some(id) = key.id {
        current::complete(id, &mut key.uses, &mut key.last_used_at, seen);
    }
}
