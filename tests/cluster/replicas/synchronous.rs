//! G9: what takes a right away is in force on every synchronous standby when its COMMIT returns.
//!
//! A standby whose replay is paused receives and keeps what is committed and shows none of it. So
//! a call that returns while it is paused has not waited for it.

use std::thread;

use crate::support::keys::{Key, authenticate, create, create_for, revoke, set_plan, verify};
use crate::support::known::run;
use crate::support::{Client, Cluster, caught_up, pid, report, value, wait_until};

/// A call, and what a standby answers about the key then.
struct Call {
    /// Of the key `$id`, whose token is `$token` and whose account is `$account`.
    sql: &'static str,
    /// The answer to a query about it; else the status.
    question: Option<&'static str>,
    answer: &'static str,
}

const fn call(sql: &'static str, answer: &'static str) -> Call {
    Call { sql, question: None, answer }
}

/// Whatever takes a right away.
const CALLS: &[Call] = &[
    call("SELECT vpk_revoke($id)", "API_KEY_REVOKED"),
    call("SELECT vpk_revoke_token($token)", "API_KEY_REVOKED"),
    call("SELECT vpk_revoke_account($account)", "API_KEY_REVOKED"),
    call("SELECT FROM vpk_rotate($id)", "API_KEY_REVOKED"),
    call("SELECT FROM vpk_rotate($id, '1 microsecond')", "API_KEY_EXPIRED"),
    call("SELECT vpk_disable($id)", "API_KEY_DISABLED"),
    call("SELECT vpk_delete_account($account)", "INVALID_API_KEY"),
    call("SELECT vpk_set_plan($account, 'Free')", "PLAN_REQUIRED"),
    call("SELECT FROM vpk_update($id, allowed_ips => '{192.0.2.1/32}')", "IP_NOT_ALLOWED"),
    Call {
        sql: "SELECT FROM vpk_update($id, scopes => '{}')",
        question: Some("SELECT status::text FROM vpk_authenticate('Bearer ' || $token, 'write')"),
        answer: "INSUFFICIENT_SCOPE",
    },
    Call {
        sql: "SELECT FROM vpk_update($id, expires_at => 'tomorrow')",
        question: Some("SELECT (expires_at < now() + '2 days')::text FROM vpk_list(id => $id)"),
        answer: "true",
    },
    Call {
        sql: "SELECT vpk_set_rate_limit('day', 1000000, '1 day', account => $account)",
        question: Some("SELECT rate_limits FROM vpk.accounts WHERE account = $account"),
        answer: "day=1000000/1d",
    },
    Call {
        sql: "SELECT vpk_set_quota(1000000, id => $id)",
        question: Some("SELECT quotas FROM vpk.keys WHERE id = $id"),
        answer: "calls=1000000/month",
    },
];

/// What gives a right, or takes none.
const OTHERS: &[&str] = &[
    "SELECT FROM vpk_create('new')",
    "SELECT vpk_enable($id)",
    "SELECT FROM vpk_update($id, name => 'renamed', metadata => '{}')",
    "SELECT vpk_purge('2001-01-01 00:00+00')",
    "SELECT vpk_verify($token)",
];

fn filled(sql: &str, account: &str, key: &Key) -> String {
    let sql = sql.replace("$id", &format!("'{}'", key.id));
    let sql = sql.replace("$token", &format!("'{}'", key.token));
    sql.replace("$account", &format!("'{account}'"))
}

/// A key of a new account, with a scope.
fn key_of(client: &mut Client, account: &str) -> Key {
    set_plan(client, account, "Pro");
    let key = create_for(client, "key", account);
    let sql = "SELECT id::text FROM vpk_update($1::text::uuid, scopes => '{write}')";
    value(client, sql, &[&key.id]);
    key
}

/// A primary with two standbys, `one` and `two`.
struct Servers {
    primary: Cluster,
    _standbys: [Cluster; 2],
    admin: Client,
    readers: [Client; 2],
}

