//! For the item `tables`: what is no longer as the extension made it. How a difference is worded
//! that concerns lookups is in [`crate::pg::read::shape`].

use pgrx::pg_sys::TEXTARRAYOID;

use super::names;
use crate::pg::call::Call;
use crate::pg::read::catalog::Table;
use crate::pg::read::scan::Opened;
use crate::pg::read::shape::Difference;
use crate::pg::sql::statement::Statement;
use crate::store::columns;
use crate::store::listing::{Listing, listing};

/// What of the tables is not as the extension has made it and reads it: for each table that lookups
/// read, the first difference that they would find; for others, what statements would not find.
pub fn found(call: &Call) -> Listing {
    let has_limits = has_limits(call);
    let differences = Table::ALL.into_iter().filter_map(|table| {
        let difference = Opened::difference_guarded(call, table, columns::shape(table))
            .filter(|found| *found != Difference::NoTable(Table::QuotaUsage) || has_limits)?;
        let detail = difference.detail().map(|detail| format!(" ({detail})"));
        Some(difference.message() + &detail.unwrap_or_default())
    });
    let mut lines: Vec<String> = differences.collect();
    let with_limits = if has_limits { &columns::BY_NAME_WITH_LIMITS[..] } else { &[] };
    let relations = || columns::BY_NAME.iter().chain(with_limits);
    let columns = || {
        relations().flat_map(|relation| {
            relation.columns.iter().map(move |(column, kind)| (relation, *column, kind.name))
        })
    };
    let parameters = [
        names(relations().map(|relation| relation.name)),
        names(relations().map(|relation| relation.kind)),
        names(columns().map(|(relation, ..)| relation.name)),
        names(columns().map(|(_, column, _)| column)),
        names(columns().map(|(.., kind)| kind)),
    ];
    let others = Listing::read(call, &CHANGED_TABLES, &parameters);
    let total = others.total + lines.len() as i64;
    lines.extend(others.lines);
    Listing { lines, total }
}

/// Whether the installed SQL has limits: that of releases before 0.10.0 does not.
fn has_limits(call: &Call) -> bool {
    !HAS_LIMITS.read(call, &[]).is_empty()
}

static HAS_LIMITS: Statement = Statement::new(
    c"SELECT 1
        FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = 'vpk'
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'quota_grants'
       WHERE c.relname = 'accounts'",
    &[],
);

/// The parameters are the names of relations, and the kind of each; and of columns the relation,
/// the name and the type. Tables that lookups read are left out where the table itself is missing.
static CHANGED_TABLES: Statement = Statement::new(
    listing!(
        "WITH wanted AS (
        SELECT DISTINCT w.name, w.kind, c.oid, c.relkind
          FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS w (name, kind)
          LEFT JOIN (pg_catalog.pg_class AS c
                     JOIN pg_catalog.pg_namespace AS n
                       ON n.oid = c.relnamespace AND n.nspname = 'vpk')
            ON c.relname = w.name
    ), found AS (
        SELECT w.name, w.oid FROM wanted AS w WHERE w.relkind::text = w.kind
    )
    SELECT pg_catalog.format('%s \"vpk.%s\" is missing',
                             CASE w.kind WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' ELSE 'table' END,
                             w.name) AS line
      FROM wanted AS w
     WHERE w.relkind::text IS DISTINCT FROM w.kind
       AND w.name NOT IN ('keys', 'accounts', 'plans', 'task_leases', 'quota_usage')
    UNION ALL
    SELECT CASE WHEN a.attnum IS NULL
                THEN pg_catalog.format('column \"%s\" of \"vpk.%s\" is missing', c.name, f.name)
                ELSE pg_catalog.format('column \"%s\" of \"vpk.%s\" is not of type %s', c.name,
                                       f.name, c.kind) END
      FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5))
           AS c (relation, name, kind)
      JOIN found AS f ON f.name = c.relation
      LEFT JOIN pg_catalog.pg_attribute AS a
        ON a.attrelid = f.oid AND a.attname = c.name AND a.attnum > 0 AND NOT a.attisdropped
     WHERE a.attnum IS NULL OR a.atttypid <> c.kind::pg_catalog.regtype",
        order: ""
    ),
    &[TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID],
);
