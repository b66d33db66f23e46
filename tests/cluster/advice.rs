//! Doing what the doctor advises ends its warning, and what it finds can be accepted. Advice that
//! takes a restart is followed in `doctor`, that for subscribers in `replicas`.

use crate::dumps::{self, Folder};
use crate::support::known::run;
use crate::support::{Client, Cluster, sqlstate, value};

/// What the doctor finds of an item: whether it is well, the detail, and the advice.
fn finding(client: &mut Client, item: &str) -> (Option<bool>, String, String) {
    let sql = "SELECT ok, detail, coalesce(advice, '') FROM vpk_doctor() WHERE item = $1";
    let row = client.query_one(sql, &[&item]).expect("a finding");
    (row.get(0), row.get(1), row.get(2))
}

/// An item, statements after which it is not well, what its advice names, and statements that do
/// what it advises.
struct Trouble {
    item: &'static str,
    cause: &'static str,
    advice: &'static str,
    cure: &'static str,
}

const TROUBLES: &[Trouble] = &[
    Trouble {
        item: "expiring_keys",
        cause: "SELECT FROM vpk_create('ends', expires_at => now() + '3 days')",
        advice: "vpk_rotate(id, expires_at => ...)",
        cure: "SELECT FROM vpk_rotate((SELECT id FROM vpk_list() WHERE name = 'ends'),
                                      expires_at => now() + '1 year')",
    },
    Trouble {
        item: "expiring_keys",
        cause: "SELECT FROM vpk_create('ends', expires_at => now() + '3 days')",
        advice: "vpk_update(id, expires_at => ...)",
        cure: "SELECT FROM vpk_update((SELECT id FROM vpk.keys
                                        WHERE expires_at < now() + '4 days' AND revoked_at IS NULL),
                                      expires_at => now() + '1 year')",
    },
    Trouble {
        item: "unused_keys",
        cause: "SELECT FROM vpk_create('unused');
                UPDATE vpk.keys SET created_at = now() - interval '91 days' WHERE name = 'unused'",
        advice: "vpk_revoke",
        cure: "SELECT vpk_revoke(id) FROM vpk_list() WHERE name = 'unused'",
    },
    Trouble {
        item: "plan_access",
        cause: "SELECT vpk_set_plan('poor', 'Free'); SELECT FROM vpk_create('key', 'poor')",
        advice: "vpk_set_plan",
        cure: "SELECT vpk_set_plan('poor', 'Pro')",
    },
    Trouble {
        item: "plan_access",
        cause: "SELECT vpk_set_plan('poor', 'Free'); SELECT FROM vpk_create('key', 'poor')",
        advice: "vpk_revoke_account",
        cure: "SELECT vpk_revoke_account('poor')",
    },
    Trouble {
        item: "privileges",
        cause: "GRANT EXECUTE ON FUNCTION vpk_purge TO clerk; GRANT SELECT ON vpk.events TO clerk",
        advice: "REVOKE",
        cure: "REVOKE ALL ON FUNCTION vpk_purge FROM clerk; REVOKE ALL ON vpk.events FROM clerk",
    },
    Trouble {
        item: "key_table",
        cause: "GRANT SELECT (id) ON vpk.keys TO clerk",
        advice: "Revoke them",
        cure: "REVOKE ALL (id) ON vpk.keys FROM clerk",
    },
    Trouble {
        item: "key_table",
        cause: "GRANT SELECT ON vpk.keys TO readers; GRANT readers TO clerk",
        advice: "the membership",
        cure: "REVOKE ALL ON vpk.keys FROM readers; REVOKE readers FROM clerk",
    },
    Trouble {
        item: "names",
        cause:
            "CREATE FUNCTION public.vpk_verify(varchar) RETURNS text LANGUAGE sql AS 'SELECT NULL';
                ALTER FUNCTION public.vpk_verify(varchar) OWNER TO clerk",
        advice: "Drop functions",
        cure: "DROP FUNCTION public.vpk_verify(varchar)",
    },
    Trouble {
        item: "tables",
        cause: "ALTER TABLE vpk.events RENAME COLUMN details TO remarks",
        advice: "Undo these changes",
        cure: "ALTER TABLE vpk.events RENAME COLUMN remarks TO details",
    },
    Trouble {
        item: "additions",
        cause: "CREATE INDEX by_name ON vpk.keys (name); ALTER TABLE vpk.plans ENABLE ROW LEVEL SECURITY",
        advice: "Drop these additions",
        cure: "DROP INDEX vpk.by_name; ALTER TABLE vpk.plans DISABLE ROW LEVEL SECURITY",
    },
    Trouble {
        item: "publications",
        cause: "CREATE PUBLICATION everything FOR TABLE vpk.keys",
        advice: "its column key_hash",
        cure: "ALTER PUBLICATION everything SET TABLE vpk.keys (id, name, account)",
    },
    Trouble {
        item: "schema_usage",
        cause: "REVOKE USAGE ON SCHEMA public FROM PUBLIC;
                GRANT EXECUTE ON FUNCTION vpk_verify TO clerk",
        advice: "vpk_grant_verifier",
        cure: "SELECT vpk_grant_verifier('clerk')",
    },
    Trouble {
        item: "alike_names",
        cause: "INSERT INTO vpk.accounts (account, plan)
                VALUES ('acme', 'Pro'), (U&'acme\\200B', 'Pro')",
        advice: "vpk_delete_account",
        cure: "SELECT vpk_delete_account(U&'acme\\200B')",
    },
    Trouble {
        item: "event_ids",
        cause: "ALTER SEQUENCE vpk.events_id_seq RESTART WITH 1",
        advice: "setval",
        cure: "SELECT setval('vpk.events_id_seq', (SELECT max(id) FROM vpk.events))",
    },
    Trouble {
        item: "log_redaction",
        cause: "ALTER ROLE clerk SET vibepeak_keys.redact_logs = off",
        advice: "ALTER ROLE",
        cure: "ALTER ROLE clerk RESET vibepeak_keys.redact_logs",
    },
];

