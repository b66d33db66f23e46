//! Masking changes what is shown of statements, never what they do.

use postgres::SimpleQueryMessage;

use crate::support::keys::create;
use crate::support::{Client, Cluster, value};

/// How much is logged while the statements run: with messages of level DEBUG, a line is written
/// before the text that goes with it is parsed.
const LEVELS: [&str; 3] = [
    "RESET ALL",
    "SET log_min_messages = debug5; SET log_min_error_statement = debug5",
    "SET log_min_messages = fatal",
];

/// All the values that a simple query returns, in its rows' first columns.
fn values(client: &mut Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    };
    messages.iter().filter_map(row).collect()
}

fn at_each_level(name: &str, test: impl Fn(&mut Client, &str)) {
    let cluster = Cluster::start(&[]);
    let token = create(&mut cluster.client(), name).token;
    for level in LEVELS {
        println!("{level}");
        let mut client = cluster.client();
        client.batch_execute(level).expect("settings");
        client.batch_execute("CREATE SCHEMA own; SET search_path = own, public").expect("a schema");
        test(&mut client, &token);
        client.batch_execute("DROP SCHEMA own CASCADE").expect("a schema");
    }
}

/// Several statements in one simple query: all are parsed before the first is redacted.
#[test]
fn simple_queries_return_what_they_should() {
    at_each_level("simple", |client, token| {
        let sql = format!("SELECT 1; SELECT vpk_verify('{token}'); SELECT '{token}'");
        assert_eq!(values(client, &sql), ["1", "VALID", token]);
        let sql = format!(
            "CREATE TABLE texts (t text DEFAULT '{token}');
             INSERT INTO texts VALUES ('{token}'); INSERT INTO texts DEFAULT VALUES;
             CREATE VIEW seen AS SELECT t, vpk_verify('{token}') AS s FROM texts;
             CREATE FUNCTION body() RETURNS text LANGUAGE sql AS 'SELECT vpk_verify(''{token}'')::text';
             COMMENT ON TABLE texts IS '{token}';
             DO $$ BEGIN EXECUTE format('INSERT INTO texts VALUES (%L)', '{token}'); END $$;
             SELECT t FROM texts UNION ALL SELECT s::text FROM seen UNION ALL SELECT body()
             UNION ALL SELECT obj_description('texts'::regclass)"
        );
        let valid = "VALID";
        let expected = [token, token, token, valid, valid, valid, valid, token];
        assert_eq!(values(client, &sql), expected);
        let sql = "SELECT prosrc FROM pg_proc WHERE proname = 'body'";
        assert!(value(client, sql, &[]).contains(token));
    });
}

/// A function whose statements cannot be prepared at first parses their text again later.
#[test]
fn functions_work_after_an_error() {
    at_each_level("later", |client, token| {
        let sql = format!(
            "CREATE FUNCTION later() RETURNS text LANGUAGE plpgsql AS $$
             DECLARE status text; q text := 'SELECT vpk_verify(''{token}'')::text FROM missing';
             BEGIN
                 SELECT vpk_verify('{token}')::text INTO status FROM missing;
                 RETURN status || ' {token} ' || (SELECT vpk_verify('{token}') FROM missing);
             END $$;
             CREATE FUNCTION twice() RETURNS text LANGUAGE plpgsql AS $$
             DECLARE status text; q text := 'SELECT vpk_verify(''{token}'')::text FROM missing';
             BEGIN
                 BEGIN EXECUTE q; EXCEPTION WHEN undefined_table THEN
                     CREATE TABLE missing AS SELECT 1 AS n;
                 END;
                 EXECUTE q INTO status;
                 RETURN status || q;
             END $$"
        );
        client.batch_execute(&sql).expect("functions");
        for _ in 0..2 {
            client.simple_query("SELECT later()").expect_err("there is no such table");
        }
        let sql = format!("VALIDSELECT vpk_verify('{token}')::text FROM missing");
        assert_eq!(value(client, "SELECT twice()", &[]), sql);
        for _ in 0..7 {
            let expected = format!("VALID {token} VALID");
            assert_eq!(values(client, "SELECT later()"), [expected]);
        }
        // Its types change, and so it is parsed anew.
        client.batch_execute("ALTER TABLE missing ALTER n TYPE text").expect("another type");
        assert_eq!(values(client, "SELECT later()"), [format!("VALID {token} VALID")]);
    });
}

