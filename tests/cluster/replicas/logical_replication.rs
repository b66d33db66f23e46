//! G9: a server that gets the keys by logical replication verifies by itself, as the documentation
//! says.

use std::thread;

use crate::dumps::{self, Folder};
use crate::support::keys::{Key, authenticate, create, create_for, revoke, set_plan, verify};
use crate::support::known::run;
use crate::support::recipes::recipe;
use crate::support::usage::{FLUSH_EVERY_200MS, use_key, uses};
use crate::support::{Client, Cluster, pid, value, wait_until};

fn of_the_page(beginning: &str) -> String {
    recipe("replication.md", "logical_replication.rs", beginning)
}

/// A publishing server with some keys, and one that has subscribed as the documentation says.
struct Servers {
    publisher: Cluster,
    subscriber: Cluster,
    admin: Client,
    reader: Client,
}

impl Servers {
    fn start(prepare: impl FnOnce(&mut Client)) -> Servers {
        let publisher = Cluster::start(&[&[("wal_level", "logical")], FLUSH_EVERY_200MS].concat());
        // The documentation has the functions in a schema of their own.
        let path: &[_] = &[("search_path", "public, keys")];
        let subscriber = Cluster::start(&[path, FLUSH_EVERY_200MS].concat());
        let (mut admin, mut reader) = (publisher.client(), subscriber.client());
        prepare(&mut admin);
        run(&mut admin, &of_the_page("CREATE PUBLICATION"));
        run(&mut reader, "DROP EXTENSION vibepeak_keys");
        let mut servers = Servers { publisher, subscriber, admin, reader };
        servers.subscribe("CREATE SCHEMA");
        servers
    }

    /// Runs the statements of the page on the subscriber, and waits for the copy.
    fn subscribe(&mut self, beginning: &str) {
        let page = of_the_page(beginning);
        let own =
            page.replace("host=primary dbname=app user=replicator", &self.publisher.address());
        assert_ne!(own, page);
        // A subscription is made outside of a transaction.
        for statement in own.split_terminator(';') {
            run(&mut self.reader, statement);
        }
        let reader = &mut self.reader;
        wait_until("the copy is complete", || {
            let sql = "SELECT bool_and(srsubstate = 'r')::text FROM pg_subscription_rel";
            value(reader, sql, &[]) == "true"
        });
        self.catch_up();
    }

    /// Waits until the subscriber has applied all that was committed.
    fn catch_up(&mut self) {
        let admin = &mut self.admin;
        value(admin, "SELECT pg_logical_emit_message(true, 'here', '')::text", &[]);
        let committed = value(admin, "SELECT pg_current_wal_flush_lsn()::text", &[]);
        wait_until("the subscriber has caught up", || {
            let sql = "SELECT (replay_lsn >= $1::text::pg_lsn)::text FROM pg_stat_replication
                        WHERE application_name = 'api_keys'";
            let rows = admin.query(sql, &[&committed]).expect("the subscribers");
            rows.first()
                .is_some_and(|row| row.get::<_, Option<String>>(0).as_deref() == Some("true"))
        });
    }

    /// What the subscriber answers to a session that has asked before.
    fn check(&mut self, expected: &[(&Key, &str)], when: &str) {
        self.catch_up();
        for (key, expected) in expected {
            let reader = &mut self.reader;
            let found = [verify(reader, &key.token), authenticate(reader, &key.token)];
            assert_eq!(found, [*expected; 2], "{when}");
            assert_eq!(verify(&mut self.admin, &key.token), *expected, "{when}");
        }
    }
}

