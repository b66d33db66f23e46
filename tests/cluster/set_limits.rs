//! Rate limits and quotas as they are set: by databases of every age, on servers that do not
//! enforce them, and in the time zones of the server.

use crate::support::keys::{create_for, set_plan, verify};
use crate::support::known::run;
use crate::support::{Client, Cluster, report, value};
use crate::upgrades::{made_with, old_versions, update};

/// The beginning and the end of the period of a quota in a zone, by the library.
const PERIOD: &str = "
    CREATE FUNCTION quota_period(zone text, span text, anchor date, at timestamptz, ends boolean)
    RETURNS timestamptz LANGUAGE c AS 'vibepeak_keys', 'quota_period_wrapper'";

/// The periods of instants over two centuries, at any time of the day, and of many on some days on
/// which clocks change somewhere: what the server says in a zone of the session, and the library.
/// Where a zone has the name of an abbreviation, such as CET, functions of the server that take the
/// zone as an argument take it for the abbreviation.
const PERIODS: &str = "
    CREATE TABLE instants AS
    SELECT * FROM generate_series('1890-01-01 00:00+00', '2060-01-01 00:00+00',
                                  interval '2 years 111 days 7 hours 13 minutes 7.1 seconds') AS at
     UNION ALL
    SELECT now()
     UNION ALL
    SELECT d + n * interval '58 minutes'
      FROM (VALUES ('2018-11-04 00:00+00'::timestamptz), ('2019-02-16 00:00+00'),
                   ('2011-12-29 00:00+00'), ('2026-11-01 00:00+00')) AS d (d),
           generate_series(0, 37) AS n;
    CREATE TABLE periods (zone text, span text, at timestamptz, expected timestamptz,
                          starts timestamptz, ends timestamptz);
    DO $$
    DECLARE
        named text;
    BEGIN
        FOR named IN SELECT z.name FROM pg_timezone_names AS z LOOP
            PERFORM set_config('timezone', named, true);
            INSERT INTO periods
            SELECT named, s.span, i.at, date_trunc(s.span, i.at),
                   quota_period(named, s.span, NULL, i.at, false),
                   quota_period(named, s.span, NULL, i.at, true)
              FROM instants AS i, (VALUES ('day'), ('week'), ('month'), ('year')) AS s (span);
        END LOOP;
    END
    $$";

/// The periods of quotas are those of the server's calendar, in each of its zones. Where clocks
/// show midnight twice, a day begins with the second one, as `date_trunc` says even of instants
/// before it; such an instant is in the period before.
#[test]
fn the_periods_of_every_time_zone_are_those_of_the_server() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    let mut client = cluster.client();
    run(&mut client, PERIOD);
    run(&mut client, PERIODS);
    let counted = value(&mut client, "SELECT (count(*) > 400000)::text FROM periods", &[]);
    assert_eq!(counted, "true");
    let different = "
        SELECT coalesce(string_agg(concat_ws(' ', f.zone, f.span, f.at, f.expected, f.starts, f.ends),
                                   E'\\n'), '')
          FROM (SELECT p.* FROM periods AS p
                 WHERE (p.starts <= p.at AND p.at < p.ends) IS NOT TRUE
                    OR (p.starts = p.expected OR p.expected > p.at) IS NOT TRUE
                    OR p.ends <> quota_period(p.zone, p.span, NULL, p.ends, false)
                 LIMIT 10) AS f";
    assert_eq!(value(&mut client, different, &[]), "");
    // From a date on, the 31st of January, over a leap year.
    let months = "
        SELECT string_agg(to_char(quota_period('Asia/Kathmandu', 'month', '2026-01-31',
                                               m::timestamptz, false) AT TIME ZONE 'Asia/Kathmandu',
                                  'MM-DD HH24:MI'), ', ' ORDER BY m)
          FROM generate_series(timestamp '2028-01-31 12:00', '2028-05-01', '1 month') AS m";
    let expected = "01-31 00:00, 02-29 00:00, 02-29 00:00, 03-31 00:00";
    assert_eq!(value(&mut client, months, &[]), expected);
    let unknown = "SELECT concat(quota_period('Europe/Atlantis', 'day', NULL, now(), false),
                                 quota_period('UTC', 'decade', NULL, now(), false))";
    assert_eq!(value(&mut client, unknown, &[]), "");
}

