//! G11: what a service tells its caller of rate limits, and the limit of invalid keys.

use serde_json::{Value, json};

use crate::support::keys::{create, create_for, set_plan};
use crate::support::known::run;
use crate::support::{Client, Cluster, value};

/// An answer as JSON, without what differs from call to call.
fn answer(client: &mut Client, call: &str) -> Value {
    let sql = format!(
        "SELECT jsonb_build_object('status', a.status, 'http', a.http_status, 'headers', a.headers,
                                   'limits', a.limits, 'error', a.error -> 'error')::text
           FROM {call} AS a"
    );
    serde_json::from_str(&value(client, &sql, &[])).expect("JSON")
}

#[test]
fn a_refusal_says_when_the_call_passes() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    set_plan(&mut client, "acme", "Pro");
    let key = create_for(&mut client, "key", "acme");
    let call = format!("vpk_authenticate('Bearer {}', request_id => 'r')", key.token);
    assert_eq!(answer(&mut client, &call)["limits"], Value::Null, "nothing is limited");
    // One call comes back in an hour.
    run(
        &mut client,
        "UPDATE vpk.plans SET rate_limits = 'hourly=3/3h, daily=9/1d+2' WHERE plan = 'Pro'",
    );
    let passed = answer(&mut client, &call);
    assert_eq!(
        passed,
        json!({
            "status": "VALID", "http": 200, "headers": {}, "error": null,
            "limits": [
                {"policy": "hourly", "limit": 3, "remaining": 2, "reset": 3600},
                {"policy": "daily", "limit": 9, "remaining": 1, "reset": 9600},
            ],
        })
    );
    assert_eq!(answer(&mut client, &call)["status"], "VALID");
    let refused = answer(&mut client, &call);
    let seconds = refused["headers"]["Retry-After"].as_str().expect("a wait").to_owned();
    let wait: i64 = seconds.parse().expect("whole seconds");
    // It was another instant when the bucket was full.
    assert!((9_000..=9_600).contains(&wait), "{refused}");
    assert_eq!(
        refused,
        json!({
            "status": "RATE_LIMITED", "http": 429,
            "headers": {
                "Retry-After": seconds,
                "RateLimit": format!("\"daily\";r=0;t={wait}"),
                "RateLimit-Policy": "\"hourly\";q=3;w=10800, \"daily\";q=9;w=86400",
            },
            "limits": [
                {"policy": "hourly", "limit": 3, "remaining": 1, "reset": refused["limits"][0]["reset"]},
                {"policy": "daily", "limit": 9, "remaining": 0, "reset": refused["limits"][1]["reset"]},
            ],
            "error": {
                "code": "RATE_LIMITED", "message": "Too many requests", "request_id": "r",
                "details": {"policy": "daily", "limit": 9, "period": 86400, "retry_after": wait},
            },
        })
    );
    // What never passes has no time to wait.
    let never = call.replace("request_id", "cost => 3, request_id");
    let never = answer(&mut client, &never);
    assert_eq!(never["headers"].get("Retry-After"), None, "{never}");
    let details = json!({"policy": "daily", "limit": 9, "period": 86400, "cost": 3, "burst": 2});
    assert_eq!(never["error"]["details"], details);
    // A refusal for another reason says nothing of limits, and neither does one in general.
    let scope = call.replace("request_id", "scope => 'none', request_id");
    assert_eq!(answer(&mut client, &scope)["limits"], Value::Null);
    let general = "SELECT vpk_error('RATE_LIMITED', 'r')::text";
    let general: Value = serde_json::from_str(&value(&mut client, general, &[])).expect("JSON");
    assert_eq!(general["error"].get("details"), None);
}

/// The header fields of a refusal, in order.
fn refused<'name>(others: &[&'name str]) -> Vec<&'name str> {
    let mut all = [&["Retry-After"], others].concat();
    all.sort_unstable();
    all
}

