//! G11, G12: what is used of limits while a transaction renames or deletes the account, or sets a
//! quota anew, and after it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::keys::{Key, create_for, set_plan, verify};
use crate::support::known::run;
use crate::support::usage::{Done, FLUSH_EVERY_100MS, flush_every, start_flushing_hourly};
use crate::support::{Client, Cluster, value, wait_until};

const RENAME: &str = "SELECT vpk_rename_account('acme', 'corp')";
const DELETE: &str = "SELECT vpk_delete_account('acme')";
const SET_ANEW: &str = "SELECT vpk_set_quota(NULL, 'total', account => 'acme');
                        SELECT vpk_set_quota(100, 'total', account => 'acme')";

/// A key of an account, which has 100 calls in all, and 100 at once.
fn key_of(client: &mut Client, account: &str) -> Key {
    set_plan(client, account, "Pro");
    run(client, &format!("SELECT vpk_set_quota(100, 'total', account => '{account}')"));
    run(client, &format!("SELECT vpk_set_rate_limit('r', 100, '31 days', account => '{account}')"));
    create_for(client, "limited", account)
}

/// Makes so many calls, all of which pass.
fn call(client: &mut Client, key: &Key, calls: usize) {
    (0..calls).for_each(|_| assert_eq!(verify(client, &key.token), "VALID"));
}

/// What is used of an account's quota and of its rate limit.
fn used(client: &mut Client, account: &str) -> String {
    let sql = "SELECT concat_ws(' ', (SELECT used FROM vpk_quota($1)),
                                (SELECT amount - remaining FROM vpk_rate_limit_state($1)))";
    value(client, sql, &[&account])
}

/// What the table has of the quotas, by subject.
fn in_table(client: &mut Client) -> String {
    let sql = "SELECT coalesce(string_agg(subject || ' ' || used, ', ' ORDER BY subject), '')
                 FROM vpk.quota_usage WHERE used > 0";
    value(client, sql, &[])
}

/// A change that is rolled back changes nothing of what is used, neither where the whole
/// transaction is rolled back, nor where a savepoint is. What others use meanwhile counts too.
#[test]
fn what_is_used_stays_when_a_change_is_rolled_back() {
    let cluster = start_flushing_hourly(&[]);
    let (mut client, mut changing) = (cluster.client(), cluster.client());
    let key = key_of(&mut client, "acme");
    call(&mut client, &key, 4);
    let mut expected = 4;
    for change in [RENAME, DELETE, SET_ANEW] {
        for (begin, end) in [
            ("BEGIN", "ROLLBACK"),
            ("BEGIN; SAVEPOINT a", "ROLLBACK TO a; COMMIT"),
            ("BEGIN; SAVEPOINT a; SAVEPOINT b", "RELEASE b; ROLLBACK TO a; COMMIT"),
            ("BEGIN; SAVEPOINT a; SAVEPOINT b", "RELEASE b; RELEASE a; ROLLBACK"),
        ] {
            let context = format!("{begin}; {change}; {end}");
            run(&mut changing, &format!("{begin}; {change}"));
            call(&mut client, &key, 1);
            run(&mut changing, end);
            expected += 1;
            assert_eq!(used(&mut client, "acme"), format!("{expected} {expected}"), "{context}");
        }
        let caught = format!(
            "DO $$ BEGIN
                 BEGIN {}; PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END;
             END $$",
            change.replace("SELECT", "PERFORM")
        );
        run(&mut changing, &caught);
        assert!(changing.batch_execute(&format!("BEGIN; {change}; SELECT 1 / 0")).is_err());
        run(&mut changing, "ROLLBACK");
        assert_eq!(used(&mut client, "acme"), format!("{expected} {expected}"), "{change}");
    }
    // The session's next transaction has nothing left to do.
    run(&mut changing, "BEGIN; SELECT vpk_verify('x'); COMMIT");
    assert_eq!(used(&mut client, "acme"), format!("{expected} {expected}"));
    flush_every(&mut client, "100ms");
    wait_until("the table has all", || in_table(&mut client) == format!("acme {expected}"));
    assert_eq!(used(&mut client, "acme"), format!("{expected} {expected}"));
}

/// What the transaction's own calls have read of its changes is not believed after they are rolled
/// back. The calls themselves count.
#[test]
fn calls_of_a_transaction_that_is_rolled_back_count() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = key_of(&mut client, "acme");
    call(&mut client, &key, 4);
    flush_every(&mut client, "100ms");
    wait_until("the table has them", || in_table(&mut client) == "acme 4");
    flush_every(&mut client, "1h");
    // The memory knows nothing, so that the transaction reads from the table that nothing is used.
    cluster.down();
    cluster.up();
    let (mut client, mut changing) = (cluster.client(), cluster.client());
    run(&mut changing, &format!("BEGIN; {SET_ANEW}"));
    call(&mut changing, &key, 2);
    run(&mut changing, "ROLLBACK");
    assert_eq!(used(&mut client, "acme"), "6 6");
    run(&mut changing, &format!("BEGIN; {RENAME}"));
    call(&mut changing, &key, 3);
    run(&mut changing, "ROLLBACK");
    flush_every(&mut client, "100ms");
    wait_until("the table has all", || in_table(&mut client) == "acme 9");
}