/// The same where the first error comes after the text was redacted for other readers: the
/// rewriter's.
#[test]
fn functions_work_after_an_error_of_the_rewriter() {
    at_each_level("rewritten", |client, token| {
        let sql = format!(
            "CREATE TABLE texts (t text);
             CREATE VIEW target AS SELECT DISTINCT t FROM texts;
             CREATE FUNCTION stores() RETURNS text LANGUAGE plpgsql AS $$
             BEGIN INSERT INTO target VALUES ('{token}'); RETURN 'stored'; END $$"
        );
        client.batch_execute(&sql).expect("a function");
        for _ in 0..2 {
            client.simple_query("SELECT stores()").expect_err("this view cannot be changed");
        }
        client.batch_execute("CREATE OR REPLACE VIEW target AS SELECT t FROM texts").expect("one");
        assert_eq!(values(client, "SELECT stores(); SELECT t FROM texts"), ["stored", token]);
    });
}

/// Prepared statements keep their meaning when they are planned again, in both protocols.
#[test]
fn prepared_statements_keep_their_meaning() {
    at_each_level("prepared", |client, token| {
        let sql = format!(
            "CREATE TABLE texts AS SELECT '{token}' AS t;
             PREPARE p(text) AS SELECT t || vpk_verify('{token}') || vpk_verify($1) FROM texts
             WHERE t = '{token}'"
        );
        client.batch_execute(&sql).expect("a statement");
        let own = format!("SELECT t || vpk_verify('{token}') FROM texts WHERE t = '{token}'");
        let own = client.prepare(&own).expect("a statement");
        let insert = format!("INSERT INTO texts VALUES ('{token}') RETURNING t");
        let insert = client.prepare(&insert).expect("a statement");
        for round in 0..14 {
            match round {
                10 => client.batch_execute("DISCARD PLANS").expect("no plans"),
                11 => client.batch_execute("ALTER TABLE texts ADD extra int").expect("a column"),
                12 => client.batch_execute("ALTER TABLE texts DROP extra").expect("a column"),
                13 => client.batch_execute("SET search_path = public, own").expect("a path"),
                _ => {}
            }
            let execute = format!("EXECUTE p('{token}')");
            assert_eq!(values(client, &execute), [format!("{token}VALIDVALID")], "{round}");
            let rows = client.query(&own, &[]).expect("its answer");
            assert_eq!(rows[0].get::<_, String>(0), format!("{token}VALID"), "{round}");
            client.batch_execute("BEGIN").expect("a transaction");
            let rows = client.query(&insert, &[]).expect("its answer");
            assert_eq!(rows[0].get::<_, String>(0), token, "{round}");
            client.batch_execute("ROLLBACK").expect("a rollback");
        }
    });
}

/// Cursors of all kinds, whose portals keep their own copy of the text.
#[test]
fn cursors_return_what_they_should() {
    at_each_level("cursor", |client, token| {
        let sql = format!(
            "CREATE FUNCTION loops() RETURNS SETOF text LANGUAGE plpgsql AS $$
             DECLARE r record; c CURSOR FOR SELECT '{token}' || i AS t FROM generate_series(1, 2) i;
             BEGIN
                 FOR r IN c LOOP RETURN NEXT r.t; END LOOP;
                 FOR r IN EXECUTE 'SELECT ''{token}'' AS t' LOOP RETURN NEXT r.t; END LOOP;
             END $$"
        );
        client.batch_execute(&sql).expect("a function");
        let looped = [format!("{token}1"), format!("{token}2"), token.to_owned()];
        for _ in 0..2 {
            assert_eq!(values(client, "SELECT loops()"), looped);
        }
        let sql = format!(
            "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT '{token}' FROM generate_series(1, 2);
             FETCH c; COMMIT; FETCH c; CLOSE c"
        );
        assert_eq!(values(client, &sql), [token, token]);
        let mut transaction = client.transaction().expect("a transaction");
        let sql = format!("SELECT '{token}' FROM generate_series(1, 3)");
        let portal = transaction.bind(&sql, &[]).expect("a portal");
        for rows in [2, 1] {
            let answer = transaction.query_portal(&portal, 2).expect("rows");
            assert_eq!(answer.len(), rows);
            assert!(answer.iter().all(|row| row.get::<_, String>(0) == token));
        }
    });
}
