//! Updates of the extension from each released version, and upgrades of PostgreSQL by pg_upgrade.

mod added_columns;
mod extension;
mod grown;
mod history;
mod lists;
mod old_rows;
mod pg_upgrade;
mod released;
mod under_load;

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::support::known::run;
use crate::support::{Client, Cluster, report, value};

use released::{CURRENT, versions};

pub const GRANTS: &str = "SELECT vpk_grant_verifier('verifier'), vpk_grant_admin('admin')";

/// Released versions that are not the one under test.
pub fn old_versions() -> Vec<String> {
    versions().into_iter().filter(|version| version != CURRENT).collect()
}

/// A database that was made with a version.
pub fn made_with(cluster: &Cluster, name: &str, version: &str) -> Client {
    run(&mut cluster.client(), &format!("CREATE DATABASE {name} TEMPLATE template0"));
    let mut client = cluster.connect(name, "postgres");
    run(&mut client, &format!("CREATE EXTENSION vibepeak_keys VERSION '{version}'"));
    client
}

pub fn update(client: &mut Client) {
    run(client, "ALTER EXTENSION vibepeak_keys UPDATE");
}

/// Everything in the catalogs about the extension. What their functions show of names depends on
/// the search_path.
pub fn catalogue(client: &mut Client) -> BTreeSet<String> {
    let path = value(client, "SELECT current_setting('search_path')", &[]);
    run(client, "SET search_path = pg_catalog");
    let facts = column(client, include_str!("catalogue.sql")).into_iter().collect();
    value(client, "SELECT set_config('search_path', $1, false)", &[&path]);
    facts
}

/// The first value of each row.
pub fn column(client: &mut Client, sql: &str) -> Vec<String> {
    let rows = client.query(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {}", report(&error)));
    rows.iter().map(|row| row.get(0)).collect()
}

pub fn assert_same(what: &str, expected: &BTreeSet<String>, found: &BTreeSet<String>) {
    let mut differences = String::new();
    // Both spellings of one fact beside each other.
    for fact in expected.symmetric_difference(found) {
        let mark = if expected.contains(fact) { "expected" } else { "   found" };
        writeln!(differences, "{mark}: {fact}").expect("text");
    }
    assert!(differences.is_empty(), "{what}:\n{differences}");
}
