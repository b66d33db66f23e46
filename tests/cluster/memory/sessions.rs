//! The memory of a session that works without end: it stays as it was after a while, and what it
//! remembers of keys stays within `vibepeak_keys.backend_cache`. Part of G10: a server that runs
//! for months has such sessions, in its users' pools.

use std::thread;
use std::time::Duration;

use crate::support::keys::{checksum, create_for, set_plan};
use crate::support::known::run;
use crate::support::process::{contexts, own_memory, soak};
use crate::support::random::Random;
use crate::support::{Client, Cluster, filled, pid, value};

/// What a session's contexts may have more at the end, in kilobytes. A leak of 64 bytes for each
/// call would be more: of what reads, always, and of what writes, in the long variant.
const SLACK: i64 = 96;

/// What a session may remember of keys in [`verifications_without_end`], in kilobytes.
const REMEMBERED: i64 = 256;

/// What a process may have more at its end, beside its contexts: what the allocator keeps of large
/// pieces, such as the parameters of a statement here, up to 2 MB each. A leak of 64 bytes for each
/// call would be twice as much.
const LEFTOVERS: i64 = 4_096;

/// Well-formed tokens that were never issued.
fn unknown(random: &mut Random, number: usize) -> Vec<String> {
    let one = |random: &mut Random| {
        let body = format!("vpk_live_{:026}", u128::from(random.next()) << 20);
        let tail = checksum(body.as_bytes());
        format!("{body}{}", String::from_utf8_lossy(&tail))
    };
    (0..number).map(|_| one(random)).collect()
}

/// Strings that are no keys.
fn malformed(random: &mut Random, number: usize) -> Vec<String> {
    let one = |random: &mut Random| match random.below(3) {
        0 => " ".repeat(random.below(50)),
        1 => format!("vpk_live_{:032}", random.next()),
        _ => "é".repeat(random.below(3_000)),
    };
    (0..number).map(|_| one(random)).collect()
}

/// How many of these are valid, by one statement.
fn valid(client: &mut Client, tokens: &[String]) -> i64 {
    let sql = "SELECT count(*) FROM unnest($1::text[]) AS token WHERE vpk_verify(token) = 'VALID'";
    client.query_one(sql, &[&tokens]).expect("the answers").get(0)
}

struct Measured {
    contexts: i64,
    own: i64,
}

fn measure(client: &mut Client, pid: i32) -> Measured {
    Measured { contexts: contexts(client), own: own_memory(pid) }
}

fn assert_flat(what: &str, before: &Measured, after: &Measured, slack: i64) {
    for (kind, before, after, slack) in [
        ("contexts", before.contexts, after.contexts, SLACK),
        ("own", before.own, after.own, slack),
    ] {
        println!("{what}, {kind}: {before} kB, then {after} kB");
        assert!(after - before <= slack, "{what}, {kind}: {before} kB, then {after} kB");
    }
}

/// A server with so many keys, their tokens in a table.
fn cluster(keys: usize) -> Cluster {
    let cluster = Cluster::start(&[("synchronous_commit", "off"), ("shared_buffers", "256MB")]);
    let sql = format!(
        "CREATE TABLE tokens AS SELECT token FROM generate_series(1, {keys}) AS g, vpk_create('key ' || g)"
    );
    run(&mut cluster.client(), &sql);
    cluster
}

/// Real keys, unknown ones and malformed strings, by many statements, and by one.
#[test]
fn verifications_without_end_take_no_more_memory() {
    let (keys, unknown_keys) = if soak() { (200_000, 5_000_000) } else { (20_000, 100_000) };
    const BATCH: usize = 10_000;
    let cluster = cluster(keys);
    let mut client = cluster.client();
    let process = pid(&mut client);
    run(&mut client, &format!("SET vibepeak_keys.backend_cache = {REMEMBERED}"));
    let mut random = Random::new();
    let all = "SELECT count(*)::text FROM tokens WHERE vpk_verify(token) = 'VALID'";
    let batch = |client: &mut Client, random: &mut Random| {
        assert_eq!(valid(client, &unknown(random, BATCH)), 0);
        assert_eq!(valid(client, &malformed(random, BATCH / 10)), 0);
        assert_eq!(value(client, "SELECT vpk_verify($1)::text", &[&"nonsense"]), "INVALID_API_KEY");
    };
    for _ in 0..3 {
        assert_eq!(value(&mut client, all, &[]), keys.to_string());
        batch(&mut client, &mut random);
    }
    let before = measure(&mut client, process);
    for round in 0..unknown_keys / BATCH {
        batch(&mut client, &mut random);
        if round % 5 == 0 {
            assert_eq!(value(&mut client, all, &[]), keys.to_string());
        }
    }
    let after = measure(&mut client, process);
    assert_flat("many statements", &before, &after, LEFTOVERS);

    // One statement has all its memory until it ends, so it is looked at meanwhile.
    // A compiler takes some megabytes for itself.
    run(&mut client, "SET enable_material = off; SET jit = off");
    let sql = format!(
        "SELECT count(*) FILTER (WHERE vpk_verify(token) = 'VALID'),
                count(*) FILTER (WHERE vpk_verify('vpk_live_' || n) = 'VALID')
           FROM tokens, (SELECT generate_series(1, {}) AS n) AS s",
        unknown_keys / keys
    );
    let most = thread::scope(|scope| {
        let statement = scope.spawn(|| client.query_one(&sql, &[]).expect("the answers"));
        let mut most = 0;
        while !statement.is_finished() {
            most = most.max(own_memory(process));
            thread::sleep(Duration::from_millis(5));
        }
        let row = statement.join().expect("a statement");
        assert_eq!(row.get::<_, i64>(0), (unknown_keys / keys * keys) as i64);
        assert_eq!(row.get::<_, i64>(1), 0);
        most
    });
    println!("one statement: at most {most} kB");
    assert!(most <= after.own + LEFTOVERS, "{} kB before, {most} kB in one statement", after.own);
}

