//! G9, G10 and G4: a primary that dies under load, and the standby that replaces it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use crate::support::keys::{Key, authenticate, create, verify};
use crate::support::known::run;
use crate::support::usage::{
    Done, FLUSH_EVERY_200MS, counter, stats, wait_for_uses, wait_until_flushed,
};
use crate::support::{Client, Cluster, caught_up, value, wait_until};

/// Keys whose making, and perhaps revoking, was acknowledged.
#[derive(Default)]
struct Acknowledged {
    valid: Vec<Key>,
    revoked: Vec<Key>,
    /// One whose revocation was asked for and not acknowledged.
    unsure: Vec<Key>,
}

/// Makes keys and revokes every other one, until the server is gone.
fn write(mut client: Client, acknowledged: &Mutex<Acknowledged>) {
    loop {
        let sql = "SELECT id::text, token FROM vpk_create('under load')";
        let Ok(row) = client.query_one(sql, &[]) else { return };
        let key = Key { id: row.get(0), token: row.get(1) };
        let revoking = acknowledged.lock().expect("the keys").valid.len() % 2 == 1;
        let sql = "SELECT vpk_revoke($1::text::uuid)::text";
        let revoked = !revoking || client.query_one(sql, &[&key.id]).is_ok();
        let mut keys = acknowledged.lock().expect("the keys");
        match (revoking, revoked) {
            (false, _) => keys.valid.push(key),
            (true, true) => keys.revoked.push(key),
            (true, false) => keys.unsure.push(key),
        }
        // The next one is kept.
        if revoking && revoked {
            drop(keys);
            let sql = "SELECT id::text, token FROM vpk_create('under load')";
            let Ok(row) = client.query_one(sql, &[]) else { return };
            let key = Key { id: row.get(0), token: row.get(1) };
            acknowledged.lock().expect("the keys").valid.push(key);
        }
    }
}

/// Verifies a key until the server is gone or it is enough; the valid answers are counted.
fn verify_on(mut client: Client, key: &Key, enough: &AtomicBool, valid: &AtomicI64) -> Client {
    while !enough.load(Ordering::Relaxed) {
        match client.query_one("SELECT vpk_verify($1)::text", &[&key.token]) {
            Ok(row) => assert_eq!(row.get::<_, &str>(0), "VALID"),
            Err(error) => {
                assert!(client.is_closed(), "{error}");
                break;
            }
        }
        valid.fetch_add(1, Ordering::Relaxed);
    }
    client
}

fn check(client: &mut Client, keys: &Acknowledged) {
    for (keys, expected) in [(&keys.valid, "VALID"), (&keys.revoked, "API_KEY_REVOKED")] {
        for key in keys {
            assert_eq!(verify(client, &key.token), expected);
            assert_eq!(authenticate(client, &key.token), expected);
        }
    }
    for key in &keys.unsure {
        assert!(["VALID", "API_KEY_REVOKED"].contains(&verify(client, &key.token).as_str()));
    }
}

