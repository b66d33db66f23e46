//! G1, G9: the same changes on a primary, asked for on its hot standby as soon as that has replayed
//! them. Then the standby is promoted, with open sessions, a prepared revocation and one that its
//! primary has not committed.

use crate::attack::Attack;
use crate::oracle;
use crate::support::keys::{Key, create_for, set_plan};
use crate::support::known::{
    DISABLED, INVALID, PLAN, REVOKED, VALID, assert_healthy, run as execute,
};
use crate::support::random::Random;
use crate::support::{Client, Cluster, caught_up, report};

/// How many changes a standby follows before it is promoted.
const CHANGES_EACH: usize = 150;

/// What happens to a key on the primary, ID, and what it answers from then on: statements that run
/// one after the other.
const CHANGES: &[(&[&str], &str)] = &[
    (&["SELECT vpk_revoke('ID')"], REVOKED),
    (&["SELECT vpk_disable('ID')"], DISABLED),
    (&["SELECT vpk_disable('ID')", "SELECT vpk_enable('ID')"], VALID),
    (&["SELECT vpk_update('ID', allowed_ips => '{192.0.2.0/24}')"], "IP_NOT_ALLOWED"),
    (&["UPDATE vpk.keys SET expires_at = now() WHERE id = 'ID'"], "API_KEY_EXPIRED"),
    (&["SELECT vpk_set_plan('ACCOUNT', 'Free')"], PLAN),
    (&["SELECT vpk_set_plan('ACCOUNT', 'Free')", "SELECT vpk_set_plan('ACCOUNT', 'Plus')"], VALID),
    (&["UPDATE vpk.plans SET api_access = false WHERE plan = 'Pro'"], PLAN),
    (&["SELECT vpk_delete_account('ACCOUNT')"], INVALID),
    (&["DELETE FROM vpk.keys WHERE id = 'ID'", "VACUUM vpk.keys"], INVALID),
    (&["VACUUM FULL vpk.keys", "SELECT vpk_revoke('ID')"], REVOKED),
    (&["VACUUM FULL vpk.keys"], VALID),
    (&["CLUSTER vpk.accounts USING accounts_pkey"], VALID),
    (&["REINDEX TABLE vpk.keys"], VALID),
    (&["SELECT vpk_revoke('ID')", "VACUUM FREEZE vpk.keys"], REVOKED),
    (&["BEGIN; CLUSTER vpk.keys USING keys_pkey; SELECT vpk_revoke('ID'); COMMIT"], REVOKED),
    (&["BEGIN; SAVEPOINT a; SELECT vpk_revoke('ID'); ROLLBACK TO a; COMMIT"], VALID),
    (&["BEGIN; SAVEPOINT a; SELECT vpk_revoke('ID'); RELEASE a; COMMIT"], REVOKED),
    (&["BEGIN; SELECT vpk_revoke('ID'); PREPARE TRANSACTION 'one'", "COMMIT PREPARED 'one'"], REVOKED),
    (&["BEGIN; SELECT vpk_revoke('ID'); PREPARE TRANSACTION 'one'", "ROLLBACK PREPARED 'one'"], VALID),
    (
        &["BEGIN; CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM vpk.keys WHERE id <> 'ID';
           TRUNCATE vpk.keys; INSERT INTO vpk.keys SELECT * FROM kept; COMMIT"],
        INVALID,
    ),
];

const WAYS: [&str; 3] = [
    "SELECT vpk_verify($1)::text",
    "SELECT status::text FROM vpk_authenticate('Bearer ' || $1)",
    "SELECT vpk_verify_hash(sha256($1::text::bytea))::text",
];

/// What a session of the standby does before it verifies. The second has a snapshot older than all
/// changes, and holds it.
const SESSIONS: [&str; 3] = [
    "",
    "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM pg_class LIMIT 1",
    "SET vibepeak_keys.backend_cache = 0",
];

/// A session that asks on the standby.
struct Asker {
    client: Client,
    beginning: &'static str,
}

impl Asker {
    fn new(standby: &Cluster, beginning: &'static str) -> Asker {
        loop {
            let mut client = standby.client();
            match client.batch_execute(beginning) {
                Ok(()) => return Asker { client, beginning },
                // Replay has cancelled it, or ended the session.
                Err(error) if client.is_closed() || is_cancelled(&error) => {}
                Err(error) => panic!("{beginning}: {}", report(&error)),
            }
        }
    }

    /// The answer; None where replay has cancelled the query, or ended the session.
    fn ask(&mut self, standby: &Cluster, way: &str, token: &str) -> Result<Option<String>, String> {
        let error = match self.client.query_one(way, &[&token]) {
            Ok(row) => return Ok(Some(row.get(0))),
            Err(error) => error,
        };
        if self.client.is_closed() || is_cancelled(&error) {
            *self = Asker::new(standby, self.beginning);
            return Ok(None);
        }
        Err(report(&error))
    }
}

/// Whether replay has cancelled a query.
fn is_cancelled(error: &postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code() == "40001")
}

