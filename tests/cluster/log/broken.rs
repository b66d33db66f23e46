//! G5: a key that was broken or cut is not readable in the log, and a hint still is.

use crate::support::keys::create;
use crate::support::redaction::{Logged, exposed, redacted};
use crate::support::value;

/// What may break a key, and the encodings that have it.
const BREAKS: [(&str, &[&str]); 5] = [
    (" ", &["UTF8", "LATIN1"]),
    ("\r\n ", &["UTF8", "LATIN1"]),
    ("\u{a0}", &["UTF8", "LATIN1"]),
    ("\u{ad}", &["UTF8", "LATIN1"]),
    ("\u{200b}", &["UTF8"]),
];

/// G5: wherever behind `vpk_` the break is, in statements, parameters and messages.
#[test]
fn no_part_of_a_broken_key_is_logged() {
    let mut logged = Logged::start(&[]);
    for encoding in ["UTF8", "LATIN1"] {
        logged.cluster.database(&encoding.to_lowercase(), encoding);
        let mut client = logged.cluster.connect(&encoding.to_lowercase(), "postgres");
        let token = create(&mut client, "broken").token;
        let settings = "SET log_statement = 'all'; SET log_parameter_max_length = -1;
            SET log_parameter_max_length_on_error = -1";
        client.batch_execute(settings).expect("settings");
        logged.lines();
        for (between, _) in BREAKS.iter().filter(|(_, encodings)| encodings.contains(&encoding)) {
            for at in [6, 9, 11, 15, 20, 35] {
                let broken = [&token[..at], between, &token[at..]].concat();
                client.simple_query(&format!("SELECT vpk_verify('{broken}')")).expect("an answer");
                client.simple_query(&format!("SELECT '{broken}'::uuid")).expect_err("no uuid");
                client.query("SELECT vpk_verify($1)::text", &[&broken]).expect("an answer");
                client.query("SELECT 1/(length($1) - length($1))", &[&broken]).expect_err("zero");
                let shown = &token[at.max(13)..];
                for lines in logged.lines() {
                    assert!(lines.contains(&token[at.max(9)..at.max(13)]), "{lines}");
                    assert!(!lines.contains(shown), "{encoding} {between:?} {at}: {lines}");
                    assert_eq!(exposed(&lines, &token), None, "{encoding} {between:?} {at}");
                }
            }
        }
    }
}

/// G5: of a parameter that the server has cut, four characters after the label stay readable.
#[test]
fn a_cut_key_shows_no_more_than_its_hint() {
    let mut logged = Logged::start(&[]);
    let mut client = logged.cluster.client();
    let token = create(&mut client, "cut").token;
    client.batch_execute("SET log_statement = 'all'").expect("a setting");
    for length in [13, 14, 16, 20] {
        let settings = format!(
            "SET log_parameter_max_length = {length};
             SET log_parameter_max_length_on_error = {length}"
        );
        client.batch_execute(&settings).expect("settings");
        logged.lines();
        client.query("SELECT vpk_verify($1)::text", &[&token]).expect("an answer");
        client.query("SELECT 1/(length($1) - 41)", &[&token]).expect_err("zero");
        let expected = format!("$1 = '{}...'", &redacted(&token)[..length]);
        for lines in logged.lines() {
            assert_eq!(lines.matches(&expected).count(), 2, "{expected}: {lines}");
        }
    }
}

/// Each message of the extension with a hint in it: those of the doctor.
#[test]
fn a_hint_in_a_message_stays_readable() {
    let mut logged = Logged::start(&[]);
    let mut client = logged.cluster.client();
    for name in ["first", "second", "third"] {
        let sql = "SELECT token FROM vpk_create($1, expires_at => now() + interval '1 day')";
        value(&mut client, sql, &[&name]);
    }
    client
        .batch_execute("UPDATE vpk.keys SET created_at = now() - interval '1 year'")
        .expect("old keys");
    for item in ["expiring_keys", "unused_keys"] {
        let detail =
            value(&mut client, "SELECT detail FROM vpk_doctor() WHERE item = $1", &[&item]);
        assert_eq!(detail.matches("(vpk_live_").count(), 3, "{detail}");
        logged.lines();
        client
            .batch_execute(&format!("DO $do$ BEGIN RAISE LOG '%', $text${detail}$text$; END $do$"))
            .expect("a line in the log");
        let [plain, ..] = logged.lines();
        assert!(plain.contains(&detail), "{detail}: {plain}");
    }
}
