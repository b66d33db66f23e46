//! G1 inside transactions: a session that has just verified a key sees the changes of its own
//! transaction and the committed ones of others at once, and no longer sees changes that were
//! rolled back.

use std::thread;

use crate::cache::{cluster, cluster_with};
use crate::support::keys::{create, expire, set_plan, verify};
use crate::support::known::{
    Answers, DISABLED, INVALID, PLAN, REVOKED, VALID, assert_healthy, copy_in, copy_out, run,
};
use crate::support::{Client, Cluster, GenericClient, pid, value, wait_for_lock, wait_until};

const LEVELS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

/// Everything that a savepoint can take back, and what the keys answer until then.
fn changes(client: &mut impl GenericClient, answers: &Answers) -> Vec<(&'static str, Answers)> {
    let mut all = vec![("nothing", answers.clone())];
    let mut changed = answers.clone();
    changed.change(client);
    all.push(("keys", changed.clone()));
    run(client, "ROLLBACK TO s");

    set_plan(client, "acme", "Free");
    set_plan(client, "poor", "Plus");
    let other = |answer| if answer == VALID { PLAN } else { VALID };
    let moved = answers.when(|known| match known.answer {
        VALID | PLAN => other(known.answer),
        answer => answer,
    });
    moved.check(client, "accounts on other plans");
    all.push(("accounts", moved));
    run(client, "ROLLBACK TO s");
    answers.check(client, "accounts on their own plans");

    run(client, "UPDATE vpk.plans SET api_access = NOT api_access");
    all.last().expect("the same answers").1.check(client, "plans the other way round");
    run(client, "ROLLBACK TO s");

    run(client, "SELECT vpk_revoke_account('acme')");
    let revoked = answers.when(|known| match (known.account.as_str(), known.answer) {
        ("acme", VALID | DISABLED) => REVOKED,
        (_, answer) => answer,
    });
    all.push(("an account", revoked));
    run(client, "ROLLBACK TO s");

    run(client, "SELECT vpk_delete_account('acme')");
    let gone = answers.when(|known| if known.account == "acme" { INVALID } else { known.answer });
    gone.check(client, "a deleted account");
    all.push(("a deleted account", gone));
    run(client, "ROLLBACK TO s");
    answers.check(client, "an account that is there again");
    all
}

/// Makes one of the changes above once more, and none of the keys that it made.
fn repeat(client: &mut impl GenericClient, change: &str) -> bool {
    let sql = match change {
        "accounts" => "SELECT vpk_set_plan('acme', 'Free'), vpk_set_plan('poor', 'Plus')",
        "an account" => "SELECT vpk_revoke_account('acme')",
        "a deleted account" => "SELECT vpk_delete_account('acme')",
        _ => return false,
    };
    run(client, sql);
    true
}

/// G1: in a subtransaction, after it was taken back, and where it is the outer one that is.
#[test]
fn changes_in_a_subtransaction_count_until_it_is_rolled_back() {
    let cluster = cluster();
    let (mut client, mut other) = (cluster.client(), cluster.client());
    let answers = Answers::of_every_kind(&mut client, 2);
    for session in [&mut client, &mut other] {
        answers.remember(session);
    }
    for level in LEVELS {
        run(&mut client, &format!("BEGIN ISOLATION LEVEL {level}; SAVEPOINT s"));
        for (change, expected) in changes(&mut client, &answers) {
            answers.check(&mut client, &format!("{level}: before {change}"));
            if repeat(&mut client, change) {
                run(&mut client, "SAVEPOINT t");
                expected.check(&mut client, &format!("{level}: {change}"));
                run(&mut client, "RELEASE t");
                expected.check(&mut client, &format!("{level}: {change}, released"));
                answers.check(&mut other, &format!("{level}: {change}, elsewhere"));
                run(&mut client, "ROLLBACK TO s");
            }
            answers.check(&mut client, &format!("{level}: {change} taken back"));
        }
        run(&mut client, "ROLLBACK");
        answers.check(&mut client, level);
        answers.check(&mut other, level);
    }
    assert_healthy(&cluster);
}

