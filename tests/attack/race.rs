//! G1: verifiers against withdrawals, beside rewrites of the tables. An answer that begins after
//! the commit of a withdrawal has returned is a refusal, and one that ends before a withdrawal has
//! begun is none.

use std::sync::Mutex;
use std::thread;

use postgres::types::ToSql;

use crate::attack::Attack;
use crate::oracle;
use crate::support::keys::{create_for, set_plan};
use crate::support::known::{DISABLED, INVALID, PLAN, REVOKED, VALID, assert_healthy};
use crate::support::random::Random;
use crate::support::{Client, Cluster, report, value};

const EXPIRED: &str = "API_KEY_EXPIRED";
const LIMITED: &str = "IP_NOT_ALLOWED";

/// How far the withdrawal of a key is.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Valid,
    /// It has begun, and its commit has not returned.
    Going,
    /// Its commit has returned: what is answered from now on.
    Gone(&'static str),
}

/// A key that is withdrawn.
#[derive(Clone)]
struct Target {
    number: usize,
    token: String,
    phase: Phase,
}

/// The key that is withdrawn now, and some that were before.
type Targets = Mutex<Vec<Target>>;

/// How many of the earlier keys stay in sight.
const IN_SIGHT: usize = 20;

/// The ways to withdraw a key: ID, TOKEN, and the account ACCOUNT, which has no other key. Each in
/// one transaction; PREPARED stands where it is prepared, and then committed by its name.
const WITHDRAWALS: &[(&str, &str)] = &[
    ("SELECT vpk_revoke('ID')", REVOKED),
    ("SELECT vpk_revoke('ID', 'raced')", REVOKED),
    ("SELECT vpk_revoke_token('TOKEN')", REVOKED),
    ("SELECT vpk_revoke_account('ACCOUNT')", REVOKED),
    ("SELECT vpk_rotate('ID')", REVOKED),
    ("SELECT vpk_disable('ID')", DISABLED),
    ("SELECT vpk_update('ID', allowed_ips => '{192.0.2.0/24}')", LIMITED),
    ("UPDATE vpk.keys SET expires_at = clock_timestamp() WHERE id = 'ID'", EXPIRED),
    ("SELECT vpk_set_plan('ACCOUNT', 'Free')", PLAN),
    ("SELECT vpk_delete_account('ACCOUNT')", INVALID),
    ("DELETE FROM vpk.keys WHERE id = 'ID'", INVALID),
    ("CLUSTER vpk.keys USING keys_pkey; SELECT vpk_revoke('ID')", REVOKED),
    ("SELECT vpk_revoke('ID'); CLUSTER vpk.keys USING keys_pkey", REVOKED),
    ("CLUSTER vpk.accounts USING accounts_pkey; SELECT vpk_set_plan('ACCOUNT', 'Free')", PLAN),
    ("SAVEPOINT a; SELECT vpk_revoke('ID'); RELEASE a", REVOKED),
    ("SAVEPOINT a; SELECT vpk_disable('ID'); ROLLBACK TO a; SELECT vpk_revoke('ID')", REVOKED),
    (
        "CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM vpk.keys WHERE id <> 'ID';
         TRUNCATE vpk.keys; INSERT INTO vpk.keys SELECT * FROM kept",
        INVALID,
    ),
    ("SELECT vpk_revoke('ID'); PREPARE TRANSACTION 'withdrawal'", REVOKED),
    ("SELECT vpk_set_plan('ACCOUNT', 'Free'); PREPARE TRANSACTION 'withdrawal'", PLAN),
    (
        "CLUSTER vpk.keys USING keys_pkey; SELECT vpk_disable('ID');
      PREPARE TRANSACTION 'withdrawal'",
        DISABLED,
    ),
];

/// What moves the rows, and leaves them as they are.
const CHURN: &[&str] = &[
    "VACUUM vpk.keys",
    "VACUUM FULL vpk.keys",
    "VACUUM FULL vpk.accounts",
    "VACUUM FULL vpk.plans",
    "CLUSTER vpk.keys USING keys_pkey",
    "REINDEX TABLE vpk.keys",
    "ALTER TABLE vpk.keys ALTER COLUMN rotated_from SET STATISTICS 50",
    "UPDATE vpk.keys SET hint = hint WHERE random() < 0.3",
    "UPDATE vpk.accounts SET plan = plan WHERE random() < 0.3",
    "UPDATE vpk.plans SET rank = rank",
    "ANALYZE vpk.keys",
    "CHECKPOINT",
];

