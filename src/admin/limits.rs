//! Setting rate limits and quotas: the arguments, and the errors. Those of a policy's numbers are
//! in [`pure::limits::policy`].

use pure::error::{CallError, quoted};
use pure::limits::applicable::Limits;
use pure::limits::date::Date;
use pure::limits::id::HolderName;
use pure::limits::name::{MAX_NAME, Name};
use pure::limits::policies::{NamedPolicy, Policies, PoliciesError};
use pure::limits::policy::{Policy, whole_seconds};
use pure::limits::quota_period::{Period, Span, containing};
use pure::limits::quotas::{Quota, Quotas, QuotasError};
use serde_json::json;

use super::arguments::{self, required};
use super::errors;
use crate::limits::{changes, used};
use crate::pg::background::shmem;
use crate::pg::call::Call;
use crate::pg::server::time_zone;
use crate::pg::sql::{commit, lock};
use crate::pg::types::{self, Interval, Text, Timestamp, Uuid, json::jsonb};
use crate::store;
use crate::store::events::Caller;
use crate::store::limits::{self, Change, Column, Subject};

/// What a limit is set for: exactly one of these.
#[derive(Clone, Copy)]
pub struct Given {
    /// The name of a plan.
    pub plan: Option<Text>,
    /// The name of an account.
    pub account: Option<Text>,
    /// The id of a key.
    pub id: Option<Uuid>,
}

/// A rate limit to set.
#[derive(Clone, Copy)]
pub struct RateLimit {
    /// Its name.
    pub policy: Option<Text>,
    /// How many calls may pass in each period; None removes it.
    pub amount: Option<i32>,
    /// The period.
    pub period: Option<Interval>,
    /// How many calls may pass at once; None is the amount.
    pub burst: Option<i32>,
}

/// A quota to set.
#[derive(Clone, Copy)]
pub struct NewQuota {
    /// How much may be used in each period; None removes it.
    pub amount: Option<i64>,
    /// The name of the period.
    pub period: Option<Text>,
    /// What is counted.
    pub meter: Option<Text>,
    /// The name of the time zone.
    pub time_zone: Option<Text>,
    /// The date from which periods are counted.
    pub anchor: Option<types::Date>,
    /// The share from which on an event warns.
    pub warn_at: Option<f32>,
}

/// Sets or removes a rate limit. Writes nothing where nothing changes.
pub fn set_rate_limit(call: &Call, given: Given, limit: RateLimit) -> Result<(), CallError> {
    let name = checked_label(call, "policy", required("policy", limit.policy)?)?;
    let policy = limit.amount.map(|amount| checked_policy(call, limit, amount)).transpose()?;
    let subject = checked_subject(call, given)?;
    check_enforced(policy.is_some())?;
    let stored = locked(call, Column::RateLimits, subject)?;
    let mut policies = Policies::parse(stored)
        .map_err(|error: PoliciesError| unreadable(Column::RateLimits, error.into()))?;
    let before = policies;
    let limit = match policy {
        Some(policy) => {
            policies.set(name, policy)?;
            Some(NamedPolicy { name, policy }.to_string())
        }
        None => {
            policies.remove(name);
            None
        }
    };
    if policies != before {
        let event = if limit.is_some() { "rate_limit_set" } else { "rate_limit_removed" };
        let details = match limit {
            Some(limit) => json!({ "policy": name.as_str(), "rate_limit": limit }),
            None => json!({ "policy": name.as_str() }),
        };
        write(call, Column::RateLimits, subject, &policies.to_string(), event, &details);
    }
    // Whether the new limit allows less than the old one is not checked.
    commit::until_applied();
    Ok(())
}

/// Sets or removes a quota. Writes nothing where nothing changes.
pub fn set_quota(call: &Call, given: Given, quota: NewQuota) -> Result<(), CallError> {
    let meter = checked_label(call, "meter", required("meter", quota.meter)?)?;
    let span = checked_span(call, required("period", quota.period)?)?;
    let new = match quota.amount {
        Some(amount) => Some(checked_quota(call, meter, span, amount, quota)?),
        None => None,
    };
    let subject = checked_subject(call, given)?;
    check_enforced(new.is_some())?;
    if new.is_some() {
        // Before any row: who adds charges locks rows too. Up to the end of the transaction, as
        // that is when the quota begins.
        lock::lock_charges(call);
    }
    let stored = locked(call, Column::Quotas, subject)?;
    let mut quotas = Quotas::parse(stored)
        .map_err(|error: QuotasError| unreadable(Column::Quotas, error.into()))?;
    let before = quotas;
    match new {
        Some(quota) => quotas.set(quota)?,
        None => {
            quotas.remove(meter, span);
        }
    }
    if quotas != before {
        let event = if new.is_some() { "quota_set" } else { "quota_removed" };
        let mut details = json!({ "meter": meter.as_str(), "period": span.name() });
        if let Some(quota) = new {
            details["quota"] = json!(quota.to_string());
        }
        let begins = new.filter(|quota| !before.has_kind_of(*quota)).is_some();
        if begins && !is_of_plan_too(call, subject, meter, span) {
            begin(call, subject, meter, span);
        }
        write(call, Column::Quotas, subject, &quotas.to_string(), event, &details);
    }
    commit::until_applied();
    Ok(())
}

