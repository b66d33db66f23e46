//! The facts for the JSON of an answer: its body and its header fields, which
//! [`pure::answer::response`] words.

use pure::answer::response::{self, Context, HeaderFacts};
use pure::answer::status::Status;
use pure::characters::{self, MAX_SPELLED_BYTES};
use pure::encoding::widen;
use pure::limits::header_fields::limits_json;
use pure::request::id;
use serde_json::Value;

use crate::limits::decide::{Decision, Told};
use crate::pg::call::Call;
use crate::pg::server::{random, settings};
use crate::pg::types::encoding::ServerEncoding;
use crate::pg::types::json::jsonb;
use crate::pg::types::kept_json::KeptJson;
use crate::pg::types::{Json, Text};
use crate::store::leases;
use crate::store::lookup::{self, Plan};
use crate::verify::Answer;

/// Facts that a body states: plain data, for the rule of [`crate::pg::ffi::unguarded`].
#[derive(Clone, Copy, Default)]
pub struct BodyFacts<'call> {
    /// The name of the account's plan.
    pub current_plan: Option<Text>,
    /// The plans that include API access.
    pub required_plans: &'call [Plan<'call>],
    /// The number of tasks that the plan allows, None being no limit, and of those that are
    /// running.
    pub tasks: Option<(Option<i32>, i64)>,
}

/// Reads the facts that a body of this status states about an account. `plan` is the account's
/// plan, where the caller knows it.
pub fn facts<'call>(
    call: &'call Call,
    status: Status,
    account: Option<Text>,
    plan: Option<Text>,
) -> BodyFacts<'call> {
    match status {
        Status::PlanRequired => lookup::now(call, |tables| {
            let asked = account.filter(|_| plan.is_none());
            let found = asked.map(|account| tables.plan_of(account)).transpose()?.flatten();
            Ok(BodyFacts {
                current_plan: plan.or(found),
                required_plans: tables.plans_with_access()?,
                tasks: None,
            })
        }),
        Status::ConcurrencyLimitExceeded => {
            let allowed = account.and_then(|account| lookup::tasks_allowed(call, account));
            let running = account.map(leases::running);
            BodyFacts { tasks: allowed.zip(running), ..BodyFacts::default() }
        }
        _ => BodyFacts::default(),
    }
}

/// The name by which an account is stored: as it was passed, or else the same text in another
/// spelling.
pub fn stored_account(call: &Call, account: Text) -> Text {
    let [composed, decomposed] = other_spellings(call, account);
    let names = [Some(account), composed, decomposed];
    if names[1..].iter().all(Option::is_none) {
        return account;
    }
    lookup::now(call, |tables| {
        // Of the array itself, an iterator would have a destructor.
        for name in names.iter().copied().flatten() {
            if tables.plan_of(name)?.is_some() {
                return Ok(name);
            }
        }
        Ok(account)
    })
}

fn other_spellings(call: &Call, account: Text) -> [Option<Text>; 2] {
    let mut texts = [None; 2];
    let account = account.presented_unguarded(call, MAX_SPELLED_BYTES);
    if !account.cut {
        let spellings = characters::other_spellings(account.bytes, &ServerEncoding);
        for (text, spelling) in texts.iter_mut().zip(&spellings) {
            *text = Some(Text::new(call, spelling.as_bytes()));
        }
    }
    texts
}

/// What a service needs to answer its own caller.
pub struct Response {
    /// The request id: the caller's, or a new one.
    pub request_id: Text,
    /// The body; None where the key is valid.
    pub error: Option<Json>,
    /// The header fields, by name.
    pub headers: Json,
    /// What the limits have left that have decided; None where none has.
    pub limits: Option<Json>,
}

/// The response to an answer. Reads the tables before it composes.
pub fn for_answer(
    call: &Call,
    answer: &Answer,
    request_id: Option<Text>,
    header_facts: &HeaderFacts,
) -> Response {
    let account = answer.key.map(|key| key.account);
    let facts = facts(call, answer.status, account, answer.plan);
    let presented_id = presented_id(call, request_id);
    // From here on nothing is read unguarded.
    match answer.decision {
        Some(decision) => limited(call, answer, decision, header_facts, presented_id),
        None => {
            let (request_id, error) = compose(call, answer.status, &facts, presented_id, None);
            let headers = headers(call, answer.status, header_facts);
            Response { request_id, error, headers, limits: None }
        }
    }
}

/// The response to an answer that limits have decided.
fn limited(
    call: &Call,
    answer: &Answer,
    decision: &Decision,
    header_facts: &HeaderFacts,
    presented_id: Option<&[u8]>,
) -> Response {
    let told = decision.told();
    let states: Vec<_> = told.iter().map(Told::state).collect();
    let details = decision.details();
    let none = BodyFacts::default();
    let (request_id, error) = compose(call, answer.status, &none, presented_id, details);
    let fields = settings::rate_limit_headers();
    let facts = HeaderFacts { limits: &states, fields, ..*header_facts };
    let headers = headers(call, answer.status, &facts);
    // An address is not the account's: its limit is in the details alone.
    let known = answer.key.and_then(|_| limits_json(&states));
    Response { request_id, error, headers, limits: known.map(|limits| jsonb(&limits)) }
}

/// The first bytes of a request id, one more than may be echoed. Unguarded: see
/// [`crate::pg::ffi::unguarded`].
pub fn presented_id(call: &Call, request_id: Option<Text>) -> Option<&[u8]> {
    request_id.map(|id| id.presented_unguarded(call, 129).bytes)
}

/// The request id, which is the caller's or a new one, and the body. Reads nothing unguarded.
pub fn compose(
    call: &Call,
    status: Status,
    facts: &BodyFacts,
    presented_id: Option<&[u8]>,
    limit: Option<Value>,
) -> (Text, Option<Json>) {
    let new;
    let id = match presented_id.and_then(id::echoed_request_id) {
        Some(id) => id,
        None => {
            new = random::request_id();
            new.as_str()
        }
    };
    let body = match status {
        Status::Valid => None,
        _ if response::has_details(status) => {
            let context = Context {
                current_plan: facts.current_plan.map(|plan| widen(plan.bytes(call))),
                required_plans: plan_names(facts.required_plans),
                tasks: facts.tasks,
                limit,
            };
            Some(jsonb(&response::body(status, id, &context)))
        }
        _ => {
            let without_id = || response::body(status, "", &Context::default());
            Some(BODIES.ending_in(call, status as usize, id, without_id))
        }
    };
    (Text::new(call, id.as_bytes()), body)
}

/// The bodies without details, by status.
static BODIES: KeptJson<{ Status::COUNT }> = KeptJson::new();

/// The header fields of a status, by their names.
pub fn headers(call: &Call, status: Status, facts: &HeaderFacts) -> Json {
    /// Those that depend on the status alone.
    static HEADERS: KeptJson<{ Status::COUNT }> = KeptJson::new();
    let headers = || response::headers(status, facts);
    if response::headers_vary(status, facts) {
        return jsonb(&headers());
    }
    HEADERS.get(call, status as usize, headers)
}

/// The names of plans, as widened text.
pub fn plan_names(plans: &[Plan]) -> Vec<String> {
    plans.iter().map(|plan| widen(plan.plan)).collect()
}