const WAYS: [&str; 3] = [
    "SELECT vpk_verify($1)::text",
    "SELECT status::text FROM vpk_authenticate('Bearer ' || $1)",
    "SELECT vpk_verify_hash(sha256($1::text::bytea))::text",
];

pub fn run(attack: &Attack) {
    let settings = [("max_prepared_transactions", "10"), ("lock_timeout", "5min")];
    let cluster = Cluster::start(&settings);
    let targets = Targets::default();
    withdraw(attack, &cluster, &mut attack.random(0, 0), &targets, 1);
    thread::scope(|scope| {
        let threads: [Box<dyn FnOnce() + Send>; 5] = [
            Box::new(|| {
                let mut random = attack.random(0, 1);
                while attack.goes_on() {
                    withdraw(attack, &cluster, &mut random, &targets, 40);
                }
            }),
            Box::new(|| churn(attack, &cluster)),
            Box::new(|| verify(attack, &cluster, &targets, Kind::Plain)),
            Box::new(|| verify(attack, &cluster, &targets, Kind::OldSnapshot)),
            Box::new(|| verify(attack, &cluster, &targets, Kind::Cursor)),
        ];
        for thread in threads {
            scope.spawn(|| attack.guard(thread));
        }
    });
    // Deletions by hand leave nothing behind that an event is missing for.
    for broken in oracle::broken(attack, &mut cluster.client()) {
        attack.fault(format!("in the end there are {broken}"));
    }
    assert_healthy(&cluster);
}

/// Makes keys, and withdraws one after the other.
fn withdraw(
    attack: &Attack,
    cluster: &Cluster,
    random: &mut Random,
    targets: &Targets,
    number: usize,
) {
    let mut client = cluster.client();
    for _ in 0..number {
        if !attack.goes_on() {
            return;
        }
        let number = targets.lock().expect("the targets").last().map_or(0, |last| last.number + 1);
        let account = format!("raced {number}");
        set_plan(&mut client, &account, "Pro");
        let key = create_for(&mut client, "raced", &account);
        {
            let mut targets = targets.lock().expect("the targets");
            targets.push(Target { number, token: key.token.clone(), phase: Phase::Valid });
            let from = targets.len().saturating_sub(IN_SIGHT);
            targets.drain(..from);
        }
        pause(random, &[1, 5, 20]);
        let (sql, answer) = *random.pick(WITHDRAWALS);
        let sql = sql.replace("ID", &key.id).replace("TOKEN", &key.token);
        let sql = sql.replace("ACCOUNT", &account);
        enter(targets, number, Phase::Going);
        let done = commit(&mut client, &sql);
        let answer = match done {
            Ok(()) => answer,
            // Another transaction was in the way, and nothing has changed.
            Err(error) => {
                if let Err(error) = oracle::error(&error) {
                    attack.fault(format!("{sql}: {error}"));
                }
                let revoked = client.query_one("SELECT vpk_revoke($1::text::uuid)", &[&key.id]);
                revoked.unwrap_or_else(|error| panic!("a revocation: {}", report(&error)));
                REVOKED
            }
        };
        enter(targets, number, Phase::Gone(answer));
        attack.step();
        pause(random, &[0, 1, 5]);
    }
}

fn commit(client: &mut Client, sql: &str) -> Result<(), postgres::Error> {
    let done = if sql.contains("PREPARE TRANSACTION") {
        let prepared = client.batch_execute(&format!("BEGIN; {sql}"));
        prepared.and_then(|()| client.batch_execute("COMMIT PREPARED 'withdrawal'"))
    } else {
        client.batch_execute(&format!("BEGIN; {sql}; COMMIT"))
    };
    if done.is_err() {
        let _ = client.batch_execute("ROLLBACK");
    }
    done
}

fn enter(targets: &Targets, number: usize, phase: Phase) {
    let mut targets = targets.lock().expect("the targets");
    let target = targets.iter_mut().find(|target| target.number == number);
    target.expect("the latest target").phase = phase;
}

