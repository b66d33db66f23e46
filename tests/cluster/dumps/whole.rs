//! G7: a dump restores everything, and every key answers as before.

use crate::dumps::{Folder, psql, run};
use crate::support::contents::{assert_telling, contents, touched};
use crate::support::keys::{Key, create, verify};
use crate::support::known::run as sql;
use crate::support::usage::start_flushing_hourly;
use crate::support::{Client, Cluster, value};

/// How a dump is made: a name, the arguments of pg_dump, and those of pg_restore if that restores
/// it.
type Kind = (&'static str, &'static [&'static str], Option<&'static [&'static str]>);

/// Dumps that are restored into an empty database.
const WHOLE: [Kind; 6] = [
    ("plain", &[], None),
    ("inserts", &["--rows-per-insert=3", "--column-inserts", "--quote-all-identifiers"], None),
    ("tar", &["-Ft"], Some(&[])),
    ("custom", &["-Fc"], Some(&["-j", "4"])),
    ("directory", &["-Fd", "-j", "3"], Some(&["-j", "4"])),
    ("at_once", &["-Fc", "--serializable-deferrable"], Some(&["-1"])),
];

/// Dumps that are restored into a database where the extension was just created.
const ROWS: [Kind; 6] = [
    ("rows_plain", &["--data-only"], None),
    ("rows_inserts", &["--data-only", "--inserts"], None),
    ("rows_tar", &["-Ft", "--data-only"], Some(&["-1"])),
    ("rows_custom", &["-Fc", "--data-only"], Some(&["-j", "4"])),
    ("rows_directory", &["-Fd", "-j", "3", "--data-only"], Some(&["-j", "4"])),
    ("rows_of_whole", &["-Fc"], Some(&["--data-only", "-j", "4"])),
];

/// Rows with names that an earlier release accepted, and that a new row cannot have.
const OLD_NAMES: &str = r"
    INSERT INTO vpk.plans (plan, rank, pristine)
    VALUES (U&'Team\200B', 90, false), (U&'Cafe\0301', 91, false), (U&'a\0378', 92, false);
    INSERT INTO vpk.accounts (account, plan)
    VALUES (U&'acme\200B', U&'Team\200B'), (U&'cafe\0301', U&'Cafe\0301'), (U&'a\0378', U&'a\0378')";

/// Dumps a database and restores it into another.
fn through(cluster: &Cluster, folder: &Folder, from: &str, to: &str, kind: &Kind) {
    let (_, dump, restore) = *kind;
    let file = folder.file(to);
    run(cluster, "pg_dump", &[dump, &["-f", &file, from]].concat());
    match restore {
        None => psql(cluster, to, &file).unwrap_or_else(|said| panic!("{to}: {said}")),
        Some(restore) => {
            run(cluster, "pg_restore", &[&["-e", "-d", to], restore, &[&file]].concat());
        }
    }
}

/// Checks that the database has the rows of the other one, and that new keys can be created.
fn assert_brought_back(client: &mut Client, what: &str, before: &[String], keys: &[Key]) {
    let found = contents(client, keys);
    for (before, found) in before.iter().zip(&found) {
        assert_eq!(found, before, "{what}");
    }
    // Numbers of events go on where they were.
    let key = create(client, "after");
    assert_eq!(verify(client, &key.token), "VALID", "{what}");
}

/// G7: in every format, by one process or by several in any order; also over existing rows.
#[test]
fn every_kind_of_dump_brings_everything_back() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let keys = touched(&mut client);
    sql(&mut client, OLD_NAMES);
    let before = contents(&mut client, &keys);
    assert_telling(&before);
    let folder = Folder::new("dumps");
    for kind in &WHOLE {
        sql(&mut client, &format!("CREATE DATABASE {} TEMPLATE template0", kind.0));
        through(&cluster, &folder, "postgres", kind.0, kind);
        let mut client = cluster.connect(kind.0, "postgres");
        assert_brought_back(&mut client, kind.0, &before, &keys);
    }
    // It has other rows by now.
    let kind = ("plain", &["--clean", "--if-exists"][..], None);
    through(&cluster, &folder, "postgres", "plain", &kind);
    let mut restored = cluster.connect("plain", "postgres");
    assert_brought_back(&mut restored, "over what was there", &before, &keys);
}

/// G7: the rows alone, into a fresh extension.
#[test]
fn every_kind_of_dump_brings_the_rows_into_a_fresh_extension() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let keys = touched(&mut client);
    sql(&mut client, OLD_NAMES);
    let before = contents(&mut client, &keys);
    let folder = Folder::new("dumped_rows");
    for kind in &ROWS {
        cluster.database(kind.0, "UTF8");
        through(&cluster, &folder, "postgres", kind.0, kind);
        let mut client = cluster.connect(kind.0, "postgres");
        assert_brought_back(&mut client, kind.0, &before, &keys);
    }
}

/// G7: the schema of the functions is in the dump, and does not matter to the rows.
#[test]
fn a_dump_of_an_extension_in_another_schema_brings_everything_back() {
    let cluster = start_flushing_hourly(&[]);
    let elsewhere = |name: &str, extension: &str| {
        let mut client = cluster.client();
        sql(&mut client, &format!("CREATE DATABASE {name} TEMPLATE template0"));
        sql(&mut client, &format!("ALTER DATABASE {name} SET search_path = \"The keys\", public"));
        let mut client = cluster.connect(name, "postgres");
        sql(&mut client, extension);
        client
    };
    let create_extension =
        "CREATE SCHEMA \"The keys\"; CREATE EXTENSION vibepeak_keys SCHEMA \"The keys\"";
    let mut origin = elsewhere("origin", create_extension);
    let keys = touched(&mut origin);
    let before = contents(&mut origin, &keys);
    let folder = Folder::new("dumped_schemas");
    for kind in [&WHOLE[0], &WHOLE[4]] {
        let mut restored = elsewhere(kind.0, "");
        through(&cluster, &folder, "origin", kind.0, kind);
        let schema = "SELECT extnamespace::regnamespace::text FROM pg_extension
                       WHERE extname = 'vibepeak_keys'";
        assert_eq!(value(&mut restored, schema, &[]), "\"The keys\"");
        assert_brought_back(&mut restored, kind.0, &before, &keys);
    }
    // From that schema to public, and back from there.
    cluster.database(ROWS[0].0, "UTF8");
    through(&cluster, &folder, "origin", ROWS[0].0, &ROWS[0]);
    let mut restored = cluster.connect(ROWS[0].0, "postgres");
    assert_eq!(contents(&mut restored, &keys), before);
    let mut restored = elsewhere(ROWS[4].0, create_extension);
    through(&cluster, &folder, ROWS[0].0, ROWS[4].0, &ROWS[4]);
    assert_brought_back(&mut restored, "and back", &before, &keys);
}
