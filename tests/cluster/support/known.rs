//! Keys with what each has to answer, asked in sessions that have verified them before.

use std::fmt::Write;

use super::keys::{Key, checksum, create_for, revoke, set_plan};
use super::{Client, Cluster, GenericClient, report, value};

pub const VALID: &str = "VALID";
pub const INVALID: &str = "INVALID_API_KEY";
pub const REVOKED: &str = "API_KEY_REVOKED";
pub const DISABLED: &str = "API_KEY_DISABLED";
pub const PLAN: &str = "PLAN_REQUIRED";

/// A key, and what it has to answer.
#[derive(Clone)]
pub struct Known {
    pub key: Key,
    pub name: String,
    pub account: String,
    pub answer: &'static str,
}

/// Many of them.
#[derive(Clone, Default)]
pub struct Answers(pub Vec<Known>);

/// The ways to ask for the key $1, one of which is $2.
const ASK: &str = "SELECT CASE $2::int % 3
    WHEN 0 THEN vpk_verify($1::text)::text
    WHEN 1 THEN vpk_verify_hash(sha256($1::text::bytea))::text
    ELSE (SELECT status::text FROM vpk_authenticate('Bearer ' || $1::text)) END";

/// All of them for many keys in one statement, with the other columns of each.
const ASK_ALL: &str = "SELECT vpk_verify(token)::text, vpk_verify_hash(sha256(token::bytea))::text,
           a.status::text, a.key_id::text, a.account, a.key_name
      FROM unnest($1::text[]) WITH ORDINALITY AS presented (token, at),
           LATERAL vpk_authenticate('Bearer ' || token) AS a
     ORDER BY at";

impl Answers {
    /// So many keys for each kind of answer, mixed as they come: of the accounts `acme`, which has
    /// a plan with access, and `poor`, which has none; deleted ones, and ones that nobody was
    /// given.
    pub fn of_every_kind(client: &mut Client, number: usize) -> Answers {
        let mut answers = Answers::default();
        set_plan(client, "acme", "Pro");
        set_plan(client, "poor", "Free");
        for _ in 0..number {
            answers.add(client, "acme");
            answers.add(client, "poor");
            for (answer, sql) in [
                (REVOKED, "SELECT vpk_revoke($1::text::uuid)::text"),
                (DISABLED, "SELECT vpk_disable($1::text::uuid)::text"),
                (INVALID, "DELETE FROM vpk.keys WHERE id = $1::text::uuid RETURNING id::text"),
            ] {
                let at = answers.add(client, "acme");
                value(client, sql, &[&answers.0[at].key.id]);
                answers.0[at].answer = answer;
            }
            answers.add_unknown();
        }
        answers
    }

    /// One more key of an account, and where it is.
    pub fn add(&mut self, client: &mut impl GenericClient, account: &str) -> usize {
        let name = format!("key {}", self.0.len());
        let key = create_for(client, &name, account);
        let answer = if account == "poor" { PLAN } else { VALID };
        self.0.push(Known { key, name, account: account.to_owned(), answer });
        self.0.len() - 1
    }

    /// One that is well-formed and was never issued.
    fn add_unknown(&mut self) {
        let body = format!("vpk_live_nobodyHasThisKey{:010}", self.0.len());
        let token = format!("{body}{}", String::from_utf8_lossy(&checksum(body.as_bytes())));
        let key = Key { id: String::new(), token };
        let name = format!("unknown {}", self.0.len());
        self.0.push(Known { key, name, account: String::new(), answer: INVALID });
    }

    /// The same keys under other circumstances.
    pub fn when(&self, answer: impl Fn(&Known) -> &'static str) -> Answers {
        let mut answers = self.clone();
        for known in &mut answers.0 {
            known.answer = answer(known);
        }
        answers
    }

    /// The same keys, when all that exist have one answer.
    pub fn when_all(&self, answer: &'static str) -> Answers {
        self.when(|known| if known.answer == INVALID { INVALID } else { answer })
    }

    /// The number of the first key with this answer.
    pub fn first(&self, answer: &str) -> usize {
        self.0.iter().position(|known| known.answer == answer).expect("a key with this answer")
    }

