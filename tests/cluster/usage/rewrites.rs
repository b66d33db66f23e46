//! G4: the row of a key in constant use is written once in an interval, while lists show each use
//! at once.

use crate::support::keys::{Key, create, create_for, set_plan};
use crate::support::known::run;
use crate::support::usage::{
    FLUSH_EVERY_100MS, counter, flush_every, rewrite_every, start_flushing_hourly, use_key, uses,
    wait_for_flushes, wait_for_pending, wait_for_rest, wait_for_uses,
};
use crate::support::{Client, Cluster, GenericClient, caught_up, pid, value, wait_until};

/// Settings under which uses are flushed every 100 ms, and no row is written again.
const NEVER_AGAIN: &[(&str, &str)] = &[
    ("vibepeak_keys.usage_flush_interval", "100ms"),
    ("vibepeak_keys.usage_rewrite_interval", "1h"),
];

/// The version of a key's row: another one after each write.
fn version(client: &mut Client, key: &Key) -> String {
    value(client, "SELECT xmin::text FROM vpk.key_usage WHERE key_id = $1::text::uuid", &[&key.id])
}

/// How often a key was used, as the view and the function say; both say the same of its last use.
fn listed(client: &mut impl GenericClient, key: &Key) -> i64 {
    let sql = "SELECT l.uses FROM vpk_list(id => $1::text::uuid) AS l
                 JOIN vpk.key_list AS v ON v.id = l.id AND v.uses = l.uses
                      AND v.last_used_at IS NOT DISTINCT FROM l.last_used_at";
    client.query_one(sql, &[&key.id]).expect("a key that is listed").get(0)
}

/// Waits until a flush has written what was used for the first time just now, and so all that was
/// due before.
fn flush(client: &mut Client) {
    let key = create(client, "new");
    use_key(client, &key, 1);
    wait_for_uses(client, &key, 1);
}

/// A key in use whose row was written once, and whose later uses, as many as `more`, are pending.
fn resting(client: &mut Client, more: i32) -> Key {
    let key = create(client, "in constant use");
    use_key(client, &key, 1);
    wait_for_uses(client, &key, 1);
    wait_for_pending(client, 0);
    use_key(client, &key, more);
    key
}

/// G4: a first use is written by the next flush. The uses that follow are not, until the row is
/// older than the interval; then they are. Lists show them at once.
#[test]
fn the_row_of_a_key_in_constant_use_is_written_once_in_an_interval() {
    let cluster = Cluster::start(NEVER_AGAIN);
    let mut client = cluster.client();
    let key = resting(&mut client, 1);
    let first = version(&mut client, &key);
    for round in 1..=4 {
        flush(&mut client);
        assert_eq!(uses(&mut client, &key), 1);
        assert_eq!(version(&mut client, &key), first);
        assert_eq!(listed(&mut client, &key), 1 + round);
        use_key(&mut client, &key, 1);
    }
    let sql = "SELECT (l.last_used_at > u.last_used_at)::text FROM vpk.key_list AS l
                 JOIN vpk.key_usage AS u ON u.key_id = l.id WHERE l.id = $1::text::uuid";
    assert_eq!(value(&mut client, sql, &[&key.id]), "true");
    wait_for_pending(&mut client, 5);

    rewrite_every(&mut client, "300ms");
    wait_for_uses(&mut client, &key, 6);
    assert_eq!(listed(&mut client, &key), 6);
    // While it is used all the time.
    for _ in 0..2 {
        let before = version(&mut client, &key);
        wait_until("the row is written again", || {
            use_key(&mut client, &key, 1);
            version(&mut client, &key) != before
        });
    }
}

/// G4: a use after a pause is written by the next flush, as a first use is.
#[test]
fn a_use_after_a_pause_is_written_by_the_next_flush() {
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = cluster.client();
    rewrite_every(&mut client, "1s");
    let key = create(&mut client, "used now and then");
    for number in 1..=3 {
        use_key(&mut client, &key, 1);
        flush(&mut client);
        assert_eq!(uses(&mut client, &key), number);
        wait_until("its row is older than the interval", || {
            let sql = "SELECT (clock_timestamp() > last_used_at + interval '3 s')::text
                         FROM vpk.key_usage WHERE key_id = $1::text::uuid";
            value(&mut client, sql, &[&key.id]) == "true"
        });
    }
}

