//! G12: charges after a call, refunds, warnings, and what a refused call is told.

use serde_json::Value;

use super::{key_with, passing, set_quotas, shown, wait_for_used};
use crate::support::keys::{create_for, set_plan, verify};
use crate::support::usage::{
    FLUSH_EVERY_100MS, flush_every, start_flushing_hourly, use_key, wait_for_flushes, wait_for_uses,
};
use crate::support::{Client, Cluster, sqlstate, value, wait_until};

/// What `vpk_charge` returns.
fn charge(client: &mut Client, id: &str, arguments: &str) -> Option<i64> {
    let sql = format!("SELECT vpk_charge($1::text::uuid, {arguments})");
    client.query_one(&sql, &[&id]).expect("a charge").get(0)
}

/// A charge may use more than there is. A refund gives it back, and no more.
#[test]
fn charges_go_below_zero_and_refunds_do_not() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = key_with(&mut client, "calls=10/month, tokens=100/day");
    assert_eq!(passing(&mut client, &key, 1), 1);
    assert_eq!(charge(&mut client, &key.id, "7"), Some(2));
    assert_eq!(charge(&mut client, &key.id, "5"), Some(-3));
    assert_eq!(verify(&mut client, &key.token), "QUOTA_EXCEEDED");
    assert_eq!(charge(&mut client, &key.id, "-4"), Some(1));
    assert_eq!(passing(&mut client, &key, 2), 1);
    assert_eq!(charge(&mut client, &key.id, "-100"), Some(10));
    assert_eq!(charge(&mut client, &key.id, "-1"), Some(10));
    // Where another meter is used up, calls do not pass, and do not charge it.
    assert_eq!(charge(&mut client, &key.id, "100, meter => 'tokens'"), Some(0));
    assert_eq!(passing(&mut client, &key, 1), 0);
    assert_eq!(charge(&mut client, &key.id, "-1, 'tokens'"), Some(1));
    assert_eq!(passing(&mut client, &key, 3), 3);
    let used = "calls/month account 10+0 3 7, tokens/day account 100+0 99 1";
    assert_eq!(shown(&mut client, "'acme'"), used);
    // No quota has this meter.
    assert_eq!(charge(&mut client, &key.id, "1, meter => 'bytes'"), None);
    // A key's own quota and the account's: the least that remains.
    client
        .execute(
            "UPDATE vpk.keys SET quotas = 'tokens=50/month' WHERE id = $1::text::uuid",
            &[&key.id],
        )
        .expect("an update");
    set_quotas(&mut client, "tokens=200/day");
    assert_eq!(charge(&mut client, &key.id, "20, 'tokens'"), Some(30));
    let other = create_for(&mut client, "other", "acme");
    assert_eq!(charge(&mut client, &other.id, "20, 'tokens'"), Some(61));
}

/// A charge stays when the caller rolls back. One that names a request is made once.
#[test]
fn a_request_is_charged_once() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = key_with(&mut client, "calls=100/month, tokens=100/month");
    for _ in 0..3 {
        assert_eq!(charge(&mut client, &key.id, "10, idempotency_key => 'one'"), Some(90));
        // What one request took of several meters has one name.
        assert_eq!(charge(&mut client, &key.id, "3, 'tokens', 'one'"), Some(97));
    }
    client.batch_execute("BEGIN").expect("a transaction");
    assert_eq!(charge(&mut client, &key.id, "5"), Some(85));
    client.batch_execute("ROLLBACK").expect("its end");
    assert_eq!(charge(&mut client, &key.id, "0"), Some(85));
    let rows = "SELECT string_agg(concat_ws(' ', account, kind, meter, idempotency_key), ',' ORDER BY meter)
                  FROM vpk.charges WHERE kept_until > now() + interval '23 hours'";
    assert_eq!(value(&mut client, rows, &[]), "acme charge calls one,acme charge tokens one");
}

/// An idempotency key whose time is over is removed, and no other.
#[test]
fn old_requests_are_removed() {
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = cluster.client();
    let key = key_with(&mut client, "tokens=100/month");
    let sql = "INSERT INTO vpk.charges (account, kind, meter, idempotency_key, kept_until)
               SELECT 'acme', 'charge', 'tokens', 'old ' || i, now() - interval '1 second' * i
                 FROM generate_series(1, 2500) AS i";
    client.batch_execute(sql).expect("old requests");
    assert_eq!(charge(&mut client, &key.id, "5, 'tokens', 'kept'"), Some(95));
    let kept = "SELECT coalesce(string_agg(idempotency_key, ' '), '') FROM vpk.charges";
    assert_eq!(passing(&mut client, &key, 1), 1);
    wait_until("old requests are gone", || value(&mut client, kept, &[]) == "kept");
    assert_eq!(charge(&mut client, &key.id, "5, 'tokens', 'kept'"), Some(95));
}