/// A new name takes over what was used until the commit: by others under the old name, and by the
/// transaction itself under the new one.
#[test]
fn all_that_is_used_until_the_commit_goes_to_the_new_name() {
    let settings = [("max_prepared_transactions", "2")];
    for end in ["RELEASE a; COMMIT", "RELEASE a; PREPARE TRANSACTION 'x'; COMMIT PREPARED 'x'"] {
        let cluster = start_flushing_hourly(&settings);
        let (mut client, mut changing) = (cluster.client(), cluster.client());
        let key = key_of(&mut client, "acme");
        call(&mut client, &key, 4);
        run(&mut changing, &format!("BEGIN; SAVEPOINT a; {RENAME}"));
        call(&mut changing, &key, 2);
        call(&mut client, &key, 3);
        end.split("; ").for_each(|statement| run(&mut changing, statement));
        assert_eq!(used(&mut client, "corp"), "9 9", "{end}");
        call(&mut client, &key, 91);
        assert_ne!(verify(&mut client, &key.token), "VALID");
        flush_every(&mut client, "100ms");
        wait_until("the table has all", || in_table(&mut client) == "corp 100");
        assert_eq!(used(&mut client, "corp"), "100 100");
        // Nothing of it is left under the old name.
        key_of(&mut client, "acme");
        assert_eq!(used(&mut client, "acme"), "0 0");
    }
}

/// Names that are exchanged in one transaction take what is used with them.
#[test]
fn names_that_are_exchanged_take_what_is_used_along() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let (acme, corp) = (key_of(&mut client, "acme"), key_of(&mut client, "corp"));
    call(&mut client, &acme, 4);
    call(&mut client, &corp, 7);
    run(
        &mut client,
        "BEGIN; SELECT vpk_rename_account('acme', 'between');
         SAVEPOINT a; SELECT vpk_rename_account('corp', 'nobody'); ROLLBACK TO a;
         SELECT vpk_rename_account('corp', 'acme'); SELECT vpk_rename_account('between', 'corp');
         COMMIT",
    );
    let both = ["acme", "corp"].map(|account| used(&mut client, account));
    assert_eq!(both, ["7 7", "4 4"]);
    flush_every(&mut client, "100ms");
    wait_until("the table has all", || in_table(&mut client) == "acme 7, corp 4");
}

/// An account that is deleted leaves nothing of what was used until the commit.
#[test]
fn an_account_that_is_made_anew_has_used_nothing() {
    let cluster = start_flushing_hourly(&[]);
    let (mut client, mut changing) = (cluster.client(), cluster.client());
    let key = key_of(&mut client, "acme");
    call(&mut client, &key, 4);
    run(&mut changing, &format!("BEGIN; SAVEPOINT a; {DELETE}; RELEASE a"));
    call(&mut client, &key, 3);
    run(&mut changing, "COMMIT");
    let key = key_of(&mut client, "acme");
    assert_eq!(used(&mut client, "acme"), "0 0");
    call(&mut client, &key, 1);
    flush_every(&mut client, "100ms");
    wait_until("the table has it", || in_table(&mut client) == "acme 1");
}