#[test]
fn doing_what_the_doctor_advises_ends_its_warning() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    run(&mut client, "CREATE ROLE clerk; CREATE ROLE readers");
    for Trouble { item, cause, advice, cure } in TROUBLES {
        run(&mut client, cause);
        let (ok, detail, advised) = finding(&mut client, item);
        assert_eq!(ok, Some(false), "{item}: {detail}");
        assert!(advised.contains(advice), "{item}: {advised}");
        run(&mut client, cure);
        assert_eq!(finding(&mut client, item).0, Some(true), "{item}, after {cure}");
    }
}

/// The entries of a list one by one, and a detail without a list as a whole. A dump keeps it.
#[test]
fn what_the_doctor_finds_can_be_accepted_for_a_time() {
    let cluster = Cluster::start(&[("shared_preload_libraries", "")]);
    let mut client = cluster.client();
    run(
        &mut client,
        "CREATE ROLE clerk LOGIN; SELECT vpk_grant_admin('clerk');
         SELECT count(*) FROM generate_series(1, 2) AS n,
             vpk_create('ends ' || n, expires_at => now() + '3 days')",
    );
    let accept = "SELECT vpk_doctor_accept($1, $2, now() + $3::text::interval)";
    let (_, not_preloaded, _) = finding(&mut client, "preloaded");
    let hints = "SELECT format('\"%s\" (%s)', name, hint) FROM vpk_list() ORDER BY name";
    let keys: Vec<String> =
        client.query(hints, &[]).expect("the keys").iter().map(|row| row.get(0)).collect();

    let mut clerk = cluster.connect("postgres", "clerk");
    clerk.execute(accept, &[&"preloaded", &not_preloaded, &"1 h"]).expect("an acceptance");
    assert_eq!(
        finding(&mut client, "preloaded"),
        (Some(true), format!("accepted: {not_preloaded}"), String::new())
    );
    clerk.execute(accept, &[&"expiring_keys", &keys[0], &"1 h"]).expect("an acceptance");
    assert_eq!(finding(&mut client, "expiring_keys").0, Some(false), "one is not accepted");
    clerk.execute(accept, &[&"expiring_keys", &keys[1], &"1 h"]).expect("an acceptance");
    assert_eq!(finding(&mut client, "expiring_keys").0, Some(true));
    let sql =
        "SELECT string_agg(DISTINCT role || ' ' || session_role, ',') FROM vpk.accepted_findings";
    assert_eq!(value(&mut client, sql, &[]), "clerk clerk");

    for (item, what, until) in [
        ("no such item", "x", "1 h"),
        ("preloaded", "something else", "1 h"),
        ("version", "extension and library are both version", "1 h"),
    ] {
        let refused = clerk.execute(accept, &[&item, &what, &until]);
        assert_eq!(sqlstate(item, refused), "22023", "{item}");
    }

    run(&mut client, "CREATE DATABASE restored");
    let folder = Folder::new("accepted");
    let file = folder.file("accepted.dump");
    dumps::run(&cluster, "pg_dump", &["-Fc", "-f", &file, "postgres"]);
    dumps::run(&cluster, "pg_restore", &["-d", "restored", &file]);
    let mut restored = cluster.connect("restored", "postgres");
    assert_eq!(finding(&mut restored, "expiring_keys").0, Some(true), "a dump keeps it");

    // Another key, the end of the time, and the acceptance taken back.
    run(&mut client, "SELECT FROM vpk_create('ends too', expires_at => now() + '3 days')");
    assert_eq!(finding(&mut client, "expiring_keys").0, Some(false));
    run(&mut client, "UPDATE vpk.accepted_findings SET until = now() WHERE item = 'preloaded'");
    assert_eq!(finding(&mut client, "preloaded").0, Some(false));
    clerk.execute(accept, &[&"preloaded", &not_preloaded, &"1 h"]).expect("an acceptance");
    clerk.execute(accept, &[&"preloaded", &not_preloaded, &"0"]).expect("it is taken back");
    assert_eq!(finding(&mut client, "preloaded").0, Some(false));
}
