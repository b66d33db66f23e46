//! What `vpk_doctor` says of servers: preloaded or not, standbys, and a worker that cannot work.

use crate::support::keys::{create, verify};
use crate::support::known::run;
use crate::support::usage::FLUSH_EVERY_100MS;
use crate::support::{Client, Cluster, buffers, value, wait_until};

/// What is found of an item: whether it is well, the detail, and the advice.
#[derive(Debug)]
struct Finding {
    ok: Option<bool>,
    detail: String,
    advice: Option<String>,
}

fn finding(client: &mut Client, item: &str) -> Finding {
    let sql = "SELECT ok, detail, advice FROM vpk_doctor() WHERE item = $1";
    let row = client.query_one(sql, &[&item]).expect("a finding");
    let finding = Finding { ok: row.get(0), detail: row.get(1), advice: row.get(2) };
    assert_eq!(finding.advice.is_none(), finding.ok == Some(true), "{finding:?}");
    finding
}

/// An item that is well or not, and what its detail has to begin with.
fn found(client: &mut Client, item: &str, ok: Option<bool>, begins: &str) -> Finding {
    let finding = finding(client, item);
    assert_eq!(finding.ok, ok, "{item}: {finding:?}");
    assert!(finding.detail.starts_with(begins), "{item}: {finding:?}");
    finding
}

/// The items that are not well, or not known.
fn not_well(client: &mut Client) -> String {
    let sql = "SELECT string_agg(item, ' ') FROM vpk_doctor() WHERE ok IS NOT TRUE";
    value(client, sql, &[])
}

/// Waits until a server that has just started has nothing to complain of.
fn all_well(client: &mut Client) {
    wait_until("all is well", || not_well(client).is_empty());
}

/// What writes nothing takes no transaction id, and is allowed where nothing can be written.
fn writes_nothing(client: &mut Client, standby: bool) {
    for mode in ["READ ONLY", "ISOLATION LEVEL REPEATABLE READ, READ ONLY", "READ WRITE"] {
        if standby && mode == "READ WRITE" {
            continue;
        }
        client.batch_execute(&format!("BEGIN {mode}")).expect("a transaction");
        assert_eq!(value(client, "SELECT count(*)::text FROM vpk_doctor()", &[]), "20", "{mode}");
        if !standby {
            let sql = "SELECT pg_current_xact_id_if_assigned()::text";
            assert_eq!(value(client, sql, &[]), "", "{mode}");
        }
        client.batch_execute("COMMIT").expect("its end");
    }
}

/// On a primary all is well from the start; on its standby too, where uses wait for a promotion.
#[test]
fn the_doctor_finds_a_primary_and_its_standby_well() {
    let primary = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = primary.client();
    all_well(&mut client);
    found(&mut client, "preloaded", Some(true), "the server loaded the library");
    found(&mut client, "usage_worker", Some(true), "the worker is running; ");
    writes_nothing(&mut client, false);
    let key = create(&mut client, "used on a standby");

    let standby = primary.standby();
    let mut reader = standby.client();
    let sql = "SELECT EXISTS (SELECT FROM vpk.keys WHERE id = $1::text::uuid)::text";
    wait_until("the key is on the standby", || value(&mut reader, sql, &[&key.id]) == "true");
    writes_nothing(&mut reader, true);
    assert_eq!(verify(&mut reader, &key.token), "VALID");
    let kept =
        "a standby: uses are kept until they are settled or it is promoted; 1 use is pending";
    assert_eq!(found(&mut reader, "usage_worker", Some(true), kept).detail, kept);
    assert_eq!(not_well(&mut reader), "");

    standby.promote();
    let alive = "the worker is running; 0 uses are pending";
    wait_until("the worker has brought the use", || {
        finding(&mut reader, "usage_worker").detail == alive
    });
    assert_eq!(not_well(&mut reader), "");
}

