//! G2, G10: every call, cancelled and terminated at random instants. What is answered is right,
//! nothing is half done, and the server goes on.

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crate::attack::Attack;
use crate::oracle;
use crate::support::known::{assert_healthy, run as execute};
use crate::support::{Client, Cluster, pid, report};

const WORKERS: u64 = 3;

/// What a call may end with: cancelled, its session ended or refused, a lock or a row that another
/// session holds or has changed, and arguments that another session has made wrong.
const ACCEPTED: &[&str] =
    &["57014", "57P01", "57P03", "55P03", "40P01", "40001", "22023", "23505", "25P02", "3B001"];

/// Statements with a number that has to come out.
const COUNTED: &[(&str, i64)] = &[
    ("SELECT count(*) FROM generate_series(1, 3000) WHERE vpk_verify('TOKEN') = 'VALID'", 3000),
    (
        "SELECT count(*) FROM generate_series(1, 800), vpk_authenticate('Bearer TOKEN')
          WHERE status = 'VALID'",
        800,
    ),
    (
        "SELECT count(*) FROM generate_series(1, 1500)
          WHERE vpk_verify_hash(sha256('TOKEN')) = 'VALID'",
        1500,
    ),
    (
        "SELECT count(*) FROM vpk_create('never', 'busy 1') AS k, generate_series(1, 500)
          WHERE vpk_verify('TOKEN') = 'VALID'",
        500,
    ),
];

/// Statements that change something, each one transaction.
const CHANGES: &[&str] = &[
    "SET vibepeak_keys.backend_cache = 0",
    "SET vibepeak_keys.backend_cache = '2MB'",
    "SELECT count(*) FROM generate_series(1, 200) AS i, vpk_create('many ' || i, 'busy ' || 1 + i % 4)",
    "SELECT vpk_revoke(id), vpk_disable(id) FROM vpk_list('busy 1', max_rows => 20)",
    "SELECT vpk_create('one', 'busy 2'), vpk_revoke_account('busy 2')",
    "SELECT vpk_rotate(id) FROM vpk_list('busy 3', max_rows => 3) WHERE state = 'active'",
    "SELECT vpk_update(id, name => 'renamed') FROM vpk_list('busy 3', max_rows => 20)",
    "SELECT vpk_task_start(token, '1 s') FROM vpk_create('worker', 'busy 1')",
    "SELECT vpk_delete_account('busy 4'); SELECT vpk_set_plan('busy 4', 'Pro')",
    "SELECT vpk_purge(now())",
    "SELECT count(*) FROM vpk_doctor()",
    "DO $$ BEGIN
       FOR i IN 1..30 LOOP
         BEGIN
           PERFORM vpk_create('s' || i, 'busy 1');
           IF i % 3 = 0 THEN RAISE 'taken back'; END IF;
         EXCEPTION WHEN raise_exception THEN NULL;
         END;
       END LOOP;
     END $$",
    "BEGIN; SAVEPOINT a; SELECT vpk_create('one', 'busy 3'); ROLLBACK TO a;
     SELECT vpk_create('two', 'busy 3'); COMMIT",
];

pub fn run(attack: &Attack) {
    let cluster = Cluster::start(&[("lock_timeout", "5s")]);
    let mut admin = cluster.client();
    let sql = "SELECT vpk_set_plan('busy ' || i, 'Pro') FROM generate_series(1, 4) AS i";
    execute(&mut admin, sql);
    let token: String =
        admin.query_one("SELECT token FROM vpk_create('kept')", &[]).expect("a key").get(0);
    let pids = Mutex::new(vec![0; WORKERS as usize]);
    thread::scope(|scope| {
        for number in 0..WORKERS {
            let (cluster, token, pids) = (&cluster, &token, &pids);
            scope.spawn(move || attack.guard(|| work(attack, cluster, token, pids, number)));
        }
        scope.spawn(|| attack.guard(|| interrupt(attack, &cluster, &pids)));
    });
    for broken in oracle::broken(attack, &mut admin) {
        attack.fault(format!("in the end there are {broken}"));
    }
    let sql = COUNTED[0].0.replace("TOKEN", &token);
    let found: i64 = admin.query_one(&sql, &[]).expect("answers").get(0);
    attack.check(found == COUNTED[0].1, || format!("in the end: {found} answers are right"));
    if cluster.restarts() > 0 {
        attack.fault("the server has started over".to_owned());
    }
    assert_healthy(&cluster);
}

fn work(attack: &Attack, cluster: &Cluster, token: &str, pids: &Mutex<Vec<i32>>, number: u64) {
    let mut random = attack.random(0, number);
    let mut session: Option<Client> = None;
    while attack.goes_on() {
        attack.step();
        let Some(client) = session.as_mut().filter(|client| !client.is_closed()) else {
            session = connect(cluster, pids, number as usize);
            continue;
        };
        let result = if random.below(2) == 0 {
            let (sql, expected) = *random.pick(COUNTED);
            let found = client.query_one(&sql.replace("TOKEN", token), &[]);
            found.map(|row| {
                let found: i64 = row.get(0);
                attack.check(found == expected, || format!("{found} instead of {expected}: {sql}"));
            })
        } else {
            let sql: &&str = random.pick(CHANGES);
            client.batch_execute(sql)
        };
        let Err(error) = result else { continue };
        // A lost connection has no code.
        let code = error.code().map(|code| code.code());
        if !error.is_closed() && !code.is_none_or(|code| ACCEPTED.contains(&code)) {
            attack.fault(report(&error));
        }
        // A transaction that a statement has begun and an error has left.
        let _ = client.batch_execute("ROLLBACK");
    }
}

/// A session whose process can be interrupted from now on.
fn connect(cluster: &Cluster, pids: &Mutex<Vec<i32>>, number: usize) -> Option<Client> {
    let mut client = cluster.try_connect("postgres", "postgres").ok()?;
    pids.lock().expect("the processes")[number] = pid(&mut client);
    Some(client)
}

fn interrupt(attack: &Attack, cluster: &Cluster, pids: &Mutex<Vec<i32>>) {
    let mut random = attack.random(0, WORKERS);
    let mut client = cluster.client();
    while attack.goes_on() {
        // Between nothing at all and the time of the longest call.
        thread::sleep(Duration::from_micros(*random.pick(&[500, 2_000, 10_000, 30_000])));
        let pid = *random.pick(&pids.lock().expect("the processes"));
        let function =
            if random.below(10) == 0 { "pg_terminate_backend" } else { "pg_cancel_backend" };
        client.execute(&format!("SELECT {function}($1)"), &[&pid]).expect("a signal");
    }
}
