//! Rate limits and quotas that are not applied as they are written.

use pgrx::pg_sys::INT4OID;

use pure::encoding::widen;

use super::keys::Sample;
use crate::pg::call::Call;
use crate::pg::sql::statement::Statement;
use crate::store::listing::Listing;

/// Everything that has a limit: all plans and accounts, and the keys of a sample.
macro_rules! limited {
    () => {
        "limited AS MATERIALIZED (
            SELECT 'plan' AS kind, p.plan AS name, p.rate_limits, p.quotas
              FROM vpk.plans AS p WHERE p.rate_limits IS NOT NULL OR p.quotas IS NOT NULL
            UNION ALL
            SELECT 'account', a.account, a.rate_limits, a.quotas
              FROM vpk.accounts AS a WHERE a.rate_limits IS NOT NULL OR a.quotas IS NOT NULL
            UNION ALL
            SELECT 'key', k.id::text, k.rate_limits, k.quotas
              FROM vpk.keys AS k TABLESAMPLE pg_catalog.system ($1 / 100.0) REPEATABLE (0)
             WHERE k.rate_limits IS NOT NULL OR k.quotas IS NOT NULL
        )"
    };
}

/// What has a limit.
pub fn limited(call: &Call, sample: Sample) -> Listing {
    Listing::read(call, &LIMITED, &[sample.parameter()])
}

static LIMITED: Statement = Statement::new(
    sql!(
        "WITH ",
        limited!(),
        " SELECT pg_catalog.count(*) OVER (), l.line
            FROM (SELECT pg_catalog.format('%s \"%s\"', l.kind, l.name) AS line FROM limited AS l) AS l
           ORDER BY l.line COLLATE pg_catalog.\"C\" LIMIT 10"
    ),
    &[INT4OID],
);

/// Columns whose text cannot be read, and quotas in time zones that are gone, which `is_gone` says
/// of a name. Reads the keys once.
pub fn not_as_written(call: &Call, sample: Sample, is_gone: impl Fn(&[u8]) -> bool) -> Listing {
    let rows = NOT_AS_WRITTEN.read(call, &[sample.parameter()]);
    let mut listing = Listing { lines: Vec::new(), total: 0 };
    for row in rows.iter() {
        if row.text(0).is_some_and(|zone| !is_gone(zone.bytes(call))) {
            continue;
        }
        // With the first line of a zone, the number of all of its lines.
        listing.total += row.bigint(1).unwrap_or(0);
        let line = row.text(2).map(|line| widen(line.bytes(call)));
        listing.lines.extend(line.filter(|_| listing.lines.len() < LINES));
    }
    listing
}

/// How many lines a listing has at most.
const LINES: usize = 10;

/// A row for each of the first ten lines of what cannot be read, and of each time zone: the name of
/// the zone, the number of all lines in the first row and 0 in the others, and the line.
static NOT_AS_WRITTEN: Statement = Statement::new(
    sql!(
        "WITH ",
        limited!(),
        ", found AS (
            SELECT NULL AS zone, pg_catalog.format('rate limits of %s \"%s\"', l.kind, l.name) AS line
              FROM limited AS l
             WHERE l.rate_limits ~ '[^[:space:]]'
               AND NOT EXISTS (SELECT FROM vpk.rate_limit_rows(l.rate_limits))
            UNION ALL
            SELECT NULL, pg_catalog.format('quotas of %s \"%s\"', l.kind, l.name)
              FROM limited AS l
             WHERE l.quotas ~ '[^[:space:]]'
               AND NOT EXISTS (SELECT FROM vpk.quota_rows(l.quotas))
            UNION ALL
            SELECT q.time_zone,
                   pg_catalog.format('time zone %s of %s \"%s\"', q.time_zone, l.kind, l.name)
              FROM limited AS l, vpk.quota_rows(l.quotas) AS q
             WHERE q.time_zone <> 'UTC'
        ), numbered AS (
            SELECT f.zone, f.line, pg_catalog.count(*) OVER (PARTITION BY f.zone) AS total,
                   pg_catalog.row_number() OVER (
                       PARTITION BY f.zone ORDER BY f.line COLLATE pg_catalog.\"C\") AS number
              FROM found AS f
        )
        SELECT n.zone, CASE n.number WHEN 1 THEN n.total ELSE 0 END, n.line
          FROM numbered AS n WHERE n.number <= 10
         ORDER BY n.line COLLATE pg_catalog.\"C\""
    ),
    &[INT4OID],
);
