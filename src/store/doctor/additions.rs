//! For the item `additions`: what others have added to the extension's tables.

use pgrx::pg_sys::TEXTARRAYOID;

use super::names;
use crate::pg::call::Call;
use crate::pg::read::catalog::Table;
use crate::pg::sql::statement::Statement;
use crate::store::columns;
use crate::store::listing::{Listing, listing};

/// Indexes that a release has made.
const INDEXES: [&str; 23] = [
    "accepted_findings_pkey",
    "accounts_pkey",
    "accounts_plan_idx",
    "charge_history_pkey",
    "charges_kept_until_idx",
    "charges_pkey",
    "events_account_idx",
    "events_idempotency_key_idx",
    "events_key_id_idx",
    "events_pkey",
    "key_usage_pkey",
    "keys_account_idx",
    "keys_end_idx",
    "keys_key_hash_excl",
    // Before 0.3.0.
    "keys_key_hash_key",
    "keys_pkey",
    "plans_pkey",
    "quota_usage_pkey",
    "removed_defaults_pkey",
    "task_leases_account_idx",
    "task_leases_key_id_idx",
    "task_leases_pkey",
    "usage_history_pkey",
];

/// Constraints that a release has made, without those that have an index.
const CONSTRAINTS: [&str; 6] = [
    "keys_environment_check",
    "keys_key_hash_check",
    "plans_concurrent_tasks_check",
    "plans_plan_check",
    "quota_usage_used_check",
    "removed_defaults_relation_check",
];

/// Columns, indexes, constraints, triggers, rules, policies and row security that are not the
/// extension's.
pub fn of_others(call: &Call) -> Listing {
    let by_number = Table::ALL.into_iter().flat_map(|table| {
        let shape = columns::shape(table);
        let appended = shape.appended.iter().flat_map(|appended| appended.columns);
        let columns = shape.columns.iter().chain(appended);
        columns.filter_map(move |column| Some((table.name(), column.name.to_str().ok()?)))
    });
    let by_name = columns::BY_NAME
        .iter()
        .chain(&columns::BY_NAME_WITH_LIMITS)
        .flat_map(|relation| relation.columns.iter().map(|(column, _)| (relation.name, *column)));
    let (relations, columns): (Vec<_>, Vec<_>) = by_number.chain(by_name).unzip();
    let parameters = [names(relations), names(columns), names(INDEXES), names(CONSTRAINTS)];
    Listing::read(call, &OF_OTHERS, &parameters)
}

/// The parameters are the tables of the known columns, these columns, and the names of the known
/// indexes and constraints.
static OF_OTHERS: Statement = Statement::new(
    listing!(
        "WITH members AS (
        SELECT d.classid, d.objid
          FROM pg_catalog.pg_depend AS d
          JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
         WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
           AND d.deptype = 'e' AND e.extname = 'vibepeak_keys'
    ), tables AS (
        SELECT c.oid, c.relname AS name, c.relrowsecurity
          FROM members AS m
          JOIN pg_catalog.pg_class AS c
            ON m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = m.objid
         WHERE c.relkind = 'r'
    ), known AS (
        SELECT k.relation, k.name
          FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k (relation, name)
    ), found AS (
        SELECT 'column' AS kind, a.attname AS name, t.name AS relation
          FROM tables AS t JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.oid
         WHERE a.attnum > 0 AND NOT a.attisdropped
           AND (t.name::text, a.attname::text) NOT IN (TABLE known)
        UNION ALL
        SELECT 'index', c.relname, t.name
          FROM tables AS t
          JOIN pg_catalog.pg_index AS i ON i.indrelid = t.oid
          JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
         WHERE c.relname::text <> ALL ($3)
        UNION ALL
        SELECT 'constraint', c.conname, t.name
          FROM tables AS t JOIN pg_catalog.pg_constraint AS c ON c.conrelid = t.oid
         WHERE c.contype IN ('c', 'f') AND c.conname::text <> ALL ($4)
        UNION ALL
        SELECT 'trigger', r.tgname, t.name
          FROM tables AS t JOIN pg_catalog.pg_trigger AS r ON r.tgrelid = t.oid
         WHERE NOT r.tgisinternal
           AND ('pg_catalog.pg_proc'::pg_catalog.regclass, r.tgfoid) NOT IN (TABLE members)
        UNION ALL
        SELECT 'rule', r.rulename, t.name
          FROM tables AS t JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = t.oid
        UNION ALL
        SELECT 'policy', p.polname, t.name
          FROM tables AS t JOIN pg_catalog.pg_policy AS p ON p.polrelid = t.oid
    )
    SELECT pg_catalog.format('%s %I on vpk.%I', f.kind, f.name, f.relation) AS line
      FROM found AS f
    UNION ALL
    SELECT pg_catalog.format('row security on vpk.%I', t.name)
      FROM tables AS t WHERE t.relrowsecurity",
        order: ""
    ),
    &[TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID],
);