/// Where the library is not preloaded: what is not known, and what the server logs.
#[test]
fn the_doctor_reports_a_library_that_is_not_preloaded() {
    let cluster = Cluster::start(&[
        ("shared_preload_libraries", ""),
        ("log_statement", "all"),
        ("log_parameter_max_length", "64"),
        ("log_parameter_max_length_on_error", "-1"),
        ("log_min_duration_statement", "-1"),
        ("log_min_error_statement", "panic"),
    ]);
    let mut client = cluster.client();
    let advice = found(&mut client, "preloaded", Some(false), "the server was started without")
        .advice
        .expect("advice");
    assert!(advice.contains("shared_preload_libraries"), "{advice}");
    for item in ["usage_worker", "usage_dropped"] {
        found(&mut client, item, None, "the use of keys is not noted");
    }
    found(&mut client, "rate_limits", None, "limits that are not enforced are not counted");
    found(&mut client, "unused_keys", None, "the use of keys is not noted, since");
    assert_eq!(
        not_well(&mut client),
        "preloaded usage_worker usage_dropped rate_limits log_redaction unused_keys"
    );
    writes_nothing(&mut client, false);

    let only_these = "keys are redacted in the server log only by sessions that have loaded the \
                      library; it contains statements or parameters because of ";
    let named = "log_parameter_max_length = 64; log_parameter_max_length_on_error = -1; \
                 log_statement = all";
    let detail = found(&mut client, "log_redaction", Some(false), only_these).detail;
    assert_eq!(detail.strip_prefix(only_these), Some(named));

    client.batch_execute("CREATE DATABASE elsewhere").expect("a database");
    // What others have set for themselves, here or everywhere, but not in other databases.
    client
        .batch_execute(
            "CREATE ROLE \"a service\";
             ALTER ROLE \"a service\" SET log_statement = 'mod';
             ALTER ROLE \"a service\" IN DATABASE postgres SET debug_print_plan = 'on';
             ALTER ROLE \"a service\" IN DATABASE elsewhere SET debug_print_parse = 'on';
             ALTER DATABASE elsewhere SET debug_print_rewritten = 'on';
             ALTER DATABASE postgres SET log_min_duration_statement = '250ms';
             ALTER ROLE ALL SET log_transaction_sample_rate = '0.5'",
        )
        .expect("settings");
    let detail = finding(&mut client, "log_redaction").detail;
    for shown in [
        "; log_statement = mod (role \"a service\")",
        "debug_print_plan = on (role \"a service\" in database postgres)",
        "log_min_duration_statement = 250ms (database postgres)",
        "log_transaction_sample_rate = 0.5 (all roles)",
    ] {
        assert!(detail.contains(shown), "{shown}: {detail}");
    }
    assert!(!detail.contains("elsewhere") && !detail.contains("rewritten"), "{detail}");
    client
        .batch_execute(
            "ALTER ROLE \"a service\" RESET ALL;
             ALTER ROLE \"a service\" IN DATABASE postgres RESET ALL;
             ALTER DATABASE postgres RESET ALL;
             ALTER ROLE ALL RESET ALL",
        )
        .expect("no settings");

    // What is off is not named any more.
    client
        .batch_execute("SET log_statement = 'none'; SET log_parameter_max_length_on_error = 0")
        .expect("settings");
    let detail = finding(&mut client, "log_redaction").detail;
    assert!(
        detail.ends_with("no statement is written to it, but an error message can quote a key")
    );

    // Loaded by each session when it starts, it is still not the server's.
    cluster.down();
    cluster.set(&[("session_preload_libraries", "vibepeak_keys")]);
    cluster.up();
    let mut client = cluster.client();
    found(&mut client, "preloaded", Some(false), "the server was started without the library");
    let detail = found(&mut client, "log_redaction", Some(false), only_these).detail;
    assert_eq!(detail.strip_prefix(only_these), Some(named));
    found(&mut client, "usage_worker", None, "the use of keys is not noted");

    // As advised.
    cluster.down();
    cluster
        .set(&[("shared_preload_libraries", "vibepeak_keys"), ("session_preload_libraries", "")]);
    cluster.up();
    all_well(&mut cluster.client());
}

/// With the library preloaded, keys are redacted unless the setting is off.
#[test]
fn the_doctor_judges_the_log_of_a_preloaded_server() {
    const ITEM: &str = "log_redaction";
    let cluster = Cluster::start(&[("log_statement", "all")]);
    let mut client = cluster.client();
    let redacted = "keys are redacted in the server log; out of reach are";
    found(&mut client, ITEM, Some(true), redacted);
    client.batch_execute("SET vibepeak_keys.redact_logs = off").expect("a setting");
    let detail = found(&mut client, ITEM, Some(false), "keys are not redacted").detail;
    assert!(detail.contains("log_statement = all"), "{detail}");
    client.batch_execute("RESET vibepeak_keys.redact_logs").expect("a setting");
    found(&mut client, ITEM, Some(true), redacted);
    client.batch_execute("SET debug_print_plan = on").expect("a setting");
    found(&mut client, ITEM, Some(true), redacted);
}