/// What a session remembers of keys is bounded by the setting, also after it was made smaller and
/// larger again.
#[test]
fn the_setting_bounds_what_a_session_remembers() {
    let keys = if soak() { 200_000 } else { 20_000 };
    let cluster = cluster(keys);
    let all = "SELECT count(*)::text FROM tokens WHERE vpk_verify(token) = 'VALID'";
    let grown = |kilobytes: i64| {
        let mut client = cluster.client();
        let process = pid(&mut client);
        run(&mut client, &format!("SET vibepeak_keys.backend_cache = {kilobytes}"));
        // One key is enough for all else that a session keeps.
        run(&mut client, &all.replace("tokens", "(SELECT * FROM tokens LIMIT 1) AS one"));
        contexts(&mut client);
        let before = own_memory(process);
        for _ in 0..3 {
            assert_eq!(value(&mut client, all, &[]), keys.to_string());
        }
        let full = own_memory(process) - before;
        for limit in [0, kilobytes] {
            run(&mut client, &format!("SET vibepeak_keys.backend_cache = {limit}"));
            assert_eq!(value(&mut client, all, &[]), keys.to_string());
        }
        (full, own_memory(process) - before)
    };
    let (nothing, _) = grown(0);
    for limit in [256, 2_048, 8_192] {
        let (full, again) = grown(limit);
        println!(
            "limit {limit} kB: {full} kB, {nothing} kB with nothing, {again} kB the next time"
        );
        // A table that has grown leaves room behind, for the session's other uses.
        let most = limit * 3 / 2 + 256;
        assert!(full - nothing <= most, "{full} kB with {limit}, {nothing} kB with 0");
        assert!(again - nothing <= most + limit / 2, "{again} kB with {limit}, {full} kB at first");
    }
    let (full, _) = grown(8_192);
    assert!(full - nothing >= 1_024, "it is made use of: {full} kB, {nothing} kB with nothing");
}

/// Every function and view, again and again in one session.
#[test]
fn every_call_repeated_without_end_takes_no_more_memory() {
    let (reads, writes) = if soak() { (100_000, 100_000) } else { (1_500, 150) };
    let cluster = Cluster::start(&[("synchronous_commit", "off"), ("shared_buffers", "64MB")]);
    let mut client = cluster.client();
    let process = pid(&mut client);
    run(&mut client, "CREATE ROLE service");
    set_plan(&mut client, "acme", "Pro");
    set_plan(&mut client, "poor", "Free");
    let key = create_for(&mut client, "key", "acme");
    let poor = create_for(&mut client, "key", "poor");
    let lease =
        value(&mut client, "SELECT lease::text FROM vpk_task_start($1, '1 day')", &[&key.token]);
    let values =
        [("POOR", &*poor.token), ("KEY", &*key.token), ("ID", &*key.id), ("LEASE", &*lease)];
    let fill = |call: &str| filled(call, &values);
    run(
        &mut client,
        "SELECT vpk_set_rate_limit('minute', 1000000, '1 second', account => 'acme');
         SELECT vpk_set_quota(1000000000, 'total', account => 'acme')",
    );
    assert_eq!(not_called(&mut client), Vec::<String>::new());
    for (calls, number, refused) in
        [(READS, reads, false), (WRITES, writes, false), (REFUSED, writes, true)]
    {
        for call in calls {
            set_plan(&mut client, "made", "Pro");
            let sql = fill(call);
            let calls = |client: &mut Client, number: usize| {
                let statement =
                    client.prepare(&sql).unwrap_or_else(|error| panic!("{call}: {error}"));
                for _ in 0..number {
                    let result = client.query(&statement, &[]);
                    assert_eq!(result.is_err(), refused, "{call}: {:?}", result.err());
                }
            };
            calls(&mut client, number / 5);
            // What a call loses, it loses each time. Others, autovacuum for one, may have the
            // session make its plans anew, once.
            let mut before = measure(&mut client, process);
            for rounds_left in (0..3).rev() {
                calls(&mut client, number);
                let after = measure(&mut client, process);
                if rounds_left == 0 || after.own - before.own <= 256 {
                    assert_flat(call, &before, &after, 256);
                    break;
                }
                before = after;
            }
            // What follows is not to go through the keys of those before.
            run(&mut client, "SELECT vpk_delete_account('made')");
        }
    }
}

