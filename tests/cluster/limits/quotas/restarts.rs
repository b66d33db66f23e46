//! G12: what is used is known after a restart.

use super::{in_table, key_with, passing, shown, wait_for_used};
use crate::support::usage::{FLUSH_EVERY_100MS, flush_every, start_flushing_hourly};
use crate::support::{Cluster, caught_up, pid, sqlstate, value, wait_until};

/// A clean restart forgets nothing, also where it changes the number of slots.
#[test]
fn a_clean_restart_keeps_what_is_used() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = key_with(&mut client, "calls=10/month");
    assert_eq!(passing(&mut client, &key, 4), 4);
    for slots in ["31", "100000"] {
        cluster.set(&[("vibepeak_keys.rate_slots", slots)]);
        cluster.down();
        cluster.up();
        let mut client = cluster.client();
        assert_eq!(passing(&mut client, &key, 1), 1);
    }
    let mut client = cluster.client();
    assert_eq!(shown(&mut client, "'acme'"), "calls/month account 10+0 6 4");
    assert_eq!(passing(&mut client, &key, 5), 4);
    flush_every(&mut client, "100ms");
    wait_for_used(&mut client, 10);
}

/// A crash forgets what was not flushed, in the caller's favour, and nothing else.
#[test]
fn a_crash_forgets_what_was_not_flushed() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = key_with(&mut client, "calls=10/month");
    assert_eq!(passing(&mut client, &key, 4), 4);
    flush_every(&mut client, "100ms");
    wait_for_used(&mut client, 4);
    flush_every(&mut client, "1h");
    assert_eq!(passing(&mut client, &key, 3), 3);
    let killed = pid(&mut client);
    cluster.crash(killed);
    let mut client = cluster.client();
    let used = in_table(&mut client);
    assert!((4..=7).contains(&used), "{used}");
    assert_eq!(passing(&mut client, &key, 11), 10 - used as usize);
}

/// A standby judges by what is replicated, and by what it has counted itself. Its charges reach the
/// table when it is promoted.
#[test]
fn a_standby_counts_on_top_of_what_is_replicated() {
    let primary = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = primary.client();
    let key = key_with(&mut client, "calls=5/month");
    assert_eq!(passing(&mut client, &key, 2), 2);
    wait_for_used(&mut client, 2);
    let standby = primary.standby();
    let mut there = standby.client();
    caught_up(&mut client, &mut there);
    assert_eq!(passing(&mut there, &key, 9), 3);
    client.batch_execute("SELECT vpk_grant_quota('acme', 1)").expect("a grant");
    caught_up(&mut client, &mut there);
    assert_eq!(passing(&mut there, &key, 9), 1);
    let grant = "SELECT vpk_grant_quota('acme', 1)";
    assert_eq!(sqlstate("a grant", there.batch_execute(grant)), "25006");
    let charge = format!("SELECT vpk_charge('{}', -1)::text", key.id);
    assert_eq!(value(&mut there, &charge, &[]), "1");
    assert_eq!(passing(&mut there, &key, 9), 1);
    // The primary does not know of that.
    assert_eq!(passing(&mut client, &key, 9), 4);
    wait_for_used(&mut client, 6);
    caught_up(&mut client, &mut there);
    wait_until("the standby has seen it", || {
        shown(&mut there, "'acme'") == "calls/month account 5+1 10 -4"
    });
    assert_eq!(passing(&mut there, &key, 1), 0);
    drop(client);
    primary.down_at_once();
    standby.promote();
    wait_for_used(&mut standby.client(), 10);
}