impl Servers {
    fn start() -> Servers {
        let primary = Cluster::start(&[("max_prepared_transactions", "2")]);
        let standbys = ["one", "two"].map(|name| primary.standby_with(&[("cluster_name", name)]));
        let (admin, readers) = (primary.client(), [standbys[0].client(), standbys[1].client()]);
        Servers { primary, _standbys: standbys, admin, readers }
    }

    /// Which standbys a commit waits for; all are there.
    fn wait_for(&mut self, names: &str) {
        let sql = format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'");
        self.admin.batch_execute(&sql).expect("the setting");
        self.admin.batch_execute("SELECT pg_reload_conf()").expect("a reload");
        let admin = &mut self.admin;
        wait_until("the standbys are synchronous", || {
            let sql = "SELECT (current_setting('synchronous_standby_names') = $1
                               AND count(*) = 2
                               AND ($1 = '') = bool_and(sync_state = 'async'))::text
                         FROM pg_stat_replication";
            value(admin, sql, &[&names]) == "true"
        });
        // The server takes the setting in when its checkpointer does: a commit that waits shows it.
        (0..2).for_each(|standby| self.pause(standby));
        let mut session = self.primary.client();
        let process = pid(&mut session);
        thread::scope(|scope| {
            let probe = "SET synchronous_commit = remote_apply;
                         SELECT pg_logical_emit_message(true, 'here', '')";
            let commit = |mut session: Client| {
                scope.spawn(move || {
                    session.batch_execute(probe).expect("a commit");
                    session
                })
            };
            let mut call = Some(commit(session));
            wait_until("a commit waits", || {
                call = call.take().map(|call| match call.is_finished() {
                    true => commit(call.join().expect("a session")),
                    false => call,
                });
                waits(&mut self.admin, process)
            });
            (0..2).for_each(|standby| self.resume(standby));
        });
    }

    fn pause(&mut self, standby: usize) {
        let reader = &mut self.readers[standby];
        reader.batch_execute("SELECT pg_wal_replay_pause()").expect("a pause");
        wait_until("replay is paused", || {
            value(reader, "SELECT pg_get_wal_replay_pause_state()", &[]) == "paused"
        });
    }

    fn resume(&mut self, standby: usize) {
        let sql = "SELECT pg_wal_replay_resume()";
        self.readers[standby].batch_execute(sql).expect("no pause");
    }

    fn all_caught_up(&mut self) {
        let Servers { admin, readers, .. } = self;
        readers.iter_mut().for_each(|reader| caught_up(admin, reader));
    }

    /// Runs statements in a session with synchronous_commit off, and what is to be done once it
    /// waits for a standby; it has to return after that, and not before.
    fn held_up(&mut self, sql: &str, release: impl FnOnce(&mut Servers, i32)) {
        let mut session = self.primary.client();
        session.batch_execute("SET synchronous_commit = off").expect("the setting");
        let process = pid(&mut session);
        thread::scope(|scope| {
            let call = scope.spawn(|| {
                for statement in sql.split(';') {
                    session
                        .batch_execute(statement)
                        .unwrap_or_else(|error| panic!("{statement}: {}", report(&error)));
                }
                value(&mut session, "SHOW synchronous_commit", &[])
            });
            wait_until(&format!("{sql} waits for a standby"), || {
                assert!(!call.is_finished(), "{sql} has not waited for a standby");
                waits(&mut self.admin, process)
            });
            release(self, process);
            let setting = call.join().expect("the call returns");
            assert_eq!(setting, "off", "the session's own setting, after {sql}");
        });
    }
}

/// Whether a session waits for a standby.
fn waits(observer: &mut Client, process: i32) -> bool {
    let sql = "SELECT (wait_event = 'SyncRep')::text FROM pg_stat_activity WHERE pid = $1";
    let row = observer.query_one(sql, &[&process]).expect("a process");
    row.get::<_, Option<String>>(0).as_deref() == Some("true")
}

/// What both kinds of verification say.
fn answers(client: &mut Client, key: &Key) -> [String; 2] {
    [verify(client, &key.token), authenticate(client, &key.token)]
}

