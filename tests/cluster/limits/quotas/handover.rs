//! G12: charges that a standby has counted reach the tables of the primary, and no call is refused
//! too early on their way.

use std::thread;

use super::{in_table, key_with, passing, shown, wait_for_used};
use crate::support::keys::{Key, create_for};
use crate::support::known::run;
use crate::support::usage::{wait_for_flushes, wait_for_uses};
use crate::support::{Client, caught_up, pid, report, sqlstate, value, wait_for_lock, wait_until};
use crate::usage::handover::Servers;

const TEN: &str = "calls=10/month";

/// A primary and a standby, and a key of an account with these quotas that both have.
fn servers_with(quotas: &str) -> (Servers, Key) {
    let mut servers = Servers::start(&[]);
    let key = key_with(&mut servers.admin, quotas);
    servers.catch_up();
    (servers, key)
}

/// The charges that a standby shows: their numbers, and what they are added by.
fn told(client: &mut Client) -> Vec<(i64, String)> {
    let sql =
        "SELECT charge, format('%L, %L, %L, %L, %L, %s, %s, %s, %L', key_id, applies_to, meter,
                                     period, period_start, amount, charged, warn_from, charged_at)
                 FROM vpk_pending_charges()";
    let rows = client.query(sql, &[]).unwrap_or_else(|error| panic!("{}", report(&error)));
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Begins a transaction that is shown one charge.
fn begin_with_one(client: &mut Client) -> (i64, String) {
    run(client, "BEGIN");
    let charges = told(client);
    assert_eq!(charges.len(), 1, "{charges:?}");
    charges.into_iter().next().expect("a charge")
}

fn add(client: &mut Client, arguments: &str) -> String {
    value(client, &format!("SELECT vpk_add_charges({arguments})::text"), &[])
}

fn settle(client: &mut Client, charge: i64) -> bool {
    client.query_one("SELECT vpk_settle_charges($1)", &[&charge]).expect("an answer").get(0)
}

/// What a server says is used, once it has read what it has in its copy of the table.
fn wait_for_shown(client: &mut Client, expected: &str) {
    let mut found = String::new();
    wait_until(&format!("{expected} is shown"), || {
        found = shown(client, "'acme'");
        found == expected
    });
}

/// The documented handover, while both servers are called, with refunds: the tables get exactly
/// what was charged, of the quota and over time, and nothing is left.
#[test]
fn every_charge_of_both_servers_is_counted_once() {
    const ROUNDS: i64 = 400;
    let quotas = "calls=1000000/month, calls=1000000/day, tokens=1000000/total";
    let (mut servers, key) = servers_with(quotas);
    let own = "SELECT vpk_set_quota(1000000, 'week', id => $1::text::uuid)";
    servers.admin.execute(own, &[&key.id]).expect("a quota");
    servers.catch_up();
    servers.install_recipe();
    let mut callers = [&servers.standby, &servers.standby, &servers.primary].map(|it| it.client());
    thread::scope(|scope| {
        let callers: Vec<_> = callers
            .iter_mut()
            .map(|client| {
                let key = &key;
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        assert_eq!(passing(client, key, 2), 2);
                        for cost in [3_i64, -1] {
                            let sql = "SELECT vpk_charge($1::text::uuid, $2, 'tokens')";
                            client.execute(sql, &[&key.id, &cost]).expect("a charge");
                        }
                    }
                })
            })
            .collect();
        while callers.iter().any(|caller| !caller.is_finished()) {
            servers.brought();
        }
        callers.into_iter().for_each(|caller| caller.join().expect("a caller"));
    });
    servers.brought();
    assert_eq!(told(&mut servers.reader), []);
    let all = 3 * ROUNDS * 2;
    wait_for_uses(&mut servers.admin, &key, all);
    let used = "SELECT string_agg(concat_ws(' ', kind, meter, span, used), ', '
                                  ORDER BY kind, meter, span) FROM vpk.quota_usage";
    let expected = format!(
        "account calls day {all}, account calls month {all}, account tokens total {all}, \
         key calls week {all}"
    );
    wait_until("the table has all", || value(&mut servers.admin, used, &[]) == expected);
    let charged = "SELECT string_agg(concat_ws(' ', h.meter, h.amount), ', ' ORDER BY h.meter)
                     FROM (SELECT meter, sum(amount) AS amount FROM vpk.charge_history
                            GROUP BY meter) AS h";
    let expected = format!("calls {all}, tokens {all}");
    wait_until("so has the history", || value(&mut servers.admin, charged, &[]) == expected);
    // The standby judges by that.
    servers.catch_up();
    let expected = format!("calls/month account 1000000+0 {all} {}", 1_000_000 - all);
    wait_until("the standby shows it", || shown(&mut servers.reader, "'acme'").contains(&expected));
}

