//! What pg_stat_activity shows of this process.

use core::ffi::c_void;
use core::slice;
use core::sync::atomic::Ordering::Release;

use pgrx::pg_sys::{self, SubTransactionId, SubXactEvent, XactEvent};

use pure::key::redact;

use crate::pg::server::settings;

/// Redacts the text that pg_stat_activity shows of this process.
///
/// A new report of the text would reset the query's id. So the text is changed by the protocol of
/// src/include/utils/backend_status.h (PGSTAT_BEGIN_WRITE_ACTIVITY): readers read again when the
/// counter was odd or has changed. The critical section of that protocol is for writers that may
/// raise errors.
pub(super) fn redact_activity() {
    // SAFETY: the entry is that of this process, which alone writes there. The text has room for
    // pgstat_track_activity_query_size bytes and ends with a null
    // (src/backend/utils/activity/backend_status.c).
    unsafe {
        let entry = pg_sys::MyBEEntry;
        if entry.is_null() || (*entry).st_activity_raw.is_null() {
            return;
        }
        let room = usize::try_from(pg_sys::pgstat_track_activity_query_size).unwrap_or(0);
        let text: &mut [u8] = slice::from_raw_parts_mut((*entry).st_activity_raw.cast(), room);
        let length = memchr::memchr(0, text).unwrap_or(room);
        let text = &mut text[..length];
        if !redact::shows_key(text) {
            return;
        }
        let count = &raw mut (*entry).st_changecount;
        count.write_volatile(count.read_volatile().wrapping_add(1));
        core::sync::atomic::fence(Release);
        redact::redact_keys(text);
        core::sync::atomic::fence(Release);
        count.write_volatile(count.read_volatile().wrapping_add(1));
    }
}

/// Runs at the end of a transaction. A text that was never parsed stays in pg_stat_activity until
/// the next statement: after a syntax error that is not logged, for example.
///
/// # Safety
/// The server calls it.
pub(super) unsafe extern "C-unwind" fn on_transaction_end(event: XactEvent::Type, _: *mut c_void) {
    let ended = matches!(event, XactEvent::XACT_EVENT_ABORT | XactEvent::XACT_EVENT_COMMIT);
    if ended && settings::redact_logs() {
        redact_activity();
    }
}

/// Runs at the end of a subtransaction, for the same reason.
///
/// # Safety
/// The server calls it.
pub(super) unsafe extern "C-unwind" fn on_subtransaction_end(
    event: SubXactEvent::Type,
    _: SubTransactionId,
    _: SubTransactionId,
    _: *mut c_void,
) {
    if event == SubXactEvent::SUBXACT_EVENT_ABORT_SUB && settings::redact_logs() {
        redact_activity();
    }
}
