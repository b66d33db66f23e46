//! Keys that need somebody's attention.

use pgrx::pg_sys::INT4OID;

use crate::pg::call::Call;
use crate::pg::sql::statement::Statement;
use crate::pg::types::Parameter;
use crate::store::listing::{Listing, listing};

/// Active keys without a successor that expire within two weeks, earliest expiry first.
pub fn expiring_keys(call: &Call) -> Listing {
    Listing::read(call, &EXPIRING_KEYS, &[])
}

/// The condition on the first end is that of the index for vpk_purge. A key that is not revoked
/// ends when it expires.
static EXPIRING_KEYS: Statement = Statement::new(
    listing!(
        "SELECT pg_catalog.format('\"%s\" (%s)', k.name, coalesce(k.hint, k.id::text)) AS line,
            k.expires_at
       FROM vpk.keys AS k
      WHERE k.revoked_at IS NULL AND k.disabled_at IS NULL AND k.rotated_at IS NULL
        AND LEAST(k.revoked_at, k.expires_at) > (SELECT pg_catalog.clock_timestamp())
        AND LEAST(k.revoked_at, k.expires_at)
            <= (SELECT pg_catalog.clock_timestamp()) + interval '14 days'",
        order: "l.expires_at, "
    ),
    &[],
);

/// The part of the keys that a listing reads of all of them.
#[derive(Clone, Copy)]
pub struct Sample {
    /// In ten thousandths.
    part: i32,
}

impl Sample {
    /// So much that it takes a second or so: 64 million bytes of the table.
    pub fn of_keys(call: &Call) -> Sample {
        let rows = SAMPLE.read(call, &[]);
        Sample { part: rows.first().and_then(|row| row.integer(0)).unwrap_or(Sample::ALL) }
    }

    const ALL: i32 = 10_000;

    /// The part in percent; None is all keys.
    pub fn percent(self) -> Option<f64> {
        (self.part < Sample::ALL).then(|| f64::from(self.part) / 100.0)
    }

    /// The part, as the statements on keys have it.
    pub(super) fn parameter(self) -> Parameter {
        Some(self.part.into())
    }
}

static SAMPLE: Statement = Statement::new(
    c"SELECT LEAST(10000, 640000000000 / GREATEST(1, pg_catalog.pg_relation_size('vpk.keys')))::int4",
    &[],
);

/// Active keys of a sample that have not been used for 90 days, longest unused first. What only the
/// memory has of their uses is younger.
pub fn unused_keys(call: &Call, sample: Sample) -> Listing {
    Listing::read(call, &UNUSED_KEYS, &[sample.parameter()])
}

static UNUSED_KEYS: Statement = Statement::new(
    listing!(
        "SELECT pg_catalog.format('\"%s\" (%s)', k.name, coalesce(k.hint, k.id::text)) AS line,
            coalesce(u.last_used_at, k.created_at) AS used_at
       FROM vpk.keys AS k TABLESAMPLE pg_catalog.system ($1 / 100.0) REPEATABLE (0)
       LEFT JOIN vpk.key_usage AS u ON u.key_id = k.id
      WHERE k.revoked_at IS NULL AND k.disabled_at IS NULL
        AND coalesce(k.expires_at, 'infinity') > pg_catalog.clock_timestamp()
        AND coalesce(u.last_used_at, k.created_at)
            < pg_catalog.clock_timestamp() - interval '90 days'",
        order: "l.used_at, "
    ),
    &[INT4OID],
);

/// Accounts with active keys, in a sample, that are refused because of the account's plan.
pub fn accounts_without_access(call: &Call, sample: Sample) -> Listing {
    Listing::read(call, &ACCOUNTS_WITHOUT_ACCESS, &[sample.parameter()])
}

static ACCOUNTS_WITHOUT_ACCESS: Statement = Statement::new(
    listing!(
        "SELECT CASE WHEN a.account IS NULL
                 THEN pg_catalog.format('\"%s\" (there is no such account)', o.account)
                 WHEN p.plan IS NULL
                 THEN pg_catalog.format('\"%s\" (there is no plan \"%s\")', o.account, a.plan)
                 ELSE pg_catalog.format('\"%s\" (plan \"%s\")', o.account, a.plan) END AS line
       FROM (SELECT DISTINCT k.account
               FROM vpk.keys AS k TABLESAMPLE pg_catalog.system ($1 / 100.0) REPEATABLE (0)
              WHERE k.revoked_at IS NULL AND k.disabled_at IS NULL
                AND coalesce(k.expires_at, 'infinity') > pg_catalog.clock_timestamp()) AS o
       LEFT JOIN vpk.accounts AS a ON a.account = o.account
       LEFT JOIN vpk.plans AS p ON p.plan = a.plan
      WHERE p.api_access IS NOT TRUE",
        order: ""
    ),
    &[INT4OID],
);
