//! G5: no key is readable in what others note of statements: pg_stat_statements and pgaudit, loaded
//! before this extension or after it.

use std::fs;

use postgres::SimpleQueryMessage;

use crate::support::keys::create;
use crate::support::redaction::{Logged, exposed, libraries, redacted};
use crate::support::{Client, value};

const LIBRARIES: [&str; 4] = ["vibepeak_keys", "pg_stat_statements", "auto_explain", "pgaudit"];

/// The libraries in both orders.
fn orders() -> [Vec<String>; 2] {
    let libraries = libraries(&LIBRARIES);
    let reversed = libraries.iter().rev().cloned().collect();
    [libraries, reversed]
}

/// Statements with a key, and the first value of what they return, if anything.
const STATEMENTS: [(&str, Option<&str>); 16] = [
    ("SELECT 'KEY' AS answer, 'a' AS other", Some("KEY")),
    ("SELECT length('KEY') AS number", Some("41")),
    ("SELECT 2 AS KEY", Some("2")),
    ("SELECT 3 AS \"KEY\"", Some("3")),
    ("SELECT /* KEY/x it's */ 'a'", Some("a")),
    ("/* KEY/x it's */ SELECT 'b' -- KEY", Some("b")),
    ("SELECT $$KEY$$, E'KEY\\n', U&'KEY'", Some("KEY")),
    ("SELECT 'KEY0', 'vpk_live_12345678901234567890-KEY', 'it''s'", Some("KEY0")),
    ("INSERT INTO texts VALUES ('KEY') RETURNING t", Some("KEY")),
    ("EXPLAIN ANALYZE INSERT INTO texts VALUES ('KEY')", None),
    ("DO $$ BEGIN PERFORM vpk_verify('KEY'); END $$", None),
    ("CREATE TEMPORARY TABLE made ON COMMIT DROP AS SELECT 'KEY' AS k", None),
    ("COMMENT ON TABLE texts IS 'KEY'", None),
    ("SELECT runs('SELECT /* KEY */ 1')", Some("")),
    ("SELECT runs('CREATE TABLE IF NOT EXISTS made_too AS SELECT ''KEY'' AS k')", Some("")),
    ("SELECT runs('COMMENT ON TABLE texts IS ''KEY''')", Some("")),
];

/// More of them, that only the simple protocol takes.
const TOGETHER: [&str; 4] = [
    "BEGIN; DECLARE c CURSOR FOR SELECT 'KEY'; FETCH c; COMMIT",
    "PREPARE p(text) AS SELECT 'KEY', $1; EXECUTE p('KEY'); EXECUTE p('a'); DEALLOCATE p",
    "SELECT 1, 'KEY'; SELECT vpk_verify('KEY'), 2; SELECT 'KEY', 'a', 3",
    "SELECT KEY()",
];

fn first(client: &mut Client, sql: &str) -> Option<String> {
    let messages = client.simple_query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    })
}

/// Statements of which redaction could change how the text is divided into words, which
/// pg_stat_statements does once more to find the constants: with the first value of what they
/// return.
const DIVIDED: [(&str, &str); 5] = [
    (
        "SELECT a.vpk_live_abcdefgh-E'1\\'2', 5, 6, '7'
           FROM (SELECT '{\"1\": 2}'::jsonb AS vpk_live_abcdefgh) AS a",
        "{\"1\": 2}",
    ),
    (
        "SELECT $vpk_live_abcd1111$ $vpk_live_abcd2222$ ' $vpk_live_abcd1111$, 5, 6, 7 -- '
         , 8, 9",
        " $vpk_live_abcd2222$ ' ",
    ),
    ("SELECT vpk_live_abcdefgh-5, 'a' FROM (SELECT 6 AS vpk_live_abcdefgh) AS a", "1"),
    // What stands behind a name at the end of the text is redacted with it.
    ("SELECT 7, -8 AS vpk_live_Bills ORDER BY 1 LIMIT 10 OFFSET -0", "7"),
    (
        "SELECT 'vpk_live_aBcDeF gHiJkLmNoPqRs\nTuVwXyZ4Vi3OY' AS b, E'1\\'2', 5",
        "vpk_live_aBcDeF gHiJkLmNoPqRs\nTuVwXyZ4Vi3OY",
    ),
];

