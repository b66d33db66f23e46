//! G4 and G6: flushes into tables that others hold, change, remove, or have put something into.

use std::thread;

use crate::support::keys::{Key, create, create_for, revoke, set_plan, verify};
use crate::support::known::run;
use crate::support::usage::{
    FLUSH_EVERY_100MS, FLUSH_EVERY_200MS, counter, flush_every, start_flushing_hourly, stats,
    use_key, uses, wait_for_flushes, wait_for_pending, wait_for_uses, wait_until_flushed,
};
use crate::support::{Client, Cluster, pid, value, wait_for_lock, wait_until};

const ORPHANS: &str = "SELECT count(*)::text FROM vpk.key_usage AS u
                        WHERE NOT EXISTS (SELECT FROM vpk.keys AS k WHERE k.id = u.key_id)";

fn no_deadlock(client: &mut Client) {
    let sql = "SELECT deadlocks::text FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(value(client, sql, &[]), "0");
}

fn no_failure(client: &mut Client) {
    assert_eq!(stats(client)["last_error"], serde_json::Value::Null);
    no_deadlock(client);
}

/// Keys that were used each once.
fn used_once(client: &mut Client, number: i32) {
    let sql = "SELECT count(vpk_verify(token)) FROM generate_series(1, $1) AS g,
                      vpk_create('key ' || g)";
    let used: i64 = client.query_one(sql, &[&number]).expect("keys").get(0);
    assert_eq!(used, i64::from(number));
}

/// G4: when slots run short a flush begins early; a use that finds no slot is counted as dropped,
/// so that every valid answer is accounted for.
#[test]
fn uses_without_a_slot_are_counted_as_dropped() {
    let cluster = start_flushing_hourly(&[("vibepeak_keys.usage_slots", "64")]);
    let (mut client, mut holder) = (cluster.client(), cluster.client());
    holder.batch_execute("BEGIN; LOCK TABLE vpk.key_usage").expect("a lock");
    used_once(&mut client, 500);
    assert_eq!(counter(&mut client, "valid"), 500);
    assert_eq!(counter(&mut client, "uses_pending"), 64);
    assert_eq!(counter(&mut client, "uses_dropped"), 436);
    holder.batch_execute("COMMIT").expect("its end");
    // A session that finds no slot asks for a flush, as does one that takes the first slot of the
    // second half.
    let mut expected = 500;
    while counter(&mut client, "uses_flushed") == 0 {
        used_once(&mut client, 1);
        expected += 1;
        assert!(expected < 100_000, "no flush begins");
    }
    for _ in 0..4 {
        used_once(&mut client, 500);
        expected += 500;
        wait_until("every answer is accounted for", || {
            let stats = stats(&mut client);
            let of = |name: &str| stats[name].as_i64().expect("a number");
            assert_eq!(of("valid"), expected);
            of("uses_pending") + of("uses_flushed") + of("uses_dropped") == expected
        });
    }
    wait_until("the slots are not half full", || counter(&mut client, "uses_pending") <= 32);
    let before = counter(&mut client, "uses_dropped");
    used_once(&mut client, 32);
    assert_eq!(counter(&mut client, "uses_dropped"), before);

    flush_every(&mut client, "100ms");
    wait_until_flushed(&mut client);
    let flushed = counter(&mut client, "uses_flushed");
    let sql = "SELECT sum(uses)::text FROM vpk.key_usage";
    assert_eq!(value(&mut client, sql, &[]), flushed.to_string());
}

/// G4: the uses of a key whose row is locked wait; all others are flushed.
#[test]
fn a_locked_row_delays_the_flush_of_its_key_alone() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    let (mut client, mut holder) = (cluster.client(), cluster.client());
    let (held, other) = (create(&mut client, "held"), create(&mut client, "other"));
    for key in [&held, &other] {
        use_key(&mut client, key, 1);
        wait_for_uses(&mut client, key, 1);
    }
    let sql = format!("BEGIN; SELECT FROM vpk.key_usage WHERE key_id = '{}' FOR UPDATE", held.id);
    holder.batch_execute(&sql).expect("a row lock");
    use_key(&mut client, &held, 5);
    for number in 2..=4 {
        use_key(&mut client, &other, 1);
        wait_for_uses(&mut client, &other, number);
    }
    assert_eq!(uses(&mut client, &held), 1);
    wait_for_pending(&mut client, 5);
    holder.batch_execute("COMMIT").expect("its end");
    wait_for_uses(&mut client, &held, 6);
    wait_until_flushed(&mut client);
    no_failure(&mut client);
}