/// G9: each call waits until both standbys, of `FIRST 2`, have applied it, with synchronous_commit
/// off in its session, and both answer accordingly at once, in sessions that have known the key
/// before.
#[test]
fn every_call_waits_until_it_is_applied() {
    let mut servers = Servers::start();
    servers.wait_for("FIRST 2 (one, two)");
    for (number, call) in CALLS.iter().enumerate() {
        let account = format!("account {number}");
        let key = key_of(&mut servers.admin, &account);
        servers.all_caught_up();
        for reader in &mut servers.readers {
            assert_eq!(answers(reader, &key), ["VALID"; 2], "before {}", call.sql);
        }
        let paused = number % 2;
        servers.pause(paused);
        servers.held_up(&filled(call.sql, &account, &key), |servers, _| {
            assert_eq!(answers(&mut servers.readers[paused], &key), ["VALID"; 2]);
            servers.resume(paused);
        });
        for reader in &mut servers.readers {
            match call.question {
                None => assert_eq!(answers(reader, &key), [call.answer; 2], "{}", call.sql),
                Some(question) => {
                    let question = filled(question, &account, &key);
                    assert_eq!(value(reader, &question, &[]), call.answer, "{}", call.sql);
                }
            }
        }
    }
}

/// G9: with `FIRST 1` the first standby is waited for, with `ANY 1` either; the other follows with
/// its lag.
#[test]
fn only_as_many_as_are_named_are_waited_for() {
    let mut servers = Servers::start();
    let [first, any] = ["of first", "of any"].map(|account| key_of(&mut servers.admin, account));
    servers.all_caught_up();

    servers.wait_for("FIRST 1 (one, two)");
    (0..2).for_each(|standby| servers.pause(standby));
    servers.held_up(&filled(CALLS[0].sql, "", &first), |servers, _| servers.resume(0));
    assert_eq!(answers(&mut servers.readers[0], &first), ["API_KEY_REVOKED"; 2]);
    assert_eq!(answers(&mut servers.readers[1], &first), ["VALID"; 2]);

    servers.wait_for("ANY 1 (one, two)");
    (0..2).for_each(|standby| servers.pause(standby));
    servers.held_up(&filled(CALLS[0].sql, "", &any), |servers, _| servers.resume(1));
    assert_eq!(answers(&mut servers.readers[1], &any), ["API_KEY_REVOKED"; 2]);
    assert_eq!(answers(&mut servers.readers[0], &any), ["VALID"; 2]);
    servers.resume(0);
    servers.all_caught_up();
    for reader in &mut servers.readers {
        assert_eq!(answers(reader, &any), ["API_KEY_REVOKED"; 2]);
    }
}

/// G9 and G1: a wait that is cancelled leaves the revocation committed, with the server's warning.
/// While it waits, the primary accepts the key. A second revocation waits again.
#[test]
fn a_cancelled_wait_leaves_the_revocation_committed() {
    let mut servers = Servers::start();
    servers.wait_for("FIRST 1 (one)");
    let key = key_of(&mut servers.admin, "acme");
    servers.all_caught_up();
    servers.pause(0);
    for sql in [
        "SELECT vpk_revoke($id)",
        "SELECT vpk_revoke($id)",
        "SELECT vpk_revoke_token($token)",
        "SELECT vpk_revoke_account('acme')",
    ] {
        let warning = "WARNING:  canceling wait for synchronous replication due to user request";
        let warnings = |servers: &Servers| servers.primary.log().matches(warning).count();
        let before = warnings(&servers);
        servers.held_up(&filled(sql, "", &key), |servers, process| {
            let first = before == 0;
            let expected = if first { "VALID" } else { "API_KEY_REVOKED" };
            assert_eq!(answers(&mut servers.admin, &key), [expected; 2]);
            let sql = "SELECT pg_cancel_backend($1)";
            servers.admin.execute(sql, &[&process]).expect("a cancel");
        });
        assert_eq!(warnings(&servers), before + 1, "{}", servers.primary.log());
        assert_eq!(answers(&mut servers.admin, &key), ["API_KEY_REVOKED"; 2]);
        assert_eq!(answers(&mut servers.readers[0], &key), ["VALID"; 2]);
    }
    // A second time, which is let to its end.
    servers.held_up(&filled(CALLS[0].sql, "", &key), |servers, _| servers.resume(0));
    assert_eq!(answers(&mut servers.readers[0], &key), ["API_KEY_REVOKED"; 2]);
}

