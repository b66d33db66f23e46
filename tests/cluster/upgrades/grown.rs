//! G8: a function whose arguments grow in an update stays the same function: what users have made
//! on its old form goes on, and so do their privileges.

use crate::support::known::run;
use crate::support::{Cluster, value};
use crate::upgrades::{made_with, update};

/// What users make on functions of 0.6.0.
const MADE: &str = "
    CREATE VIEW purged AS SELECT vpk_purge('2001-01-01 00:00+00') AS number;
    CREATE VIEW issued AS SELECT k.id, k.token FROM vpk_create('from a view') AS k;
    CREATE FUNCTION rotated(key uuid) RETURNS text LANGUAGE sql
    BEGIN ATOMIC SELECT k.token FROM vpk_rotate(key, '1 day') AS k; END;
    CREATE ROLE issuer;
    GRANT USAGE ON SCHEMA vpk TO issuer;
    GRANT EXECUTE ON FUNCTION vpk_create, vpk_rotate, vpk_purge TO issuer";

#[test]
fn what_users_made_on_a_function_goes_on_after_its_arguments_have_grown() {
    let cluster = Cluster::start(&[]);
    let mut client = made_with(&cluster, "grown", "0.6.0");
    run(&mut client, MADE);
    let functions = "SELECT string_agg(DISTINCT p.oid::text, ',' ORDER BY p.oid::text)
                       FROM pg_proc AS p
                      WHERE p.proname IN ('vpk_create', 'vpk_rotate', 'vpk_purge')";
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
        run(&mut client, "RESET ROLE");
        run(&mut client, "EXECUTE kept");
        assert_eq!(value(&mut client, "SELECT number::text FROM purged", &[]), "0");
        let id = value(&mut client, "SELECT id::text FROM issued", &[]);
        let sql = "SELECT vpk_verify(rotated($1::text::uuid))::text";
        assert_eq!(value(&mut client, sql, &[&id]), "VALID");
    }
    assert_eq!(value(&mut client, functions, &[]), before, "the functions are the same");
    run(&mut client, "SET ROLE issuer");
    run(&mut client, "SELECT FROM vpk_create('with the new argument', idempotency_key => 'a')");
    run(&mut client, "SELECT vpk_purge('2001-01-01 00:00+00', max_rows => 1)");
}