/// What others see of an account's keys while the statement's transaction is open.
fn beside(cluster: &Cluster, sql: &str, keys: &[Key], other: &Key) -> Client {
    let (mut client, mut holder) = (cluster.client(), cluster.client());
    holder.batch_execute(&format!("BEGIN; {sql}")).unwrap_or_else(|error| panic!("{error}"));
    keys.iter().for_each(|key| use_key(&mut client, key, 1));
    let before = uses(&mut client, other);
    for number in 1..=3 {
        use_key(&mut client, other, 1);
        wait_for_uses(&mut client, other, before + number);
    }
    holder
}

/// G4: a removal or revocation that is not committed hinders the flush of no other key, and ends
/// without a deadlock. Where it is taken back nothing is lost; where it is committed nothing stays
/// behind, also of a key that was used for the first time meanwhile.
#[test]
fn keys_being_removed_delay_the_flush_of_no_other_key() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    let mut client = cluster.client();
    set_plan(&mut client, "acme", "Pro");
    let other = create(&mut client, "other");
    let keys = [create_for(&mut client, "used", "acme"), create_for(&mut client, "new", "acme")];
    use_key(&mut client, &keys[0], 1);
    wait_for_uses(&mut client, &keys[0], 1);

    let revoke_them = "SELECT vpk_revoke_account('acme')";
    beside(&cluster, revoke_them, &keys[..1], &other).batch_execute("ROLLBACK").expect("its end");
    wait_for_uses(&mut client, &keys[0], 2);

    let delete = "SELECT vpk_delete_account('acme')";
    let mut holder = beside(&cluster, delete, &keys, &other);
    let found = keys.each_ref().map(|key| uses(&mut client, key));
    assert_eq!(found, [2, 0]);
    wait_for_pending(&mut client, 2);
    holder.batch_execute("ROLLBACK").expect("its end");
    for (key, number) in keys.iter().zip([3, 1]) {
        wait_for_uses(&mut client, key, number);
    }

    let fresh = create_for(&mut client, "newer", "acme");
    let keys = [keys[0].clone(), fresh];
    beside(&cluster, delete, &keys, &other).batch_execute("COMMIT").expect("its end");
    assert_eq!(verify(&mut client, &keys[0].token), "INVALID_API_KEY");
    wait_for_flushes(&mut client, 2);
    let sql = "SELECT string_agg(key_id::text, ' ') FROM vpk.key_usage";
    assert_eq!(value(&mut client, sql, &[]), other.id);
    no_failure(&mut client);
}

/// G4: accounts that come and go while flushes run leave no row behind, and no error.
#[test]
fn accounts_that_come_and_go_leave_no_usage_behind() {
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = cluster.client();
    let other = create(&mut client, "other");
    for round in 0..60 {
        set_plan(&mut client, "acme", "Pro");
        let key = create_for(&mut client, "used", "acme");
        use_key(&mut client, &key, 2);
        use_key(&mut client, &other, 1);
        if round % 3 == 0 {
            wait_until("the first use has arrived", || uses(&mut client, &key) > 0);
            use_key(&mut client, &key, 2);
        }
        if round % 2 == 0 {
            revoke(&mut client, &key);
        }
        client.execute("SELECT vpk_delete_account('acme')", &[]).expect("its end");
    }
    wait_for_uses(&mut client, &other, 60);
    wait_for_flushes(&mut client, 2);
    assert_eq!(value(&mut client, ORPHANS, &[]), "0");
    no_failure(&mut client);
}

