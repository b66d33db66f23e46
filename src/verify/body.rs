//! The JSON body of an answer, with what the tables know of it.

use pure::answer::response::{self, Context};
use pure::answer::status::Status;
use pure::encoding::widen;
use pure::request::id;

use crate::pg::call::Call;
use crate::pg::server::random;
use crate::pg::types::json::jsonb;
use crate::pg::types::{Json, Text};
use crate::store::lookup::{self, Plan};
use crate::verify::Answer;

/// What the tables know of an answer: plain data, for the rule of [`crate::pg::ffi::unguarded`].
#[derive(Clone, Copy, Default)]
pub struct BodyFacts<'call> {
    /// The name of the account's plan.
    pub current_plan: Option<Text>,
    /// The plans that include API access.
    pub required_plans: &'call [Plan<'call>],
    /// Tasks that the plan allows and that are running.
    pub tasks: Option<(Option<i32>, i64)>,
}

/// Reads what a body of this status says of an account. The plan may be known already.
pub fn known<'call>(
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
            let allowed = lookup::now(call, |tables| {
                let plan = account.map(|account| tables.plan_of(account)).transpose()?.flatten();
                let plan = plan.map(|plan| tables.plan(plan)).transpose()?.flatten();
                Ok(plan.map(|plan| plan.concurrent_tasks))
            });
            let running = account.map(lookup::running_tasks);
            BodyFacts { tasks: allowed.zip(running), ..BodyFacts::default() }
        }
        _ => BodyFacts::default(),
    }
}

/// The request id and the body of an answer. Reads first, composes after.
pub fn for_answer(call: &Call, answer: &Answer, request_id: Option<Text>) -> (Text, Option<Json>) {
    let account = answer.key.map(|key| key.account);
    let known = known(call, answer.status, account, answer.plan);
    compose(call, answer.status, &known, request_id)
}

/// The request id, echoed or made, and the body.
pub fn compose(
    call: &Call,
    status: Status,
    known: &BodyFacts,
    request_id: Option<Text>,
) -> (Text, Option<Json>) {
    let echoed = request_id.map(|id| id.presented_unguarded(call, 129).bytes);
    let id = match echoed.and_then(id::echoed_request_id) {
        Some(id) => id.to_owned(),
        None => random::request_id(),
    };
    let context = Context {
        current_plan: known.current_plan.map(|plan| widen(plan.bytes(call))),
        required_plans: plan_names(known.required_plans),
        tasks: known.tasks,
    };
    let body = response::body(status, &id, &context);
    (Text::new(call, id.as_bytes()), body.as_ref().map(jsonb))
}

/// The names of plans, as widened text.
pub fn plan_names(plans: &[Plan]) -> Vec<String> {
    plans.iter().map(|plan| widen(plan.plan)).collect()
}