/// A standby lets as many calls pass as the quota has while its charges are being handed over: not
/// one is refused too early. In the end, no call passes any more.
#[test]
fn no_call_is_refused_too_early_during_a_handover() {
    const CALLS: usize = 6_000;
    let (mut servers, key) = servers_with(&format!("calls={CALLS}/month"));
    servers.install_recipe();
    let mut callers = [servers.standby.client(), servers.standby.client()];
    thread::scope(|scope| {
        let callers: Vec<_> = callers
            .iter_mut()
            .map(|client| {
                let key = &key;
                scope.spawn(move || assert_eq!(passing(client, key, CALLS / 2), CALLS / 2))
            })
            .collect();
        while callers.iter().any(|caller| !caller.is_finished()) {
            servers.brought();
        }
        callers.into_iter().for_each(|caller| caller.join().expect("a caller"));
    });
    servers.brought();
    assert_eq!(passing(&mut servers.reader, &key, 1), 0);
    assert_eq!(in_table(&mut servers.admin), CALLS as i64);
    wait_until("the primary counts it", || passing(&mut servers.admin, &key, 1) == 0);
}

/// What was shown does not count until the transaction ends. The copy of the table may have it
/// then, and counts it from when it is replayed.
#[test]
fn what_is_being_handed_over_counts_only_in_the_table() {
    let (mut servers, key) = servers_with(TEN);
    assert_eq!(passing(&mut servers.reader, &key, 6), 6);
    let mut bringer = servers.standby.client();
    let (charge, arguments) = begin_with_one(&mut bringer);
    let all_left = "calls/month account 10+0 0 10";
    assert_eq!(shown(&mut servers.reader, "'acme'"), all_left);
    assert_eq!(add(&mut servers.admin, &arguments), "true");
    servers.catch_up();
    let four_left = "calls/month account 10+0 6 4";
    wait_for_shown(&mut servers.reader, four_left);
    assert_eq!(passing(&mut servers.reader, &key, 2), 2);
    assert!(settle(&mut bringer, charge));
    run(&mut bringer, "COMMIT");
    assert_eq!(shown(&mut servers.reader, "'acme'"), "calls/month account 10+0 8 2");
    assert_eq!(passing(&mut servers.reader, &key, 5), 2);
    let (charge, arguments) = begin_with_one(&mut bringer);
    // A refund reaches what is being handed over.
    value(&mut servers.reader, "SELECT vpk_charge($1::text::uuid, -3)::text", &[&key.id]);
    assert_eq!(add(&mut servers.admin, &arguments), "true");
    servers.catch_up();
    assert!(settle(&mut bringer, charge));
    run(&mut bringer, "COMMIT");
    assert_eq!(shown(&mut servers.reader, "'acme'"), "calls/month account 10+0 7 3");
    let (_, arguments) = begin_with_one(&mut bringer);
    assert_eq!(add(&mut servers.admin, &arguments), "true");
    assert_eq!(in_table(&mut servers.admin), 7);
}