/// Values are judged as the server reads them, however they are written: here it ignores what it
/// refuses.
#[test]
fn the_doctor_reads_settings_as_the_server_does() {
    const ITEM: &str = "log_redaction";
    let cluster = Cluster::start(&[]);
    // ALTER ROLE makes its session know the name of the setting.
    let (mut client, mut admin) = (cluster.client(), cluster.client());
    let redacted = "keys are redacted in the server log; out of reach are";
    run(&mut admin, "CREATE ROLE service");
    for (setting, value, shown) in
        [("vibepeak_keys.redact_logs", "fal", true), ("vibepeak_keys.redact_logs", "YE", false)]
    {
        run(&mut admin, &format!("ALTER ROLE service SET {setting} = '{value}'"));
        let finding = finding(&mut client, ITEM);
        assert_eq!(finding.ok, Some(!shown), "{setting} = {value}: {finding:?}");
        let shows = finding.detail.contains(&format!("{setting} = {value} (role service)"));
        assert_eq!(shows, shown, "{finding:?}");
        run(&mut admin, "ALTER ROLE service RESET ALL");
    }
    found(&mut client, ITEM, Some(true), redacted);

    // Where nothing is redacted. No library has defined the settings of auto_explain and pgaudit.
    run(&mut client, "SET vibepeak_keys.redact_logs = off");
    for (setting, value, shown) in [
        ("debug_print_plan", "y", true),
        ("debug_print_plan", "of", false),
        ("debug_print_parse", "FALSE", false),
        ("log_min_duration_statement", " -1", false),
        ("log_min_duration_statement", "-0.4", true),
        ("log_min_duration_statement", "-1ms", false),
        ("log_min_duration_sample", "0x10", true),
        ("log_min_error_statement", "PANIC", false),
        ("log_min_error_statement", "Fatal", true),
        ("log_parameter_max_length_on_error", "0.2kB", true),
        ("log_parameter_max_length_on_error", "0.4", false),
        ("log_statement", "NONE", false),
        ("log_statement", "DDL", true),
        ("log_transaction_sample_rate", "0e1", false),
        ("log_transaction_sample_rate", ".5", true),
        ("auto_explain.log_min_duration", " -1 ", false),
        ("auto_explain.log_min_duration", "-0.4", true),
        ("auto_explain.log_min_duration", "rubbish", false),
        ("pgaudit.log", "NONE", false),
        ("pgaudit.log", "Read, none", true),
    ] {
        run(&mut admin, &format!("ALTER ROLE service SET {setting} = '{value}'"));
        let detail = found(&mut client, ITEM, Some(false), "keys are not redacted").detail;
        let shows = detail.contains(&format!("{setting} = {value} (role service)"));
        assert_eq!(shows, shown, "{setting} = {value}: {detail}");
        run(&mut admin, "ALTER ROLE service RESET ALL");
    }
    // It has left everything as it was, and defined nothing.
    let sql = "SELECT string_agg(name || ' = ' || setting, ', ' ORDER BY name) FROM pg_settings
                WHERE source = 'session' AND name <> 'application_name'";
    let set = value(&mut client, sql, &[]);
    assert_eq!(set, "vibepeak_keys.redact_logs = off");
    let undefined = "SELECT current_setting('auto_explain.log_min_duration', true) IS NULL
                        AND current_setting('pgaudit.log', true) IS NULL";
    assert_eq!(value(&mut client, &format!("SELECT ({undefined})::text"), &[]), "true");
}

