//! G1 and G2 when every row of a table moves: a session that has just verified a key finds it at
//! its new TID, and nothing at the old one.

use crate::cache::cluster;
use crate::support::known::{Answers, INVALID, PLAN, assert_healthy, copy_in, copy_out, run};
use crate::support::{Client, Cluster};

const TABLES: [&str; 3] = ["vpk.keys", "vpk.accounts", "vpk.plans"];

/// What moves rows, or takes them from one file to another, or builds an index anew. {} is the
/// table.
const OPERATIONS: [&str; 16] = [
    "VACUUM {}",
    "VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) {}",
    "VACUUM FULL {}",
    "CLUSTER {} USING {i}_pkey",
    "REINDEX TABLE {}",
    "REINDEX TABLE CONCURRENTLY {}",
    "ALTER TABLE {} SET TABLESPACE elsewhere",
    "ALTER TABLE {} SET TABLESPACE pg_default",
    "ALTER TABLE {} SET UNLOGGED",
    "ALTER TABLE {} SET LOGGED",
    "ALTER TABLE {} ADD COLUMN one uuid DEFAULT gen_random_uuid()",
    "ALTER TABLE {} ADD COLUMN two integer DEFAULT 2",
    "UPDATE {} SET two = 3",
    "ALTER TABLE {} DROP COLUMN one",
    "ALTER TABLE {} DROP COLUMN two",
    "ALTER TABLE {} SET (fillfactor = 50)",
];

fn with_tablespace() -> Cluster {
    let cluster = cluster();
    let mut admin = cluster.client();
    run(&mut admin, "SET allow_in_place_tablespaces = on");
    run(&mut admin, "CREATE TABLESPACE elsewhere LOCATION ''");
    cluster
}

/// A session outside of transactions, one inside, and one with a snapshot that stays as it is.
fn sessions(cluster: &Cluster) -> Vec<(&'static str, Client)> {
    [
        ("", "outside a transaction"),
        ("BEGIN", "in a transaction"),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", "in SERIALIZABLE"),
    ]
    .into_iter()
    .map(|(begin, name)| {
        let mut client = cluster.client();
        run(&mut client, begin);
        (name, client)
    })
    .collect()
}

