//! G10: on a full disk writes are refused and keys are still verified; when there is room again,
//! everything works as before.
//!
//! The disk is a small file system in memory, mounted for the server alone. Only root can do that:
//! run by anybody else, these tests say so and do nothing.

use crate::support::keys::{authenticate, create, verify};
use crate::support::known::run;
use crate::support::load::Load;
use crate::support::usage::{
    FLUSH_EVERY_200MS, counter, create_and_use, stats, use_key, wait_for_uses, wait_until_flushed,
};
use crate::support::{Client, Cluster, value, wait_until};

const CLIENTS: usize = 4;
const FULL: &str = "53100";

/// A server whose folders can be put on small disks, if root may mount them here: in most
/// containers it may not.
pub(super) fn cluster(settings: &[(&str, &str)]) -> Option<Cluster> {
    let root = std::env::var("VIBEPEAK_SERVER_USER").is_ok_and(|user| !user.is_empty());
    if !root || !Cluster::can_mount() {
        println!("not run: no disk can be mounted here; it takes root, outside of most containers");
        return None;
    }
    Some(Cluster::with_mounts(
        &[FLUSH_EVERY_200MS, &[("allow_in_place_tablespaces", "on")], settings].concat(),
    ))
}

/// Creates the tablespace `small`, and returns its folder.
pub(super) fn small_tablespace(client: &mut Client) -> String {
    run(client, "CREATE TABLESPACE small LOCATION ''");
    let sql = "SELECT 'data/pg_tblspc/' || oid FROM pg_tablespace WHERE spcname = 'small'";
    value(client, sql, &[])
}

/// Fills a disk until there is no room.
fn fill(cluster: &Cluster, folder: &str) {
    // It ends where there is no room.
    assert!(!cluster.shell(&format!("cat /dev/zero >>{folder}/filler")), "{folder} is full");
}

/// Gives the room back.
fn make_room(cluster: &Cluster, folder: &str) {
    assert!(cluster.shell(&format!("rm {folder}/filler")), "{folder} has room");
}

/// G10, G2, G4: while the tables' disk is full, a statement that needs a new page is refused with
/// the server's error for a full disk. Uses wait, and are flushed when there is room.
#[test]
fn keys_are_verified_while_the_tables_disk_is_full() {
    let Some(cluster) = cluster(&[]) else { return };
    let mut client = cluster.client();
    let folder = small_tablespace(&mut client);
    let tables = ["keys", "accounts", "plans", "key_usage", "task_leases", "events"];
    cluster.mount(&folder, 48);
    for table in tables {
        run(&mut client, &format!("ALTER TABLE vpk.{table} SET TABLESPACE small"));
    }
    let indexes =
        "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class AS c ON c.oid = indrelid
                    WHERE relnamespace = 'vpk'::regnamespace";
    for row in client.query(indexes, &[]).expect("indexes") {
        let index: &str = row.get(0);
        run(&mut client, &format!("ALTER INDEX {index} SET TABLESPACE small"));
    }
    let key = create(&mut client, "kept");
    use_key(&mut client, &key, 1);
    wait_for_uses(&mut client, &key, 1);
    Load::during(&cluster, CLIENTS, &[FULL], |load, _| {
        for _ in 0..2 {
            let before = load.refused();
            fill(&cluster, &folder);
            wait_until("writes are refused", || load.refused() > before + 5);
            // Many uses of many keys: their rows need room, too.
            assert_eq!(verify(&mut client, &key.token), "VALID");
            assert_eq!(authenticate(&mut cluster.client(), &key.token), "VALID");
            load.goes_on(500);
            make_room(&cluster, &folder);
            load.goes_on(500);
        }
    });
    wait_until_flushed(&mut client);
    create_and_use(&mut client);
    assert_eq!(cluster.restarts(), 0);
}

/// G4: uses for whose rows there is no room wait; the failure is shown, and no use is lost.
#[test]
fn uses_wait_while_their_disk_is_full_and_none_is_lost() {
    let Some(cluster) = cluster(&[]) else { return };
    let mut client = cluster.client();
    let folder = small_tablespace(&mut client);
    cluster.mount(&folder, 16);
    run(&mut client, "ALTER TABLE vpk.key_usage SET TABLESPACE small");
    run(&mut client, "ALTER INDEX vpk.key_usage_pkey SET TABLESPACE small");
    run(
        &mut client,
        "CREATE TABLE tokens AS SELECT token FROM generate_series(1, 3000) AS g, vpk_create('key ' || g)",
    );
    fill(&cluster, &folder);
    let used = "SELECT count(*)::text FROM tokens WHERE vpk_verify(token) = 'VALID'";
    assert_eq!(value(&mut client, used, &[]), "3000");
    wait_until("the flush has failed", || {
        stats(&mut client)["last_error"].as_str().is_some_and(|said| said.contains("No space left"))
    });
    assert_eq!(value(&mut client, used, &[]), "3000");
    assert!(counter(&mut client, "uses_pending") > 0);
    make_room(&cluster, &folder);
    wait_until_flushed(&mut client);
    assert_eq!(counter(&mut client, "uses_dropped"), 0);
    let sql = "SELECT sum(uses)::text FROM vpk.key_usage";
    assert_eq!(value(&mut client, sql, &[]), "6000");
    assert_eq!(cluster.restarts(), 0);
}

/// G10: without room for its log the server cannot go on, and cannot start; with room it comes
/// back, with all that it has acknowledged.
#[test]
fn nothing_acknowledged_is_lost_when_the_wal_disk_is_full() {
    let settings = [("max_wal_size", "4MB"), ("min_wal_size", "2MB"), ("wal_recycle", "off")];
    let Some(cluster) = cluster(&settings) else { return };
    let mut client = cluster.client();
    let key = create(&mut client, "kept");
    drop(client);
    cluster.down();
    cluster.mount("data/pg_wal", 24);
    cluster.up();
    Load::during(&cluster, CLIENTS, &[FULL], |load, _| {
        for _ in 0..2 {
            let panics = || cluster.log().matches("PANIC:").count();
            let before = panics();
            wait_until("the server cannot go on", || {
                // A checkpoint gives room back, until there is none left to give.
                fill(&cluster, "data/pg_wal");
                if let Ok(mut client) = cluster.try_connect("postgres", "postgres") {
                    // The end of the server, if this is what has no room.
                    let sql = "SELECT pg_logical_emit_message(true, '', repeat('x', 1000000))";
                    let _ = client.batch_execute(sql);
                }
                panics() > before
            });
            make_room(&cluster, "data/pg_wal");
            // It has ended, if it could not start over in what room there was.
            wait_until("the server is there again", || {
                cluster.try_connect("postgres", "postgres").is_ok() || cluster.comes_up()
            });
            load.goes_on(300);
        }
    });
    let mut client = cluster.client();
    assert_eq!(verify(&mut client, &key.token), "VALID");
    create_and_use(&mut client);
}