#[test]
fn the_header_fields_are_as_the_setting_says() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let key = create(&mut client, "key");
    run(&mut client, "UPDATE vpk.plans SET rate_limits = 'hourly=2/2h' WHERE plan = 'Pro'");
    let call = format!("vpk_authenticate('Bearer {}')", key.token);
    let start = format!("vpk_task_start('{}')", key.token);
    let fields = |client: &mut Client, setting: &str| -> [Vec<String>; 4] {
        run(client, &format!("SET vibepeak_keys.rate_limit_headers = {setting}"));
        run(client, "SELECT vpk_reset_rate_limit('default'); DELETE FROM vpk.task_leases");
        [&call, &start, &call, &start].map(|call| {
            let sql = format!(
                "SELECT coalesce(string_agg(h.key, ' ' ORDER BY h.key COLLATE \"C\"), '')
                   FROM {call} AS a, jsonb_each(a.headers) AS h"
            );
            value(client, &sql, &[]).split_whitespace().map(str::to_owned).collect()
        })
    };
    let draft = ["RateLimit", "RateLimit-Policy"];
    let legacy = ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"];
    for (setting, passed, refused) in [
        ("denied", &[][..], refused(&draft)),
        ("always", &draft[..], refused(&draft)),
        ("legacy", &legacy[..], refused(&legacy)),
        ("off", &[][..], refused(&[])),
    ] {
        let found = fields(&mut client, setting);
        assert_eq!(found[0], passed, "{setting}");
        assert_eq!(found[1], passed, "{setting}");
        assert_eq!(found[2], refused, "{setting}");
        assert_eq!(found[3], refused, "{setting}");
    }
}

/// The client's addresses of a network of IPv6 count as one, an address of IPv4 alone. A key that
/// exists is never refused by it.
#[test]
fn too_many_invalid_keys_from_an_address_are_refused() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let key = create(&mut client, "key");
    let unknown = "vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ4Vi3OY";
    let mut ask = |address: &str, header: &str| {
        let sql = "SELECT concat_ws(' ', status, error #>> '{error,details,limit}')
                     FROM vpk_authenticate($1, client_ip => $2::text::inet)";
        value(&mut client, sql, &[&header, &address])
    };
    let (unknown, valid) = (format!("Bearer {unknown}"), format!("Bearer {}", key.token));
    for _ in 0..10 {
        assert_eq!(ask("192.0.2.1", "Bearer malformed"), "INVALID_API_KEY", "it is off");
    }
    let mut admin = cluster.client();
    run(&mut admin, "ALTER SYSTEM SET vibepeak_keys.invalid_key_limit = 2");
    run(&mut admin, "SELECT pg_reload_conf()");
    crate::support::wait_until("it is on", || {
        ask("198.51.100.1", "Bearer malformed") == "RATE_LIMITED 2"
    });
    assert_eq!(ask("192.0.2.1", "Bearer malformed"), "INVALID_API_KEY");
    assert_eq!(ask("::ffff:192.0.2.1", &unknown), "INVALID_API_KEY");
    for header in ["Bearer malformed", &unknown] {
        assert_eq!(ask("192.0.2.1", header), "RATE_LIMITED 2");
    }
    assert_eq!(ask("192.0.2.1", &valid), "VALID");
    assert_eq!(ask("192.0.2.1", "Basic abc"), "MISSING_API_KEY");
    run(&mut admin, "UPDATE vpk.keys SET revoked_at = now()");
    assert_eq!(ask("192.0.2.1", &valid), "API_KEY_REVOKED");
    assert_eq!(ask("192.0.2.2", &unknown), "INVALID_API_KEY");
    for (address, expected) in [
        ("2001:db8::1", "INVALID_API_KEY"),
        ("2001:db8::2", "INVALID_API_KEY"),
        ("2001:db8:0:0:ffff::3", "RATE_LIMITED 2"),
        ("2001:db8:0:1::1", "INVALID_API_KEY"),
    ] {
        assert_eq!(ask(address, &unknown), expected, "{address}");
    }
    for sql in [
        "SELECT vpk_verify_hash(sha256('x'), '192.0.2.1')::text",
        "SELECT status::text FROM vpk_task_start('malformed', client_ip => '192.0.2.1')",
    ] {
        assert_eq!(value(&mut admin, sql, &[]), "RATE_LIMITED");
    }
    // Nobody knows the address.
    let sql = "SELECT vpk_verify('malformed')::text";
    assert_eq!(value(&mut admin, sql, &[]), "INVALID_API_KEY");
}