/// Unused keys are listed, the longest unused first, and leave the list when they are used.
#[test]
fn the_doctor_reports_unused_keys() {
    const ITEM: &str = "unused_keys";
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = cluster.client();
    let [never, long_ago, lately, young, disabled] =
        ["never", "long ago", "lately", "young", "disabled"].map(|name| create(&mut client, name));
    let well = "every active key was issued or used within 90 days";
    assert_eq!(found(&mut client, ITEM, Some(true), well).detail, well);
    for (key, days) in [(&never, 91), (&long_ago, 300), (&lately, 300), (&young, 89)] {
        let sql = "UPDATE vpk.keys SET created_at = created_at - $2 * interval '1 day'
                    WHERE id = $1::text::uuid";
        client.execute(sql, &[&key.id, &f64::from(days)]).expect("a key of old");
    }
    for (key, days) in [(&long_ago, 100), (&lately, 1)] {
        let sql = "INSERT INTO vpk.key_usage (key_id, last_used_at, uses)
                   VALUES ($1::text::uuid, now() - $2 * interval '1 day', 1)";
        client.execute(sql, &[&key.id, &f64::from(days)]).expect("a use of old");
    }
    let sql = "UPDATE vpk.keys SET created_at = '2020-01-01 00:00+00', disabled_at = now()
                WHERE id = $1::text::uuid";
    client.execute(sql, &[&disabled.id]).expect("a disabled key");

    let listed =
        |key: &crate::support::keys::Key, name| format!("\"{name}\" ({})", &key.token[..13]);
    let [never_listed, long_ago_listed] = [listed(&never, "never"), listed(&long_ago, "long ago")];
    let detail = found(&mut client, ITEM, Some(false), "").detail;
    let both =
        format!("2 active keys were not used for 90 days: {long_ago_listed}; {never_listed}");
    assert_eq!(detail, both);
    assert_eq!(verify(&mut client, &long_ago.token), "VALID");
    let one = format!("1 active key was not used for 90 days: {never_listed}");
    wait_until("the use has come to its table", || finding(&mut client, ITEM).detail == one);
    let sql = "SELECT vpk_revoke($1::text::uuid)::text";
    value(&mut client, sql, &[&never.id]);
    assert_eq!(found(&mut client, ITEM, Some(true), well).detail, well);
}

/// Dropped uses are reported until the server restarts, though they stay counted.
#[test]
fn the_doctor_reports_dropped_uses() {
    const ITEM: &str = "usage_dropped";
    let cluster = Cluster::start(&[
        ("vibepeak_keys.usage_slots", "64"),
        ("vibepeak_keys.usage_flush_interval", "1h"),
    ]);
    let mut client = cluster.client();
    found(&mut client, ITEM, Some(true), "no use was dropped");
    let sql = "CREATE TABLE presented AS
               SELECT k.token FROM generate_series(1, 2000) AS n, vpk_create('Key ' || n) AS k";
    client.batch_execute(sql).expect("keys");
    let sql = "SELECT string_agg(DISTINCT vpk_verify(token)::text, ' ') FROM presented";
    assert_eq!(value(&mut client, sql, &[]), "VALID");
    let dropped = value(&mut client, "SELECT uses_dropped::text FROM vpk.stats", &[]);
    assert_ne!(dropped, "0");
    let detail = format!(
        "{dropped} uses were dropped since the server started, because all usage slots were taken"
    );
    let advice = found(&mut client, ITEM, Some(false), &detail).advice.expect("advice");
    assert!(advice.contains("vibepeak_keys.usage_slots"), "{advice}");

    cluster.down();
    cluster.up();
    let mut client = cluster.client();
    found(&mut client, ITEM, Some(true), "no use was dropped since the server started");
    let counted = value(&mut client, "SELECT uses_dropped::text FROM vpk.stats", &[]);
    assert_eq!(counted, dropped);

    // As advised.
    cluster.down();
    cluster.set(&[("vibepeak_keys.usage_slots", "4096")]);
    cluster.up();
    let mut client = cluster.client();
    let sql = "SELECT string_agg(DISTINCT vpk_verify(token)::text, ' ') FROM presented";
    assert_eq!(value(&mut client, sql, &[]), "VALID");
    found(&mut client, ITEM, Some(true), "no use was dropped since the server started");
}