/// Whatever ends the transaction: what was shown and not settled counts again, on the standby and
/// in what is shown next. What was not committed on the primary counts once in the end, and what
/// was counts twice. A crash of the standby forgets what is in its memory.
#[test]
fn a_failed_handover_counts_nothing_twice_that_was_not_committed() {
    let (mut servers, key) = servers_with(TEN);
    assert_eq!(passing(&mut servers.reader, &key, 6), 6);
    let (none, six) = ("calls/month account 10+0 0 10", "calls/month account 10+0 6 4");
    let mut bringer = servers.standby.client();
    for end in ["ROLLBACK", "COMMIT"] {
        let (_, arguments) = begin_with_one(&mut bringer);
        assert_eq!(shown(&mut servers.reader, "'acme'"), none);
        run(&mut servers.admin, "BEGIN");
        assert_eq!(add(&mut servers.admin, &arguments), "true");
        run(&mut servers.admin, "ROLLBACK");
        run(&mut bringer, end);
        assert_eq!(shown(&mut servers.reader, "'acme'"), six, "{end}");
    }
    // A savepoint that is kept, one that is rolled back, and a session that is ended.
    run(
        &mut bringer,
        "BEGIN; SAVEPOINT first; SAVEPOINT second; SELECT FROM vpk_pending_charges()",
    );
    run(&mut bringer, "RELEASE second; SAVEPOINT third; SELECT FROM vpk_pending_charges()");
    run(&mut bringer, "ROLLBACK TO third");
    assert_eq!(shown(&mut servers.reader, "'acme'"), none);
    run(&mut bringer, "ROLLBACK TO first");
    assert_eq!(shown(&mut servers.reader, "'acme'"), six);
    let mut other = servers.standby.client();
    begin_with_one(&mut other);
    run(&mut bringer, "COMMIT");
    assert_eq!(shown(&mut servers.reader, "'acme'"), none, "another session was shown it");
    let ended = pid(&mut other);
    servers.reader.execute("SELECT pg_terminate_backend($1)", &[&ended]).expect("its end");
    wait_for_shown(&mut servers.reader, six);
    assert_eq!(passing(&mut servers.reader, &key, 9), 4);

    // Committed, and not settled.
    let (_, arguments) = begin_with_one(&mut bringer);
    assert_eq!(add(&mut servers.admin, &arguments), "true");
    servers.catch_up();
    run(&mut bringer, "ROLLBACK");
    wait_for_shown(&mut servers.reader, "calls/month account 10+0 20 -10");
    servers.install_recipe();
    servers.brought();
    assert_eq!(in_table(&mut servers.admin), 20);

    // A restart keeps charges, which are handed over once; a crash forgets them.
    run(&mut servers.admin, "SELECT vpk_grant_quota('acme', 20)");
    servers.catch_up();
    assert_eq!(passing(&mut servers.reader, &key, 2), 2);
    servers.standby.down();
    servers.standby.up();
    servers.brought();
    assert_eq!(in_table(&mut servers.admin), 22);
    servers.reader = servers.standby.client();
    assert_eq!(passing(&mut servers.reader, &key, 2), 2);
    let mut bringer = servers.standby.client();
    let (_, arguments) = begin_with_one(&mut bringer);
    assert_eq!(add(&mut servers.admin, &arguments), "true");
    let killed = pid(&mut bringer);
    servers.standby.crash(killed);
    servers.reader = servers.standby.client();
    caught_up(&mut servers.admin, &mut servers.reader);
    assert_eq!(told(&mut servers.reader), []);
    servers.brought();
    assert_eq!(in_table(&mut servers.admin), 24);
    assert_eq!(shown(&mut servers.reader, "'acme'"), "calls/month account 10+20 24 6");
}

/// One session at a time is shown charges, until its transaction ends. Only what it was shown can
/// be settled, and once. Arguments that make no sense are refused, and so is the wrong server.
#[test]
fn only_the_transaction_that_was_shown_a_charge_can_settle_it() {
    let (mut servers, key) = servers_with("calls=10/month, calls=9/day");
    assert_eq!(passing(&mut servers.reader, &key, 2), 2);
    let refused = |client: &mut Client, sql: &str| {
        let code = sqlstate(sql, client.batch_execute(sql));
        run(client, "ROLLBACK");
        code
    };
    assert_eq!(refused(&mut servers.reader, "SELECT vpk_settle_charges(1)"), "55000");
    let mut bringer = servers.standby.client();
    run(&mut bringer, "BEGIN; SELECT FROM vpk_pending_uses()");
    assert_eq!(refused(&mut bringer, "SELECT vpk_settle_charges(1)"), "55000");
    run(&mut bringer, "BEGIN");
    let first = told(&mut bringer);
    assert_eq!(first.len(), 2);
    for (sql, code) in
        [("SELECT vpk_settle_charges(1)", "55000"), ("SELECT FROM vpk_pending_charges()", "55P03")]
    {
        assert_eq!(refused(&mut servers.reader, sql), code);
    }
    let second = told(&mut bringer);
    assert_eq!(second.len(), 2);
    let settled = first.iter().chain(&second).map(|(charge, _)| settle(&mut bringer, *charge));
    assert_eq!(settled.collect::<Vec<_>>(), [false, false, true, true]);
    assert!(!settle(&mut bringer, second[0].0), "twice");
    run(&mut bringer, "COMMIT");
    assert_eq!(told(&mut bringer), []);

    assert_eq!(passing(&mut servers.reader, &key, 1), 1);
    let count = "SELECT count(*)::text FROM vpk_pending_charges($1)";
    for (limit, expected) in [(Some(0), "0"), (Some(1), "1"), (Some(9), "2"), (None, "2")] {
        assert_eq!(value(&mut servers.reader, count, &[&limit]), expected);
    }
    for sql in ["SELECT FROM vpk_pending_charges(-1)", "SELECT vpk_settle_charges(NULL)"] {
        assert_eq!(refused(&mut servers.reader, sql), "22023");
    }
    for sql in ["SELECT FROM vpk_pending_charges()", "SELECT vpk_settle_charges(1)"] {
        assert_eq!(refused(&mut servers.admin, sql), "55000");
    }
    let sql = format!("SELECT vpk_add_charges({})", first[0].1);
    assert_eq!(refused(&mut servers.reader, &sql), "25006");
}

