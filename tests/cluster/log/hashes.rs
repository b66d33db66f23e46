//! G5 and G6: the hash of a key is readable neither in the log nor in an error of a function.

use crate::support::keys::create;
use crate::support::redaction::{Logged, libraries, major};
use crate::support::{Client, report, value};

/// What may follow `\x` in a text without a value: as many digits as say nothing.
const DIGITS: usize = 8;

/// Whether a text shows a value of type `bytea`, in hexadecimal or with octal escapes.
fn shows_value(text: &str) -> bool {
    let digits = |text: &str| text.chars().take_while(char::is_ascii_hexdigit).count();
    let octal =
        |text: &str| text.len() >= 3 && text.bytes().take(3).all(|byte| byte.is_ascii_digit());
    text.split("\\x").skip(1).any(|rest| digits(rest) >= DIGITS)
        || text.split('\\').skip(1).filter(|rest| octal(rest)).count() >= DIGITS
}

/// Every hash in the table.
fn hashes(client: &mut Client) -> Vec<String> {
    let rows = client.query("SELECT encode(key_hash, 'hex') FROM vpk.keys", &[]);
    rows.expect("the hashes").iter().map(|row| row.get(0)).collect()
}

/// G6: a constraint of an operator's own shows an admin no hash, whether the error is logged or
/// not.
#[test]
fn an_error_of_a_function_shows_no_hash() {
    let mut logged = Logged::start(&[]);
    let mut owner = logged.cluster.client();
    owner
        .batch_execute(
            "ALTER TABLE vpk.keys ADD CHECK (name <> 'bad' AND revoke_reason <> 'bad');
             CREATE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE 'refused: %', NEW USING HINT = NEW.key_hash::text; END $$;
             CREATE TRIGGER refuses BEFORE UPDATE ON vpk.keys
                 FOR EACH ROW WHEN (NEW.name = 'worse') EXECUTE FUNCTION refuses();
             CREATE ROLE manager LOGIN; SELECT vpk_grant_admin('manager')",
        )
        .expect("an operator's own rules");
    let key = create(&mut owner, "a key");
    for level in ["error", "fatal"] {
        owner
            .batch_execute(&format!("ALTER ROLE manager SET log_min_messages = {level}"))
            .expect("a setting");
        let mut manager = logged.cluster.connect("postgres", "manager");
        for output in ["hex", "escape"] {
            manager.batch_execute(&format!("SET bytea_output = {output}")).expect("a setting");
            logged.lines();
            for (sql, says) in [
                ("SELECT * FROM vpk_create('bad')", "Failing row"),
                (
                    "SELECT * FROM generate_series(1, 5) AS g,
                         vpk_create(CASE g WHEN 4 THEN 'bad' ELSE 'good' END)",
                    "Failing row",
                ),
                ("SELECT vpk_revoke('ID', 'bad')", "Failing row"),
                ("SELECT vpk_revoke_token('TOKEN', 'bad')", "Failing row"),
                ("SELECT * FROM vpk_update('ID', name => 'worse')", "refused: "),
            ] {
                let sql = sql.replace("ID", &key.id).replace("TOKEN", &key.token);
                let error = manager.batch_execute(&sql).expect_err("the rule");
                let error = report(&error);
                assert!(error.contains(says), "{sql}: {error}");
                assert!(!shows_value(&error), "{sql}, {output}, {level}: {error}");
            }
            for lines in logged.lines() {
                assert!(!shows_value(&lines), "{output}, {level}: {lines}");
                assert_eq!(lines.contains("Failing row"), level == "error", "{lines}");
            }
        }
    }
    // The owner reads the table anyway: an error of a statement of its own is the server's.
    let mut owner = logged.cluster.client();
    let error = owner.batch_execute("UPDATE vpk.keys SET revoke_reason = 'bad'").expect_err("it");
    assert!(shows_value(&report(&error)), "{}", report(&error));
}

/// G5: what other libraries write of the extension's own statements.
#[test]
fn nested_statements_are_logged_without_hashes() {
    let libraries = libraries(&["vibepeak_keys", "auto_explain", "pgaudit"]);
    let mut logged = Logged::start(&[
        ("shared_preload_libraries", &libraries.join(",")),
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_nested_statements", "on"),
        ("auto_explain.log_verbose", "on"),
        ("pgaudit.log", "all"),
        ("pgaudit.log_parameter", "on"),
    ]);
    let mut client = logged.cluster.client();
    let with_parameters =
        major(&mut client) >= 16 || libraries.iter().any(|name| name == "pgaudit");
    for format in ["text", "json"] {
        client.batch_execute(&format!("SET auto_explain.log_format = {format}")).expect("one");
        let key = create(&mut client, "a key");
        let other = create(&mut client, "another key");
        for sql in [
            "SELECT FROM vpk_rotate('ID', '1 day')",
            "SELECT vpk_revoke_token('TOKEN')",
            "SELECT count(t.*) FROM generate_series(1, 3) AS g, vpk_create('many ' || g) AS t",
        ] {
            let sql = sql.replace("ID", &key.id).replace("TOKEN", &other.token);
            client.batch_execute(&sql).expect("a call");
        }
        for lines in logged.lines() {
            assert_eq!(lines.contains("x******"), with_parameters, "{lines}");
            for hash in hashes(&mut client) {
                assert!(!lines.contains(&hash[..16]), "{lines}");
            }
        }
    }
    let sql = "SELECT count(*)::text FROM vpk.keys";
    assert_eq!(value(&mut client, sql, &[]), "12");
}
