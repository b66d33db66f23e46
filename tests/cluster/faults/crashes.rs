//! G10, with G1, G2 and G4: processes of the server that are killed or terminated while clients are
//! at it. What was acknowledged is so afterwards, no answer is wrong at any time, and the server
//! goes on.

use crate::support::cluster::kill;
use crate::support::keys::{create, revoke, verify};
use crate::support::known::run;
use crate::support::load::Load;
use crate::support::process::soak;
use crate::support::usage::{
    FLUSH_EVERY_200MS, create_and_use, launcher, wait_for_end_of_flush, wait_for_flushes,
    wait_for_pending,
};
use crate::support::{Client, Cluster, wait_until};

const CLIENTS: usize = 6;

/// How many times each fault happens.
fn rounds(fast: usize) -> usize {
    if soak() { 25 * fast } else { fast }
}

/// The server's processes have said nothing of what is worse than being killed.
fn assert_only_killed(cluster: &Cluster) {
    let log = cluster.log();
    let worse = ["PANIC", "TRAP", "leak", "not owned by", "still pinned", "invalid page"];
    let line = log.lines().find(|line| {
        worse.iter().any(|word| line.contains(word))
            || (line.contains("terminated by signal") && !line.contains("signal 9"))
    });
    assert_eq!(line, None, "the log of the server");
}

/// Uses are flushed as before. A process that is killed after it has counted an answer, and before
/// it has noted the use, leaves one answer more than there are uses.
fn uses_arrive(client: &mut Client) {
    create_and_use(client);
    wait_for_pending(client, 0);
    wait_for_end_of_flush(client);
}

/// Kills sessions at any point of what they do.
#[test]
fn nothing_acknowledged_is_lost_when_sessions_are_killed() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    Load::during(&cluster, CLIENTS, &[], |load, random| {
        for _ in 0..rounds(4) {
            let active = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'
                             AND pid <> pg_backend_pid() AND state = 'active'";
            let mut found = Vec::new();
            let mut client = cluster.client();
            wait_until("a call is under way", || {
                found = client.query(active, &[]).expect("the sessions");
                !found.is_empty()
            });
            let pid = random.pick(&found).get(0);
            drop(client);
            cluster.crash(pid);
            load.goes_on(200 + random.below(400) as u64);
        }
    });
    uses_arrive(&mut cluster.client());
    assert_only_killed(&cluster);
}

/// The worker that has connected to the database waits for the table that it is to write to: there
/// it can be found.
fn waiting_flusher(cluster: &Cluster) -> (Client, i32) {
    let mut holder = cluster.client();
    run(&mut holder, "BEGIN; LOCK TABLE vpk.key_usage");
    let mut found = None;
    let mut client = cluster.client();
    wait_until("a flush waits", || {
        let sql = "SELECT max(pid) FROM pg_stat_activity
                    WHERE backend_type = 'vibepeak_keys flusher' AND wait_event_type = 'Lock'";
        found = client.query_one(sql, &[]).expect("the processes").get(0);
        found.is_some()
    });
    (holder, found.expect("a process"))
}

fn wait_for_launcher(cluster: &Cluster) -> i32 {
    let mut client = cluster.client();
    let mut found = None;
    wait_until("there is a launcher", || {
        found = launcher(&mut client);
        found.is_some()
    });
    found.expect("a launcher")
}

#[test]
fn nothing_acknowledged_is_lost_when_workers_are_killed() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    Load::during(&cluster, CLIENTS, &[], |load, _| {
        for _ in 0..rounds(2) {
            let before = cluster.restarts();
            let holder = loop {
                let (holder, flusher) = waiting_flusher(&cluster);
                // It may have given way in this instant.
                if kill(flusher) && killed(&cluster, flusher) {
                    break holder;
                }
            };
            wait_until("the server has noticed", || cluster.restarts() > before);
            drop(holder);
            load.goes_on(200);
            let launcher = wait_for_launcher(&cluster);
            cluster.crash(launcher);
            load.goes_on(200);
            wait_for_launcher(&cluster);
        }
    });
    uses_arrive(&mut cluster.client());
    assert_only_killed(&cluster);
}

/// Whether a process was ended by the signal, and not before by itself.
fn killed(cluster: &Cluster, pid: i32) -> bool {
    let gone = || !std::path::Path::new(&format!("/proc/{pid}")).exists();
    let line = format!("(PID {pid}) was terminated by signal 9");
    let mut lines = 0;
    wait_until("the process is gone, and another one asked for", || {
        lines = cluster.log().matches(&line).count();
        lines > 0 || (gone() && cluster.try_connect("postgres", "postgres").is_ok())
    });
    lines > 0 || cluster.log().contains(&line)
}

#[test]
fn terminated_workers_are_started_again() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    Load::during(&cluster, CLIENTS, &[], |load, _| {
        for _ in 0..rounds(3) {
            let (mut holder, flusher) = waiting_flusher(&cluster);
            run(&mut holder, &format!("SELECT pg_terminate_backend({flusher}); COMMIT"));
            wait_for_flushes(&mut holder, 1);
            let first = wait_for_launcher(&cluster);
            run(&mut holder, &format!("SELECT pg_terminate_backend({first})"));
            wait_until("there is another launcher", || {
                launcher(&mut holder).is_some_and(|pid| pid != first)
            });
            wait_for_flushes(&mut holder, 1);
            load.goes_on(100);
        }
    });
    uses_arrive(&mut cluster.client());
    assert_eq!(cluster.restarts(), 0);
    assert_only_killed(&cluster);
}

/// The server stops without a checkpoint, and starts again.
#[test]
fn nothing_acknowledged_is_lost_when_the_server_stops_at_once() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    Load::during(&cluster, CLIENTS, &[], |load, random| {
        for _ in 0..rounds(3) {
            cluster.down_at_once();
            cluster.up();
            load.goes_on(200 + random.below(400) as u64);
        }
    });
    uses_arrive(&mut cluster.client());
    assert_only_killed(&cluster);
}

/// The first of its processes is killed; the others see that and end.
#[test]
fn nothing_acknowledged_is_lost_when_the_postmaster_is_killed() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    Load::during(&cluster, CLIENTS, &[], |load, random| {
        for _ in 0..rounds(3) {
            assert!(kill(cluster.postmaster()), "there is a server");
            // As long as one of them is there, none can be started.
            wait_until("it starts again", || cluster.comes_up());
            load.goes_on(200 + random.below(400) as u64);
        }
    });
    uses_arrive(&mut cluster.client());
    assert_only_killed(&cluster);
}

/// A revocation whose commit has returned outlives a crash, also in a session that lets its other
/// commits return before they are on disk.
#[test]
fn a_revocation_without_synchronous_commit_outlives_a_crash() {
    // Nothing but the commit writes the log.
    let settings = [("wal_writer_delay", "10s"), ("wal_writer_flush_after", "1GB")];
    let cluster = Cluster::start(&settings);
    let mut client = cluster.client();
    let (key, kept) = (create(&mut client, "revoked"), create(&mut client, "kept"));
    run(&mut client, "SET synchronous_commit = off");
    revoke(&mut client, &key);
    cluster.down_at_once();
    cluster.up();
    let mut client = cluster.client();
    assert_eq!(verify(&mut client, &key.token), "API_KEY_REVOKED");
    assert_eq!(verify(&mut client, &kept.token), "VALID");
}