/// G4: a flush gives way to a lock on the table, which `vpk.stats` shows; no use is lost.
#[test]
fn a_flush_gives_way_to_a_locked_table_and_loses_nothing() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    let (mut client, mut holder) = (cluster.client(), cluster.client());
    let key = create(&mut client, "used");
    holder.batch_execute("BEGIN; LOCK TABLE vpk.key_usage").expect("a lock");
    use_key(&mut client, &key, 3);
    wait_until("a flush has failed", || {
        let stats = stats(&mut client);
        stats["last_error"].as_str().is_some_and(|error| error.contains("lock timeout"))
    });
    let before = stats(&mut client);
    assert_eq!(before["uses_pending"].as_i64(), Some(3));
    assert!(before["last_error_at"].is_string() && before["last_flush_at"].is_null());
    holder.batch_execute("COMMIT").expect("its end");
    wait_for_uses(&mut client, &key, 3);
    wait_until_flushed(&mut client);
    assert_eq!(stats(&mut client)["last_error"], before["last_error"]);
}

/// Gives the tables to a role without other privileges, whose trigger records the role that fires
/// it.
fn give_away(client: &mut Client) {
    client
        .batch_execute(
            "CREATE ROLE tenant;
             GRANT CREATE, USAGE ON SCHEMA vpk TO tenant;
             ALTER TABLE vpk.keys OWNER TO tenant;
             ALTER TABLE vpk.key_usage OWNER TO tenant;
             ALTER TABLE vpk.usage_history OWNER TO tenant;
             ALTER TABLE vpk.charge_history OWNER TO tenant;
             CREATE SCHEMA mine AUTHORIZATION tenant;
             SET ROLE tenant;
             CREATE TABLE mine.seen (what text);
             CREATE FUNCTION mine.look() RETURNS trigger LANGUAGE plpgsql AS $$
             DECLARE
                 attempt text;
             BEGIN
                 INSERT INTO mine.seen VALUES ('as ' || current_user),
                     ('path ' || current_setting('search_path'));
                 PERFORM set_config('search_path', 'mine, pg_catalog', false);
                 FOREACH attempt IN ARRAY ARRAY['SET ROLE postgres', 'RESET ROLE',
                     'SET SESSION AUTHORIZATION DEFAULT', 'CREATE ROLE planted SUPERUSER',
                     'ALTER ROLE tenant SUPERUSER', 'CREATE TEMPORARY TABLE planted ()'] LOOP
                     BEGIN
                         EXECUTE attempt;
                         INSERT INTO mine.seen VALUES ('could ' || attempt);
                     EXCEPTION WHEN OTHERS THEN
                     END;
                 END LOOP;
                 RETURN NEW;
             END$$;
             CREATE FUNCTION mine.same(name, name) RETURNS boolean LANGUAGE plpgsql AS $$
             BEGIN
                 INSERT INTO mine.seen VALUES ('an operator as ' || current_user);
                 RETURN $1 OPERATOR(pg_catalog.=) $2;
             END$$;
             CREATE OPERATOR mine.= (FUNCTION = mine.same, LEFTARG = name, RIGHTARG = name);
             RESET ROLE",
        )
        .expect("a tenant");
}

