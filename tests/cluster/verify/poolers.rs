//! Services behind a pooler: no call needs anything of the session that the next one gets.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use postgres::types::Type;

use crate::support::keys::{Key, create, create_for, revoke, set_plan};
use crate::support::known::run;
use crate::support::pooler::{Pooler, keeps_prepared_statements};
use crate::support::random::Random;
use crate::support::recipes::configuration;
use crate::support::redaction::{Logged, exposed};
use crate::support::{Client, Cluster, report, sqlstate, value};

const VERIFY: &str = "SELECT vpk_verify($1)::text";

const ROLES: &str = "CREATE ROLE backend LOGIN; CREATE ROLE backoffice LOGIN;
                     SELECT vpk_grant_verifier('backend'), vpk_grant_admin('backoffice')";

fn server() -> Cluster {
    let cluster = Cluster::start(&[]);
    run(&mut cluster.client(), ROLES);
    cluster
}

/// The first value of a statement of the simple protocol, where parameters are written as literals.
fn simple(client: &mut Client, sql: &str, parameter: &str) -> String {
    let sql = sql.replace("$1", &format!("'{parameter}'"));
    let messages = client.simple_query(&sql).unwrap_or_else(|error| panic!("{}", report(&error)));
    let row = messages.iter().find_map(|message| match message {
        postgres::SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    row.unwrap_or_default().to_owned()
}

/// The same by a statement without a name, whose parsing and execution are sent together.
fn unnamed(client: &mut Client, sql: &str, parameter: &str) -> String {
    let row = client.query_typed_one(sql, &[(&parameter, Type::TEXT)]);
    row.unwrap_or_else(|error| panic!("{sql}: {}", report(&error))).get(0)
}

const PROTOCOLS: [fn(&mut Client, &str, &str) -> String; 2] = [simple, unnamed];

/// The server's process that this client has right now.
fn server_process(client: &mut Client) -> String {
    simple(client, "SELECT pg_backend_pid()::text", "")
}

/// Clients that have one of the server connections each, until they end their transaction.
fn holding(pooler: &Pooler, user: &str) -> [Client; 3] {
    let mut clients = [(); 3].map(|()| pooler.client(user));
    clients.iter_mut().for_each(|client| run(client, "BEGIN"));
    let mut processes = clients.each_mut().map(server_process);
    processes.sort();
    assert!(processes.windows(2).all(|pair| pair[0] != pair[1]), "{processes:?}");
    clients
}

/// G1: a revocation that one client has committed counts on every server connection, also on those
/// that have just verified the key.
#[test]
fn a_revocation_counts_on_every_server_connection() {
    let cluster = server();
    let pooler = Pooler::start(&cluster, "transaction", &[]);
    let mut admin = pooler.client("backoffice");
    for ask in PROTOCOLS {
        let made = "SELECT token || ' ' || id FROM vpk_create($1)";
        let made = ask(&mut admin, made, "pooled");
        let (token, id) = made.split_once(' ').expect("a key and its id");
        let mut clients = holding(&pooler, "backend");
        for client in &mut clients {
            assert_eq!(ask(client, VERIFY, token), "VALID");
        }
        ask(&mut admin, "SELECT vpk_revoke($1::text::uuid)::text", id);
        for client in &mut clients {
            assert_eq!(ask(client, VERIFY, token), "API_KEY_REVOKED");
            run(client, "COMMIT");
            assert_eq!(ask(client, VERIFY, token), "API_KEY_REVOKED");
        }
    }
}

/// A key that clients share, and whether one of them has seen that it is revoked.
struct Shared {
    token: String,
    id: String,
    /// Whether a client has begun to revoke it.
    mortal: bool,
    revoked: AtomicBool,
}

/// G1, G2: twenty clients that share three server connections issue, revoke and verify; each answer
/// is right.
#[test]
fn twenty_clients_share_three_server_connections_and_get_right_answers() {
    const CLIENTS: usize = 20;
    let cluster = server();
    let pooler = Pooler::start(&cluster, "transaction", &[]);
    let keys: RwLock<Vec<Shared>> = RwLock::default();
    let mut seeds = Random::new();
    let add = |client: &mut Client, ask: fn(&mut Client, &str, &str) -> String, mortal| {
        let made = ask(client, "SELECT token || ' ' || id FROM vpk_create($1)", "shared");
        let (token, id) = made.split_once(' ').expect("a key and its id");
        let (token, id) = (token.to_owned(), id.to_owned());
        let key = Shared { token, id, mortal, revoked: AtomicBool::new(false) };
        keys.write().expect("the keys").push(key);
    };
    let mut first = pooler.client("backoffice");
    (0..10).for_each(|number| add(&mut first, unnamed, number % 2 == 0));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let mut random = Random::seeded(seeds.next());
            let (pooler, keys) = (&pooler, &keys);
            scope.spawn(move || {
                let mut client = pooler.client("backoffice");
                for _ in 0..150 {
                    let ask = *random.pick(&PROTOCOLS);
                    let kind = random.below(20);
                    if kind == 0 {
                        add(&mut client, ask, random.below(2) == 0);
                        continue;
                    }
                    let keys = keys.read().expect("the keys");
                    let key = random.pick(&keys);
                    if kind == 1 && key.mortal {
                        let sql = "SELECT vpk_revoke($1::text::uuid)::text";
                        assert_ne!(ask(&mut client, sql, &key.id), "");
                        key.revoked.store(true, SeqCst);
                        continue;
                    }
                    let revoked_before = key.revoked.load(SeqCst);
                    let told = ask(&mut client, VERIFY, &key.token);
                    match told.as_str() {
                        "VALID" => assert!(!revoked_before, "it was revoked before"),
                        "API_KEY_REVOKED" => assert!(key.mortal, "nobody has revoked it"),
                        other => panic!("{other}"),
                    }
                }
            });
        }
    });
    let sql = "SELECT count(*)::text FROM pg_stat_activity WHERE usename = 'backoffice'";
    assert_eq!(value(&mut cluster.client(), sql, &[]), "3");
    let keys = keys.into_inner().expect("the keys");
    let revoked = keys.iter().filter(|key| key.revoked.load(SeqCst)).count();
    assert!(keys.len() > 20 && revoked > 0, "{} keys, {revoked} revoked", keys.len());
}

