//! G7: copies of the server's files, and what becomes there of uses that were on their way.

use crate::support::contents::{assert_telling, contents, touched};
use crate::support::keys::{Key, authenticate, create, revoke, verify};
use crate::support::usage::{
    FLUSH_EVERY_200MS, counter, start_flushing_hourly, use_key, uses, wait_for_uses,
    wait_until_flushed,
};
use crate::support::{Client, Cluster, caught_up, pid, value, wait_until};

/// Where uses are while the server is down.
fn kept(cluster: &Cluster) -> bool {
    cluster.data().join("pg_stat/vibepeak_keys.usage").exists()
}

/// Checks that new uses are flushed, and with them all that were pending before.
fn assert_uses(client: &mut Client, what: &str, key: &Key, number: i64) {
    use_key(client, key, 1);
    wait_until_flushed(client);
    assert_eq!(uses(client, key), number + 1, "{what}");
}

/// A server that was stopped while four uses of a key were pending.
fn stopped_with_uses(settings: &[(&str, &str)]) -> (Cluster, Key) {
    let cluster = start_flushing_hourly(settings);
    let mut client = cluster.client();
    let key = create(&mut client, "used");
    use_key(&mut client, &key, 4);
    drop(client);
    cluster.down();
    (cluster, key)
}

/// G7: a base backup, and a copy of the stopped server, answer as the original.
#[test]
fn a_copy_answers_as_the_original() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let keys = touched(&mut client);
    let before = contents(&mut client, &keys);
    assert_telling(&before);
    let backup = cluster.base_backup();
    backup.up();
    assert_eq!(contents(&mut backup.client(), &keys), before, "a base backup");
    backup.down();
    cluster.down();
    let copy = cluster.copied();
    // Pending uses are flushed on both servers.
    let [original, copied] = [&cluster, &copy].map(|server| {
        server.up();
        let mut client = server.client();
        wait_until("the file is gone", || !kept(server));
        wait_until_flushed(&mut client);
        contents(&mut client, &keys)
    });
    assert_ne!(original, before, "the uses that were pending");
    assert_eq!(copied, original, "a copy of the stopped server");
}

/// G7 and G1: recovery to a point just before a revocation brings back a key that is valid, and to
/// one just after it a key that is revoked, however the point is given.
#[test]
fn point_in_time_recovery_brings_back_the_keys_of_that_point() {
    let cluster = start_flushing_hourly(Cluster::ARCHIVING);
    let mut client = cluster.client();
    let before_backup = create(&mut client, "before the backup");
    let backup = cluster.base_backup();
    let key = create(&mut client, "after the backup");
    let point = |client: &mut Client, name: &str| {
        let sql = format!("SELECT pg_create_restore_point('{name}')::text");
        (value(client, &sql, &[]), value(client, "SELECT clock_timestamp()::text", &[]))
    };
    let (before, before_time) = point(&mut client, "before");
    let mut transaction = client.transaction().expect("a transaction");
    revoke(&mut transaction, &key);
    revoke(&mut transaction, &before_backup);
    let xid = value(&mut transaction, "SELECT pg_current_xact_id()::text", &[]);
    transaction.commit().expect("the revocation");
    let (after, after_time) = point(&mut client, "after");
    let later = create(&mut client, "later");
    cluster.archive();

    let inclusive = ("recovery_target_inclusive", "on");
    let exclusive = ("recovery_target_inclusive", "off");
    let targets: [(&[(&str, &str)], &str); 8] = [
        (&[("recovery_target_lsn", &before), inclusive], "VALID"),
        (&[("recovery_target_xid", &xid), exclusive], "VALID"),
        (&[("recovery_target_time", &before_time), inclusive], "VALID"),
        (&[("recovery_target_name", "before")], "VALID"),
        (&[("recovery_target_lsn", &after), inclusive], "API_KEY_REVOKED"),
        (&[("recovery_target_xid", &xid), inclusive], "API_KEY_REVOKED"),
        (&[("recovery_target_time", &after_time), inclusive], "API_KEY_REVOKED"),
        (&[("recovery_target_name", "after")], "API_KEY_REVOKED"),
    ];
    for (target, answer) in targets {
        let copy = backup.copied();
        copy.recover(&cluster, target);
        let mut restored = copy.client();
        for key in [&before_backup, &key] {
            assert_eq!(verify(&mut restored, &key.token), answer, "{target:?}");
            assert_eq!(authenticate(&mut restored, &key.token), answer, "{target:?}");
        }
        assert_eq!(verify(&mut restored, &later.token), "INVALID_API_KEY", "{target:?}");
        // As the documentation advises: what was revoked since is asked of the old server.
        let sql = "SELECT string_agg(key_id::text, ',' ORDER BY key_id) FROM vpk.events WHERE event = 'key_revoked'";
        let since = value(&mut client, sql, &[]);
        for id in since.split(',') {
            let revoked = "SELECT vpk_revoke($1::text::uuid)::text";
            assert_ne!(value(&mut restored, revoked, &[&id]), "");
        }
        assert_eq!(verify(&mut restored, &key.token), "API_KEY_REVOKED", "{target:?}, again");
        let new = create(&mut restored, "new");
        assert_eq!(verify(&mut restored, &new.token), "VALID", "{target:?}");
    }
    let end = backup.copied();
    end.recover(&cluster, &[]);
    assert_eq!(verify(&mut end.client(), &later.token), "VALID");
    assert_eq!(verify(&mut end.client(), &key.token), "API_KEY_REVOKED");
}

