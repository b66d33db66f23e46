//! G12: what is used reaches the table. Other transactions that hold rows, or remove keys, do not
//! prevent that.

use std::thread;

use super::{in_table, key_with, passing, set_quotas, shown, wait_for_used};
use crate::support::keys::{create_for, revoke, set_plan};
use crate::support::known::run;
use crate::support::usage::{
    FLUSH_EVERY_100MS, flush_every, start_flushing_hourly, stats, wait_for_rest, wait_for_uses,
};
use crate::support::{Cluster, pid, value, wait_for_lock, wait_until};

/// A flush finds the account by a key that has charged the quota. That key may be gone, or may have
/// been there only for a transaction that was rolled back.
#[test]
fn a_key_that_is_gone_takes_nothing_of_what_others_have_used() {
    for is_first in [false, true] {
        let cluster = start_flushing_hourly(&[]);
        let mut client = cluster.client();
        let key = key_with(&mut client, "calls=1000000/month");
        let calls_before = if is_first { 0 } else { 3 };
        assert_eq!(passing(&mut client, &key, calls_before), calls_before);
        run(&mut client, "BEGIN");
        let other = create_for(&mut client, "rolled back", "acme");
        assert_eq!(passing(&mut client, &other, 1), 1);
        run(&mut client, "ROLLBACK");
        assert_eq!(passing(&mut client, &key, 3 - calls_before), 3 - calls_before);
        flush_every(&mut client, "100ms");
        let mut calls = 4;
        if is_first {
            // A flush does not find the key that was first. The next charge brings another one.
            wait_until("a charge is in the table", || {
                calls += i64::try_from(passing(&mut client, &key, 1)).expect("a call");
                in_table(&mut client) > 0
            });
        }
        wait_for_used(&mut client, calls);
    }
}

/// A minute has to pass in which the key is missing, however long ago its charges began: after a
/// restart, nobody knows that.
#[test]
fn charges_wait_for_another_key_after_a_restart_too() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let first = key_with(&mut client, "calls=1000000/month");
    let key = create_for(&mut client, "another", "acme");
    assert_eq!((passing(&mut client, &first, 1), passing(&mut client, &key, 2)), (1, 2));
    revoke(&mut client, &first);
    assert_eq!(value(&mut client, "SELECT vpk_purge(clock_timestamp())::text", &[]), "1");
    cluster.down();
    cluster.up();
    let mut client = cluster.client();
    wait_for_rest(&mut client);
    flush_every(&mut client, "100ms");
    let mut calls = 3;
    wait_until("a charge is in the table", || {
        calls += i64::try_from(passing(&mut client, &key, 1)).expect("a call");
        in_table(&mut client) > 0
    });
    wait_for_used(&mut client, calls);
}

/// Uses that take all the time of a flush leave the next one to the charges.
#[test]
fn charges_have_their_turn_beside_slow_uses() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = key_with(&mut client, "calls=1000000/month");
    run(
        &mut client,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
             AS 'BEGIN PERFORM pg_sleep(0.8); RETURN NEW; END';
         CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON vpk.key_usage
             FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    flush_every(&mut client, "100ms");
    let mut calls = 0;
    wait_until("charges are in the table", || {
        calls += i64::try_from(passing(&mut client, &key, 1)).expect("a call");
        in_table(&mut client) > 0
    });
    run(&mut client, "DROP TRIGGER slow ON vpk.key_usage");
    wait_for_used(&mut client, calls);
}

/// Where uses cannot be written, charges are, and no flush counts as one that has succeeded.
#[test]
fn charges_are_written_where_uses_cannot_be() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = key_with(&mut client, "calls=1000000/month");
    run(
        &mut client,
        "CREATE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql
             AS $$ BEGIN RAISE 'refused'; END $$;
         CREATE TRIGGER refused BEFORE INSERT OR UPDATE ON vpk.key_usage
             FOR EACH ROW EXECUTE FUNCTION refused()",
    );
    let before = stats(&mut client)["last_flush_at"].clone();
    assert_eq!(passing(&mut client, &key, 3), 3);
    flush_every(&mut client, "100ms");
    wait_for_used(&mut client, 3);
    let mut failed = stats(&mut client)["last_error_at"].clone();
    for _ in 0..4 {
        wait_until("another flush has failed", || {
            let now = stats(&mut client)["last_error_at"].clone();
            now != std::mem::replace(&mut failed, now.clone())
        });
        assert_eq!(stats(&mut client)["last_flush_at"], before);
    }
    run(&mut client, "DROP TRIGGER refused ON vpk.key_usage");
    wait_for_uses(&mut client, &key, 3);
}

