//! G1: revocation is effective at commit, for every verification that starts after it.

use std::thread;

use crate::support::keys::{authenticate, create, create_for, revoke, set_plan, verify};
use crate::support::{Client, Cluster, pid, value, wait_for_lock};

const LEVELS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

/// A transaction whose snapshot, where it keeps one, is taken.
fn begin(client: &mut Client, level: &str) {
    client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).expect("a transaction");
    client.batch_execute("SELECT count(*) FROM vpk.keys").expect("its snapshot");
}

/// A change that waits for a reader fails, instead of waiting.
fn impatient(cluster: &Cluster) -> Client {
    let mut client = cluster.client();
    client.batch_execute("SET lock_timeout = '1ms'").expect("a setting");
    client
}

/// G1: at every isolation level and with a snapshot of any age; and a verifier that has
/// left its transaction open delays no change.
#[test]
fn an_open_transaction_sees_every_change_of_a_key() {
    let cluster = Cluster::start(&[]);
    let (mut admin, mut verifier) = (impatient(&cluster), cluster.client());
    for (change, expected) in [
        ("vpk_revoke($1::text::uuid)::text", "API_KEY_REVOKED"),
        ("vpk_disable($1::text::uuid)::text", "API_KEY_DISABLED"),
        ("vpk_rotate($1::text::uuid)::text", "API_KEY_REVOKED"),
        ("vpk_update($1::text::uuid, allowed_ips => '{192.0.2.0/24}')::text", "IP_NOT_ALLOWED"),
        (
            "(SELECT vpk_delete_account(account) FROM vpk_list(id => $1::text::uuid))::text",
            "INVALID_API_KEY",
        ),
    ] {
        for level in LEVELS {
            set_plan(&mut admin, "acme", "Pro");
            let key = create_for(&mut admin, "changed", "acme");
            begin(&mut verifier, level);
            assert_eq!(verify(&mut verifier, &key.token), "VALID", "{level}");
            assert_eq!(authenticate(&mut verifier, &key.token), "VALID", "{level}");

            value(&mut admin, &format!("SELECT {change}"), &[&key.id]);
            assert_eq!(verify(&mut verifier, &key.token), expected, "{level}, {change}");
            assert_eq!(authenticate(&mut verifier, &key.token), expected, "{level}, {change}");
            let sql = "SELECT count(*)::text FROM vpk.keys WHERE id = $1::text::uuid
                        AND revoked_at IS NULL AND disabled_at IS NULL AND allowed_ips IS NULL";
            let old = level != "READ COMMITTED";
            let as_it_was = value(&mut verifier, sql, &[&key.id]) == "1";
            assert_eq!(as_it_was, old, "{level}: whether the transaction's own snapshot is older");
            verifier.batch_execute("COMMIT").expect("nothing to fail with");
        }
    }
}

/// G1: a revocation in progress does not delay a verification, and counts when it is committed.
#[test]
fn a_revocation_in_progress_delays_nobody() {
    let cluster = Cluster::start(&[]);
    let (mut admin, mut verifier) = (cluster.client(), impatient(&cluster));
    for level in LEVELS {
        let key = create(&mut admin, "in progress");
        begin(&mut verifier, level);
        for (end, expected) in [("ROLLBACK", "VALID"), ("COMMIT", "API_KEY_REVOKED")] {
            admin.batch_execute("BEGIN").expect("a transaction");
            revoke(&mut admin, &key);
            assert_eq!(verify(&mut admin, &key.token), "API_KEY_REVOKED", "the revoker itself");
            assert_eq!(verify(&mut verifier, &key.token), "VALID", "{level}: not yet");
            admin.batch_execute(end).expect("its end");
            assert_eq!(verify(&mut verifier, &key.token), expected, "{level} after {end}");
        }
        verifier.batch_execute("COMMIT").expect("nothing to fail with");
    }
}

/// G1: what a transaction has done itself counts for it, and what it took back does not.
#[test]
fn a_revocation_is_undone_by_its_savepoint() {
    let cluster = Cluster::start(&[]);
    let (mut client, mut other) = (cluster.client(), cluster.client());
    for level in LEVELS {
        begin(&mut client, level);
        let key = create(&mut client, "made here");
        assert_eq!(verify(&mut client, &key.token), "VALID", "{level}");
        assert_eq!(verify(&mut other, &key.token), "INVALID_API_KEY", "{level}: not committed");
        let sql = "SELECT vpk_verify((vpk_create('in one statement')).token)::text";
        assert_eq!(value(&mut client, sql, &[]), "VALID", "{level}");

        client.batch_execute("SAVEPOINT s").expect("a savepoint");
        revoke(&mut client, &key);
        let brief = create(&mut client, "taken back");
        assert_eq!(verify(&mut client, &key.token), "API_KEY_REVOKED", "{level}");
        assert_eq!(verify(&mut client, &brief.token), "VALID", "{level}");
        client.batch_execute("ROLLBACK TO s").expect("the savepoint");
        assert_eq!(verify(&mut client, &key.token), "VALID", "{level}");
        assert_eq!(verify(&mut client, &brief.token), "INVALID_API_KEY", "{level}");

        client.batch_execute("COMMIT").expect("the transaction's end");
        assert_eq!(verify(&mut other, &key.token), "VALID", "{level}");
    }
}

