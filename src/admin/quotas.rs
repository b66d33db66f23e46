//! What is used of quotas, granting more of them, and charging them after a call: the arguments,
//! and the errors.

use pure::error::{CallError, quoted};
use pure::instant::Micros;
use pure::limits::applicable::Holder;
use pure::limits::current_quotas::CurrentQuota;
use pure::limits::grants::{self, Grant};
use pure::limits::name::Name;
use pure::limits::quota_period::Span;

use super::arguments::{self, required};
use super::errors;
use super::{limits, request};
use crate::limits::used::{self, Used};
use crate::pg::background::shmem;
use crate::pg::call::Call;
use crate::pg::server::{caller, clock};
use crate::pg::sql::commit;
use crate::pg::types::{Text, Timestamp, Uuid};
use crate::store::events::Caller;
use crate::store::keys;
use crate::store::quotas::grants::{self as stored_grants, GrantDetails};
use crate::store::quotas::holding::{self, Holding};
use crate::store::quotas::idempotency_keys::{self, Request};
use crate::store::roles;

/// The largest charge and the largest grant.
const LARGEST: i64 = 1_000_000_000_000_000;
/// How long an idempotency key is kept at least, and at most, in microseconds.
const A_DAY: Micros = 86_400_000_000;
const A_YEAR: Micros = 366 * A_DAY;

/// The quotas of an account, or of a key and its account, with what is used of them.
pub fn used(call: &Call, account: Option<Text>, id: Option<Uuid>) -> Result<Vec<Used>, CallError> {
    let holding = match (account, id) {
        (Some(account), None) => of_account(call, account, holding::of_account)?,
        (None, Some(id)) => holding::of_key(call, id).ok_or_else(errors::unknown_key)?,
        _ => {
            return Err(CallError::invalid("exactly one of account and id must be given")
                .hint("Name whose quotas to show, such as account => 'acme'."));
        }
    };
    let all = used::current(call, &holding).into_iter();
    Ok(all.map(|(holder, quota)| used::used(call, &holding, holder, quota)).collect())
}

/// A grant.
#[derive(Clone, Copy)]
pub struct NewGrant {
    /// The account.
    pub account: Option<Text>,
    /// How much; less than 0 takes an earlier grant back.
    pub amount: Option<i64>,
    /// The meter of the quota.
    pub meter: Option<Text>,
    /// Why.
    pub reason: Option<Text>,
    /// The name of the request.
    pub idempotency_key: Option<Text>,
    /// The length of the quota's period; None where the account has one quota of the meter.
    pub period: Option<Text>,
}

/// Grants an account more than a quota for its current period. Returns what remains. It counts from
/// the commit on. A request that was made before changes nothing.
pub fn grant(call: &Call, new: NewGrant) -> Result<i64, CallError> {
    let account = required("account", new.account)?;
    let amount = checked_amount("amount", required("amount", new.amount)?)?;
    let meter = checked_meter(call, new.meter)?;
    let span = new.period.map(|period| limits::checked_span(call, period)).transpose()?;
    let request = request::checked(call, new.idempotency_key)?;
    let holding = of_account(call, account, holding::lock_account)?;
    let quota = granted_quota(call, &holding, meter, span)?;
    let remaining =
        |holding: &Holding| used::used(call, holding, Holder::Account, quota).remaining();
    let kept_until = kept_until(quota.period.end);
    let is_new =
        |key| idempotency_keys::note(call, holding.account, Request::Grant, meter, key, kept_until);
    if !request.is_none_or(is_new) {
        return Ok(remaining(&holding));
    }
    let (span, period_start) = (quota.span, quota.period.start);
    let before = holding.grants.map_or(&[][..], |grants| grants.bytes(call));
    let all = used::current(call, &holding);
    // Another period of the same quota began, or the quota is no more.
    let is_over = |grant: &Grant| {
        let wanted = (grant.meter, grant.span, grant.period_start);
        all.iter().all(|(_, it)| (it.meter, it.span, it.period.start) != wanted)
    };
    let grants = grants::with(before, Grant { meter, span, period_start, amount }, is_over);
    let details = GrantDetails {
        meter: meter.as_str(),
        period: span.name(),
        period_start: Timestamp::from_micros(period_start),
        amount,
        reason: arguments::kept_reason(call, new.reason),
    };
    stored_grants::set(call, holding.account, &grants, &details, Caller::of(call));
    if amount < 0 {
        commit::until_applied();
    }
    let grants = Some(Text::new(call, grants.as_bytes()));
    Ok(remaining(&Holding { grants, ..holding }))
}

