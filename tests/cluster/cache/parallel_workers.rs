//! G1 and G2 in worker processes of a session that has just verified its keys, and for that session
//! when they are done.

use crate::cache::cluster;
use crate::support::known::{Answers, INVALID, assert_healthy, copy_in, copy_out, run};
use crate::support::{Client, pid, value};

/// What workers answer to every key, in the keys' order.
fn check_workers(client: &mut Client, answers: &Answers, when: &str) {
    let leader = pid(client).to_string();
    let rows = client.query("SELECT at, worker_verify(token) FROM presented", &[]);
    let mut workers = 0;
    for row in rows.expect("answers") {
        let known = &answers.0[row.get::<_, i32>(0) as usize];
        let (answer, pid) = row.get::<_, &str>(1).split_once(' ').expect("an answer and a process");
        assert_eq!(answer, known.answer, "{when}: {}", known.name);
        workers += usize::from(pid != leader);
    }
    // A leader that takes part may be done before they have started.
    if value(client, "SHOW parallel_leader_participation", &[]) == "off" {
        assert_ne!(workers, 0, "{when}: a worker has answered");
    }
}

/// G1, G2: after changes of others, of the transaction itself, and after those were taken back.
#[test]
fn parallel_workers_see_what_their_session_sees() {
    let cluster = cluster();
    let (mut admin, mut client) = (cluster.client(), cluster.client());
    let mut answers = Answers::of_every_kind(&mut admin, 3);
    run(
        &mut client,
        "CREATE FUNCTION worker_verify(token text) RETURNS text LANGUAGE plpgsql VOLATILE PARALLEL SAFE
             AS 'BEGIN RETURN concat_ws('' '', vpk_verify(token), pg_backend_pid()); END';
         CREATE TABLE presented (at int, token text, padding text) WITH (parallel_workers = 2);
         ALTER TABLE presented ALTER COLUMN padding SET STORAGE PLAIN;
         SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
         SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2",
    );
    let fill = |client: &mut Client, answers: &Answers| {
        let tokens: Vec<&str> = answers.0.iter().map(|known| known.key.token.as_str()).collect();
        let sql = "INSERT INTO presented SELECT p.at - 1, token, repeat('x', 1000)
                     FROM generate_series(1, 30), unnest($1::text[]) WITH ORDINALITY AS p (token, at)";
        run(client, "SET parallel_leader_participation = off; TRUNCATE presented");
        client.execute(sql, &[&tokens]).expect("rows");
    };
    fill(&mut client, &answers);
    answers.remember(&mut client);
    for leader in ["off", "on"] {
        for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
            let when = format!("{level}, leader {leader}");
            run(&mut client, &format!("BEGIN ISOLATION LEVEL {level}"));
            answers.check(&mut client, &when);
            check_workers(&mut client, &answers, &when);
            answers.change(&mut admin);
            check_workers(&mut client, &answers, &format!("{when}: changed by another"));
            answers.check(&mut client, &when);
            run(&mut client, "COMMIT");
            fill(&mut client, &answers);
            run(&mut client, &format!("SET parallel_leader_participation = {leader}"));

            run(&mut client, &format!("BEGIN ISOLATION LEVEL {level}; SAVEPOINT s"));
            let mut changed = answers.clone();
            changed.change(&mut client);
            check_workers(&mut client, &changed, &format!("{when}: changed by itself"));
            changed.check(&mut client, &when);
            run(&mut client, "ROLLBACK TO s");
            check_workers(&mut client, &answers, &format!("{when}: taken back"));
            let rows = copy_out(&mut client, "vpk.keys", "1 DESC");
            run(&mut client, "TRUNCATE vpk.keys");
            check_workers(&mut client, &answers.when_all(INVALID), &format!("{when}: emptied"));
            copy_in(&mut client, "vpk.keys", &rows);
            check_workers(&mut client, &answers, &format!("{when}: full again"));
            answers.check(&mut client, &when);
            run(&mut client, "ROLLBACK");
            check_workers(&mut client, &answers, &format!("{when}: all taken back"));
            answers.check(&mut client, &when);
        }
    }
    assert_healthy(&cluster);
}
