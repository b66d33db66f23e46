//! G1, G7 and G9 where rows come from elsewhere into tables that a session knows: from a dump, from
//! a COPY, or from another database by logical replication. They count at that session's very next
//! verification.

use crate::dumps;
use crate::support::keys::set_plan;
use crate::support::known::{
    Answers, INVALID, PLAN, VALID, assert_healthy, copy_in, copy_out, run,
};
use crate::support::usage::start_flushing_hourly;
use crate::support::{Client, value, wait_until};

const TABLES: [&str; 3] = ["vpk.plans", "vpk.accounts", "vpk.keys"];

/// G1, G7: a dump is restored into a database where sessions have asked for its keys before, and
/// again over what is there.
#[test]
fn a_restored_dump_counts_in_sessions_that_cached_its_keys() {
    let cluster = start_flushing_hourly(&[("lock_timeout", "10min")]);
    cluster.database("other", "UTF8");
    let mut origin = cluster.client();
    let mut answers = Answers::of_every_kind(&mut origin, 3);
    run(&mut origin, "UPDATE vpk.plans SET concurrent_tasks = 9 WHERE plan = 'Pro'");
    let (mut admin, mut session) =
        (cluster.connect("other", "postgres"), cluster.connect("other", "postgres"));
    let mut in_transaction = cluster.connect("other", "postgres");
    run(&mut in_transaction, "BEGIN");
    let none = answers.when_all(INVALID);
    for session in [&mut session, &mut in_transaction] {
        none.remember(session);
    }
    let file = std::env::temp_dir().join(format!("vibepeak_keys_recent.{}", std::process::id()));
    let file = file.to_str().expect("a plain path").to_owned();
    for round in 0..3 {
        let dump = ["-Fc", "--data-only", "-f", &file, "postgres"];
        dumps::run(&cluster, "pg_dump", &dump);
        if round > 0 {
            // Over existing rows: all are deleted, and inserted again in the order of the dump.
            run(&mut admin, "TRUNCATE vpk.keys, vpk.accounts, vpk.plans, vpk.events");
            answers.when_all(INVALID).check(&mut session, "emptied");
        }
        let mode: &[&str] = if round == 2 { &["--disable-triggers"] } else { &["-1"] };
        let restore = [&["-e", "--data-only", "-d", "other"], mode, &[file.as_str()]].concat();
        dumps::run(&cluster, "pg_restore", &restore);
        // Rows as the extension makes them are in no dump.
        let plans = copy_out(&mut origin, "vpk.plans", "1");
        run(&mut admin, "SET session_replication_role = replica; TRUNCATE vpk.plans");
        answers
            .when(|known| if known.answer == VALID { PLAN } else { known.answer })
            .check(&mut session, "without plans");
        copy_in(&mut admin, "vpk.plans", &plans);
        run(&mut admin, "RESET session_replication_role");
        for session in [&mut session, &mut in_transaction] {
            answers.check(session, &format!("restored, {round}"));
        }
        answers.change(&mut origin);
    }
    std::fs::remove_file(&file).expect("the dump goes");
    assert_healthy(&cluster);
}

/// Waits until the subscriber has everything that the publisher has committed: transactions come in
/// their order, and this is the last. The session that is asked does not look for itself.
fn applied(publisher: &mut Client, subscriber: &mut Client, number: u32) {
    let sql = format!(
        "UPDATE vpk.accounts SET created_at = timestamptz 'epoch' + interval '{number} s'
          WHERE account = 'marker'"
    );
    run(publisher, &sql);
    let sql = "SELECT extract(epoch FROM created_at)::int::text FROM vpk.accounts
                WHERE account = 'marker'";
    let wanted = number.to_string();
    wait_until("the change is applied", || value(subscriber, sql, &[]) == wanted);
}

