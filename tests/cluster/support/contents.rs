//! A database in which everything has been touched, and all that can be asked of it.

use super::keys::{Key, checksum, create, create_for, set_plan};
use super::usage::{flush_every, use_key, wait_for_end_of_flush, wait_until_flushed};
use super::{Client, report, value};

const TABLES: [&str; 9] = [
    "plans",
    "accounts",
    "keys",
    "key_usage",
    "usage_history",
    "charge_history",
    "task_leases",
    "events",
    "removed_defaults",
];

/// All answers to a request with the key $1: as every service asks, and as one that passes scope
/// and address. Nothing in them differs from one time to the next: what is left of limits would.
const ANSWERS: &str = "
    SELECT concat_ws(E'\\n', vpk_verify($1), vpk_verify_hash(sha256($1::text::bytea)), to_jsonb(a) - 'limits', to_jsonb(b) - 'limits')
      FROM vpk_authenticate('Bearer ' || $1, request_id => 'r') AS a,
           vpk_authenticate('Bearer ' || $1, 'tasks:read', '192.0.2.7', 'r') AS b";

/// The answers to each of the keys that `touched` makes, as far as `vpk_verify` gives them.
const EXPECTED: [&str; 15] = [
    "VALID",
    "VALID",
    "VALID",
    "API_KEY_REVOKED",
    "API_KEY_DISABLED",
    "PLAN_REQUIRED",
    "API_KEY_EXPIRED",
    "IP_NOT_ALLOWED",
    "VALID",
    "VALID",
    "VALID",
    "API_KEY_REVOKED",
    "VALID",
    "INVALID_API_KEY",
    "INVALID_API_KEY",
];

/// Plans edited, added, renamed and removed, the account `default` moved, keys in every state,
/// uses, leases. Uses stay pending afterwards, so that tables change only when a test changes them.
pub fn touched(client: &mut Client) -> Vec<Key> {
    let edits = "UPDATE vpk.plans SET concurrent_tasks = 5 WHERE plan = 'Plus';
                 INSERT INTO vpk.plans (plan, api_access) VALUES ('Team', true);
                 INSERT INTO vpk.plans (plan, api_access, concurrent_tasks) VALUES ('Solo', true, 1);
                 DELETE FROM vpk.plans WHERE plan = 'Starter';
                 UPDATE vpk.plans SET plan = 'Gratis' WHERE plan = 'Free'";
    client.batch_execute(edits).expect("edited plans");
    set_plan(client, "default", "Plus");
    client.batch_execute("DELETE FROM vpk.plans WHERE plan = 'Pro'").expect("a removed plan");
    for (account, plan) in
        [("acme", "Team"), ("poor", "Gratis"), ("alone", "Solo"), ("gone", "Team")]
    {
        set_plan(client, account, plan);
    }
    let mut keys = vec![create(client, "default's"), create_for(client, "at its limit", "alone")];
    for name in ["used", "revoked", "disabled"] {
        keys.push(create_for(client, name, "acme"));
    }
    keys.push(create_for(client, "without access", "poor"));
    keys.push(create_for(client, "expired", "acme"));
    let detailed = "SELECT id::text, token FROM vpk_create('détaillé', 'acme', 'test', now() + '1 year',
                        '{tasks:read,tasks:write}', '{192.0.2.0/24,2001:db8::/32}', '{\"a\": [1, null]}')";
    let row = client.query_one(detailed, &[]).expect("a key with everything");
    keys.push(Key { id: row.get(0), token: row.get(1) });
    keys.push(create_for(client, "of another scope", "acme"));
    for (name, grace) in [("graced", "1 hour"), ("replaced", "0")] {
        let old = create_for(client, name, "acme");
        let sql = "SELECT id::text, token FROM vpk_rotate($1::text::uuid, $2::text::interval)";
        let row = client.query_one(sql, &[&old.id, &grace]).expect("a successor");
        keys.extend([old, Key { id: row.get(0), token: row.get(1) }]);
    }
    keys.push(create_for(client, "deleted", "gone"));
    let body = "vpk_live_nobodyHasThisKey0000000000";
    let token = format!("{body}{}", String::from_utf8_lossy(&checksum(body.as_bytes())));
    keys.push(Key { id: String::new(), token });
    let id = |name: &str| format!("(SELECT id FROM vpk.keys WHERE name = '{name}')");
    for sql in [
        &format!("SELECT vpk_revoke({}, 'leaked, they said')", id("revoked")),
        &format!("SELECT vpk_disable({})", id("disabled")),
        &format!("SELECT vpk_update({}, scopes => '{{tasks:write}}')", id("of another scope")),
        "UPDATE vpk.keys SET expires_at = now() - interval '1 day' WHERE name = 'expired'",
        "SELECT vpk_delete_account('gone')",
    ] {
        client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {}", report(&error)));
    }
    limited(client, &keys[2]);
    use_key(client, &keys[2], 7);
    let of_yesterday = "SELECT vpk_add_uses($1::text::uuid, now() - interval '1 day', 3),
                               vpk_add_uses($1::text::uuid, now(), 3)";
    client.execute(of_yesterday, &[&keys[2].id]).expect("uses of another server");
    for key in [&keys[1], &keys[2]] {
        let started = value(client, "SELECT status::text FROM vpk_task_start($1)", &[&key.token]);
        assert_eq!(started, "VALID");
    }
    flush_every(client, "100ms");
    wait_until_flushed(client);
    flush_every(client, "1h");
    wait_for_end_of_flush(client);
    keys
}

