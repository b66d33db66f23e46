//! G2 where the tables are no longer as the extension made them: sessions that know the keys, and
//! new ones, refuse with 55000 and answer nothing from such a table; changes without consequences
//! have none.

use crate::cache::cluster;
use crate::support::keys::{create_for, set_plan, verify};
use crate::support::known::{Answers, PLAN, VALID, assert_healthy, run};
use crate::support::{Client, Cluster, caught_up, report, value};

/// A change by the owner of the tables, and what the error has to name.
struct Change {
    sql: &'static str,
    names: [&'static str; 2],
    /// The first major version that can do it.
    from: i32,
}

const fn change(sql: &'static str, names: [&'static str; 2]) -> Change {
    Change { sql, names, from: 15 }
}

/// Makes room for a change of a column that views show.
const WITHOUT_LIST: &str = "ALTER EXTENSION vibepeak_keys DROP VIEW vpk.key_list;
    ALTER EXTENSION vibepeak_keys DROP VIEW vpk.rate_limits;
    ALTER EXTENSION vibepeak_keys DROP VIEW vpk.quotas;
    DROP VIEW vpk.key_list, vpk.rate_limits, vpk.quotas;";

const CHANGES: &[Change] = &[
    // The limit to addresses is in another column.
    change(
        "ALTER TABLE vpk.keys ADD COLUMN copy cidr[];
         UPDATE vpk.keys SET copy = allowed_ips;
         ALTER TABLE vpk.keys DROP COLUMN allowed_ips;
         ALTER TABLE vpk.keys RENAME COLUMN copy TO allowed_ips;
         UPDATE vpk.keys SET name = name",
        ["vpk.keys", "allowed_ips"],
    ),
    change("ALTER TABLE vpk.keys DROP COLUMN allowed_ips", ["vpk.keys", "allowed_ips"]),
    change("ALTER TABLE vpk.keys RENAME COLUMN scopes TO roles", ["vpk.keys", "scopes"]),
    change(
        "ALTER TABLE vpk.keys RENAME COLUMN revoked_at TO disabled;
         ALTER TABLE vpk.keys RENAME COLUMN disabled_at TO revoked_at;
         ALTER TABLE vpk.keys RENAME COLUMN disabled TO disabled_at",
        ["vpk.keys", "disabled_at"],
    ),
    // Those that an update has appended.
    change(
        "ALTER TABLE vpk.keys RENAME COLUMN rate_limits TO quota;
         ALTER TABLE vpk.keys RENAME COLUMN quotas TO rate_limits;
         ALTER TABLE vpk.keys RENAME COLUMN quota TO quotas",
        ["vpk.keys", "rate_limits"],
    ),
    change(
        "ALTER TABLE vpk.plans RENAME COLUMN rate_limits TO rates",
        ["vpk.plans", "rate_limits"],
    ),
    change(
        "ALTER TABLE vpk.accounts ALTER COLUMN quota_grants TYPE varchar",
        ["vpk.accounts", "quota_grants"],
    ),
    // Other types: of another length, passed in another way, or merely of another name.
    change(
        "ALTER TABLE vpk.plans ALTER COLUMN api_access DROP DEFAULT;
         ALTER TABLE vpk.plans ALTER COLUMN api_access TYPE text",
        ["vpk.plans", "api_access"],
    ),
    change("ALTER TABLE vpk.plans ALTER COLUMN rank TYPE bigint", ["vpk.plans", "rank"]),
    change(
        "ALTER TABLE vpk.keys ALTER COLUMN metadata DROP DEFAULT;
         ALTER TABLE vpk.keys ALTER COLUMN metadata TYPE json",
        ["vpk.keys", "metadata"],
    ),
    change(
        "ALTER TABLE vpk.accounts ALTER COLUMN plan TYPE integer USING 4",
        ["vpk.accounts", "plan"],
    ),
    change("ALTER TABLE vpk.accounts ALTER COLUMN plan TYPE varchar", ["vpk.accounts", "plan"]),
    change(
        "CREATE DOMAIN yes AS boolean;
         ALTER TABLE vpk.plans ALTER COLUMN api_access TYPE yes",
        ["vpk.plans", "api_access"],
    ),
    // Something else, or another table, under the name.
    change(
        "ALTER TABLE vpk.keys RENAME TO kept;
         CREATE VIEW vpk.keys AS SELECT * FROM vpk.kept",
        ["vpk.keys", "not a table"],
    ),
    change(
        "ALTER TABLE vpk.plans RENAME TO kept;
         CREATE TYPE vpk.plans AS (plan text, api_access boolean)",
        ["vpk.plans", "not a table"],
    ),
    change(
        "ALTER TABLE vpk.accounts RENAME TO kept;
         CREATE TABLE vpk.accounts (account text, plan text) PARTITION BY LIST (account)",
        ["vpk.accounts", "not a table"],
    ),
    change(
        "CREATE TABLE vpk.other (LIKE vpk.keys INCLUDING ALL);
         INSERT INTO vpk.other SELECT * FROM vpk.keys;
         ALTER TABLE vpk.keys RENAME TO kept;
         ALTER TABLE vpk.other RENAME TO keys",
        ["vpk.keys", "keys_key_hash_excl"],
    ),
    change("ALTER TABLE vpk.plans RENAME TO kept", ["vpk.plans", "missing"]),
    // Another index, or none.
    change("ALTER TABLE vpk.keys DROP CONSTRAINT keys_key_hash_excl", ["vpk.keys", "missing"]),
    change(
        "ALTER TABLE vpk.keys DROP CONSTRAINT keys_key_hash_excl;
         CREATE INDEX keys_key_hash_excl ON vpk.keys USING hash (key_hash)
          WHERE revoked_at IS NULL",
        ["vpk.keys", "keys_key_hash_excl"],
    ),
    change(
        "ALTER TABLE vpk.keys DROP CONSTRAINT keys_key_hash_excl;
         CREATE INDEX keys_key_hash_excl ON vpk.keys (key_hash, (name || ''))",
        ["vpk.keys", "keys_key_hash_excl"],
    ),
    change(
        "ALTER TABLE vpk.keys DROP CONSTRAINT keys_key_hash_excl;
         CREATE INDEX keys_key_hash_excl ON vpk.keys USING hash (id)",
        ["vpk.keys", "keys_key_hash_excl"],
    ),
    change(
        "ALTER TABLE vpk.keys DROP CONSTRAINT keys_key_hash_excl;
         CREATE INDEX keys_key_hash_excl ON vpk.keys USING brin (key_hash)",
        ["vpk.keys", "keys_key_hash_excl"],
    ),
    change(
        "ALTER TABLE vpk.keys DROP CONSTRAINT keys_key_hash_excl;
         CREATE TABLE vpk.keys_key_hash_excl ()",
        ["vpk.keys", "keys_key_hash_excl"],
    ),
    change(
        "ALTER TABLE vpk.accounts DROP CONSTRAINT accounts_pkey;
         CREATE UNIQUE INDEX accounts_pkey ON vpk.accounts (account COLLATE \"POSIX\")",
        ["vpk.accounts", "accounts_pkey"],
    ),
    change(
        "ALTER TABLE vpk.accounts DROP CONSTRAINT accounts_pkey;
         CREATE INDEX accounts_pkey ON vpk.accounts (account text_pattern_ops)",
        ["vpk.accounts", "accounts_pkey"],
    ),
    change(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'vpk.plans_pkey'::regclass",
        ["vpk.plans", "plans_pkey"],
    ),
    // A column that is computed when it is read has no value in the row.
    Change {
        sql: "CREATE TABLE vpk.other (id uuid, key_hash bytea, account text, environment text,
                  name text, prefix text, hint text, created_at timestamptz,
                  expires_at timestamptz, disabled_at timestamptz,
                  revoked_at timestamptz GENERATED ALWAYS AS (expires_at) VIRTUAL,
                  revoke_reason text, rotated_from uuid, rotated_at timestamptz, scopes text[],
                  allowed_ips cidr[], metadata jsonb);
              ALTER TABLE vpk.keys RENAME TO kept;
              ALTER TABLE vpk.other RENAME TO keys;
              ALTER INDEX vpk.keys_key_hash_excl RENAME TO kept_key_hash_excl;
              CREATE INDEX keys_key_hash_excl ON vpk.keys USING hash (key_hash)",
        names: ["vpk.keys", "revoked_at"],
        from: 18,
    },
];