/// G4: a standby keeps what was pending at its last stop in a file, until it is promoted. A base
/// backup of it has that file, and takes no notice of it: the same uses would count there and here.
#[test]
fn a_base_backup_of_a_standby_counts_no_use_again() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    let mut primary = cluster.client();
    let key = create(&mut primary, "used");
    let standby = cluster.standby();
    let mut client = standby.client();
    caught_up(&mut primary, &mut client);
    use_key(&mut client, &key, 4);
    drop(client);
    standby.down();
    standby.up();
    assert_eq!(counter(&mut standby.client(), "uses_pending"), 4);
    let copy = standby.base_backup();
    assert!(kept(&copy), "the file is in the base backup");
    copy.up();
    assert!(copy.log().contains("is ignored: restored from a backup"), "{}", copy.log());
    assert_eq!(counter(&mut copy.client(), "uses_pending"), 0);
    // Nor does it after a crash, when it is no fresh backup any more.
    let mut session = copy.client();
    let killed = pid(&mut session);
    copy.crash(killed);
    assert_eq!(counter(&mut copy.client(), "uses_pending"), 0);
    // It is a standby as well.
    copy.promote();
    assert_uses(&mut copy.client(), "the copy", &key, 0);

    // The standby itself has lost nothing.
    drop((primary, cluster));
    standby.promote();
    wait_for_uses(&mut standby.client(), &key, 4);
    assert_uses(&mut standby.client(), "the standby", &key, 4);
}

/// G4: a copy of a stopped server has its uses, also while the original runs.
#[test]
fn a_copy_of_a_stopped_server_has_its_pending_uses() {
    let (cluster, key) = stopped_with_uses(&[]);
    let copy = cluster.copied();
    for (server, what) in [(&cluster, "the original"), (&copy, "the copy")] {
        server.set(FLUSH_EVERY_200MS);
        server.up();
        wait_for_uses(&mut server.client(), &key, 4);
        assert_uses(&mut server.client(), what, &key, 4);
    }
}

/// G4: the copy does not count them again where it goes on with the WAL of the original, which has
/// flushed them.
#[test]
fn a_copy_recovered_with_later_wal_counts_no_use_again() {
    let (cluster, key) = stopped_with_uses(Cluster::ARCHIVING);
    let copy = cluster.copied();
    assert!(kept(&copy));
    cluster.up();
    wait_for_uses(&mut cluster.client(), &key, 4);
    cluster.archive();
    copy.set(FLUSH_EVERY_200MS);
    copy.recover(&cluster, &[]);
    assert_uses(&mut copy.client(), "the copy", &key, 4);
}

/// G4: a file of another stop than the last one does not count, wherever it comes from.
#[test]
fn a_usage_file_of_an_earlier_shutdown_is_ignored() {
    let (cluster, key) = stopped_with_uses(&[]);
    let path = cluster.data().join("pg_stat/vibepeak_keys.usage");
    let old = std::fs::read(&path).expect("the file");
    cluster.set(FLUSH_EVERY_200MS);
    cluster.up();
    wait_for_uses(&mut cluster.client(), &key, 4);
    cluster.down();
    std::fs::write(&path, old).expect("the file");
    cluster.up();
    assert!(cluster.log().contains("is ignored: written at another shutdown"), "{}", cluster.log());
    assert_uses(&mut cluster.client(), "the server", &key, 4);
}

/// G4: each number of a file's shutdown point has to be that of the last shutdown. Only if the
/// system identifier differs, someone has copied the file to this server, as after pg_upgrade.
#[test]
fn a_usage_file_that_differs_in_any_number_of_its_shutdown_is_ignored() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = create(&mut client, "used");
    drop(client);
    let path = cluster.data().join("pg_stat/vibepeak_keys.usage");
    // Where they are in the file, after its head (`pure::usage::file` describes the format).
    let (system, timeline, checkpoint, state) = (24, 32, 36, 44);
    let (mut counted, mut ignored) = (0, 0);
    for (what, changed, counts) in [
        ("nothing", &[][..], true),
        ("the timeline", &[timeline][..], false),
        ("the checkpoint", &[checkpoint][..], false),
        ("the state", &[state][..], false),
        ("the server", &[system][..], true),
        ("all", &[system, timeline, checkpoint, state][..], true),
    ] {
        use_key(&mut cluster.client(), &key, 1);
        cluster.down();
        let mut file = std::fs::read(&path).expect("the file");
        changed.iter().for_each(|at: &usize| file[*at] ^= 1);
        let checksum = crc32fast::hash(&file[24..]).to_le_bytes();
        file[12..16].copy_from_slice(&checksum);
        std::fs::write(&path, file).expect("the file");
        cluster.up();
        let mut client = cluster.client();
        if counts {
            counted += 1;
            wait_for_uses(&mut client, &key, counted);
        } else {
            ignored += 1;
        }
        let found = cluster.log().matches("is ignored: written at another shutdown").count();
        assert_eq!(found, ignored, "{what} differs");
        wait_until("the file is gone", || !kept(&cluster));
    }
    wait_until_flushed(&mut cluster.client());
    assert_eq!(uses(&mut cluster.client(), &key), counted);
}
