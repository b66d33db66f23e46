//! G7 and G8: pg_upgrade to this major version of PostgreSQL loses nothing, and breaks nothing.
//!
//! From the older major that VIBEPEAK_OLDER_PG_CONFIG names (see tools/rust-tests).

use std::collections::BTreeSet;
use std::fs;

use postgres::GenericClient;

use crate::support::keys::{Key, create, create_for, set_plan, verify};
use crate::support::known::run;
use crate::support::usage::{
    FLUSH_EVERY_200MS, FLUSH_HOURLY, counter, use_key, wait_for_rest, wait_for_uses,
    wait_until_flushed,
};
use crate::support::{Client, Cluster, sqlstate, value, wait_until};
use crate::upgrades::released::{CURRENT, versions};
use crate::upgrades::{GRANTS, assert_same, catalogue, update};

/// What becomes of uses that are pending when the server stops.
const FILE: &str = "pg_stat/vibepeak_keys.usage";

/// A database that was made with a version of the extension.
struct Database {
    name: String,
    version: String,
    /// Keys, and what each has to answer.
    answers: Vec<(Key, &'static str)>,
    /// A key that is unused when the old server stops.
    pending: Key,
    /// A task that runs.
    lease: String,
    /// All rows, as [`digests`] has them.
    rows: Vec<String>,
}

/// How often the key of which uses are pending was used.
const PENDING: i32 = 7;

impl Database {
    /// Everything there is: plans added, edited, renamed and removed, keys that answer in every
    /// way, a lease, grants, events, uses.
    fn prepared(cluster: &Cluster, number: usize, version: &str) -> Database {
        let name = format!("made_with_{number}");
        run(&mut cluster.client(), &format!("CREATE DATABASE {name} TEMPLATE template0"));
        let mut client = cluster.connect(&name, "postgres");
        let client = &mut client;
        run(client, &format!("CREATE EXTENSION vibepeak_keys VERSION '{version}'"));
        run(client, GRANTS);
        run(
            client,
            "UPDATE vpk.plans SET concurrent_tasks = 1 WHERE plan = 'Pro';
             INSERT INTO vpk.plans (plan, api_access) VALUES ('Team', true);
             DELETE FROM vpk.plans WHERE plan = 'Starter';
             UPDATE vpk.plans SET plan = 'Gratis' WHERE plan = 'Free'",
        );
        set_plan(client, "acme", "Pro");
        set_plan(client, "team", "Team");
        set_plan(client, "poor", "Gratis");

        let mut answers = Vec::new();
        for (answer, more) in [
            ("VALID", "account => 'acme', allowed_ips => '{192.0.2.0/24}'"),
            ("VALID", "account => 'team', environment => 'test', expires_at => 'tomorrow'"),
            ("VALID", "metadata => '{\"team\": 7}'"),
            ("IP_NOT_ALLOWED", "allowed_ips => '{198.51.100.0/24}'"),
            ("INSUFFICIENT_SCOPE", "scopes => '{write}'"),
            ("PLAN_REQUIRED", "account => 'poor'"),
            ("API_KEY_EXPIRED", "account => 'acme'"),
            ("API_KEY_REVOKED", "account => 'acme'"),
            ("API_KEY_DISABLED", "account => 'acme'"),
            ("INVALID_API_KEY", "account => 'acme'"),
        ] {
            let scopes = if more.contains("scopes") { "" } else { ", scopes => '{read,write}'" };
            let sql = format!("SELECT id::text, token FROM vpk_create('{answer}', {more}{scopes})");
            let row = client.query_one(&sql, &[]).expect("a key");
            let key = Key { id: row.get(0), token: row.get(1) };
            let change = match answer {
                "API_KEY_REVOKED" => "SELECT vpk_revoke($1::text::uuid, 'a reason')::text",
                "API_KEY_DISABLED" => "SELECT vpk_disable($1::text::uuid)::text",
                "API_KEY_EXPIRED" => {
                    "UPDATE vpk.keys SET expires_at = clock_timestamp()
                      WHERE id = $1::text::uuid RETURNING id::text"
                }
                "INVALID_API_KEY" => {
                    "DELETE FROM vpk.keys WHERE id = $1::text::uuid RETURNING id::text"
                }
                _ => "SELECT $1::text",
            };
            value(client, change, &[&key.id]);
            answers.push((key, answer));
        }
        answers.push((Key { id: String::new(), token: String::new() }, "MISSING_API_KEY"));
        let successor = "SELECT id::text, token FROM vpk_rotate($1::text::uuid, '1 hour')";
        let row = client.query_one(successor, &[&answers[2].0.id]).expect("a successor");
        answers.push((Key { id: row.get(0), token: row.get(1) }, "VALID"));

        let lease = "SELECT lease::text FROM vpk_task_start($1, '1 hour', '192.0.2.7')";
        let lease = value(client, lease, &[&answers[0].0.token]);
        let pending = create_for(client, "pending", "team");
        let version = version.to_owned();
        Database { name, version, answers, pending, lease, rows: Vec::new() }
    }

