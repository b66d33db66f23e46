//! Concurrent tasks: leases with an end, counted per account against its plan.
//!
//! Whoever counts first waits for the account's queue ([`crate::pg::sql::lock`]), which lasts until the
//! transaction ends, and then counts on the latest snapshot: what the lock waited for is seen, also
//! by a caller whose own snapshot is older.

use pure::answer::decision::Request;
use pure::answer::status::Status;
use pure::error::CallError;
use pure::request::authorization::MAX_LENGTH;

use crate::pg::call::Call;
use crate::pg::server::{clock, random};
use crate::pg::sql::lock;
use crate::pg::types::{Inet, Interval, Json, SqlValue, Text, Timestamp, Uuid};
use crate::store::leases;
use crate::usage;
use crate::verify::body::BodyFacts;
use crate::verify::{self, Answer, body};

/// The answer to a task that wants to start.
pub struct Started {
    pub status: Status,
    pub lease: Option<Uuid>,
    /// How many tasks of the account are running, this one among them.
    pub running: Option<i32>,
    /// How many the plan allows; None is no limit.
    pub allowed: Option<i32>,
    pub expires_at: Option<Timestamp>,
    pub error: Option<Json>,
}

/// Verifies the key and takes a lease, if the account's plan has one left.
pub fn start(
    call: &Call,
    token: Option<Text>,
    ttl: Option<Interval>,
    client_ip: Option<Inet>,
    scope: Option<Text>,
) -> Result<Started, CallError> {
    let scope = scope.map(|scope| scope.presented_unguarded(call, MAX_LENGTH).bytes);
    let client_ip = verify::client_network(client_ip);
    let judge = || {
        let request = Request { client_ip, scope, ..verify::bare_request() };
        verify::judge(call, token, &request, scope.is_some())
    };
    let mut answer = judge();
    if let (Status::Valid, Some(key)) = (answer.status, answer.key) {
        lock::lock_account_unguarded(call, key.account);
        // The wait may have been long.
        answer = judge();
    }
    let (Status::Valid, Some(key)) = (answer.status, answer.key) else {
        note(answer.status, None);
        return Ok(denied(call, &answer));
    };

    let expires_at = end_of(call, ttl)?;
    let account = Some(key.account.datum());
    let counted = leases::RUNNING.read_latest(call, &[account]);
    let (running, allowed) =
        counted.first().map_or((0, Some(0)), |row| (row.bigint(0).unwrap_or(0), row.integer(1)));
    if allowed.is_some_and(|allowed| running >= i64::from(allowed)) {
        let status = Status::ConcurrencyLimitExceeded;
        note(status, None);
        let known = BodyFacts { tasks: Some((allowed, running)), ..BodyFacts::default() };
        let (_, error) = body::compose(call, status, &known, None);
        let running = Some(saturated(running));
        return Ok(Started { status, lease: None, running, allowed, expires_at: None, error });
    }
    leases::clear_ended(call, key.account);
    let lease = random::uuid_v4(call);
    leases::START.write(
        call,
        &[
            Some(lease.datum()),
            account,
            Some(Uuid::new(call, key.id).datum()),
            Some(clock::now().datum()),
            Some(expires_at.datum()),
        ],
    );
    note(Status::Valid, Some(&key.id));
    Ok(Started {
        status: Status::Valid,
        lease: Some(lease),
        running: Some(saturated(running + 1)),
        allowed,
        expires_at: Some(expires_at),
        error: None,
    })
}

/// Moves the end of a lease; None where it is gone.
pub fn extend(
    call: &Call,
    lease: Option<Uuid>,
    ttl: Option<Interval>,
) -> Result<Option<Timestamp>, CallError> {
    end_of(call, ttl)?;
    let lease = lease.map(Uuid::datum);
    let Some(account) = leases::account_of(call, lease) else { return Ok(None) };
    // Or a starter could count the lease as ended while its extension is not committed.
    lock::lock_account_unguarded(call, account);
    let extended = leases::EXTEND.write(call, &[lease, ttl.map(Interval::datum)]);
    Ok(extended.first().and_then(|row| row.timestamp(0)))
}

/// Gives a lease back; whether it was still running.
pub fn finish(call: &Call, lease: Option<Uuid>) -> bool {
    leases::FINISH.write(call, &[lease.map(Uuid::datum)]).first().is_some_and(|row| row.is(0))
}

fn note(status: Status, key: Option<&[u8; 16]>) {
    usage::note(status, key, clock::now().micros());
}

fn denied(call: &Call, answer: &Answer) -> Started {
    let (_, error) = body::for_answer(call, answer, None);
    Started {
        status: answer.status,
        lease: None,
        running: None,
        allowed: None,
        expires_at: None,
        error,
    }
}

/// When a lease taken now ends.
fn end_of(call: &Call, ttl: Option<Interval>) -> Result<Timestamp, CallError> {
    let ends = leases::END.read(call, &[ttl.map(Interval::datum)]);
    ends.first().and_then(|row| row.timestamp(0)).ok_or_else(|| {
        CallError::invalid("ttl must be greater than 0 and at most 100 years").hint(
            "Name how long the task may run without a sign of life, for example interval '15 min'.",
        )
    })
}

fn saturated(count: i64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
