//! Rate limits and quotas that are not applied as they are written.

use pgrx::pg_sys::{INT4OID, TEXTARRAYOID};

use super::Listing;
use super::keys::Sample;
use crate::pg::call::Call;
use crate::pg::sql::statement::Statement;
use crate::pg::types::{SqlValue, Text, TextArray};

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

/// A listing of [`limited`], as [`listing!`] makes one of a query without `WITH`.
macro_rules! listing_of_limited {
    ($lines:literal) => {
        sql!(
            "WITH ",
            limited!(),
            " SELECT pg_catalog.count(*) OVER (), l.line FROM (",
            $lines,
            ") AS l ORDER BY l.line COLLATE pg_catalog.\"C\" LIMIT 10"
        )
    };
}

/// What has a limit.
pub fn limited(call: &Call, sample: Sample) -> Listing {
    Listing::read(call, &LIMITED, &[sample.parameter()])
}

static LIMITED: Statement = Statement::new(
    listing_of_limited!(
        "SELECT pg_catalog.format('%s \"%s\"', l.kind, l.name) AS line FROM limited AS l"
    ),
    &[INT4OID],
);

/// The time zones that quotas name.
pub fn time_zones(call: &Call, sample: Sample) -> Vec<Text> {
    let rows = TIME_ZONES.read(call, &[sample.parameter()]);
    rows.iter().filter_map(|row| row.text(0)).collect()
}

static TIME_ZONES: Statement = Statement::new(
    sql!(
        "WITH ",
        limited!(),
        " SELECT DISTINCT q.time_zone FROM limited AS l, vpk.quota_rows(l.quotas) AS q
           WHERE q.time_zone <> 'UTC'"
    ),
    &[INT4OID],
);

/// Columns whose text cannot be read, and quotas in one of these time zones, which are gone.
pub fn not_as_written(call: &Call, sample: Sample, gone: Vec<Text>) -> Listing {
    let parameters = [sample.parameter(), Some(TextArray::of(gone).datum())];
    Listing::read(call, &NOT_AS_WRITTEN, &parameters)
}

static NOT_AS_WRITTEN: Statement = Statement::new(
    listing_of_limited!(
        "SELECT pg_catalog.format('rate limits of %s \"%s\"', l.kind, l.name) AS line
           FROM limited AS l
          WHERE l.rate_limits ~ '\\S'
            AND NOT EXISTS (SELECT FROM vpk.rate_limit_rows(l.rate_limits))
         UNION ALL
         SELECT pg_catalog.format('quotas of %s \"%s\"', l.kind, l.name)
           FROM limited AS l
          WHERE l.quotas ~ '\\S' AND NOT EXISTS (SELECT FROM vpk.quota_rows(l.quotas))
         UNION ALL
         SELECT pg_catalog.format('time zone %s of %s \"%s\"', q.time_zone, l.kind, l.name)
           FROM limited AS l, vpk.quota_rows(l.quotas) AS q WHERE q.time_zone = ANY ($2)"
    ),
    &[INT4OID, TEXTARRAYOID],
);