/// A failed flush is reported until one succeeds.
#[test]
fn the_doctor_reports_a_failed_flush_until_one_succeeds() {
    const ITEM: &str = "usage_worker";
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = cluster.client();
    all_well(&mut client);
    let key = create(&mut client, "used");
    let mut other = cluster.client();
    let mut locked = other.transaction().expect("a transaction");
    locked.batch_execute("LOCK TABLE vpk.key_usage IN EXCLUSIVE MODE").expect("a lock");
    assert_eq!(verify(&mut client, &key.token), "VALID");
    let sql = "SELECT last_error FROM vpk.stats";
    wait_until("a flush has failed", || !value(&mut client, sql, &[]).is_empty());
    let error = value(&mut client, sql, &[]);
    let detail = format!("the last flush failed: {error}; 1 use is pending");
    assert_eq!(found(&mut client, ITEM, Some(false), &detail).detail, detail);
    locked.commit().expect("its end");
    wait_until("a flush has succeeded", || finding(&mut client, ITEM).ok == Some(true));
    let sql = "SELECT (last_flush_at > last_error_at)::text FROM vpk.stats";
    assert_eq!(value(&mut client, sql, &[]), "true");
}

/// Without room for its worker the server keeps uses, and the doctor reports it.
#[test]
fn the_doctor_reports_that_the_worker_found_no_room() {
    let cluster = Cluster::start(&[("max_worker_processes", "0")]);
    let mut client = cluster.client();
    let key = create(&mut client, "used");
    assert_eq!(verify(&mut client, &key.token), "VALID");
    let begins = "the worker is not running; 1 use is pending";
    let finding = found(&mut client, "usage_worker", Some(false), begins);
    assert!(finding.advice.is_some_and(|advice| advice.contains("max_worker_processes")));

    // As advised.
    cluster.down();
    cluster.set(&[("max_worker_processes", "8")]);
    cluster.up();
    all_well(&mut cluster.client());
}

/// Unused keys, accounts without access and limits are found by reading all keys; those that expire
/// soon are not.
#[test]
fn the_doctor_reads_the_keys_three_times() {
    let cluster = Cluster::start(&[("autovacuum", "off")]);
    let mut client = cluster.client();
    let cost = |client: &mut Client| {
        let doctor = "SELECT count(*) FROM vpk_doctor()";
        buffers(client, doctor);
        buffers(client, doctor)
    };
    let without = cost(&mut client);
    client
        .batch_execute(
            "SELECT count(*) FROM generate_series(1, 20000) AS n,
                 vpk_create('key ' || n, expires_at => now() + interval '1 day' * n);
             ANALYZE vpk.keys",
        )
        .expect("keys");
    let table = "SELECT (pg_relation_size('vpk.keys') / 8192)::text";
    let table: u64 = value(&mut client, table, &[]).parse().expect("a number");
    let with = cost(&mut client);
    assert!(with < without + table * 7 / 2, "{without} + {table} buffers, {with} with all keys");
}

/// What is found by reading all keys is found in a sample where they are many, and the finding says
/// so.
#[test]
fn the_doctor_reads_a_sample_of_many_keys() {
    let cluster = Cluster::start(&[("autovacuum", "off"), ("fsync", "off")]);
    let mut client = cluster.client();
    // Few on each page, so that the table is large.
    run(&mut client, "ALTER TABLE vpk.keys SET (fillfactor = 10)");
    let sql = "INSERT INTO vpk.keys (id, key_hash, account, environment, name, created_at)
        SELECT gen_random_uuid(), sha256(n::text::bytea), 'nobody', 'live', 'old', now() - interval '1 year'
          FROM generate_series(1, 60000) AS n";
    run(&mut client, sql);
    let share = "SELECT (64e6 / pg_relation_size('vpk.keys'))::text";
    let share: f64 = value(&mut client, share, &[]).parse().expect("a number");
    assert!(share < 0.9, "{share} of the table");

    let unused = finding(&mut client, "unused_keys");
    let (number, rest) = unused.detail.split_once(' ').expect("a number and the rest");
    let sampled = format!(" in a sample of {:.0}", (share * 100.0).floor());
    assert!(rest.contains(&sampled[..sampled.len() - 1]), "{sampled} in {}", unused.detail);
    let number: f64 = number.parse().expect("a number");
    let expected = 60_000.0 * share;
    assert!((number - expected).abs() < expected / 5.0, "{number} of {expected}");
    assert_eq!(finding(&mut client, "unused_keys").detail, unused.detail, "always the same sample");

    let access = finding(&mut client, "plan_access").detail;
    assert!(access.starts_with("1 account with active keys in a sample of "), "{access}");
    run(&mut client, "INSERT INTO vpk.accounts (account, plan) VALUES ('nobody', 'Pro')");
    let access = finding(&mut client, "plan_access").detail;
    assert!(access.starts_with("every account with active keys in a sample of "), "{access}");
}
