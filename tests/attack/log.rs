//! G5: the ways in which a key can come near the log, in three formats. Each way has a key of its
//! own, and afterwards the log is searched for it: for more than the four characters that a hint
//! shows, and for a part of the rest.

mod ways;

use crate::attack::Attack;
use crate::support::keys::checksum;
use crate::support::known::assert_healthy;
use crate::support::random::Random;
use crate::support::redaction::{Logged, libraries};
use crate::support::{Client, Cluster, pid};
use postgres::types::Type;
use ways::{WAYS, Way};

/// What decides on what is logged, one set in each round.
const SETTINGS: &[&[(&str, &str)]] = &[
    &[
        ("log_statement", "all"),
        ("log_error_verbosity", "verbose"),
        ("log_line_prefix", "%m %q%u@%d "),
    ],
    &[
        ("log_min_duration_statement", "0"),
        ("log_min_messages", "debug1"),
        ("log_parameter_max_length_on_error", "-1"),
        ("log_line_prefix", "%m [%p] %q%u@%d %i "),
    ],
    &[
        ("log_min_error_statement", "info"),
        ("log_min_messages", "info"),
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_analyze", "on"),
        ("auto_explain.log_verbose", "on"),
        ("auto_explain.log_nested_statements", "on"),
        ("compute_query_id", "on"),
    ],
    &[
        ("log_min_duration_sample", "0"),
        ("log_statement_sample_rate", "1"),
        ("log_statement", "mod"),
        ("log_parameter_max_length", "16"),
        ("log_parameter_max_length_on_error", "16"),
        ("log_replication_commands", "on"),
        ("log_connections", "on"),
    ],
    &[
        ("log_statement", "all"),
        ("pgaudit.log", "all"),
        ("pgaudit.log_parameter", "on"),
        ("log_lock_waits", "on"),
        ("log_temp_files", "0"),
        ("log_duration", "on"),
    ],
];

/// How many broken keys a round tries.
const BROKEN: usize = 20;

/// What may stand in a key that was pasted badly.
const BREAKS: &[&str] = &[" ", "\n", "\r\n", "\t", "\u{ad}", "\u{200b}", "\u{a0}", "\n  "];

pub fn run(attack: &Attack) {
    let mut round = 0;
    while attack.goes_on() {
        let mut random = attack.random(round, 0);
        let settings = SETTINGS[round as usize % SETTINGS.len()];
        round += 1;
        let mut search = Search::start(attack, settings);
        let mut order: Vec<&Way> = WAYS.iter().collect();
        for last in (1..order.len()).rev() {
            order.swap(last, random.below(last + 1));
        }
        for way in order {
            if !attack.goes_on() {
                break;
            }
            search.try_way(&mut random, way);
        }
        for _ in 0..BROKEN {
            search.try_broken(&mut random);
        }
        search.try_names(&mut random);
        search.try_out_of_memory(&mut random);
        assert_healthy(&search.logged.cluster);
    }
}

/// A server whose log is searched.
struct Search<'attack> {
    attack: &'attack Attack,
    logged: Logged,
    settings: String,
}