/// G1: a function's blocks that end in an exception take their changes back; a verification inside
/// an aborted one leaves nothing wrong behind; and each step of one statement sees those before it.
#[test]
fn each_step_of_a_function_or_statement_sees_the_steps_before_it() {
    let cluster = cluster();
    let mut client = cluster.client();
    let answers = Answers::of_every_kind(&mut client, 2);
    answers.remember(&mut client);
    run(
        &mut client,
        "CREATE FUNCTION steps(id uuid, token text) RETURNS text LANGUAGE plpgsql AS $$
         DECLARE
             steps text[] := ARRAY[vpk_verify(token)::text];
         BEGIN
             FOR round IN 1..3 LOOP
                 BEGIN
                     PERFORM vpk_revoke(id);
                     steps := steps || vpk_verify(token)::text;
                     BEGIN
                         UPDATE vpk.keys AS k SET revoked_at = NULL WHERE k.id = steps.id;
                         steps := steps || vpk_verify(token)::text;
                         RAISE division_by_zero;
                     EXCEPTION WHEN division_by_zero THEN
                         steps := steps || vpk_verify(token)::text;
                     END;
                     DELETE FROM vpk.keys AS k WHERE k.id = steps.id;
                     steps := steps || vpk_verify(token)::text;
                     RAISE division_by_zero;
                 EXCEPTION WHEN division_by_zero THEN
                     steps := steps || vpk_verify(token)::text;
                 END;
             END LOOP;
             RETURN array_to_string(steps, ' ');
         END $$",
    );
    let known = answers.0[answers.first(VALID)].clone();
    let round = [REVOKED, VALID, REVOKED, INVALID, VALID];
    let expected: Vec<&str> =
        [VALID].into_iter().chain(round.into_iter().cycle().take(15)).collect();
    for level in LEVELS {
        run(&mut client, &format!("BEGIN ISOLATION LEVEL {level}"));
        let sql = "SELECT steps($1::text::uuid, $2)";
        let steps = value(&mut client, sql, &[&known.key.id, &known.key.token]);
        assert_eq!(steps.split(' ').collect::<Vec<_>>(), expected, "{level}");
        answers.check(&mut client, level);

        let sql = "SELECT concat_ws(' ', vpk_verify($2), vpk_disable($1::text::uuid) IS NULL,
                          vpk_verify($2), vpk_enable($1::text::uuid) IS NULL, vpk_verify($2),
                          vpk_revoke($1::text::uuid) IS NULL, vpk_verify($2))";
        let steps = value(&mut client, sql, &[&known.key.id, &known.key.token]);
        assert_eq!(
            steps.replace("f ", ""),
            format!("{VALID} {DISABLED} {VALID} {REVOKED}").as_str()
        );
        run(&mut client, "ROLLBACK");
        answers.check(&mut client, level);
    }
    assert_healthy(&cluster);
}

/// G1: a revocation in a prepared transaction counts from its commit on, as does a table that it
/// emptied; and both are nothing when it is rolled back.
#[test]
fn changes_of_a_prepared_transaction_count_from_its_commit() {
    let cluster = cluster_with(&[("max_prepared_transactions", "5")]);
    let (mut client, mut other) = (cluster.client(), cluster.client());
    let mut answers = Answers::of_every_kind(&mut client, 3);
    for session in [&mut client, &mut other] {
        answers.remember(session);
    }
    for end in ["ROLLBACK PREPARED 'p'", "COMMIT PREPARED 'p'"] {
        run(&mut client, "BEGIN");
        let mut changed = answers.clone();
        changed.change(&mut client);
        changed.check(&mut client, "the transaction itself");
        run(&mut client, "PREPARE TRANSACTION 'p'");
        // Its key exists for no other session yet.
        let mut before = answers.clone();
        before.0.extend(changed.0.last().cloned());
        before.0.last_mut().expect("the new key").answer = INVALID;
        for session in [&mut client, &mut other] {
            before.check(session, "prepared");
        }
        // By a session that did not begin it.
        run(&mut other, end);
        let after = if end.starts_with("COMMIT") { &changed } else { &before };
        for session in [&mut client, &mut other] {
            after.check(session, end);
        }
        answers = after.clone();
    }
    for (operation, back) in
        [("TRUNCATE vpk.keys", true), ("CLUSTER vpk.keys USING keys_pkey", false)]
    {
        for end in ["ROLLBACK PREPARED 'p'", "COMMIT PREPARED 'p'"] {
            let rows = copy_out(&mut client, "vpk.keys", "1 DESC");
            run(&mut client, "BEGIN");
            run(&mut client, operation);
            let at = (!back).then(|| answers.first(VALID));
            let mut changed = if back { answers.when_all(INVALID) } else { answers.clone() };
            at.into_iter().for_each(|at| changed.revoke(&mut client, at));
            run(&mut client, "PREPARE TRANSACTION 'p'");
            run(&mut other, end);
            let committed = end.starts_with("COMMIT");
            for session in [&mut client, &mut other] {
                let expected = if committed { &changed } else { &answers };
                expected.check(session, &format!("{operation}, {end}"));
            }
            if committed && back {
                copy_in(&mut client, "vpk.keys", &rows);
            } else if committed {
                answers = changed;
            }
            answers.check(&mut other, "as before");
        }
    }
    assert_healthy(&cluster);
}

