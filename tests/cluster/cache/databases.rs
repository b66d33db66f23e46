//! G1 and G2 where the extension itself goes and comes, and in databases that are copies of each
//! other: a session that has just verified a key knows it in its own database and as long as it is
//! there.

use crate::cache::cluster;
use crate::support::keys::{create, set_plan, verify};
use crate::support::known::{Answers, INVALID, VALID, assert_healthy, run};
use crate::support::{sqlstate, value, wait_until};

/// G2: after the extension has gone there is no function; after it has come again it is another
/// one, whose tables know none of the old keys.
#[test]
fn a_recreated_extension_knows_none_of_the_old_keys() {
    let cluster = cluster();
    let mut admin = cluster.client();
    let (mut session, mut asked_late) = (cluster.client(), cluster.client());
    let mut answers = Answers::of_every_kind(&mut admin, 3);
    for round in 0..3 {
        for session in [&mut admin, &mut session, &mut asked_late] {
            answers.remember(session);
        }
        let sql = "SELECT vpk_verify($1)::text";
        let statement = session.prepare(sql).expect("a statement");
        let token = answers.0[answers.first(VALID)].key.token.clone();
        let row = session.query_one(&statement, &[&token]).expect("an answer");
        assert_eq!(row.get::<_, &str>(0), VALID);

        run(&mut admin, "DROP EXTENSION vibepeak_keys");
        for session in [&mut admin, &mut session] {
            assert_eq!(sqlstate("no function", session.query_one(sql, &[&token])), "42883");
        }
        assert_eq!(sqlstate("prepared", session.query_one(&statement, &[&token])), "42883");
        if round == 1 {
            run(&mut admin, "CREATE EXTENSION vibepeak_keys; DROP EXTENSION vibepeak_keys");
        }
        run(&mut admin, "CREATE EXTENSION vibepeak_keys");
        let gone = answers.when_all(INVALID);
        for session in [&mut admin, &mut session, &mut asked_late] {
            gone.check(session, "created again");
        }
        let row = session.query_one(&statement, &[&token]).expect("another function of this name");
        assert_eq!(row.get::<_, &str>(0), INVALID);
        let mut new = Answers::of_every_kind(&mut admin, 3);
        for session in [&mut admin, &mut session, &mut asked_late] {
            new.check(session, "new keys");
            gone.check(session, "old keys, beside new ones");
        }
        new.change(&mut admin);
        new.check(&mut session, "changed");
        answers = new;
    }
    assert_healthy(&cluster);
}

/// G1: in a transaction that drops and creates the extension, for that session; and not for any
/// session when it is rolled back.
#[test]
fn recreating_the_extension_counts_in_its_transaction_alone() {
    let cluster = cluster();
    let (mut client, mut other) = (cluster.client(), cluster.client());
    let answers = Answers::of_every_kind(&mut client, 3);
    for session in [&mut client, &mut other] {
        answers.remember(session);
    }
    let gone = answers.when_all(INVALID);
    for end in ["ROLLBACK", "ROLLBACK TO s; COMMIT", "COMMIT"] {
        run(&mut client, "BEGIN; SAVEPOINT s");
        answers.check(&mut client, end);
        run(&mut client, "DROP EXTENSION vibepeak_keys; CREATE EXTENSION vibepeak_keys");
        gone.check(&mut client, end);
        let new = Answers::of_every_kind(&mut client, 2);
        new.check(&mut client, end);
        gone.check(&mut client, "beside new ones");
        run(&mut client, end);
        let committed = end == "COMMIT";
        for session in [&mut client, &mut other] {
            let (there, not_there) = if committed { (&new, &answers) } else { (&answers, &new) };
            there.check(session, end);
            not_there.when_all(INVALID).check(session, end);
        }
    }
    assert_healthy(&cluster);
}

/// G1: a copy of a database has the same keys in the same places of files of the same numbers, and
/// what happens to one does not happen to the other.
#[test]
fn a_copied_database_is_independent_of_its_template() {
    let cluster = cluster();
    cluster.database("original", "UTF8");
    cluster.database("beside", "UTF8");
    let mut admin = cluster.client();
    let mut original = cluster.connect("original", "postgres");
    let mut answers = Answers::of_every_kind(&mut original, 3);
    answers.remember(&mut original);
    let beside = Answers::of_every_kind(&mut cluster.connect("beside", "postgres"), 3);
    let mut session = cluster.connect("beside", "postgres");
    answers.when_all(INVALID).remember(&mut session);
    beside.remember(&mut session);
    beside.when_all(INVALID).check(&mut original, "another database's");
    answers.check(&mut original, "its own");

    drop(original);
    let mut copied = answers.clone();
    for strategy in ["WAL_LOG", "FILE_COPY"] {
        let others = "SELECT count(*)::text FROM pg_stat_activity WHERE datname = 'original'";
        wait_until("nobody is connected", || value(&mut admin, others, &[]) == "0");
        let sql = format!("CREATE DATABASE copy TEMPLATE original STRATEGY {strategy}");
        run(&mut admin, &sql);
        let mut original = cluster.connect("original", "postgres");
        let mut copy = cluster.connect("copy", "postgres");
        for session in [&mut original, &mut copy] {
            answers.remember(session);
        }
        copied.clone_from(&answers);
        answers.change(&mut original);
        let new = answers.0.last().expect("the new key").key.token.clone();
        copied.check(&mut copy, "the copy stays as it is");
        assert_eq!(verify(&mut copy, &new), INVALID);
        copied.change(&mut copy);
        for (session, answers) in [(&mut original, &answers), (&mut copy, &copied)] {
            answers.check(session, "both changed");
        }
        run(&mut copy, "TRUNCATE vpk.keys");
        answers.check(&mut original, "the copy is empty");
        copied.when_all(INVALID).check(&mut copy, "empty");
        drop(copy);
        run(&mut admin, "DROP DATABASE copy WITH (FORCE)");
        answers.check(&mut original, "the copy is gone");
    }
    beside.check(&mut session, "beside all of it");
    assert_healthy(&cluster);
}

/// G2: in a database that has no extension the library's function has nothing to look into, and in
/// one where it comes later it has what is there.
#[test]
fn a_library_loaded_before_the_extension_finds_it_later() {
    let cluster = cluster();
    run(&mut cluster.client(), "CREATE DATABASE later");
    let mut here = cluster.client();
    let key = create(&mut here, "of the first database");
    let mut later = cluster.connect("later", "postgres");
    let mut idle = cluster.connect("later", "postgres");
    run(&mut idle, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    let sql = "SELECT vpk_verify($1)::text";
    assert_eq!(sqlstate("no function", later.query_one(sql, &[&key.token])), "42883");
    run(&mut later, "CREATE EXTENSION vibepeak_keys");
    set_plan(&mut later, "acme", "Pro");
    let answers = Answers::of_every_kind(&mut later, 2);
    for session in [&mut later, &mut idle] {
        answers.remember(session);
        assert_eq!(value(session, sql, &[&key.token]), INVALID);
    }
    assert_eq!(value(&mut here, sql, &[&key.token]), VALID);
    assert_healthy(&cluster);
}