    /// Every key answers as it did when it was made, and the account's only task runs.
    fn check(&self, client: &mut impl GenericClient, when: &str) {
        for (key, answer) in &self.answers {
            let sql = "SELECT status::text
                         FROM vpk_authenticate('Bearer ' || $1, 'read', '192.0.2.7')";
            let found = value(client, sql, &[&key.token]);
            assert_eq!(found, *answer, "{}, {when}", self.version);
        }
        let sql = "SELECT status::text FROM vpk_task_start($1, '1 hour', '192.0.2.7')";
        let found = value(client, sql, &[&self.answers[0].0.token]);
        assert_eq!(found, "CONCURRENCY_LIMIT_EXCEEDED", "{}, {when}", self.version);
    }

    /// What [`Database::check`] adds to the uses of keys.
    fn uses_of_a_check(&self) -> i64 {
        self.answers.iter().filter(|(_, answer)| *answer == "VALID").count() as i64
    }
}

/// A line about each table of the extension: how many rows, and a hash of them all. Without the
/// uses of one key.
fn digests(client: &mut Client, but: &Key) -> Vec<String> {
    let sql = "SELECT c.relname::text FROM pg_class AS c
                WHERE c.relnamespace = 'vpk'::regnamespace AND c.relkind = 'r' ORDER BY 1";
    let tables: Vec<String> =
        client.query(sql, &[]).expect("tables").iter().map(|row| row.get(0)).collect();
    assert!(tables.len() >= 6, "{tables:?}");
    let of = |table: &String| {
        let only = if table == "key_usage" { "t.key_id <> $1::text::uuid" } else { "$1 <> ''" };
        let sql = format!(
            "SELECT format('{table}: %s rows, %s', count(*), md5(string_agg(t::text, ',' ORDER BY t::text)))
               FROM vpk.{table} AS t WHERE {only}"
        );
        value(client, &sql, &[&but.id])
    };
    tables.iter().map(of).collect()
}

/// The sum of all uses in the table.
fn wait_for_sum(client: &mut Client, sum: i64) {
    wait_until("all uses are in the table", || {
        let sql = "SELECT coalesce(sum(uses), 0)::bigint FROM vpk.key_usage";
        let found: i64 = client.query_one(sql, &[]).expect("the uses").get(0);
        assert!(found <= sum, "{found} uses instead of {sum}");
        found == sum
    });
}

/// Makes databases on the older major, upgrades them as docs/operations.md says, and compares.
fn upgraded(checksums: bool, versions: &[String], options: &[&str]) {
    let older = Cluster::of_older_major(FLUSH_EVERY_200MS);
    run(
        &mut older.client(),
        "CREATE ROLE verifier LOGIN; CREATE ROLE admin LOGIN; CREATE ROLE nobody LOGIN",
    );
    let mut databases: Vec<Database> = versions
        .iter()
        .enumerate()
        .map(|(number, version)| Database::prepared(&older, number, version))
        .collect();
    for database in &databases {
        database.check(&mut older.connect(&database.name, "verifier"), "before");
        let mut client = older.connect(&database.name, "postgres");
        // A use more, of the task.
        wait_for_sum(&mut client, database.uses_of_a_check() + 1);
    }
    older.down();
    older.set(FLUSH_HOURLY);
    older.up();
    wait_for_rest(&mut older.client());
    for database in &mut databases {
        let mut client = older.connect(&database.name, "postgres");
        database.rows = digests(&mut client, &database.pending);
        use_key(&mut client, &database.pending, PENDING);
    }
    older.down();
    if checksums {
        older.run("pg_checksums", &["--enable", "--no-sync", "-D", "data"]);
    }
    let copied = older.data().join(FILE);
    // All but its head, which has the server's shutdown point (`pure::usage::file`).
    let pending = || fs::read(&copied).expect("the file of pending uses").split_off(48);
    let kept = pending();

    let newer = Cluster::upgraded_from(&older, initdb_options(&older, checksums), options);
    assert_eq!(pending(), kept, "a server that pg_upgrade started had a worker");
    let copy = ["-p", copied.to_str().expect("a plain path"), "data/pg_stat/"];
    newer.run("/bin/cp", &copy);
    newer.set(FLUSH_EVERY_200MS);
    newer.up();
    for database in &databases {
        let mut client = newer.connect(&database.name, "postgres");
        wait_for_uses(&mut client, &database.pending, PENDING.into());
        let rows = digests(&mut client, &database.pending);
        assert_eq!(rows, database.rows, "{}", database.version);
        works(&newer, database);
        update(&mut client);
        works(&newer, database);
        is_as_fresh(&newer, database);
        // Counters go on from where they were.
        wait_until_flushed(&mut client);
        assert_eq!(counter(&mut client, "uses_dropped"), 0);
        let sum = value(&mut client, "SELECT sum(uses)::text FROM vpk.key_usage", &[]);
        assert_eq!(counter(&mut client, "valid").to_string(), sum);
    }
    // Once: it is not read again.
    newer.down();
    newer.up();
    for database in &databases {
        let mut client = newer.connect(&database.name, "postgres");
        wait_until_flushed(&mut client);
        wait_for_uses(&mut client, &database.pending, PENDING.into());
    }
}

/// Those under which the new cluster has checksums or not, as its major has the default.
fn initdb_options(older: &Cluster, checksums: bool) -> &'static [&'static str] {
    // The folder is of the older server; the program is of the newer.
    let newer = std::env::var("VIBEPEAK_PG_CONFIG").expect("an installed extension");
    let output = std::process::Command::new(newer).arg("--bindir").output().expect("pg_config");
    let bin = String::from_utf8(output.stdout).expect("a path");
    let help = older.attempt(&format!("{}/initdb", bin.trim()), &["--help"]);
    let by_default = String::from_utf8_lossy(&help.stdout).contains("--no-data-checksums");
    match (checksums, by_default) {
        (true, false) => &["--data-checksums"],
        (false, true) => &["--no-data-checksums"],
        _ => &[],
    }
}

