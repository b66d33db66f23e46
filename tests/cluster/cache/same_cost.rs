//! A call costs the same, whatever its session has called before.
//!
//! From the sixth call of a kept statement on, the server may take one plan for all values of its
//! parameters (plan_cache_mode).

use crate::support::{Client, Cluster, buffers, value};

/// So many keys that a look at each of them stands out.
const KEYS: i64 = 20_000;
/// So often each call is made before it is measured: enough for a plan for all values.
const CALLS: usize = 12;

/// The calls, in each of their shapes. ID, AFTER and ACCOUNT stand for such.
const SHAPES: &[&str] = &[
    "vpk_list(max_rows => 10)",
    "vpk_list(account => 'ACCOUNT')",
    "vpk_list(account => 'ACCOUNT', max_rows => 2)",
    "vpk_list(account => 'ACCOUNT', after => 'AFTER', max_rows => 2)",
    "vpk_list(id => 'ID')",
    "vpk_list(account => 'ACCOUNT', id => 'ID')",
    "vpk_list(after => 'AFTER', max_rows => 10)",
    "vpk_list(state => 'active', max_rows => 10)",
    "vpk_list(account => 'ACCOUNT', state => 'revoked', max_rows => 2)",
    "vpk_update('ID', name => 'a name')",
    "vpk_update('ID', expires_at => 'infinity')",
    "vpk_disable('ID')",
    "vpk_enable('ID')",
    "vpk_set_plan('ACCOUNT', 'Plus')",
    "vpk_set_plan('ACCOUNT', 'Pro')",
    "vpk_create('a key', account => 'ACCOUNT')",
    "vpk_rotate((SELECT id FROM vpk_create('a key', account => 'ACCOUNT')), grace => '1 h')",
    "vpk_revoke((SELECT id FROM vpk_create('a key', account => 'ACCOUNT')))",
    "vpk_revoke_account('one key')",
];

#[test]
fn a_call_costs_the_same_after_many_calls_of_every_shape() {
    let cluster = Cluster::start(&[("autovacuum", "off")]);
    let mut admin = cluster.client();
    let accounts = KEYS / 10;
    admin
        .batch_execute(&format!(
            "SELECT vpk_set_plan('account ' || n, 'Pro') FROM generate_series(1, {accounts}) AS n;
             SELECT vpk_set_plan('one key', 'Pro');
             SELECT count(*) FROM generate_series(1, {KEYS}) AS n,
                 vpk_create('key ' || n, account => 'account ' || (1 + n % {accounts}));
             INSERT INTO vpk.key_usage SELECT id, now(), 1 FROM vpk.keys"
        ))
        .expect("keys");
    admin.batch_execute("VACUUM ANALYZE").expect("statistics");
    let key = "FROM vpk.keys ORDER BY id OFFSET 7000 LIMIT 1";
    let [id, after, account] = ["id::text", "id::text", "account"]
        .map(|column| value(&mut admin, &format!("SELECT {column} {key}"), &[]));
    let shapes: Vec<String> = SHAPES
        .iter()
        .map(|shape| {
            let shape = shape.replace("ID", &id).replace("AFTER", &after);
            format!("SELECT count(*) FROM {}", shape.replace("ACCOUNT", &account))
        })
        .collect();
    // The second call: the first one fills the caches of the session.
    let cost = |client: &mut Client, shape: &str| {
        buffers(client, shape);
        buffers(client, shape)
    };
    let at_first: Vec<u64> =
        shapes.iter().map(|shape| cost(&mut cluster.client(), shape)).collect();

    let mut client = cluster.client();
    client.batch_execute("SELECT count(*) FROM vpk_list()").expect("a list");
    for _ in 0..CALLS {
        for shape in ["SELECT count(*) FROM vpk_list()"]
            .iter()
            .copied()
            .chain(shapes.iter().map(String::as_str))
        {
            client.batch_execute(shape).unwrap_or_else(|error| panic!("{shape}: {error}"));
        }
    }
    for (shape, at_first) in shapes.iter().zip(at_first) {
        let cost = cost(&mut client, shape);
        println!("{at_first} {cost} {shape}");
        assert!(at_first < 400, "{shape}: {at_first} buffers");
        // Row versions that nobody has removed add some.
        assert!(cost <= at_first * 2 + 100, "{shape}: {cost} buffers, at first {at_first}");
    }
}

/// A page of an account with many keys costs little wherever it begins, also where all other
/// accounts' keys are newer: an index on the ids alone would read those first.
#[test]
fn a_page_costs_the_same_wherever_its_keys_are() {
    let cluster = Cluster::start(&[("autovacuum", "off")]);
    let mut admin = cluster.client();
    admin
        .batch_execute(&format!(
            "SELECT vpk_set_plan('old', 'Pro'), vpk_set_plan('new', 'Pro');
             SELECT count(*) FROM generate_series(1, {KEYS} / 4) AS n, vpk_create('key ' || n, 'old');
             SELECT count(*) FROM generate_series(1, {KEYS}) AS n, vpk_create('key ' || n, 'new');
             INSERT INTO vpk.key_usage SELECT id, now(), 1 FROM vpk.keys"
        ))
        .expect("keys");
    let middle =
        "SELECT id::text FROM vpk.keys WHERE account = 'old' ORDER BY id OFFSET 2000 LIMIT 1";
    let after = value(&mut admin, middle, &[]);
    for statistics in ["", "ANALYZE vpk.keys, vpk.key_usage"] {
        admin.batch_execute(statistics).expect("statistics");
        for page in [
            "vpk_list('old', max_rows => 20)",
            "vpk_list('old', after => 'AFTER', max_rows => 20)",
            "vpk_list('old', state => 'active', max_rows => 20)",
            "vpk_list('old', after => 'AFTER', state => 'active', max_rows => 20)",
            "vpk_list('old', 'AFTER')",
        ] {
            let sql = format!("SELECT name FROM {}", page.replace("AFTER", &after));
            buffers(&mut admin, &sql);
            let cost = buffers(&mut admin, &sql);
            println!("{cost} {page}");
            assert!(cost < 400, "{page}: {cost} buffers {statistics}");
        }
    }
}

/// A page of the active keys of an account whose keys are spread over the whole table: the server
/// knows that it need not read all of them.
#[test]
fn a_page_of_active_keys_does_not_read_the_whole_account() {
    let cluster = Cluster::start(&[("autovacuum", "off")]);
    let mut admin = cluster.client();
    admin
        .batch_execute(&format!(
            "SELECT vpk_set_plan('few', 'Pro'), vpk_set_plan('many', 'Pro');
             SELECT count(*) FROM generate_series(1, {KEYS}) AS n,
                 vpk_create('key ' || n, CASE WHEN n % 20 = 0 THEN 'few' ELSE 'many' END);
             SELECT count(vpk_revoke(id)) FROM vpk.keys WHERE name LIKE 'key %00';
             ANALYZE vpk.keys, vpk.key_usage"
        ))
        .expect("keys");
    let [whole, page] = ["state => 'active'", "state => 'active', max_rows => 20"].map(|filter| {
        let sql = format!("SELECT name FROM vpk_list('few', {filter})");
        buffers(&mut admin, &sql);
        buffers(&mut admin, &sql)
    });
    assert!(page * 4 < whole, "{page} buffers for a page, {whole} for all");
}