/// G1: rows of a cursor, and of a long statement, for keys that the session knows: each is judged
/// when its turn comes, after any change of the tables between two of them.
#[test]
fn each_row_is_judged_when_it_is_produced() {
    let cluster = cluster();
    for level in LEVELS {
        let (mut admin, mut client) = (cluster.client(), cluster.client());
        let mut answers = Answers::of_every_kind(&mut admin, 2);
        answers.remember(&mut client);
        let tokens: Vec<String> = answers.0.iter().map(|known| known.key.token.clone()).collect();
        let mut transaction = client.build_transaction().start().expect("a transaction");
        run(&mut transaction, &format!("SET TRANSACTION ISOLATION LEVEL {level}"));
        let sql = "SELECT vpk_verify(($1::text[])[1 + g % cardinality($1::text[])])::text
                     FROM generate_series(0, 1000) AS g";
        let query = transaction.prepare(sql).expect("a query");
        let cursor = transaction.bind(&query, &[&tokens]).expect("a cursor");
        let mut fetch = |answers: &Answers, when: &str| {
            let rows = transaction.query_portal(&cursor, tokens.len() as i32).expect("rows");
            let found: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
            // A key that was made meanwhile is not among the cursor's.
            let expected: Vec<&str> =
                answers.0[..tokens.len()].iter().map(|known| known.answer).collect();
            assert_eq!(found, expected, "{level}: {when}");
        };
        fetch(&answers, "at first");
        for operation in ["", "VACUUM FULL vpk.keys", "CLUSTER vpk.keys USING keys_pkey", "VACUUM"]
        {
            run(&mut admin, operation);
            fetch(&answers, operation);
            answers.change(&mut admin);
            fetch(&answers, &format!("{operation}, and a change"));
        }
        let rows = copy_out(&mut admin, "vpk.keys", "1 DESC");
        run(&mut admin, "TRUNCATE vpk.keys");
        fetch(&answers.when_all(INVALID), "an empty table");
        copy_in(&mut admin, "vpk.keys", &rows);
        fetch(&answers, "a full table");
        transaction.commit().expect("nothing to fail with");
        long_statement(&cluster, level);
    }
    assert_healthy(&cluster);
}

/// A statement with a row for each key, again and again, that stops at a lock while everything
/// changes behind it.
fn long_statement(cluster: &Cluster, level: &str) {
    let (mut admin, mut client) = (cluster.client(), cluster.client());
    let mut answers = Answers::of_every_kind(&mut admin, 2);
    answers.remember(&mut client);
    run(&mut admin, "SELECT pg_advisory_lock(3)");
    let client_pid = pid(&mut client);
    let before = answers.clone();
    let tokens: Vec<String> = answers.0.iter().map(|known| known.key.token.clone()).collect();
    let number = tokens.len();
    let level = level.to_owned();
    let statement = thread::spawn(move || -> Vec<String> {
        run(&mut client, &format!("BEGIN ISOLATION LEVEL {level}"));
        let sql = "SELECT vpk_verify(($1::text[])[1 + g % cardinality($1::text[])])::text,
                          pg_advisory_lock(CASE g WHEN 2 * cardinality($1::text[]) THEN 3 END)::text
                     FROM generate_series(0, 6 * cardinality($1::text[]) - 1) AS g";
        let rows = client.query(sql, &[&tokens]).expect("rows");
        run(&mut client, "COMMIT");
        rows.iter().map(|row| row.get(0)).collect()
    });
    wait_for_lock(&mut admin, client_pid);
    // The row that waits has been judged.
    let rows = copy_out(&mut admin, "vpk.keys", "1 DESC");
    run(&mut admin, "TRUNCATE vpk.keys");
    copy_in(&mut admin, "vpk.keys", &rows);
    answers.change(&mut admin);
    run(&mut admin, "VACUUM FULL vpk.keys");
    run(&mut admin, "SELECT pg_advisory_unlock(3)");
    let found = statement.join().expect("the rows");
    for (at, found) in found.iter().enumerate() {
        let expected = if at <= number * 2 { &before } else { &answers };
        assert_eq!(found, expected.0[at % number].answer, "row {at} of {number} keys");
    }
}

