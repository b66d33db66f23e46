//! Concurrent tasks: leases with an end, counted per account against the account's plan.
//!
//! Before it counts, a call takes the account's lock ([`crate::pg::sql::lock`]), which it holds
//! until the transaction ends. It then counts on the latest snapshot: that shows what the call
//! waited for, even where the caller's own snapshot is older.

use pure::answer::decision::Request;
use pure::answer::response::HeaderFacts;
use pure::answer::status::Status;
use pure::error::CallError;

use crate::limits::decide;
use crate::pg::call::Call;
use crate::pg::server::{clock, random};
use crate::pg::sql::lock;
use crate::pg::types::{Interval, Json, Text, Timestamp, Uuid};
use crate::store::leases::{self, Leases, NewLease};
use crate::store::lookup;
use crate::usage;
use crate::verify::body::BodyFacts;
use crate::verify::{self, Answer, RequestOptions, body};

/// The answer to a request to start a task.
pub struct Started {
    /// The result of the verification.
    pub status: Status,
    /// The lease of the task; None where it may not start.
    pub lease: Option<Uuid>,
    /// How many tasks of the account are running, including this one; None where the key is
    /// refused.
    pub running: Option<i32>,
    /// How many the plan allows; None is no limit, and where the key is refused.
    pub allowed: Option<i32>,
    /// When the lease ends; None where the task may not start.
    pub expires_at: Option<Timestamp>,
    /// The body of a refusal.
    pub error: Option<Json>,
    /// The headers of the HTTP response, by name.
    pub headers: Json,
}

/// Verifies a key, takes a lease where the account's plan has one left, and charges what the call
/// costs.
///
/// Rate limits come before the limit of tasks in the order of the answers. So they are looked at
/// first. They are charged last: a call that gets no lease consumes nothing. What was left at first
/// may be gone by then, and the lease is given up.
pub fn start(
    call: &Call,
    token: Option<Text>,
    ttl: Option<Interval>,
    options: &RequestOptions,
    cost: u32,
) -> Result<Started, CallError> {
    let request = options.request_unguarded(call);
    let verified = || {
        // The wait for the lock may have been long.
        let request = Request { now: clock::now().micros(), ..request };
        verify::unnoted(call, token, &request, request.scope.is_some())
    };
    let answer = while_locked(call, verified, |answer| {
        answer.key.filter(|_| answer.status == Status::Valid).map(|key| key.account)
    });
    let answer = verify::unless_too_many(call, answer, &request, true);
    let (Status::Valid, Some(key)) = (answer.status, answer.key) else {
        note(answer.status, answer.key.as_ref().map(|key| &key.id));
        return Ok(refused(call, &answer, &request, options.request_id));
    };
    let subject = answer.subject_unguarded(call);
    if let Some(looked) =
        subject.and_then(|subject| decide::peek(call, &subject, cost, clock::now().micros()))
    {
        let answer = answer.decided(call, Some(looked), true);
        if answer.status != Status::Valid {
            note(answer.status, Some(&key.id));
            return Ok(refused(call, &answer, &request, options.request_id));
        }
    }

    let expires_at = end_of(call, ttl)?;
    // An account or plan that has just been removed allows no task.
    let allowed = lookup::tasks_allowed(call, key.account).unwrap_or(Some(0));
    let Leases { running, first_end, some_ended } = leases::count(key.account);
    if allowed.is_some_and(|allowed| running >= i64::from(allowed)) {
        let status = Status::ConcurrencyLimitExceeded;
        note(status, Some(&key.id));
        let facts = BodyFacts { tasks: Some((allowed, running)), ..BodyFacts::default() };
        let request_id = body::presented_id(call, options.request_id);
        let (_, error) = body::compose(call, status, &facts, request_id, None);
        let retry_after = first_end.map(|end| end.micros() - clock::now().micros());
        let facts = HeaderFacts { retry_after, ..HeaderFacts::default() };
        let headers = body::headers(call, status, &facts);
        let running = Some(saturated(running));
        return Ok(Started {
            status,
            lease: None,
            running,
            allowed,
            expires_at: None,
            error,
            headers,
        });
    }
    if some_ended {
        leases::clear_ended(call, key.account);
    }
    let lease = random::uuid_v4(call);
    let new = NewLease {
        lease,
        account: key.account,
        key: Uuid::new(call, key.id),
        started_at: clock::now(),
        expires_at,
    };
    leases::start(call, &new);
    let decision =
        subject.and_then(|subject| decide::charge(call, &subject, cost, clock::now().micros()));
    let answer = answer.decided(call, decision, true);
    if answer.status != Status::Valid {
        leases::finish(call, Some(lease));
        note(answer.status, Some(&key.id));
        return Ok(refused(call, &answer, &request, options.request_id));
    }
    note(Status::Valid, Some(&key.id));
    let facts = HeaderFacts::default();
    Ok(Started {
        status: Status::Valid,
        lease: Some(lease),
        running: Some(saturated(running + 1)),
        allowed,
        expires_at: Some(expires_at),
        error: None,
        headers: body::for_answer(call, &answer, options.request_id, &facts).headers,
    })
}

/// Moves the end of a lease. Returns the new end; None where the lease is missing or has ended.
pub fn extend(
    call: &Call,
    lease: Option<Uuid>,
    ttl: Option<Interval>,
) -> Result<Option<Timestamp>, CallError> {
    end_of(call, ttl)?;
    // Without the lock, a concurrent start could count this lease as ended before the extension
    // commits.
    while_locked(call, || leases::account_of(call, lease), |account| *account);
    Ok(leases::extend(call, lease, ttl))
}

/// Takes the lock of the account of what `look` finds, and returns that. Looks again after the
/// wait, in which the account may have been renamed. Then gives up the lock of the earlier name
/// before it takes another: a rename takes both locks, and may have taken the other one first.
fn while_locked<T>(call: &Call, look: impl Fn() -> T, account: impl Fn(&T) -> Option<Text>) -> T {
    let mut found = look();
    while let Some(locked) = account(&found) {
        let locked = locked.bytes_unguarded(call);
        lock::lock_tasks(call, locked);
        found = look();
        if account(&found).is_some_and(|account| account.bytes_unguarded(call) == locked) {
            break;
        }
        lock::unlock_tasks(locked);
    }
    found
}

/// Deletes a lease. Returns whether it existed and had not ended.
pub fn finish(call: &Call, lease: Option<Uuid>) -> bool {
    leases::finish(call, lease)
}

fn note(status: Status, key: Option<&[u8; 16]>) {
    usage::note(status, key, clock::now().micros());
}

fn refused(call: &Call, answer: &Answer, request: &Request, request_id: Option<Text>) -> Started {
    let facts = HeaderFacts { scope: request.scope, ..HeaderFacts::default() };
    let response = body::for_answer(call, answer, request_id, &facts);
    Started {
        status: answer.status,
        lease: None,
        running: None,
        allowed: None,
        expires_at: None,
        error: response.error,
        headers: response.headers,
    }
}

/// When a lease ends that is taken now.
fn end_of(call: &Call, ttl: Option<Interval>) -> Result<Timestamp, CallError> {
    leases::end_of(call, ttl).ok_or_else(|| {
        CallError::invalid("ttl must be greater than 0 and at most 100 years").hint(
            "Name how long the task may run until it is extended, for example interval '15 min'.",
        )
    })
}

fn saturated(count: i64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
