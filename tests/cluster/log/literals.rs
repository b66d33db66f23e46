//! G5: no key is readable in the log, under any setting and in any format.

use std::io::Write;

use postgres::types::ToSql;

use crate::support::keys::create;
use crate::support::redaction::{Logged, exposed, major, redacted};
use crate::support::{Client, report};

/// Settings of a session, and whether statements that return and that fail are shown under them.
const SETTINGS: [(&str, bool, bool); 9] = [
    ("SET log_statement = 'all'", true, true),
    ("SET log_min_duration_statement = 0", true, true),
    ("SET log_duration = on", false, true),
    ("SET log_min_messages = debug5; SET log_min_error_statement = debug5", false, true),
    ("SET log_error_verbosity = verbose; SET log_statement = 'all'", true, true),
    (
        "SET log_min_duration_statement = 0; SET log_parameter_max_length = -1;
         SET log_parameter_max_length_on_error = -1",
        true,
        true,
    ),
    (
        "SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
         SET auto_explain.log_analyze = on; SET auto_explain.log_verbose = on",
        true,
        true,
    ),
    (
        "SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
         SET auto_explain.log_analyze = on; SET auto_explain.log_verbose = on;
         SET auto_explain.log_format = json",
        true,
        true,
    ),
    ("SET log_min_messages = fatal", false, false),
];

