//! G4: uses that `vpk_add_uses` adds and uses that the worker flushes do not block each other.

use std::thread;

use crate::support::keys::{create, verify};
use crate::support::usage::{
    FLUSH_EVERY_200MS, counter, use_key, uses, wait_for_pending, wait_for_uses, wait_until_flushed,
};
use crate::support::{Client, Cluster, caught_up, report, value};

const MAX: i64 = i64::MAX;

/// A key whose count has reached the maximum of a `bigint` stays at it, and does not block the
/// flush of other keys.
#[test]
fn a_count_at_the_maximum_stays_and_blocks_no_other_key() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    let mut client = cluster.client();
    let [full, nearly, other] = ["full", "nearly", "other"].map(|name| create(&mut client, name));
    let add = "SELECT vpk_add_uses($1::text::uuid, now(), $2)::text";
    assert_eq!(value(&mut client, add, &[&full.id, &MAX]), "true");
    assert_eq!(value(&mut client, add, &[&full.id, &MAX]), "true");
    assert_eq!(value(&mut client, add, &[&nearly.id, &(MAX - 2)]), "true");
    use_key(&mut client, &full, 3);
    use_key(&mut client, &nearly, 3);
    use_key(&mut client, &other, 3);
    wait_for_uses(&mut client, &other, 3);
    wait_until_flushed(&mut client);
    assert_eq!([&full, &nearly].map(|key| uses(&mut client, key)), [MAX, MAX]);
}

/// While the first uses of a key are added and not committed, the worker leaves this key for later
/// and flushes the others. A revocation of the key does not wait.
#[test]
fn an_uncommitted_first_use_delays_no_other_key() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    let (mut client, mut adder) = (cluster.client(), cluster.client());
    for (end, before) in [("ROLLBACK", 0), ("COMMIT", 2)] {
        let [added, other] = ["added", "other"].map(|name| create(&mut client, name));
        let sql = format!("BEGIN; SELECT vpk_add_uses('{}', now(), 2)", added.id);
        adder.batch_execute(&sql).expect("uses");
        use_key(&mut client, &added, 5);
        for number in 1..=3 {
            use_key(&mut client, &other, 1);
            wait_for_uses(&mut client, &other, number);
        }
        wait_for_pending(&mut client, 5);
        assert_eq!(uses(&mut client, &added), 0);
        value(&mut client, "SELECT vpk_revoke($1::text::uuid)::text", &[&added.id]);
        assert_eq!(verify(&mut client, &added.token), "API_KEY_REVOKED");
        adder.batch_execute(end).expect("its end");
        wait_for_uses(&mut client, &added, before + 5);
    }
    assert_eq!(value(&mut client, "SELECT last_error FROM vpk.stats", &[]), "");
}

/// Two databases of a standby settle their uses at the same time: neither is refused, and each use
/// is settled once.
#[test]
fn two_databases_of_a_standby_hand_over_at_once() {
    const KEYS: i32 = 500;
    let primary = Cluster::start(&[]);
    primary.database("second", "UTF8");
    let databases = ["postgres", "second"];
    let make = "SELECT array_agg(token) FROM generate_series(1, $1) AS g, vpk_create('key ' || g)";
    let tokens = databases.map(|database| {
        let mut client = primary.connect(database, "postgres");
        client.query_one(make, &[&KEYS]).expect("keys").get::<_, Vec<String>>(0)
    });
    let standby = primary.standby();
    caught_up(&mut primary.client(), &mut standby.client());
    let bring = |client: &mut Client, tokens: &Vec<String>| {
        let verify = "SELECT count(vpk_verify(t)) FROM unnest($1::text[]) AS t";
        let settle = "SELECT sum(vpk_settle_uses(p.key_id, p.uses))::bigint
                        FROM vpk_pending_uses(NULL) AS p";
        client.query_one(verify, &[tokens]).expect("answers");
        let row =
            client.query_one(settle, &[]).unwrap_or_else(|error| panic!("{}", report(&error)));
        assert_eq!(row.get::<_, i64>(0), i64::from(KEYS));
    };
    thread::scope(|scope| {
        for (database, tokens) in databases.iter().zip(&tokens) {
            let mut client = standby.connect(database, "postgres");
            scope.spawn(move || (0..100).for_each(|_| bring(&mut client, tokens)));
        }
    });
    for database in databases {
        let mut client = standby.connect(database, "postgres");
        assert_eq!(counter(&mut client, "uses_pending"), 0);
        assert_eq!(counter(&mut client, "uses_flushed"), 100 * i64::from(KEYS));
    }
}
