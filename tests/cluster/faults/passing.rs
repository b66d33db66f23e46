//! G2: the server's own errors pass through the functions that change keys, with every field that a
//! client can ask for (PQresultErrorField).

use std::thread;

use super::disk;
use crate::support::keys::create;
use crate::support::{Client, Cluster, pid, value, wait_for_lock};
use postgres::error::{DbError, ErrorPosition};

/// An operator's own rules: a trigger that fails in the way that the reason of a revocation says,
/// and a constraint.
const RULES: &str = r#"
    ALTER TABLE vpk.keys ADD CONSTRAINT "no such reason" CHECK (revoke_reason <> 'checked');
    CREATE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        CASE NEW.revoke_reason
            WHEN 'raised' THEN
                RAISE 'refused' USING ERRCODE = 'P0123', DETAIL = 'the detail', HINT = 'the hint',
                    COLUMN = 'a column', CONSTRAINT = 'a constraint', DATATYPE = 'a type',
                    TABLE = 'a table', SCHEMA = 'a schema';
            WHEN 'disk' THEN RAISE disk_full;
            WHEN 'computed' THEN PERFORM 1 / 0;
            WHEN 'parsed' THEN EXECUTE 'SELECT 1 FORM nothing';
            WHEN 'cast' THEN PERFORM 'x'::text::integer;
            WHEN 'of the extension' THEN PERFORM public.vpk_set_plan('an account', 'no such plan');
            ELSE NULL;
        END CASE;
        RETURN NEW;
    END $$;
    CREATE TRIGGER refuses BEFORE UPDATE ON vpk.keys FOR EACH ROW EXECUTE FUNCTION refuses()"#;

/// Every field of an error but the context, by name.
fn fields(error: &DbError) -> Vec<(&'static str, String)> {
    let position = error.position().map(|position| match position {
        ErrorPosition::Original(at) => format!("{at}"),
        ErrorPosition::Internal { position, query } => format!("{position} of {query}"),
    });
    let text = |field: Option<&str>| field.unwrap_or_default().to_owned();
    vec![
        ("severity", error.severity().to_owned()),
        ("severity, not translated", format!("{:?}", error.parsed_severity())),
        ("code", error.code().code().to_owned()),
        ("message", error.message().to_owned()),
        ("detail", text(error.detail())),
        ("hint", text(error.hint())),
        ("position", position.unwrap_or_default()),
        ("schema", text(error.schema())),
        ("table", text(error.table())),
        ("column", text(error.column())),
        ("type", text(error.datatype())),
        ("constraint", text(error.constraint())),
        ("file", text(error.file())),
        ("line", error.line().unwrap_or_default().to_string()),
        ("function", text(error.routine())),
    ]
}

fn failure(client: &mut Client, sql: &str) -> DbError {
    match client.batch_execute(sql) {
        Ok(()) => panic!("{sql}: no error"),
        Err(error) => error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error}")).clone(),
    }
}

/// Expects the same error, in the context of a statement of the function. `but` are fields that
/// differ for another reason.
fn assert_passed(what: &str, direct: &DbError, passed: &DbError, but: &[&str]) {
    let compared = |error| -> Vec<_> {
        fields(error).into_iter().filter(|(name, _)| !but.contains(name)).collect()
    };
    assert_eq!(compared(passed), compared(direct), "{what}");
    let context = passed.where_().unwrap_or_default();
    let rest = context.strip_prefix(direct.where_().unwrap_or_default());
    let rest = rest.unwrap_or_else(|| panic!("{what}: {context}"));
    assert!(rest.trim_start().starts_with("SQL statement \""), "{what}: {context}");
}

/// With `RUST_BACKTRACE` too, with which Rust would take stacks.
#[test]
fn every_field_of_a_servers_error_passes_through_a_function() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let key = create(&mut client, "a key");
    client.batch_execute(RULES).expect("the rules");
    for environment in ["RUST_BACKTRACE=0", "RUST_BACKTRACE=1"] {
        cluster.down();
        cluster.up_with(&[environment]);
        let mut client = cluster.client();
        for (reason, code) in [
            ("raised", "P0123"),
            ("disk", "53100"),
            ("computed", "22012"),
            ("parsed", "42601"),
            ("cast", "22P02"),
            ("of the extension", "22023"),
            ("checked", "23514"),
        ] {
            let id = &key.id;
            let sql = format!("UPDATE vpk.keys SET revoke_reason = '{reason}' WHERE id = '{id}'");
            let direct = failure(&mut client, &sql);
            assert_eq!(direct.code().code(), code, "{direct:?}");
            let passed = failure(&mut client, &format!("SELECT vpk_revoke('{id}', '{reason}')"));
            // The row that fails is another one, and its hash is left out.
            let but: &[&str] = if reason == "checked" { &["detail"] } else { &[] };
            assert_passed(&format!("{environment}, {reason}"), &direct, &passed, but);
            assert_eq!(passed.detail().is_some(), direct.detail().is_some());
        }
        // The server forgets an error that was caught, however many there are.
        let sql = format!(
            "DO $$ DECLARE name text; BEGIN
                FOR n IN 1..300 LOOP
                    BEGIN
                        PERFORM vpk_revoke('{id}', 'raised');
                    EXCEPTION WHEN SQLSTATE 'P0123' THEN
                        GET STACKED DIAGNOSTICS name = CONSTRAINT_NAME;
                        ASSERT name = 'a constraint';
                    END;
                END LOOP;
                PERFORM vpk_update('{id}', name => 'another name');
            END $$",
            id = key.id
        );
        client.batch_execute(&sql).expect("each error is caught");
        let errors = "SELECT sum(total_bytes)::text FROM pg_backend_memory_contexts
                       WHERE name = 'ErrorContext'";
        assert_eq!(value(&mut client, errors, &[]), "8192", "of a session without errors");
    }
}

