//! G5: a key as the name of a user or a database is readable in no line.

use std::fs;

use crate::support::keys::create;
use crate::support::redaction::{Logged, exposed};
use crate::support::{report, value, wait_until};

/// A server whose lines show all names.
fn logged() -> Logged {
    Logged::start(&[
        // Debian's default.
        ("log_line_prefix", "%m [%p] %q%u@%d "),
        ("log_connections", "on"),
        ("log_disconnections", "on"),
    ])
}

/// G5: pasted into the wrong field.
#[test]
fn a_key_as_a_name_that_does_not_exist_is_redacted() {
    let mut logged = logged();
    let token = create(&mut logged.cluster.client(), "a name").token;
    logged.lines();
    for (database, user) in [("postgres", &*token), (&token, "postgres"), (&token, &token)] {
        assert!(logged.cluster.try_connect(database, user).is_err(), "{user}@{database}");
        assert_eq!(logged.assert_redacted(&format!("{user}@{database}"), &token), 3);
    }
    // A line of level LOG comes first: the names do not match.
    let file = logged.cluster.data().join("pg_hba.conf");
    let rules = fs::read_to_string(&file).expect("the rules");
    fs::write(&file, format!("local all \"{token}\" peer\n{rules}")).expect("the rules");
    logged.cluster.client().batch_execute("SELECT pg_reload_conf()").expect("a reload");
    wait_until("the rule is there", || {
        let refused = logged.cluster.try_connect("postgres", &token).err();
        refused.is_some_and(|error| report(&error).contains("Peer"))
    });
    assert_eq!(logged.assert_redacted("peer", &token), 3);
}

/// G5: a role and a database that have such a name work as any other.
#[test]
fn a_key_as_a_name_that_exists_is_redacted() {
    let mut logged = logged();
    let mut admin = logged.cluster.client();
    let token = create(&mut admin, "a name").token;
    admin.batch_execute(&format!("CREATE ROLE \"{token}\" LOGIN PASSWORD 'a'")).expect("a role");
    admin.batch_execute(&format!("CREATE DATABASE \"{token}\"")).expect("a database");
    logged.lines();
    let mut client = logged.cluster.connect(&token, &token);
    assert_eq!(logged.assert_redacted("connected", &token), 3);
    for level in ["notice", "debug5"] {
        client.batch_execute(&format!("SET client_min_messages = {level}")).expect("a setting");
        client.batch_execute("SELECT 1/0").expect_err("an error");
        client.batch_execute("DO $$ BEGIN RAISE LOG 'a line'; END $$").expect("a line");
        assert_eq!(logged.assert_redacted(level, &token), 3);
    }
    let sql = "SELECT session_user || ' ' || current_database()";
    assert_eq!(value(&mut client, sql, &[]), format!("{token} {token}"));
    drop(client);
    let lines = logged.lines();
    assert!(lines.iter().all(|lines| exposed(lines, &token).is_none()), "{lines:?}");
}
