//! G11: what becomes of buckets when the server ends.

use std::fs;

use super::identifiers::{a_month, limit};
use crate::support::{Cluster, pid};

/// The seconds that a refused call has to wait.
fn wait(answer: &str) -> i64 {
    let wait = answer.strip_prefix("f 0 ").and_then(|wait| wait.parse().ok());
    wait.unwrap_or_else(|| panic!("not refused: {answer}"))
}

/// A clean restart keeps what is left, as the time until it is more; also the next one.
#[test]
fn a_clean_restart_keeps_what_is_left() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let [used, half] = [a_month("used", 1), a_month("half", 2)];
    assert_eq!(limit(&mut client, &used), "t 0 -");
    assert_eq!(limit(&mut client, &half), "t 1 -");
    let mut before = wait(&limit(&mut client, &used));
    for left in ["t 1 -", "t 0 -"] {
        // A change of the number of places, too.
        let slots = if left == "t 1 -" { "31" } else { "100000" };
        cluster.set(&[("vibepeak_keys.identifier_slots", slots)]);
        cluster.down();
        cluster.up();
        let mut client = cluster.client();
        let now = wait(&limit(&mut client, &used));
        assert!((before - 3_600..=before).contains(&now), "{now} after {before}");
        before = now;
        assert_eq!(limit(&mut client, &format!("{half}, cost => 0")), "t 1 -");
        if left == "t 0 -" {
            assert_eq!(limit(&mut client, &half), left);
        }
    }
}

/// A crash forgets what was used, also what an earlier restart had brought, and nobody is refused
/// for that.
#[test]
fn a_crash_gives_full_buckets() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let [kept, later] = [a_month("kept", 1), a_month("later", 1)];
    assert_eq!(limit(&mut client, &kept), "t 0 -");
    cluster.down();
    cluster.up();
    let mut client = cluster.client();
    wait(&limit(&mut client, &kept));
    assert_eq!(limit(&mut client, &later), "t 0 -");
    let killed = pid(&mut client);
    cluster.crash(killed);
    let mut client = cluster.client();
    assert_eq!(limit(&mut client, &kept), "t 0 -");
    assert_eq!(limit(&mut client, &later), "t 0 -");
    // So does a start that fails: what the file had may have changed since.
    cluster.down();
    let path = cluster.data().join("pg_hba.conf");
    let right = fs::read_to_string(&path).expect("pg_hba.conf");
    fs::write(&path, format!("{right}\nnonsense\n")).expect("pg_hba.conf");
    assert!(!cluster.comes_up());
    fs::write(&path, right).expect("pg_hba.conf");
    cluster.up();
    assert_eq!(limit(&mut cluster.client(), &later), "t 0 -");
}

/// The same on a standby, where the file of an earlier restart is still there.
#[test]
fn a_crash_of_a_standby_gives_full_buckets() {
    let primary = Cluster::start(&[]);
    let standby = primary.standby();
    let kept = a_month("kept", 1);
    assert_eq!(limit(&mut standby.client(), &kept), "t 0 -");
    standby.down();
    standby.up();
    let mut client = standby.client();
    wait(&limit(&mut client, &kept));
    let file = standby.data().join("pg_stat/vibepeak_keys.usage");
    assert!(fs::exists(&file).expect("a folder"));
    let killed = pid(&mut client);
    standby.crash(killed);
    assert_eq!(limit(&mut standby.client(), &kept), "t 0 -");
}
