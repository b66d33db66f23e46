//! G1 and G2 when rows are deleted and others take their TIDs: a session that has just verified a
//! key is not misled by the row that now has the TID of the key.

use std::collections::{BTreeMap, BTreeSet};

use crate::cache::cluster;
use crate::support::known::{Answers, DISABLED, INVALID, REVOKED, VALID, assert_healthy, run};
use crate::support::{Client, value, wait_until};

/// Where the rows of the keys are: block and number in it.
fn places(client: &mut Client) -> BTreeMap<String, String> {
    let rows = client.query("SELECT id::text, ctid::text FROM vpk.keys", &[]).expect("places");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn blocks(client: &mut Client) -> i64 {
    let sql = "SELECT pg_relation_size('vpk.keys') / current_setting('block_size')::int";
    client.query_one(sql, &[]).expect("a size").get(0)
}

/// The ids of these keys, as a list of SQL.
fn list(answers: &Answers, of: &[usize]) -> String {
    let ids: Vec<String> = of.iter().map(|at| format!("'{}'", answers.0[*at].key.id)).collect();
    ids.join(", ")
}

/// Takes keys away and keeps their rows in a table.
fn put_aside(client: &mut Client, answers: &mut Answers, of: &[usize]) {
    let ids = list(answers, of);
    let sql = format!("INSERT INTO aside SELECT * FROM vpk.keys WHERE id IN ({ids})");
    run(client, &sql);
    run(client, &format!("DELETE FROM vpk.keys WHERE id IN ({ids})"));
    of.iter().for_each(|at| answers.0[*at].answer = INVALID);
}

/// G1, G2: another key takes the TID of a deleted one, which is then inserted again at another TID.
#[test]
fn a_tid_that_another_key_took_misleads_no_session() {
    let cluster = cluster();
    let mut admin = cluster.client();
    run(&mut admin, "CREATE TABLE aside (LIKE vpk.keys)");
    let mut answers = Answers::of_every_kind(&mut admin, 3);
    for _ in 0..30 {
        answers.add(&mut admin, "acme");
    }
    // One is asked after each step, the other only at the end.
    let (mut session, mut at_the_end) = (cluster.client(), cluster.client());
    for session in [&mut session, &mut at_the_end] {
        answers.remember(session);
    }
    let gone: Vec<usize> =
        (0..answers.0.len()).filter(|at| at % 2 == 0 && answers.0[*at].answer == VALID).collect();
    let before = places(&mut admin);
    put_aside(&mut admin, &mut answers, &gone);
    answers.check(&mut session, "deleted");
    run(&mut admin, "VACUUM vpk.keys");
    answers.check(&mut session, "cleared away");
    let lost: Vec<String> = gone.iter().map(|at| before[&answers.0[*at].key.id].clone()).collect();
    for number in 0..lost.len() {
        let at = answers.add(&mut admin, "acme");
        let (answer, call) = match number % 3 {
            0 => continue,
            1 => (REVOKED, "vpk_revoke"),
            _ => (DISABLED, "vpk_disable"),
        };
        let id = &answers.0[at].key.id;
        value(&mut admin, &format!("SELECT {call}($1::text::uuid)::text"), &[id]);
        answers.0[at].answer = answer;
    }
    let taken: BTreeSet<String> = places(&mut admin).into_values().collect();
    let number = lost.iter().filter(|place| taken.contains(*place)).count();
    assert!(number > lost.len() / 3, "{number} places of {} are taken", lost.len());
    answers.check(&mut session, "taken");
    answers.check(&mut at_the_end, "taken, at the end");

    run(&mut admin, "INSERT INTO vpk.keys SELECT * FROM aside");
    gone.iter().for_each(|at| answers.0[*at].answer = VALID);
    let now = places(&mut admin);
    for at in &gone {
        let id = &answers.0[*at].key.id;
        assert_ne!(before[id], now[id], "it is elsewhere");
    }
    answers.check(&mut session, "there again");
    answers.check(&mut at_the_end, "there again, at the end");
    assert_healthy(&cluster);
}

/// G1, G2: keys that answer differently exchange their TIDs.
#[test]
fn keys_that_exchange_tids_answer_for_themselves() {
    let cluster = cluster();
    let mut admin = cluster.client();
    run(&mut admin, "CREATE TABLE aside (LIKE vpk.keys)");
    let mut answers = Answers::default();
    for _ in 0..4 {
        answers.add(&mut admin, "default");
    }
    answers.revoke(&mut admin, 1);
    value(&mut admin, "SELECT vpk_disable($1::text::uuid)::text", &[&answers.0[2].key.id]);
    answers.0[2].answer = DISABLED;
    // The old versions go, and the new ones are all that is there.
    run(&mut admin, "VACUUM FULL vpk.keys");
    let mut session = cluster.client();
    answers.remember(&mut session);
    let all: Vec<usize> = (0..answers.0.len()).collect();
    let first: Vec<String> = places(&mut admin).into_values().collect();
    for round in 1..=8 {
        let (answers_then, before) = (answers.clone(), places(&mut admin));
        put_aside(&mut admin, &mut answers, &all);
        if round % 2 == 0 {
            answers.check(&mut session, "none is there");
        }
        run(&mut admin, "VACUUM vpk.keys");
        for number in 0..all.len() {
            let id = &answers.0[(number + round) % all.len()].key.id;
            run(&mut admin, &format!("INSERT INTO vpk.keys SELECT * FROM aside WHERE id = '{id}'"));
        }
        run(&mut admin, "TRUNCATE aside");
        answers = answers_then;
        let now = places(&mut admin);
        assert!(now.values().all(|place| first.contains(place)), "the same places: {now:?}");
        assert_ne!(before, now, "and others in them");
        answers.check(&mut session, "in each other's place");
    }
    assert_healthy(&cluster);
}

/// So many rows of no interest.
fn fill(client: &mut Client, rows: usize) {
    let sql = format!(
        "INSERT INTO vpk.keys (id, key_hash, account, environment, name, created_at)
         SELECT gen_random_uuid(), sha256(g::text::bytea), 'acme', 'live', 'filler', now()
           FROM generate_series(1, {rows}) AS g"
    );
    run(client, &sql);
}

/// G1, G2: the block where a key was is cut off the file's end, and comes back with other keys in
/// it.
#[test]
fn a_truncated_block_misleads_no_session() {
    let cluster = cluster();
    let mut admin = cluster.client();
    run(&mut admin, "CREATE TABLE aside (LIKE vpk.keys)");
    let mut answers = Answers::of_every_kind(&mut admin, 3);
    let mut session = cluster.client();
    let (mut asked_late, mut asked_once) = (cluster.client(), cluster.client());
    fill(&mut admin, 4000);
    let last: Vec<usize> = (0..40).map(|_| answers.add(&mut admin, "acme")).collect();
    for session in [&mut session, &mut asked_late, &mut asked_once] {
        answers.remember(session);
    }
    let before = (blocks(&mut admin), places(&mut admin));
    put_aside(&mut admin, &mut answers, &last);
    run(&mut admin, "DELETE FROM vpk.keys WHERE name = 'filler'");
    wait_until("the file is shorter", || {
        run(&mut admin, "VACUUM vpk.keys");
        blocks(&mut admin) < before.0 / 2
    });
    answers.check(&mut session, "cut off");
    asked_once.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").expect("a transaction");
    answers.check(&mut asked_once, "cut off, in a transaction");

    // The file grows again, until the last block is there, with others in it.
    fill(&mut admin, 4000);
    let block = |place: &str| place.split(',').next().expect("a block").to_owned();
    let wanted = block(&before.1[&answers.0[last[39]].key.id]);
    let mut others = Vec::new();
    wait_until("the last block is there again", || {
        let at = answers.add(&mut admin, "acme");
        others.push(at);
        let now = places(&mut admin);
        block(&now[&answers.0[at].key.id]) == wanted
    });
    for at in others.iter().step_by(2) {
        answers.revoke(&mut admin, *at);
    }
    for (session, when) in
        [(&mut session, "session"), (&mut asked_late, "late"), (&mut asked_once, "once")]
    {
        answers.check(session, when);
    }
    run(&mut asked_once, "COMMIT");

    run(&mut admin, "INSERT INTO vpk.keys SELECT * FROM aside");
    last.iter().for_each(|at| answers.0[*at].answer = VALID);
    for session in [&mut session, &mut asked_late, &mut asked_once] {
        answers.check(session, "there again");
    }
    run(&mut admin, "TRUNCATE vpk.keys");
    let none = answers.when_all(INVALID);
    for session in [&mut session, &mut asked_late, &mut asked_once] {
        none.check(session, "a file without a block");
    }
    assert_healthy(&cluster);
}