/// Tasks are counted for the account, and a lease belongs to no session: another client
/// extends and finishes it on another server connection.
#[test]
fn a_lease_is_extended_and_finished_on_any_server_connection() {
    let cluster = server();
    let pooler = Pooler::start(&cluster, "transaction", &[]);
    let mut admin = cluster.client();
    set_plan(&mut admin, "acme", "Pro");
    let key = create_for(&mut admin, "pooled", "acme");
    let sql = "SELECT status || ' ' || coalesce(lease::text, '') FROM vpk_task_start($1)";
    let mut clients: Vec<Client> = (0..20).map(|_| pooler.client("backend")).collect();
    let started: Vec<String> = thread::scope(|scope| {
        let starts: Vec<_> = clients
            .iter_mut()
            .map(|client| scope.spawn(|| unnamed(client, sql, &key.token)))
            .collect();
        starts.into_iter().map(|start| start.join().expect("an answer")).collect()
    });
    let leases: Vec<&str> =
        started.iter().filter_map(|started| started.strip_prefix("VALID ")).collect();
    assert_eq!(leases.len(), 3, "{started:?}");
    let refused = |answer: &&String| answer.starts_with("CONCURRENCY_LIMIT_EXCEEDED");
    assert_eq!(started.iter().filter(refused).count(), 17, "{started:?}");

    let mut holders = holding(&pooler, "backend");
    let [one, other, third] = &mut holders;
    for lease in &leases {
        let extend = "SELECT (vpk_task_extend($1::text::uuid, '1 hour') > now())::text";
        assert_eq!(unnamed(one, extend, lease), "true");
        run(one, "COMMIT; BEGIN");
        let finish = "SELECT vpk_task_finish($1::text::uuid)::text";
        assert_eq!(unnamed(other, finish, lease), "true");
        run(other, "COMMIT; BEGIN");
        assert_eq!(unnamed(third, finish, lease), "false");
    }
    assert!(unnamed(third, sql, &key.token).starts_with("VALID "));
}

/// Prepared statements of the protocol belong to a server connection: before pgbouncer 1.21 they
/// are lost in transaction mode as soon as another client has it. Within one transaction, and in
/// session mode, they work.
#[test]
fn prepared_statements_work_through_a_pooler() {
    let cluster = server();
    let mut admin = cluster.client();
    let key = create(&mut admin, "pooled");
    let keeps = keeps_prepared_statements();
    let settings: &[(&str, &str)] = if keeps { &[("max_prepared_statements", "100")] } else { &[] };
    let pooler = Pooler::start(&cluster, "transaction", settings);
    let (mut client, mut other) = (pooler.client("backend"), pooler.client("backend"));

    let prepared = client.prepare(VERIFY).expect("a statement");
    let process = server_process(&mut client);
    run(&mut other, "BEGIN");
    assert_eq!(server_process(&mut other), process, "the other client has that connection now");
    let asked = client.query_one(&prepared, &[&key.token]);
    if keeps {
        assert_eq!(asked.expect("an answer").get::<_, String>(0), "VALID");
    } else {
        assert_eq!(sqlstate("another connection", asked), "26000");
    }
    run(&mut other, "COMMIT");

    let mut transaction = client.transaction().expect("a transaction");
    assert_eq!(value(&mut transaction, VERIFY, &[&key.token]), "VALID");
    transaction.commit().expect("its end");

    let pooler = Pooler::start(&cluster, "session", &[]);
    let mut client = pooler.client("backend");
    let prepared = client.prepare(VERIFY).expect("a statement");
    for (expected, change) in [("VALID", "vpk_revoke"), ("API_KEY_REVOKED", "vpk_disable")] {
        let told: String = client.query_one(&prepared, &[&key.token]).expect("an answer").get(0);
        assert_eq!(told, expected);
        value(&mut admin, &format!("SELECT {change}($1::text::uuid)::text"), &[&key.id]);
    }
}

