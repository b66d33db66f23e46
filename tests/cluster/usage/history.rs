//! G4: usage over time. Its sum is the number of uses, whatever delays, moves or repeats a flush;
//! refusals of keys are beside it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::keys::{Key, create, create_for, revoke, set_plan, verify};
use crate::support::known::run;
use crate::support::usage::{
    Done, FLUSH_EVERY_100MS, flush_every, start_flushing_hourly, use_key, uses, wait_for_pending,
    wait_for_uses,
};
use crate::support::{Client, Cluster, GenericClient, pid, sqlstate, value, wait_until};

/// Uses of a key in the table, and the sum of its usage over time, as one query sees them.
fn both(client: &mut impl GenericClient, key: &Key) -> (i64, i64) {
    let sql = "SELECT (SELECT coalesce(sum(u.uses), 0) FROM vpk.key_usage AS u
                        WHERE u.key_id = $1::text::uuid)::bigint,
                      (SELECT coalesce(sum(h.uses), 0)
                         FROM vpk_usage(id => $1::text::uuid) AS h)::bigint";
    let row = client.query_one(sql, &[&key.id]).expect("the uses");
    (row.get(0), row.get(1))
}

/// Checks that the table has so many uses of a key, and that their sum over time is the same.
fn assert_sum(client: &mut impl GenericClient, key: &Key, number: i64) {
    assert_eq!(both(client, key), (number, number));
}

/// The uses of a key by hour, as hours before the current one, without empty ones.
fn by_hour(client: &mut impl GenericClient, key: &Key) -> Vec<(i32, i64)> {
    let sql = "SELECT (extract(epoch FROM date_trunc('hour', now()) - h.starts_at) / 3600)::int,
                      h.uses
                 FROM vpk_usage(id => $1::text::uuid) AS h WHERE h.uses > 0 ORDER BY 1";
    let rows = client.query(sql, &[&key.id]).expect("usage over time");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// The refusals of an account, or of all keys, in one bucket.
fn denied(client: &mut impl GenericClient, of: &str) -> String {
    let sql = format!(
        "SELECT coalesce(jsonb_object_agg(d.status, d.number), '{{}}')::text
           FROM (SELECT e.key, sum(e.value::bigint) FROM vpk_usage({of}) AS h,
                        jsonb_each_text(h.denied) AS e GROUP BY 1) AS d (status, number)"
    );
    value(client, &sql, &[])
}

fn wait_for_denied(client: &mut impl GenericClient, of: &str, expected: &str) {
    let mut found = String::new();
    wait_until(&format!("the refusals are {expected}"), || {
        found = denied(client, of);
        found == expected
    });
}

/// Puts the last use of every key an hour back, as if an hour had passed. Only within the history,
/// however often it is run before the next use.
const AN_HOUR_PASSES: &str =
    "UPDATE vpk.key_usage SET last_used_at = last_used_at - interval '1 hour'
                               WHERE last_used_at > now() - interval '30 days'";

/// G4: at each instant of flushes, while hours pass and others add uses, the sum of a key's usage
/// is the number of its uses.
#[test]
fn the_sum_over_time_is_the_number_of_uses_at_each_instant() {
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = cluster.client();
    let keys = ["first", "second"].map(|name| create(&mut client, name));
    let done = AtomicBool::new(false);
    let added: i64 = thread::scope(|scope| {
        let end = Done(&done);
        let hours = scope.spawn(|| {
            let mut client = cluster.client();
            while !done.load(Ordering::Relaxed) {
                run(&mut client, AN_HOUR_PASSES);
            }
        });
        let adding = scope.spawn(|| {
            let (mut client, mut added) = (cluster.client(), 0);
            while !done.load(Ordering::Relaxed) {
                for hours in [0, 1, 2, 30] {
                    let sql = format!(
                        "SELECT vpk_add_uses($1::text::uuid,
                                now() - interval '1 hour' * {hours}, 7)::text"
                    );
                    assert_eq!(value(&mut client, &sql, &[&keys[0].id]), "true");
                    added += 7;
                }
            }
            added
        });
        for _ in 0..300 {
            for key in &keys {
                use_key(&mut client, key, 2);
                let (in_table, over_time) = both(&mut client, key);
                assert_eq!(in_table, over_time);
            }
        }
        drop(end);
        hours.join().expect("hours that pass");
        adding.join().expect("uses that are added")
    });
    wait_for_pending(&mut client, 0);
    assert_sum(&mut client, &keys[0], 600 + added);
    assert_sum(&mut client, &keys[1], 600);
}