/// Roles can do what they were granted, and no other role can.
fn works(cluster: &Cluster, database: &Database) {
    database.check(&mut cluster.connect(&database.name, "verifier"), "after");
    let mut admin = cluster.connect(&database.name, "admin");
    let name = value(
        &mut admin,
        "SELECT name FROM vpk_list(id => $1::text::uuid)",
        &[&database.answers[0].0.id],
    );
    assert_eq!(name, "VALID");
    // Events are numbered on from where they were.
    let key = create(&mut admin, "made afterwards");
    assert_eq!(verify(&mut cluster.connect(&database.name, "verifier"), &key.token), "VALID");
    let mut nobody = cluster.connect(&database.name, "nobody");
    let refused = nobody.query("SELECT vpk_verify($1)", &[&key.token]);
    assert_eq!(sqlstate("somebody else's call", refused), "42501");
    let running = "SELECT count(*)::text FROM vpk.task_leases WHERE lease = $1::text::uuid";
    let mut owner = cluster.connect(&database.name, "postgres");
    assert_eq!(value(&mut owner, running, &[&database.lease]), "1");
}

/// The catalogs are as after a fresh installation on this major version.
fn is_as_fresh(cluster: &Cluster, database: &Database) {
    let name = format!("fresh_{}", database.name);
    run(&mut cluster.client(), &format!("CREATE DATABASE {name} TEMPLATE template0"));
    let mut fresh = cluster.connect(&name, "postgres");
    run(&mut fresh, "CREATE EXTENSION vibepeak_keys");
    let mut upgraded = cluster.connect(&database.name, "postgres");
    for client in [&mut fresh, &mut upgraded] {
        run(client, GRANTS);
    }
    // A constraint that was dumped is written with other parentheses where they mean nothing.
    let facts = |client: &mut Client| -> BTreeSet<String> {
        let plain = |fact: String| match fact.starts_with("constraint ") {
            true => fact.replace(['(', ')'], ""),
            false => fact,
        };
        catalogue(client).into_iter().map(plain).collect()
    };
    let what = format!("{}, upgraded and updated", database.version);
    assert_same(&what, &facts(&mut fresh), &facts(&mut upgraded));
}

/// G7, G8: from a cluster without checksums, databases of every released version and of this one,
/// served by the new library: rows, answers, grants and pending uses are there, and the update
/// works afterwards.
#[test]
#[ignore = "no older PostgreSQL to upgrade from is given: OLDER_MAJOR, see tools/rust-tests"]
fn pg_upgrade_carries_databases_of_every_version() {
    let mut all: Vec<String> =
        versions().into_iter().filter(|version| version != CURRENT).collect();
    all.push(CURRENT.to_owned());
    upgraded(false, &all, &[]);
}

/// G7: the same with checksums, which the older cluster is given first, and with the files linked.
#[test]
#[ignore = "no older PostgreSQL to upgrade from is given: OLDER_MAJOR, see tools/rust-tests"]
fn pg_upgrade_works_with_checksums_and_linked_files() {
    upgraded(true, &[CURRENT.to_owned()], &["--link"]);
}