/// Has a quota count from now on: there may be an earlier one of the same kind and period. The
/// table comes first: the memory then has what it does not have.
fn begin(call: &Call, subject: Subject, meter: Name, span: Span) {
    store::quotas::begin(call, subject, meter, span);
    match subject {
        Subject::Plan(plan) => changes::begin_on_plan(call, plan, meter, span),
        Subject::Account(account) => {
            changes::begin(HolderName::Account(account.bytes(call)), meter, span);
        }
        Subject::Key(id) => changes::begin(HolderName::Key(&id.to_bytes()), meter, span),
    }
}

/// Whether the plan of an account has a quota of this kind, which counts already.
fn is_of_plan_too(call: &Call, subject: Subject, meter: Name, span: Span) -> bool {
    let Subject::Account(account) = subject else { return false };
    let Some(holding) = store::quotas::holding::of_account(call, account) else { return false };
    let all = used::current(call, &holding);
    all.iter().any(|(_, quota)| quota.meter == meter && quota.span == span)
}

/// The text of a column `rate_limits` as it is stored; None where there is no limit.
pub fn checked_rate_limits(call: &Call, text: Option<Text>) -> Result<Option<Text>, CallError> {
    let policies = Policies::parse(bytes(call, text))?;
    Ok(stored_text(call, &policies.to_string()))
}

/// The text of a column `quotas` as it is stored; None where there is no quota.
pub fn checked_quotas(call: &Call, text: Option<Text>) -> Result<Option<Text>, CallError> {
    let quotas = Quotas::parse(bytes(call, text))?;
    Ok(stored_text(call, &quotas.to_string()))
}

/// The rate limits in a text of a column; none where it cannot be read.
pub fn rate_limits(call: &Call, text: Option<Text>) -> Vec<NamedPolicy> {
    Policies::parse(bytes(call, text)).unwrap_or_default().iter().collect()
}

/// The quotas in a text of a column; none where it cannot be read.
pub fn quotas(call: &Call, text: Option<Text>) -> Vec<Quota<'_>> {
    Quotas::parse(bytes(call, text)).unwrap_or_default().iter().collect()
}

fn bytes(call: &Call, text: Option<Text>) -> &[u8] {
    text.map_or(&[][..], |text| text.bytes(call))
}

/// The period of a time zone that an instant is in; None where there is no such zone or span.
pub fn period(
    call: &Call,
    zone: Text,
    span: Text,
    anchor: Option<types::Date>,
    at: Timestamp,
) -> Option<Period> {
    let zone = time_zone::named(str::from_utf8(zone.bytes(call)).ok()?)?;
    let span = Span::from_name(span.bytes(call))?;
    Some(containing(span, anchor.map(types::Date::to_day), &zone, at.micros()))
}

/// A text for a column; None where it is empty.
fn stored_text(call: &Call, text: &str) -> Option<Text> {
    (!text.is_empty()).then(|| Text::new(call, text.as_bytes()))
}

pub(super) fn checked_label(call: &Call, what: &str, name: Text) -> Result<Name, CallError> {
    Name::parse(name.bytes(call)).ok_or_else(|| {
        CallError::invalid(format!("invalid {what} {}", quoted(name.bytes(call)))).detail(format!(
            "It must be 1 to {MAX_NAME} characters of A-Z, a-z, 0-9, \"_\", \"-\" and \".\"."
        ))
    })
}

fn checked_policy(call: &Call, limit: RateLimit, amount: i32) -> Result<Policy, CallError> {
    let (months, days, micros) = required("period", limit.period)?.fields(call);
    let period = whole_seconds(months, days, micros)?;
    Ok(Policy::new(amount.into(), period, limit.burst.map(i64::from))?)
}

pub(super) fn checked_span(call: &Call, period: Text) -> Result<Span, CallError> {
    let name = period.bytes(call);
    Span::from_name(name).ok_or_else(|| {
        let names = Span::ALL.map(Span::name).join(", ");
        CallError::invalid(format!("invalid period {}", quoted(name)))
            .detail(format!("The periods of quotas are: {names}."))
            .hint("For other periods, use vpk_set_rate_limit.")
    })
}

