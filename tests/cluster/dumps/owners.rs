//! G6 and G7: dumps and restores by roles that are no superusers, as docs/operations.md says.

use std::fs;

use crate::dumps::{Folder, attempt, run};
use crate::support::contents::{contents, touched};
use crate::support::known::run as sql;
use crate::support::redaction::major;
use crate::support::usage::start_flushing_hourly;
use crate::support::{Client, Cluster, value};
use crate::upgrades::{assert_same, catalogue};

/// A database of an application's owner, with a table of the owner's, and the extension in a schema
/// of its own.
fn database(cluster: &Cluster, name: &str) -> Client {
    let mut admin = cluster.client();
    sql(&mut admin, &format!("CREATE DATABASE {name} OWNER app_owner TEMPLATE template0"));
    sql(&mut admin, &format!("ALTER DATABASE {name} SET search_path = keys, public"));
    cluster.connect(name, "postgres")
}

fn application(cluster: &Cluster) -> Client {
    sql(&mut cluster.client(), "CREATE ROLE app_owner LOGIN");
    let mut client = database(cluster, "app");
    sql(&mut client, "CREATE SCHEMA keys; CREATE EXTENSION vibepeak_keys SCHEMA keys");
    let table = "CREATE TABLE public.orders AS SELECT 1 AS number";
    sql(&mut cluster.connect("app", "app_owner"), table);
    client
}

/// The owner of a database dumps it with its keys, in every format, once it may read them. It dumps
/// what was restored too.
#[test]
fn the_owner_of_a_database_dumps_it_with_the_keys_after_vpk_grant_backup() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = application(&cluster);
    let keys = touched(&mut client);
    let folder = Folder::new("dumped_by_owner");
    let file = folder.file("dump");
    let as_owner = |options: &[&str]| -> Result<(), String> {
        let common = ["-U", "app_owner", "-f", &file, "app"];
        attempt(&cluster, "pg_dump", &[&common[..], options].concat())
    };
    // From 18 on, pg_dump reads no table and no sequence for definitions alone.
    let refused = if major(&mut client) < 18 { 2 } else { 1 };
    for options in [&[][..], &["--schema-only"]].into_iter().take(refused) {
        let said = as_owner(options).expect_err("a dump without privileges");
        let denied = ["permission denied", "user may lack SELECT privilege"];
        assert!(denied.iter().any(|denied| said.contains(denied)), "{said}");
    }
    sql(&mut client, "SELECT vpk_grant_backup('app_owner')");
    let before = contents(&mut client, &keys);
    let rights = catalogue(&mut client);
    for (number, options) in
        [&["-Fc"][..], &["-Fc", "--serializable-deferrable"], &["-Fp", "--schema-only"]]
            .iter()
            .enumerate()
    {
        as_owner(options).unwrap_or_else(|said| panic!("{options:?}: {said}"));
        if options.contains(&"--schema-only") {
            continue;
        }
        let name = format!("copy_{number}");
        let mut copy = database(&cluster, &name);
        run(&cluster, "pg_restore", &["-e", "-d", &name, &file]);
        assert_eq!(contents(&mut copy, &keys), before, "{options:?}");
        assert_same("what there is and who may use it", &rights, &catalogue(&mut copy));
        run(&cluster, "pg_dump", &["-U", "app_owner", "-f", &folder.file("again"), &name]);
    }
    let finding = "SELECT string_agg(detail, '; ') FROM vpk_doctor()
                    WHERE item IN ('privileges', 'key_table') AND ok IS NOT TRUE";
    assert_eq!(value(&mut client, &format!("SELECT coalesce(({finding}), '')"), &[]), "");
    // It reads, and writes nothing.
    let mut owner = cluster.connect("app", "app_owner");
    for denied in ["DELETE FROM vpk.events", "SELECT vpk_verify('')", "SELECT FROM vpk.key_list"] {
        assert!(owner.batch_execute(denied).is_err(), "{denied}");
    }
}

/// Without the keys, neither the dump nor the restore needs a privilege on the extension.
#[test]
fn the_owner_of_a_database_dumps_and_restores_the_application_without_the_keys() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = application(&cluster);
    touched(&mut client);
    let folder = Folder::new("dumped_without_keys");
    let (file, list) = (folder.file("dump"), folder.file("list"));
    let restore = |name: &str, options: &[&str]| {
        let mut copy = database(&cluster, name);
        let common = ["-U", "app_owner", "-e", "--no-owner", "--no-privileges", "-d", name, &file];
        run(&cluster, "pg_restore", &[&common[..], options].concat());
        assert_eq!(value(&mut copy, "SELECT number::text FROM public.orders", &[]), "1");
        let sql = "SELECT count(*)::text FROM pg_extension WHERE extname = 'vibepeak_keys'";
        assert_eq!(value(&mut copy, sql, &[]), "0", "{options:?}");
    };
    let help = cluster.program("pg_dump").arg("--help").output().expect("pg_dump runs");
    let is_known = String::from_utf8_lossy(&help.stdout).contains("--exclude-extension");
    let options = ["--exclude-extension=vibepeak_keys", "--extension=plpgsql"];
    for (number, option) in options.iter().enumerate().skip(usize::from(!is_known)) {
        run(&cluster, "pg_dump", &["-U", "app_owner", "-Fc", option, "-f", &file, "app"]);
        restore(&format!("without_{number}"), &[]);
    }

    // Out of a dump that has them.
    run(&cluster, "pg_dump", &["-Fc", "-f", &file, "app"]);
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let page = fs::read_to_string(page).expect("the page");
    let pattern = page.split_once("grep -v -E '").and_then(|(_, rest)| rest.split_once('\''));
    let (pattern, _) = pattern.expect("a pattern");
    let pg_restore = cluster.program("pg_restore");
    let mut shell = cluster.program("sh");
    let script = "\"$0\" --list \"$1\" | grep -v -E \"$2\" > \"$3\"";
    shell.args(["-c", script]).arg(pg_restore.get_program()).args([&file, pattern, &list]);
    assert!(shell.status().expect("sh runs").success());
    restore("listed", &["-L", &list]);
}
