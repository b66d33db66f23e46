//! G1, G2: one random step after another over several sessions: isolation levels, savepoints,
//! two-phase commits, changes by the functions and by hand, DDL, vacuums, sizes of the cache. After
//! each step some sessions are asked for some keys, and each answer is compared with the oracle's.

mod session;
mod steps;

use std::collections::VecDeque;

use crate::attack::Attack;
use crate::oracle;
use crate::support::known::{assert_healthy, run as execute};
use crate::support::random::Random;
use crate::support::{Client, Cluster, report};
use postgres::SimpleQueryMessage;
use session::Session;

/// How many steps a database lives for. After too many, most keys are in a state that nothing leads
/// back from.
const STEPS: usize = 300;

const SESSIONS: usize = 4;

/// The keys, and copies of the tables from which rows come back.
const CONTENTS: &str = "
    SELECT vpk_set_plan('acc' || i, (ARRAY['Free', 'Plus', 'Pro'])[1 + i % 3])
      FROM generate_series(1, 6) AS i;
    CREATE SCHEMA aside;
    CREATE TABLE aside.presented AS SELECT i AS number, k.id, k.token
      FROM generate_series(1, 24) AS i, vpk_create('k' || i, 'acc' || (1 + i % 6),
               CASE i % 4 WHEN 0 THEN 'test' ELSE 'live' END,
               scopes => CASE i % 3 WHEN 0 THEN '{}' WHEN 1 THEN '{read}' ELSE '{read,write}' END::text[],
               allowed_ips => CASE i % 5 WHEN 0 THEN '{10.0.0.0/8,2001:db8::/32}' END::cidr[],
               metadata => CASE i % 7 WHEN 0 THEN jsonb_build_object('x',
                   (SELECT string_agg(md5(j::text), '') FROM generate_series(1, 200) AS j))
               ELSE '{}' END) AS k;
    CREATE TABLE aside.keys AS TABLE vpk.keys;
    CREATE TABLE aside.accounts AS TABLE vpk.accounts";

/// What is presented beside the keys, and was never issued.
const NEVER_ISSUED: [Option<&str>; 5] = [
    None,
    Some(""),
    Some("   "),
    Some("vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ4Vi3OY"),
    Some("vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ123456"),
];

/// The ways to ask: what the call says, and what the oracle says. $1 is the token, $2 the address,
/// $3 the scope, $4 the environment, and $5 the environments that the session accepts.
const WAYS: [(&str, &str); 4] = [
    ("vpk_verify($1)::text", "oracle.status($1, NULL, NULL, NULL, $5)"),
    (
        "vpk_verify_hash(sha256(convert_to($1, 'UTF8')), $2::inet)::text",
        // A hash does not say that the token was blank.
        "CASE WHEN btrim($1) = '' THEN 'INVALID_API_KEY'
         ELSE oracle.status($1, $2::inet, NULL, NULL, $5) END",
    ),
    (
        "(SELECT RESPONSE FROM vpk_authenticate('Bearer ' || $1, $3, $2::inet,
                               environment => $4) AS r)",
        "oracle.response($1, $2::inet, $3, $4, $5)",
    ),
    // Many keys in one statement, several times each.
    (
        "(SELECT string_agg(vpk_verify(p.token)::text, ',' ORDER BY t.n, p.number)
            FROM aside.presented AS p, generate_series(1, 2) AS t (n))",
        "(SELECT string_agg(oracle.status(p.token, NULL, NULL, NULL, $5), ','
                            ORDER BY t.n, p.number)
            FROM aside.presented AS p, generate_series(1, 2) AS t (n))",
    ),
];

/// A key that is presented.
struct Presented {
    id: String,
    token: String,
}

pub fn run(attack: &Attack) {
    let cluster = Cluster::start(&[("max_prepared_transactions", "10")]);
    let mut round = 0;
    while attack.goes_on() {
        let database = format!("walk{round}");
        cluster.database(&database, "UTF8");
        Walk::start(attack, &cluster, &database, round).walk();
        execute(&mut cluster.client(), &format!("DROP DATABASE {database} WITH (FORCE)"));
        round += 1;
    }
    assert_healthy(&cluster);
}

