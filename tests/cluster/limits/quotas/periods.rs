//! G12: periods, from a date, in a time zone, over changes of its clocks.

use super::set_quotas;
use crate::support::keys::set_plan;
use crate::support::usage::start_flushing_hourly;
use crate::support::value;

/// The current periods are those of the server's own arithmetic, in every time zone that it knows.
#[test]
fn periods_are_those_of_the_server_in_every_zone() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    set_plan(&mut client, "acme", "Plus");
    let zones = "SELECT string_agg(name, ' ') FROM (
                     SELECT name FROM pg_timezone_names WHERE name !~ '^posix|[ ,]'
                        AND name NOT IN (SELECT abbrev FROM pg_timezone_abbrevs) ORDER BY name) AS z";
    let zones = value(&mut client, zones, &[]);
    assert!(zones.split(' ').count() > 300, "{zones}");
    for zone in zones.split(' ') {
        let quotas = ["day", "week", "month", "year"]
            .map(|span| format!("calls=1/{span} in {zone}"))
            .join(", ");
        set_quotas(&mut client, &quotas);
        let sql =
            "SELECT string_agg(format('%s from %s to %s', period, period_start, resets_at), ', ')
                     FROM vpk_quota('acme')
                    WHERE NOT (period_start = date_trunc(period, now(), $1)
                               AND resets_at = (date_trunc(period, now() AT TIME ZONE $1)
                                            + ('1 ' || period)::interval) AT TIME ZONE $1)";
        let sql = format!("SELECT coalesce(({sql}), '')");
        assert_eq!(value(&mut client, &sql, &[&zone]), "", "{zone}");
    }
}

/// Periods are counted from the anchor: the 31st of each month, or its last day.
#[test]
fn periods_are_counted_from_the_anchor() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    set_plan(&mut client, "acme", "Plus");
    set_quotas(
        &mut client,
        "calls=1/month in Asia/Kathmandu from 2024-01-31, calls=2/total, calls=3/hour, \
         calls=4/day in No/Where",
    );
    let periods = "SELECT string_agg(concat_ws(' ', period, period_start = CASE period
                              WHEN 'month' THEN (SELECT max(d) FROM generate_series(0, 300) AS n,
                                     LATERAL (SELECT (date '2024-01-31' + n * interval '1 month')
                                                     AT TIME ZONE 'Asia/Kathmandu') AS m (d)
                                     WHERE d <= now())
                              WHEN 'total' THEN '-infinity'
                              WHEN 'hour' THEN date_trunc('hour', now(), 'UTC')
                              WHEN 'day' THEN date_trunc('day', now(), 'UTC') END,
                          resets_at > now()), ', ')
                     FROM vpk_quota('acme')";
    assert_eq!(value(&mut client, periods, &[]), "month t t, total t t, hour t t, day t t");
}