/// Anyone who may log in can write any statement: redacting one never ends the session or the
/// server.
#[test]
fn a_redacted_statement_is_divided_into_the_same_words() {
    for order in orders() {
        let cluster = crate::support::Cluster::start(&[(
            "shared_preload_libraries",
            order.join(",").as_str(),
        )]);
        let mut client = cluster.client();
        for (sql, expected) in DIVIDED {
            assert_eq!(first(&mut client, sql).as_deref(), Some(expected), "{sql}");
        }
    }
}

/// A prepared statement that has failed is divided again when it is planned anew.
#[test]
fn a_redacted_statement_that_failed_can_be_executed_again() {
    let libraries = libraries(&LIBRARIES).join(",");
    let cluster = crate::support::Cluster::start(&[("shared_preload_libraries", &libraries)]);
    let mut client = cluster.client();
    let set_up = "CREATE EXTENSION pg_stat_statements; CREATE TABLE planned AS SELECT 1 AS n";
    client.batch_execute(set_up).expect("a table");
    let sql = "SELECT 7 / $1::int /* vpk_live_aBcDeFgH/ isn't */ + 1 FROM planned";
    let statement = client.prepare(sql).expect("a statement");
    client.query(&statement, &[&0]).expect_err("no such quotient");
    client
        .batch_execute("SELECT pg_stat_statements_reset(); ANALYZE planned")
        .expect("another plan");
    let quotient: i32 = client.query_one(&statement, &[&1]).expect("a quotient").get(0);
    assert_eq!(quotient, 8);
}

/// Runs all of the statements, and looks at what they return.
fn run(client: &mut Client, token: &str) {
    for (sql, expected) in STATEMENTS {
        let text = sql.replace("KEY", token);
        let expected = expected.map(|value| value.replace("KEY", token));
        for round in 0..2 {
            let answer = first(client, &text);
            assert!(expected.is_none() || answer == expected, "{sql}, round {round}: {answer:?}");
        }
        let statement = client.prepare(&text).expect("a statement");
        for round in 0..2 {
            let rows = client.query(&statement, &[]).expect("its answer");
            let answer = rows.first().and_then(|row| row.try_get::<_, String>(0).ok());
            let same = answer.is_none() || expected.is_none() || answer == expected;
            assert!(same, "{sql}, round {round}: {answer:?}");
        }
    }
    for sql in TOGETHER {
        let done = client.simple_query(&sql.replace("KEY", token));
        assert_eq!(done.is_err(), sql == TOGETHER[3], "{sql}");
    }
}

/// What pg_stat_statements keeps of a statement.
#[derive(Debug)]
struct Kept {
    id: i64,
    top: bool,
    query: String,
    calls: i64,
}

/// Runs all of the statements with empty statistics; what is kept of them, in the order of
/// their ids.
fn counted(client: &mut Client, token: &str) -> Vec<Kept> {
    client.batch_execute("DROP TABLE IF EXISTS made_too").expect("no table");
    client.batch_execute("SELECT pg_stat_statements_reset()").expect("no statistics");
    run(client, token);
    let sql = "SELECT queryid, toplevel, query, calls FROM pg_stat_statements
        WHERE query NOT LIKE '%pg_stat_statements%' AND query NOT LIKE '%mark%'
        AND calls > 0 ORDER BY 1, 2";
    let kept = client.query(sql, &[]).expect("the statistics");
    let kept = kept.iter();
    kept.map(|row| Kept { id: row.get(0), top: row.get(1), query: row.get(2), calls: row.get(3) })
        .collect()
}