/// G1: a session does not repeat an earlier answer if the clock, its settings, the role that calls
/// or the client's address differ.
#[test]
fn answers_follow_the_clock_the_settings_and_the_arguments() {
    let cluster = cluster();
    let mut client = cluster.client();
    let answers = Answers::of_every_kind(&mut client, 3);
    answers.remember(&mut client);
    let mut brief = String::new();
    wait_until("a key that expires soon was verified twice in time", || {
        let key = create(&mut client, "brief");
        expire(&mut client, &key, "500 ms");
        brief = key.token;
        (0..2).all(|_| verify(&mut client, &brief) == VALID)
    });

    run(&mut client, "SET vibepeak_keys.environments = 'test'");
    for known in &answers.0 {
        assert_eq!(verify(&mut client, &known.key.token), INVALID, "{}", known.name);
    }
    run(&mut client, "SET vibepeak_keys.environments = 'live'");
    answers.check(&mut client, "live");
    run(&mut client, "DISCARD ALL");
    answers.check(&mut client, "after DISCARD ALL");
    run(&mut client, "DISCARD PLANS; DISCARD TEMP");
    run(
        &mut client,
        "CREATE ROLE verifier; SELECT vpk_grant_verifier('verifier'); SET ROLE verifier",
    );
    let known = &answers.0[answers.first(VALID)];
    assert_eq!(verify(&mut client, &known.key.token), VALID);
    run(&mut client, "RESET ROLE");
    answers.check(&mut client, "after another role");

    let sql = "SELECT vpk_update($1::text::uuid, allowed_ips => '{192.0.2.0/24}')::text";
    value(&mut client, sql, &[&known.key.id]);
    let sql = "SELECT string_agg(status::text, ' ')
                 FROM unnest('{192.0.2.1,198.51.100.1,NULL,192.0.2.9}'::inet[]) AS client_ip,
                      vpk_authenticate('Bearer ' || $1, client_ip => client_ip)";
    let expected = "VALID IP_NOT_ALLOWED IP_NOT_ALLOWED VALID";
    for _ in 0..3 {
        assert_eq!(value(&mut client, sql, &[&known.key.token]), expected);
    }
    wait_until("it has expired", || verify(&mut client, &brief) == "API_KEY_EXPIRED");
    assert_healthy(&cluster);
}

/// G2: statements that are cancelled among verifications leave nothing behind that is wrong later.
#[test]
fn cancelled_statements_leave_nothing_wrong_in_the_cache() {
    let cluster = cluster();
    let (mut admin, mut client) = (cluster.client(), cluster.client());
    let mut answers = Answers::of_every_kind(&mut admin, 3);
    answers.remember(&mut client);
    let tokens: Vec<String> = answers.0.iter().map(|known| known.key.token.clone()).collect();
    let sql = "SELECT count(vpk_verify(token)) FROM unnest($1::text[]) AS t (token),
                      generate_series(1, 100000)";
    let endless = |client: &mut Client| {
        for milliseconds in 1..20 {
            // Within a transaction, since no later statement has the limit.
            run(client, &format!("BEGIN; SET LOCAL statement_timeout = {milliseconds}"));
            let error = client.query(sql, &[&tokens]).expect_err("a timeout");
            assert_eq!(error.code().map(|code| code.code()), Some("57014"));
            run(client, "ROLLBACK");
        }
    };
    endless(&mut client);
    answers.check(&mut client, "cancelled");
    answers.change(&mut admin);
    run(&mut admin, "VACUUM FULL vpk.keys");
    endless(&mut client);
    answers.check(&mut client, "changed and cancelled");
    // Nothing is held that a change of the table would wait for.
    run(&mut admin, "SET lock_timeout = '1s'");
    run(&mut admin, "VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) vpk.keys");
    run(&mut admin, "TRUNCATE vpk.keys");
    answers.when_all(INVALID).check(&mut client, "an empty table");
    assert_healthy(&cluster);
}