/// What a transaction has done to a quota decides on no call of others before it has committed,
/// also if it has asked what is used.
#[test]
fn a_quota_set_anew_counts_for_others_from_the_commit_on() {
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let (mut client, mut changing) = (cluster.client(), cluster.client());
    let key = key_with(&mut client, "tokens=100/month");
    run(&mut client, "SELECT vpk_set_quota(5, account => 'acme')");
    assert_eq!(passing(&mut client, &key, 6), 5);
    wait_for_used(&mut client, 5);
    for end in ["ROLLBACK", "COMMIT"] {
        run(
            &mut changing,
            "BEGIN;
             SELECT vpk_set_quota(NULL, account => 'acme');
             SELECT vpk_set_quota(5, account => 'acme');
             SAVEPOINT before;
             SELECT vpk_rename_account('acme', 'corp');
             ROLLBACK TO before",
        );
        // Their bases are read again now, by this transaction.
        shown(&mut changing, "'acme'");
        passing(&mut changing, &key, 1);
        assert_eq!(passing(&mut client, &key, 3), 0, "before {end}");
        run(&mut changing, end);
        let (left, used) = if end == "COMMIT" { (5, 5) } else { (0, 5) };
        assert_eq!(passing(&mut client, &key, 6), left, "after {end}");
        wait_for_used(&mut client, used);
    }
}

/// A flush of charges waits for no row: what others hold is left for later, and what is another
/// account's is written.
#[test]
fn a_flush_waits_for_no_row_of_a_quota() {
    let cluster = start_flushing_hourly(&[]);
    let (mut client, mut holding) = (cluster.client(), cluster.client());
    let key = key_with(&mut client, "calls=100/month, calls=50/hour");
    set_plan(&mut client, "other", "Plus");
    let other = create_for(&mut client, "other", "other");
    let used = "SELECT coalesce(string_agg(concat_ws(' ', subject, span, used), ', '
                                           ORDER BY subject, span), '')
                  FROM vpk.quota_usage WHERE period_start > '2020-01-01'";
    let wait_for = |client: &mut _, expected: &str| {
        wait_until(expected, || value(client, used, &[]) == expected);
    };
    for (hold, meanwhile) in [
        // The row of the month goes, and the one of the hour is new.
        ("DELETE FROM vpk.quota_usage WHERE span = 'month'", "other hour 1, other month 1"),
        // A row of an earlier period is held.
        (
            "SELECT FROM vpk.quota_usage WHERE period_start < '2020-01-01' FOR SHARE",
            "acme hour 1, acme month 1, other hour 1, other month 1",
        ),
    ] {
        set_quotas(&mut client, "calls=100/month, calls=50/hour");
        run(
            &mut client,
            "TRUNCATE vpk.quota_usage;
             INSERT INTO vpk.quota_usage (subject, kind, meter, span, period_start, used, updated_at)
             SELECT s, 'account', 'calls', 'hour', '2000-01-01', 7, '2000-01-01'
               FROM unnest('{acme,other}'::text[]) AS s;
             INSERT INTO vpk.quota_usage (subject, kind, meter, span, period_start, used)
             SELECT 'acme', 'account', 'calls', 'month', date_trunc('month', now(), 'UTC'), 0
              WHERE NOT $$HOLD$$ ~ 'FOR SHARE'"
                .replace("HOLD", hold)
                .as_str(),
        );
        run(&mut holding, &format!("BEGIN; {hold}"));
        assert_eq!(passing(&mut client, &key, 1), 1);
        assert_eq!(passing(&mut client, &other, 1), 1);
        flush_every(&mut client, "100ms");
        if hold.starts_with("DELETE") {
            wait_until("what is not held is written", || {
                let found = value(&mut client, used, &[]);
                found.ends_with(meanwhile)
            });
        } else {
            wait_for(&mut client, meanwhile);
        }
        run(&mut holding, "ROLLBACK");
        wait_for(&mut client, "acme hour 1, acme month 1, other hour 1, other month 1");
        flush_every(&mut client, "1h");
    }
}

/// Whoever adds charges locks the account first, as its deletion does: neither is the victim of a
/// deadlock.
#[test]
fn added_charges_and_a_deletion_do_not_lock_each_other_out() {
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = cluster.client();
    let keys = [key_with(&mut client, "calls=9/month"), create_for(&mut client, "two", "acme")];
    let add = |kind: &str, number: usize| {
        let id = &keys[number].id;
        format!(
            "SELECT vpk_add_charges('{id}', '{kind}', 'calls', 'month',
                                    date_trunc('month', now(), 'UTC'), 1, 1, 0, now())"
        )
    };
    run(&mut client, &add("account", 0));
    let (mut adding, mut deleting) = (cluster.client(), cluster.client());
    let deleter = pid(&mut deleting);
    run(&mut adding, &format!("BEGIN; {}", add("account", 0)));
    thread::scope(|scope| {
        let deleted = scope.spawn(|| run(&mut deleting, "SELECT vpk_delete_account('acme')"));
        wait_for_lock(&mut client, deleter);
        run(&mut adding, &format!("{}; COMMIT", add("key", 1)));
        deleted.join().expect("a deletion");
    });
    assert_eq!(in_table(&mut client), 0);
}
