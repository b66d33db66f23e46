//! G8: a database that was made with a released version becomes what a fresh one is, and works
//! until then.

use std::collections::BTreeSet;

use crate::dumps::{self, Folder};
use crate::support::keys::{Key, authenticate, create, create_for, revoke, set_plan, verify};
use crate::support::known::run;
use crate::support::usage::FLUSH_EVERY_100MS;
use crate::support::{Client, Cluster, value, wait_until};
use crate::upgrades::released::CURRENT;
use crate::upgrades::{GRANTS, assert_same, catalogue, column, made_with, old_versions, update};

/// Default privileges that grant everything on all objects that are created from now on.
const GIVEN_AWAY: &str = "
    ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC, somebody;
    ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO PUBLIC;
    ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO somebody WITH GRANT OPTION;
    ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO PUBLIC, somebody;
    ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO somebody;
    ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO PUBLIC, somebody;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO verifier";

/// A server that flushes uses every 100 ms.
fn server() -> Cluster {
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let roles = "CREATE ROLE somebody; CREATE ROLE verifier LOGIN; CREATE ROLE admin LOGIN";
    run(&mut cluster.client(), roles);
    cluster
}

/// Every table of the extension, with its columns.
fn tables(client: &mut Client) -> Vec<(String, String)> {
    let sql =
        "SELECT c.oid::regclass::text, string_agg(format('%I', a.attname), ', ' ORDER BY a.attnum)
                 FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
                WHERE c.relnamespace = 'vpk'::regnamespace AND c.relkind = 'r'
                  AND a.attnum > 0 AND NOT a.attisdropped
                GROUP BY c.oid ORDER BY 1";
    let rows = client.query(sql, &[]).expect("the tables");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// The rows of these columns of these tables.
fn contents(client: &mut Client, tables: &[(String, String)]) -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    for (table, columns) in tables {
        let sql = format!("SELECT format('{table}: %s', ROW({columns})) FROM {table}");
        rows.extend(column(client, &sql));
    }
    rows
}