fn checked_quota(
    call: &Call,
    meter: Name,
    span: Span,
    amount: i64,
    given: NewQuota,
) -> Result<Quota<'static>, CallError> {
    if amount < 0 {
        return Err(CallError::invalid("amount must not be negative")
            .hint("An amount of 0 lets no call pass; null removes the quota."));
    }
    let zone = checked_zone(call, required("time_zone", given.time_zone)?)?;
    let anchor = given.anchor.map(types::Date::to_day);
    if anchor.is_some_and(|day| !(1..=9999).contains(&Date::of(day).year)) {
        return Err(CallError::invalid("anchor must be between 0001-01-01 and 9999-12-31")
            .hint("Leave it out for periods of the calendar."));
    }
    let warn_at = given.warn_at.map(checked_share).transpose()?;
    Ok(Quota { meter, amount, span, zone, anchor, warn_at })
}

/// The name of a time zone, as the server spells it; None is UTC.
fn checked_zone(call: &Call, name: Text) -> Result<Option<&'static str>, CallError> {
    let given = name.bytes(call);
    let found = str::from_utf8(given).ok().and_then(time_zone::named).map(|zone| zone.name());
    // Every name that the server takes for a zone that it does not list has a digit: the offset.
    let has_digit = |name: &str| name.bytes().any(|byte| byte.is_ascii_digit());
    let is_listed = |name: &str| {
        !has_digit(name) || limits::is_listed_zone(call, Text::new(call, name.as_bytes()))
    };
    match found {
        Some("UTC") => Ok(None),
        // Files that say what the machine is set to, which another one may be set to otherwise.
        Some("localtime" | "posixrules") => Err(CallError::invalid(format!(
            "time zone {} is not the same on every server",
            quoted(given)
        ))
        .hint("Pass the name of a place, such as Europe/Berlin.")),
        Some(name) if is_listed(name) => Ok(Some(name)),
        _ => Err(CallError::invalid(format!("time zone {} does not exist", quoted(given)))
            .hint("Pass a name that the view pg_timezone_names lists, such as Europe/Berlin.")),
    }
}

/// A share in hundredths.
fn checked_share(share: f32) -> Result<u8, CallError> {
    let hundredths = f64::from(share) * 100.0;
    let rounded = hundredths.round();
    if (1.0..=100.0).contains(&rounded) && (hundredths - rounded).abs() < 1e-3 {
        return Ok(rounded as u8);
    }
    Err(CallError::invalid("warn_at must be a share between 0.01 and 1, in hundredths")
        .hint("For an event when four fifths are used, pass 0.8."))
}

fn checked_subject(call: &Call, given: Given) -> Result<Subject, CallError> {
    match given {
        Given { plan: Some(plan), account: None, id: None } => {
            Ok(Subject::Plan(arguments::checked_plan(call, plan)?))
        }
        Given { plan: None, account: Some(account), id: None } => {
            arguments::checked_account(call, account)?;
            Ok(Subject::Account(arguments::spelled_as_stored(call, account)))
        }
        Given { plan: None, account: None, id: Some(id) } => Ok(Subject::Key(id)),
        _ => Err(CallError::invalid("exactly one of plan, account and id must be given").hint(
            "Name what the limit is for, such as plan => 'Pro'. Each takes a call of its own.",
        )),
    }
}

/// Refuses to set a limit that this server would not enforce. Removing one is always possible.
fn check_enforced(is_set: bool) -> Result<(), CallError> {
    if !is_set || shmem::ledger().is_some() {
        return Ok(());
    }
    Err(CallError::out_of_place("the library is not preloaded, so that no limit is enforced")
        .detail("Calls are counted in shared memory, which exists only if it is.")
        .hint("Add vibepeak_keys to shared_preload_libraries, and restart the server."))
}

/// Locks the row of a subject, and reads a column of it.
fn locked(call: &Call, column: Column, subject: Subject) -> Result<&[u8], CallError> {
    let text = limits::lock(call, column, subject).ok_or_else(|| match subject {
        Subject::Plan(plan) => errors::unknown_plan(call, plan),
        Subject::Account(account) => errors::unknown_account(account.bytes(call)),
        Subject::Key(_) => errors::unknown_key(),
    })?;
    Ok(bytes(call, text))
}

/// The error where a column has a text that cannot be read, which the owner of the table wrote or a
/// restore brought.
fn unreadable(column: Column, error: CallError) -> CallError {
    let name = match column {
        Column::RateLimits => "rate_limits",
        Column::Quotas => "quotas",
    };
    CallError::out_of_place(format!("column \"{name}\" has a text that cannot be read"))
        .detail(format!("Reading it says: {}.", error.message))
        .hint("Set the column to null or to a text in this form, as the owner of the table.")
}

fn write(
    call: &Call,
    column: Column,
    subject: Subject,
    text: &str,
    event: &str,
    details: &serde_json::Value,
) {
    let event = Text::new(call, event.as_bytes());
    let change = Change { event, details: jsonb(details) };
    limits::set(call, column, subject, stored_text(call, text), &change, Caller::of(call));
}
