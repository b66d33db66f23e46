//! Redaction changes what is shown, and never what a statement means: whatever is made of a text
//! with a key has the whole key in it afterwards.

mod uses;

use crate::attack::Attack;
use crate::support::keys::checksum;
use crate::support::known::assert_healthy;
use crate::support::random::Random;
use crate::support::{Client, Cluster, report};
use uses::{Step, USES, Use};

pub fn run(attack: &Attack) {
    // Everything is shown, and so redacted wherever it can be.
    let settings = [
        ("log_statement", "all"),
        ("log_min_duration_statement", "0"),
        ("log_min_messages", "info"),
        ("log_min_error_statement", "info"),
        ("max_prepared_transactions", "2"),
    ];
    let cluster = Cluster::start(&settings);
    let mut round = 0;
    while attack.goes_on() {
        let mut random = attack.random(round, 0);
        let mut client = cluster.client();
        for number in 0..USES.len() {
            // The first use of a statement differs from later ones, so a session has many.
            if random.below(20) == 0 {
                client = cluster.client();
            }
            let at = if round == 0 { number } else { random.below(USES.len()) };
            try_use(attack, &mut client, &mut random, &USES[at]);
            if !attack.goes_on() {
                break;
            }
        }
        round += 1;
    }
    assert_healthy(&cluster);
}

fn try_use(attack: &Attack, client: &mut Client, random: &mut Random, usage: &Use) {
    let key = new_key(random);
    let extended = random.below(2) == 0;
    let told = |sql: &str, found: &str| format!("{}: {sql} gives {found}", usage.name);
    let schema =
        "DROP SCHEMA IF EXISTS meant CASCADE; CREATE SCHEMA meant; SET search_path = meant, public";
    client.batch_execute(schema).unwrap_or_else(|error| panic!("a schema: {}", report(&error)));
    for step in usage.steps {
        attack.step();
        match step {
            Step::Do(sql) => {
                let sql = sql.replace("KEY", &key);
                let done = match extended {
                    true => client.execute(&sql, &[]).map(drop),
                    false => client.batch_execute(&sql),
                };
                if let Err(error) = done {
                    attack.fault(told(&sql, &report(&error)));
                    return;
                }
            }
            Step::Together(sql) => {
                // Several statements, or one that has to fail: in the simple protocol.
                let _ = client.batch_execute(&sql.replace("KEY", &key));
            }
            Step::Gives(sql, expected) => {
                let sql = sql.replace("KEY", &key);
                let expected = expected.replace("folded", &key.to_ascii_lowercase());
                let expected = expected.replace("KEY", &key);
                let found = match client.query_one(&sql, &[]) {
                    Ok(row) => row.get::<_, Option<String>>(0).unwrap_or_default(),
                    Err(error) => report(&error),
                };
                attack.check(found.contains(&expected), || told(&sql, &found));
            }
            Step::Prepared(sql, between) => {
                let sql = sql.replace("KEY", &key);
                let prepared = client.prepare(&sql).expect("a statement");
                // Custom plans first, a generic one later, and new ones after each disturbance.
                for number in 0..9 {
                    let row = client.query_one(&prepared, &[&"y"]);
                    let found =
                        row.map_or_else(|error| report(&error), |row| row.get::<_, String>(0));
                    attack.check(found == format!("{key}y"), || told(&sql, &found));
                    if number % 3 == 2 {
                        client.batch_execute(between).expect("a disturbance");
                    }
                }
            }
        }
    }
    let _ = client.batch_execute("ROLLBACK; DEALLOCATE ALL; CLOSE ALL");
}

/// Something that begins like a key: some with a right checksum, some without.
fn new_key(random: &mut Random) -> String {
    const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut body = random.pick(&["vpk_live_", "vpk_test_"]).to_string();
    body.extend((0..26).map(|at| {
        let letter = char::from(*random.pick(ALPHABET));
        if at % 2 == 0 { letter.to_ascii_uppercase() } else { letter }
    }));
    let end = if random.below(4) == 0 { *b"123456" } else { checksum(body.as_bytes()) };
    body + std::str::from_utf8(&end).expect("digits")
}