/// Sets a rate limit and a quota that nobody reaches for a plan, an account and a key each.
fn limited(client: &mut Client, key: &Key) {
    for of in ["plan => 'Team'", "account => 'alone'", &format!("id => '{}'", key.id)] {
        let sql = format!(
            "SELECT vpk_set_rate_limit('day', 1000000, '1 day', {of});
             SELECT vpk_set_quota(1000000, 'total', {of}, time_zone => 'Asia/Kathmandu')"
        );
        client.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {}", report(&error)));
    }
    // As vpk_grant_quota writes it, and over a plan of a fresh database.
    let sql = "UPDATE vpk.accounts SET quota_grants = 'calls/total@0=1' WHERE account = 'alone';
               UPDATE vpk.plans SET quotas = 'calls=1000000/total' WHERE plan = 'Plus'";
    client.batch_execute(sql).expect("written columns");
}

/// All rows of all tables, what is listed, and what every key answers. It changes nothing, where
/// uses stay pending.
pub fn contents(client: &mut Client, keys: &[Key]) -> Vec<String> {
    let rows = TABLES.map(|table| {
        let sql =
            format!("SELECT string_agg(t::text, E'\\n' ORDER BY t::text) FROM vpk.{table} AS t");
        format!("{table}: {}", value(client, &sql, &[]))
    });
    // A list adds the uses that the server's memory has, which are those of asking too.
    let listed = "SELECT string_agg((to_jsonb(l) - 'last_used_at' - 'uses')::text, E'\\n')
                    FROM vpk_list() AS l";
    let listed = value(client, listed, &[]);
    let answers: Vec<String> = keys.iter().map(|key| answers(client, key)).collect();
    rows.into_iter().chain([listed]).chain(answers).collect()
}

fn answers(client: &mut Client, key: &Key) -> String {
    let asked = value(client, ANSWERS, &[&key.token]);
    let mut transaction = client.transaction().expect("a transaction");
    let sql = "SELECT to_jsonb(s) - 'lease' - 'expires_at' - 'error' || jsonb_build_object('code', error #> '{error,code}')
                 FROM vpk_task_start($1) AS s";
    let started = value(&mut transaction, &format!("SELECT ({sql})::text"), &[&key.token]);
    transaction.rollback().expect("nothing was started");
    format!("{asked}\n{started}")
}

/// That what was touched is worth being compared: every kind of answer is there.
pub fn assert_telling(contents: &[String]) {
    let answers = &contents[TABLES.len() + 1..];
    let told: Vec<&str> = answers.iter().filter_map(|answer| answer.lines().next()).collect();
    assert_eq!(told, EXPECTED);
    let all = answers.concat();
    for status in ["INSUFFICIENT_SCOPE", "CONCURRENCY_LIMIT_EXCEEDED", "\"plan\": \"Team\""] {
        assert!(all.contains(status), "no {status} in {all}");
    }
    for table in &contents[..TABLES.len()] {
        assert!(!table.ends_with(": "), "{table} is empty");
    }
}