/// A quota that is set anew counts from then on, whether what was used before is flushed or not:
/// the calls of its transaction and of others, and nothing of an earlier quota. A key's does too.
#[test]
fn a_quota_that_is_set_anew_counts_from_then_on() {
    for (is_flushed, subject, of) in [
        (false, "account => 'acme'", "account"),
        (true, "account => 'acme'", "account"),
        (false, "plan => 'Pro'", "account"),
        (true, "plan => 'Pro'", "account"),
        (false, "id => 'KEY'", "key"),
        (true, "id => 'KEY'", "key"),
    ] {
        let cluster = start_flushing_hourly(&[]);
        let (mut client, mut changing) = (cluster.client(), cluster.client());
        let key = key_of(&mut client, "acme");
        let subject = subject.replace("KEY", &key.id);
        let set = |amount: &str| format!("SELECT vpk_set_quota({amount}, 'total', {subject})");
        if of == "account" {
            run(&mut client, "SELECT vpk_set_quota(NULL, 'total', account => 'acme')");
        }
        run(&mut client, &set("50"));
        // An account of the same plan that has such a quota of its own, which goes on.
        let other = key_of(&mut client, "other");
        call(&mut client, &other, 7);
        let used = |client: &mut Client| {
            let sql =
                "SELECT used::text FROM vpk_quota(id => $1::text::uuid) WHERE applies_to = $2";
            value(client, sql, &[&key.id, &of])
        };
        let in_table = |client: &mut Client| {
            let sql = "SELECT coalesce(sum(used), 0)::text FROM vpk.quota_usage
                        WHERE kind = $1 AND subject <> 'other'";
            value(client, sql, &[&of])
        };
        call(&mut client, &key, 4);
        if is_flushed {
            flush_every(&mut client, "100ms");
            wait_until("the table has them", || in_table(&mut client) == "4");
            flush_every(&mut client, "1h");
        }
        call(&mut client, &key, 1);
        run(&mut client, &set("NULL"));
        run(&mut changing, &format!("BEGIN; {}", set("50")));
        call(&mut changing, &key, 2);
        run(&mut changing, "COMMIT");
        assert_eq!(used(&mut client), "2", "flushed {is_flushed}, {subject}");
        run(&mut changing, &format!("BEGIN; {}; {}", set("NULL"), set("50")));
        call(&mut client, &key, 3);
        run(&mut changing, "COMMIT");
        assert_eq!(used(&mut client), "3", "flushed {is_flushed}, {subject}");
        flush_every(&mut client, "100ms");
        wait_until("the table has them", || in_table(&mut client) == "3");
        assert_eq!(used(&mut client), "3", "flushed {is_flushed}, {subject}");
        let of_other = "SELECT used::text FROM vpk_quota('other') WHERE period = 'total'";
        assert_eq!(value(&mut client, of_other, &[]), "7", "flushed {is_flushed}, {subject}");
    }
}

/// Nor does it count earlier uses where the transaction has set it anew before, or has renamed or
/// deleted the account. What a deleted account uses up to the commit is gone, too.
#[test]
fn a_quota_that_is_set_anew_beside_other_changes_counts_from_then_on() {
    let set = |account: &str| {
        let amounts = ["NULL", "50"].map(|amount| {
            format!("SELECT vpk_set_quota({amount}, 'total', account => '{account}');")
        });
        amounts.concat()
    };
    for (first, name, expected) in [
        (&*set("acme"), "acme", "2"),
        ("SELECT vpk_rename_account('acme', 'corp')", "corp", "2"),
        ("SELECT vpk_delete_account('acme'); SELECT vpk_set_plan('acme', 'Pro')", "acme", "0"),
    ] {
        let cluster = start_flushing_hourly(&[]);
        let (mut client, mut changing) = (cluster.client(), cluster.client());
        let mut key = key_of(&mut client, "acme");
        run(&mut client, &set("acme"));
        call(&mut client, &key, 3);
        run(&mut changing, &format!("BEGIN; {first}"));
        if first.contains("delete") {
            key = create_for(&mut changing, "key", name);
        }
        call(&mut changing, &key, 4);
        run(&mut changing, &set(name));
        call(&mut changing, &key, 2);
        run(&mut changing, "COMMIT");
        let used = format!("SELECT used::text FROM vpk_quota('{name}') WHERE period = 'total'");
        assert_eq!(value(&mut client, &used, &[]), expected, "{first}");
        flush_every(&mut client, "100ms");
        call(&mut client, &key, 1);
        let in_all = expected.parse::<u32>().expect("a number") + 1;
        wait_until("the table has them", || in_table(&mut client) == format!("{name} {in_all}"));
        assert_eq!(value(&mut client, &used, &[]), in_all.to_string(), "{first}");
    }
}

/// However often an account gets another name while it is used and flushed, the table gets exactly
/// what has passed.
#[test]
fn nothing_is_lost_or_counted_twice_while_names_change() {
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = cluster.client();
    let key = key_of(&mut client, "acme");
    run(&mut client, "SELECT vpk_set_quota(100000000, 'total', account => 'acme')");
    run(&mut client, "SELECT vpk_set_rate_limit('r', NULL, NULL, account => 'acme')");
    let is_over = AtomicBool::new(false);
    let passed: usize = thread::scope(|scope| {
        let calls = || {
            let mut client = cluster.client();
            let mut passed = 0;
            while !is_over.load(Ordering::Relaxed) {
                call(&mut client, &key, 1);
                passed += 1;
            }
            passed
        };
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(calls)).collect();
        let end = Done(&is_over);
        for number in 0..200 {
            let [from, to] = if number % 4 < 2 { ["acme", "corp"] } else { ["corp", "acme"] };
            let sql = format!("BEGIN; SELECT vpk_rename_account('{from}', '{to}')");
            run(&mut client, &sql);
            call(&mut client, &key, 1);
            run(&mut client, if number % 2 == 0 { "ROLLBACK" } else { "COMMIT" });
        }
        drop(end);
        callers.into_iter().map(|caller| caller.join().expect("a caller")).sum()
    });
    wait_until("the table has all", || in_table(&mut client) == format!("acme {}", passed + 200));
}