/// Only a role that it was granted to may charge, and only an admin may refund.
#[test]
fn refunds_are_for_admins() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let key = key_with(&mut client, "calls=100/month");
    client
        .batch_execute(
            "CREATE ROLE service LOGIN; SELECT vpk_grant_verifier('service');
             CREATE ROLE office LOGIN; SELECT vpk_grant_admin('office')",
        )
        .expect("roles");
    let (charged, refunded) = (
        format!("SELECT vpk_charge('{}', 5)", key.id),
        format!("SELECT vpk_charge('{}', -2)", key.id),
    );
    for role in ["service", "office"] {
        let mut client = cluster.connect("postgres", role);
        assert_eq!(sqlstate("a charge", client.batch_execute(&charged)), "42501");
    }
    client
        .batch_execute(
            "GRANT EXECUTE ON FUNCTION vpk_charge(uuid, bigint, text, text) TO service, office",
        )
        .expect("a grant");
    let mut service = cluster.connect("postgres", "service");
    service.batch_execute(&charged).expect("a charge");
    assert_eq!(sqlstate("a refund", service.batch_execute(&refunded)), "42501");
    let mut office = cluster.connect("postgres", "office");
    office.batch_execute(&refunded).expect("a refund");
    assert_eq!(shown(&mut office, "'acme'"), "calls/month account 100+0 3 97");
    let stray = "SELECT ok::text FROM vpk_doctor() WHERE item = 'privileges'";
    assert_eq!(value(&mut client, stray, &[]), "true");
    for (arguments, code) in [
        ("NULL, 1", "22023"),
        ("gen_random_uuid(), 1", "22023"),
        (&format!("'{}', NULL", key.id), "22023"),
        (&format!("'{}', 1, 'a b'", key.id), "22023"),
        (&format!("'{}', 1000000000000001", key.id), "22023"),
    ] {
        let sql = format!("SELECT vpk_charge({arguments})");
        assert_eq!(sqlstate(&sql, client.batch_execute(&sql)), code, "{arguments}");
    }
    for arguments in
        ["'acme', 0", "'acme', NULL", "'none', 1", "'acme', 1, 'bytes'", "'acme', 1, period => 'x'"]
    {
        let sql = format!("SELECT vpk_grant_quota({arguments})");
        assert_eq!(sqlstate(&sql, client.batch_execute(&sql)), "22023", "{arguments}");
    }
    set_quotas(&mut client, "calls=1/month, calls=1/day");
    let twice = "SELECT vpk_grant_quota('acme', 1)";
    assert_eq!(sqlstate(twice, client.batch_execute(twice)), "22023");
    client.batch_execute("SELECT vpk_grant_quota('acme', 1, period => 'day')").expect("a grant");
}

/// A refused call is told when the quota is renewed. So is one whose cost is more than is left.
#[test]
fn a_refused_call_is_told_when_to_come_back() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = key_with(&mut client, "calls=5/month");
    let authenticate = |client: &mut Client, cost: i32| -> Value {
        let sql =
            "SELECT to_jsonb(a)::text FROM vpk_authenticate('Bearer ' || $1, cost => $2) AS a";
        serde_json::from_str(&value(client, sql, &[&key.token, &cost])).expect("JSON")
    };
    let answer = authenticate(&mut client, 3);
    assert_eq!(answer["status"], "VALID");
    assert_eq!(answer["limits"][0]["policy"], "month");
    assert_eq!(
        (&answer["limits"][0]["limit"], &answer["limits"][0]["remaining"]),
        (&5.into(), &2.into())
    );
    for cost in [3, 5] {
        let answer = authenticate(&mut client, cost);
        assert_eq!(
            (&answer["status"], &answer["http_status"]),
            (&"QUOTA_EXCEEDED".into(), &429.into())
        );
        let left = "SELECT ceil(extract(epoch FROM resets_at - clock_timestamp()))::text
                      FROM vpk_quota('acme')";
        let left: i64 = value(&mut client, left, &[]).parse().expect("seconds");
        let told = answer["headers"]["Retry-After"].as_str().expect("seconds");
        let told: i64 = told.parse().expect("seconds");
        assert!((left..left + 30).contains(&told), "{told} and {left}");
        let field = answer["headers"]["RateLimit"].as_str().expect("a field");
        assert_eq!(field, format!("\"month\";r=2;t={told}"));
        assert_eq!(answer["headers"]["RateLimit-Policy"], "\"month\";q=5");
        let details = &answer["error"]["error"]["details"];
        assert_eq!((&details["meter"], &details["amount"]), (&"calls".into(), &5.into()));
        assert_eq!(details["used"], 3);
        let resets_at =
            "SELECT to_char(resets_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
                           FROM vpk_quota('acme')";
        assert_eq!(details["resets_at"], value(&mut client, resets_at, &[]));
    }
    // More than the next period has, and a quota that is never renewed.
    let answer = authenticate(&mut client, 6);
    assert_eq!(
        (&answer["status"], &answer["headers"]["Retry-After"]),
        (&"QUOTA_EXCEEDED".into(), &Value::Null)
    );
    assert_eq!(shown(&mut client, "'acme'"), "calls/month account 5+0 3 2");
    assert_eq!(authenticate(&mut client, 0)["status"], "VALID");
    assert_eq!(authenticate(&mut client, 2)["status"], "VALID");
    assert_eq!(authenticate(&mut client, 0)["status"], "QUOTA_EXCEEDED");
    set_quotas(&mut client, "calls=0/total");
    let answer = authenticate(&mut client, 1);
    assert_eq!(
        (&answer["headers"]["Retry-After"], &answer["error"]["error"]["details"]["resets_at"]),
        (&Value::Null, &Value::Null)
    );
}