/// G2: a server that does not preload the library sets no limits; those that a restore has brought
/// it says that it does not enforce, and it verifies. They can be removed.
#[test]
fn a_server_that_does_not_preload_the_library_sets_no_limits() {
    let cluster = Cluster::start(&[("shared_preload_libraries", "")]);
    let mut client = cluster.client();
    set_plan(&mut client, "acme", "Pro");
    let key = create_for(&mut client, "key", "acme");
    for sql in [
        "SELECT vpk_set_rate_limit('minute', 1, '1 minute', account => 'acme')",
        "SELECT vpk_set_quota(1, account => 'acme')",
    ] {
        let error = report(&client.batch_execute(sql).expect_err("an error"));
        assert!(error.starts_with("55000 "), "{error}");
        assert!(error.contains("shared_preload_libraries"), "{error}");
    }
    let doctor = "SELECT concat_ws(' ', ok, detail) FROM vpk_doctor() WHERE item = 'limits'";
    assert!(value(&mut client, doctor, &[]).starts_with("t "));
    run(
        &mut client,
        "UPDATE vpk.plans SET rate_limits = 'minute=1/1min' WHERE plan = 'Pro';
         UPDATE vpk.accounts SET quotas = 'calls=0/total' WHERE account = 'acme'",
    );
    assert_eq!(verify(&mut client, &key.token), "VALID");
    assert_eq!(verify(&mut client, &key.token), "VALID");
    let found = value(&mut client, doctor, &[]);
    let expected = "f rate limits and quotas are not enforced, since the library is not preloaded: \
                    account \"acme\"; plan \"Pro\"";
    assert_eq!(found, expected);
    run(
        &mut client,
        "SELECT vpk_set_rate_limit('minute', NULL, NULL, plan => 'Pro');
         SELECT vpk_set_quota(NULL, 'total', account => 'acme')",
    );
    assert!(value(&mut client, doctor, &[]).starts_with("t "));
}

/// All limits, as the views show them.
fn shown(client: &mut Client) -> String {
    let sql = "SELECT concat_ws(E'\\n',
        (SELECT string_agg(concat_ws(' ', subject, policy, amount, period, burst), E'\\n'
                           ORDER BY subject COLLATE \"C\") FROM vpk.rate_limits),
        (SELECT string_agg(concat_ws(' ', subject, meter, period, amount, time_zone), E'\\n'
                           ORDER BY subject COLLATE \"C\") FROM vpk.quotas))";
    value(client, sql, &[])
}

/// G8: rows of before the update have no limit, and answer as before; then limits can be set for
/// them as for new ones.
#[test]
fn rows_of_before_the_update_have_no_limits_until_they_are_set() {
    let cluster = Cluster::start(&[]);
    for (number, old) in old_versions().iter().enumerate() {
        let name = format!("limited_{number}");
        let mut client = made_with(&cluster, &name, old);
        set_plan(&mut client, "acme", "Pro");
        let key = create_for(&mut client, "key", "acme");
        let mut service = cluster.connect(&name, "postgres");
        assert_eq!(verify(&mut service, &key.token), "VALID");
        update(&mut client);
        for mut client in [service, cluster.connect(&name, "postgres")] {
            assert_eq!(verify(&mut client, &key.token), "VALID", "{old}");
            assert_eq!(verify(&mut client, &key.token), "VALID", "{old}");
            assert_eq!(shown(&mut client), "", "{old}");
        }
        let set = |of: &str| {
            format!(
                "SELECT vpk_set_rate_limit('minute', 1000, '1 minute', {of});
                 SELECT vpk_set_quota(1000, {of}, time_zone => 'Asia/Kathmandu');"
            )
        };
        for of in ["plan => 'Pro'", "account => 'acme'", &format!("id => '{}'", key.id)] {
            run(&mut client, &set(of));
        }
        let expected = "account minute 1000 00:01:00 1000\nkey minute 1000 00:01:00 1000\n\
                        plan minute 1000 00:01:00 1000\naccount calls month 1000 Asia/Kathmandu\n\
                        key calls month 1000 Asia/Kathmandu\nplan calls month 1000 Asia/Kathmandu";
        assert_eq!(shown(&mut client), expected, "{old}");
        assert_eq!(verify(&mut client, &key.token), "VALID", "{old}");
    }
}
