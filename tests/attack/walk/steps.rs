//! The steps of the walk: what one of the sessions does.

use super::Walk;
use crate::oracle;
use crate::support::random::Random;

const ISOLATIONS: [&str; 5] = [
    "READ COMMITTED",
    "REPEATABLE READ",
    "SERIALIZABLE",
    "SERIALIZABLE, READ ONLY, DEFERRABLE",
    "REPEATABLE READ, READ ONLY",
];

/// What runs in no transaction.
const ALONE: [&str; 11] = [
    "VACUUM vpk.keys",
    "VACUUM FULL vpk.keys",
    "VACUUM FREEZE vpk.keys",
    "VACUUM (TRUNCATE) vpk.keys",
    "VACUUM FULL vpk.accounts",
    "VACUUM FULL vpk.plans",
    "VACUUM FULL pg_class",
    "CHECKPOINT",
    "REINDEX INDEX CONCURRENTLY vpk.accounts_pkey",
    "REINDEX TABLE CONCURRENTLY vpk.keys",
    "ANALYZE vpk.keys",
];

/// What changes rows, or moves them. KEY stands for the id of a key, N for a number of an account.
const CHANGES: [&str; 38] = [
    "SELECT vpk_revoke('KEY')",
    "SELECT vpk_revoke_account('accN')",
    "SELECT vpk_revoke_token(token) FROM aside.presented WHERE id = 'KEY'",
    "UPDATE vpk.keys SET revoked_at = NULL, revoke_reason = NULL WHERE id = 'KEY'",
    "UPDATE vpk.keys SET revoked_at = NULL, revoke_reason = NULL",
    "SELECT vpk_disable('KEY')",
    "SELECT vpk_enable('KEY')",
    "UPDATE vpk.keys SET disabled_at = NULL",
    "SELECT vpk_update('KEY', expires_at => clock_timestamp() + '1 hour')",
    "UPDATE vpk.keys SET expires_at = now() - interval '1 s' WHERE id = 'KEY'",
    "UPDATE vpk.keys SET expires_at = 'infinity' WHERE id = 'KEY'",
    "UPDATE vpk.keys SET expires_at = NULL",
    "SELECT vpk_update('KEY', allowed_ips => '{10.1.2.0/24,::/0}')",
    "SELECT vpk_update('KEY', allowed_ips => '{}')",
    "SELECT vpk_update('KEY', scopes => '{write}')",
    "SELECT vpk_update('KEY', metadata => '{\"changed\": true}', name => 'changed')",
    "SELECT vpk_rotate('KEY', grace => '1 hour')",
    "SELECT vpk_rotate('KEY')",
    "DELETE FROM vpk.keys WHERE id = 'KEY'",
    "INSERT INTO vpk.keys SELECT * FROM aside.keys WHERE id NOT IN (SELECT id FROM vpk.keys)",
    "UPDATE vpk.keys SET account = 'accN' WHERE id = 'KEY'",
    "SELECT vpk_set_plan('accN', 'PLAN')",
    "SELECT vpk_set_plan('accN', 'PLAN')",
    "UPDATE vpk.plans SET api_access = NOT api_access WHERE plan = 'PLAN'",
    "UPDATE vpk.plans SET api_access = plan IN ('Plus', 'Pro')",
    "DELETE FROM vpk.accounts WHERE account = 'accN'",
    "INSERT INTO vpk.accounts (account, plan) SELECT account, plan FROM aside.accounts
         ON CONFLICT DO NOTHING",
    "TRUNCATE vpk.keys; INSERT INTO vpk.keys SELECT * FROM aside.keys ORDER BY random()",
    "TRUNCATE vpk.accounts; INSERT INTO vpk.accounts SELECT * FROM aside.accounts",
    "UPDATE vpk.keys SET key_hash = sha256(random()::text::bytea) WHERE id = 'KEY'",
    "UPDATE vpk.keys AS k SET key_hash = a.key_hash FROM aside.keys AS a
      WHERE a.id = k.id AND a.key_hash <> k.key_hash",
    "UPDATE vpk.keys SET name = name WHERE id = 'KEY'",
    "UPDATE vpk.keys SET metadata = (SELECT jsonb_build_object('x', string_agg(md5(j::text), ''))
         FROM generate_series(1, 150) AS j) WHERE id = 'KEY'",
    "SELECT FROM vpk.keys WHERE id = 'KEY' FOR UPDATE",
    "SELECT FROM vpk.accounts FOR key SHARE",
    "SELECT 1",
    "TRUNCATE vpk.keys",
    "TRUNCATE vpk.accounts",
];