impl Search<'_> {
    fn start<'attack>(attack: &'attack Attack, settings: &[(&str, &str)]) -> Search<'attack> {
        let modules = libraries(&["auto_explain", "pg_stat_statements", "pgaudit"]);
        let preloaded = ["vibepeak_keys".to_owned()].into_iter().chain(modules.iter().cloned());
        let preloaded = preloaded.collect::<Vec<_>>().join(",");
        let own = [
            ("shared_preload_libraries", preloaded.as_str()),
            ("wal_level", "logical"),
            ("max_prepared_transactions", "5"),
            // Ends a statement that waits for its own session.
            ("statement_timeout", "120s"),
        ];
        let known = |name: &str| {
            name.split_once('.')
                .is_none_or(|(module, _)| modules.iter().any(|known| known == module))
        };
        let settings: Vec<_> = settings.iter().filter(|(name, _)| known(name)).copied().collect();
        let logged = Logged::start(&[&own[..], &settings].concat());
        for module in ["dblink", "postgres_fdw"] {
            // Not every server has them; the ways that need one fail early then.
            let _ = logged.cluster.client().batch_execute(&format!("CREATE EXTENSION {module}"));
        }
        Search { attack, logged, settings: format!("{settings:?}") }
    }

    fn try_way(&mut self, random: &mut Random, way: &Way) {
        let token = new_token(random);
        let cluster = &self.logged.cluster;
        let socket = cluster.socket();
        let of = |text: &str| text.replace("KEY", &token).replace("SOCKET", &socket);
        let sql = of(way.sql);
        // What the call answers does not matter here.
        if let Some(kind) = way.replication {
            let connection =
                format!("host={socket} user=postgres dbname=postgres replication={kind}");
            let mut psql = cluster.program("psql");
            let psql = psql.args(["-X", "-c", &sql, &connection]);
            psql.output().expect("psql runs");
        } else if let Some(data) = way.copied {
            let mut client = cluster.client();
            client.batch_execute("CREATE TEMP TABLE copied (a text, b int)").expect("a table");
            if let Ok(mut writer) = client.copy_in(&sql) {
                let _ = std::io::Write::write_all(&mut writer, of(data).as_bytes());
                let _ = writer.finish();
            }
        } else if way.parameters.is_empty() {
            let mut client = cluster.client();
            for message in sql.split(";;") {
                let _ = client.batch_execute(message);
            }
        } else {
            let values: Vec<String> = way.parameters.iter().map(|value| of(value)).collect();
            let parameters =
                values.iter().map(|value| value as &(dyn postgres::types::ToSql + Sync));
            let parameters: Vec<_> = parameters.collect();
            let mut client = cluster.client();
            let types = vec![Type::TEXT; parameters.len()];
            let prepared = client.prepare_typed(&sql, &types);
            let _ = prepared.and_then(|prepared| client.query(&prepared, &parameters));
        }
        self.search(&token, way.sql, way.fragment);
    }

    /// A key with something in it that breaks it.
    fn try_broken(&mut self, random: &mut Random) {
        let token = new_token(random);
        let at = 9 + random.below(32);
        let broken = format!("{}{}{}", &token[..at], random.pick(BREAKS), &token[at..]);
        let ways = [
            "SELECT 'KEY'::int",
            "SELECT 'pasted: KEY'::uuid",
            "DO $$ BEGIN RAISE LOG 'KEY'; END $$",
            "DO $$ BEGIN RAISE EXCEPTION 'refused' USING DETAIL = 'KEY'; END $$",
            "SELECT vpk_create('KEY')",
            "SELECT vpk_revoke_token('KEY')",
        ];
        let sql = *random.pick(&ways);
        let _ = self.logged.cluster.client().batch_execute(&sql.replace("KEY", &broken));
        self.search(&token, &format!("{sql}, broken at {at}"), false);
    }

    /// A key as the name of a user or a database.
    fn try_names(&mut self, random: &mut Random) {
        let (user, database) = (new_token(random), new_token(random));
        let _ = self.logged.cluster.try_connect("postgres", &user);
        self.search(&user, "the name of a user", false);
        let _ = self.logged.cluster.try_connect(&database, "postgres");
        self.search(&database, "the name of a database", false);
    }

    /// A session that runs out of memory writes to standard error what it has in its memory.
    fn try_out_of_memory(&mut self, random: &mut Random) {
        let token = new_token(random);
        let cluster = &self.logged.cluster;
        let mut client = cluster.client();
        let prepared = client.prepare(&format!("SELECT '{token}'::text")).expect("a statement");
        fail_for_memory(cluster, &mut client);
        drop(prepared);
        self.search(&token, "a prepared statement when memory is short", false);
    }

    /// Looks for a key in all that was logged since the last time.
    fn search(&mut self, token: &str, way: &str, fragment: bool) {
        self.attack.step();
        let texts = self.logged.lines();
        let formats = ["stderr", "csvlog", "jsonlog"].into_iter().zip(&texts);
        let shown = formats.filter_map(|(format, text)| {
            Some((format, text.lines().find(|line| shows(line, token, fragment))?))
        });
        let shown: Vec<(&str, &str)> = shown.collect();
        self.attack.check_many(texts.len() as u64, shown.is_empty(), || {
            format!("{way}, {}: {token} is shown: {shown:?}", self.settings)
        });
    }
}

fn fail_for_memory(cluster: &Cluster, client: &mut Client) {
    let pid = pid(client);
    cluster.limit(pid, Some(50_000));
    let failed = client.batch_execute("SELECT length(repeat('x', 500000000))");
    assert!(failed.is_err(), "there was memory enough");
    cluster.limit(pid, None);
}

/// Whether a line shows more of a key than its hint: its beginning with a fifth character, or five
/// characters in a row of what follows the hint; eight of them in any case, since names are folded.
/// Where the beginning may be missing, as the documentation says, the former alone counts.
fn shows(line: &str, token: &str, fragment: bool) -> bool {
    let lower = line.to_ascii_lowercase();
    if lower.contains(&token[..14].to_ascii_lowercase()) {
        return true;
    }
    let secret = &token[13..];
    let folded = secret.to_ascii_lowercase();
    let parts = |text: &str, length: usize| -> Vec<String> {
        (0..=text.len() - length).map(|at| text[at..at + length].to_owned()).collect()
    };
    !fragment
        && (parts(secret, 5).iter().any(|part| line.contains(part))
            || parts(&folded, 8).iter().any(|part| lower.contains(part)))
}

/// A key that is well-formed, and was not issued. None of its characters is one that may stand for
/// a character of a redacted key.
fn new_token(random: &mut Random) -> String {
    const ALPHABET: &[u8; 60] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWYZabcdefghijklmnopqrstuvwyz";
    let mut body = random.pick(&["vpk_live_", "vpk_test_"]).to_string();
    body.extend((0..26).map(|_| char::from(*random.pick(ALPHABET))));
    let end = checksum(body.as_bytes());
    body + std::str::from_utf8(&end).expect("digits")
}