/// Has each flush empty tables, whose files the server removes after the commit can be seen and
/// before it returns. So the instant until its uses are settled is long.
const SETTLED_LATE: &str = "
    DO $$
    BEGIN
        FOR number IN 1..40 LOOP
            EXECUTE format('CREATE TABLE emptied_%s (a integer PRIMARY KEY)', number);
        END LOOP;
    END
    $$;
    CREATE FUNCTION empty_tables() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        EXECUTE (SELECT 'TRUNCATE ' || string_agg(c.oid::regclass::text, ', ')
                   FROM pg_class AS c WHERE c.relname ~ '^emptied_[0-9]+$');
        RETURN NULL;
    END
    $$;
    CREATE TRIGGER empty_tables AFTER UPDATE ON vpk.key_usage
        FOR EACH STATEMENT EXECUTE FUNCTION empty_tables()";

/// G4: the figures of a list are right at each instant of a flush: no use counts twice, and none is
/// missed.
#[test]
fn lists_count_each_use_once_while_it_is_flushed() {
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let (mut client, mut observer) = (cluster.client(), cluster.client());
    run(&mut client, SETTLED_LATE);
    let key = create(&mut client, "in use");
    let mut number = 0;
    for _ in 0..25 {
        let before = counter(&mut observer, "uses_flushed");
        wait_until("there was another flush", || {
            use_key(&mut client, &key, 1);
            number += 1;
            // More looks than uses, to come between a commit and its settling.
            for _ in 0..3 {
                assert_eq!(listed(&mut client, &key), number);
            }
            counter(&mut observer, "uses_flushed") > before
        });
    }
    let sql = "SELECT uses FROM vpk_update($1::text::uuid, name => 'renamed')";
    let updated: i64 = client.query_one(sql, &[&key.id]).expect("the key").get(0);
    assert_eq!(updated, number);
}

/// G4: the same in a transaction whose snapshot is older than the flush, and in a cursor.
#[test]
fn a_list_under_an_older_snapshot_misses_no_use_that_was_flushed_since() {
    let cluster = start_flushing_hourly(&[]);
    let (mut client, mut other) = (cluster.client(), cluster.client());
    let [key, second] = ["first", "second"].map(|name| create(&mut client, name));
    use_key(&mut client, &key, 3);
    let transaction = "BEGIN ISOLATION LEVEL REPEATABLE READ;
         DECLARE listed CURSOR FOR SELECT uses FROM vpk.key_list ORDER BY id";
    run(&mut other, transaction);
    assert_eq!(listed(&mut other, &key), 3);
    flush_every(&mut client, "100ms");
    wait_for_uses(&mut client, &key, 3);
    wait_for_pending(&mut client, 0);
    assert_eq!(uses(&mut other, &key), 0, "the older snapshot");
    assert_eq!([&mut client, &mut other].map(|client| listed(client, &key)), [3, 3]);
    flush_every(&mut client, "1h");
    wait_for_rest(&mut client);
    use_key(&mut client, &second, 1);
    use_key(&mut client, &key, 1);
    assert_eq!([&mut client, &mut other].map(|client| listed(client, &key)), [4, 4]);
    let rows = other.query("FETCH ALL FROM listed", &[]).expect("the keys");
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i64>>(), [4, 1]);
}

/// G4 and G6: whoever may read the view, and call its functions, sees all uses: also a role that
/// has these privileges alone, and one that reads a view on it.
#[test]
fn whoever_may_read_the_view_sees_the_uses_in_memory() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = create(&mut client, "in use");
    use_key(&mut client, &key, 3);
    run(
        &mut client,
        "CREATE ROLE dashboard; GRANT USAGE ON SCHEMA vpk TO dashboard;
         GRANT SELECT ON vpk.key_list TO dashboard;
         CREATE ROLE customer;
         GRANT EXECUTE ON FUNCTION vpk.current_uses(uuid, bigint),
             vpk.current_last_use(uuid, timestamptz) TO dashboard, customer;
         CREATE VIEW own_keys AS SELECT name, uses FROM vpk.key_list;
         GRANT SELECT ON own_keys TO customer",
    );
    for (role, view) in [("dashboard", "vpk.key_list"), ("customer", "own_keys")] {
        run(&mut client, &format!("SET ROLE {role}"));
        assert_eq!(value(&mut client, &format!("SELECT uses::text FROM {view}"), &[]), "3");
        run(&mut client, "RESET ROLE");
    }
}

