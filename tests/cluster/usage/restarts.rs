//! G4 and G10: what becomes of uses on their way when the server, or one of its processes, ends.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::keys::{create, verify};
use crate::support::usage::{
    FLUSH_EVERY_200MS, counter, flush_every, launcher, start_flushing_hourly, stats, use_key, uses,
    wait_for_uses, wait_until_flushed,
};
use crate::support::{Client, Cluster, caught_up, pid, value, wait_until};

/// Where uses are while the server is down.
fn file(cluster: &Cluster) -> PathBuf {
    cluster.data().join("pg_stat/vibepeak_keys.usage")
}

fn wait_for_launcher(client: &mut Client) -> i32 {
    let mut found = None;
    wait_until("there is a launcher", || {
        found = launcher(client);
        found.is_some()
    });
    found.expect("a launcher")
}

/// G4: a clean restart loses nothing, in any database; counters go on; and the file is gone when
/// the server runs.
#[test]
fn a_clean_restart_loses_no_use() {
    let cluster = start_flushing_hourly(&[]);
    cluster.database("second", "UTF8");
    let mut keys = Vec::new();
    for (database, times) in [("postgres", 7), ("second", 5)] {
        let mut client = cluster.connect(database, "postgres");
        let key = create(&mut client, "used");
        use_key(&mut client, &key, times);
        assert_eq!(verify(&mut client, "malformed"), "INVALID_API_KEY");
        assert_eq!(counter(&mut client, "uses_pending"), i64::from(times));
        keys.push((database, key, i64::from(times), stats(&mut client)));
    }
    assert!(!file(&cluster).exists());
    cluster.down();
    assert!(file(&cluster).exists());
    cluster.up();
    wait_until("the file is gone", || !file(&cluster).exists());
    // Uses that were read from the file are flushed at once.
    for (database, key, times, _) in &keys {
        let mut client = cluster.connect(database, "postgres");
        wait_for_uses(&mut client, key, *times);
        wait_until_flushed(&mut client);
    }
    cluster.down();
    cluster.up();
    flush_every(&mut cluster.client(), "100ms");
    for (database, key, times, before) in &keys {
        let mut client = cluster.connect(database, "postgres");
        wait_for_uses(&mut client, key, *times);
        wait_until_flushed(&mut client);
        use_key(&mut client, key, 2);
        wait_for_uses(&mut client, key, times + 2);
        wait_until_flushed(&mut client);
        let after = stats(&mut client);
        assert_eq!(after["since"], before["since"]);
        assert_eq!(after["valid"].as_i64(), Some(times + 2));
        assert_eq!(after["invalid_api_key"].as_i64(), Some(1));
        assert_eq!(after["uses_dropped"].as_i64(), Some(0));
    }
}

/// G4: a start that fails loses nothing either.
#[test]
fn a_failed_start_loses_no_use() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = create(&mut client, "used");
    use_key(&mut client, &key, 9);
    cluster.down();
    let path = cluster.data().join("pg_hba.conf");
    let right = fs::read_to_string(&path).expect("pg_hba.conf");
    fs::write(&path, format!("{right}\nnonsense\n")).expect("pg_hba.conf");
    assert!(!cluster.comes_up());
    fs::write(&path, right).expect("pg_hba.conf");
    cluster.up();
    wait_for_uses(&mut cluster.client(), &key, 9);
}

/// G4: a damaged file is ignored: the log says so, and the server starts without it.
#[test]
fn a_damaged_usage_file_is_ignored_and_logged() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = create(&mut client, "used");
    use_key(&mut client, &key, 9);
    cluster.down();
    let path = file(&cluster);
    let mut bytes = fs::read(&path).expect("the file");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&path, bytes).expect("the file");
    cluster.up();
    let log = cluster.log();
    assert!(log.contains(r#"file "pg_stat/vibepeak_keys.usage" is ignored"#), "{log}");
    wait_until("the file is gone", || !path.exists());
    let mut client = cluster.client();
    assert_eq!(counter(&mut client, "uses_pending"), 0);
    use_key(&mut client, &key, 2);
    flush_every(&mut client, "100ms");
    wait_for_uses(&mut client, &key, 2);
    assert_eq!(counter(&mut client, "valid"), 2);
}

/// G4: after a restart with fewer slots, uses that find no slot are counted as dropped.
#[test]
fn uses_without_room_after_a_restart_are_counted_as_dropped() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let sql = "SELECT count(vpk_verify(token))::text
                 FROM generate_series(1, 200) AS g, vpk_create('key ' || g)";
    assert_eq!(value(&mut client, sql, &[]), "200");
    assert_eq!(counter(&mut client, "uses_pending"), 200);
    cluster.down();
    cluster.set(&[("vibepeak_keys.usage_slots", "64")]);
    cluster.up();
    let mut client = cluster.client();
    wait_until_flushed(&mut client);
    assert_eq!(counter(&mut client, "uses_dropped"), 136);
    let sql = "SELECT sum(uses)::text FROM vpk.key_usage";
    assert_eq!(value(&mut client, sql, &[]), "64");
    assert_eq!(counter(&mut client, "uses_flushed"), 64);
}

