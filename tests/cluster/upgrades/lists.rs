//! G8 and G6: the view of keys goes on for whoever reads it, when it begins to call functions.

use crate::support::keys::{create_for, set_plan};
use crate::support::known::run;
use crate::support::usage::{start_flushing_hourly, use_key};
use crate::support::{sqlstate, value};
use crate::upgrades::{GRANTS, assert_same, catalogue, made_with};

/// Who reads the view: by a grant on it or on a column, by views on it, and by their owner.
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
    CREATE ROLE somebody";

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
    let call = format!("SELECT vpk.current_uses('{}', 0)", key.id);
    for role in ["somebody", "verifier"] {
        run(&mut client, &format!("GRANT USAGE ON SCHEMA vpk TO {role}; SET ROLE {role}"));
        assert_eq!(sqlstate(role, client.batch_execute(&call)), "42501");
        run(&mut client, "RESET ROLE");
    }

    // Without these roles it is what a fresh one is, and each of them can be dropped.
    run(
        &mut client,
        "DROP VIEW shown, own_keys;
         DROP OWNED BY dashboard, counter, builder, customer, somebody, admin, verifier;
         DROP ROLE dashboard, counter, builder, customer, somebody, admin, verifier",
    );
    let found = catalogue(&mut client);
    assert_same("updated", &expected, &found);
}