    /// Changes a few keys: one is revoked, one disabled, one enabled, one made.
    pub fn change(&mut self, client: &mut impl GenericClient) {
        let (disabled, revoked) = (self.first(DISABLED), self.first(VALID));
        for (sql, at, answer) in [
            ("SELECT vpk_revoke($1::text::uuid)::text", revoked, REVOKED),
            ("SELECT vpk_enable($1::text::uuid)::text", disabled, VALID),
        ] {
            value(client, sql, &[&self.0[at].key.id]);
            self.0[at].answer = answer;
        }
        let at = self.first(VALID);
        value(client, "SELECT vpk_disable($1::text::uuid)::text", &[&self.0[at].key.id]);
        self.0[at].answer = DISABLED;
        self.add(client, "acme");
    }

    /// Revokes a key.
    pub fn revoke(&mut self, client: &mut impl GenericClient, at: usize) {
        revoke(client, &self.0[at].key);
        self.0[at].answer = REVOKED;
    }

    /// Asks for every key several times, in every way, so that a session knows them all.
    pub fn remember(&self, client: &mut impl GenericClient) {
        for _ in 0..3 {
            self.check(client, "before");
        }
    }

    /// Asks for every key, first in one way and a statement of its own, then in all ways in one
    /// statement.
    pub fn check(&self, client: &mut impl GenericClient, when: &str) {
        let mut wrong = String::new();
        let ask = client.prepare(ASK).unwrap_or_else(|error| panic!("{when}: {}", report(&error)));
        for (at, known) in self.0.iter().enumerate() {
            let row = client.query_one(&ask, &[&known.key.token, &(at as i32)]);
            let row =
                row.unwrap_or_else(|error| panic!("{when}, {}: {}", known.name, report(&error)));
            let found: &str = row.get(0);
            if found != known.answer {
                writeln!(wrong, "{} {found} instead of {}", known.name, known.answer)
                    .expect("text");
            }
        }
        let tokens: Vec<&str> = self.0.iter().map(|known| known.key.token.as_str()).collect();
        let rows = client.query(ASK_ALL, &[&tokens]);
        let rows = rows.unwrap_or_else(|error| panic!("{when}: {}", report(&error)));
        assert_eq!(rows.len(), self.0.len());
        for (row, known) in rows.iter().zip(&self.0) {
            let there = known.answer != INVALID;
            let told = (known.answer, known.answer, known.answer);
            let of = there.then_some((known.key.id.as_str(), known.account.as_str()));
            let name = (known.answer == VALID).then_some(known.name.as_str());
            let id: Option<&str> = row.get(3);
            let found = (row.get(0), row.get(1), row.get(2));
            let found_of = id.zip(row.get::<_, Option<&str>>(4));
            if (found, found_of, row.get(5)) != (told, of, name) {
                let found = (found, found_of, row.get::<_, Option<&str>>(5));
                writeln!(wrong, "{} {found:?} instead of {told:?}", known.name).expect("text");
            }
        }
        assert!(wrong.is_empty(), "{when}:\n{wrong}");
    }
}

/// Checks for failures that no client sees.
pub fn assert_healthy(cluster: &Cluster) {
    let log = cluster.log();
    for word in ["leak:", "PANIC", "TRAP", "terminated by signal", "not owned by", "still pinned"] {
        let line = log.lines().find(|line| line.contains(word));
        assert_eq!(line, None, "the log of the server");
    }
}

/// Runs statements that have to succeed.
pub fn run(client: &mut impl GenericClient, sql: &str) {
    client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {}", report(&error)));
}

/// The rows of a table, in an order, as COPY writes them.
pub fn copy_out(client: &mut Client, table: &str, order: &str) -> Vec<u8> {
    let sql = format!("COPY (SELECT * FROM {table} ORDER BY {order}) TO STDOUT");
    let mut rows = Vec::new();
    let mut reader = client.copy_out(&sql).expect("rows");
    std::io::Read::read_to_end(&mut reader, &mut rows).expect("rows");
    rows
}

/// Puts such rows into a table.
pub fn copy_in(client: &mut impl GenericClient, table: &str, rows: &[u8]) {
    let mut writer = client.copy_in(&format!("COPY {table} FROM STDIN")).expect("a table");
    std::io::Write::write_all(&mut writer, rows).expect("rows");
    writer.finish().expect("rows");
}
