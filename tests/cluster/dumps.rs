//! G7: a dump brings everything back, and every key answers as before.

use crate::support::keys::{Key, create, create_for, set_plan, verify};
use crate::support::{Client, Cluster, value};

/// A database in which everything has been touched: plans edited, added, renamed and removed, the account
/// `default` moved, keys in every state.
fn prepared(cluster: &Cluster) -> Vec<Key> {
    let mut client = cluster.client();
    let edits = "UPDATE vpk.plans SET concurrent_tasks = 5 WHERE plan = 'Plus';
                 INSERT INTO vpk.plans (plan, api_access) VALUES ('Team', true);
                 DELETE FROM vpk.plans WHERE plan = 'Starter';
                 UPDATE vpk.plans SET plan = 'Gratis' WHERE plan = 'Free'";
    client.batch_execute(edits).expect("edited plans");
    set_plan(&mut client, "default", "Plus");
    client.batch_execute("DELETE FROM vpk.plans WHERE plan = 'Pro'").expect("a removed plan");
    set_plan(&mut client, "acme", "Team");
    set_plan(&mut client, "poor", "Gratis");
    let mut keys = vec![create(&mut client, "default's")];
    for (name, account) in [("a", "acme"), ("b", "acme"), ("c", "acme"), ("d", "poor")] {
        keys.push(create_for(&mut client, name, account));
    }
    for (call, key) in [("vpk_revoke", &keys[2]), ("vpk_disable", &keys[3])] {
        value(&mut client, &format!("SELECT {call}($1::text::uuid)::text"), &[&key.id]);
    }
    value(&mut client, "SELECT status::text FROM vpk_task_start($1)", &[&keys[1].token]);
    keys
}

/// All rows of all tables, as one text, and what every key answers.
fn contents(client: &mut Client, keys: &[Key]) -> Vec<String> {
    const TABLES: [&str; 7] =
        ["plans", "accounts", "keys", "key_usage", "task_leases", "events", "removed_defaults"];
    let rows = TABLES.map(|table| {
        let sql =
            format!("SELECT string_agg(t::text, E'\\n' ORDER BY t::text) FROM vpk.{table} AS t");
        format!("{table}: {}", value(client, &sql, &[]))
    });
    let answers = keys.iter().map(|key| verify(client, &key.token)).collect::<Vec<_>>();
    rows.into_iter().chain(answers).collect()
}

/// Runs one of the client programs, which has to succeed.
pub fn run(cluster: &Cluster, program: &str, arguments: &[&str]) {
    let socket = cluster.socket();
    let output = cluster
        .program(program)
        .args(["-h", &socket, "-U", "postgres"])
        .args(arguments)
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

/// G7: plain, in the custom format restored by four workers in whatever order, and the rows alone.
#[test]
fn every_kind_of_dump_brings_everything_back() {
    let cluster = Cluster::start(&[]);
    let keys = prepared(&cluster);
    let before = contents(&mut cluster.client(), &keys);
    let folder = std::env::temp_dir().join(format!("vibepeak_keys_dump.{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder for the dumps");
    let file = |name: &str| folder.join(name).to_str().expect("a plain path").to_owned();
    let (plain, custom, rows) = (file("plain"), file("custom"), file("rows"));

    run(&cluster, "pg_dump", &["-f", &plain, "postgres"]);
    run(&cluster, "pg_dump", &["-Fc", "-f", &custom, "postgres"]);
    run(&cluster, "pg_dump", &["--data-only", "-f", &rows, "postgres"]);
    let mut client = cluster.client();
    for database in ["from_plain", "from_custom"] {
        client.batch_execute(&format!("CREATE DATABASE {database}")).expect("a database");
    }
    cluster.database("from_rows", "UTF8");
    run(&cluster, "psql", &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "from_plain", "-f", &plain]);
    run(&cluster, "pg_restore", &["-e", "-j", "4", "-d", "from_custom", &custom]);
    run(&cluster, "psql", &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "from_rows", "-f", &rows]);
    std::fs::remove_dir_all(&folder).expect("the dumps go");

    for database in ["from_plain", "from_custom", "from_rows"] {
        let mut client = cluster.connect(database, "postgres");
        assert_eq!(contents(&mut client, &keys), before, "{database}");
        // Numbers of events go on where they were.
        create(&mut client, "after");
    }
}