/// G9: a call that finds its work done waits as well. The first one's wait was cancelled, so the
/// standby does not have the change yet. A second deletion of an account is an error, after the
/// wait.
#[test]
fn a_repeated_call_waits_where_the_first_wait_was_cancelled() {
    let mut servers = Servers::start();
    servers.wait_for("FIRST 1 (one)");
    let function = "CREATE FUNCTION delete_again(account text) RETURNS void LANGUAGE plpgsql AS $$
                    BEGIN PERFORM vpk_delete_account(account);
                    EXCEPTION WHEN invalid_parameter_value THEN END $$";
    run(&mut servers.admin, function);
    for (number, (sql, again, answer)) in [
        (CALLS[0].sql, CALLS[0].sql, "API_KEY_REVOKED"),
        ("SELECT vpk_disable($id)", "SELECT vpk_disable($id)", "API_KEY_DISABLED"),
        (
            "SELECT vpk_set_plan($account, 'Free')",
            "SELECT vpk_set_plan($account, 'Free')",
            "PLAN_REQUIRED",
        ),
        ("SELECT vpk_delete_account($account)", "SELECT delete_again($account)", "INVALID_API_KEY"),
    ]
    .into_iter()
    .enumerate()
    {
        let account = format!("account {number}");
        let key = key_of(&mut servers.admin, &account);
        servers.all_caught_up();
        servers.pause(0);
        servers.held_up(&filled(sql, &account, &key), |servers, process| {
            let sql = "SELECT pg_cancel_backend($1)";
            servers.admin.execute(sql, &[&process]).expect("a cancel");
        });
        assert_eq!(answers(&mut servers.readers[0], &key), ["VALID"; 2], "{sql}");
        servers.held_up(&filled(again, &account, &key), |servers, _| servers.resume(0));
        assert_eq!(answers(&mut servers.readers[0], &key), [answer; 2], "{sql}");
    }
}

/// G9: in a transaction of two phases COMMIT PREPARED waits, as its own session says.
#[test]
fn commit_prepared_waits_as_its_own_session_says() {
    let mut servers = Servers::start();
    servers.wait_for("FIRST 1 (one)");
    let key = key_of(&mut servers.admin, "acme");
    servers.all_caught_up();
    servers.pause(0);
    let mut session = servers.primary.client();
    let sql = "BEGIN; SELECT vpk_revoke($id); PREPARE TRANSACTION 'one'";
    session.batch_execute(&filled(sql, "", &key)).expect("a prepared transaction");
    let sql = "SET synchronous_commit = remote_apply; COMMIT PREPARED 'one'; SET synchronous_commit = off";
    servers.held_up(sql, |servers, _| servers.resume(0));
    assert_eq!(answers(&mut servers.readers[0], &key), ["API_KEY_REVOKED"; 2]);
}

/// The setting inside of transactions that make the calls.
fn settings(client: &mut Client, statements: &[(&str, &str)]) {
    for (sql, expected) in statements {
        client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {}", report(&error)));
        assert_eq!(value(client, "SHOW synchronous_commit", &[]), *expected, "after {sql}");
    }
}