/// G6: a trigger that the table's owner has created there has the owner's privileges and no more,
/// also not at the end of the transaction.
#[test]
fn a_planted_trigger_runs_with_its_owners_privileges_alone() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    let mut client = cluster.client();
    give_away(&mut client);
    let key = create(&mut client, "used");
    // Its charges are flushed after the uses.
    run(&mut client, "SELECT vpk_set_quota(1000, account => 'default')");
    let seen = "SELECT string_agg(DISTINCT what, ', ' ORDER BY what) FROM mine.seen";
    let plant = |client: &mut Client, kind: &str, when: &str| {
        let sql = format!(
            "SET ROLE tenant; DROP TRIGGER IF EXISTS planted ON vpk.key_usage;
             CREATE {kind} planted {when} FOR EACH ROW EXECUTE FUNCTION mine.look(); RESET ROLE"
        );
        client.batch_execute(&sql).expect("a trigger");
    };
    plant(&mut client, "TRIGGER", "BEFORE INSERT OR UPDATE ON vpk.key_usage");
    for number in 1..=2 {
        use_key(&mut client, &key, 1);
        wait_for_uses(&mut client, &key, number);
        let found = value(&mut client, seen, &[]);
        assert_eq!(found, "as tenant, path pg_catalog, pg_temp");
    }
    let deferred = "AFTER UPDATE ON vpk.key_usage DEFERRABLE INITIALLY DEFERRED";
    plant(&mut client, "CONSTRAINT TRIGGER", deferred);
    use_key(&mut client, &key, 1);
    wait_until("the trigger was due", || {
        uses(&mut client, &key) == 3 || stats(&mut client)["last_error"].is_string()
    });
    assert_eq!(value(&mut client, seen, &[]), "as tenant, path pg_catalog, pg_temp");
    let roles = "SELECT string_agg(rolname, ' ') FROM pg_roles
                  WHERE rolsuper AND rolname <> 'postgres'";
    assert_eq!(value(&mut client, roles, &[]), "");
    client.batch_execute("DROP TRIGGER planted ON vpk.key_usage").expect("its end");
    wait_for_uses(&mut client, &key, 3);
    let charged = "SELECT coalesce(sum(used), 0)::text FROM vpk.quota_usage";
    wait_until("the charges are flushed", || value(&mut client, charged, &[]) == "3");
    assert_eq!(value(&mut client, seen, &[]), "as tenant, path pg_catalog, pg_temp");
}

/// A message that is too long to be kept is cut so that it stays text.
#[test]
fn an_error_is_shown_as_text() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    let mut client = cluster.client();
    let sql = "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS
                   $$ BEGIN RAISE EXCEPTION '%', 'x' || repeat('\u{e9}', 300); END $$;
               CREATE TRIGGER refuse BEFORE INSERT ON vpk.key_usage
                   FOR EACH ROW EXECUTE FUNCTION public.refuse()";
    client.batch_execute(sql).expect("a trigger");
    let key = create(&mut client, "used");
    use_key(&mut client, &key, 1);
    wait_until("the flush has failed", || stats(&mut client)["last_error"].is_string());
    let length = value(&mut client, "SELECT length(last_error)::text FROM vpk.stats", &[]);
    assert_eq!(length, "240");
}

/// G10: a database whose catalog is locked delays no other database's uses.
#[test]
fn a_locked_catalog_delays_the_flush_of_no_other_database() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    cluster.database("other", "UTF8");
    let mut holder = cluster.client();
    let held = create(&mut holder, "held");
    let mut other = cluster.connect("other", "postgres");
    let key = create(&mut other, "used");
    wait_for_uses(&mut other, &key, 0);
    let mut transaction = holder.transaction().expect("a transaction");
    assert_eq!(verify(&mut transaction, &held.token), "VALID");
    transaction
        .batch_execute("LOCK TABLE pg_catalog.pg_class IN ACCESS EXCLUSIVE MODE")
        .expect("the lock");
    use_key(&mut other, &key, 3);
    wait_for_uses(&mut other, &key, 3);
    transaction.commit().expect("its end");
    wait_for_uses(&mut holder, &held, 1);
}

