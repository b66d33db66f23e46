//! What rate limits have left on this server, and giving it back.

use pure::error::CallError;
use pure::limits::applicable::Holder;
use pure::limits::id::HashKey;
use pure::limits::name::Name;
use pure::limits::policies::NamedPolicy;

use super::arguments;
use super::errors;
use crate::limits::rate_limits::{Applied, AppliedPolicy, Policies};
use crate::limits::subject::Subject;
use crate::limits::{self, Left};
use crate::pg::background::shmem;
use crate::pg::call::Call;
use crate::pg::types::{Text, Uuid};
use crate::store::lookup::{Limits, Texts};
use crate::store::rate_limits::{self, RateLimits};

/// A rate limit, and what is left of it.
pub struct State {
    /// The policy with its name.
    pub named: NamedPolicy,
    /// `account` or `key`: whose calls it counts.
    pub applies_to: &'static str,
    /// What is left; None if nothing is limited here, since the library was not preloaded.
    pub left: Option<Left>,
}

/// The rate limits of an account, or those that apply to a key.
pub fn state(
    call: &Call,
    account: Option<Text>,
    id: Option<Uuid>,
) -> Result<Vec<State>, CallError> {
    let found = find(call, account, id)?;
    let said = said(call, &found);
    let subject = subject(call, &found, &said, id);
    // Where nothing can be limited, no bucket is looked for.
    let key = shmem::hash_key().unwrap_or(HashKey([0; 16]));
    let Some(applied) = Applied::under(key, &subject) else { return Ok(Vec::new()) };
    let left = limits::left(applied);
    let policies = Policies::of(&subject);
    let states = policies.iter().enumerate().map(|(at, it)| State {
        named: it.policy.named,
        applies_to: match it.holder {
            Holder::Account => "account",
            Holder::Key => "key",
        },
        left: left.as_ref().and_then(|left| left.get(at)).copied(),
    });
    Ok(states.collect())
}

/// Gives back what is used of the rate limits of an account, or of a key's own; of one policy, or
/// of all. Returns of how many something was used.
pub fn reset(
    call: &Call,
    account: Option<Text>,
    id: Option<Uuid>,
    policy: Option<Text>,
) -> Result<i32, CallError> {
    let only = policy.map(|policy| checked_name(call, policy)).transpose()?;
    let found = find(call, account, id)?;
    let said = said(call, &found);
    let subject = subject(call, &found, &said, id);
    let holder = if id.is_some() { Holder::Key } else { Holder::Account };
    let is_wanted = |it: AppliedPolicy| {
        it.holder == holder && only.is_none_or(|name| it.policy.named.name == name)
    };
    if let Some(name) = only
        && !Policies::of(&subject).iter().any(is_wanted)
    {
        let whose = if id.is_some() { "key" } else { "account" };
        return Err(CallError::invalid(format!("the {whose} has no rate limit \"{name}\"")).hint(
            "vpk_rate_limit_state shows which apply. With id, only the key's own are reset.",
        ));
    }
    let reset = limits::forget(&subject, is_wanted);
    Ok(i32::try_from(reset).unwrap_or(i32::MAX))
}

fn checked_name(call: &Call, policy: Text) -> Result<Name, CallError> {
    Name::parse(policy.bytes(call)).ok_or_else(|| {
        CallError::invalid("policy is not the name of a rate limit")
            .hint("vpk_rate_limit_state shows the names.")
    })
}

/// The rate limits of an account or a key, of which exactly one is given.
fn find(call: &Call, account: Option<Text>, id: Option<Uuid>) -> Result<RateLimits, CallError> {
    match (account, id) {
        (Some(account), None) => {
            let account = arguments::spelled_as_stored(call, account);
            rate_limits::of_account(call, account)
                .ok_or_else(|| errors::unknown_account(account.bytes(call)))
        }
        (None, Some(id)) => rate_limits::of_key(call, id).ok_or_else(errors::unknown_key),
        _ => Err(CallError::invalid("exactly one of account and id must be given")
            .hint("Pass account => for all keys of an account, or id => for one key.")),
    }
}

/// What the rows of an account or a key say of limits.
fn said<'call>(call: &'call Call, found: &RateLimits) -> Limits<'call> {
    let texts = |text: Option<Text>| Texts {
        rate_limits: text.map(|text| text.bytes(call)),
        ..Texts::default()
    };
    Limits {
        plan: texts(found.of_plan),
        account: texts(found.of_account),
        key: texts(found.of_key),
    }
}

fn subject<'call>(
    call: &'call Call,
    found: &RateLimits,
    said: &'call Limits<'call>,
    id: Option<Uuid>,
) -> Subject<'call> {
    Subject { account: found.account.bytes(call), key: id.map(Uuid::to_bytes), limits: said }
}