/// G9: the setting lasts as long as what was done: to the end of the transaction, or of the
/// savepoint that is rolled back. What takes no right away does not touch it. Where there is no
/// synchronous standby, the wait is for this server's disk.
#[test]
fn the_wait_is_set_for_the_transaction_or_savepoint_alone() {
    let mut servers = Servers::start();
    let keys: Vec<Key> = (0..3).map(|_| create(&mut servers.admin, "key")).collect();
    let other = key_of(&mut servers.admin, "acme");
    let mut session = servers.primary.client();
    for own in ["off", "local", "on"] {
        settings(&mut session, &[(&format!("SET synchronous_commit = {own}"), own)]);
        // What takes a right away is on this server's disk in any case.
        let raised = if own == "off" { "local" } else { own };
        let calls = CALLS.iter().map(|call| (call.sql, raised));
        for (sql, expected) in calls.chain(OTHERS.iter().map(|sql| (*sql, own))) {
            let sql = filled(sql, "acme", &other);
            settings(&mut session, &[("BEGIN", own), (&sql, expected), ("ROLLBACK", own)]);
        }
    }

    // Also where a trigger takes it away, in a call that does not.
    let revoked = create(&mut servers.admin, "revoked by a trigger");
    let sql = format!(
        "CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM public.vpk_revoke('{}'); RETURN NULL; END $$;
         CREATE TRIGGER planted AFTER INSERT ON vpk.events
             FOR EACH ROW WHEN (NEW.event = 'key_created') EXECUTE FUNCTION planted()",
        revoked.id
    );
    servers.admin.batch_execute(&sql).expect("a trigger");
    let script = [("SET synchronous_commit = off", "off"), ("BEGIN", "off"), (OTHERS[0], "local")];
    settings(&mut session, &script);
    settings(&mut session, &[("ROLLBACK", "off")]);
    servers.admin.batch_execute("DROP TRIGGER planted ON vpk.events").expect("no trigger");

    servers.wait_for("FIRST 1 (one)");
    settings(&mut session, &[("SET synchronous_commit = off", "off")]);
    let raised = "remote_apply";
    for call in CALLS {
        let sql = filled(call.sql, "acme", &other);
        settings(&mut session, &[("BEGIN", "off"), (&sql, raised), ("ROLLBACK", "off")]);
    }
    for sql in OTHERS {
        let sql = filled(sql, "acme", &other);
        settings(&mut session, &[("BEGIN", "off"), (&sql, "off"), ("ROLLBACK", "off")]);
    }
    assert_eq!(answers(&mut session, &other), ["VALID"; 2]);

    let revoke = |key: &Key| filled(CALLS[0].sql, "", key);
    let caught = format!(
        "DO $$ BEGIN PERFORM vpk_revoke('{}'); RAISE 'x'; EXCEPTION WHEN raise_exception THEN END $$",
        keys[0].id
    );
    let script: &[(&str, &str)] = &[
        ("BEGIN", "off"),
        ("SAVEPOINT s", "off"),
        (&revoke(&keys[0]), raised),
        ("ROLLBACK TO s", "off"),
        (&caught, "off"),
        ("COMMIT", "off"),
        ("BEGIN", "off"),
        ("SAVEPOINT s", "off"),
        (&revoke(&keys[1]), raised),
        ("RELEASE s", raised),
        (&revoke(&keys[2]), raised),
        ("COMMIT", "off"),
    ];
    settings(&mut session, script);
    let expected = ["VALID", "API_KEY_REVOKED", "API_KEY_REVOKED"];
    for client in [&mut session, &mut servers.readers[0]] {
        for (key, expected) in keys.iter().zip(expected) {
            assert_eq!(answers(client, key), [expected; 2]);
        }
    }
    settings(&mut session, &[("SET synchronous_commit = remote_apply", raised)]);
    settings(&mut session, &[("BEGIN", raised), (&revoke(&keys[0]), raised), ("COMMIT", raised)]);
}

/// G1 on a single server: revoking again takes no transaction id if there is no standby to wait
/// for.
#[test]
fn revoking_again_takes_no_transaction_id_without_a_standby() {
    let cluster = Cluster::start(&[("autovacuum", "off")]);
    let mut client = cluster.client();
    let key = create(&mut client, "key");
    revoke(&mut client, &key);
    let next_id = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text";
    let before = value(&mut client, next_id, &[]);
    revoke(&mut client, &key);
    assert_eq!(value(&mut client, next_id, &[]), before);
}
