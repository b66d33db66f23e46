//! G9 and G1 on a hot standby: a session that has just verified a key sees each change of the
//! primary as soon as it is replayed, after any operation on the tables.

use crate::support::keys::set_plan;
use crate::support::known::{
    Answers, INVALID, PLAN, REVOKED, VALID, assert_healthy, copy_in, copy_out, run,
};
use crate::support::usage::start_flushing_hourly;
use crate::support::{Client, Cluster, caught_up, sqlstate, value, wait_until};

/// A primary and its standby, which waits for sessions as long as they hold what it needs: a
/// session that holds something after its statement has ended would stop it for good.
fn servers() -> (Cluster, Cluster) {
    let settings =
        [("autovacuum", "off"), ("lock_timeout", "10min"), ("max_standby_streaming_delay", "-1")];
    let primary = start_flushing_hourly(&settings);
    let standby = primary.standby();
    (primary, standby)
}

/// Sessions of the standby that know every key; one is inside a transaction.
struct Sessions {
    primary: Client,
    observer: Client,
    sessions: [Client; 2],
}

impl Sessions {
    fn new(primary: &Cluster, standby: &Cluster, answers: &Answers) -> Sessions {
        let (mut primary, mut observer) = (primary.client(), standby.client());
        caught_up(&mut primary, &mut observer);
        let mut sessions = [standby.client(), standby.client()];
        run(&mut sessions[1], "BEGIN");
        sessions.iter_mut().for_each(|session| answers.remember(session));
        let mut new = Sessions { primary, observer, sessions };
        new.check(answers, "at first");
        new
    }

    /// Waits until the standby has it all, without asking the sessions for it, and asks them then.
    fn check(&mut self, answers: &Answers, when: &str) {
        caught_up(&mut self.primary, &mut self.observer);
        for session in &mut self.sessions {
            answers.check(session, when);
            // Ends the protocol's unnamed portal, which keeps its snapshot inside a transaction.
            run(session, "SELECT 1");
        }
    }
}

/// G9: each operation of the primary, alone and with changes that follow at once.
#[test]
fn answers_on_a_standby_are_right_after_each_replayed_operation() {
    let (primary, standby) = servers();
    let mut admin = primary.client();
    run(&mut admin, "CREATE TABLE aside (LIKE vpk.keys)");
    let mut answers = Answers::of_every_kind(&mut admin, 3);
    let mut standing = Sessions::new(&primary, &standby, &answers);
    for table in ["vpk.keys", "vpk.accounts", "vpk.plans"] {
        let index = &table["vpk.".len()..];
        for operation in [
            "VACUUM {}".to_owned(),
            "VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) {}".to_owned(),
            "VACUUM FULL {}".to_owned(),
            format!("CLUSTER {{}} USING {index}_pkey"),
            "REINDEX TABLE {}".to_owned(),
            "REINDEX TABLE CONCURRENTLY {}".to_owned(),
            "UPDATE {} SET pristine = pristine".to_owned(),
        ] {
            let sql = operation.replace("{}", table);
            if table == "vpk.keys" && sql.contains("pristine") {
                continue;
            }
            run(&mut admin, &sql);
            standing.check(&answers, &sql);
            run(&mut admin, &sql);
            answers.change(&mut admin);
            standing.check(&answers, &format!("{sql}, and a change"));
        }
        let rows = copy_out(&mut admin, table, "random()");
        run(&mut admin, &format!("TRUNCATE {table}"));
        let empty = answers.when(|known| match (table, known.answer) {
            ("vpk.keys", _) => INVALID,
            (_, VALID) => PLAN,
            (_, answer) => answer,
        });
        standing.check(&empty, &format!("{table} is empty"));
        copy_in(&mut admin, table, &rows);
        standing.check(&answers, &format!("{table} is full again"));
    }
    // A table that is not logged cannot be read there, and can again afterwards.
    run(&mut admin, "ALTER TABLE vpk.keys SET UNLOGGED");
    caught_up(&mut standing.primary, &mut standing.observer);
    let sql = "SELECT vpk_verify($1)::text";
    let token = answers.0[answers.first(VALID)].key.token.clone();
    let session = &mut standing.sessions[0];
    let code = sqlstate("not logged", session.query_one(sql, &[&token]));
    assert!(["0A000", "58P01"].contains(&code.as_str()), "{code}");
    run(&mut admin, "ALTER TABLE vpk.keys SET LOGGED");
    standing.check(&answers, "logged again");

    for (plan, expected) in [("Free", PLAN), ("Plus", VALID)] {
        set_plan(&mut admin, "acme", plan);
        let moved =
            answers.when(|known| if known.answer == VALID { expected } else { known.answer });
        standing.check(&moved, plan);
        run(&mut admin, "UPDATE vpk.plans SET api_access = NOT api_access");
        let moved = moved.when(|known| match known.answer {
            VALID => PLAN,
            PLAN => VALID,
            answer => answer,
        });
        standing.check(&moved, "plans the other way round");
        run(&mut admin, "UPDATE vpk.plans SET api_access = NOT api_access");
    }
    standing.check(&answers, "as before");
    for cluster in [&primary, &standby] {
        assert_healthy(cluster);
    }
}