/// G5: in whichever order the libraries are loaded, pg_stat_statements keeps no key, counts as it
/// should, and no statement returns anything else.
#[test]
fn statistics_of_statements_show_no_key() {
    for order in orders() {
        let order = order.join(",");
        let mut logged = Logged::start(&[
            ("shared_preload_libraries", &order),
            ("pg_stat_statements.track", "all"),
            ("pg_stat_statements.track_planning", "on"),
            ("pg_stat_statements.track_utility", "on"),
            // What the worker does is counted as well, and not the same each time.
            ("vibepeak_keys.usage_flush_interval", "1h"),
            ("auto_explain.log_min_duration", "0"),
            ("auto_explain.log_nested_statements", "on"),
        ]);
        let mut client = logged.cluster.client();
        client
            .batch_execute(
                "CREATE EXTENSION pg_stat_statements; CREATE TABLE texts (t text);
                 CREATE FUNCTION runs(sql text) RETURNS void LANGUAGE plpgsql
                 AS $$ BEGIN EXECUTE sql; END $$",
            )
            .expect("tables");
        let token = create(&mut client, "counted").token;
        client.batch_execute("SET vibepeak_keys.redact_logs = off").expect("a setting");
        let unredacted = counted(&mut client, &token);
        assert!(unredacted.iter().any(|kept| kept.query.contains(&token)));
        client.batch_execute("SET vibepeak_keys.redact_logs = on").expect("a setting");
        logged.lines();
        let kept = counted(&mut client, &token);
        assert_eq!(logged.assert_redacted(&order, &token), 3, "{order}");

        let hidden = redacted(&token).replace('*', "x");
        let comparable = |kept: &[Kept], utility: bool| {
            let mut all: Vec<_> = kept
                .iter()
                .map(|kept| (kept.query.replace(&token, &hidden), kept.top, kept.calls, kept.id))
                // Of utility statements the id is made of their text, which is redacted before the
                // later ones of a simple query are analysed.
                .map(|(query, top, calls, id)| (query, top, calls, if utility { 0 } else { id }))
                .filter(|(query, ..)| utility || query.starts_with("SELECT"))
                .collect();
            all.sort();
            all
        };
        for kept in &kept {
            assert_eq!(exposed(&kept.query, &token), None, "{order}: {}", kept.query);
        }
        for utility in [false, true] {
            assert_eq!(comparable(&kept, utility), comparable(&unredacted, utility), "{order}");
        }
        // From 18 on, comments in front of a statement are not kept.
        let sql = format!("SELECT /* {hidden}/x it's */ $1");
        assert_eq!(kept.iter().filter(|kept| kept.query == sql).count(), 1, "{kept:#?}");
        // Everything was forgotten in between, and so the file was written anew.
        let text = fs::read(logged.cluster.data().join("pg_stat_tmp/pgss_query_texts.stat"));
        let text = String::from_utf8_lossy(&text.expect("the file of the statistics")).into_owned();
        assert!(text.contains(&hidden));
        assert_eq!(exposed(&text, &token), None, "{order}");
    }
}

/// G5: what pgaudit writes to the log shows no key, in whichever order the libraries are loaded.
#[test]
fn audit_lines_show_no_key() {
    for order in orders() {
        if !order.iter().any(|name| name == "pgaudit") {
            return;
        }
        let mut logged = Logged::start(&[
            ("shared_preload_libraries", &order.join(",")),
            ("pgaudit.log", "all"),
            ("pgaudit.log_parameter", "on"),
            ("pgaudit.log_relation", "on"),
            ("pgaudit.log_rows", "on"),
        ]);
        let mut client = logged.cluster.client();
        client
            .batch_execute(
                "CREATE TABLE texts (t text);
                 CREATE FUNCTION runs(sql text) RETURNS void LANGUAGE plpgsql
                 AS $$ BEGIN EXECUTE sql; END $$",
            )
            .expect("tables");
        let token = create(&mut client, "audited").token;
        logged.lines();
        run(&mut client, &token);
        assert_eq!(value(&mut client, "SELECT vpk_verify($1)::text", &[&token]), "VALID");
        for lines in logged.lines() {
            let audit = lines.lines().filter(|line| line.contains("AUDIT: "));
            let hint = &token[..13];
            assert!(audit.filter(|line| line.contains(hint)).count() > 20, "{order:?}: {lines}");
            assert_eq!(exposed(&lines, &token), None, "{order:?}");
            let parameter = lines.lines().any(|line| {
                line.contains("SELECT vpk_verify($1)") && line.contains(&redacted(&token))
            });
            assert!(parameter, "{order:?}: {lines}");
        }
    }
}