/// An added charge is written as a flush writes one: also the warning, the end at 0, and the hour.
#[test]
fn added_charges_follow_the_rules_of_a_flush() {
    let (mut servers, key) = servers_with(TEN);
    let admin = &mut servers.admin;
    let hour = "SELECT (date_trunc('hour', now()) - $1::text::interval)::text";
    let [early, late] = ["1 minute", "0"].map(|before| value(admin, hour, &[&before]));
    let charge = |kind: &str, amount: i64, charged: i64, at: &str| {
        let id = &key.id;
        let period = "'calls', 'month', '2026-01-01 00:00Z'";
        format!("'{id}', '{kind}', {period}, {amount}, {charged}, 8, '{at}'")
    };
    let row =
        "SELECT coalesce(string_agg(concat_ws(' ', kind, used, warned), ', ' ORDER BY kind), '')
                 FROM vpk.quota_usage WHERE period_start = '2026-01-01 00:00Z'";
    let warnings = "SELECT count(*)::text FROM vpk.events WHERE event = 'quota_warning'";
    for (arguments, expected, warned) in [
        (charge("account", 7, 7, &early), "account 7 f", "0"),
        (charge("account", 1, 1, &late), "account 8 t", "1"),
        (charge("account", 1, 0, &late), "account 9 t", "1"),
        (charge("account", -20, -9, &late), "account 0 t", "1"),
        (charge("key", 3, 3, &early), "account 0 t, key 3 f", "1"),
    ] {
        assert_eq!(add(admin, &arguments), "true");
        assert_eq!(value(admin, row, &[]), expected);
        assert_eq!(value(admin, warnings, &[]), warned);
    }
    let hours =
        "SELECT string_agg(concat_ws(' ', $1::text::timestamptz - starts_at, kind, amount), ', '
                                   ORDER BY starts_at, kind)
                   FROM vpk.charge_history";
    let expected = "01:00:00 account 7, 01:00:00 key 3, 00:00:00 account -8";
    assert_eq!(value(admin, hours, &[&late]), expected);
    let unknown = charge("account", 1, 1, &early).replace(&key.id, &uuid_of_nobody());
    assert_eq!(add(admin, &unknown), "false");
    let right = charge("account", 1, 1, &early);
    for (from, to) in [
        ("'account'", "'plan'"),
        ("'calls'", "'two words'"),
        ("'month'", "'fortnight'"),
        ("'month'", "NULL"),
        ("8, ", "NULL, "),
        (&*early, "2999-01-01"),
        (&*early, "infinity"),
        (&*early, "-infinity"),
    ] {
        let wrong = right.replace(from, to);
        assert_ne!(wrong, right);
        let sql = format!("SELECT vpk_add_charges({wrong})");
        assert_eq!(sqlstate(&sql, admin.batch_execute(&sql)), "22023", "{sql}");
    }
    // The commit is on disk before the standby settles.
    run(admin, "SET synchronous_commit = off; BEGIN");
    assert_eq!(add(admin, &right), "true");
    assert_eq!(value(admin, "SHOW synchronous_commit", &[]), "local");
    run(admin, "COMMIT");
}

