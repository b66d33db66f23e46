//! G5: no key and no hash is readable in the trees of nodes that `debug_print_plan` and its like
//! write, where constants are lists of bytes and lines are broken anywhere.

use crate::support::keys::create;
use crate::support::redaction::Logged;
use crate::support::value;

/// The text without line breaks and blanks, also as the format of JSON escapes them.
fn joined(text: &str) -> String {
    text.replace("\\n", "").split_whitespace().collect()
}

/// The line with eight or more bytes in a row, as the server writes numbers.
fn spelled(text: &str, bytes: &[u8]) -> bool {
    bytes.windows(8).any(|part| {
        let numbers = part.iter().map(|byte| byte.cast_signed().to_string());
        text.contains(&numbers.collect::<String>())
    })
}

/// G5: any role may switch these settings on.
#[test]
fn trees_of_nodes_show_no_key() {
    let mut logged = Logged::start(&[]);
    let mut admin = logged.cluster.client();
    let token = create(&mut admin, "a tree").token;
    let secret = &token[13..];
    admin
        .batch_execute("CREATE ROLE someone LOGIN; SELECT vpk_grant_admin('someone')")
        .expect("a role");
    for pretty in ["on", "off"] {
        let mut client = logged.cluster.connect("postgres", "someone");
        let settings = format!(
            "SET debug_print_parse = on; SET debug_print_rewritten = on; SET debug_print_plan = on;
             SET debug_pretty_print = {pretty}"
        );
        client.batch_execute(&settings).expect("settings");
        logged.lines();
        assert_eq!(value(&mut client, "SELECT vpk_verify($1)::text", &[&token]), "VALID");
        for width in 0..20 {
            // At each width, the lines are broken elsewhere.
            let alias = "a".repeat(width);
            let sql = format!(
                "SELECT vpk_verify('{token}') AS {alias}x, '{token}'::name AS {alias}y,
                     array['{token}', $${token}$$] AS \"{alias}_{token}\", 1 AS \"{token}{alias}\"
                   FROM upper('{alias}') AS t(\"{token}\")"
            );
            client.simple_query(&sql).expect("an answer");
        }
        let created = create(&mut client, "another key").token;
        let sql = "SELECT key_hash FROM vpk.keys WHERE key_hash = sha256($1::text::bytea)";
        let hash: Vec<u8> = admin.query_one(sql, &[&created]).expect("its hash").get(0);
        for lines in logged.lines() {
            let text = joined(&lines);
            assert!(spelled(&text, b"vpk_live_"), "{pretty}: {lines}");
            assert!(text.contains("1181121079510810511810195**"), "{pretty}: {lines}");
            assert!(text.contains(&format!("{}***", &token[..13])), "{pretty}: {lines}");
            assert!(!spelled(&text, secret.as_bytes()), "{pretty}: {lines}");
            assert!(secret.as_bytes().windows(8).all(|part| {
                !text.contains(core::str::from_utf8(part).expect("letters and digits"))
            }));
            assert!(!spelled(&text, &hash), "{pretty}: {lines}");
        }
    }
}