/// The initial copy, and then each kind of change, in a session that has verified the keys before;
/// no trigger of the extension stands in the way, and none is missed.
#[test]
fn a_subscriber_verifies_every_replicated_key() {
    let mut keys: Vec<Key> = Vec::new();
    let mut servers = Servers::start(|admin| {
        // Plans edited, added and removed, accounts moved: the built-in rows hinder none of it.
        run(admin, "UPDATE vpk.plans SET concurrent_tasks = 2 WHERE plan = 'Plus'");
        run(admin, "INSERT INTO vpk.plans (plan, api_access) VALUES ('Team', true)");
        run(admin, "DELETE FROM vpk.plans WHERE plan = 'Starter'");
        set_plan(admin, "default", "Plus");
        set_plan(admin, "acme", "Free");
        set_plan(admin, "team", "Team");
        run(admin, "SELECT vpk_set_rate_limit('day', 1000000, '1 day', plan => 'Team')");
        run(admin, "SELECT vpk_set_quota(1000000, account => 'team')");
        let owners = ["default", "acme", "team", "team", "team", "team"];
        keys.extend(owners.iter().map(|account| create_for(admin, "copied", account)));
    });
    let [default, acme, team, rotated, disabled, deleted] =
        <[Key; 6]>::try_from(keys).expect("six keys");
    servers.check(
        &[
            (&default, "VALID"),
            (&acme, "PLAN_REQUIRED"),
            (&team, "VALID"),
            (&rotated, "VALID"),
            (&disabled, "VALID"),
        ],
        "copied",
    );
    let rows = "SELECT (SELECT jsonb_agg(p ORDER BY plan) FROM vpk.plans AS p)::text
                    || (SELECT jsonb_agg(a ORDER BY account) FROM vpk.accounts AS a)::text
                    || (SELECT jsonb_agg(r ORDER BY name) FROM vpk.removed_defaults AS r)::text
                    || (SELECT jsonb_agg(l ORDER BY subject COLLATE \"C\", name)
                          FROM (SELECT subject, name, amount FROM vpk.rate_limits
                                 UNION ALL
                                SELECT subject, name, amount FROM vpk.quotas) AS l)::text";
    assert_eq!(value(&mut servers.admin, rows, &[]), value(&mut servers.reader, rows, &[]));

    let new = create(&mut servers.admin, "new");
    servers.check(&[(&new, "VALID")], "a new key");
    revoke(&mut servers.admin, &new);
    servers.check(&[(&new, "API_KEY_REVOKED")], "a revocation");
    set_plan(&mut servers.admin, "acme", "Team");
    servers.check(&[(&acme, "VALID")], "another plan");
    run(&mut servers.admin, "UPDATE vpk.plans SET api_access = false WHERE plan = 'Team'");
    servers.check(&[(&acme, "PLAN_REQUIRED"), (&team, "PLAN_REQUIRED")], "an edited plan");
    let rename = "UPDATE vpk.plans SET plan = 'Teams', api_access = true WHERE plan = 'Team'";
    run(&mut servers.admin, rename);
    servers.check(&[(&acme, "VALID"), (&team, "VALID")], "a renamed plan");
    for of in ["plan => 'Teams'".to_owned(), format!("id => '{}'", rotated.id)] {
        let sql = format!("SELECT vpk_set_rate_limit('day', 900000, '1 day', {of})");
        run(&mut servers.admin, &sql);
    }
    servers.catch_up();
    assert_eq!(value(&mut servers.admin, rows, &[]), value(&mut servers.reader, rows, &[]));
    let sql = "SELECT id::text, token FROM vpk_rotate($1::text::uuid)";
    let row = servers.admin.query_one(sql, &[&rotated.id]).expect("a successor");
    let successor = Key { id: row.get(0), token: row.get(1) };
    servers.check(&[(&rotated, "API_KEY_REVOKED"), (&successor, "VALID")], "a rotation");
    let sql = "SELECT vpk_disable($1::text::uuid)::text";
    value(&mut servers.admin, sql, &[&disabled.id]);
    servers.check(&[(&disabled, "API_KEY_DISABLED")], "a disabling");
    run(&mut servers.admin, &format!("SELECT vpk_enable('{}')", disabled.id));
    servers.check(&[(&disabled, "VALID")], "an enabling");
    run(&mut servers.admin, &format!("DELETE FROM vpk.keys WHERE id = '{}'", deleted.id));
    run(&mut servers.admin, "SELECT vpk_delete_account('acme')");
    servers.check(&[(&acme, "INVALID_API_KEY"), (&deleted, "INVALID_API_KEY")], "deletions");
    run(&mut servers.admin, "DELETE FROM vpk.plans WHERE plan = 'Free'");
    servers.catch_up();
    assert_eq!(value(&mut servers.admin, rows, &[]), value(&mut servers.reader, rows, &[]));

    // Uses are counted where the key was verified.
    let of_each = [&mut servers.admin, &mut servers.reader].map(|client| uses(client, &default));
    use_key(&mut servers.reader, &default, 9);
    wait_until("they have come to its table", || uses(&mut servers.reader, &default) >= 9);
    use_key(&mut servers.admin, &team, 20);
    wait_until("they have come to its table", || uses(&mut servers.admin, &team) >= 20);
    servers.catch_up();
    assert!(uses(&mut servers.reader, &team) < 20, "uses are not replicated");
    assert!(uses(&mut servers.admin, &default) < 9, "uses are not replicated: {of_each:?}");
    let events = "SELECT count(*)::text FROM vpk.events";
    assert_eq!(value(&mut servers.reader, events, &[]), "0");
    assert!(!servers.subscriber.log().contains("ERROR"), "{}", servers.subscriber.log());
}

/// What the doctor says of an item: nothing where it is in order.
fn doctor(client: &mut Client, item: &str) -> String {
    let sql = "SELECT CASE WHEN ok THEN '' ELSE detail END FROM vpk_doctor() WHERE item = $1";
    value(client, sql, &[&item])
}

/// A table that was truncated too late stays empty while all looks well. The doctor of the
/// subscriber says so, and what the page says brings the rows back.
#[test]
fn the_doctor_of_a_subscriber_finds_tables_that_are_empty_or_not_kept_up_to_date() {
    let mut keys = Vec::new();
    let mut servers = Servers::start(|admin| keys.push(create(admin, "copied")));
    let [key] = <[Key; 1]>::try_from(keys).expect("a key");
    servers.check(&[(&key, "VALID")], "copied");
    assert_eq!(doctor(&mut servers.reader, "subscriptions"), "");

    run(&mut servers.reader, "ALTER SUBSCRIPTION api_keys DISABLE");
    let found = doctor(&mut servers.reader, "subscriptions");
    assert!(found.contains("api_keys: vpk.keys is not updated, since it is disabled"), "{found}");
    run(&mut servers.reader, "ALTER SUBSCRIPTION api_keys ENABLE");
    servers.catch_up();
    assert_eq!(doctor(&mut servers.reader, "subscriptions"), "");

    let late = "TRUNCATE vpk.keys, vpk.accounts, vpk.plans, vpk.removed_defaults";
    run(&mut servers.reader, late);
    servers.catch_up();
    assert_eq!(verify(&mut servers.reader, &key.token), "INVALID_API_KEY");
    let found = doctor(&mut servers.reader, "subscriptions");
    assert!(
        found.contains(
            "api_keys: vpk.accounts is empty; api_keys: vpk.keys is empty; \
             api_keys: vpk.plans is empty"
        ),
        "{found}"
    );

    servers.subscribe("DROP SUBSCRIPTION");
    servers.check(&[(&key, "VALID")], "copied again");
    assert_eq!(doctor(&mut servers.reader, "subscriptions"), "");

    // A copy that cannot begin, since a row is in the way.
    run(&mut servers.reader, "DROP SUBSCRIPTION api_keys");
    let own = of_the_page("DROP SUBSCRIPTION");
    let own = own.replace("host=primary dbname=app user=replicator", &servers.publisher.address());
    let create = own.split_terminator(';').find(|statement| statement.contains("CREATE"));
    run(&mut servers.reader, create.expect("a subscription"));
    let found = doctor(&mut servers.reader, "subscriptions");
    assert!(found.contains("api_keys: vpk.keys is not copied completely"), "{found}");
}

/// A dump and a restore can take the extension's tables out of a publication. The doctor says so,
/// and the page's statement puts them back.
#[test]
fn a_restored_publication_gets_its_tables_back() {
    let publisher = Cluster::start(&[("wal_level", "logical")]);
    let mut admin = publisher.client();
    run(&mut admin, &of_the_page("CREATE PUBLICATION"));
    let published = |client: &mut Client| {
        let sql = "SELECT coalesce(string_agg(tablename, ' ' ORDER BY tablename), '')
                     FROM pg_publication_tables WHERE pubname = 'api_keys'";
        value(client, sql, &[])
    };
    let before = published(&mut admin);
    assert_eq!(before, "accounts keys plans removed_defaults");
    let doctor = |client: &mut Client| {
        let found = doctor(client, "publications");
        found.split_once(": ").map(|(_, found)| found.to_owned())
    };
    let meant = Some("api_keys replicates the hashes".to_owned());
    assert_eq!(doctor(&mut admin), meant);

    let folder = Folder::new("dumped_publication");
    let file = folder.file("dump");
    dumps::run(&publisher, "pg_dump", &["-Fc", "-f", &file, "postgres"]);
    run(&mut admin, "CREATE DATABASE restored TEMPLATE template0");
    dumps::run(&publisher, "pg_restore", &["-e", "-d", "restored", &file]);
    let mut restored = publisher.connect("restored", "postgres");
    // pg_dump of 18 and later keeps them.
    let number = value(&mut restored, "SHOW server_version_num", &[]);
    if number.parse::<u32>().is_ok_and(|number| number < 180_000) {
        assert_eq!(published(&mut restored), "");
        assert_eq!(doctor(&mut restored).as_deref(), Some("api_keys has no table"));
    }
    // Put back by hand, and not all of it.
    run(&mut restored, "ALTER PUBLICATION api_keys SET TABLE vpk.keys");
    let partial = "api_keys replicates the hashes and lacks vpk.accounts, vpk.plans";
    assert_eq!(doctor(&mut restored).as_deref(), Some(partial));
    run(&mut restored, &of_the_page("ALTER PUBLICATION"));
    assert_eq!(published(&mut restored), before);
    assert_eq!(doctor(&mut restored), meant);
}

/// Whether a session of the publisher waits for a subscriber.
fn waits(observer: &mut Client, process: i32) -> bool {
    let sql = "SELECT (wait_event = 'SyncRep')::text FROM pg_stat_activity WHERE pid = $1";
    let row = observer.query_one(sql, &[&process]).expect("a process");
    row.get::<_, Option<String>>(0).as_deref() == Some("true")
}

/// A subscription that `synchronous_standby_names` names is waited for as a standby is: a
/// revocation returns when the subscriber has applied it.
#[test]
fn a_revocation_waits_for_a_synchronous_subscription() {
    let mut servers = Servers::start(|_| {});
    let key = create(&mut servers.admin, "key");
    servers.check(&[(&key, "VALID")], "at first");
    run(&mut servers.admin, "ALTER SYSTEM SET synchronous_standby_names = 'api_keys'");
    run(&mut servers.admin, "SELECT pg_reload_conf()");
    let mut observer = servers.publisher.client();
    wait_until("the subscriber is synchronous", || {
        let sql = "SELECT string_agg(sync_state, ' ') FROM pg_stat_replication";
        value(&mut observer, sql, &[]) == "sync"
    });
    // Held up as long as the subscriber's table can only be read.
    let mut holder = servers.subscriber.client();
    run(&mut holder, "BEGIN; LOCK TABLE vpk.keys IN SHARE MODE");
    let mut session = servers.publisher.client();
    // Commits wait once the checkpointer has read the setting.
    run(&mut session, "CHECKPOINT; SET synchronous_commit = off");
    let process = pid(&mut session);
    thread::scope(|scope| {
        let (id, reader) = (key.id.clone(), &mut servers.reader);
        let call = scope
            .spawn(move || value(&mut session, "SELECT vpk_revoke($1::text::uuid)::text", &[&id]));
        wait_until("the revocation waits", || {
            assert!(!call.is_finished(), "it has not waited for the subscriber");
            waits(&mut observer, process)
        });
        assert_eq!(verify(reader, &key.token), "VALID");
        run(&mut holder, "COMMIT");
        call.join().expect("the revocation");
        assert_eq!(verify(reader, &key.token), "API_KEY_REVOKED");
        assert_eq!(authenticate(reader, &key.token), "API_KEY_REVOKED");
    });
}