/// G10: a launcher that is terminated is started again, and no other process is affected.
#[test]
fn a_terminated_launcher_is_started_again() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    let mut client = cluster.client();
    let key = create(&mut client, "used");
    for round in 1..=2 {
        let first = wait_for_launcher(&mut client);
        client.execute("SELECT pg_terminate_backend($1)", &[&first]).expect("its end");
        wait_until("there is another launcher", || {
            launcher(&mut client).is_some_and(|process| process != first)
        });
        use_key(&mut client, &key, 3);
        wait_for_uses(&mut client, &key, 3 * round);
    }
    let log = cluster.log();
    assert!(!log.contains("reinitializing") && !log.contains("PANIC"), "{log}");
}

/// G10: a launcher that is killed: the server starts over, and so do launcher and flushes.
#[test]
fn the_server_recovers_when_the_launcher_is_killed() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    let mut client = cluster.client();
    let key = create(&mut client, "used");
    use_key(&mut client, &key, 3);
    wait_for_uses(&mut client, &key, 3);
    let first = wait_for_launcher(&mut client);
    cluster.crash(first);
    let mut client = cluster.client();
    assert_ne!(wait_for_launcher(&mut client), first);
    use_key(&mut client, &key, 2);
    wait_for_uses(&mut client, &key, 5);
}

/// G4 and G10: a crash loses what was pending at most, and nothing counts twice: not what was
/// flushed before, nor what had come from the file of an earlier restart.
#[test]
fn a_crash_loses_only_pending_uses_and_counts_none_twice() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = create(&mut client, "used");
    use_key(&mut client, &key, 5);
    cluster.down();
    cluster.up();
    let mut client = cluster.client();
    flush_every(&mut client, "100ms");
    wait_for_uses(&mut client, &key, 5);
    wait_until_flushed(&mut client);
    flush_every(&mut client, "1h");
    use_key(&mut client, &key, 4);

    let killed = pid(&mut client);
    cluster.crash(killed);
    let mut client = cluster.client();
    let kept = uses(&mut client, &key);
    assert!((5..=9).contains(&kept), "{kept}");
    assert_eq!(counter(&mut client, "uses_pending"), 0);
    use_key(&mut client, &key, 2);
    flush_every(&mut client, "100ms");
    wait_for_uses(&mut client, &key, kept + 2);
    wait_until_flushed(&mut client);
    // A crash after that, and a clean restart after the crash.
    let killed = pid(&mut client);
    cluster.crash(killed);
    cluster.down();
    cluster.up();
    let mut client = cluster.client();
    use_key(&mut client, &key, 1);
    wait_for_uses(&mut client, &key, kept + 3);
}

/// G9 and G4: a standby has no worker, since it can write nothing; what was used there waits, over
/// a restart too, until it is the primary.
#[test]
fn a_standby_keeps_its_uses_until_its_promotion() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    let mut primary = cluster.client();
    let key = create(&mut primary, "used");
    let committed = value(&mut primary, "SELECT pg_current_wal_flush_lsn()::text", &[]);
    let other = cluster.standby();
    let mut standby = other.client();
    wait_until("the standby has the key", || {
        let sql = "SELECT (pg_last_wal_replay_lsn() >= $1::text::pg_lsn)::text";
        value(&mut standby, sql, &[&committed]) == "true"
    });
    use_key(&mut standby, &key, 4);
    assert_eq!(counter(&mut standby, "uses_pending"), 4);
    drop(standby);
    other.down();
    other.up();
    let mut standby = other.client();
    use_key(&mut standby, &key, 2);
    assert_eq!(counter(&mut standby, "uses_pending"), 6);
    let sql =
        "SELECT count(*)::text FROM pg_stat_activity WHERE backend_type LIKE 'vibepeak_keys%'";
    assert_eq!(value(&mut standby, sql, &[]), "0");
    drop((primary, cluster));
    other.promote();
    wait_for_launcher(&mut standby);
    wait_for_uses(&mut standby, &key, 6);
    use_key(&mut standby, &key, 1);
    wait_for_uses(&mut standby, &key, 7);
}

/// G4: nor does a start of a standby that fails after recovery has begun, however it had stopped,
/// lose the uses that it had counted.
#[test]
fn a_standby_whose_start_fails_keeps_its_uses() {
    let primary = Cluster::start(&[]);
    let standby = primary.standby();
    let mut client = primary.client();
    let key = create(&mut client, "used");
    caught_up(&mut client, &mut standby.client());
    for (number, stop) in [(1, Cluster::down as fn(&Cluster)), (2, Cluster::down_at_once)] {
        use_key(&mut standby.client(), &key, 4);
        stop(&standby);
        standby.set(&[("max_connections", "20")]);
        assert!(!standby.comes_up(), "fewer connections than on the primary");
        standby.set(&[("max_connections", "50")]);
        standby.up();
        assert_eq!(counter(&mut standby.client(), "uses_pending"), 4 * number);
    }
}

/// G4: the users who may read the server's files may read this one, and no other user: a backup of
/// them all by their group, where the group has that right, is not refused.
#[test]
fn the_usage_file_has_the_permissions_of_the_data_directory() {
    let cluster = start_flushing_hourly(&[]);
    let mode = || fs::metadata(file(&cluster)).expect("the file").permissions().mode() & 0o777;
    cluster.down();
    assert_eq!(mode(), 0o600);
    fs::set_permissions(cluster.data(), Permissions::from_mode(0o750)).expect("the folder");
    cluster.up();
    cluster.down();
    assert_eq!(mode(), 0o640);
}