/// Keys, with what they have to answer.
type Answers = Vec<(Key, &'static str)>;

/// Whatever a service does: it answers the same under the SQL of every version.
fn used(client: &mut Client) -> Answers {
    set_plan(client, "acme", "Plus");
    set_plan(client, "poor", "Free");
    let valid = create_for(client, "valid", "acme");
    let revoked = create_for(client, "revoked", "acme");
    let disabled = create_for(client, "disabled", "acme");
    for key in [&valid, &revoked, &disabled] {
        assert_eq!(verify(client, &key.token), "VALID");
    }
    revoke(client, &revoked);
    assert_ne!(value(client, "SELECT vpk_disable($1::text::uuid)::text", &[&disabled.id]), "");
    let rotated = create(client, "rotated");
    let sql = "SELECT token FROM vpk_rotate($1::text::uuid, '1 hour')";
    let successor = Key { token: value(client, sql, &[&rotated.id]), id: String::new() };
    let moved = create_for(client, "moved", "poor");
    assert_eq!(authenticate(client, &moved.token), "PLAN_REQUIRED");
    set_plan(client, "poor", "Pro");

    let sql = "SELECT status::text || ' ' || running FROM vpk_task_start($1)";
    assert_eq!(value(client, sql, &[&valid.token]), "VALID 1");
    let sql = "SELECT status::text FROM vpk_task_start($1)";
    assert_eq!(value(client, sql, &[&valid.token]), "CONCURRENCY_LIMIT_EXCEEDED");
    let sql = "SELECT string_agg(name || ' ' || state, ', ' ORDER BY name) FROM vpk_list('acme')";
    let listed = "disabled disabled, revoked revoked, valid active";
    assert_eq!(value(client, sql, &[]), listed);
    assert_eq!(value(client, "SELECT count(*)::text FROM vpk.status_codes", &[]), "12");
    vec![
        (valid, "VALID"),
        (revoked, "API_KEY_REVOKED"),
        (disabled, "API_KEY_DISABLED"),
        (rotated, "VALID"),
        (successor, "VALID"),
        (moved, "VALID"),
    ]
}

fn assert_answers(client: &mut Client, answers: &Answers) {
    for (key, answer) in answers {
        assert_eq!(verify(client, &key.token), *answer);
        assert_eq!(authenticate(client, &key.token), *answer);
    }
}

/// Waits until no use is on its way to the table any more.
fn settled(client: &mut Client, uses: &str) {
    wait_until("the uses are in the table", || {
        value(client, "SELECT coalesce(sum(uses), 0)::text FROM vpk.key_usage", &[]) == uses
    });
}

/// Makes a database with an old version, uses it, updates it and compares it with a fresh one.
fn upgraded(old: &str, before_update: &str) {
    let cluster = server();
    let fresh = catalogue(&mut cluster.client());
    let mut client = made_with(&cluster, "upgraded", old);
    let answers = used(&mut client);
    assert_answers(&mut client, &answers);
    // 3 when they were made, one of the task, and 4 keys that are verified twice.
    settled(&mut client, "12");
    let tables = tables(&mut client);
    let rows = contents(&mut client, &tables);
    assert!(rows.len() > 20, "{rows:?}");

    run(&mut client, before_update);
    update(&mut client);
    let found = catalogue(&mut client);
    assert_same(&format!("{old}, updated, is not as {CURRENT}"), &fresh, &found);
    assert_same("rows", &rows, &contents(&mut client, &tables));
    // In this session, and in one that never saw the old version.
    for mut client in [client, cluster.connect("upgraded", "postgres")] {
        assert_answers(&mut client, &answers);
    }
    let mut client = cluster.connect("upgraded", "postgres");
    settled(&mut client, "28");
    let key = create(&mut client, "new");
    assert_eq!(verify(&mut client, &key.token), "VALID");
}

/// G8: the new library serves the old SQL; the update makes of it what a fresh installation is, and
/// leaves every row as it was.
#[test]
fn an_updated_database_is_as_a_fresh_one() {
    for old in old_versions() {
        upgraded(&old, "");
    }
}

/// G6, G8: an update grants no privileges on new objects, whatever the default privileges.
#[test]
fn default_privileges_give_away_nothing_that_an_update_makes() {
    for old in old_versions() {
        // The defaults are in force.
        let witness = "; CREATE TABLE witness ();
            DO $$ BEGIN ASSERT has_table_privilege('somebody', 'witness', 'SELECT'); END $$";
        upgraded(&old, &format!("{GIVEN_AWAY}{witness}"));
    }
}

/// G8: what roles were granted before, they still have; granted again, it is what a fresh
/// installation grants.
#[test]
fn grants_outlast_an_update() {
    let cluster = server();
    let mut fresh = cluster.client();
    run(&mut fresh, GRANTS);
    let fresh = catalogue(&mut fresh);
    for (number, old) in old_versions().iter().enumerate() {
        let name = format!("granted_{number}");
        let mut owner = made_with(&cluster, &name, old);
        run(&mut owner, GRANTS);
        let mut admin = cluster.connect(&name, "admin");
        let mut verifier = cluster.connect(&name, "verifier");
        set_plan(&mut admin, "acme", "Pro");
        let key = create_for(&mut admin, "key", "acme");
        let mut work = |verifier: &mut Client| {
            assert_eq!(verify(verifier, &key.token), "VALID");
            assert_eq!(authenticate(verifier, &key.token), "VALID");
            let listed = value(&mut admin, "SELECT count(*)::text FROM vpk_list('acme')", &[]);
            assert_eq!(listed, "1");
            let other = create(&mut admin, "other");
            revoke(&mut admin, &other);
            assert_eq!(verify(verifier, &other.token), "API_KEY_REVOKED");
        };
        work(&mut verifier);
        let rights = |facts: &BTreeSet<String>| -> BTreeSet<String> {
            let rights = facts.iter().filter_map(|fact| fact.split_once(" | rights | "));
            // The type moves, and the arguments of functions grow.
            rights
                .map(|(object, rights)| (object.split('(').next().unwrap_or(object), rights))
                .map(|(object, rights)| format!("{object} | {rights}"))
                .map(|fact| fact.replace("public.vpk_status", "vpk.vpk_status"))
                // 0.10.0 grants it what 0.9.0 forgot.
                .map(|fact| fact.replace(r#""EXECUTE to pg_read_all_data by postgres", "#, ""))
                .collect()
        };
        let before = rights(&catalogue(&mut owner));
        assert!(before.iter().any(|fact| fact.contains("to verifier")), "{before:?}");

        update(&mut owner);
        let updated = catalogue(&mut owner);
        let kept: BTreeSet<_> = rights(&updated).intersection(&before).cloned().collect();
        assert_same(&format!("{old}, updated: rights"), &before, &kept);
        work(&mut verifier);
        work(&mut cluster.connect(&name, "verifier"));
        // New functions are for those who had what they belong to.
        assert_eq!(
            value(&mut verifier, "SELECT host(vpk_client_ip('192.0.2.1'))", &[]),
            "192.0.2.1"
        );
        run(&mut verifier, "SELECT FROM vpk_rate_limit('somebody', 1, '1 second')");
        run(&mut owner, GRANTS);
        let found = catalogue(&mut owner);
        assert_same(&format!("{old}, updated and granted again"), &fresh, &found);
    }
}

/// G7, G8: a role that could dump the whole database can do so after an update, which may add
/// tables. It and other roles with grants can be dropped: an update leaves no trace of them.
#[test]
fn a_role_for_backups_dumps_an_updated_database_and_can_be_dropped() {
    let cluster = server();
    let folder = Folder::new("dumped_updated");
    let file = folder.file("dump");
    for (number, old) in old_versions().iter().enumerate() {
        let name = format!("dumped_{number}");
        let mut owner = made_with(&cluster, &name, old);
        run(&mut owner, GRANTS);
        run(
            &mut owner,
            "CREATE ROLE dumper LOGIN; GRANT USAGE ON SCHEMA vpk TO dumper;
             DO $$
             DECLARE
                 relation text;
             BEGIN
                 FOR relation IN
                     SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE '' END || c.oid::regclass
                       FROM pg_class AS c
                      WHERE c.relnamespace = 'vpk'::regnamespace AND c.relkind IN ('r', 'S')
                 LOOP
                     EXECUTE format('GRANT SELECT ON %s TO dumper', relation);
                 END LOOP;
             END
             $$",
        );
        let dump = ["-U", "dumper", "-Fc", "-f", &file, &name];
        dumps::run(&cluster, "pg_dump", &dump);
        update(&mut owner);
        dumps::run(&cluster, "pg_dump", &dump);
        // What the update granted is the role's own, and comes back.
        let restored = format!("restored_{number}");
        run(&mut owner, &format!("CREATE DATABASE {restored} TEMPLATE template0"));
        dumps::run(&cluster, "pg_restore", &["-e", "-d", &restored, &file]);
        dumps::run(&cluster, "pg_dump", &["-U", "dumper", "-f", &file, &restored]);
        run(&mut owner, &format!("DROP DATABASE {restored}"));
        run(&mut owner, "DROP OWNED BY verifier, admin, dumper");
        run(&mut owner, "DROP ROLE verifier, admin, dumper");
        run(&mut owner, "CREATE ROLE verifier LOGIN; CREATE ROLE admin LOGIN");
    }
}

/// G8: an update works in a schema of any name. There is no way to quote some names that is right
/// everywhere in a script, so that the server refuses them where a script names its schema.
#[test]
fn a_database_is_updated_whatever_the_name_of_the_schema() {
    const NAME: &str = r#""it's ""my"" $$ $a$ back\slash schema\""#;
    let cluster = server();
    let mut fresh = cluster.client();
    run(&mut fresh, &format!("ALTER SCHEMA public RENAME TO {NAME}"));
    let fresh = catalogue(&mut fresh);
    for (number, old) in old_versions().iter().enumerate() {
        let mut client = made_with(&cluster, &format!("updated_{number}"), old);
        run(&mut client, &format!("ALTER SCHEMA public RENAME TO {NAME}"));
        update(&mut client);
        let found = catalogue(&mut client);
        assert_same(&format!("{old}, updated in {NAME}"), &fresh, &found);
    }
    // A dump creates it there.
    run(&mut cluster.client(), "CREATE DATABASE restored TEMPLATE template0");
    let mut client = cluster.connect("restored", "postgres");
    run(&mut client, &format!("ALTER SCHEMA public RENAME TO {NAME}"));
    run(&mut client, &format!("CREATE EXTENSION vibepeak_keys SCHEMA {NAME}"));
    assert_same("created there", &fresh, &catalogue(&mut client));
}

/// G6, G8: new objects of an update belong to the owner of the extension's tables, also if another
/// superuser runs the update.
#[test]
fn what_another_superuser_updates_stays_the_owners() {
    let cluster = server();
    let mut client = cluster.client();
    run(&mut client, "CREATE ROLE alice");
    for (number, old) in old_versions().iter().enumerate() {
        let name = format!("owned_{number}");
        run(&mut client, "ALTER ROLE alice SUPERUSER");
        run(&mut client, &format!("CREATE DATABASE {name}"));
        let mut owner = cluster.connect(&name, "postgres");
        let made =
            format!("SET ROLE alice; CREATE EXTENSION vibepeak_keys VERSION '{old}'; RESET ROLE");
        run(&mut owner, &made);
        run(&mut client, "ALTER ROLE alice NOSUPERUSER");

        update(&mut owner);
        let others = "SELECT coalesce(string_agg(pg_describe_object(d.classid, d.objid, 0), ', '), '')
              FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
              LEFT JOIN pg_proc AS p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
              LEFT JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
              LEFT JOIN pg_type AS t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid
              LEFT JOIN pg_namespace AS n ON d.classid = 'pg_namespace'::regclass AND n.oid = d.objid
             WHERE e.extname = 'vibepeak_keys' AND d.deptype = 'e'
               AND coalesce(proowner, relowner, typowner, nspowner) <> 'alice'::regrole";
        assert_eq!(value(&mut owner, others, &[]), "", "{old}: not alice's");
        let key = create(&mut owner, "key");
        revoke(&mut owner, &key);
        let ill = "SELECT coalesce(string_agg(item || ': ' || detail, ', '), '') FROM vpk_doctor()
                    WHERE ok IS FALSE AND item <> 'names'";
        assert_eq!(value(&mut owner, ill, &[]), "", "{old}: the doctor");
    }
}
