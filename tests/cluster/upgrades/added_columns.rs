//! G8: an update that adds a column looks first whether somebody has added one to the same table,
//! and then stops before it changes anything.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::known::run;
use crate::support::{Client, Cluster, report};
use crate::upgrades::{assert_same, catalogue, made_with};

/// The tables to which a script adds a column.
fn extended(script: &str) -> BTreeSet<&str> {
    let statements = script.split(';').filter(|statement| statement.contains("ADD COLUMN"));
    statements
        .filter_map(|statement| statement.split_once("ALTER TABLE vpk."))
        .filter_map(|(_, rest)| rest.split_whitespace().next())
        .collect()
}

/// Each step that adds a column: the versions before and after, and the table.
fn steps() -> Vec<(String, String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
    let mut steps = Vec::new();
    for script in fs::read_dir(folder).expect("the scripts") {
        let script = script.expect("a script");
        let name = script.file_name().into_string().expect("a plain name");
        let name = name.strip_prefix("vibepeak_keys--").and_then(|name| name.strip_suffix(".sql"));
        let Some((from, to)) = name.and_then(|name| name.split_once("--")) else { continue };
        let text = fs::read_to_string(script.path()).expect("its text");
        for table in extended(&text) {
            steps.push((from.to_owned(), to.to_owned(), table.to_owned()));
        }
    }
    steps
}

/// The error of a statement that stops at a column: 55000, with table and column.
fn assert_stops(client: &mut Client, sql: &str, names: [&str; 2]) {
    let error = client.batch_execute(sql).expect_err("it does not stop");
    let error = report(&error);
    assert!(error.starts_with("55000 "), "{sql}: {error}");
    assert!(names.iter().all(|name| error.contains(name)), "{sql}: {error}");
}

/// G8: with a column of somebody's own, or one that he has dropped, the update changes nothing.
#[test]
fn an_update_that_adds_a_column_stops_where_somebody_has_added_one() {
    let cluster = Cluster::start(&[]);
    for (number, (from, to, table)) in steps().iter().enumerate() {
        let mut client = made_with(&cluster, &format!("added_{number}"), from);
        let named = format!("vpk.{table}");
        let update = format!("ALTER EXTENSION vibepeak_keys UPDATE TO '{to}'");
        run(&mut client, &format!("ALTER TABLE {named} ADD COLUMN of_somebody integer"));
        for name in ["of_somebody", "dropped"] {
            let before = catalogue(&mut client);
            assert_stops(&mut client, &update, [&named, name]);
            assert_same(&format!("{from} to {to}"), &before, &catalogue(&mut client));
            run(&mut client, &format!("ALTER TABLE {named} DROP COLUMN IF EXISTS of_somebody"));
        }
    }
}

/// G8: the block that CONTRIBUTING.md has for such an update stops at an added column of one of its
/// tables, and at no other.
#[test]
fn the_block_for_update_scripts_stops_at_an_added_column() {
    let text = include_str!("../../../CONTRIBUTING.md");
    let (_, block) = text.split_once("   ```sql\n   DO $$").expect("a block");
    let (block, _) = block.split_once("```").expect("its end");
    let block = format!("DO $${block}");
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    run(&mut client, "ALTER TABLE vpk.plans ADD COLUMN another_table integer");
    run(&mut client, &block);
    for table in ["vpk.keys", "vpk.events"] {
        run(&mut client, &format!("BEGIN; ALTER TABLE {table} ADD COLUMN of_somebody integer"));
        run(&mut client, "SAVEPOINT before");
        assert_stops(&mut client, &block, [table, "of_somebody"]);
        run(&mut client, "ROLLBACK TO before");
        run(&mut client, &format!("ALTER TABLE {table} DROP COLUMN of_somebody"));
        assert_stops(&mut client, &block, [table, "dropped"]);
        run(&mut client, "ROLLBACK");
    }
    run(&mut client, &block);
}

#[test]
fn scripts_that_add_columns_are_found() {
    let script = "ALTER TABLE vpk.keys\n    ADD COLUMN one text,\n    ADD COLUMN two text;
        ALTER TABLE vpk.plans SET (fillfactor = 50);
        ALTER TABLE vpk.events ADD COLUMN three text;";
    assert_eq!(extended(script), BTreeSet::from(["keys", "events"]));
}