/// G4: uses that rest are flushed under their own hour. Here the hours of the slots cannot be
/// waited for; so the row's hour is another one.
#[test]
fn uses_of_another_hour_leave_the_row_for_the_history() {
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = cluster.client();
    let key = create(&mut client, "in use");
    for number in 1..=3 {
        use_key(&mut client, &key, 1);
        wait_for_uses(&mut client, &key, number);
    }
    let rows = "SELECT count(*)::text FROM vpk.usage_history";
    assert_eq!(value(&mut client, rows, &[]), "0", "no row for the hour of the last use");
    run(&mut client, AN_HOUR_PASSES);
    use_key(&mut client, &key, 1);
    wait_for_uses(&mut client, &key, 4);
    assert_eq!(value(&mut client, rows, &[]), "1");
    assert_sum(&mut client, &key, 4);
    let hours = by_hour(&mut client, &key);
    assert!(matches!(hours[..], [(0, 1), (1, 3)] | [(1, 1), (2, 3)]), "{hours:?}");
}

/// G4: a clean stop keeps uses and refusals that were pending; a crash forgets both together.
#[test]
fn a_stop_keeps_the_history_and_a_crash_forgets_what_was_pending() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let (key, ended) = (create(&mut client, "in use"), create(&mut client, "ended"));
    revoke(&mut client, &ended);
    use_key(&mut client, &key, 5);
    assert_eq!(verify(&mut client, &ended.token), "API_KEY_REVOKED");
    cluster.down();
    cluster.up();
    let mut client = cluster.client();
    wait_for_uses(&mut client, &key, 5);
    assert_sum(&mut client, &key, 5);
    wait_for_denied(&mut client, "", r#"{"API_KEY_REVOKED": 1}"#);
    flush_every(&mut client, "1h");
    crate::support::usage::wait_for_rest(&mut client);
    use_key(&mut client, &key, 2);
    assert_eq!(verify(&mut client, &ended.token), "API_KEY_REVOKED");
    let killed = pid(&mut client);
    cluster.crash(killed);
    let mut client = cluster.client();
    assert_sum(&mut client, &key, 5);
    assert_eq!(denied(&mut client, ""), r#"{"API_KEY_REVOKED": 1}"#);
}

/// G4 and G9: uses of another server count in the hour of their last use, in whatever order they
/// come.
#[test]
fn uses_of_another_server_count_in_the_hour_of_the_last_one() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = create(&mut client, "of a standby");
    let sql = "SELECT vpk_add_uses($1::text::uuid,
                      date_trunc('hour', now()) - interval '1 hour' * $2::int, $3)::text";
    for (hours, number) in [(3, 1_i64), (1, 2), (2, 4), (3, 8), (1, 16), (7 * 24, 32)] {
        assert_eq!(value(&mut client, sql, &[&key.id, &hours, &number]), "true");
    }
    assert_eq!(by_hour(&mut client, &key), [(1, 18), (2, 4), (3, 9), (7 * 24, 32)]);
    assert_sum(&mut client, &key, 63);
    let unknown = "00000000-0000-7000-8000-000000000000";
    assert_eq!(value(&mut client, sql, &[&unknown, &1, &1_i64]), "false");
    // A number that is too large stays at the largest, as that of the key does.
    for _ in 0..2 {
        assert_eq!(value(&mut client, sql, &[&key.id, &1, &i64::MAX]), "true");
    }
    assert_eq!(uses(&mut client, &key), i64::MAX);
    let most = "SELECT max(uses)::text FROM vpk_usage(bucket => '1 day')";
    assert_eq!(value(&mut client, most, &[]), i64::MAX.to_string());
}

