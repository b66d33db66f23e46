//! G7: what is dumped or copied while the server works is one moment of it, with everything that
//! was acknowledged before.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use crate::dumps::{Folder, run};
use crate::support::keys::{Key, create_for, revoke, set_plan, verify};
use crate::support::random::Random;
use crate::support::usage::{Done, start_flushing_hourly};
use crate::support::{Client, Cluster, value, wait_until};

/// What no moment of a database shows: each row is a contradiction between two tables.
const CONTRADICTIONS: &str = "
    SELECT string_agg(c, E'\\n') FROM (
        SELECT 'no account: ' || k.id FROM vpk.keys AS k
         WHERE NOT EXISTS (SELECT FROM vpk.accounts AS a WHERE a.account = k.account)
        UNION ALL
        SELECT 'no plan: ' || a.account FROM vpk.accounts AS a
         WHERE NOT EXISTS (SELECT FROM vpk.plans AS p WHERE p.plan = a.plan)
        UNION ALL
        SELECT 'no event: ' || k.id FROM vpk.keys AS k
         WHERE NOT EXISTS (SELECT FROM vpk.events AS e WHERE e.key_id = k.id AND e.event = 'key_created')
        UNION ALL
        SELECT 'no key: ' || e.id FROM vpk.events AS e
         WHERE e.event = 'key_created' AND NOT EXISTS (SELECT FROM vpk.keys AS k WHERE k.id = e.key_id)
        UNION ALL
        SELECT 'revoked, or not: ' || k.id FROM vpk.keys AS k
         WHERE (k.revoked_at IS NOT NULL) <> EXISTS (
                   SELECT FROM vpk.events AS e WHERE e.key_id = k.id AND e.event IN ('key_revoked', 'key_rotated'))
        UNION ALL
        SELECT 'no predecessor: ' || k.id FROM vpk.keys AS k
         WHERE k.rotated_from IS NOT NULL AND NOT EXISTS (
                   SELECT FROM vpk.keys AS o WHERE o.id = k.rotated_from AND o.rotated_at IS NOT NULL)
        UNION ALL
        SELECT 'no key: ' || u.key_id FROM vpk.key_usage AS u
         WHERE NOT EXISTS (SELECT FROM vpk.keys AS k WHERE k.id = u.key_id)
        UNION ALL
        SELECT 'no key: ' || l.lease FROM vpk.task_leases AS l
         WHERE NOT EXISTS (SELECT FROM vpk.keys AS k WHERE k.id = l.key_id)
    ) AS found (c)";

/// Keys that exist, and those that were revoked, as far as that was acknowledged.
#[derive(Clone, Default)]
struct Acknowledged {
    valid: Vec<Key>,
    revoked: Vec<Key>,
}

/// One of the clients that work meanwhile.
fn work(client: &mut Client, random: &mut Random, acknowledged: &Mutex<Acknowledged>) {
    let locked = || acknowledged.lock().expect("the list");
    // Nobody else has a key that was taken off the list.
    let taken = || {
        let mut list = locked();
        let key = list.valid.first().cloned();
        if key.is_some() {
            list.valid.remove(0);
        }
        key
    };
    match random.below(10) {
        0..4 => {
            let account = format!("account {}", random.below(20));
            set_plan(client, &account, "Pro");
            let key = create_for(client, "made under load", &account);
            locked().valid.push(key);
        }
        4 => {
            let Some(key) = taken() else { return };
            revoke(client, &key);
            locked().revoked.push(key);
        }
        5 => {
            let Some(key) = taken() else { return };
            let sql = "SELECT id::text, token FROM vpk_rotate($1::text::uuid)";
            let row = client.query_one(sql, &[&key.id]).expect("a successor");
            let mut list = locked();
            list.revoked.push(key);
            list.valid.push(Key { id: row.get(0), token: row.get(1) });
        }
        6 => {
            let Some(key) = locked().valid.last().cloned() else { return };
            let sql = "SELECT status::text FROM vpk_task_start($1, '1 hour')";
            value(client, sql, &[&key.token]);
        }
        _ => {
            let key = locked().valid.last().cloned();
            key.iter().for_each(|key| _ = verify(client, &key.token));
        }
    }
}

/// Everything that was acknowledged is there, and nothing contradicts itself.
fn assert_consistent(client: &mut Client, what: &str, acknowledged: &Acknowledged) {
    assert_eq!(value(client, CONTRADICTIONS, &[]), "", "{what}");
    for key in &acknowledged.revoked {
        assert_eq!(verify(client, &key.token), "API_KEY_REVOKED", "{what}");
    }
    for key in &acknowledged.valid {
        let found = verify(client, &key.token);
        // It may have been revoked since then.
        assert!(found == "VALID" || found == "API_KEY_REVOKED", "{what}: {found}");
    }
    let key = create_for(client, "made afterwards", "default");
    assert_eq!(verify(client, &key.token), "VALID", "{what}");
    assert_eq!(value(client, CONTRADICTIONS, &[]), "", "{what}");
}

/// Runs `work` once clients have begun to work; it gets the keys that were acknowledged before.
fn under_load(cluster: &Cluster, mut act: impl FnMut(usize, &Acknowledged)) {
    let (acknowledged, done) = (Mutex::new(Acknowledged::default()), AtomicBool::new(false));
    let list = || acknowledged.lock().expect("the list").clone();
    let mut seeds = Random::new();
    thread::scope(|scope| {
        let _done = Done(&done);
        for _ in 0..3 {
            let mut random = Random::seeded(seeds.next());
            let (acknowledged, done) = (&acknowledged, &done);
            scope.spawn(move || {
                let mut client = cluster.client();
                while !done.load(Relaxed) {
                    work(&mut client, &mut random, acknowledged);
                }
            });
        }
        for round in 0..3 {
            let before = list().revoked.len();
            wait_until("more was revoked", || list().revoked.len() >= before + 20);
            act(round, &list());
        }
    });
}

/// G7: a dump is of one moment, also when several processes make it and several restore it.
#[test]
fn a_dump_under_load_is_of_one_moment() {
    let cluster = start_flushing_hourly(&[]);
    let folder = Folder::new("dumps_under_load");
    let mut dumps = Vec::new();
    under_load(&cluster, |round, acknowledged| {
        let file = folder.file(&format!("dump_{round}"));
        let how: &[&str] = if round == 1 { &["-Fc"] } else { &["-Fd", "-j", "3"] };
        run(&cluster, "pg_dump", &[how, &["-f", &file, "postgres"]].concat());
        dumps.push((file, acknowledged.clone()));
    });
    let mut client = cluster.client();
    for (round, (file, acknowledged)) in dumps.iter().enumerate() {
        let name = format!("restored_{round}");
        client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).expect("it");
        run(&cluster, "pg_restore", &["-e", "-j", "3", "-d", &name, file]);
        let mut restored = cluster.connect(&name, "postgres");
        assert_consistent(&mut restored, &name, acknowledged);
    }
}

/// G7: so is a base backup. The server that is started on it has everything until its end.
#[test]
fn a_base_backup_under_load_has_everything_until_its_end() {
    let cluster = start_flushing_hourly(&[]);
    let mut copies = Vec::new();
    under_load(&cluster, |_, acknowledged| {
        copies.push((cluster.base_backup(), acknowledged.clone()));
    });
    for (round, (copy, acknowledged)) in copies.iter().enumerate() {
        copy.up();
        assert_consistent(&mut copy.client(), &format!("copy {round}"), acknowledged);
        copy.down();
    }
}
