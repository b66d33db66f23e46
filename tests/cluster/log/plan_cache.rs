//! G5: no key is readable in what the plan cache keeps of statements: in views, and in the server's
//! report of its memory, which is written past the log.

use crate::support::keys::create;
use crate::support::redaction::{exposed, redacted};
use crate::support::{Client, Cluster, pid, sqlstate, value};

/// What shows the texts of prepared statements, and of all plans of the session.
const PREPARED: &str = "SELECT string_agg(statement, ' ') FROM pg_prepared_statements";
const PLANS: &str = "SELECT string_agg(ident, ' ') FROM pg_backend_memory_contexts
    WHERE name IN ('CachedPlanSource', 'CachedPlan')";

/// Statements, also such as cannot be planned.
const STATEMENTS: [&str; 4] = [
    "SELECT vpk_verify('KEY')::text",
    "SELECT /* KEY */ 'KEY' AS \"KEY\"",
    "EXPLAIN SELECT 'KEY'",
    "DO $$ BEGIN PERFORM 'KEY'; END $$",
];

/// What the views show; they have to show the key, readable or not.
fn shown(client: &mut Client, view: &str, token: &str) -> String {
    let text = value(client, view, &[]);
    assert!(text.contains(&token[..13]), "{view}: {text}");
    text
}

/// G5: from when a statement was prepared, before it is planned.
#[test]
fn a_statement_that_is_only_prepared_shows_no_key() {
    let cluster = Cluster::start(&[]);
    let token = create(&mut cluster.client(), "prepared").token;
    for redact in [true, false] {
        let mut client = cluster.client();
        if !redact {
            client.batch_execute("SET vibepeak_keys.redact_logs = off").expect("a setting");
        }
        for sql in STATEMENTS {
            let statement = client.prepare(&sql.replace("KEY", &token)).expect("a statement");
            for view in [PREPARED, PLANS] {
                let text = shown(&mut client, view, &token);
                assert_eq!(exposed(&text, &token).is_none(), redact, "{sql}: {text}");
            }
            let rows = client.query(&statement, &[]).expect("its answer");
            let value = rows.first().map(|row| row.get::<_, String>(0)).unwrap_or_default();
            assert!(!value.contains('*') && !value.contains("xxx"), "{sql}: {value}");
        }
        let sql = format!("PREPARE own(text) AS SELECT 'KEY' || $1; EXECUTE own('{token}')");
        client.batch_execute(&sql.replace("KEY", &token)).expect("a statement");
        let text = shown(&mut client, PREPARED, &token);
        assert_eq!(exposed(&text, &token).is_none(), redact, "{text}");
        client.batch_execute("DEALLOCATE own").expect("its end");
    }
}

/// G5: the plans of a function, whose own text stays as it is.
#[test]
fn the_plans_of_a_function_show_no_key() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let token = create(&mut client, "planned").token;
    let sql = format!(
        "CREATE FUNCTION a() RETURNS text LANGUAGE plpgsql AS $$
         DECLARE t text; BEGIN
             SELECT '{token}' INTO t FROM pg_class LIMIT 1;
             RETURN t || vpk_verify('{token}');
         END $$;
         CREATE FUNCTION b() RETURNS SETOF text LANGUAGE sql VOLATILE AS $$
             SELECT a(); SELECT a() || '{token}' $$"
    );
    client.batch_execute(&sql).expect("functions");
    for _ in 0..7 {
        assert_eq!(value(&mut client, "SELECT a()", &[]), format!("{token}VALID"));
        assert_eq!(value(&mut client, "SELECT b()", &[]), format!("{token}VALID{token}"));
        let text = shown(&mut client, PLANS, &token);
        assert_eq!(exposed(&text, &token), None, "{text}");
    }
}

/// G5: the report that the server writes when it is out of memory names each plan by its text.
#[test]
fn an_out_of_memory_shows_no_key() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let token = create(&mut client, "no memory").token;
    let pid = pid(&mut client);
    let own = client.prepare(&format!("SELECT vpk_verify('{token}')")).expect("a statement");
    cluster.limit(pid, Some(4_096));
    let refused = client.batch_execute("SELECT length(repeat('x', 200000000))");
    assert_eq!(sqlstate("more memory than there is", refused), "53200");
    cluster.limit(pid, None);
    let log = cluster.log();
    let report: Vec<_> = log.lines().filter(|line| line.contains("CachedPlanSource")).collect();
    let hidden = redacted(&token).replace('*', "x");
    assert!(report.iter().any(|line| line.contains(&hidden)), "{report:#?}");
    assert_eq!(exposed(&log, &token), None);
    assert_eq!(client.query(&own, &[]).expect("its answer").len(), 1);
}
