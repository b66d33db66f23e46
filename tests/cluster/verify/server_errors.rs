//! G2: the server's own errors pass through a verification unchanged: never caught, never turned
//! into a status. Each is compared with what a plain query gets in the same place.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::thread;

use crate::support::keys::{Key, create, verify};
use crate::support::{Client, Cluster, pid, value, wait_for_lock};
use postgres::error::DbError;

/// What is compared: everything a client sees that does not depend on the client.
fn told(error: &DbError) -> Vec<String> {
    let rest = [error.detail(), error.hint(), error.file(), error.routine()];
    let mut told = vec![error.code().code().to_owned(), error.message().to_owned()];
    told.extend(rest.map(|text| text.unwrap_or_default().to_owned()));
    told.push(error.line().unwrap_or_default().to_string());
    told
}

fn failure(client: &mut Client, sql: &str) -> DbError {
    match client.batch_execute(sql) {
        Ok(()) => panic!("{sql}: no error"),
        Err(error) => error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error}")).clone(),
    }
}

/// The verification of a key in every way, and a plain look at its row. The key is in a setting, so
/// that it is in no statement and nothing else could bring it into a message.
const WAYS: [&str; 4] = [
    "vpk_verify(current_setting('test.key'))",
    "FROM vpk_authenticate('Bearer ' || current_setting('test.key'))",
    "vpk_verify_hash(sha256(current_setting('test.key')::bytea))",
    "account, metadata FROM vpk.keys WHERE key_hash = sha256(current_setting('test.key')::bytea)",
];

/// Runs all of them and compares the answers.
fn all_fail_alike(client: &mut Client, key: &Key, code: &str) {
    client.batch_execute(&format!("SET test.key = '{}'", key.token)).expect("a setting");
    let [calls @ .., plain] = WAYS;
    let expected = told(&failure(client, &format!("SELECT {plain}")));
    assert_eq!(expected[0], code, "{expected:?}");
    for call in calls {
        let error = failure(client, &format!("SELECT {call}"));
        assert_eq!(told(&error), expected, "{call}");
        assert!(!format!("{error:?}").contains(&key.token), "no message has the token in it");
    }
}

/// G2: timeouts and cancellations while the verification itself waits for a lock on the table, as
/// it does where it does not know the key's place.
#[test]
fn timeouts_and_cancellations_end_a_verification_as_any_statement() {
    let cluster = Cluster::start(&[]);
    let (mut admin, mut knowing, mut client) =
        (cluster.client(), cluster.client(), cluster.client());
    let key = create(&mut admin, "locked");
    client.batch_execute("SET vibepeak_keys.backend_cache = 0").expect("a setting");
    for client in [&mut knowing, &mut client] {
        assert_eq!(verify(client, &key.token), "VALID");
    }
    admin.batch_execute("BEGIN; LOCK TABLE vpk.keys IN ACCESS EXCLUSIVE MODE").expect("a lock");
    knowing.batch_execute("SET statement_timeout = '10min'").expect("a setting");
    assert_eq!(verify(&mut knowing, &key.token), "VALID", "it waits for no lock");
    for (setting, code) in [("statement_timeout", "57014"), ("lock_timeout", "55P03")] {
        client.batch_execute(&format!("SET {setting} = '20ms'")).expect("a setting");
        all_fail_alike(&mut client, &key, code);
        client.batch_execute(&format!("RESET {setting}")).expect("a setting");
    }

    let mut observer = cluster.client();
    let waiting = pid(&mut client);
    let token = key.token.clone();
    let call = thread::spawn(move || {
        let error = failure(&mut client, &format!("SELECT vpk_verify('{token}')"));
        (client, error)
    });
    wait_for_lock(&mut observer, waiting);
    observer.execute("SELECT pg_cancel_backend($1)", &[&waiting]).expect("a cancellation");
    let (mut client, error) = call.join().expect("its end");
    assert_eq!(error.code().code(), "57014");
    assert_eq!(error.message(), "canceling statement due to user request");
    admin.batch_execute("COMMIT").expect("the lock's end");
    assert_eq!(verify(&mut client, &key.token), "VALID", "the same server process goes on");
}

/// G2: a statement that verifies without end is cancelled like any other.
#[test]
fn a_statement_without_end_can_be_cancelled() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let key = create(&mut client, "without end");
    for token in [key.token.as_str(), "malformed"] {
        let sql = format!(
            "SELECT count(v) FROM (SELECT vpk_verify('{token}') AS v, generate_series(1, 1e15)) AS s"
        );
        client.batch_execute("BEGIN; SET LOCAL statement_timeout = '200ms'").expect("a setting");
        let error = failure(&mut client, &sql);
        assert_eq!(error.code().code(), "57014");
        assert_eq!(error.message(), "canceling statement due to statement timeout");
        client.batch_execute("ROLLBACK").expect("its end");
    }
    assert_eq!(verify(&mut client, &key.token), "VALID", "the same server process goes on");
}

/// G2: a broken page is an error, not an answer.
#[test]
fn a_broken_page_raises_the_servers_error() {
    let cluster = Cluster::with_checksums(&[("autovacuum", "off"), ("enable_seqscan", "off")]);
    let key = create(&mut cluster.client(), "on a broken page");
    const GARBAGE: [u8; 8192] = [0xa5; 8192];
    const ZEROES: [u8; 8192] = [0; 8192];
    for (relation, page, code) in [
        ("vpk.keys", GARBAGE, "XX001"),
        ("vpk.keys_key_hash_excl", GARBAGE, "XX001"),
        ("vpk.keys_key_hash_excl", ZEROES, "XX002"),
    ] {
        let sql = format!("SELECT pg_relation_filepath('{relation}')");
        let path = cluster.data().join(value(&mut cluster.client(), &sql, &[]));
        cluster.down();
        let file = OpenOptions::new().read(true).write(true).open(path).expect("the table's file");
        let mut whole = vec![0; file.metadata().expect("its length").len() as usize];
        file.read_exact_at(&mut whole, 0).expect("its pages");
        // Of the index, not the first page: the others are what a look-up reads.
        for number in usize::from(relation != "vpk.keys")..whole.len() / page.len() {
            file.write_all_at(&page, (number * page.len()) as u64).expect("a broken page");
        }
        cluster.up();
        all_fail_alike(&mut cluster.client(), &key, code);

        cluster.down();
        file.write_all_at(&whole, 0).expect("its pages");
        cluster.up();
        assert_eq!(verify(&mut cluster.client(), &key.token), "VALID");
    }
}