/// The ways to ask for a key. The last one shows all that it reads of it.
const WAYS: [&str; 3] = [
    "SELECT vpk_verify($1)::text",
    "SELECT vpk_verify_hash(sha256($1::text::bytea))::text",
    "SELECT CASE WHEN a::text <> '' THEN status::text END
       FROM vpk_authenticate('Bearer ' || $1) AS a",
];

/// What a session is told of a key, in each way: the same status or error. Inside a transaction an
/// error ends no more than a savepoint.
fn told(session: &mut Client, inside: bool, token: &str, when: &str) -> Result<String, String> {
    let mut all = Vec::new();
    for way in WAYS {
        if inside {
            run(session, "SAVEPOINT before");
        }
        let answer = session.query_one(way, &[&token]);
        all.push(answer.map(|row| row.get(0)).map_err(|error| report(&error)));
        if inside {
            run(session, "ROLLBACK TO before");
        }
    }
    all.dedup();
    assert_eq!(all.len(), 1, "{when}: {all:?}");
    all.remove(0)
}

/// Sessions that are outside of a transaction, inside one, and under one snapshot.
fn sessions(cluster: &Cluster, database: &str) -> [(bool, Client); 3] {
    [None, Some("READ COMMITTED"), Some("SERIALIZABLE")].map(|level| {
        let mut client = cluster.connect(database, "postgres");
        if let Some(level) = level {
            run(&mut client, &format!("BEGIN ISOLATION LEVEL {level}"));
        }
        (level.is_some(), client)
    })
}