/// The functions and views that none of the calls below has.
fn not_called(client: &mut Client) -> Vec<String> {
    let sql = "SELECT coalesce(p.proname, c.relname)::text
                 FROM pg_extension AS e
                 JOIN pg_depend AS d ON d.refobjid = e.oid AND d.deptype = 'e'
                 LEFT JOIN pg_proc AS p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
                                      AND p.proname LIKE 'vpk\\_%'
                 LEFT JOIN pg_class AS c
                        ON d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind = 'v'
                WHERE e.extname = 'vibepeak_keys' AND coalesce(p.proname, c.relname) IS NOT NULL";
    let names = client.query(sql, &[]).expect("what there is");
    let called = |name: &String| {
        [READS, WRITES, REFUSED].iter().any(|calls| {
            calls.iter().any(|call| {
                call.contains(&format!("{name}(")) || call.contains(&format!("vpk.{name}"))
            })
        })
    };
    names.iter().map(|row| row.get(0)).filter(|name| !called(name)).collect()
}

const READS: &[&str] = &[
    "SELECT vpk_verify('KEY')",
    "SELECT vpk_verify_hash(sha256('KEY'))",
    "SELECT * FROM vpk_authenticate('Bearer KEY', scope => 'read', client_ip => '::1')",
    "SELECT * FROM vpk_authenticate('Bearer POOR', request_id => 'mine')",
    "SELECT vpk_error('PLAN_REQUIRED', account => 'poor')",
    "SELECT vpk_client_ip('192.0.2.1, [2001:db8::1]:80'), vpk_client_ip('unknown')",
    "SELECT * FROM vpk_list(max_rows => 5)",
    "SELECT * FROM vpk.key_list",
    "SELECT * FROM vpk.stats",
    "SELECT * FROM vpk.status_codes",
    "SELECT * FROM vpk.rate_limits",
    "SELECT * FROM vpk.quotas",
    "SELECT * FROM vpk_rate_limit('anything', 5, '1 minute')",
    "SELECT * FROM vpk_rate_limit_state(id => 'ID')",
    "SELECT * FROM vpk_quota(account => 'acme')",
    "SELECT * FROM vpk_usage(account => 'acme', since => now() - interval '2 days')",
];

const WRITES: &[&str] = &[
    "SELECT vpk_set_rate_limit('minute', 1000000, '1 second', account => 'acme')",
    "SELECT vpk_set_quota(1000000000, 'total', account => 'acme')",
    "SELECT vpk_reset_rate_limit(account => 'acme')",
    "SELECT vpk_grant_quota('acme', 1)",
    "SELECT vpk_charge('ID', 1)",
    "SELECT * FROM vpk_create('made', account => 'made', scopes => '{a}', allowed_ips => '{::1}')",
    "SELECT * FROM generate_series(1, 5) AS g, vpk_create('made ' || g, account => 'made')",
    "SELECT vpk_revoke(id) FROM vpk_create('made', account => 'made')",
    "SELECT vpk_revoke_token(token) FROM vpk_create('made', account => 'made')",
    "SELECT s.id FROM vpk_create('made', account => 'made') AS c, vpk_rotate(c.id) AS s",
    "SELECT * FROM vpk_update('ID', name => 'other ' || random(), metadata => '{\"a\": 1}')",
    "SELECT vpk_disable('ID'), vpk_enable('ID')",
    "SELECT vpk_purge('2001-01-01'), vpk_purge_events('2001-01-01')",
    "SELECT vpk_set_plan('acme', 'Plus'), vpk_set_plan('acme', 'Pro')",
    "SELECT vpk_set_plan('old', 'Pro'), vpk_rename_account('old', 'new'), vpk_delete_account('new')",
    "SELECT vpk_set_plan('gone', 'Pro'), vpk_revoke_account('gone'), vpk_delete_account('gone')",
    "SELECT vpk_task_extend('LEASE', '1 day')",
    "SELECT vpk_task_finish(lease) FROM vpk_task_start('KEY')",
    "SELECT vpk_add_uses('ID', now(), 1)",
    "SELECT vpk_add_charges('ID', 'account', 'calls', 'total', '-infinity', 1, 1, 0, now())",
    "SELECT vpk_grant_verifier('service')",
    "SELECT vpk_grant_admin('service')",
    "SELECT vpk_grant_backup('service')",
    "SELECT * FROM vpk_doctor()",
];

const REFUSED: &[&str] = &[
    "SELECT vpk_revoke('00000000-0000-7000-8000-000000000000')",
    "SELECT vpk_create(name => '', account => 'acme')",
    "SELECT vpk_doctor_accept('nothing', 'is found', 'infinity')",
    "SELECT * FROM vpk_pending_uses()",
    "SELECT vpk_settle_uses('ID', 1)",
    "SELECT * FROM vpk_pending_charges()",
    "SELECT vpk_settle_charges(1)",
];
