//! G7 and G6: a dump of the whole server restores roles and their privileges.

use crate::dumps::{Folder, attempt, psql, run};
use crate::support::contents::{assert_telling, contents, touched};
use crate::support::keys::{create, revoke, verify};
use crate::support::known::run as sql;
use crate::support::usage::start_flushing_hourly;
use crate::support::{Client, sqlstate};
use crate::upgrades::{assert_same, catalogue};

/// What neither a verifier nor an admin may do.
const HIDDEN: [&str; 3] = [
    "SELECT key_hash FROM vpk.keys",
    "DELETE FROM vpk.events",
    "SELECT vpk_grant_admin('backend')",
];

fn assert_verifier(client: &mut Client, token: &str) {
    assert_eq!(verify(client, token), "VALID");
    let more =
        ["SELECT FROM vpk_create('x')", "SELECT FROM vpk_list()", "SELECT FROM vpk.key_list"];
    for denied in more.iter().chain(&HIDDEN) {
        assert_eq!(sqlstate(denied, client.batch_execute(denied)), "42501", "{denied}");
    }
}

fn assert_admin(client: &mut Client) {
    let key = create(client, "made by an admin");
    revoke(client, &key);
    sql(client, "SELECT FROM vpk_list(); UPDATE vpk.plans SET rank = rank; SELECT FROM vpk.events");
    for denied in HIDDEN {
        assert_eq!(sqlstate(denied, client.batch_execute(denied)), "42501", "{denied}");
    }
}

/// G7, G6: roles, what they were granted, and their members, through pg_dumpall and in two steps.
#[test]
fn roles_and_their_grants_come_back() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let keys = touched(&mut client);
    let roles = "CREATE ROLE verifiers; CREATE ROLE admins; CREATE ROLE nobody LOGIN;
        CREATE ROLE backend LOGIN IN ROLE verifiers; CREATE ROLE backoffice LOGIN IN ROLE admins;
        SELECT vpk_grant_verifier('verifiers'), vpk_grant_admin('admins')";
    sql(&mut client, roles);
    let (before, rights) = (contents(&mut client, &keys), catalogue(&mut client));
    assert_telling(&before);
    let folder = Folder::new("dumped_roles");
    let (all, globals, one) = (folder.file("all"), folder.file("globals"), folder.file("one"));
    run(&cluster, "pg_dumpall", &["-f", &all]);
    run(&cluster, "pg_dumpall", &["--globals-only", "-f", &globals]);
    run(&cluster, "pg_dump", &["-Fc", "-f", &one, "postgres"]);

    let said = |said: String| {
        let errors = said.lines().filter(|line| line.contains("ERROR"));
        errors.filter(|line| !line.contains(r#"role "postgres" already exists"#)).count()
    };
    for in_steps in [false, true] {
        let other = start_flushing_hourly(&[]);
        let database = if in_steps { "another" } else { "postgres" };
        let mut admin = other.client();
        sql(&mut admin, "DROP EXTENSION vibepeak_keys");
        let file = if in_steps { &globals } else { &all };
        let (Ok(()) | Err(_)) = attempt(&other, "psql", &["-Xq", "-f", file]).map_err(|text| {
            assert_eq!(said(text.clone()), 0, "{text}");
        });
        if in_steps {
            sql(&mut admin, "CREATE DATABASE another TEMPLATE template0");
            run(&other, "pg_restore", &["-e", "-j", "2", "-d", database, &one]);
        }
        let mut restored = other.connect(database, "postgres");
        assert_eq!(contents(&mut restored, &keys), before, "{database}");
        assert_same("what there is and who may use it", &rights, &catalogue(&mut restored));
        assert_verifier(&mut other.connect(database, "backend"), &keys[0].token);
        assert_admin(&mut other.connect(database, "backoffice"));
        let mut nobody = other.connect(database, "nobody");
        let denied = "SELECT vpk_verify('')";
        assert_eq!(sqlstate(denied, nobody.batch_execute(denied)), "42501");
    }
}

/// G7: where a dump is restored without the roles, the keys are there, and the grants are made
/// again by the same calls.
#[test]
fn a_restore_without_roles_keeps_the_keys_and_can_be_granted_again() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let keys = touched(&mut client);
    let roles = "CREATE ROLE backend LOGIN; CREATE ROLE backoffice LOGIN";
    let grants = "SELECT vpk_grant_verifier('backend'), vpk_grant_admin('backoffice')";
    sql(&mut client, roles);
    sql(&mut client, grants);
    let (before, rights) = (contents(&mut client, &keys), catalogue(&mut client));
    let folder = Folder::new("dumped_grants");
    let file = folder.file("dump");
    run(&cluster, "pg_dump", &["--no-privileges", "-f", &file, "postgres"]);

    let other = start_flushing_hourly(&[]);
    sql(&mut other.client(), "CREATE DATABASE restored TEMPLATE template0");
    psql(&other, "restored", &file).unwrap_or_else(|said| panic!("{said}"));
    let mut restored = other.connect("restored", "postgres");
    assert_eq!(contents(&mut restored, &keys), before);
    sql(&mut restored, roles);
    let denied = "SELECT vpk_verify('')";
    let mut backend = other.connect("restored", "backend");
    assert_eq!(sqlstate(denied, backend.batch_execute(denied)), "42501");
    sql(&mut restored, grants);
    assert_same("after the calls", &rights, &catalogue(&mut restored));
    assert_verifier(&mut backend, &keys[0].token);
    assert_admin(&mut other.connect("restored", "backoffice"));
}