/// G1, G9: changes that a subscription's worker applies.
#[test]
fn logically_replicated_changes_count_at_once() {
    let cluster = start_flushing_hourly(&[("wal_level", "logical"), ("lock_timeout", "10min")]);
    cluster.database("subscriber", "UTF8");
    let mut publisher = cluster.client();
    let mut answers = Answers::of_every_kind(&mut publisher, 3);
    set_plan(&mut publisher, "marker", "Pro");
    run(&mut publisher, "CREATE PUBLICATION p FOR TABLE vpk.keys, vpk.accounts, vpk.plans");
    let slot = "SELECT pg_create_logical_replication_slot('s', 'pgoutput')::text";
    value(&mut publisher, slot, &[]);

    let [mut admin, mut session, mut in_transaction] =
        [(); 3].map(|()| cluster.connect("subscriber", "postgres"));
    run(&mut in_transaction, "BEGIN ISOLATION LEVEL REPEATABLE READ");
    let none = answers.when_all(INVALID);
    for session in [&mut session, &mut in_transaction] {
        none.remember(session);
    }
    run(&mut admin, "SET session_replication_role = replica");
    for table in TABLES {
        let rows = copy_out(&mut publisher, table, "1 DESC");
        run(&mut admin, &format!("TRUNCATE {table}"));
        copy_in(&mut admin, table, &rows);
    }
    for session in [&mut session, &mut in_transaction] {
        answers.remember(session);
    }
    let sql = format!(
        "CREATE SUBSCRIPTION s CONNECTION 'host={} user=postgres dbname=postgres' PUBLICATION p
           WITH (create_slot = false, slot_name = 's', copy_data = false)",
        cluster.socket()
    );
    run(&mut admin, &sql);

    let mut number = 0;
    let mut all_told = |answers: &Answers, publisher: &mut Client, when: &str| {
        number += 1;
        applied(publisher, &mut admin, number);
        for session in [&mut session, &mut in_transaction] {
            answers.check(session, when);
        }
    };
    let closed = |answers: &Answers| {
        answers.when(|known| if known.answer == VALID { PLAN } else { known.answer })
    };
    for round in 0..2 {
        answers.change(&mut publisher);
        all_told(&answers, &mut publisher, "keys");
        set_plan(&mut publisher, "acme", "Free");
        all_told(&closed(&answers), &mut publisher, "an account's plan");
        set_plan(&mut publisher, "acme", "Plus");
        all_told(&answers, &mut publisher, "its next plan");
        run(&mut publisher, "UPDATE vpk.plans SET api_access = false WHERE plan = 'Plus'");
        all_told(&closed(&answers), &mut publisher, "the plan itself");
        run(&mut publisher, "UPDATE vpk.plans SET api_access = true WHERE plan = 'Plus'");
        all_told(&answers, &mut publisher, "the plan again");
        run(&mut publisher, "UPDATE vpk.plans SET plan = 'More' WHERE plan = 'Plus'");
        all_told(&answers, &mut publisher, "its name");
        run(&mut publisher, "UPDATE vpk.plans SET plan = 'Plus' WHERE plan = 'More'");

        let at = answers.first(VALID);
        let sql = "DELETE FROM vpk.keys WHERE id = $1::text::uuid RETURNING id::text";
        value(&mut publisher, sql, &[&answers.0[at].key.id]);
        answers.0[at].answer = INVALID;
        answers.add(&mut publisher, "acme");
        all_told(&answers, &mut publisher, "a deleted key");
        let rows = copy_out(&mut publisher, "vpk.keys", "random()");
        run(&mut publisher, "TRUNCATE vpk.keys");
        all_told(&answers.when_all(INVALID), &mut publisher, "an empty table");
        copy_in(&mut publisher, "vpk.keys", &rows);
        all_told(&answers, &mut publisher, &format!("a full table, {round}"));
    }
    run(&mut admin, "ALTER SUBSCRIPTION s DISABLE");
    run(&mut admin, "ALTER SUBSCRIPTION s SET (slot_name = NONE)");
    run(&mut admin, "DROP SUBSCRIPTION s");
    assert_healthy(&cluster);
}
