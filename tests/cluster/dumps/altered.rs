//! What somebody has added to the tables is lost by a dump, as docs/operations.md says.

use crate::dumps::{Folder, psql, run};
use crate::support::contents::{contents, touched};
use crate::support::keys::create;
use crate::support::known::run as sql;
use crate::support::usage::start_flushing_hourly;
use crate::support::{Client, Cluster, value};

const ADDITIONS: &str = "
    CREATE ROLE admin;
    SELECT vpk_grant_admin('admin');
    CREATE FUNCTION public.noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE INDEX by_name ON vpk.keys (name);
    CREATE TRIGGER noted BEFORE INSERT ON vpk.events FOR EACH ROW EXECUTE FUNCTION public.noted();
    CREATE RULE passed AS ON DELETE TO vpk.task_leases DO ALSO NOTHING;
    ALTER TABLE vpk.accounts ADD CONSTRAINT short CHECK (length(account) < 64);
    CREATE POLICY nobody ON vpk.plans USING (false);
    ALTER TABLE vpk.plans ENABLE ROW LEVEL SECURITY";

/// What the doctor says of additions.
fn additions(client: &mut Client) -> String {
    let sql = "SELECT concat(ok, ' ', detail) FROM vpk_doctor() WHERE item = 'additions'";
    value(client, sql, &[])
}

/// Dumps the database, and restores it into another.
fn restored(cluster: &Cluster, folder: &Folder, to: &str) -> Result<Client, String> {
    let file = folder.file(to);
    run(cluster, "pg_dump", &["-f", &file, "postgres"]);
    sql(&mut cluster.client(), &format!("CREATE DATABASE {to} TEMPLATE template0"));
    psql(cluster, to, &file)?;
    Ok(cluster.connect(to, "postgres"))
}

#[test]
fn a_dump_loses_what_was_added_to_the_tables_and_cannot_be_restored_with_a_column() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let keys = touched(&mut client);
    sql(&mut client, ADDITIONS);
    let said = additions(&mut client);
    assert_eq!(said.matches("; ").count() + 1, 6, "{said}");
    sql(&mut client, "SET ROLE admin");
    assert_eq!(value(&mut client, "SELECT count(*)::text FROM vpk.plans", &[]), "0");
    sql(&mut client, "RESET ROLE");

    let before = contents(&mut client, &keys);
    let folder = Folder::new("altered");
    let mut other = restored(&cluster, &folder, "without").expect("a restored database");
    assert_eq!(contents(&mut other, &keys), before);
    assert_eq!(additions(&mut other), "t nothing was added to the extension's tables");

    sql(&mut client, "ALTER TABLE vpk.keys ADD COLUMN team text");
    create(&mut client, "key");
    let said = restored(&cluster, &folder, "with_column").err().expect("COPY fails");
    assert!(said.contains(r#"column "team" of relation "keys" does not exist"#), "{said}");
}

/// A platform's event trigger turns on row security for every new table.
#[test]
fn the_doctor_finds_row_security_that_an_event_trigger_turns_on() {
    let cluster = Cluster::start(&[]);
    sql(&mut cluster.client(), "CREATE DATABASE platform TEMPLATE template0");
    let mut client = cluster.connect("platform", "postgres");
    sql(
        &mut client,
        "CREATE FUNCTION public.secure() RETURNS event_trigger LANGUAGE plpgsql AS $$
             DECLARE
                 made record;
             BEGIN
                 FOR made IN SELECT c.objid::regclass AS name FROM pg_event_trigger_ddl_commands() AS c
                              WHERE c.command_tag = 'CREATE TABLE' LOOP
                     EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', made.name);
                 END LOOP;
             END
         $$;
         CREATE EVENT TRIGGER secure ON ddl_command_end WHEN TAG IN ('CREATE TABLE')
             EXECUTE FUNCTION public.secure();
         CREATE EXTENSION vibepeak_keys",
    );
    let said = additions(&mut client);
    // A list shows ten.
    assert_eq!(said.matches("row security on vpk.").count(), 10, "{said}");
    assert!(said.contains("; and 2 more"), "{said}");
}