/// Keys with what they have to answer: limited to a network, on a plan without access, and neither.
fn keys(client: &mut Client) -> [(String, &'static str); 3] {
    set_plan(client, "poor", "Free");
    let limited = "SELECT token FROM vpk_create('limited', allowed_ips => '{10.0.0.0/8}')";
    [
        (value(client, limited, &[]), "IP_NOT_ALLOWED"),
        (create_for(client, "poor", "poor").token, PLAN),
        (create_for(client, "plain", "default").token, VALID),
    ]
}

/// Whether an error is 55000 with these names, says what to do, and nothing of the key.
fn assert_names(found: &Result<String, String>, change: &Change, token: &str) {
    let Err(error) = found else { panic!("{}: {found:?}", change.sql) };
    let names = change.names.iter().all(|name| error.contains(name));
    assert!(error.starts_with("55000 ") && names, "{}: {error}", change.sql);
    assert!(error.contains("Undo the change") && !error.contains(token), "{error}");
}

/// G2: verification fails with 55000, in sessions that know the keys and in new ones, until the
/// change is undone; the doctor says what was changed, and does not fail.
#[test]
fn changed_tables_are_not_read() {
    let cluster = cluster();
    cluster.database("original", "UTF8");
    let mut admin = cluster.client();
    let version: i32 = value(&mut admin, "SHOW server_version_num", &[]).parse().expect("digits");
    let keys = keys(&mut cluster.connect("original", "postgres"));
    for change in CHANGES.iter().filter(|change| change.from <= version / 10_000) {
        run(&mut admin, "CREATE DATABASE changed TEMPLATE original");
        let mut owner = cluster.connect("changed", "postgres");
        let mut sessions = sessions(&cluster, "changed");
        for _ in 0..3 {
            for (inside, session) in &mut sessions {
                for (token, answer) in &keys {
                    assert_eq!(told(session, *inside, token, "before"), Ok((*answer).to_owned()));
                }
            }
        }
        // In the session's own transaction it counts for that one alone, and until it is undone.
        run(&mut owner, &format!("BEGIN; {}", change.sql));
        let key = &keys[2].0;
        assert_names(&told(&mut owner, true, key, change.sql), change, key);
        run(&mut owner, "ROLLBACK");
        for (token, answer) in &keys {
            assert_eq!(told(&mut owner, false, token, "undone"), Ok((*answer).to_owned()));
        }
        run(&mut owner, change.sql);
        for (inside, session) in sessions.iter_mut().chain([&mut (false, owner)]) {
            for (token, _) in &keys {
                let found = told(session, *inside, token, change.sql);
                assert_names(&found, change, token);
            }
        }
        let mut fresh = cluster.connect("changed", "postgres");
        let found = told(&mut fresh, false, key, change.sql);
        assert_names(&found, change, key);

        let sql = "SELECT count(*) || ' ' || string_agg(detail, '') FILTER (WHERE item = 'tables' AND NOT ok)
                     FROM vpk_doctor()";
        let found = value(&mut fresh, sql, &[]);
        let names = change.names.iter().all(|name| found.contains(name));
        assert!(found.starts_with("20 ") && names, "{}: {found}", change.sql);
        drop((sessions, fresh));
        run(&mut admin, "DROP DATABASE changed WITH (FORCE)");
    }
    assert_healthy(&cluster);
}

/// G2: the doctor names each table and each column that is missing, also those that no verification
/// reads.
#[test]
fn the_doctor_misses_every_table_and_column() {
    let cluster = cluster();
    let mut admin = cluster.client();
    let sql = "SELECT format('%I', c.relname), quote_ident(a.attname)
                 FROM pg_depend AS d
                 JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
                 LEFT JOIN pg_attribute AS a
                   ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                WHERE d.deptype = 'e' AND c.relkind = 'r' AND c.relnamespace = 'vpk'::regnamespace";
    let columns = admin.query(sql, &[]).expect("the columns");
    assert!(columns.len() > 80, "{}", columns.len());
    let found = "SELECT ok || ' ' || detail FROM vpk_doctor() WHERE item = 'tables'";
    for row in columns {
        let (table, column): (String, String) = (row.get(0), row.get(1));
        run(&mut admin, &format!("BEGIN; ALTER TABLE vpk.{table} RENAME COLUMN {column} TO away"));
        let of_column = value(&mut admin, found, &[]);
        assert!(
            of_column.starts_with("false ") && of_column.contains(&format!("\"{column}\"")),
            "{table}.{column}: {of_column}"
        );
        run(&mut admin, &format!("ROLLBACK; BEGIN; ALTER TABLE vpk.{table} RENAME TO away"));
        let of_table = value(&mut admin, found, &[]);
        assert!(
            of_table.starts_with("false ") && of_table.contains(&format!("\"vpk.{table}\"")),
            "{table}: {of_table}"
        );
        run(&mut admin, "ROLLBACK");
    }
}

/// G2: an owner without further rights who makes a number of a key's id reads no memory by it, and
/// no function reads it as an id.
#[test]
fn a_number_is_not_read_as_an_address() {
    let cluster = cluster();
    let mut admin = cluster.client();
    let [.., (token, _)] = keys(&mut admin);
    assert_eq!(verify(&mut admin, &token), VALID);
    run(&mut admin, WITHOUT_LIST);
    run(
        &mut admin,
        "CREATE ROLE tenant;
         GRANT USAGE, CREATE ON SCHEMA vpk TO tenant;
         ALTER TABLE vpk.keys OWNER TO tenant;
         SET ROLE tenant;
         ALTER TABLE vpk.keys DROP CONSTRAINT keys_pkey;
         ALTER TABLE vpk.keys ALTER COLUMN id TYPE bigint USING 81985529216486895",
    );
    run(&mut admin, "RESET ROLE");
    let mut session = cluster.client();
    for session in [&mut admin, &mut session] {
        let found = told(session, false, &token, "a number");
        assert_names(&found, &change("id bigint", ["vpk.keys", "\"id\""]), &token);
        for sql in ["SELECT vpk_revoke_token($1)::text", "SELECT count(*)::text FROM vpk_list($1)"]
        {
            let error = session.query_one(sql, &[&token]).expect_err("no such statement");
            assert!(report(&error).starts_with("42"), "{sql}: {}", report(&error));
        }
    }
    assert_healthy(&cluster);
}

/// What the owner of a table may do to it without consequences. What is away comes back.
const HARMLESS: &[[&str; 2]] = &[
    ["ALTER TABLE {} ADD COLUMN mine text DEFAULT 'x'", "ALTER TABLE {} DROP COLUMN mine"],
    ["ALTER TABLE {} ALTER COLUMN {1} SET STATISTICS 500", "ALTER TABLE {} SET (fillfactor = 60)"],
    ["CREATE INDEX mine ON {} ({1}) INCLUDE ({2})", "DROP INDEX vpk.mine"],
    ["CLUSTER {} USING {i}_pkey", "ALTER TABLE {} SET WITHOUT CLUSTER"],
    ["REINDEX TABLE CONCURRENTLY {}", "REINDEX TABLE {}"],
    [
        "ALTER TABLE {} ADD CONSTRAINT mine CHECK ({1} IS NOT NULL)",
        "ALTER TABLE {} DROP CONSTRAINT mine",
    ],
    ["CREATE TABLE public.child () INHERITS ({})", "DROP TABLE public.child"],
    ["ALTER TABLE {} OWNER TO tenant", "ALTER TABLE {} OWNER TO postgres"],
    ["COMMENT ON TABLE {} IS 'mine'", "COMMENT ON COLUMN {}.{1} IS 'mine'"],
    ["ALTER TABLE {} ENABLE ROW LEVEL SECURITY", "ALTER TABLE {} DISABLE ROW LEVEL SECURITY"],
];

/// What takes a name away for a while.
const AWAY: &[[&str; 2]] = &[
    ["ALTER TABLE {} RENAME TO away", "ALTER TABLE vpk.away RENAME TO {t}"],
    ["ALTER TABLE {} SET SCHEMA public", "ALTER TABLE public.{t} SET SCHEMA vpk"],
    ["ALTER SCHEMA vpk RENAME TO away", "ALTER SCHEMA away RENAME TO vpk"],
    ["ALTER TABLE {} RENAME COLUMN {1} TO away", "ALTER TABLE {} RENAME COLUMN away TO {1}"],
    ["ALTER INDEX vpk.{i} RENAME TO away", "ALTER INDEX vpk.away RENAME TO {i}"],
];

/// G1, G2: what changes nothing that is read changes no answer; a name that comes back is found
/// again at once.
#[test]
fn harmless_changes_of_tables_change_no_answer() {
    let cluster = cluster();
    let mut admin = cluster.client();
    run(&mut admin, "CREATE ROLE tenant; GRANT USAGE, CREATE ON SCHEMA vpk TO tenant");
    let answers = Answers::of_every_kind(&mut admin, 1);
    let mut sessions = sessions(&cluster, "postgres");
    for (_, session) in &mut sessions {
        answers.remember(session);
    }
    let tables = [
        ("keys", "keys_key_hash_excl", "id", "key_hash"),
        ("accounts", "accounts_pkey", "account", "plan"),
        ("plans", "plans_pkey", "plan", "api_access"),
    ];
    let sql_of = |sql: &str, (table, index, first, second): (&str, &str, &str, &str)| {
        let sql = sql.replace("{i}_pkey", &format!("{table}_pkey")).replace("{i}", index);
        let sql = sql.replace("{t}", table).replace("{}", &format!("vpk.{table}"));
        sql.replace("{1}", first).replace("{2}", second)
    };
    for table in tables {
        for sql in HARMLESS.iter().flatten().map(|sql| sql_of(sql, table)) {
            if sql.contains("CONCURRENTLY") {
                // It waits for the end of every transaction with a snapshot.
                for (_, session) in sessions.iter_mut().filter(|(inside, _)| *inside) {
                    run(session, "COMMIT; BEGIN");
                }
            }
            run(&mut admin, &sql);
            for (_, session) in &mut sessions {
                answers.check(session, &sql);
            }
        }
        for [away, back] in AWAY.iter().map(|both| both.map(|sql| sql_of(sql, table))) {
            run(&mut admin, &away);
            let token = &answers.0[0].key.token;
            for (inside, session) in &mut sessions {
                let error = told(session, *inside, token, &away).expect_err(&away);
                let code = if away.contains("SCHEMA vpk") { "42704 " } else { "55000 " };
                assert!(error.starts_with(code), "{away}: {error}");
            }
            run(&mut admin, &back);
            for (_, session) in &mut sessions {
                answers.check(session, &back);
            }
        }
    }
    // Another table with an index of the right name is as good.
    run(
        &mut admin,
        "CREATE TABLE vpk.other (LIKE vpk.keys INCLUDING ALL);
         INSERT INTO vpk.other SELECT * FROM vpk.keys;
         DROP TABLE IF EXISTS vpk.kept;
         ALTER TABLE vpk.keys RENAME TO kept;
         ALTER INDEX vpk.keys_key_hash_excl RENAME TO kept_key_hash_excl;
         ALTER INDEX vpk.other_key_hash_excl RENAME TO keys_key_hash_excl;
         ALTER TABLE vpk.other RENAME TO keys",
    );
    for (_, session) in &mut sessions {
        answers.check(session, "another table");
    }
    let sql = "SELECT ok::text FROM vpk_doctor() WHERE item = 'tables'";
    assert_eq!(value(&mut admin, sql, &[]), "true");
    assert_healthy(&cluster);
}

/// G2, G9: a standby's session that knows the keys follows a change when it is replayed.
#[test]
fn changed_tables_are_not_read_on_a_standby() {
    let primary = cluster();
    let mut admin = primary.client();
    let keys = keys(&mut admin);
    let standby = primary.standby();
    let (mut session, mut observer) = (standby.client(), standby.client());
    caught_up(&mut admin, &mut observer);
    for (token, answer) in keys.iter().cycle().take(9) {
        assert_eq!(told(&mut session, false, token, "before"), Ok((*answer).to_owned()));
    }
    let change = &CHANGES[0];
    run(&mut admin, change.sql);
    caught_up(&mut admin, &mut observer);
    for (token, _) in &keys {
        assert_names(&told(&mut session, false, token, "after"), change, token);
    }
    assert_healthy(&standby);
}