/// The event of a warning is recorded once for each period and account.
#[test]
fn a_quota_warns_once() {
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = cluster.client();
    let key = key_with(&mut client, "calls=10/month warn 50%");
    let warnings = "SELECT concat_ws(' ', count(*), max(account), max(details ->> 'used'))
                      FROM vpk.events WHERE event = 'quota_warning'";
    assert_eq!(passing(&mut client, &key, 4), 4);
    wait_for_used(&mut client, 4);
    assert_eq!(value(&mut client, warnings, &[]), "0");
    assert_eq!(passing(&mut client, &key, 1), 1);
    wait_until("there is a warning", || value(&mut client, warnings, &[]) == "1 acme 5");
    assert_eq!(passing(&mut client, &key, 9), 5);
    wait_for_used(&mut client, 10);
    charge(&mut client, &key.id, "-9");
    wait_until("it is refunded", || super::in_table(&mut client) == 1);
    assert_eq!(passing(&mut client, &key, 9), 9);
    wait_for_used(&mut client, 10);
    assert_eq!(value(&mut client, warnings, &[]), "1 acme 5");
}

/// What is used goes with the account to another name, and is gone when it is deleted.
#[test]
fn what_is_used_goes_with_the_account() {
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = cluster.client();
    let key = key_with(&mut client, "calls=10/month");
    assert_eq!(passing(&mut client, &key, 4), 4);
    charge(&mut client, &key.id, "1, idempotency_key => 'one'");
    wait_for_used(&mut client, 5);
    client.batch_execute("SELECT vpk_rename_account('acme', 'corp')").expect("another name");
    assert_eq!(shown(&mut client, "'corp'"), "calls/month account 10+0 5 5");
    assert_eq!(passing(&mut client, &key, 6), 5);
    assert_eq!(charge(&mut client, &key.id, "1, idempotency_key => 'one'"), Some(0));
    wait_until("all of it is there", || {
        let sql = "SELECT coalesce(sum(used), 0)::text FROM vpk.quota_usage WHERE subject = 'corp'";
        value(&mut client, sql, &[]) == "10"
    });
    client.batch_execute("SELECT vpk_delete_account('corp')").expect("no account");
    let left = "SELECT (SELECT count(*) FROM vpk.quota_usage) + (SELECT count(*) FROM vpk.charges)";
    assert_eq!(value(&mut client, &format!("SELECT ({left})::text"), &[]), "0");
    client.batch_execute("SELECT vpk_set_plan('corp', 'Plus')").expect("a new account");
    let key = create_for(&mut client, "new", "corp");
    assert_eq!(passing(&mut client, &key, 11), 10, "a new account has used nothing");
}

/// A flush in the middle of a renaming adds no row for the name that is being given up.
#[test]
fn what_is_flushed_during_a_renaming_goes_with_the_account() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = key_with(&mut client, "calls=100/month");
    set_plan(&mut client, "other", "Pro");
    let other = create_for(&mut client, "other", "other");
    let mut renaming = cluster.client();
    assert_eq!(passing(&mut client, &key, 10), 10);
    renaming.batch_execute("BEGIN; SELECT vpk_rename_account('acme', 'corp')").expect("a renaming");
    use_key(&mut client, &other, 1);
    flush_every(&mut client, "100ms");
    wait_for_uses(&mut client, &other, 1);
    wait_for_flushes(&mut client, 2);
    renaming.batch_execute("COMMIT").expect("another name");
    let rows = "SELECT coalesce(string_agg(subject || ' ' || used, ','), '') FROM vpk.quota_usage";
    wait_until("all is flushed", || value(&mut client, rows, &[]) == "corp 10");
    assert_eq!(shown(&mut client, "'corp'"), "calls/month account 100+0 10 90");
}

/// Who locks the table of what is used delays charges, and no use.
#[test]
fn a_locked_table_of_quotas_delays_no_use() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = key_with(&mut client, "calls=100/month");
    assert_eq!(passing(&mut client, &key, 10), 10);
    let mut locking = cluster.client();
    locking.batch_execute("BEGIN; LOCK TABLE vpk.quota_usage IN SHARE MODE").expect("a lock");
    flush_every(&mut client, "100ms");
    wait_for_uses(&mut client, &key, 10);
    locking.batch_execute("ROLLBACK").expect("no lock");
    wait_for_used(&mut client, 10);
}
