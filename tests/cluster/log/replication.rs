//! G5: the commands of a replication connection show no key.

use std::process::Stdio;

use crate::support::keys::create;
use crate::support::redaction::{Logged, exposed};
use crate::support::{value, wait_until};

/// G5: while changes are sent, which may take months.
#[test]
fn a_replication_command_shows_no_key() {
    let mut logged = Logged::start(&[("wal_level", "logical"), ("log_replication_commands", "on")]);
    let mut client = logged.cluster.client();
    let token = create(&mut client, "replicated").token;
    let sql = "SELECT pg_create_logical_replication_slot('a_slot', 'pgoutput')::text";
    value(&mut client, sql, &[]);
    logged.lines();
    let mut receiver = logged.cluster.program("pg_recvlogical");
    receiver.args(["-h", &logged.cluster.socket(), "-U", "postgres", "-d", "postgres"]);
    receiver.args(["--slot", "a_slot", "--start", "--no-loop", "-f", "-"]);
    receiver.args(["-o", "proto_version=1", "-o", &format!("publication_names={token}")]);
    let mut receiver =
        receiver.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    wait_until("changes are sent", || {
        let sql = "SELECT count(*)::text FROM pg_stat_replication
            WHERE state IN ('catchup', 'streaming')";
        value(&mut client, sql, &[]) == "1"
    });
    let sql = "SELECT query FROM pg_stat_activity WHERE backend_type = 'walsender'";
    let query = value(&mut client, sql, &[]);
    receiver.kill().and_then(|()| receiver.wait()).expect("its end");
    assert!(query.starts_with("START_REPLICATION") && query.contains(&token[..13]), "{query}");
    assert_eq!(exposed(&query, &token), None, "{query}");
    assert_eq!(logged.assert_redacted("replication", &token), 3);
}