fn uuid_of_nobody() -> String {
    "00000000-0000-7000-8000-000000000000".to_owned()
}

/// Who adds charges waits for others who do, and for transactions that hold the rows. A flush waits
/// for nobody: it leaves charges for later, and writes uses.
#[test]
fn a_flush_does_not_wait_for_who_adds_charges() {
    let (mut servers, key) = servers_with(TEN);
    assert_eq!(passing(&mut servers.reader, &key, 2), 2);
    let (_, arguments) = begin_with_one(&mut servers.reader);
    let admin = &mut servers.admin;
    let another = create_for(admin, "another", "acme");
    run(admin, "BEGIN");
    assert_eq!(add(admin, &arguments), "true");
    let mut user = servers.primary.client();
    assert_eq!(passing(&mut user, &another, 3), 3);
    wait_for_uses(&mut user, &another, 3);
    wait_for_flushes(&mut user, 2);
    assert_eq!(in_table(&mut user), 0);
    // Another one, of another standby.
    let mut other = servers.primary.client();
    let waiting = pid(&mut other);
    thread::scope(|scope| {
        let added = scope.spawn(|| add(&mut other, &arguments));
        wait_for_lock(&mut user, waiting);
        run(admin, "COMMIT");
        assert_eq!(added.join().expect("an answer"), "true");
    });
    wait_for_used(&mut user, 7);
    // Rows that go away under it: that of a quota, and those of an account.
    for (sql, expected) in
        [("DELETE FROM vpk.quota_usage", "2"), ("SELECT vpk_delete_account('acme')", "0")]
    {
        run(admin, &format!("BEGIN; {sql}"));
        thread::scope(|scope| {
            let added = scope.spawn(|| add(&mut other, &arguments));
            wait_for_lock(&mut user, waiting);
            run(admin, "COMMIT");
            let is_added = added.join().expect("an answer");
            assert_eq!(is_added, (expected != "0").to_string(), "{sql}");
        });
        assert_eq!(in_table(&mut user).to_string(), expected, "{sql}");
    }
}

/// A standby that is promoted during a handover keeps its charges: its worker flushes them, also
/// while the transaction is still open that was shown them.
#[test]
fn a_standby_promoted_during_a_handover_keeps_its_charges() {
    let (mut servers, key) = servers_with(TEN);
    assert_eq!(passing(&mut servers.reader, &key, 6), 6);
    let mut bringer = servers.standby.client();
    let (charge, _) = begin_with_one(&mut bringer);
    let Servers { primary, standby, admin, mut reader } = servers;
    drop(admin);
    primary.down_at_once();
    standby.promote();
    wait_for_used(&mut reader, 6);
    let settling = format!("SELECT vpk_settle_charges({charge})");
    assert_eq!(sqlstate(&settling, bringer.batch_execute(&settling)), "55000");
    run(&mut bringer, "ROLLBACK");
    assert_eq!(shown(&mut reader, "'acme'"), "calls/month account 10+0 6 4");
    assert_eq!(passing(&mut reader, &key, 9), 4);
    wait_for_used(&mut reader, 10);
}

/// Two databases of a standby hand over at the same time, and each gets its own.
#[test]
fn two_databases_hand_over_their_charges_at_once() {
    let (mut servers, key) = servers_with(TEN);
    servers.primary.database("second", "UTF8");
    let mut there = servers.primary.connect("second", "postgres");
    let second = key_with(&mut there, TEN);
    servers.catch_up();
    let mut others = [(); 2].map(|()| servers.standby.connect("second", "postgres"));
    assert_eq!(passing(&mut servers.reader, &key, 2), 2);
    assert_eq!(passing(&mut others[0], &second, 3), 3);
    let mut bringer = servers.standby.client();
    let (charge, _) = begin_with_one(&mut bringer);
    let (of_second, _) = begin_with_one(&mut others[0]);
    assert!(settle(&mut others[0], of_second));
    run(&mut others[0], "COMMIT");
    assert_eq!(shown(&mut servers.reader, "'acme'"), "calls/month account 10+0 0 10");
    run(&mut bringer, "ROLLBACK");
    assert_eq!(shown(&mut servers.reader, "'acme'"), "calls/month account 10+0 2 8");
    assert_eq!(shown(&mut others[1], "'acme'"), "calls/month account 10+0 0 10");
    assert!(charge > 0);
}
