//! Random values. Each function raises XX000 where the operating system returns none.

use core::sync::atomic::{AtomicU64, Ordering};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::PgLogLevel;
use pgrx::{PgSqlErrorCode, pg_sys};

use pure::key::environment::Environment;
use pure::key::token::Token;
use pure::limits::id::HashKey;
use pure::random::Pool;
use pure::request::id::NewRequestId;
use pure::{random, uuid};

use crate::pg::call::Call;
use crate::pg::ffi::per_backend::PerBackend;
use crate::pg::server::clock::UNIX_EPOCH_OFFSET;
use crate::pg::types::{Timestamp, Uuid};

/// A new key.
pub fn draw_token(environment: Environment) -> Token {
    or_raise(Token::generate(environment, random::fill))
}

/// A new key for the hashes that name buckets.
pub(in crate::pg) fn hash_key() -> HashKey {
    HashKey(random())
}

/// A new request id.
pub fn request_id() -> NewRequestId {
    static POOL: PerBackend<Pool> = PerBackend::new(Pool::new());
    // SAFETY: reads a variable (src/backend/utils/init/globals.c).
    let process = unsafe { pg_sys::MyProcPid };
    or_raise(NewRequestId::draw(|target| {
        // SAFETY: the closure uses the pool alone, and calls the operating system.
        unsafe { POOL.with(|pool| pool.take(process, target, random::fill)) }
    }))
}

/// An id that nobody can guess.
pub fn uuid_v4(call: &Call) -> Uuid {
    Uuid::new(call, uuid::v4(random()))
}

/// An id of the current time, greater than every one that this backend has made before.
pub fn uuid_v7(call: &Call, now: Timestamp) -> Uuid {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let micros = u64::try_from(now.micros() + UNIX_EPOCH_OFFSET).unwrap_or(0);
    let micros = micros.max(LAST.load(Ordering::Relaxed) + 1);
    LAST.store(micros, Ordering::Relaxed);
    Uuid::new(call, uuid::v7(micros, random()))
}

/// Random bytes.
fn random<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    or_raise(random::fill(&mut bytes));
    bytes
}

/// The random values, or an error of the server.
fn or_raise<T>(result: Result<T, random::RandomUnavailable>) -> T {
    result.unwrap_or_else(|_| {
        ErrorReport::new(
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            "could not generate random values",
            "vibepeak_keys",
        )
        .set_detail("The operating system's random generator did not answer.")
        .report(PgLogLevel::ERROR);
        unreachable!("an error does not return")
    })
}
