//! Uses of keys: how to make them, and how to wait for the state that a test expects.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::keys::Key;
use super::{Client, Cluster, GenericClient, value, wait_until};

/// Setting under which each flush writes all uses.
pub const ALL_AT_EACH_FLUSH: (&str, &str) = ("vibepeak_keys.usage_rewrite_interval", "0");
/// Settings under which all uses are flushed every 100 ms.
pub const FLUSH_EVERY_100MS: &[(&str, &str)] =
    &[("vibepeak_keys.usage_flush_interval", "100ms"), ALL_AT_EACH_FLUSH];
/// Settings under which all uses are flushed every 200 ms.
pub const FLUSH_EVERY_200MS: &[(&str, &str)] =
    &[("vibepeak_keys.usage_flush_interval", "200ms"), ALL_AT_EACH_FLUSH];
/// Settings under which uses stay pending, once the server has started.
pub const FLUSH_HOURLY: &[(&str, &str)] =
    &[("vibepeak_keys.usage_flush_interval", "1h"), ALL_AT_EACH_FLUSH];

/// A server where uses stay pending. The launcher has looked for some at the start.
pub fn start_flushing_hourly(settings: &[(&str, &str)]) -> Cluster {
    let cluster = Cluster::start(&[FLUSH_HOURLY, settings].concat());
    wait_for_rest(&mut cluster.client());
    cluster
}

/// Waits until the launcher waits for the next time.
pub fn wait_for_rest(client: &mut Client) {
    wait_until("the launcher rests", || {
        let sql = "SELECT count(*)::text FROM pg_stat_activity
                    WHERE backend_type = 'vibepeak_keys launcher' AND wait_event_type = 'Extension'";
        value(client, sql, &[]) == "1"
    });
}

/// Sets the flag when it is dropped, and so also when a test fails.
pub struct Done<'flag>(pub &'flag AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Changes how often uses are flushed, from now on.
pub fn flush_every(client: &mut Client, interval: &str) {
    set_interval(client, "flush", interval);
}

/// Changes for how long flushes do not write a row again, from now on.
pub fn rewrite_every(client: &mut Client, interval: &str) {
    set_interval(client, "rewrite", interval);
}

fn set_interval(client: &mut Client, of: &str, interval: &str) {
    let sql = format!("ALTER SYSTEM SET vibepeak_keys.usage_{of}_interval = '{interval}'");
    client.batch_execute(&sql).expect("the setting");
    client.batch_execute("SELECT pg_reload_conf()").expect("a reload");
}

/// The row of `vpk.stats`.
pub fn stats(client: &mut impl GenericClient) -> Value {
    let row = value(client, "SELECT to_jsonb(s)::text FROM vpk.stats AS s", &[]);
    serde_json::from_str(&row).expect("JSON")
}

/// A counter of `vpk.stats`.
pub fn counter(client: &mut impl GenericClient, name: &str) -> i64 {
    let stats = stats(client);
    stats[name].as_i64().unwrap_or_else(|| panic!("no number {name} in {stats}"))
}

/// How often a key was used, as its table says.
pub fn uses(client: &mut impl GenericClient, key: &Key) -> i64 {
    let sql = "SELECT coalesce((SELECT uses FROM vpk.key_usage WHERE key_id = $1::text::uuid), 0)";
    client.query_one(sql, &[&key.id]).expect("its uses").get(0)
}

/// Waits until the table says that a key was used so often.
pub fn wait_for_uses(client: &mut impl GenericClient, key: &Key, number: i64) {
    let mut found = -1;
    wait_until(&format!("there are {number} uses of a key"), || {
        let before = std::mem::replace(&mut found, uses(client, key));
        assert!(found <= number && before <= found, "{before}, then {found}, and not {number}");
        found == number
    });
}

/// Waits until so many uses of this database are pending, and no more. A flush commits uses to the
/// table before it subtracts them from shared memory: in between they are counted in both.
pub fn wait_for_pending(client: &mut impl GenericClient, number: i64) {
    wait_until(&format!("{number} uses are pending"), || {
        let found = counter(client, "uses_pending");
        assert!(found >= number, "{found} uses are pending, fewer than {number}");
        found == number
    });
}

/// Waits until nothing of this database is pending, and all that was is counted as flushed.
pub fn wait_until_flushed(client: &mut impl GenericClient) {
    wait_until("nothing is pending", || {
        let stats = stats(client);
        let of = |name: &str| stats[name].as_i64().expect("a number");
        of("uses_pending") == 0 && of("valid") == of("uses_flushed") + of("uses_dropped")
    });
    wait_for_end_of_flush(client);
}

/// Waits until no flush goes on. One writes charges and refusals after the uses.
pub fn wait_for_end_of_flush(client: &mut impl GenericClient) {
    let flushers = "SELECT count(*)::text FROM pg_stat_activity
                     WHERE backend_type = 'vibepeak_keys flusher'";
    wait_until("no flush goes on", || value(client, flushers, &[]) == "0");
}

/// Waits until the uses of this database were looked at so many times more.
pub fn wait_for_flushes(client: &mut impl GenericClient, number: usize) {
    let mut last = stats(client)["last_flush_at"].clone();
    for _ in 0..number {
        wait_until("there was another flush", || {
            let now = stats(client)["last_flush_at"].clone();
            now != std::mem::replace(&mut last, now.clone())
        });
    }
}

/// The launcher's process, if there is one.
pub fn launcher(client: &mut impl GenericClient) -> Option<i32> {
    let sql = "SELECT max(pid) FROM pg_stat_activity WHERE backend_type = 'vibepeak_keys launcher'";
    client.query_one(sql, &[]).expect("the processes").get(0)
}

/// Verifies a key so many times, in one statement.
pub fn use_key(client: &mut impl GenericClient, key: &Key, times: i32) {
    let sql = "SELECT count(*) FILTER (WHERE s = 'VALID')
                 FROM (SELECT vpk_verify($1) FROM generate_series(1, $2)) AS v (s)";
    let valid: i64 = client.query_one(sql, &[&key.token, &times]).expect("the answers").get(0);
    assert_eq!(valid, i64::from(times));
}

/// Uses a new key, and waits until that is in its table.
pub fn create_and_use(client: &mut Client) {
    let key = super::keys::create(client, "used");
    use_key(client, &key, 3);
    wait_for_uses(client, &key, 3);
}

/// Where a usage file has the number of its counters: after the head, the shutdown point and the
/// labels of the statuses, each of which follows its length (`pure::usage::file`).
pub fn counters_of(file: &[u8]) -> usize {
    const LABELS: usize = 48;
    let number = |at| number_at(file, at) as usize;
    (0..number(LABELS)).fold(LABELS + 4, |at, _| at + 4 + number(at))
}

/// A number of four bytes in a usage file.
pub fn number_at(file: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"))
}
