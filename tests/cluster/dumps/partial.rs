//! G7: dumps of a part of a database: which have the keys and which do not, as docs/operations.md
//! says.

use std::fs;

use crate::dumps::{Folder, attempt, psql, run};
use crate::support::contents::{contents, touched};
use crate::support::keys::verify;
use crate::support::known::run as sql;
use crate::support::usage::start_flushing_hourly;
use crate::support::{Client, Cluster, value};

/// Options that leave the keys out, and what the restored database then has: the extension without
/// rows, or nothing of it.
const WITHOUT_KEYS: [(&[&str], bool); 6] = [
    (&["--schema=app"], false),
    (&["--schema=vpk"], false),
    (&["--exclude-schema=vpk"], true),
    (&["--exclude-table=vpk.*"], true),
    (&["--exclude-table-data=vpk.*"], true),
    (&["--schema-only"], true),
];

/// Options that leave other things out, and the keys in.
const WITH_KEYS: [&[&str]; 4] = [
    &["--extension=vibepeak_keys"],
    &["--schema=app", "--extension=vibepeak_keys"],
    &["--exclude-schema=app"],
    &["--no-owner", "--no-privileges", "--no-comments"],
];

fn new_database(client: &mut Client, name: &str) {
    sql(client, &format!("DROP DATABASE IF EXISTS {name}"));
    sql(client, &format!("CREATE DATABASE {name} TEMPLATE template0"));
}

fn bring_back(cluster: &Cluster, database: &str, file: &str, what: &[&str]) {
    psql(cluster, database, file).unwrap_or_else(|said| panic!("{what:?}: {said}"));
}

/// Whether the pg_dump of this server has an option.
fn knows(cluster: &Cluster, option: &str) -> bool {
    let help = cluster.program("pg_dump").arg("--help").output().expect("pg_dump runs");
    String::from_utf8_lossy(&help.stdout).contains(option)
}

#[test]
fn a_dump_of_some_tables_restores_their_rows() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let keys = touched(&mut client);
    sql(&mut client, "CREATE SCHEMA app; CREATE TABLE app.orders AS SELECT 1 AS number");
    let before = contents(&mut client, &keys);
    let folder = Folder::new("dumped_parts");
    let file = folder.file("dump");
    let mut without = WITHOUT_KEYS.to_vec();
    if knows(&cluster, "--exclude-extension") {
        without.push((&["--exclude-extension=vibepeak_keys"], false));
    }
    for (options, extension) in without {
        run(&cluster, "pg_dump", &[options, &["-f", &file, "postgres"]].concat());
        let text = fs::read_to_string(&file).expect("a dump");
        assert!(!text.contains(&keys[0].id), "{options:?}");
        new_database(&mut client, "part");
        bring_back(&cluster, "part", &file, options);
        let mut restored = cluster.connect("part", "postgres");
        let there = "SELECT count(*)::text FROM pg_extension WHERE extname = 'vibepeak_keys'";
        assert_eq!(value(&mut restored, there, &[]) == "1", extension, "{options:?}");
        if extension {
            assert_eq!(verify(&mut restored, &keys[0].token), "INVALID_API_KEY", "{options:?}");
        }
    }
    for options in WITH_KEYS {
        run(&cluster, "pg_dump", &[options, &["-f", &file, "postgres"]].concat());
        new_database(&mut client, "part");
        bring_back(&cluster, "part", &file, options);
        let mut restored = cluster.connect("part", "postgres");
        assert_eq!(contents(&mut restored, &keys), before, "{options:?}");
    }
    // The tables by their names: rows for a fresh extension.
    run(&cluster, "pg_dump", &["--table=vpk.*", "-f", &file, "postgres"]);
    cluster.database("rows", "UTF8");
    bring_back(&cluster, "rows", &file, &["--table=vpk.*"]);
    assert_eq!(contents(&mut cluster.connect("rows", "postgres"), &keys), before);
}

/// G7: rows restored without the triggers meet the plans of the fresh extension: that fails, in the
/// open, and in one transaction leaves nothing behind.
#[test]
fn rows_restored_without_triggers_fail_openly() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let keys = touched(&mut client);
    let before = contents(&mut client, &keys);
    let folder = Folder::new("dumped_without");
    let file = folder.file("dump");
    run(&cluster, "pg_dump", &["-Fc", "-f", &file, "postgres"]);
    cluster.database("fresh", "UTF8");
    let restore = ["-1", "--data-only", "-d", "fresh", &file];
    let said = attempt(&cluster, "pg_restore", &[&["--disable-triggers"], &restore[..]].concat());
    let said = said.expect_err("the plans are there");
    assert!(said.contains("violates unique constraint"), "{said}");
    run(&cluster, "pg_restore", &restore);
    assert_eq!(contents(&mut cluster.connect("fresh", "postgres"), &keys), before);
}