/// What one client sets, the next one has in transaction mode, unless it was for its transaction
/// only or the pooler resets it. No answer depends on what a service may set.
#[test]
fn settings_left_behind_by_clients_change_no_answer() {
    const SHOW: &str = "SHOW vibepeak_keys.backend_cache";
    let cluster = server();
    let mut admin = cluster.client();
    for (mode, settings, kept) in [
        ("transaction", &[][..], true),
        ("transaction", &[("server_reset_query_always", "1")][..], false),
        ("session", &[][..], false),
    ] {
        let key = create(&mut admin, "pooled");
        let pooler = Pooler::start(&cluster, mode, settings);
        let ask = |client: &mut Client, expected: &str| {
            for ask in PROTOCOLS {
                assert_eq!(ask(client, VERIFY, &key.token), expected, "{mode} {settings:?}");
            }
        };
        let mut client = pooler.client("backend");
        let default = simple(&mut client, SHOW, "");
        let process = server_process(&mut client);
        ask(&mut client, "VALID");
        run(&mut client, "BEGIN; SET LOCAL vibepeak_keys.backend_cache = 0; COMMIT");
        assert_eq!(simple(&mut client, SHOW, ""), default);
        run(&mut client, "SET vibepeak_keys.backend_cache = 0");
        let refused = "SET vibepeak_keys.environments = 'test'";
        assert_eq!(sqlstate(refused, client.batch_execute(refused)), "42501");
        ask(&mut client, "VALID");
        drop(client);

        let mut next = pooler.client("backend");
        assert_eq!(server_process(&mut next), process, "the same connection");
        let left = if kept { "0" } else { default.as_str() };
        assert_eq!(simple(&mut next, SHOW, ""), left, "{mode} {settings:?}");
        ask(&mut next, "VALID");
        revoke(&mut admin, &key);
        ask(&mut next, "API_KEY_REVOKED");
    }
}

/// The configuration that the documentation prints, with the socket and the database of this
/// server.
#[test]
fn the_documented_configuration_works() {
    let cluster = server();
    let key = create(&mut cluster.client(), "pooled");
    let printed = configuration("poolers.md", "[databases]");
    let [host, database] = ["host=localhost", "dbname=app"];
    assert!(printed.contains(host) && printed.contains(database), "{printed}");
    let mut own = printed.replace(host, &format!("host={}", cluster.socket()));
    own = own.replace(database, "dbname=postgres").replace("\napp =", "\npostgres =");
    if keeps_prepared_statements() {
        own = own.replace("; max_prepared_statements", "max_prepared_statements");
    }
    let pooler = Pooler::configured(&cluster, &own, &[]);
    for ask in PROTOCOLS {
        assert_eq!(ask(&mut pooler.client("backend"), VERIFY, &key.token), "VALID");
    }
}

/// G5: a key that comes through a pooler is redacted as one that comes directly, and the pooler's
/// own log has no key.
#[test]
fn keys_in_statements_through_a_pooler_are_redacted() {
    let settings = [("log_statement", "all"), ("log_min_duration_statement", "0")];
    let mut logged = Logged::start(&settings);
    run(&mut logged.cluster.client(), ROLES);
    let key: Key = create(&mut logged.cluster.client(), "pooled");
    let pooler = Pooler::start(&logged.cluster, "transaction", &[("verbose", "3")]);
    let mut client = pooler.client("backend");
    for ask in PROTOCOLS {
        logged.lines();
        assert_eq!(ask(&mut client, VERIFY, &key.token), "VALID");
        assert_eq!(logged.assert_redacted("through a pooler", &key.token), 3);
    }
    let wrong = format!("SELECT vpk_verify('{}'::int::text)", key.token);
    let error = client.batch_execute(&wrong).expect_err("no number");
    assert!(exposed(&report(&error), &key.token).is_none(), "{}", report(&error));
    logged.assert_redacted("an error", &key.token);
    let shown = "SELECT string_agg(query, ' ') FROM pg_stat_activity WHERE pid <> pg_backend_pid()";
    let shown = value(&mut logged.cluster.client(), shown, &[]);
    assert!(shown.contains(&key.token[..13]), "{shown}");
    assert_eq!(exposed(&shown, &key.token), None);
    assert_eq!(exposed(&pooler.log(), &key.token), None);
}
