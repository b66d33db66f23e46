//! G10 and G4: sessions that end leave nothing behind, and all their uses are counted.

use std::fs;

use crate::support::keys::create;
use crate::support::known::assert_healthy;
use crate::support::process::{open_files, own_memory, soak};
use crate::support::usage::{
    ALL_AT_EACH_FLUSH, FLUSH_EVERY_100MS, counter, counters_of, number_at, wait_for_uses,
    wait_until_flushed,
};
use crate::support::{Client, Cluster, value, wait_until};

/// How many sessions are there, beside the one that asks.
fn sessions(client: &mut Client) -> String {
    let sql = "SELECT count(*)::text FROM pg_stat_activity
                WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    value(client, sql, &[])
}

/// A thousand sessions, each for one verification, in four databases in turn.
#[test]
fn a_thousand_short_sessions_are_answered_and_counted() {
    let number: i64 = if soak() { 20_000 } else { 1_000 };
    let settings = [
        ("vibepeak_keys.usage_flush_interval", "300ms"),
        ALL_AT_EACH_FLUSH,
        ("max_connections", "20"),
    ];
    let cluster = Cluster::start(&settings);
    let names = ["postgres", "second", "third", "fourth"];
    for name in &names[1..] {
        cluster.database(name, "UTF8");
    }
    let keys = names.map(|name| create(&mut cluster.connect(name, "postgres"), "key"));
    let visit = |number: i64| {
        let at = number as usize % names.len();
        let mut client = cluster.connect(names[at], "postgres");
        let answer = value(&mut client, "SELECT vpk_verify($1)::text", &[&keys[at].token]);
        assert_eq!(answer, "VALID");
        // A key of another database is unknown here.
        let other = &keys[(at + 1) % names.len()].token;
        assert_eq!(value(&mut client, "SELECT vpk_verify($1)::text", &[other]), "INVALID_API_KEY");
    };
    (0..40).for_each(visit);
    let postmaster = cluster.postmaster();
    let (memory, files) = (own_memory(postmaster), open_files(postmaster));
    (40..number).for_each(visit);
    let mut client = cluster.client();
    wait_until("the sessions are gone", || sessions(&mut client) == "0");
    // What the server starts in between, a flush for example, is its business.
    let grown = own_memory(postmaster) - memory;
    assert!(grown <= 512, "the first process has {grown} kB more");
    wait_until("no file is left open", || open_files(postmaster) <= files);
    for (name, key) in names.iter().zip(&keys) {
        let mut client = cluster.connect(name, "postgres");
        wait_for_uses(&mut client, key, number / 4);
        wait_until_flushed(&mut client);
        for counted in ["valid", "invalid_api_key", "uses_flushed"] {
            assert_eq!(counter(&mut client, counted), number / 4, "{counted} in {name}");
        }
        for none in ["uses_pending", "uses_dropped"] {
            assert_eq!(counter(&mut client, none), 0, "{none} in {name}");
        }
    }
    assert_healthy(&cluster);
}

/// Databases that come and go: each has a tally, which is free again once the database is gone.
/// There are fewer tallies than the long variant makes databases.
#[test]
fn dropped_databases_free_their_tallies() {
    let number = if soak() { 600 } else { 12 };
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    cluster.database("model", "UTF8");
    let mut admin = cluster.client();
    for at in 0..number {
        let name = format!("database_{at}");
        let sql = format!("CREATE DATABASE {name} TEMPLATE model");
        wait_until("there is a copy", || admin.batch_execute(&sql).is_ok());
        let mut client = cluster.connect(&name, "postgres");
        let key = create(&mut client, "key");
        assert_eq!(value(&mut client, "SELECT vpk_verify($1)::text", &[&key.token]), "VALID");
        assert_eq!(counter(&mut client, "valid"), 1, "it has a tally of its own");
        wait_for_uses(&mut client, &key, 1);
        drop(client);
        let sql = format!("DROP DATABASE {name}");
        wait_until("it is gone", || admin.batch_execute(&sql).is_ok());
    }
    // The flush of a use looks for tallies of databases that are gone.
    let key = create(&mut admin, "key");
    assert_eq!(value(&mut admin, "SELECT vpk_verify($1)::text", &[&key.token]), "VALID");
    wait_for_uses(&mut admin, &key, 1);
    assert_healthy(&cluster);
    drop(admin);
    cluster.down();
    let file = fs::read(cluster.data().join("pg_stat/vibepeak_keys.usage")).expect("the file");
    let tallies = number_at(&file, counters_of(&file));
    assert_eq!(tallies, 2, "those of postgres and model, where CREATE EXTENSION asked the doctor");
}