/// G4, G6: a table that only has the name is not written to: neither where the extension is gone,
/// nor beside an extension that has lost its own. There the uses wait until it is back.
#[test]
fn a_table_that_only_has_the_name_is_not_written_to() {
    const FAKE: &str = "CREATE TABLE vpk.key_usage (key_id uuid PRIMARY KEY,
                            last_used_at timestamptz NOT NULL, uses bigint NOT NULL);
         CREATE TABLE public.marker (what text);
         CREATE FUNCTION public.mark() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO public.marker VALUES (current_user); RETURN NEW; END';
         CREATE TRIGGER mark BEFORE INSERT OR UPDATE ON vpk.key_usage
             FOR EACH ROW EXECUTE FUNCTION public.mark()";
    let cluster = start_flushing_hourly(&[]);
    for name in ["gone", "beside", "last"] {
        cluster.database(name, "UTF8");
    }
    let [mut gone, mut beside, mut last] =
        ["gone", "beside", "last"].map(|name| cluster.connect(name, "postgres"));
    let [gone_key, beside_key, key] = [&mut gone, &mut beside, &mut last].map(|client| {
        let key = create(client, "used");
        use_key(client, &key, 2);
        key
    });
    gone.batch_execute(
        "DROP EXTENSION vibepeak_keys;
         CREATE SCHEMA IF NOT EXISTS vpk;
         CREATE TABLE vpk.keys (id uuid PRIMARY KEY)",
    )
    .expect("no extension");
    let sql = format!("INSERT INTO vpk.keys VALUES ('{}')", gone_key.id);
    gone.batch_execute(&sql).expect("a key");
    gone.batch_execute(FAKE).expect("a fake table");
    beside.batch_execute("ALTER TABLE vpk.key_usage RENAME TO other").expect("another name");
    beside.batch_execute(FAKE).expect("a fake table");

    flush_every(&mut last, "100ms");
    // The databases are visited in the order of their OIDs.
    wait_for_uses(&mut last, &key, 2);
    use_key(&mut beside, &beside_key, 1);
    use_key(&mut last, &key, 1);
    wait_for_uses(&mut last, &key, 3);
    for client in [&mut gone, &mut beside] {
        let sql = "SELECT count(*)::text FROM (SELECT FROM public.marker
                   UNION ALL SELECT FROM vpk.key_usage) AS written";
        assert_eq!(value(client, sql, &[]), "0");
    }
    assert_eq!(counter(&mut beside, "uses_flushed"), 0);
    let sql = "SELECT last_error FROM vpk.stats";
    wait_until("the error is shown", || value(&mut beside, sql, &[]).contains("vpk.key_usage"));
    let back = "DROP TABLE vpk.key_usage; ALTER TABLE vpk.other RENAME TO key_usage";
    beside.batch_execute(back).expect("its own again");
    wait_for_uses(&mut beside, &beside_key, 3);
}

/// G4: a removal that begins while a key's first use is being flushed waits for it and deletes it,
/// at every isolation level.
#[test]
fn a_removal_waits_for_a_first_use_and_deletes_it() {
    let cluster = start_flushing_hourly(&[]);
    let (mut client, mut worker, mut remover) =
        (cluster.client(), cluster.client(), cluster.client());
    let remover_pid = pid(&mut remover);
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        for (removal, name) in [
            ("SELECT vpk_delete_account('acme')", "deleted"),
            ("SELECT vpk_purge(clock_timestamp())", "purged"),
        ] {
            set_plan(&mut client, "acme", "Pro");
            let key = create_for(&mut client, name, "acme");
            revoke(&mut client, &key);
            let sql = format!(
                "BEGIN;
                 SELECT FROM vpk.keys WHERE id = '{0}' FOR KEY SHARE;
                 INSERT INTO vpk.key_usage VALUES ('{0}', now(), 1)",
                key.id
            );
            worker.batch_execute(&sql).expect("what the worker does");
            thread::scope(|scope| {
                let sql = format!("BEGIN ISOLATION LEVEL {level}; {removal}; COMMIT");
                let remover = &mut remover;
                let removal = scope.spawn(move || {
                    remover.batch_execute(&sql).or_else(|error| {
                        // The row is newer than the transaction.
                        let code = error.code().map(|code| code.code().to_owned());
                        assert_eq!(code.as_deref(), Some("40001"), "{sql}: {error}");
                        assert!(!sql.contains("READ COMMITTED"), "{error}");
                        remover.batch_execute("ROLLBACK").and_then(|()| remover.batch_execute(&sql))
                    })
                });
                wait_for_lock(&mut client, remover_pid);
                worker.batch_execute("COMMIT").expect("its end");
                removal.join().expect("the remover").expect("a removal");
            });
            let sql = "SELECT count(*)::text FROM vpk.keys";
            assert_eq!(value(&mut client, sql, &[]), "0", "{level}: {name}");
            assert_eq!(value(&mut client, ORPHANS, &[]), "0", "{level}: {name}");
        }
    }
}
