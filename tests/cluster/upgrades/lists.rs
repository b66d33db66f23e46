//! G8, G7 and G6: the views go on for whoever reads them, when they begin to call functions.

use crate::dumps::{Folder, run as program};
use crate::support::keys::{create_for, set_plan};
use crate::support::known::run;
use crate::support::usage::{start_flushing_hourly, use_key};
use crate::support::{Client, sqlstate, value};
use crate::upgrades::released::CURRENT;
use crate::upgrades::{GRANTS, assert_same, catalogue, made_with, update};

/// Who reads the view: by a grant on it or on a column, by views on it, and by their owner. The
/// auditor has no grant on any of them: the tables are open to it, and the view on the view is its
/// own. The writer may do all but read.
const READERS: &str = "
    CREATE ROLE dashboard; GRANT USAGE ON SCHEMA vpk TO dashboard;
    GRANT SELECT ON vpk.key_list TO dashboard;
    CREATE ROLE counter; GRANT USAGE ON SCHEMA vpk TO counter;
    GRANT SELECT (name, uses) ON vpk.key_list TO counter;
    CREATE ROLE builder; GRANT USAGE ON SCHEMA vpk TO builder;
    GRANT SELECT ON vpk.key_list TO builder WITH GRANT OPTION;
    CREATE VIEW own_keys AS SELECT name, uses FROM vpk.key_list; ALTER VIEW own_keys OWNER TO builder;
    CREATE ROLE customer; CREATE VIEW shown AS SELECT uses FROM own_keys;
    GRANT SELECT ON shown TO customer;
    CREATE ROLE auditor; GRANT pg_read_all_data TO auditor;
    CREATE VIEW audited AS SELECT uses FROM vpk.key_list; ALTER VIEW audited OWNER TO auditor;
    CREATE ROLE writer;
    GRANT INSERT, UPDATE, DELETE, REFERENCES, TRIGGER ON vpk.key_list, shown TO writer;
    GRANT UPDATE (uses) ON vpk.key_list TO writer;
    CREATE ROLE somebody";

/// All of them, and those of the product.
const ROLES: &str =
    "dashboard, counter, builder, customer, auditor, writer, somebody, admin, verifier";

/// Default privileges that grant everything on functions that are created from now on.
const GIVEN_AWAY: &str = "
    ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO PUBLIC;
    ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO somebody WITH GRANT OPTION";

#[test]
fn whoever_reads_the_view_of_keys_goes_on_after_the_update_and_nobody_else_does() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = made_with(&cluster, "earlier", "0.7.0");
    run(&mut client, "CREATE ROLE verifier; CREATE ROLE admin");
    run(&mut client, GRANTS);
    run(&mut client, READERS);
    // Their defaults are not what this is about.
    let expected = catalogue(&mut cluster.client());
    set_plan(&mut client, "acme", "Pro");
    let key = create_for(&mut client, "key", "acme");
    use_key(&mut client, &key, 3);
    let readers = [
        ("admin", "vpk.key_list"),
        ("dashboard", "vpk.key_list"),
        ("counter", "vpk.key_list"),
        ("builder", "own_keys"),
        ("customer", "shown"),
        ("auditor", "audited"),
    ];
    for (before, uses) in [(true, "0"), (false, "3")] {
        if !before {
            run(&mut client, GIVEN_AWAY);
            run(&mut client, "ALTER EXTENSION vibepeak_keys UPDATE");
        }
        for (role, view) in readers {
            run(&mut client, &format!("SET ROLE {role}"));
            let found = value(&mut client, &format!("SELECT uses::text FROM {view}"), &[]);
            assert_eq!(found, uses, "{role}");
            run(&mut client, "RESET ROLE");
        }
    }
    for role in ["somebody", "verifier", "writer"] {
        run(&mut client, &format!("GRANT USAGE ON SCHEMA vpk TO {role}; SET ROLE {role}"));
        for call in ["vpk.current_uses($1, 0)", "vpk.current_last_use($1, now())"] {
            let call = format!("SELECT {}", call.replace("$1", &format!("'{}'", key.id)));
            assert_eq!(sqlstate(role, client.batch_execute(&call)), "42501", "{call}");
        }
        run(&mut client, "RESET ROLE");
    }

    // Without these roles it is what a fresh one is, and each of them can be dropped.
    run(
        &mut client,
        &format!("DROP VIEW shown, own_keys, audited; DROP OWNED BY {ROLES}; DROP ROLE {ROLES}"),
    );
    let found = catalogue(&mut client);
    assert_same("updated", &expected, &found);
}

/// What a member of pg_read_all_data, and nothing else, sees in the views of keys and limits.
fn seen(client: &mut Client) -> String {
    run(client, "SET ROLE auditor");
    let sql = "SELECT concat_ws(' ', (SELECT sum(uses) FROM vpk.key_list),
                                (SELECT count(last_used_at) FROM vpk.key_list),
                                (SELECT string_agg(amount::text, ',') FROM vpk.rate_limits),
                                (SELECT string_agg(amount::text, ',') FROM vpk.quotas))";
    let seen = value(client, sql, &[]);
    run(client, "RESET ROLE");
    seen
}

/// It is so in a fresh database, in updated ones, and in what is restored from a dump of them. What
/// somebody had granted another role before the update is in the dump, too.
#[test]
fn a_reader_of_all_data_reads_the_views_of_keys_and_limits() {
    let cluster = start_flushing_hourly(&[]);
    let roles = "CREATE ROLE auditor; GRANT pg_read_all_data TO auditor; CREATE ROLE dashboard";
    run(&mut cluster.client(), roles);
    let folder = Folder::new("dumped_views");
    for version in ["0.8.0", "0.9.0", CURRENT] {
        let name = format!("from_{}", version.replace('.', "_"));
        let mut client = made_with(&cluster, &name, version);
        run(&mut client, "GRANT SELECT ON vpk.key_list TO dashboard");
        // The update from 0.8.0 makes the functions, and grants them.
        if version != "0.8.0" {
            let functions =
                "vpk.current_uses(uuid, bigint), vpk.current_last_use(uuid, timestamptz)";
            run(&mut client, &format!("GRANT EXECUTE ON FUNCTION {functions} TO dashboard"));
        }
        update(&mut client);
        set_plan(&mut client, "acme", "Pro");
        let key = create_for(&mut client, "key", "acme");
        run(
            &mut client,
            "SELECT vpk_set_rate_limit('month', 70, '31 days', plan => 'Pro');
             SELECT vpk_set_quota(800, plan => 'Pro')",
        );
        use_key(&mut client, &key, 3);
        assert_eq!(seen(&mut client), "3 1 70 800", "{version}");

        let expected = catalogue(&mut client);
        let file = folder.file(&name);
        program(&cluster, "pg_dump", &["-Fc", "-f", &file, &name]);
        let restored = format!("{name}_restored");
        run(&mut client, &format!("CREATE DATABASE {restored} TEMPLATE template0"));
        program(&cluster, "pg_restore", &["-e", "-d", &restored, &file]);
        let mut client = cluster.connect(&restored, "postgres");
        // Uses in memory belong to the database that counted them.
        assert_eq!(seen(&mut client), "0 0 70 800", "{version}");
        assert_same(&restored, &expected, &catalogue(&mut client));
    }
}
