//! G8: rows from before an update are read as fast as others, and mean the same. The update stops
//! no verification.

use std::thread;

use crate::support::keys::{Key, create, verify};
use crate::support::known::run;
use crate::support::usage::start_flushing_hourly;
use crate::support::{Client, Cluster, pid, value, wait_for_lock};
use crate::upgrades::{made_with, update};

/// Whether calls of a key that the session knows open no table: each one is locked.
fn assert_found_in_place(cluster: &Cluster, client: &mut Client, key: &Key, when: &str) {
    run(client, "SET statement_timeout = '20s'");
    assert_eq!(verify(client, &key.token), "VALID");
    let database = value(client, "SELECT current_database()::text", &[]);
    let mut admin = cluster.connect(&database, "postgres");
    let many = "SELECT count(*)::text FROM generate_series(1, 2000) WHERE vpk_verify($1) = 'VALID'";
    for table in ["vpk.keys", "vpk.accounts", "vpk.plans"] {
        run(&mut admin, &format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"));
        assert_eq!(value(client, many, &[&key.token]), "2000", "{when}: {table} is locked");
        run(&mut admin, "COMMIT");
    }
}

/// How many of ten calls pass.
fn passes(client: &mut Client, key: &Key) -> String {
    let sql = "SELECT count(*)::text FROM generate_series(1, 10) WHERE vpk_verify($1) = 'VALID'";
    value(client, sql, &[&key.token])
}

#[test]
fn rows_from_before_the_update_are_found_in_place() {
    let cluster = start_flushing_hourly(&[("autovacuum", "off")]);
    let mut client = made_with(&cluster, "old_rows", "0.9.0");
    let key = create(&mut client, "from before");
    assert_found_in_place(&cluster, &mut client, &key, "before the update");
    update(&mut client);
    assert_found_in_place(&cluster, &mut client, &key, "after the update");
    let mut session = cluster.connect("old_rows", "postgres");
    assert_found_in_place(&cluster, &mut session, &key, "in a new session");
    let new = create(&mut client, "from after");
    assert_found_in_place(&cluster, &mut session, &new, "a key from after the update");

    // Beside rows that have the columns.
    for (row, back) in [
        ("plans SET rate_limits = 'some=3/31d' WHERE plan = 'Pro'", "plans SET rate_limits = NULL"),
        ("accounts SET rate_limits = 'more=4/31d'", "accounts SET rate_limits = NULL"),
        ("keys SET rate_limits = 'own=5/31d'", "keys SET rate_limits = NULL"),
    ] {
        run(&mut client, &format!("UPDATE vpk.{row}"));
        let expected = &row[row.find("=").expect("a limit")..];
        let expected = expected.split(['=', '/']).nth(2).expect("its amount");
        assert_eq!(passes(&mut session, &key), expected, "{row}");
        run(&mut client, &format!("UPDATE vpk.{back}"));
        assert_eq!(passes(&mut session, &key), "10", "{back}");
    }
    run(&mut client, "UPDATE vpk.plans SET rate_limits = 'none=1000000/31d'");
    assert_found_in_place(&cluster, &mut session, &key, "of a plan with a limit");
    run(&mut client, "UPDATE vpk.keys SET rate_limits = 'none=1000000/31d'");
    assert_found_in_place(&cluster, &mut session, &key, "with a limit");
}

/// Columns that somebody has added before the update are no limits, whatever they are called.
#[test]
fn added_columns_are_not_read_before_the_update() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = made_with(&cluster, "added", "0.9.0");
    let key = create(&mut client, "key");
    run(
        &mut client,
        "ALTER TABLE vpk.plans ADD COLUMN rate_limits text DEFAULT 'some=1/31d';
         ALTER TABLE vpk.accounts ADD COLUMN tenant integer DEFAULT 7;
         ALTER TABLE vpk.keys ADD COLUMN tenant integer",
    );
    let mut session = cluster.connect("added", "postgres");
    assert_eq!(passes(&mut session, &key), "10");
    run(
        &mut client,
        "UPDATE vpk.plans SET rate_limits = 'some=2/31d'; UPDATE vpk.accounts SET tenant = 8;
         UPDATE vpk.keys SET tenant = 9",
    );
    assert_eq!(passes(&mut session, &key), "10");
    assert_found_in_place(&cluster, &mut session, &key, "with columns of somebody's");
}

/// The update waits for readers of the tables and views that it changes. It gives up its locks
/// again and again, so that others can verify keys meanwhile.
#[test]
fn keys_are_verified_while_an_update_waits_for_a_reader() {
    let cluster = start_flushing_hourly(&[]);
    for relation in ["stats", "key_usage", "plans"] {
        let mut client = made_with(&cluster, relation, "0.9.0");
        let key = create(&mut client, "key");
        let [mut reading, mut session, mut watching] =
            [(); 3].map(|()| cluster.connect(relation, "postgres"));
        run(&mut reading, &format!("BEGIN; SELECT count(*) FROM vpk.{relation}"));
        let updating = pid(&mut client);
        thread::scope(|scope| {
            let updated = scope.spawn(|| update(&mut client));
            wait_for_lock(&mut watching, updating);
            run(&mut session, "SET statement_timeout = '60s'");
            let sql = "SELECT vpk_verify($1)::text";
            let answer = session.query_one(sql, &[&key.token]);
            run(&mut reading, "COMMIT");
            updated.join().expect("an update");
            let answer: String = answer.expect("an answer in time").get(0);
            assert_eq!(answer, "VALID", "{relation}");
        });
    }
}
