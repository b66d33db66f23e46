//! G1, G2, G9 and G10 under load: many sessions verify what they know while everything happens to
//! the tables, and no answer is wrong at any time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::keys::{Key, create_for, revoke, set_plan};
use crate::support::known::{DISABLED, PLAN, REVOKED, VALID, assert_healthy, run};
use crate::support::random::Random;
use crate::support::usage::{ALL_AT_EACH_FLUSH, Done};
use crate::support::{Client, Cluster, caught_up, pid, report, value};

const CLIENTS: usize = 8;
const FOR: Duration = Duration::from_secs(4);

/// What the changing session says before and after it changes what keys have to answer.
struct Board {
    /// Keys that never change, and what they answer.
    steady: Vec<(Key, &'static str)>,
    /// Keys that are revoked one after the other, and how many of them are for certain.
    doomed: Vec<Key>,
    dead: AtomicU64,
    /// Keys that answer one thing or the other: odd while it changes, else VALID where it is a
    /// multiple of four.
    switched: Vec<(Key, &'static str)>,
    switch: AtomicU64,
    done: AtomicBool,
}

impl Board {
    fn new(admin: &mut Client) -> Board {
        for (account, plan) in [("acme", "Pro"), ("poor", "Free"), ("moving", "Pro")] {
            set_plan(admin, account, plan);
        }
        let mut steady = Vec::new();
        for _ in 0..20 {
            steady.push((create_for(admin, "steady", "acme"), VALID));
            steady.push((create_for(admin, "steady", "poor"), PLAN));
            steady.push((create_for(admin, "steady", "acme"), REVOKED));
            revoke(admin, &steady.last().expect("the key").0);
        }
        let mut switched = Vec::new();
        for _ in 0..5 {
            switched.push((create_for(admin, "switched", "acme"), DISABLED));
            switched.push((create_for(admin, "switched", "moving"), PLAN));
        }
        Board {
            steady,
            doomed: (0..500).map(|_| create_for(admin, "doomed", "acme")).collect(),
            dead: AtomicU64::new(0),
            switched,
            switch: AtomicU64::new(0),
            done: AtomicBool::new(false),
        }
    }

    /// Asks for one key or another, and compares.
    fn ask(&self, client: &mut Client, random: &mut Random) {
        const WAYS: [&str; 4] = [
            "SELECT vpk_verify($1)::text",
            "SELECT vpk_verify($1)::text",
            "SELECT status::text FROM vpk_authenticate('Bearer ' || $1)",
            "SELECT string_agg(DISTINCT vpk_verify($1)::text, ' ') FROM generate_series(1, 20)",
        ];
        let dead = self.dead.load(Ordering::SeqCst) as usize;
        let switch = self.switch.load(Ordering::SeqCst);
        let which = random.below(4);
        let (key, expected) = match which {
            0 => {
                let at = random.below((dead + 5).min(self.doomed.len()));
                (&self.doomed[at], (at < dead).then_some(REVOKED))
            }
            1 => {
                let (key, off) = random.pick(&self.switched);
                let off = if switch.is_multiple_of(4) { VALID } else { *off };
                (key, switch.is_multiple_of(2).then_some(off))
            }
            _ => {
                let (key, answer) = random.pick(&self.steady);
                (key, Some(*answer))
            }
        };
        let way = WAYS[random.below(WAYS.len())];
        let found = value(client, way, &[&key.token]);
        // Whether nothing has changed on the way.
        let same = which != 1 || self.switch.load(Ordering::SeqCst) == switch;
        match expected {
            Some(expected) if same => assert_eq!(found, expected),
            _ => {
                for answer in found.split(' ') {
                    assert!([VALID, REVOKED, DISABLED, PLAN].contains(&answer), "{answer}");
                }
            }
        }
    }

    /// Everything that can be done to the tables, again and again, with revocations and changes
    /// between.
    fn change(&self, admin: &mut Client) -> u64 {
        let start = Instant::now();
        let mut rounds = 0;
        while start.elapsed() < FOR || rounds < 2 {
            rounds += 1;
            for step in 0..14 {
                self.step(admin, step);
                let dead = self.dead.load(Ordering::SeqCst) as usize;
                if let Some(key) = self.doomed.get(dead) {
                    revoke(admin, key);
                    self.dead.fetch_add(1, Ordering::SeqCst);
                }
                if step % 3 == 0 {
                    self.switch_over(admin);
                }
            }
        }
        rounds
    }

    fn switch_over(&self, admin: &mut Client) {
        let off = self.switch.fetch_add(1, Ordering::SeqCst).is_multiple_of(4);
        let ids: Vec<&str> =
            self.switched.iter().step_by(2).map(|(key, _)| key.id.as_str()).collect();
        let call = if off { "vpk_disable" } else { "vpk_enable" };
        let sql = format!("SELECT {call}(id::uuid) FROM unnest($1::text[]) AS id");
        admin.execute(&sql, &[&ids]).expect("a change");
        set_plan(admin, "moving", if off { "Free" } else { "Plus" });
        self.switch.fetch_add(1, Ordering::SeqCst);
    }

    fn step(&self, admin: &mut Client, step: usize) {
        let tables = ["vpk.keys", "vpk.accounts", "vpk.plans"];
        let every = |admin: &mut Client, sql: &str| {
            for table in tables {
                let index = &table["vpk.".len()..];
                run(admin, &sql.replace("{}", table).replace("{i}", index));
            }
        };
        match step {
            0 => every(admin, "VACUUM {}"),
            1 => every(admin, "VACUUM FULL {}"),
            2 => every(admin, "CLUSTER {} USING {i}_pkey"),
            3 => every(admin, "REINDEX TABLE {}"),
            4 => every(admin, "ALTER TABLE {} SET TABLESPACE elsewhere"),
            5 => every(admin, "ALTER TABLE {} SET TABLESPACE pg_default"),
            6 => every(admin, "ALTER TABLE {} ADD COLUMN one uuid DEFAULT gen_random_uuid()"),
            7 => every(admin, "ALTER TABLE {} DROP COLUMN one"),
            8 => every(admin, "BEGIN; TRUNCATE {}; ROLLBACK"),
            9 | 10 => {
                for table in tables {
                    let mut transaction = admin.transaction().expect("a transaction");
                    run(&mut transaction, "SET LOCAL session_replication_role = replica");
                    run(&mut transaction, &format!("LOCK TABLE {table}; CREATE TABLE rows AS TABLE {table}"));
                    run(&mut transaction, &format!("TRUNCATE {table}"));
                    let order = if step == 9 { "random()" } else { "1" };
                    let sql = format!("INSERT INTO {table} SELECT * FROM rows ORDER BY {order}");
                    run(&mut transaction, &format!("{sql}; DROP TABLE rows"));
                    transaction.commit().expect("its end");
                }
            }
            11 => run(admin, "UPDATE vpk.keys SET metadata = jsonb_build_object('x', repeat(md5(random()::text), 20))
                               WHERE random() < 0.2"),
            12 => {
                let sql = "INSERT INTO vpk.keys (id, key_hash, account, environment, name, created_at)
                    SELECT gen_random_uuid(), sha256(random()::text::bytea), 'acme', 'live', '-', now()
                      FROM generate_series(1, 1500)";
                run(admin, sql);
                run(admin, "DELETE FROM vpk.keys WHERE name = '-'");
                run(admin, "VACUUM vpk.keys");
            }
            _ => every(admin, "REINDEX TABLE CONCURRENTLY {}"),
        }
    }
}

/// G1, G2, G9, G10: on the primary every answer is right and none is refused; on its standby every
/// answer is one that was right, those that the standby cannot give are refused as the server does;
/// and what is left after a crash is right too.
#[test]
fn no_answer_is_wrong_at_any_time() {
    let cluster = Cluster::with_checksums(&[
        ("allow_in_place_tablespaces", "on"),
        ("lock_timeout", "10min"),
        ("deadlock_timeout", "5s"),
        ("max_standby_streaming_delay", "100ms"),
        ("vibepeak_keys.usage_flush_interval", "200ms"),
        ALL_AT_EACH_FLUSH,
    ]);
    let mut admin = cluster.client();
    run(&mut admin, "CREATE TABLESPACE elsewhere LOCATION ''");
    let board = Board::new(&mut admin);
    let standby = cluster.standby();
    let seed = Random::new().next();
    thread::scope(|scope| {
        let _done = Done(&board.done);
        let (board, cluster, standby) = (&board, &cluster, &standby);
        let sessions: Vec<_> = (0..CLIENTS)
            .map(|number| {
                scope.spawn(move || {
                    let mut random = Random::seeded(seed ^ number as u64);
                    let mut client = cluster.client();
                    let mut asked = 0;
                    while !board.done.load(Ordering::SeqCst) {
                        board.ask(&mut client, &mut random);
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        let replica = scope.spawn(move || {
            let mut random = Random::seeded(!seed);
            let mut client = standby.client();
            let mut answered = 0;
            while !board.done.load(Ordering::SeqCst) {
                // Only keys that do not change have one right answer here.
                let (key, expected) = random.pick(&board.steady);
                match client.query_one("SELECT vpk_verify($1)::text", &[&key.token]) {
                    Ok(row) => {
                        assert_eq!(row.get::<_, &str>(0), *expected, "on the standby");
                        answered += 1;
                    }
                    // Replay may also end the whole session.
                    Err(_) if client.is_closed() => client = standby.client(),
                    Err(error) => {
                        let code = error.code().map(|code| code.code()).unwrap_or_default();
                        assert!(["40001", "57014"].contains(&code), "{}", report(&error));
                    }
                }
            }
            answered
        });
        let rounds = board.change(&mut admin);
        board.done.store(true, Ordering::SeqCst);
        for session in sessions {
            assert!(session.join().expect("a session") > 100, "{rounds} rounds");
        }
        assert!(replica.join().expect("the standby's session") > 100, "{rounds} rounds");
    });

    caught_up(&mut admin, &mut standby.client());
    let all = |client: &mut Client| {
        let mut told: Vec<String> = Vec::new();
        for key in
            board.steady.iter().chain(&board.switched).map(|(key, _)| key).chain(&board.doomed)
        {
            told.push(value(client, "SELECT vpk_verify($1)::text", &[&key.token]));
        }
        told
    };
    let expected = all(&mut admin);
    assert_eq!(all(&mut standby.client()), expected, "the standby's");
    for server in [&cluster, &standby] {
        assert_healthy(server);
    }
    let killed = pid(&mut admin);
    cluster.crash(killed);
    assert_eq!(all(&mut cluster.client()), expected, "after a crash");
}