/// What changes a table as a whole, and no row of it.
const REWRITES: [&str; 8] = [
    "CLUSTER vpk.keys USING keys_pkey",
    "CLUSTER vpk.accounts USING accounts_pkey",
    "REINDEX TABLE vpk.keys",
    "ALTER TABLE vpk.keys SET UNLOGGED",
    "ALTER TABLE vpk.keys SET LOGGED",
    "ALTER TABLE vpk.keys ADD COLUMN extra int DEFAULT 5; ALTER TABLE vpk.keys DROP COLUMN extra",
    "ALTER TABLE vpk.keys RENAME TO other; ALTER TABLE vpk.other RENAME TO keys",
    "ALTER TABLE vpk.keys ALTER COLUMN name TYPE varchar(300);
     ALTER TABLE vpk.keys ALTER COLUMN name TYPE text",
];

fn change(random: &mut Random, id: &str) -> String {
    let sql = if random.below(8) == 0 { random.pick(&REWRITES) } else { random.pick(&CHANGES) };
    let account = (random.below(6) + 1).to_string();
    let plan = random.pick(&["Free", "Starter", "Plus", "Pro"]);
    sql.replace("KEY", id).replace("accN", &format!("acc{account}")).replace("PLAN", plan)
}

impl Walk<'_> {
    /// One step of one session: what it was.
    pub(super) fn step(&mut self) -> String {
        let number = self.random.below(self.sessions.len());
        let chosen = self.random.below(100);
        let id = self.keys[self.random.below(self.keys.len())].id.clone();
        let random = &mut self.random;
        let session = &mut self.sessions[number];
        let (what, result) = if session.failed {
            match session.savepoints.len() {
                depth if depth > 0 && chosen < 50 => {
                    let at = random.below(depth);
                    ("ROLLBACK TO".to_owned(), session.use_savepoint("ROLLBACK TO", at))
                }
                _ => ("ROLLBACK after an error".to_owned(), session.end("ROLLBACK")),
            }
        } else if session.isolation.is_none() {
            match chosen {
                0..20 => {
                    let isolation = *random.pick(&ISOLATIONS);
                    (format!("BEGIN {isolation}"), session.begin(isolation))
                }
                20..30 => {
                    let sql = *random.pick(&ALONE);
                    (sql.to_owned(), session.run(sql))
                }
                30..36 => {
                    let size = random.pick(&["0", "1kB", "4kB", "1MB", "2MB"]);
                    let sql = format!("SET vibepeak_keys.backend_cache = '{size}'");
                    let result = session.run(&sql);
                    (sql, result)
                }
                36..39 => {
                    session.accepted = random.pick(&["live", "test", "live,test"]).to_string();
                    let sql = format!("SET vibepeak_keys.environments = '{}'", session.accepted);
                    let result = session.run(&sql);
                    (sql, result)
                }
                39..43 if !self.prepared.is_empty() => {
                    let name = self.prepared.swap_remove(random.below(self.prepared.len()));
                    let end = random.pick(&["COMMIT", "ROLLBACK"]);
                    let sql = format!("{end} PREPARED '{name}'");
                    let result = session.run(&sql);
                    if result.is_err() {
                        self.prepared.push(name);
                    }
                    (sql, result)
                }
                43..45 => ("DISCARD ALL".to_owned(), session.discard()),
                _ => {
                    let sql = change(random, &id);
                    let result = session.run(&sql);
                    (sql, result)
                }
            }
        } else {
            match chosen {
                0..15 => ("COMMIT".to_owned(), session.end("COMMIT")),
                15..25 => ("ROLLBACK".to_owned(), session.end("ROLLBACK")),
                25..30 if self.prepared.len() < 3 => {
                    let name = format!("walk {} {}", self.round, random.next());
                    let sql = format!("PREPARE TRANSACTION '{name}'");
                    let result = session.end(&sql);
                    if result.is_ok() {
                        self.prepared.push(name);
                    }
                    (sql, result)
                }
                30..40 => {
                    let name = format!("s{}", session.savepoints.len());
                    let sql = format!("SAVEPOINT {name}");
                    let result = session.run(&sql);
                    session.savepoints.push(name);
                    (sql, result)
                }
                40..48 if !session.savepoints.is_empty() => {
                    let command = *random.pick(&["ROLLBACK TO", "RELEASE"]);
                    let at = random.below(session.savepoints.len());
                    (command.to_owned(), session.use_savepoint(command, at))
                }
                _ => {
                    let sql = change(random, &id);
                    session.wrote = true;
                    let result = session.run(&sql);
                    (sql, result)
                }
            }
        };
        let ended = match &result {
            Ok(()) => "done".to_owned(),
            Err(error) => match oracle::error(error) {
                Ok(code) => code,
                Err(error) => {
                    self.attack.fault(self.told(&format!("session {number}"), &what, &error));
                    error
                }
            },
        };
        format!("{number}: {what} ({ended})")
    }

    /// Ends all transactions.
    pub(super) fn end(&mut self) {
        for session in &mut self.sessions {
            let _ = session.end("ROLLBACK");
        }
        for name in self.prepared.drain(..) {
            let _ = self.observer.batch_execute(&format!("ROLLBACK PREPARED '{name}'"));
        }
    }
}