/// G1: rows that a cursor makes later are judged later.
#[test]
fn later_rows_of_a_cursor_see_a_revocation() {
    let cluster = Cluster::start(&[]);
    let (mut admin, mut verifier) = (impatient(&cluster), cluster.client());
    for level in LEVELS {
        let key = create(&mut admin, "in a cursor");
        begin(&mut verifier, level);
        let query = "SELECT vpk_verify($1)::text FROM generate_series(1, 4)";
        let query = verifier.prepare(query).expect("a query");
        let mut transaction = verifier.transaction().expect("a savepoint to hold the cursor");
        let cursor = transaction.bind(&query, &[&key.token]).expect("a cursor");
        let mut fetch = || -> Vec<String> {
            let rows = transaction.query_portal(&cursor, 2).expect("rows");
            rows.iter().map(|row| row.get(0)).collect()
        };
        assert_eq!(fetch(), ["VALID"; 2], "{level}");
        revoke(&mut admin, &key);
        assert_eq!(fetch(), ["API_KEY_REVOKED"; 2], "{level}");
        transaction.commit().expect("its end");
        verifier.batch_execute("COMMIT").expect("nothing to fail with");
    }
}

/// G1: rows that a long statement makes later are judged later. The statement stops at a lock
/// between its second and its third row, and the key is revoked there.
#[test]
fn later_rows_of_a_long_statement_see_a_revocation() {
    let cluster = Cluster::start(&[]);
    for level in LEVELS {
        let mut admin = cluster.client();
        let key = create(&mut admin, "in a long statement");
        admin.batch_execute("SELECT pg_advisory_lock(2)").expect("a lock");

        let mut verifier = cluster.client();
        let verifier_pid = pid(&mut verifier);
        let token = key.token.clone();
        let statement = thread::spawn(move || -> Vec<String> {
            begin(&mut verifier, level);
            let sql = "SELECT vpk_verify($1)::text, pg_advisory_lock(g)::text
                         FROM generate_series(1, 4) AS g";
            let rows = verifier.query(sql, &[&token]).expect("rows");
            rows.iter().map(|row| row.get(0)).collect()
        });
        wait_for_lock(&mut admin, verifier_pid);
        revoke(&mut admin, &key);
        admin.batch_execute("SELECT pg_advisory_unlock(2)").expect("its release");
        let (valid, revoked) = ("VALID", "API_KEY_REVOKED");
        assert_eq!(statement.join().expect("rows"), [valid, valid, revoked, revoked], "{level}");
    }
}

/// G1: plans and accounts are live data, also when an operator edits the tables.
#[test]
fn plans_and_accounts_count_at_once() {
    let cluster = Cluster::start(&[]);
    let (mut admin, mut verifier) = (impatient(&cluster), cluster.client());
    for level in LEVELS {
        set_plan(&mut admin, "acme", "Plus");
        let key = create_for(&mut admin, "of acme", "acme");
        begin(&mut verifier, level);
        assert_eq!(verify(&mut verifier, &key.token), "VALID");
        for (change, expected) in [
            ("UPDATE vpk.accounts SET plan = 'Free' WHERE account = 'acme'", "PLAN_REQUIRED"),
            ("UPDATE vpk.plans SET api_access = true WHERE plan = 'Free'", "VALID"),
            ("UPDATE vpk.plans SET plan = 'Gratis' WHERE plan = 'Free'", "VALID"),
            ("UPDATE vpk.plans SET api_access = false WHERE plan = 'Gratis'", "PLAN_REQUIRED"),
            ("INSERT INTO vpk.plans (plan, api_access) VALUES ('Team', true)", "PLAN_REQUIRED"),
            ("SELECT vpk_set_plan('acme', 'Team')", "VALID"),
            ("SELECT vpk_set_plan('acme', 'Starter')", "PLAN_REQUIRED"),
            ("DELETE FROM vpk.plans WHERE plan = 'Team'", "PLAN_REQUIRED"),
            ("UPDATE vpk.plans SET plan = 'Free' WHERE plan = 'Gratis'", "PLAN_REQUIRED"),
        ] {
            admin.batch_execute(change).expect("a change");
            assert_eq!(verify(&mut verifier, &key.token), expected, "{level}: {change}");
            assert_eq!(authenticate(&mut verifier, &key.token), expected, "{level}: {change}");
        }
        verifier.batch_execute("COMMIT").expect("nothing to fail with");
    }
}

/// G1: a key that is being changed is never missing in between, whether the new version of its row
/// stays on the page or goes elsewhere, and while the old ones are cleared away.
#[test]
fn a_key_under_change_is_never_missing() {
    let cluster = Cluster::start(&[("autovacuum_naptime", "1s")]);
    let mut admin = cluster.client();
    let key = create(&mut admin, "under change");
    let token = key.token.clone();
    let changes = thread::spawn(move || {
        for round in 0..1000 {
            let metadata = format!("{{\"padding\": \"{}\"}}", "x".repeat(round % 50 * 40));
            let sql = "SELECT vpk_update($1::text::uuid, metadata => $2::text::jsonb)::text";
            value(&mut admin, sql, &[&key.id, &metadata]);
            admin.execute("UPDATE vpk.accounts SET plan = plan", &[]).expect("a change");
            if round % 200 == 0 {
                admin.batch_execute("VACUUM vpk.keys, vpk.accounts").expect("a vacuum");
            }
        }
    });
    let mut verifier = cluster.client();
    while !changes.is_finished() {
        let sql =
            "SELECT string_agg(DISTINCT vpk_verify($1)::text, ' ') FROM generate_series(1, 500)";
        assert_eq!(value(&mut verifier, sql, &[&token]), "VALID");
    }
    changes.join().expect("all changes");
}