/// G4: where half of the slots are taken, all uses are written, of whatever key.
#[test]
fn all_uses_are_written_where_half_of_the_slots_are_taken() {
    let settings =
        [("vibepeak_keys.usage_rewrite_interval", "1h"), ("vibepeak_keys.usage_slots", "64")];
    let cluster = start_flushing_hourly(&settings);
    let mut client = cluster.client();
    set_plan(&mut client, "acme", "Pro");
    let keys: Vec<_> = (0..33).map(|_| create_for(&mut client, "one of many", "acme")).collect();
    for key in &keys {
        use_key(&mut client, key, 1);
    }
    for key in &keys {
        wait_for_uses(&mut client, key, 1);
    }
    wait_for_pending(&mut client, 0);
    flush_every(&mut client, "100ms");
    // As many as may rest.
    for key in &keys[..30] {
        use_key(&mut client, key, 1);
    }
    flush(&mut client);
    assert_eq!(keys[..30].iter().map(|key| uses(&mut client, key)).sum::<i64>(), 30);
    wait_for_pending(&mut client, 30);
    for key in &keys[30..] {
        use_key(&mut client, key, 1);
    }
    for key in &keys {
        wait_for_uses(&mut client, key, 2);
    }
    assert_eq!(counter(&mut client, "uses_dropped"), 0);
}

/// G4: a clean stop loses no use that was waiting, and the next start writes it; a crash loses
/// those, and no use that was written. The first use after either is written at once.
#[test]
fn uses_that_rest_survive_a_clean_stop_and_are_lost_in_a_crash() {
    let cluster = Cluster::start(NEVER_AGAIN);
    let mut client = cluster.client();
    let key = resting(&mut client, 4);
    cluster.down();
    cluster.up();
    let mut client = cluster.client();
    wait_for_uses(&mut client, &key, 5);
    wait_for_pending(&mut client, 0);
    use_key(&mut client, &key, 2);
    flush(&mut client);
    assert_eq!([uses(&mut client, &key), listed(&mut client, &key)], [5, 7]);
    let killed = pid(&mut client);
    cluster.crash(killed);
    let mut client = cluster.client();
    assert_eq!([uses(&mut client, &key), listed(&mut client, &key)], [5, 5]);
    use_key(&mut client, &key, 1);
    wait_for_uses(&mut client, &key, 6);
}

/// G4: a standby lists what it has counted itself, and its worker writes that after its promotion.
#[test]
fn a_promoted_standby_writes_what_it_has_counted() {
    let primary = Cluster::start(NEVER_AGAIN);
    let mut client = primary.client();
    let key = resting(&mut client, 2);
    let standby = primary.standby();
    let mut reader = standby.client();
    caught_up(&mut client, &mut reader);
    use_key(&mut reader, &key, 4);
    assert_eq!([&mut client, &mut reader].map(|client| listed(client, &key)), [3, 5]);
    drop((client, primary));
    standby.promote();
    wait_for_uses(&mut reader, &key, 5);
    wait_for_pending(&mut reader, 0);
    use_key(&mut reader, &key, 3);
    flush(&mut reader);
    assert_eq!([uses(&mut reader, &key), listed(&mut reader, &key)], [5, 8]);
}

/// G4: uses that rest follow their database to its new name.
#[test]
fn uses_that_rest_follow_a_renamed_database() {
    let cluster = Cluster::start(NEVER_AGAIN);
    cluster.database("old", "UTF8");
    let mut old = cluster.connect("old", "postgres");
    let key = resting(&mut old, 2);
    drop(old);
    let mut client = cluster.client();
    run(&mut client, "ALTER DATABASE old RENAME TO new");
    let mut new = cluster.connect("new", "postgres");
    assert_eq!([uses(&mut new, &key), listed(&mut new, &key)], [1, 3]);
    rewrite_every(&mut client, "0");
    wait_for_uses(&mut new, &key, 3);
    use_key(&mut new, &key, 1);
    wait_for_flushes(&mut new, 1);
}