/// One database and its sessions.
struct Walk<'attack> {
    attack: &'attack Attack,
    random: Random,
    round: u64,
    sessions: Vec<Session>,
    /// Sees what is committed, at any time.
    observer: Client,
    keys: Vec<Presented>,
    /// The transactions that are prepared.
    prepared: Vec<String>,
    /// The last steps, for the report of a fault.
    steps: VecDeque<String>,
}

impl<'attack> Walk<'attack> {
    fn start(attack: &'attack Attack, cluster: &Cluster, database: &str, round: u64) -> Self {
        let connect = || cluster.connect(database, "postgres");
        let mut observer = connect();
        oracle::create(&mut observer);
        execute(&mut observer, CONTENTS);
        let sql = "SELECT id::text, token FROM aside.presented ORDER BY number";
        let keys = observer.query(sql, &[]).expect("the keys");
        let keys = keys.iter().map(|row| Presented { id: row.get(0), token: row.get(1) }).collect();
        execute(&mut observer, "SET lock_timeout = '20ms'");
        let sessions = (0..SESSIONS).map(|number| Session::new(connect(), number)).collect();
        Walk {
            attack,
            random: attack.random(round, 0),
            round,
            sessions,
            observer,
            keys,
            prepared: Vec::new(),
            steps: VecDeque::new(),
        }
    }

    fn walk(&mut self) {
        for _ in 0..STEPS {
            if !self.attack.goes_on() {
                break;
            }
            let step = self.step();
            self.attack.step();
            self.steps.push_back(step);
            if self.steps.len() > 30 {
                self.steps.pop_front();
            }
            for _ in 0..2 {
                let session = self.random.below(SESSIONS);
                for _ in 0..3 {
                    self.ask(session);
                }
            }
            if self.random.below(12) == 0 {
                self.cross_an_expiry();
            }
        }
        self.end();
    }

    /// Asks a session for a key, once or more, and compares.
    fn ask(&mut self, number: usize) {
        let random = &mut self.random;
        let token = match random.below(12) {
            0 => *random.pick(&NEVER_ISSUED),
            _ => Some(self.keys[random.below(self.keys.len())].token.as_str()),
        };
        let address = *random.pick(&ADDRESSES);
        let scope = *random.pick(&[None, None, Some("read"), Some("write")]);
        let environment =
            *random.pick(&[None, None, None, Some("live"), Some("test"), Some("dev")]);
        let (call, expected) = random.pick(&WAYS);
        let times = random.below(3) + 1;

        let session = &mut self.sessions[number];
        let accepted = session.accepted.clone();
        let values = [token, address, scope, environment, Some(&accepted)];
        let call = with_values(&call.replace("RESPONSE", oracle::RESPONSE), &values);
        let expected = with_values(expected, &values);
        let state = session.state();
        let mut outcomes = Vec::new();
        for _ in 0..times {
            // In a transaction with an older snapshot, a query does not see what the call has to.
            let itself = session.sees_the_latest();
            if session.failed || (!itself && session.wrote) {
                break;
            }
            let asked = if itself {
                answers(&mut session.client, &format!("SELECT {call}, {expected}"))
            } else {
                answers(&mut session.client, &format!("SELECT {call}, NULL"))
            };
            let [found, wanted] = match asked {
                Ok(answers) => answers,
                Err(error) => {
                    session.failed = session.isolation.is_some();
                    outcomes.extend(unexpected(&error, session).map(Err));
                    break;
                }
            };
            let wanted = if itself {
                wanted
            } else {
                // Another session may have a table locked.
                let observed = answers(&mut self.observer, &format!("SELECT {expected}, NULL"));
                let Ok([wanted, _]) = observed else { break };
                wanted
            };
            outcomes.push(Ok((found, wanted)));
        }
        for outcome in outcomes {
            let told =
                |what: String| self.told(&format!("session {number}, {state}"), &call, &what);
            match outcome {
                Ok((found, wanted)) => {
                    let several = call.contains("string_agg");
                    let answers = if several { found.split(',').count() as u64 } else { 1 };
                    let what = format!("{found}\n  instead of {wanted}");
                    self.attack.check_many(answers, found == wanted, || told(what));
                }
                Err(error) => self.attack.fault(told(error)),
            }
        }
    }

