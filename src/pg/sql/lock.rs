//! Locks of the server: one has the transactions that start tasks of an account wait for each
//! other, two let a single transaction hand over a standby's uses and its charges, one lets a
//! single transaction add charges to the tables, one lets a single session move the sequence of the
//! events, and one has requests for the same key wait for each other. And a limit to the time that
//! a call waits for locks.
//!
//! They are advisory locks of kinds that users' own functions do not have: none can be taken in
//! SQL, nor do they meet an advisory lock of an application. In `pg_locks` the kind is `objsubid`.

use core::ffi::{CStr, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use pgrx::{PgSqlErrorCode, pg_sys};
use sha2::{Digest, Sha256};

use crate::pg::call::Call;
use crate::pg::ffi::{guard, guarded};
use crate::pg::server::{database, setting_level};

/// The kinds of locks. Users' own have 1 or 2 (src/backend/utils/adt/lockfuncs.c).
#[derive(Clone, Copy)]
enum Kind {
    /// The locks on the uses and the charges of a standby.
    Handover = 3,
    /// The lock on the tasks of an account. The documents show it.
    Tasks = 4,
    /// The lock on the sequence of the events.
    EventSequence = 5,
    /// The lock on a request to issue a key of an account.
    Request = 6,
    /// The lock on adding charges to the tables, and on setting quotas.
    Charges = 7,
}

/// The mode of all these locks.
const MODE: pg_sys::LOCKMODE = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;

/// The name of a lock in this database.
fn tag(kind: Kind, number: u64) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        locktag_field1: database::own(),
        locktag_field2: (number >> 32) as u32,
        locktag_field3: number as u32,
        locktag_field4: kind as u16,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}

/// Asks for a lock of this transaction, in this database.
fn acquire(kind: Kind, number: u64, wait: bool) -> pg_sys::LockAcquireResult::Type {
    let tag = tag(kind, number);
    // SAFETY: the tag is copied. The end of the transaction releases a lock that is not held for
    // the session (src/backend/storage/lmgr/lock.c).
    unsafe { guarded::LockAcquire(&tag, MODE, false, !wait) }
}

/// Gives up a lock of this transaction. One that was taken more than once stays. After an error the
/// end of the transaction releases all.
fn release(kind: Kind, number: u64) {
    let tag = tag(kind, number);
    // SAFETY: the tag is copied. The server warns of a lock that is not held
    // (src/backend/storage/lmgr/lock.c).
    unsafe { guarded::LockRelease(&tag, MODE, false) };
}

/// Waits until no other open transaction has started or extended a task of the account. Other such
/// transactions then wait until this one ends.
///
/// The number of the lock is the first 64 bits of the SHA-256 of the account's name. Accounts with
/// the same number would wait for each other, and nothing else would happen. Nobody finds a second
/// name for the number of an account that exists: it takes 2^64 attempts. Raises 25006 in a
/// read-only transaction and on a standby.
pub fn lock_tasks(call: &Call, account: &[u8]) {
    call.prevent_if_read_only();
    acquire(Kind::Tasks, number_of(&[account]), true);
}

/// Gives up what the last call of [`lock_tasks`] for the account has taken in this transaction.
pub fn unlock_tasks(account: &[u8]) {
    release(Kind::Tasks, number_of(&[account]));
}

/// Waits until no other open transaction has issued a key of the account for the same request.
/// Other such transactions then wait until this one ends.
pub fn lock_request(call: &Call, account: &[u8], idempotency_key: &[u8]) {
    call.prevent_if_read_only();
    acquire(Kind::Request, number_of(&[account, b"\0", idempotency_key]), true);
}

/// The number of a lock: the first 64 bits of the SHA-256 of these parts.
fn number_of(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    let hash: [u8; 32] = hash.finalize().into();
    hash[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// What a transaction hands over.
#[derive(Clone, Copy)]
pub enum HandedOver {
    /// Uses of keys.
    Uses,
    /// Charges of quotas.
    Charges,
}

/// What became of the request for a lock that lets a transaction hand over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Handover {
    /// The transaction has it now.
    Taken,
    /// It had it before.
    Held,
    /// Another transaction has it.
    Busy,
}

/// Asks for the lock for this transaction, in this database, without waiting. It works on a
/// standby, where [`lock_tasks`] does not.
pub fn handover(of: HandedOver) -> Handover {
    match acquire(Kind::Handover, of as u64, false) {
        pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL => Handover::Busy,
        pg_sys::LockAcquireResult::LOCKACQUIRE_OK => Handover::Taken,
        _ => Handover::Held,
    }
}

/// Waits until no other open transaction has added charges to the tables, or has set a quota. Other
/// such transactions then wait until this one ends, and flushes leave charges for later.
pub fn lock_charges(call: &Call) {
    call.prevent_if_read_only();
    acquire(Kind::Charges, 0, true);
}

/// Takes the same lock without waiting. False where another transaction has it.
pub fn try_lock_charges() -> bool {
    acquire(Kind::Charges, 0, false) != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

/// Runs `run` while no other session moves the sequence of the events. Waits for such a session,
/// and never for its transaction.
pub fn while_events_are_numbered<R>(run: impl FnOnce() -> R) -> R {
    acquire(Kind::EventSequence, 0, true);
    let result = run();
    release(Kind::EventSequence, 0);
    result
}

/// How long a call waits for a lock if the session sets no limit. The documents say 10 seconds.
const PATIENCE: &CStr = c"10s";

/// Runs `run`, in which each wait for a lock has an end: after `lock_timeout`, or after 10 seconds
/// if that is 0. None if a wait came to that end. Then the transaction has failed, and the caller
/// has to raise an error.
pub fn with_patience<R>(run: impl FnOnce() -> R) -> Option<R> {
    let limited = || {
        // SAFETY: reads a variable.
        if unsafe { pg_sys::LockTimeout } == 0 {
            setting_level::set(c"lock_timeout", PATIENCE, pg_sys::GucContext::PGC_USERSET, 0);
        }
        run()
    };
    match catch_unwind(AssertUnwindSafe(|| setting_level::in_own_level(limited))) {
        Ok(result) => Some(result),
        Err(unwound) => {
            let waited = PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE as c_int;
            if guard::server_error_code(&unwound) != Some(waited) {
                resume_unwind(unwound);
            }
            guard::forget_server_error(unwound);
            None
        }
    }
}
