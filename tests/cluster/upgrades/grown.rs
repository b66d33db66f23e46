//! G8: a function whose arguments or result grow in an update stays the same function: what users
//! have made on its old form goes on, and so do their privileges.

use std::thread;

use crate::support::keys::{create_for, set_plan};
use crate::support::known::run;
use crate::support::{Cluster, pid, report, value, wait_for_lock};
use crate::upgrades::{made_with, update};

/// What users make on functions of 0.6.0.
const MADE: &str = "
    CREATE VIEW purged AS SELECT vpk_purge('2001-01-01 00:00+00') AS number;
    CREATE VIEW issued AS SELECT k.id, k.token FROM vpk_create('from a view') AS k;
    CREATE VIEW listed AS SELECT * FROM vpk_list('default');
    CREATE VIEW shown AS SELECT * FROM vpk.key_list;
    CREATE FUNCTION rotated(key uuid) RETURNS text LANGUAGE sql
    BEGIN ATOMIC SELECT k.token FROM vpk_rotate(key, '1 day') AS k; END;
    CREATE FUNCTION renamed(key uuid) RETURNS text LANGUAGE sql
    BEGIN ATOMIC SELECT k.name FROM vpk_update(key, 'renamed') AS k; END;
    CREATE FUNCTION started(token text) RETURNS text LANGUAGE sql
    BEGIN ATOMIC SELECT t.http_status::text FROM vpk_task_start(token) AS t; END;
    CREATE FUNCTION answered(header text) RETURNS text LANGUAGE sql
    BEGIN ATOMIC SELECT a.status::text FROM vpk_authenticate(header) AS a; END;
    CREATE VIEW refused AS SELECT * FROM vpk_authenticate(NULL, environment => 'live');
    CREATE ROLE issuer;
    GRANT USAGE ON SCHEMA vpk TO issuer;
    GRANT EXECUTE ON FUNCTION vpk_create, vpk_rotate, vpk_purge, vpk_list, vpk_authenticate TO issuer";

#[test]
fn what_users_made_on_a_function_goes_on_after_it_has_grown() {
    let cluster = Cluster::start(&[]);
    let mut client = made_with(&cluster, "grown", "0.6.0");
    run(&mut client, MADE);
    let functions = "SELECT string_agg(DISTINCT p.oid::text, ',' ORDER BY p.oid::text)
                       FROM pg_proc AS p
                      WHERE p.proname IN ('vpk_create', 'vpk_rotate', 'vpk_purge', 'vpk_list',
                                          'vpk_update', 'vpk_task_start', 'vpk_authenticate')";
    let before = value(&mut client, functions, &[]);
    run(&mut client, "PREPARE kept AS SELECT k.id FROM vpk_create('prepared') AS k");
    for new in [false, true] {
        if new {
            update(&mut client);
        }
        run(&mut client, "SET ROLE issuer");
        let sql = "SELECT id::text FROM vpk_create('called')";
        assert_ne!(value(&mut client, sql, &[]), "");
        run(&mut client, "SELECT vpk_purge('2001-01-01 00:00+00')");
        run(&mut client, "SELECT name, state FROM vpk_list()");
        run(&mut client, "SELECT status FROM vpk_authenticate(NULL)");
        run(&mut client, "RESET ROLE");
        run(&mut client, "EXECUTE kept");
        assert_eq!(value(&mut client, "SELECT number::text FROM purged", &[]), "0");
        let id = value(&mut client, "SELECT id::text FROM issued", &[]);
        let sql = "SELECT rotated($1::text::uuid)";
        let token = value(&mut client, sql, &[&id]);
        assert_eq!(value(&mut client, "SELECT vpk_verify($1)::text", &[&token]), "VALID");
        assert_eq!(value(&mut client, "SELECT started($1)", &[&token]), "200");
        let sql = "SELECT answered('Bearer ' || $1)";
        assert_eq!(value(&mut client, sql, &[&token]), "VALID");
        let sql = "SELECT concat_ws(' ', r.status,
                          (SELECT count(*) FROM jsonb_object_keys(to_jsonb(r)))) FROM refused AS r";
        assert_eq!(value(&mut client, sql, &[]), "MISSING_API_KEY 13");
        assert_eq!(value(&mut client, "SELECT renamed($1::text::uuid)", &[&id]), "renamed");
        for view in ["listed", "shown"] {
            let sql = format!(
                "SELECT concat_ws(' ', name, state, (SELECT count(*) FROM jsonb_object_keys(to_jsonb(v))))
                   FROM {view} AS v WHERE id = $1::text::uuid"
            );
            assert_eq!(value(&mut client, &sql, &[&id]), "renamed active 14", "{view}");
        }
    }
    assert_eq!(value(&mut client, functions, &[]), before, "the functions are the same");
    run(&mut client, "SET ROLE issuer");
    run(&mut client, "SELECT FROM vpk_create('with the new argument', idempotency_key => 'a')");
    run(&mut client, "SELECT vpk_purge('2001-01-01 00:00+00', max_rows => 1)");
    run(&mut client, "SELECT scopes FROM vpk_list(state => 'active')");
    run(&mut client, "SELECT limits FROM vpk_authenticate(NULL, cost => 2)");
    run(&mut client, "RESET ROLE");
    // Definitions that a dump has are still good.
    for view in ["listed", "shown"] {
        let definition = value(&mut client, &format!("SELECT pg_get_viewdef('{view}')"), &[]);
        run(&mut client, &format!("CREATE OR REPLACE VIEW {view} AS {definition}"));
    }
}