/// G4: a promoted standby writes what it has counted, refusals too.
#[test]
fn a_promoted_standby_writes_its_uses_and_refusals() {
    let primary = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = primary.client();
    let (key, ended) = (create(&mut client, "in use"), create(&mut client, "ended"));
    revoke(&mut client, &ended);
    let standby = primary.standby();
    let mut reader = standby.client();
    crate::support::caught_up(&mut client, &mut reader);
    use_key(&mut reader, &key, 4);
    assert_eq!(verify(&mut reader, &ended.token), "API_KEY_REVOKED");
    assert_sum(&mut reader, &key, 0);
    drop((client, primary));
    standby.promote();
    wait_for_uses(&mut reader, &key, 4);
    assert_sum(&mut reader, &key, 4);
    wait_for_denied(&mut reader, "account => 'default'", r#"{"API_KEY_REVOKED": 1}"#);
}

/// G4: refusals of keys that exist are counted by status, and are no uses; what is no key of this
/// database is not counted.
#[test]
fn refusals_are_counted_by_status_and_are_no_uses() {
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = cluster.client();
    set_plan(&mut client, "acme", "Plus");
    let (key, ended) = (create_for(&mut client, "used", "acme"), create(&mut client, "ended"));
    revoke(&mut client, &ended);
    for _ in 0..3 {
        assert_eq!(verify(&mut client, &ended.token), "API_KEY_REVOKED");
    }
    let start = "SELECT status::text FROM vpk_task_start($1)";
    assert_eq!(value(&mut client, start, &[&key.token]), "VALID");
    assert_eq!(value(&mut client, start, &[&key.token]), "CONCURRENCY_LIMIT_EXCEEDED");
    run(&mut client, "SELECT vpk_set_quota(0, 'day', account => 'acme')");
    assert_eq!(value(&mut client, start, &[&key.token]), "QUOTA_EXCEEDED");
    run(&mut client, "SELECT vpk_set_quota(NULL, 'day', account => 'acme')");
    let scoped = "SELECT status::text FROM vpk_authenticate('Bearer ' || $1, 'tasks:write')";
    assert_eq!(value(&mut client, scoped, &[&key.token]), "INSUFFICIENT_SCOPE");
    assert_eq!(verify(&mut client, "vpk_live_of_nobody"), "INVALID_API_KEY");
    let of_acme =
        r#"{"QUOTA_EXCEEDED": 1, "INSUFFICIENT_SCOPE": 1, "CONCURRENCY_LIMIT_EXCEEDED": 1}"#;
    wait_for_denied(&mut client, "account => 'acme'", of_acme);
    wait_for_denied(&mut client, "account => 'default'", r#"{"API_KEY_REVOKED": 3}"#);
    wait_for_uses(&mut client, &key, 1);
    assert_sum(&mut client, &key, 1);
    assert_sum(&mut client, &ended, 0);

    // An account's usage has its new name, and that of a removed key is removed.
    run(&mut client, "SELECT vpk_rename_account('acme', 'acme inc.')");
    assert_eq!(denied(&mut client, "account => 'acme'"), "{}");
    assert_eq!(denied(&mut client, "account => 'acme inc.'"), of_acme);
    run(&mut client, "SELECT vpk_delete_account('acme inc.')");
    assert_eq!(denied(&mut client, ""), r#"{"API_KEY_REVOKED": 3}"#);
    run(&mut client, "SELECT vpk_purge(clock_timestamp())");
    let left = "SELECT count(*)::text FROM vpk.usage_history";
    assert_eq!(value(&mut client, left, &[]), "0");
}

/// Rows of keys that do not exist: 60 keys with one use in each hour of two days before the last
/// eight, in one of the last hours, and 100 days ago.
const OLD: &str = "
    INSERT INTO vpk.usage_history (starts_at, key_id, status, uses)
    SELECT date_trunc('day', now(), 'UTC') - make_interval(hours => h.before),
           ('00000000-0000-7000-8000-' || lpad(k::text, 12, '0'))::uuid, s.status, 1
      FROM generate_series(1, 60) AS k,
           (SELECT generate_series(9 * 24 + 1, 11 * 24) UNION ALL VALUES (24), (100 * 24 + 5))
               AS h (before),
           (VALUES ('VALID'), ('RATE_LIMITED')) AS s (status)";

/// The rows by their number of days before today, whether they begin with a day, and their sum.
fn kept(client: &mut Client) -> String {
    let sql = "SELECT coalesce(string_agg(concat_ws(' ', d.days, d.number, d.uses), ', ' ORDER BY d.days), '')
                 FROM (SELECT extract(day FROM date_trunc('day', now(), 'UTC') - date_trunc('day', h.starts_at, 'UTC')),
                              count(*), sum(h.uses)
                         FROM vpk.usage_history AS h GROUP BY 1) AS d (days, number, uses)";
    value(client, sql, &[])
}

/// Hours of before the last eight days become days, and what is older than the history goes. The
/// setting counts at the next flush; without a history, nothing is kept.
#[test]
fn hours_become_days_and_what_is_older_than_the_history_goes() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    run(&mut client, OLD);
    let key = create(&mut client, "in use");
    flush_every(&mut client, "100ms");
    use_key(&mut client, &key, 1);
    let mut found = String::new();
    let mut wait_for = |client: &mut Client, expected: &str| {
        wait_until(&format!("the history is {expected}"), || {
            use_key(client, &key, 1);
            found = kept(client);
            found == expected
        });
    };
    wait_for(&mut client, "1 120 120, 10 120 2880, 11 120 2880");
    let all = "SELECT concat_ws(' ', count(*) FILTER (WHERE h.uses > 1000), sum(h.uses) >= 2940,
                                sum((h.denied ->> 'RATE_LIMITED')::int))
                 FROM vpk_usage() AS h";
    assert_eq!(value(&mut client, all, &[]), "2 t 2940");
    let set = |client: &mut Client, value: &str| {
        run(client, &format!("ALTER SYSTEM SET vibepeak_keys.usage_history = '{value}'"));
        run(client, "SELECT pg_reload_conf()");
    };
    set(&mut client, "10d");
    wait_for(&mut client, "1 120 120, 10 120 2880");
    set(&mut client, "0");
    wait_for(&mut client, "");
    assert_eq!(value(&mut client, "SELECT count(*)::text FROM vpk_usage()", &[]), "0");
    run(&mut client, AN_HOUR_PASSES);
    let before = uses(&mut client, &key);
    wait_until("there was another flush", || {
        use_key(&mut client, &key, 1);
        uses(&mut client, &key) > before
    });
    assert_eq!(kept(&mut client), "");
}

/// Buckets without anything are there too, from the first that is asked for, or that has something.
#[test]
fn each_bucket_has_a_row_and_bad_ranges_are_refused() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    assert_eq!(value(&mut client, "SELECT count(*)::text FROM vpk_usage()", &[]), "0");
    let key = create(&mut client, "in use");
    let sql = "SELECT vpk_add_uses($1::text::uuid, now() - interval '1 hour' * $2::int, 2)::text";
    for hours in [1, 30] {
        assert_eq!(value(&mut client, sql, &[&key.id, &hours]), "true");
    }
    let counted = |client: &mut Client, arguments: &str| {
        let sql = format!(
            "SELECT concat_ws(' ', count(*), sum(h.uses),
                              bool_and(h.denied = '{{}}' AND h.charged = '{{}}'))
               FROM vpk_usage({arguments}) AS h"
        );
        value(client, &sql, &[])
    };
    let now = "date_trunc('hour', now())";
    assert_eq!(counted(&mut client, ""), "31 4 t");
    let since = format!("since => {now} - interval '36 hours'");
    for more in ["", ", account => 'default'", &format!(", id => '{}'", key.id)] {
        assert_eq!(counted(&mut client, &format!("{since}{more}")), "37 4 t");
    }
    assert_eq!(counted(&mut client, &format!("{since}, account => 'nobody'")), "37 0 t");
    assert_eq!(counted(&mut client, &format!("{since}, until => {now}")), "36 4 t");
    let until = format!("{since}, until => {now} - interval '1 hour'");
    assert_eq!(counted(&mut client, &until), "35 2 t");
    assert_eq!(counted(&mut client, "since => now() + interval '1 day'"), "0");
    let year = "since => '-infinity', until => 'infinity', bucket => '1 year'";
    assert!(["1 4 t", "2 4 t"].contains(&counted(&mut client, year).as_str()));
    for arguments in [
        "since => now(), until => now()",
        "bucket => '90 minutes'",
        "bucket => '0'",
        "bucket => '1 month 1 day'",
        "bucket => '-1 day'",
    ] {
        let sql = format!("SELECT FROM vpk_usage({arguments})");
        assert_eq!(sqlstate(arguments, client.batch_execute(&sql)), "22023");
    }
    // More keys than the history is looked into one by one.
    let many = "SELECT count(*) FROM generate_series(1, 400) AS i, LATERAL vpk_create('key ' || i)";
    run(&mut client, many);
    assert_eq!(counted(&mut client, "account => 'default'"), "31 4 t");
}