const TABLES: &str = "
    CREATE TABLE texts (t text);
    CREATE TABLE once (t text UNIQUE);
    CREATE TABLE numbers (n int);
    CREATE TABLE checked (t text CHECK (length(t) < 9));
    CREATE FUNCTION raises(t text) RETURNS void LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'message %', t USING DETAIL = 'detail ' || t, HINT = 'hint ' || t; END $$;
    CREATE FUNCTION warns(t text) RETURNS void LANGUAGE plpgsql AS
        $$ BEGIN RAISE WARNING 'message %', t USING DETAIL = 'detail ' || t, HINT = 'hint ' || t; END $$;
    CREATE FUNCTION runs(sql text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE sql; END $$;
    CREATE FUNCTION nests(t text) RETURNS void LANGUAGE plpgsql AS
        $$ BEGIN EXECUTE format('INSERT INTO texts VALUES (%L)', t); END $$";

/// Statements with a key, each in the place of KEY, that return.
const RETURNING: [&str; 7] = [
    "SELECT vpk_verify('KEY')",
    "SELECT 1 /* KEY */; SELECT vpk_verify('KEY'), 2",
    "INSERT INTO texts VALUES ('KEY')",
    "DO $$ BEGIN PERFORM vpk_verify('KEY'); EXECUTE 'SELECT ''KEY'''; END $$",
    "SELECT nests('KEY')",
    "SELECT warns('KEY')",
    "PREPARE p(text) AS SELECT vpk_verify($1), 'KEY'; EXECUTE p('KEY'); DEALLOCATE p",
];

/// The same, that fail.
const FAILING: [&str; 20] = [
    "SELECT 1 FROM texts AS t 'KEY'",
    "SELEC 'KEY'",
    "SELECT 'KEY",
    "SELECT 'KEY'::uuid",
    "SELECT 'KEY'::int",
    "SELECT 'KEY'::json",
    "SELECT 1/0, 'KEY'",
    "SELECT raises('KEY')",
    "DO $$ BEGIN RAISE 'KEY' USING DETAIL = 'KEY', HINT = 'KEY', COLUMN = 'KEY', CONSTRAINT = 'KEY',
        DATATYPE = 'KEY', TABLE = 'KEY', SCHEMA = 'KEY'; END $$",
    "SELECT runs('SELECT ''KEY''::uuid')",
    "SELECT runs('SELEC ''KEY''')",
    "SELECT runs($$ DO 'BEGIN PERFORM ''''KEY''''::uuid; END' $$)",
    "INSERT INTO once VALUES ('KEY'), ('KEY')",
    "INSERT INTO checked VALUES ('KEY')",
    "SELECT KEY",
    "SELECT \"KEY\" FROM \"KEY\"",
    "SELECT KEY('KEY')",
    "SET datestyle = 'KEY'",
    "ALTER TABLE texts RENAME COLUMN KEY TO KEY",
    "SELECT vpk_verify('KEY'); SELECT 1/0",
];

/// Statements with a key as their parameter, that return.
const RETURNING_PARAMETER: [&str; 4] = [
    "SELECT vpk_verify($1)::text",
    "INSERT INTO texts VALUES ($1) RETURNING 1",
    "SELECT nests($1)::text",
    "SELECT warns($1)::text",
];

/// The same, that fail.
const FAILING_PARAMETER: [&str; 6] = [
    "SELECT $1::text::uuid::text",
    "SELECT 1/(length($1::text) - length($1))",
    "SELECT raises($1)::text",
    "SELECT runs('SELECT ''' || $1 || '''::uuid')::text",
    "INSERT INTO once VALUES ($1), ($1)",
    "INSERT INTO checked VALUES ($1)",
];

fn with(sql: &str, key: &str) -> String {
    sql.replace("KEY", key)
}

/// Runs a statement; whether it failed.
fn fails(client: &mut Client, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> bool {
    if parameters.is_empty() {
        client.simple_query(sql).is_err()
    } else {
        client.query(sql, parameters).is_err()
    }
}

fn copies_a_bad_line(client: &mut Client, key: &str) {
    let mut copy = client.copy_in("COPY numbers FROM STDIN").expect("a copy begins");
    copy.write_all(format!("{key}\n").as_bytes()).expect("a line");
    let error = copy.finish().expect_err("no number");
    assert!(report(&error).contains("22P02"), "{}", report(&error));
}

/// A key as it is, cut, extended, and with a wrong character in its middle.
fn forms(token: &str) -> [String; 4] {
    let (first, rest) = token.split_at(23);
    [
        token.to_owned(),
        token[..9 + 12].to_owned(),
        format!("{token}0123456789"),
        format!("{first}-{}", &rest[1..]),
    ]
}

/// G5: under any setting of the log, for each way a key reaches the server, and whether its
/// statement returns or fails.
#[test]
fn no_log_setting_shows_a_key() {
    let mut logged = Logged::start(&[("shared_preload_libraries", "vibepeak_keys,auto_explain")]);
    let mut client = logged.cluster.client();
    client.batch_execute(TABLES).expect("tables");
    let token = create(&mut client, "logged").token;
    logged.lines();
    for (settings, shows_returning, shows_failing) in SETTINGS {
        client.batch_execute("RESET ALL").expect("settings");
        client.batch_execute(settings).expect("settings");
        if major(&mut client) >= 16 {
            client.batch_execute("SET auto_explain.log_parameter_max_length = -1").expect("one");
        }
        logged.lines();
        let cell = |logged: &mut Logged, sql: &str, expected: bool| {
            let shown = logged.assert_redacted(&format!("{settings}; {sql}"), &token);
            // A statement that is not logged may still raise a warning, and is in messages for
            // debugging.
            let warns = sql.contains("warns") && settings != SETTINGS[8].0;
            let may = !expected && (warns || settings.contains("debug5"));
            let wanted = if expected { 3 } else { 0 };
            assert!(may || shown == wanted, "{settings}; {sql}: shown redacted in {shown} formats");
        };
        for sql in RETURNING {
            assert!(!fails(&mut client, &with(sql, &token), &[]), "{sql}");
            cell(&mut logged, sql, shows_returning);
        }
        for sql in FAILING {
            assert!(fails(&mut client, &with(sql, &token), &[]), "{sql}");
            cell(&mut logged, sql, shows_failing);
        }
        for sql in RETURNING_PARAMETER {
            assert!(!fails(&mut client, sql, &[&token]), "{sql}");
            // Without the parameters there is nothing of the key to log.
            logged.assert_redacted(&format!("{settings}; {sql}"), &token);
        }
        for sql in FAILING_PARAMETER {
            assert!(fails(&mut client, sql, &[&token]), "{sql}");
            logged.assert_redacted(&format!("{settings}; {sql}"), &token);
        }
        for form in forms(&token) {
            assert!(fails(&mut client, &format!("SELECT '{form}'::uuid"), &[]));
            cell(&mut logged, "SELECT (a mistyped key)::uuid", shows_failing);
            assert!(fails(&mut client, "SELECT $1::text::uuid::text", &[&form]));
            cell(&mut logged, "SELECT $1::text::uuid (a mistyped key)", shows_failing);
        }
        copies_a_bad_line(&mut client, &token);
        cell(&mut logged, "COPY", shows_failing);
    }
    assert_eq!(exposed(&logged.cluster.log(), &token), None, "what came before the collector");
}

/// G5: parameters are redacted where they are logged, with the statement and with an error.
#[test]
fn parameters_are_redacted_in_every_format() {
    let mut logged = Logged::start(&[]);
    let mut client = logged.cluster.client();
    let token = create(&mut client, "parameter").token;
    let settings = "SET log_statement = 'all'; SET log_parameter_max_length = -1;
        SET log_parameter_max_length_on_error = -1";
    client.batch_execute(settings).expect("settings");
    logged.lines();
    for (sql, fails_too) in
        [("SELECT vpk_verify($1)::text", false), ("SELECT 1/(length($1) - 41)", true)]
    {
        assert_eq!(fails(&mut client, sql, &[&token]), fails_too, "{sql}");
        let expected = format!("$1 = '{}'", redacted(&token));
        for lines in logged.lines() {
            assert_eq!(lines.matches(&expected).count(), 1, "{lines}");
            assert_eq!(exposed(&lines, &token), None, "{lines}");
        }
    }
}

/// Without redaction the key is found in every format: the other tests search the right files.
#[test]
fn a_key_is_logged_where_redaction_is_off() {
    let mut logged = Logged::start(&[]);
    let mut client = logged.cluster.client();
    let token = create(&mut client, "not redacted").token;
    client.batch_execute("SET vibepeak_keys.redact_logs = off").expect("a superuser may");
    for sql in ["SELECT 'KEY'::uuid", "SELECT raises('KEY')", "SELEC 'KEY'"] {
        logged.lines();
        assert!(fails(&mut client, &with(sql, &token), &[]));
        for lines in logged.lines() {
            assert!(exposed(&lines, &token).is_some(), "{lines}");
        }
    }
    client.batch_execute("SET vibepeak_keys.redact_logs = on").expect("a superuser may");
    client.batch_execute("CREATE ROLE someone LOGIN").expect("a role");
    let mut someone = logged.cluster.connect("postgres", "someone");
    let error = someone.batch_execute("SET vibepeak_keys.redact_logs = off").expect_err("no right");
    assert_eq!(error.code().map(|code| code.code()), Some("42501"));
}

/// G5: in a session that loads the library itself, its own lines are redacted.
#[test]
fn a_session_that_loads_the_library_itself_redacts_its_own_lines() {
    let mut logged = Logged::start(&[("shared_preload_libraries", "")]);
    let sql = "ALTER ROLE postgres SET session_preload_libraries = vibepeak_keys";
    logged.cluster.client().batch_execute(sql).expect("a setting");
    let mut client = logged.cluster.client();
    let token = create(&mut client, "one session").token;
    client.batch_execute("SET log_statement = 'all'").expect("settings");
    logged.lines();
    for sql in ["SELECT vpk_verify('KEY')", "SELECT 'KEY'::uuid", "SELEC 'KEY'"] {
        let failed = fails(&mut client, &with(sql, &token), &[]);
        assert_eq!(failed, !sql.contains("verify"));
        assert_eq!(logged.assert_redacted(sql, &token), 3, "{sql}");
    }
}