fn pause(random: &mut Random, milliseconds: &[u64]) {
    thread::sleep(std::time::Duration::from_millis(*random.pick(milliseconds)));
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Each answer in a statement and transaction of its own.
    Plain,
    /// In a transaction whose snapshot is older than the keys.
    OldSnapshot,
    /// In a cursor that was opened before the withdrawal.
    Cursor,
}

fn verify(attack: &Attack, cluster: &Cluster, targets: &Targets, kind: Kind) {
    let mut random = attack.random(0, 2 + kind as u64);
    let mut client = cluster.client();
    // So that a rewrite of a table is not held up by an open transaction for ever.
    let begin = |client: &mut Client, random: &mut Random| {
        let isolation = *random.pick(&["REPEATABLE READ", "SERIALIZABLE"]);
        let size = *random.pick(&["0", "4kB", "2MB"]);
        let sql = format!(
            "ROLLBACK; SET vibepeak_keys.backend_cache = '{size}';
             BEGIN ISOLATION LEVEL {isolation}; SELECT FROM pg_class LIMIT 1"
        );
        client.batch_execute(&sql).expect("a transaction");
    };
    let mut cursor = None;
    let mut asked = 0;
    while attack.goes_on() {
        if kind != Kind::Plain && asked % 200 == 0 {
            begin(&mut client, &mut random);
            cursor = None;
        }
        asked += 1;
        let before = {
            let targets = targets.lock().expect("the targets");
            // Mostly the one that is withdrawn now.
            let at =
                if random.below(4) > 0 { targets.len() - 1 } else { random.below(targets.len()) };
            targets[at].clone()
        };
        let before = match kind {
            Kind::Cursor => match cursor.take() {
                // The cursor goes on with its key, which has gone further meanwhile.
                Some(number) if random.below(30) > 0 => {
                    let targets = targets.lock().expect("the targets");
                    targets.iter().find(|target| target.number == number).cloned()
                }
                _ => {
                    let sql = format!(
                        "CLOSE ALL; DECLARE c CURSOR FOR SELECT vpk_verify('{}')::text
                           FROM generate_series(1, 1000000)",
                        before.token
                    );
                    client.batch_execute(&sql).expect("a cursor");
                    Some(before)
                }
            },
            _ => Some(before),
        };
        // A key that is out of sight: the cursor takes another.
        let Some(before) = before else { continue };
        let token: &(dyn ToSql + Sync) = &before.token;
        let answer = match kind {
            Kind::Cursor => client.query_one("FETCH c", &[]),
            _ => client.query_one(*random.pick(&WAYS), &[token]),
        };
        cursor = Some(before.number);
        let found: String = match answer {
            Ok(row) => row.get(0),
            Err(error) => {
                // Only a rewrite that takes longer may be in the way.
                if oracle::error(&error).as_deref() != Ok("55P03") {
                    attack.fault(report(&error));
                }
                asked = 0;
                continue;
            }
        };
        let now = targets.lock().expect("the targets");
        let now = now.iter().find(|target| target.number == before.number).map(|now| now.phase);
        let right = match (before.phase, now) {
            (Phase::Gone(answer), _) => found == answer,
            (Phase::Valid, Some(Phase::Valid)) => found == VALID,
            (_, Some(Phase::Gone(answer))) => found == VALID || found == answer,
            _ => true,
        };
        attack.check(right, || {
            let (number, when) = (
                before.number,
                match before.phase {
                    Phase::Gone(answer) => format!("{answer}, which it was before the question"),
                    _ => "what it could be".to_owned(),
                },
            );
            format!("key {number}: {found} instead of {when}")
        });
    }
}

fn churn(attack: &Attack, cluster: &Cluster) {
    let mut random = attack.random(0, 8);
    let mut client = cluster.client();
    value(&mut client, "SELECT set_config('lock_timeout', '200ms', false)", &[]);
    while attack.goes_on() {
        let sql = *random.pick(CHURN);
        if let Err(error) = client.batch_execute(sql)
            && let Err(error) = oracle::error(&error)
        {
            attack.fault(format!("{sql}: {error}"));
        }
        attack.step();
        pause(&mut random, &[0, 10, 50]);
    }
}
