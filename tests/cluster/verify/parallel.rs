//! G1 and G2 in parallel plans: a wrapper that its author labelled PARALLEL SAFE, which it is not,
//! is run by worker processes, and the answers are right all the same.

use std::collections::BTreeMap;

use crate::support::keys::{create, revoke};
use crate::support::{Client, Cluster, explain, pid};

const ROWS: i64 = 4000;

/// Statuses and how many rows got them, from worker processes only.
type Answers = BTreeMap<String, i64>;

fn set_up(client: &mut Client) {
    client
        .batch_execute(
            "CREATE FUNCTION mislabelled(token text) RETURNS text
             LANGUAGE plpgsql VOLATILE PARALLEL SAFE AS $$
             BEGIN
                 RETURN concat_ws(' ', vpk_verify(token), status, pg_backend_pid())
                   FROM vpk_authenticate('Bearer ' || token);
             END $$;
             CREATE TABLE presented (token text) WITH (parallel_workers = 2);
             SET parallel_setup_cost = 0;
             SET parallel_tuple_cost = 0;
             SET min_parallel_table_scan_size = 0;
             SET max_parallel_workers_per_gather = 2;
             SET parallel_leader_participation = off;",
        )
        .expect("a wrapper and a table");
}

/// Verifies the whole table in a parallel plan, and makes sure that workers did it.
fn answers(client: &mut Client) -> Answers {
    let leader = pid(client).to_string();
    let rows = client.query("SELECT mislabelled(token) FROM presented", &[]).expect("answers");
    assert_eq!(rows.len(), ROWS as usize);
    let mut answers = Answers::new();
    for row in rows {
        let answer: String = row.get(0);
        let parts: Vec<&str> = answer.split(' ').collect();
        assert_eq!(parts[0], parts[1], "vpk_verify and vpk_authenticate");
        assert_ne!(parts[2], leader, "a worker has answered");
        *answers.entry(parts[0].to_owned()).or_default() += 1;
    }
    let plan = explain(client, "SELECT mislabelled(token) FROM presented");
    assert!(plan["Workers Launched"].as_i64() > Some(0), "{plan}");
    answers
}

fn expected(counts: &[(&str, i64)]) -> Answers {
    counts.iter().map(|(status, count)| ((*status).to_owned(), *count)).collect()
}

/// G1, G2: in every isolation level, also where the snapshot that the workers were given is older
/// than the revocation, and for keys of the same transaction.
#[test]
fn workers_answer_as_the_session_itself() {
    let cluster = Cluster::start(&[]);
    let (mut admin, mut client) = (cluster.client(), cluster.client());
    set_up(&mut client);
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        client.batch_execute("TRUNCATE presented").expect("an empty table");
        let key = create(&mut admin, "from workers");
        let fill = "INSERT INTO presented SELECT CASE g % 4 WHEN 0 THEN 'no key' ELSE $1 END
                      FROM generate_series(1, $2::bigint) AS g";
        client.execute(fill, &[&key.token, &ROWS]).expect("rows");
        let invalid = ("INVALID_API_KEY", ROWS / 4);

        client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).expect("a transaction");
        let before = expected(&[("VALID", ROWS / 4 * 3), invalid]);
        assert_eq!(answers(&mut client), before, "{level}");
        revoke(&mut admin, &key);
        let after = expected(&[("API_KEY_REVOKED", ROWS / 4 * 3), invalid]);
        assert_eq!(answers(&mut client), after, "{level}");
        client.batch_execute("COMMIT").expect("its end");

        client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).expect("a transaction");
        let own = create(&mut client, "of the same transaction");
        client.execute("UPDATE presented SET token = $1", &[&own.token]).expect("rows");
        assert_eq!(answers(&mut client), expected(&[("VALID", ROWS)]), "{level}");
        client.batch_execute("COMMIT").expect("its end");
    }
}