/// G8: a call that was running before the update goes on after it, and returns the columns that its
/// statement was planned for.
#[test]
fn a_running_call_outlasts_the_update() {
    let cluster = Cluster::start(&[]);
    let mut owner = made_with(&cluster, "running", "0.7.0");
    set_plan(&mut owner, "acme", "Pro");
    let key = create_for(&mut owner, "key", "acme");
    let session = || cluster.connect("running", "postgres");
    let (mut first, mut starter, mut changer) = (session(), session(), session());
    run(&mut first, &format!("BEGIN; SELECT FROM vpk_task_start('{}')", key.token));
    run(&mut first, "SELECT FROM vpk.keys FOR UPDATE");
    let pids = [pid(&mut starter), pid(&mut changer)];
    let count = "(SELECT count(*) FROM jsonb_object_keys(to_jsonb(r)))";
    let start = format!("SELECT status || ' ' || {count} FROM vpk_task_start($1) AS r");
    let change =
        format!("SELECT name || ' ' || {count} FROM vpk_update($1::text::uuid, 'new') AS r");
    let starting = starter.prepare(&start).expect("a statement");
    let changing = changer.prepare(&change).expect("a statement");
    thread::scope(|scope| {
        let started = scope.spawn(|| starter.query_one(&starting, &[&key.token]));
        let changed = scope.spawn(|| changer.query_one(&changing, &[&key.id]));
        for pid in pids {
            wait_for_lock(&mut owner, pid);
        }
        // A later step waits for calls, since it adds columns.
        run(&mut owner, "ALTER EXTENSION vibepeak_keys UPDATE TO '0.9.0'");
        run(&mut first, "COMMIT");
        for (answer, expected) in [(started, "VALID 7"), (changed, "new 14")] {
            let row = answer.join().expect("an answer").expect("no error");
            assert_eq!(row.get::<_, &str>(0), expected);
        }
    });
    let started = starter.query_one(&starting, &[&key.token]).expect("planned again");
    assert_eq!(started.get::<_, &str>(0), "VALID 8");
    let changed = changer.query_one(&changing, &[&key.id]).expect("planned again");
    assert_eq!(changed.get::<_, &str>(0), "new 15");
}

/// G8: a function of somebody's own that has the new arguments stops the update, which names it.
#[test]
fn a_function_in_the_way_of_one_that_grows_is_named() {
    let cluster = Cluster::start(&[]);
    let mut client = made_with(&cluster, "taken", "0.7.0");
    run(
        &mut client,
        "CREATE FUNCTION vpk_list(text, uuid, uuid, integer, text) RETURNS integer
         LANGUAGE sql AS 'SELECT 1'",
    );
    let error =
        client.batch_execute("ALTER EXTENSION vibepeak_keys UPDATE").expect_err("in the way");
    let said = report(&error);
    let taken = "vpk_list(text,uuid,uuid,integer,text)";
    assert!(said.starts_with("42723 ") && said.contains(taken), "{said}");
    assert!(
        said.contains("vpk_list(text,uuid,uuid,integer)") && !said.contains("CASCADE"),
        "{said}"
    );
    run(&mut client, &format!("ALTER FUNCTION {taken} RENAME TO mine"));
    update(&mut client);
}