pub fn run(attack: &Attack) {
    let settings = [("max_prepared_transactions", "10"), ("max_standby_streaming_delay", "50ms")];
    let mut round = 0;
    let primary = Cluster::start(&settings);
    while attack.goes_on() {
        let mut random = attack.random(round, 0);
        round += 1;
        let standby = primary.standby();
        let mut follow = Follow {
            attack,
            primary: primary.client(),
            observer: standby.client(),
            askers: SESSIONS.map(|beginning| Asker::new(&standby, beginning)),
            standby: &standby,
        };
        for number in 0..CHANGES_EACH {
            if !attack.goes_on() {
                break;
            }
            follow.change(&mut random, number);
        }
        follow.promote(&primary, &mut random);
        assert_healthy(&standby);
    }
    assert_healthy(&primary);
}

/// A primary, its standby, and who asks there.
struct Follow<'attack> {
    attack: &'attack Attack,
    primary: Client,
    observer: Client,
    askers: [Asker; SESSIONS.len()],
    standby: &'attack Cluster,
}

impl Follow<'_> {
    /// Makes a key with an account of its own.
    fn create(&mut self) -> (Key, String) {
        let account = "followed".to_owned();
        set_plan(&mut self.primary, &account, "Pro");
        (create_for(&mut self.primary, "followed", &account), account)
    }

    /// One change, before and after which each session of the standby is asked.
    fn change(&mut self, random: &mut Random, number: usize) {
        let (key, account) = self.create();
        self.expect(random, &key, VALID, "a new key");
        let (statements, answer) = *random.pick(CHANGES);
        for sql in statements {
            let sql = sql.replace("ID", &key.id).replace("ACCOUNT", &account);
            execute(&mut self.primary, &sql);
        }
        self.attack.step();
        self.expect(random, &key, answer, &format!("change {number}, {statements:?}"));
        // Other keys are of the same plan.
        execute(&mut self.primary, "UPDATE vpk.plans SET api_access = true WHERE plan = 'Pro'");
    }

    /// Asks each session, once the standby has caught up.
    fn expect(&mut self, random: &mut Random, key: &Key, answer: &str, when: &str) {
        caught_up(&mut self.primary, &mut self.observer);
        self.ask_all(random, key, answer, when);
    }

    fn ask_all(&mut self, random: &mut Random, key: &Key, answer: &str, when: &str) {
        for asker in &mut self.askers {
            for _ in 0..3 {
                let way: &&str = random.pick(&WAYS);
                match asker.ask(self.standby, way, &key.token) {
                    Ok(None) => {}
                    Ok(Some(found)) => self.attack.check(found == answer, || {
                        format!("{when}, after {:?}: {found} instead of {answer}", asker.beginning)
                    }),
                    Err(error) => self.attack.fault(format!("{when}: {error}")),
                }
            }
        }
    }

    /// Promotes the standby while sessions are open that know the keys.
    fn promote(&mut self, primary: &Cluster, random: &mut Random) {
        let (kept, prepared, open) = (self.create().0, self.create().0, self.create().0);
        let revoke = |key: &Key| format!("BEGIN; SELECT vpk_revoke('{}')", key.id);
        execute(&mut self.primary, &format!("{}; PREPARE TRANSACTION 'left'", revoke(&prepared)));
        let mut other = primary.client();
        execute(&mut other, &revoke(&open));
        // A snapshot for the standby, in which both transactions run.
        execute(&mut self.primary, "CHECKPOINT");
        for key in [&kept, &prepared, &open] {
            self.expect(random, key, VALID, "before the promotion");
        }

        self.standby.promote();
        for key in [&kept, &prepared, &open] {
            self.ask_all(random, key, VALID, "after the promotion");
        }
        let mut promoted = self.standby.client();
        execute(&mut promoted, "COMMIT PREPARED 'left'");
        self.ask_all(random, &prepared, REVOKED, "after the promotion, COMMIT PREPARED");
        execute(&mut promoted, &format!("{}; COMMIT", revoke(&open)));
        self.ask_all(random, &open, REVOKED, "after the promotion, a revocation");
        self.ask_all(random, &kept, VALID, "after the promotion");
        let (mut changed, sql) = (
            VALID,
            ["SELECT vpk_disable($1::text::uuid)::text", "SELECT vpk_enable($1::text::uuid)::text"],
        );
        for sql in sql {
            promoted.query_one(sql, &[&kept.id]).expect("a change");
            changed = if changed == VALID { DISABLED } else { VALID };
            self.ask_all(random, &kept, changed, "after the promotion, a change");
        }
        self.attack.step();

        execute(&mut other, "ROLLBACK");
        execute(&mut self.primary, "ROLLBACK PREPARED 'left'");
        for broken in oracle::broken(self.attack, &mut promoted) {
            // Rows that this part has deleted by hand leave nothing behind.
            self.attack.fault(format!("after the promotion there are {broken}"));
        }
    }
}
