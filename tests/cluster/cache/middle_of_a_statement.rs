//! G1 and G2 where something is committed in the middle of a verification: that one is of before or
//! of after, and the next is of after.

use std::thread;

use crate::cache::cluster;
use crate::support::keys::{Key, create, revoke, verify};
use crate::support::known::{INVALID, PLAN, REVOKED, VALID, assert_healthy, run};
use crate::support::{Client, pid, report, value, wait_for_lock};

/// Verifies a key in a session that waits for a lock of another one, which first runs `sql`.
fn meanwhile(session: &mut Client, other: &mut Client, key: &Key, sql: &str) -> String {
    let process = pid(session);
    thread::scope(|scope| {
        let ask = "SELECT vpk_verify($1)::text";
        let asked = scope.spawn(move || match session.query_one(ask, &[&key.token]) {
            Ok(row) => row.get(0),
            Err(error) => report(&error),
        });
        wait_for_lock(other, process);
        run(other, sql);
        asked.join().expect("an answer")
    })
}

/// G2: names are looked up one after the other, and an index may be replaced by one of the same
/// name when its own was looked up already. Nobody is sent to the one that is gone, then and later.
#[test]
fn a_replaced_index_is_never_used() {
    let cluster = cluster();
    let (mut admin, mut session) = (cluster.client(), cluster.client());
    let key = create(&mut admin, "looked up");
    // All that the session needs for its first key, but where the table is.
    assert_eq!(verify(&mut session, "malformed"), INVALID);
    value(&mut session, "SELECT to_regclass('vpk.keys_key_hash_excl')::oid::text", &[]);
    let process = pid(&mut session);

    // The session that holds the lock can read pg_locks: it has looked up what it needs before.
    let none = "SELECT count(*)::text FROM pg_locks WHERE pid = $1::text::int AND NOT granted";
    assert_eq!(value(&mut admin, none, &[&process.to_string()]), "0");
    run(&mut admin, "BEGIN; LOCK TABLE pg_catalog.pg_class IN ACCESS EXCLUSIVE MODE");
    let replace = "ALTER TABLE vpk.keys
            DROP CONSTRAINT keys_key_hash_excl,
            ADD CONSTRAINT keys_key_hash_excl
                EXCLUDE USING hash (key_hash WITH OPERATOR(pg_catalog.=)) WITH (fillfactor = 50);
        COMMIT";
    let told = meanwhile(&mut session, &mut admin, &key, replace);
    assert_eq!(told, VALID, "what has waited");
    assert_eq!(verify(&mut session, &key.token), VALID, "the next one");
    revoke(&mut admin, &key);
    assert_eq!(verify(&mut session, &key.token), REVOKED);
    assert_healthy(&cluster);
}

/// G1: between the snapshot by which a key is read and what is remembered of it. The key's row is
/// so long that its values are elsewhere, and the way there is locked.
#[test]
fn a_change_during_a_lookup_counts_at_the_next_one() {
    let cluster = cluster();
    let mut admin = cluster.client();
    run(&mut admin, "ALTER TABLE vpk.keys SET (toast_tuple_target = 128)");
    let sql = "SELECT i.indexrelid::regclass::text FROM pg_index AS i
                 JOIN pg_class AS c ON c.reltoastrelid = i.indrelid
                WHERE c.oid = 'vpk.keys'::regclass";
    let index = value(&mut admin, sql, &[]);
    for (change, before, after) in [
        ("UPDATE vpk.keys SET revoked_at = now() WHERE id = '{}'", VALID, REVOKED),
        ("DELETE FROM vpk.keys WHERE id = '{}'", VALID, INVALID),
        ("UPDATE vpk.plans SET api_access = NOT api_access", VALID, PLAN),
        ("UPDATE vpk.plans SET api_access = NOT api_access", PLAN, VALID),
        ("UPDATE vpk.accounts SET plan = 'Free'", VALID, PLAN),
        ("UPDATE vpk.accounts SET plan = 'Pro'", PLAN, VALID),
        ("DELETE FROM vpk.accounts", VALID, PLAN),
    ] {
        let sql = "SELECT id::text, token FROM vpk_create('long', metadata => (
                       SELECT jsonb_object_agg(g, sha256(g::text::bytea))
                         FROM generate_series(1, 50) AS g))";
        let row = admin.query_one(sql, &[]).expect("a key");
        let key = Key { id: row.get(0), token: row.get(1) };
        // It opens all tables together, for its first key, and so sees them as they were.
        let mut session = cluster.client();
        run(&mut admin, &format!("BEGIN; REINDEX INDEX {index}"));
        let sql = format!("{}; COMMIT", change.replace("{}", &key.id));
        let told = meanwhile(&mut session, &mut admin, &key, &sql);
        assert_eq!(told, before, "what has waited: {change}");
        for _ in 0..3 {
            assert_eq!(verify(&mut session, &key.token), after, "the next one: {change}");
        }
    }
    assert_healthy(&cluster);
}
