//! What vpk_usage shows as charged.

use super::{key_with, passing};
use crate::support::keys::{Key, create_for};
use crate::support::usage::{FLUSH_EVERY_100MS, flush_every, start_flushing_hourly};
use crate::support::{Client, Cluster, value, wait_until};

const ALL_METERS: &str = "calls=100/month, calls=1000/day, tokens=5000/total, tokens=9000/week";

/// Charges a key, or gives back.
fn charge(client: &mut Client, key: &Key, cost: i64, meter: &str) {
    let sql = "SELECT vpk_charge($1::text::uuid, $2, $3)";
    client.execute(sql, &[&key.id, &cost, &meter]).expect("a charge");
}

/// What was charged of each meter, in all buckets.
fn charged(client: &mut Client, arguments: &str) -> String {
    let sql = format!(
        "SELECT coalesce(string_agg(concat_ws(' ', c.meter, c.total), ', ' ORDER BY c.meter), '')
           FROM (SELECT e.key, sum(e.value::bigint)
                   FROM vpk_usage({arguments}) AS h, jsonb_each_text(h.charged) AS e
                  GROUP BY e.key) AS c (meter, total)"
    );
    value(client, &sql, &[])
}

fn wait_for_charged(client: &mut Client, arguments: &str, expected: &str) {
    let mut found = String::new();
    wait_until(&format!("{expected} is charged"), || {
        found = charged(client, arguments);
        found == expected
    });
}

/// G4: each charge counts once, however many quotas it is charged to, with what it costs. Neither a
/// flush, nor a clean restart, nor a refund changes the sum from what was charged.
#[test]
fn the_sum_of_charges_is_what_was_charged() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = key_with(&mut client, ALL_METERS);
    let other = create_for(&mut client, "other", "acme");
    let ask = "SELECT status::text FROM vpk_authenticate('Bearer ' || $1, cost => 5)";
    assert_eq!(value(&mut client, ask, &[&key.token]), "VALID");
    assert_eq!(passing(&mut client, &other, 3), 3);
    charge(&mut client, &key, 1200, "tokens");
    charge(&mut client, &other, 30, "tokens");
    charge(&mut client, &key, 1, "bytes");
    assert_eq!(charged(&mut client, ""), "", "what was not flushed is not shown");
    cluster.down();
    cluster.up();
    let mut client = cluster.client();
    flush_every(&mut client, "100ms");
    wait_for_charged(&mut client, "account => 'acme'", "calls 8, tokens 1230");
    // A refund gives back what was used, and no more.
    charge(&mut client, &key, -230, "tokens");
    charge(&mut client, &other, -100, "calls");
    wait_for_charged(&mut client, "'acme'", "tokens 1000");
    assert_eq!(passing(&mut client, &key, 2), 2);
    wait_for_charged(&mut client, "'acme'", "calls 2, tokens 1000");
    cluster.down();
    cluster.up();
    let mut client = cluster.client();
    assert_eq!(passing(&mut client, &key, 1), 1);
    wait_for_charged(&mut client, "", "calls 3, tokens 1000");
    assert_eq!(charged(&mut client, "account => 'poor'"), "");
}

/// A key with a quota of its own has its charges shown by its id, and they count once for the
/// account. They go with the account to another name, and with its keys.
#[test]
fn charges_of_a_keys_own_quota_are_shown_by_its_id() {
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = cluster.client();
    let key = key_with(&mut client, ALL_METERS);
    let other = create_for(&mut client, "other", "acme");
    let own = "SELECT vpk_set_quota(50, 'day', id => $1::text::uuid)";
    client.execute(own, &[&key.id]).expect("a quota");
    assert_eq!(passing(&mut client, &key, 3), 3);
    assert_eq!(passing(&mut client, &other, 4), 4);
    charge(&mut client, &key, 20, "tokens");
    wait_for_charged(&mut client, "account => 'acme'", "calls 7, tokens 20");
    let of = |key: &Key| format!("id => '{}'", key.id);
    assert_eq!(charged(&mut client, &of(&key)), "calls 3");
    assert_eq!(charged(&mut client, &of(&other)), "");
    client.batch_execute("SELECT vpk_rename_account('acme', 'corp')").expect("another name");
    assert_eq!(charged(&mut client, "account => 'acme'"), "");
    assert_eq!(charged(&mut client, "account => 'corp'"), "calls 7, tokens 20");
    client.batch_execute("SELECT vpk_delete_account('corp')").expect("no account");
    let left = "SELECT count(*)::text FROM vpk.charge_history";
    assert_eq!(value(&mut client, left, &[]), "0");
}

/// A row that another session holds waits for the next flush, and delays nothing else. Its charge
/// then counts, although the quota has it already.
#[test]
fn a_charge_waits_for_a_row_that_is_locked() {
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = cluster.client();
    let key = key_with(&mut client, "calls=100/month");
    assert_eq!(passing(&mut client, &key, 1), 1);
    wait_for_charged(&mut client, "", "calls 1");
    let mut holder = cluster.client();
    holder.batch_execute("BEGIN; SELECT * FROM vpk.charge_history FOR UPDATE").expect("its locks");
    // An hour may begin, which has a row of its own: then all of it is shown.
    assert_eq!(passing(&mut client, &key, 4), 4);
    super::wait_for_used(&mut client, 5);
    assert!(["calls 1", "calls 5"].contains(&&*charged(&mut client, "")));
    holder.batch_execute("COMMIT").expect("its end");
    wait_for_charged(&mut client, "", "calls 5");
}

/// Two hours of a day before the last eight and one of the last, and what is older than the
/// history, of a key that does not exist.
const OLD: &str = "
    INSERT INTO vpk.charge_history (starts_at, key_id, kind, meter, amount)
    SELECT date_trunc('day', now(), 'UTC') - make_interval(hours => h.before),
           '00000000-0000-7000-8000-000000000001', k.kind, 'tokens', h.amount
      FROM (VALUES ('account'), ('key')) AS k (kind),
           (VALUES (24 * 10 + 1, 7), (24 * 10 + 2, -3), (24 * 10 + 24, 5), (24, 1), (24 * 99, 1))
               AS h (before, amount)";

/// Hours of before the last eight days become days, and what is older than the history goes.
#[test]
fn hours_of_charges_become_days() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    client.batch_execute(OLD).expect("old rows");
    let key = key_with(&mut client, "calls=1000000/month");
    flush_every(&mut client, "100ms");
    let rows = "SELECT string_agg(concat_ws(' ', h.kind, h.days, h.amount), ', '
                                  ORDER BY h.kind, h.days)
                  FROM (SELECT kind, amount, extract(epoch FROM
                            date_trunc('day', now(), 'UTC') - starts_at)::int / 3600 AS days
                          FROM vpk.charge_history WHERE meter = 'tokens') AS h";
    let expected = "account 24 1, account 264 9, key 24 1, key 264 9";
    wait_until("hours are days", || {
        passing(&mut client, &key, 1);
        value(&mut client, rows, &[]) == expected
    });
}