    /// A key expires while it is presented all the time: it is valid up to this instant, and not
    /// from it on, to the microsecond.
    fn cross_an_expiry(&mut self) {
        let key = &self.keys[self.random.below(self.keys.len())];
        let size = *self.random.pick(&["0", "2MB"]);
        let mut idle = self.sessions.iter_mut().filter(|session| session.isolation.is_none());
        let Some(session) = idle.find(|session| session.accepted == "live,test") else { return };
        let client = &mut session.client;
        let mut cross = || -> Result<[i64; 2], postgres::Error> {
            let at: i64 = client.query_one(EXPIRES_SOON, &[&key.id])?.get(0);
            let row = client.query_one(CROSSING, &[&key.token, &at])?;
            Ok([0, 1].map(|column| row.get(column)))
        };
        // Where another session has the row or the table locked, or the key has gone, there is
        // nothing to see.
        let crossed: Vec<_> = (0..10).map_while(|_| cross().ok()).collect();
        let _ = client.batch_execute(&format!("SET vibepeak_keys.backend_cache = '{size}'"));
        for [late, early] in crossed {
            let found = format!("{late} accepted at or after its expiry, {early} refused before");
            self.attack
                .check(late == 0 && early == 0, || self.told("some session", "an expiry", &found));
        }
    }

    /// What is wrong, and what led there.
    fn told(&self, who: &str, call: &str, what: &str) -> String {
        let steps: Vec<&str> = self.steps.iter().map(String::as_str).collect();
        let (seed, steps) = (self.attack.seed(self.round), steps.join("\n  "));
        format!("VIBEPEAK_SEED={seed}, {who}, {call}: {what}\nafter\n  {steps}")
    }
}

const ADDRESSES: [Option<&str>; 5] =
    [None, Some("10.1.2.3"), Some("::ffff:10.1.2.3"), Some("192.0.2.1"), Some("2001:db8::1")];

/// Lets a key expire soon, and says when, in microseconds. No reason to refuse it comes before its
/// expiry.
const EXPIRES_SOON: &str = "UPDATE vpk.keys AS k SET expires_at = clock_timestamp() + '2 ms',
        revoked_at = NULL, disabled_at = NULL, allowed_ips = NULL
   FROM aside.presented AS p
  WHERE k.id = $1::text::uuid AND p.id = k.id AND k.key_hash = sha256(convert_to(p.token, 'UTF8'))
 RETURNING (extract(epoch FROM k.expires_at) * 1000000)::bigint";

/// How many answers were no refusal for the expiry and had to be, and how many were one too early.
const CROSSING: &str = "
    SELECT count(*) FILTER (WHERE (extract(epoch FROM before) * 1000000)::bigint >= $2 AND status <> 'API_KEY_EXPIRED'),
           count(*) FILTER (WHERE (extract(epoch FROM after) * 1000000)::bigint < $2 AND status = 'API_KEY_EXPIRED')
      FROM (SELECT clock_timestamp() AS before, vpk_verify($1) AS status, clock_timestamp() AS after
              FROM generate_series(1, 4000) OFFSET 0) AS v";

/// A part of a statement with values, none of which has a quote.
fn with_values(sql: &str, values: &[Option<&str>; 5]) -> String {
    let mut sql = sql.to_owned();
    for (at, value) in values.iter().enumerate() {
        let value = value.map_or("NULL::text".to_owned(), |value| format!("'{value}'::text"));
        sql = sql.replace(&format!("${}", at + 1), &value);
    }
    sql
}

/// The two columns of a query's only row, in one message and its answer.
fn answers(client: &mut Client, sql: &str) -> Result<[String; 2], postgres::Error> {
    let messages = client.simple_query(sql)?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.expect("one row");
    Ok([0, 1].map(|column| row.get(column).unwrap_or_default().to_owned()))
}

/// What is wrong with an error where an answer was wanted; None for what a client has to expect.
fn unexpected(error: &postgres::Error, session: &Session) -> Option<String> {
    match oracle::error(error) {
        // Another session has a table locked. Queries of the oracle wait for it as well.
        Ok(code) if ["55P03", "57014"].contains(&code.as_str()) => None,
        // The server ends a transaction at any statement when others contradict what it has read.
        Ok(code) if code == "40001" && session.is_serializable() => None,
        Ok(_) => Some(report(error)),
        Err(error) => Some(error),
    }
}