/// G9: TIDs that other keys take, a file that is truncated and grows again, an
/// extension that goes and comes, and at last a standby that becomes a primary.
#[test]
fn replayed_tids_of_other_keys_mislead_no_session() {
    let (primary, standby) = servers();
    let mut admin = primary.client();
    run(&mut admin, "CREATE TABLE aside (LIKE vpk.keys)");
    let mut answers = Answers::of_every_kind(&mut admin, 2);
    let filler = "INSERT INTO vpk.keys (id, key_hash, account, environment, name, created_at)
                  SELECT gen_random_uuid(), sha256(g::text::bytea), 'acme', 'live', 'filler', now()
                    FROM generate_series(1, 4000) AS g";
    run(&mut admin, filler);
    let last: Vec<usize> = (0..20).map(|_| answers.add(&mut admin, "acme")).collect();
    let mut standing = Sessions::new(&primary, &standby, &answers);
    let ids: Vec<String> = last.iter().map(|at| format!("'{}'", answers.0[*at].key.id)).collect();
    let these = format!("FROM vpk.keys WHERE id IN ({})", ids.join(", "));
    let before: Vec<String> = admin
        .query_one(&format!("SELECT array_agg(ctid::text) {these}"), &[])
        .expect("their places")
        .get(0);

    // Other keys at their TIDs.
    run(&mut admin, &format!("INSERT INTO aside SELECT * {these}; DELETE {these}"));
    last.iter().for_each(|at| answers.0[*at].answer = INVALID);
    standing.check(&answers, "deleted");
    run(&mut admin, "VACUUM (TRUNCATE false) vpk.keys");
    wait_until("three of their places are taken", || {
        let at = answers.add(&mut admin, "acme");
        answers.revoke(&mut admin, at);
        let sql = "SELECT (count(*) > 2)::text FROM vpk.keys WHERE ctid = ANY($1::text[]::tid[])";
        value(&mut admin, sql, &[&before]) == "true"
    });
    standing.check(&answers, "their places are taken");
    run(&mut admin, "INSERT INTO vpk.keys SELECT * FROM aside");
    last.iter().for_each(|at| answers.0[*at].answer = VALID);
    standing.check(&answers, "there again");

    // The end of the file.
    let size = |client: &mut Client| -> i64 {
        client.query_one("SELECT pg_relation_size('vpk.keys')", &[]).expect("its size").get(0)
    };
    let whole = size(&mut admin);
    run(&mut admin, &format!("DELETE {these}; DELETE FROM vpk.keys WHERE name = 'filler'"));
    run(&mut admin, "DELETE FROM vpk.keys WHERE revoked_at IS NOT NULL");
    for known in &mut answers.0 {
        if known.answer == REVOKED {
            known.answer = INVALID;
        }
    }
    last.iter().for_each(|at| answers.0[*at].answer = INVALID);
    wait_until("the file is shorter", || {
        run(&mut admin, "VACUUM vpk.keys");
        size(&mut admin) < whole / 2
    });
    standing.check(&answers, "the end is cut off");
    run(&mut admin, filler);
    for _ in 0..30 {
        answers.add(&mut admin, "acme");
    }
    standing.check(&answers, "the file has grown again");
    run(&mut admin, "INSERT INTO vpk.keys SELECT * FROM aside");
    last.iter().for_each(|at| answers.0[*at].answer = VALID);
    standing.check(&answers, "there once more");

    run(&mut admin, "DROP EXTENSION vibepeak_keys");
    run(&mut admin, "CREATE EXTENSION vibepeak_keys");
    standing.check(&answers.when_all(INVALID), "created again");
    let mut new = Answers::of_every_kind(&mut admin, 3);
    standing.check(&new, "new keys");
    standing.check(&answers.when_all(INVALID), "old keys");

    // After the promotion its sessions continue, and see the changes made there.
    new.change(&mut admin);
    caught_up(&mut standing.primary, &mut standing.observer);
    assert_healthy(&primary);
    let Sessions { primary: asked, mut sessions, mut observer } = standing;
    drop((asked, admin, primary));
    standby.promote();
    for session in &mut sessions {
        new.check(session, "promoted");
    }
    new.change(&mut observer);
    for operation in ["VACUUM FULL vpk.keys", "VACUUM", "CLUSTER vpk.keys USING keys_pkey"] {
        run(&mut observer, operation);
        new.change(&mut observer);
        for session in &mut sessions {
            new.check(session, operation);
        }
    }
    assert_healthy(&standby);
}

/// G1, G9: revocations that were prepared before a standby became a primary count from their commit
/// there, and not where they are rolled back there.
#[test]
fn prepared_revocations_count_after_a_promotion() {
    let settings = [("autovacuum", "off"), ("max_prepared_transactions", "5")];
    let primary = start_flushing_hourly(&settings);
    let standby = primary.standby();
    let mut admin = primary.client();
    let mut answers = Answers::of_every_kind(&mut admin, 3);
    let mut standing = Sessions::new(&primary, &standby, &answers);
    let of = |answer| answers.0.iter().enumerate().filter(move |(_, known)| known.answer == answer);
    let [committed, undone] = [0, 1].map(|number| of(VALID).nth(number).expect("a key").0);
    for (name, at) in [("committed", committed), ("undone", undone)] {
        run(&mut admin, "BEGIN; SAVEPOINT s");
        let id = &answers.0[at].key.id;
        run(&mut admin, &format!("UPDATE vpk.keys SET revoked_at = now() WHERE id = '{id}'"));
        run(&mut admin, &format!("RELEASE s; PREPARE TRANSACTION '{name}'"));
        standing.check(&answers, name);
    }
    drop(primary);
    standby.promote();
    let Sessions { mut observer, mut sessions, .. } = standing;
    for (end, at) in
        [("ROLLBACK PREPARED 'undone'", None), ("COMMIT PREPARED 'committed'", Some(committed))]
    {
        for session in &mut sessions {
            answers.remember(session);
        }
        run(&mut observer, end);
        if let Some(at) = at {
            answers.0[at].answer = REVOKED;
        }
        for session in &mut sessions {
            answers.check(session, end);
        }
    }
    assert_healthy(&standby);
}