/// The primary is killed while keys are made, revoked and verified on it and on its synchronous
/// standby. What was acknowledged is there: keys, revocations, and each use that the standby has
/// noted. The sessions of the standby go on. The old primary comes back as its standby.
#[test]
fn the_standby_takes_over_under_load() {
    let settings = [("wal_log_hints", "on"), ("wal_keep_size", "256MB")];
    let primary = Cluster::start(&[FLUSH_EVERY_200MS, &settings].concat());
    let standby = primary.standby_with(&[("cluster_name", "standby")]);
    let (mut admin, mut reader) = (primary.client(), standby.client());
    let key = create(&mut admin, "verified all the time");
    caught_up(&mut admin, &mut reader);
    let sql = "ALTER SYSTEM SET synchronous_standby_names = 'standby'";
    admin.batch_execute(sql).expect("the setting");
    admin.batch_execute("SELECT pg_reload_conf()").expect("a reload");
    wait_until("the standby is synchronous", || {
        value(&mut admin, "SELECT max(sync_state) FROM pg_stat_replication", &[]) == "sync"
    });
    // Commits wait once the checkpointer has read the setting.
    run(&mut primary.client(), "CHECKPOINT");

    let acknowledged = Mutex::new(Acknowledged::default());
    let enough = AtomicBool::new(false);
    let [on_primary, on_standby] = [AtomicI64::new(0), AtomicI64::new(0)];
    let mut sessions: Vec<Client> = thread::scope(|scope| {
        let done = Done(&enough);
        let (key, enough, acknowledged) = (&key, &enough, &acknowledged);
        let (on_primary, on_standby) = (&on_primary, &on_standby);
        let verify_on = |cluster: &Cluster, valid| {
            let client = cluster.client();
            scope.spawn(move || verify_on(client, key, enough, valid))
        };
        verify_on(&primary, on_primary);
        let readers = [verify_on(&standby, on_standby), verify_on(&standby, on_standby)];
        for _ in 0..2 {
            let client = primary.client();
            scope.spawn(move || write(client, acknowledged));
        }
        wait_until("there is some work done", || {
            let keys = acknowledged.lock().expect("the keys");
            keys.valid.len() > 60
                && keys.revoked.len() > 30
                && on_primary.load(Ordering::Relaxed) > 200
        });
        primary.down_at_once();
        standby.promote();
        let before = on_standby.load(Ordering::Relaxed);
        wait_until("the sessions go on", || on_standby.load(Ordering::Relaxed) > before + 100);
        drop(done);
        readers.into_iter().map(|reader| reader.join().expect("a reader")).collect()
    });
    drop(admin);
    let keys = acknowledged.into_inner().expect("the keys");
    for session in sessions.iter_mut().chain([&mut reader]) {
        check(session, &keys);
    }

    // Its uses, beside those that the old primary had flushed and sent.
    wait_until_flushed(&mut reader);
    let stats = stats(&mut reader);
    assert_eq!(stats["uses_dropped"].as_i64(), Some(0));
    let flushed = stats["uses_flushed"].as_i64().expect("a number");
    let own = on_standby.load(Ordering::Relaxed);
    assert!(flushed >= own, "{flushed} of {own} and more");
    let sql = "SELECT uses FROM vpk.key_usage WHERE key_id = $1::text::uuid";
    let total: i64 = reader.query_one(sql, &[&key.id]).expect("its uses").get(0);
    let all = own + on_primary.load(Ordering::Relaxed);
    assert!((own..=all).contains(&total), "{own} <= {total} <= {all}");

    // It works, alone; no standby is left to wait for.
    reader.batch_execute("ALTER SYSTEM RESET synchronous_standby_names").expect("the setting");
    let new = create(&mut reader, "of the new primary");
    let sql = "SELECT vpk_revoke($1::text::uuid)::text";
    value(&mut reader, sql, &[&keys.valid[0].id]);
    assert_eq!(verify(&mut reader, &keys.valid[0].token), "API_KEY_REVOKED");

    primary.rewind(&standby, &[("cluster_name", "old")]);
    primary.up();
    let mut old = primary.client();
    caught_up(&mut reader, &mut old);
    assert_eq!(value(&mut old, "SELECT pg_is_in_recovery()::text", &[]), "true");
    let mut keys = keys;
    keys.revoked.push(keys.valid.remove(0));
    keys.valid.push(new);
    check(&mut old, &keys);

    // Uses that it counts there are flushed, once, when it is the primary again.
    wait_until("nothing is pending", || counter(&mut reader, "uses_pending") == 0);
    caught_up(&mut reader, &mut old);
    let used = keys.valid.last().expect("a key").clone();
    let sql = "SELECT uses FROM vpk.key_usage WHERE key_id = $1::text::uuid";
    let before: Option<i64> =
        reader.query_opt(sql, &[&used.id]).expect("uses").map(|row| row.get(0));
    assert_eq!(verify(&mut old, &used.token), "VALID");
    drop((reader, sessions, standby));
    primary.promote();
    wait_for_uses(&mut old, &used, before.unwrap_or(0) + 3);
}