/// A disk that is really full, under a table of the operator's.
#[test]
fn every_field_of_an_error_passes_where_a_disk_is_full() {
    let Some(cluster) = disk::cluster(&[]) else { return };
    let mut client = cluster.client();
    let id = create(&mut client, "a key").id;
    let folder = disk::small_tablespace(&mut client);
    cluster.mount(&folder, 2);
    let rules = "CREATE TABLE history (line text) TABLESPACE small;
        CREATE FUNCTION keeps() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO public.history SELECT repeat('x', 1000) FROM generate_series(1, 5000);
            RETURN NEW;
        END $$;
        CREATE TRIGGER keeps BEFORE UPDATE ON vpk.keys FOR EACH ROW EXECUTE FUNCTION keeps()";
    client.batch_execute(rules).expect("the rules");
    let sql = format!("UPDATE vpk.keys SET name = name WHERE id = '{id}'");
    // The first one finds more room than those after it.
    failure(&mut client, &sql);
    let direct = failure(&mut client, &sql);
    assert_eq!(direct.code().code(), "53100", "{direct:?}");
    let passed = failure(&mut client, &format!("SELECT vpk_revoke('{id}')"));
    assert_passed("a full disk", &direct, &passed, &[]);
}

/// Where the statement waits for another session: a timeout, a cancel, a deadlock, a change that
/// the transaction's snapshot does not show.
#[test]
fn every_field_of_an_error_passes_where_a_function_waits_for_a_row() {
    let cluster = Cluster::start(&[]);
    let mut holder = cluster.client();
    let mut observer = cluster.client();
    let [held, other] = ["held", "other"].map(|name| create(&mut holder, name));
    let wait = format!("UPDATE vpk.keys SET revoked_at = now() WHERE id = '{}'", held.id);
    let call = format!("SELECT vpk_revoke('{}')", held.id);
    let take = |id: &str| format!("UPDATE vpk.keys SET name = name WHERE id = '{id}'");

    let both = |what: &str, run: &mut dyn FnMut(&str) -> DbError| {
        let [direct, passed] = [run(&wait), run(&call)];
        let no_numbers = |error: &DbError| {
            let mut fields = fields(error);
            fields.iter_mut().for_each(|(_, text)| text.retain(|c| !c.is_ascii_digit()));
            fields
        };
        println!("{what}: {:?}", no_numbers(&passed));
        assert_eq!(no_numbers(&passed), no_numbers(&direct), "{what}");
        assert!(passed.where_().unwrap_or_default().contains("SQL statement \""), "{passed:?}");
    };

    holder.batch_execute(&format!("BEGIN; {}", take(&held.id))).expect("the row");
    let mut client = cluster.client();
    client.batch_execute("SET statement_timeout = '200ms'").expect("a setting");
    both("a timeout", &mut |sql| failure(&mut client, sql));
    both("a cancel", &mut |sql| {
        let mut client = cluster.client();
        let waiting = pid(&mut client);
        let sql = sql.to_owned();
        let call = thread::spawn(move || failure(&mut client, &sql));
        wait_for_lock(&mut observer, waiting);
        observer.execute("SELECT pg_cancel_backend($1)", &[&waiting]).expect("a cancellation");
        call.join().expect("its end")
    });
    both("a deadlock", &mut |sql| {
        let mut client = cluster.client();
        client
            .batch_execute(&format!("SET deadlock_timeout = '10ms'; BEGIN; {}", take(&other.id)))
            .expect("the other row");
        holder.batch_execute("SET LOCAL deadlock_timeout = '1min'").expect("a setting");
        let waiting = pid(&mut holder);
        thread::scope(|scope| {
            // It gives the other row back, for the next round.
            let take = format!("SAVEPOINT s; {}; ROLLBACK TO s", take(&other.id));
            let holder = &mut holder;
            let waits = scope.spawn(move || holder.batch_execute(&take));
            wait_for_lock(&mut observer, waiting);
            let error = failure(&mut client, sql);
            client.batch_execute("ROLLBACK").expect("its end");
            waits.join().expect("its end").expect("the other row");
            error
        })
    });
    holder.batch_execute("COMMIT").expect("its end");
    both("a serialization failure", &mut |sql| {
        let mut client = cluster.client();
        client
            .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM vpk.plans")
            .expect("a snapshot");
        holder.batch_execute(&take(&held.id)).expect("a change");
        failure(&mut client, sql)
    });
}