fn check_all(answers: &Answers, sessions: &mut [(&'static str, Client)], when: &str) {
    for (name, session) in sessions {
        answers.check(session, &format!("{when}, {name}"));
    }
}

/// G1, G2: each operation on each table, with keys that change right after it and without.
#[test]
fn answers_are_right_after_operations_that_move_every_row() {
    let cluster = with_tablespace();
    let mut admin = cluster.client();
    let mut answers = Answers::of_every_kind(&mut admin, 2);
    let mut sessions = sessions(&cluster);
    sessions.iter_mut().for_each(|(_, session)| answers.remember(session));
    for operation in OPERATIONS {
        for table in TABLES {
            let sql = operation.replace("{}", table).replace("{i}", &table["vpk.".len()..]);
            // It waits for the end of every transaction with a snapshot.
            if sql.contains("CONCURRENTLY") {
                sessions.iter_mut().for_each(|(_, session)| run(session, "COMMIT"));
            }
            run(&mut admin, &sql);
            check_all(&answers, &mut sessions, &sql);
        }
        for table in TABLES {
            let sql = operation.replace("{}", table).replace("{i}", &table["vpk.".len()..]);
            if !sql.contains("COLUMN") {
                run(&mut admin, &sql);
            }
        }
        answers.change(&mut admin);
        check_all(&answers, &mut sessions, &format!("{operation}, and a change"));
    }
    assert_healthy(&cluster);
}

/// G1, G2: the same rows in another order, in a file that was emptied, and nothing in between.
#[test]
fn answers_are_right_after_rows_are_loaded_again() {
    let cluster = with_tablespace();
    let mut admin = cluster.client();
    let mut answers = Answers::of_every_kind(&mut admin, 3);
    let mut sessions = sessions(&cluster);
    sessions.iter_mut().for_each(|(_, session)| answers.remember(session));
    for (table, while_empty) in [("vpk.keys", INVALID), ("vpk.accounts", PLAN), ("vpk.plans", PLAN)]
    {
        for order in ["1 DESC", "random()", "2, 1"] {
            let rows = copy_out(&mut admin, table, order);
            run(&mut admin, &format!("TRUNCATE {table}"));
            let empty = answers.when(|known| match (table, known.answer) {
                ("vpk.keys", _) => while_empty,
                (_, "VALID") => while_empty,
                (_, answer) => answer,
            });
            check_all(&empty, &mut sessions, &format!("{table} is empty"));
            copy_in(&mut admin, table, &rows);
            check_all(&answers, &mut sessions, &format!("{table} is full again"));

            // In one statement, so that no session sees it empty.
            let rows = copy_out(&mut admin, table, order);
            let mut transaction = admin.transaction().expect("a transaction");
            run(&mut transaction, &format!("TRUNCATE {table}"));
            copy_in(&mut transaction, table, &rows);
            answers.change(&mut transaction);
            transaction.commit().expect("its end");
            check_all(&answers, &mut sessions, &format!("{table} by {order}"));
        }
    }
    assert_healthy(&cluster);
}

/// G1: a session's own operations count for it at once, and not any more when they are taken back.
#[test]
fn rewrites_count_in_their_transaction_and_not_after_its_rollback() {
    let cluster = with_tablespace();
    let mut client = cluster.client();
    let answers = Answers::of_every_kind(&mut client, 2);
    let mut other = cluster.client();
    for session in [&mut client, &mut other] {
        answers.remember(session);
    }
    let gone = answers.when_all(INVALID);
    let unplanned = answers.when(|known| if known.answer == "VALID" { PLAN } else { known.answer });
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        for (table, empty) in
            [("vpk.keys", &gone), ("vpk.accounts", &unplanned), ("vpk.plans", &unplanned)]
        {
            let rows = copy_out(&mut client, table, "1 DESC");
            for (before, after) in [("", "ROLLBACK"), ("SAVEPOINT s", "ROLLBACK TO s; COMMIT")] {
                let when = format!("{level}, {table}, {after}");
                run(&mut client, &format!("BEGIN ISOLATION LEVEL {level}; {before}"));
                answers.check(&mut client, &when);
                run(&mut client, &format!("TRUNCATE {table}"));
                empty.check(&mut client, &format!("{when}: empty"));
                // The other file is left again without being asked.
                run(&mut client, after);
                answers.check(&mut client, &when);
                answers.check(&mut other, &when);
            }
            // A file of the transaction's own is emptied where it is, without another one.
            run(&mut client, &format!("BEGIN ISOLATION LEVEL {level}; TRUNCATE {table}"));
            for _ in 0..3 {
                empty.check(&mut client, &format!("{level}, {table}: its own file, empty"));
                copy_in(&mut client, table, &rows);
                answers.check(&mut client, &format!("{level}, {table}: its own file"));
                run(&mut client, &format!("TRUNCATE {table}"));
            }
            run(&mut client, "ROLLBACK");
            answers.check(&mut client, &format!("{level}, {table}: the other file"));
            // The same rows elsewhere, changed there, and all of it taken back.
            for operation in [
                "TRUNCATE {}",
                "CLUSTER {} USING {i}_pkey",
                "ALTER TABLE {} ADD COLUMN one uuid DEFAULT gen_random_uuid()",
                "ALTER TABLE {} SET TABLESPACE elsewhere",
            ] {
                let sql = operation.replace("{}", table).replace("{i}", &table["vpk.".len()..]);
                run(&mut client, &format!("BEGIN ISOLATION LEVEL {level}; SAVEPOINT s; {sql}"));
                let mut changed = answers.clone();
                if operation == "TRUNCATE {}" {
                    copy_in(&mut client, table, &rows);
                    answers.check(&mut client, &format!("{level}, {sql}: full again"));
                }
                changed.change(&mut client);
                changed.check(&mut client, &format!("{level}, {sql}: changed"));
                run(&mut client, "ROLLBACK TO s");
                answers.check(&mut client, &format!("{level}, {sql}: taken back"));
                run(&mut client, &sql);
                if operation == "TRUNCATE {}" {
                    empty.check(&mut client, &format!("{level}, {sql}: once more"));
                }
                run(&mut client, "ROLLBACK");
                // An index stays where it is if its table moves. What was added to it there refers
                // to rows that are gone, and PostgreSQL takes them for others of the same TIDs.
                if operation.ends_with("SET TABLESPACE elsewhere") {
                    run(&mut client, &format!("REINDEX TABLE {table}"));
                }
                answers.check(&mut client, &format!("{level}, {sql}: all taken back"));
                answers.check(&mut other, &format!("{level}, {sql}: for another"));
            }
        }
    }
    assert_healthy(&cluster);
}