/// The one quota of an account that a grant is for.
fn granted_quota(
    call: &Call,
    holding: &Holding,
    meter: Name,
    span: Option<Span>,
) -> Result<CurrentQuota, CallError> {
    let is_wanted =
        |it: &CurrentQuota| it.meter == meter && span.is_none_or(|span| span == it.span);
    let all = used::current(call, holding).into_iter();
    let mut all = all.map(|(_, quota)| quota).filter(is_wanted);
    let name = quoted(holding.account.bytes(call));
    match (all.next(), all.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(CallError::invalid(format!(
            "account {name} has more than one quota of meter \"{meter}\""
        ))
        .hint("Pass the period too, such as period => 'month'. vpk_quota(account) shows them.")),
        (None, _) => Err(CallError::invalid(format!(
            "account {name} has no such quota of meter \"{meter}\""
        ))
        .hint("vpk_quota(account) shows its quotas; vpk_set_quota sets one.")),
    }
}

/// A charge.
#[derive(Clone, Copy)]
pub struct NewCharge {
    /// The id of the key.
    pub id: Option<Uuid>,
    /// How much; less than 0 is a refund.
    pub cost: Option<i64>,
    /// What is counted.
    pub meter: Option<Text>,
    /// The name of the request.
    pub idempotency_key: Option<Text>,
}

/// Charges the quotas of a meter that a key and its account have. Returns the least that remains;
/// None where there is no quota. The charge stays if the transaction rolls back. A request that was
/// made before changes nothing.
pub fn charge(call: &Call, new: NewCharge) -> Result<Option<i64>, CallError> {
    caller::as_function_owner(call, |role| {
        let id = required("id", new.id)?;
        let cost = checked_cost(required("cost", new.cost)?)?;
        let meter = checked_meter(call, new.meter)?;
        let request = request::checked(call, new.idempotency_key)?;
        if cost < 0 {
            let standing = roles::standing(call, role);
            if !standing.is_admin && !standing.is_owner {
                return Err(CallError::denied("permission denied for a refund")
                    .detail("A cost of less than 0 gives back what was charged.")
                    .hint("Have a role call it that has the privileges of vpk_grant_admin."));
            }
        }
        let (mut holding, mut all) = of_meter(call, id, meter)?;
        if request.is_some() && !all.is_empty() {
            // The request is noted by the account's name, which nobody can change then.
            if !keys::lock_account(call, id) {
                return Err(errors::unknown_key());
            }
            (holding, all) = of_meter(call, id, meter)?;
        }
        if all.is_empty() {
            return Ok(None);
        }
        if shmem::quota_sets().is_none() {
            return Err(CallError::out_of_place(
                "this server does not count what is used of quotas",
            )
            .hint("Add vibepeak_keys to shared_preload_libraries, and restart the server."));
        }
        let kept_until =
            kept_until(all.iter().map(|(_, quota)| quota.period.end).max().unwrap_or(0));
        let is_new = |key| {
            idempotency_keys::note(call, holding.account, Request::Charge, meter, key, kept_until)
        };
        let cost = if request.is_none_or(is_new) { cost } else { 0 };
        Ok(used::charge(call, &holding, id, &all, cost))
    })
}

/// The quotas of a meter that a key and its account have.
fn of_meter(
    call: &Call,
    id: Uuid,
    meter: Name,
) -> Result<(Holding, Vec<(Holder, CurrentQuota)>), CallError> {
    let holding = holding::of_key(call, id).ok_or_else(errors::unknown_key)?;
    let mut all = used::current(call, &holding);
    all.retain(|(_, quota)| quota.meter == meter);
    Ok((holding, all))
}

/// Reads the row of an account, by the name that it is stored by.
fn of_account(
    call: &Call,
    account: Text,
    read: impl Fn(&Call, Text) -> Option<Holding>,
) -> Result<Holding, CallError> {
    let account = arguments::spelled_as_stored(call, account);
    read(call, account).ok_or_else(|| errors::unknown_account(account.bytes(call)))
}

/// Until when an idempotency key is kept: the end of the period, in a day at least and in 366 days
/// at most.
fn kept_until(period_end: Micros) -> Timestamp {
    let now = clock::now().micros();
    Timestamp::from_micros(period_end.clamp(now + A_DAY, now + A_YEAR))
}

fn checked_meter(call: &Call, meter: Option<Text>) -> Result<Name, CallError> {
    limits::checked_label(call, "meter", required("meter", meter)?)
}

fn checked_amount(what: &str, amount: i64) -> Result<i64, CallError> {
    if amount == 0 || !(-LARGEST..=LARGEST).contains(&amount) {
        return Err(CallError::invalid(format!(
            "{what} must be between -{LARGEST} and {LARGEST}, and not 0"
        ))
        .hint("Pass how much is granted; less than 0 takes an earlier grant back."));
    }
    Ok(amount)
}

fn checked_cost(cost: i64) -> Result<i64, CallError> {
    if !(-LARGEST..=LARGEST).contains(&cost) {
        return Err(CallError::invalid(format!("cost must be between -{LARGEST} and {LARGEST}"))
            .hint("Pass what the request took, in units of the meter."));
    }
    Ok(cost)
}
