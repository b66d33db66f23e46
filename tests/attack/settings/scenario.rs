//! The calls of an admin, one after the other, and what of their answers is the same each time.

use postgres::SimpleQueryMessage;

use crate::support::Client;

/// What the owner does before, so that the scenario begins with the same tables.
pub const BEGINNING: &str = "
    SELECT vpk_delete_account(account) FROM vpk.accounts WHERE account = 'scene';
    DELETE FROM vpk.plans WHERE plan IN ('First', 'Second');
    DELETE FROM vpk.events";

/// The calls. A column with a name in capitals is kept, and :NAME stands for its value later.
pub const CALLS: &[&str] = &[
    "SELECT public.vpk_set_plan('scene', 'Plus')",
    "SELECT token AS TOKEN, id AS ID, environment, expires_at IS NULL
       FROM public.vpk_create('made', 'scene', expires_at => now() + interval '10 days',
            scopes => '{a,b}', allowed_ips => '{10.0.0.0/8,2001:db8::/32}', metadata => '{\"a\": 1}')",
    "SELECT public.vpk_verify(':TOKEN')",
    "SELECT status, http_status, scopes::text, metadata::text, plan, error
       FROM public.vpk_authenticate('Bearer :TOKEN', 'a', '10.1.1.1')",
    "SELECT status, plan FROM public.vpk_authenticate('bearer  :TOKEN', 'b', '2001:db8::7')",
    "SELECT status, headers::text, error::text
       FROM public.vpk_authenticate('Bearer :TOKEN', 'zz', '10.1.1.1', 'req_1')",
    "SELECT status FROM public.vpk_authenticate('Bearer :TOKEN', 'a', '10.1.1.1', NULL, 'test')",
    "SELECT status FROM public.vpk_authenticate('Basic x')",
    "SELECT count(*), min(name), min(state) FROM public.vpk_list('scene')",
    "SELECT name, state FROM public.vpk_update(':ID', name => 'renamed', allowed_ips => '{}')",
    "SELECT public.vpk_verify(':TOKEN'), public.vpk_verify_hash(sha256(':TOKEN'))",
    "SELECT status, running, allowed, lease AS LEASE FROM public.vpk_task_start(':TOKEN', '1 min')",
    "SELECT status, running, allowed FROM public.vpk_task_start(':TOKEN')",
    "SELECT public.vpk_task_extend(':LEASE', '1 hour') IS NOT NULL",
    "SELECT public.vpk_task_finish(':LEASE'), public.vpk_task_finish(':LEASE')",
    "SELECT public.vpk_disable(':ID') IS NOT NULL",
    "SELECT public.vpk_verify(':TOKEN')",
    "SELECT public.vpk_enable(':ID')",
    "SELECT token AS NEXT, id AS NEXTID FROM public.vpk_rotate(':ID', '1 hour')",
    "SELECT public.vpk_verify(':TOKEN'), public.vpk_verify(':NEXT')",
    "SELECT public.vpk_revoke(':ID', 'over') IS NOT NULL",
    "SELECT public.vpk_verify(':TOKEN'), public.vpk_verify(':NEXT')",
    "SELECT public.vpk_revoke_token('x :NEXT y') = ':NEXTID'",
    "SELECT public.vpk_verify(':NEXT'), public.vpk_verify(NULL), public.vpk_verify(' ')",
    "SELECT count(*), bool_or(token IS NULL)
       FROM generate_series(1, 5) AS g, public.vpk_create('many ' || g, 'scene')",
    "SELECT public.vpk_revoke_account('scene')",
    "SELECT name, state, revoke_reason FROM public.vpk_list('scene') ORDER BY name, state",
    "INSERT INTO vpk.plans (plan, api_access) VALUES ('First', true)",
    "UPDATE vpk.plans SET plan = 'Second' WHERE plan = 'First'",
    "SELECT public.vpk_error('PLAN_REQUIRED', 'req_2', 'scene')::text",
    "DELETE FROM vpk.plans WHERE plan = 'Second'",
    "DELETE FROM vpk.plans WHERE plan = 'Plus'",
    "SELECT count(*) FROM vpk.status_codes",
    "SELECT count(*) FROM vpk.stats",
    "SELECT item, ok FROM public.vpk_doctor() WHERE item NOT IN ('usage_worker', 'log_redaction')",
    "SELECT public.vpk_grant_verifier('caller')",
    "SELECT public.vpk_create('late', expires_at => '-infinity')",
    "SELECT public.vpk_create('nobody''s', 'nobody')",
    "SELECT public.vpk_rotate(':ID')",
    "SELECT public.vpk_rotate(':NEXTID', '-1 day')",
    "SELECT public.vpk_set_plan('scene', 'none')",
    "SELECT public.vpk_add_uses(':ID', now(), 5)",
    "SELECT public.vpk_pending_uses()",
    "SELECT event, count(*), count(details) FROM vpk.events WHERE account = 'scene'
      GROUP BY event ORDER BY event",
    "SELECT public.vpk_purge(now() - interval '1 day')",
    "SELECT public.vpk_delete_account('scene')",
    "SELECT public.vpk_verify(':TOKEN')",
    "SELECT key_hash FROM vpk.keys",
];

/// One call: the call and its answer, in which names stand for what was kept under them.
pub fn call(caller: &mut Client, sql: &str, names: &mut Vec<(String, String)>) -> String {
    let mut statement = sql.to_owned();
    // The longer names first: one begins like another.
    names.sort_by_key(|(name, _)| core::cmp::Reverse(name.len()));
    for (name, value) in names.iter() {
        statement = statement.replace(&format!(":{name}"), value);
    }
    let mut answer = match caller.simple_query(&statement) {
        Ok(messages) => messages.iter().map(|message| said(message, sql, names)).collect(),
        Err(error) => refusal(&error),
    };
    for (name, value) in names.iter() {
        answer = answer.replace(value, name);
    }
    let beginning: String = sql.split_whitespace().take(4).collect::<Vec<_>>().join(" ");
    format!("{beginning}: {answer}")
}

/// The server's error, without its context: names in it depend on the search path.
fn refusal(error: &postgres::Error) -> String {
    error.as_db_error().map_or_else(
        || error.to_string(),
        |error| format!("{} {}", error.code().code(), error.message()),
    )
}

fn said(message: &SimpleQueryMessage, sql: &str, names: &mut Vec<(String, String)>) -> String {
    let SimpleQueryMessage::Row(row) = message else { return String::new() };
    let columns = row.columns().iter().enumerate().map(|(at, column)| {
        let value = row.get(at).unwrap_or("null");
        let name = column.name().to_uppercase();
        if sql.contains(&format!(" AS {name}")) {
            names.push((name.clone(), value.to_owned()));
            return name;
        }
        value.to_owned()
    });
    format!("{} / ", columns.collect::<Vec<_>>().join(" | "))
}
