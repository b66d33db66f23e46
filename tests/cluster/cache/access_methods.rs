//! G1 where the tables are not heaps: rows of another table access method may change without the
//! end of a transaction, so a session caches nothing of them.

use std::fs;
use std::process::Command;

use crate::support::keys::{create, verify};
use crate::support::known::{INVALID, PLAN, VALID, assert_healthy, run};
use crate::support::usage::start_flushing_hourly;
use crate::support::{Client, Cluster};

/// Makes an access method known to the database, from its source in C.
fn other_heap(cluster: &Cluster, client: &mut Client) {
    let pg_config = std::env::var("VIBEPEAK_PG_CONFIG").expect("the tests' own");
    let headers = Command::new(pg_config).arg("--includedir-server").output().expect("it runs");
    let headers = String::from_utf8(headers.stdout).expect("a path");
    let library = cluster.data().join("other_heap.so");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-I", headers.trim(), "-o"])
        .arg(&library)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/support/other_heap.c"))
        .output()
        .expect("a compiler");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    run(
        client,
        &format!(
            "CREATE FUNCTION other_heap_handler(internal) RETURNS table_am_handler LANGUAGE c AS '{}';
             CREATE ACCESS METHOD other_heap TYPE TABLE HANDLER other_heap_handler",
            library.display()
        ),
    );
}

/// G1: a key, an account or a plan that is no longer shown is no longer there, at the next
/// verification.
#[test]
fn rows_of_another_table_access_method_are_not_cached() {
    let cluster = start_flushing_hourly(&[("autovacuum", "off")]);
    let mut admin = cluster.client();
    other_heap(&cluster, &mut admin);
    let key = create(&mut admin, "elsewhere");
    let mut session = cluster.client();
    let nothing_is_shown = cluster.data().join("nothing_is_shown");
    for (table, hidden) in [("keys", INVALID), ("accounts", PLAN), ("plans", PLAN)] {
        run(&mut admin, &format!("ALTER TABLE vpk.{table} SET ACCESS METHOD other_heap"));
        for _ in 0..3 {
            assert_eq!(verify(&mut session, &key.token), VALID, "{table}");
        }
        fs::write(&nothing_is_shown, "").expect("a file");
        assert_eq!(verify(&mut session, &key.token), hidden, "{table}, hidden");
        fs::remove_file(&nothing_is_shown).expect("a file");
        assert_eq!(verify(&mut session, &key.token), VALID, "{table}, shown again");
        run(&mut admin, &format!("ALTER TABLE vpk.{table} SET ACCESS METHOD heap"));
    }
    assert_healthy(&cluster);
}
