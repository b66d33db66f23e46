//! G7: a dump of a release before 0.7.0 names the type of statuses in the schema of the functions.
//! docs/operations.md says how to restore it.

use crate::dumps::{Folder, run};
use crate::support::keys::{Key, create, verify};
use crate::support::known::run as sql;
use crate::support::recipes::recipe;
use crate::support::{Client, Cluster, value};
use crate::upgrades::{GRANTS, catalogue, made_with, old_versions, update};

/// What an application has made with the type: a table with an index, a view, functions in two
/// languages, a domain.
const USES_OF_THE_TYPE: &str = "
    CREATE SCHEMA app;
    CREATE DOMAIN app.denial AS public.vpk_status CHECK (VALUE <> 'VALID');
    CREATE TABLE app.answers (token text, status public.vpk_status DEFAULT 'VALID', all_of public.vpk_status[]);
    CREATE INDEX answers_status ON app.answers (status);
    CREATE VIEW app.denied AS SELECT token, status FROM app.answers WHERE status <> 'VALID'::public.vpk_status;
    CREATE FUNCTION app.ask(token text) RETURNS public.vpk_status LANGUAGE sql AS 'SELECT public.vpk_verify(token)';
    CREATE FUNCTION app.denial(status public.vpk_status) RETURNS boolean LANGUAGE plpgsql
        AS 'BEGIN RETURN status <> ''VALID''; END'";

/// That all of it works and has the rows.
fn assert_used(client: &mut Client, key: &Key) {
    let sql = "SELECT concat_ws(' ', app.ask($1), (SELECT count(*) FROM app.answers),
                      (SELECT string_agg(status::text, ' ') FROM app.denied WHERE app.denial(status)),
                      'PLAN_REQUIRED'::app.denial,
                      (SELECT all_of[2] FROM app.answers WHERE all_of IS NOT NULL))";
    let expected = "VALID 2 INVALID_API_KEY PLAN_REQUIRED API_KEY_REVOKED";
    assert_eq!(value(client, sql, &[&key.token]), expected);
    assert_indexed(client);
}

/// That the index answers.
fn assert_indexed(client: &mut Client) {
    sql(client, "SET enable_seqscan = off");
    let found = "SELECT count(*)::text FROM app.answers WHERE status = 'INVALID_API_KEY'";
    assert_eq!(value(client, found, &[]), "1");
    sql(client, "RESET enable_seqscan");
}

/// A database of a release, with keys, roles and uses of the type.
fn origin(cluster: &Cluster, name: &str, version: &str) -> (Client, Key) {
    let mut client = made_with(cluster, name, version);
    sql(&mut client, GRANTS);
    sql(&mut client, USES_OF_THE_TYPE);
    let key = create(&mut client, "key");
    let row = "INSERT INTO app.answers SELECT $1, public.vpk_verify($1), '{VALID,API_KEY_REVOKED}'";
    assert_eq!(client.execute(row, &[&key.token]).expect("a row"), 1);
    sql(&mut client, "INSERT INTO app.answers VALUES ('x', public.vpk_verify('x'))");
    (client, key)
}

/// The releases before 0.7.0, which moved the type.
fn with_the_type_in_its_old_place() -> Vec<String> {
    let older = |version: &String| version.as_str() < "0.7.0";
    old_versions().into_iter().filter(older).collect()
}

fn server() -> Cluster {
    let cluster = Cluster::start(&[]);
    sql(&mut cluster.client(), "CREATE ROLE verifier LOGIN; CREATE ROLE admin LOGIN");
    cluster
}

fn of_the_page(beginning: &str) -> String {
    recipe("operations.md", "older.rs", beginning)
}

#[test]
fn a_dump_of_an_older_release_is_restored_with_the_type_in_its_old_place() {
    let cluster = server();
    let fresh = catalogue(&mut cluster.client());
    let folder = Folder::new("older_dumps");
    for (number, old) in with_the_type_in_its_old_place().iter().enumerate() {
        let name = format!("origin_{number}");
        let (_client, key) = origin(&cluster, &name, old);
        for (format, option) in [("plain", "-Fp"), ("custom", "-Fc")] {
            let to = format!("{format}_{number}");
            let file = folder.file(&to);
            run(&cluster, "pg_dump", &[option, "-f", &file, &name]);
            sql(&mut cluster.client(), &format!("CREATE DATABASE {to} TEMPLATE template0"));
            let mut restored = cluster.connect(&to, "postgres");
            sql(&mut restored, &of_the_page("CREATE EXTENSION"));
            let (program, option) = match format {
                "plain" => ("psql", "-f"),
                _ => ("pg_restore", "-v"),
            };
            let mut restore = cluster.program(program);
            restore.args(["-h", &cluster.socket(), "-U", "postgres", "-d", &to, option, &file]);
            let said = restore.output().expect("the program runs").stderr;
            // The grants on functions that have more arguments by now, as the page says.
            let said = String::from_utf8_lossy(&said).into_owned();
            for error in said.lines().filter(|line| line.contains("ERROR:")) {
                let grown = [
                    "vpk_create(",
                    "vpk_rotate(",
                    "vpk_purge(",
                    "vpk_list(",
                    "vpk_authenticate(",
                    "vpk_task_start(",
                ];
                let known = error.contains("does not exist")
                    && grown.iter().any(|function| error.contains(function));
                assert!(known, "{to}: {error}");
            }
            sql(&mut restored, &of_the_page("ALTER TYPE"));
            sql(&mut restored, GRANTS);
            assert_used(&mut restored, &key);
            let mut verifier = cluster.connect(&to, "verifier");
            assert_eq!(verify(&mut verifier, &key.token), "VALID");
            // But for the rights of the two roles, it is what a fresh installation is.
            let granted = [" | rights | ", "initial rights"];
            let others = |facts: std::collections::BTreeSet<String>| -> Vec<String> {
                let plain = |fact: &String| !granted.iter().any(|part| fact.contains(part));
                facts.into_iter().filter(plain).collect()
            };
            assert_eq!(others(catalogue(&mut restored)), others(fresh.clone()), "{to}");
        }
    }
}

/// G8: the type moves and stays the same: what a session has prepared and what an application has
/// made go on.
#[test]
fn sessions_and_objects_that_use_the_type_outlast_the_update() {
    let cluster = server();
    for (number, old) in with_the_type_in_its_old_place().iter().enumerate() {
        let name = format!("moved_{number}");
        let (mut client, key) = origin(&cluster, &name, old);
        let mut service = cluster.connect(&name, "verifier");
        let verified = service.prepare("SELECT vpk_verify($1)::text").expect("a statement");
        let of_the_type = service.prepare("SELECT vpk_verify($1)").expect("a statement");
        let answer = |service: &mut Client| {
            // A result of the type itself: the plan may not change its type.
            assert_eq!(service.query(&of_the_type, &[&key.token]).expect("a status").len(), 1);
            service.query_one(&verified, &[&key.token]).expect("a status").get::<_, String>(0)
        };
        assert_eq!(answer(&mut service), "VALID");
        assert_used(&mut client, &key);
        update(&mut client);
        assert_eq!(answer(&mut service), "VALID", "{old}");
        assert_used(&mut client, &key);
        assert_used(&mut cluster.connect(&name, "postgres"), &key);
        let place =
            "SELECT typnamespace::regnamespace::text FROM pg_type WHERE typname = 'vpk_status'";
        assert_eq!(value(&mut client, place, &[]), "vpk");
    }
}
