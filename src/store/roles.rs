//! The statements that grant privileges to roles, on the schemas and the type too.

use pgrx::pg_sys::{REGROLEOID, TEXTARRAYOID};

use crate::pg::call::Call;
use crate::pg::sql::statement::{self, Statement};
use crate::pg::types::{Role, SqlValue, TextArray};

/// Functions of the extension, by their names.
#[derive(Clone, Copy)]
pub enum Functions<'names> {
    /// These.
    Only(&'names [&'static str]),
    /// All but these.
    Except(&'names [&'static str]),
}

/// Lets a role use the extension's schemas, its type, these functions and these relations; false
/// where there is no such role. Each of the relations is written as in GRANT, such as `SELECT ON
/// vpk.stats`. A relation that the installed SQL does not have, since it is older than the library,
/// is left out.
pub fn grant(call: &Call, role: Role, functions: Functions, relations: &[&'static str]) -> bool {
    let names = |names: &[&'static str]| TextArray::new(names.iter().copied()).datum();
    let (only, except) = match functions {
        Functions::Only(only) => (Some(names(only)), names(&[])),
        Functions::Except(except) => (None, names(except)),
    };
    let role = Some(role.datum());
    let on_functions = ON_FUNCTIONS.read(call, &[role, only, Some(except)]);
    let on_relations = ON_RELATIONS.read(call, &[role, Some(names(relations))]);
    if on_relations.is_empty() {
        return false;
    }
    let grants: Vec<_> = on_functions
        .iter()
        .chain(on_relations.iter())
        .filter_map(|row| row.text(0))
        .map(|grant| grant.bytes(call).to_vec())
        .collect();
    statement::execute_utility(call, &grants);
    true
}

/// The role, the functions (null is all but those of the third parameter), the functions that are
/// left out. A GRANT statement in each row.
static ON_FUNCTIONS: Statement = Statement::new(
    c"WITH extension AS (
        SELECT e.oid, e.extnamespace FROM pg_catalog.pg_extension AS e
         WHERE e.extname = 'vibepeak_keys'
    ), members AS (
        SELECT d.classid, d.objid
          FROM pg_catalog.pg_depend AS d JOIN extension AS e ON e.oid = d.refobjid
         WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
    ), grantee AS (
        SELECT pg_catalog.quote_ident(r.rolname) AS name, r.oid
          FROM pg_catalog.pg_roles AS r WHERE r.oid = $1
    )
    SELECT pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO %s', p.oid::pg_catalog.regprocedure,
                             g.name)
      FROM members AS m
      JOIN pg_catalog.pg_proc AS p
        ON m.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = m.objid,
           grantee AS g
     WHERE p.prorettype <> 'pg_catalog.trigger'::pg_catalog.regtype
       AND CASE WHEN $2 IS NULL THEN p.proname::text <> ALL ($3)
                ELSE p.proname::text = ANY ($2) END
    UNION ALL
    SELECT pg_catalog.format('GRANT USAGE ON TYPE %s TO %s', t.oid::pg_catalog.regtype, g.name)
      FROM members AS m
      JOIN pg_catalog.pg_type AS t
        ON m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND t.oid = m.objid,
           grantee AS g
     WHERE t.typtype = 'e'
    UNION ALL
    SELECT pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %s', n.nspname, g.name)
      FROM extension AS e
      JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace OR n.nspname = 'vpk',
           grantee AS g
     WHERE NOT pg_catalog.has_schema_privilege(g.oid, n.oid, 'USAGE')",
    &[REGROLEOID, TEXTARRAYOID, TEXTARRAYOID],
);

/// The role, the privileges. A GRANT statement in each row.
static ON_RELATIONS: Statement = Statement::new(
    c"SELECT pg_catalog.format('GRANT %s TO %I', w.privilege, r.rolname)
        FROM pg_catalog.pg_roles AS r, pg_catalog.unnest($2) AS w (privilege)
       WHERE r.oid = $1
         AND pg_catalog.to_regclass(pg_catalog.split_part(w.privilege, ' ON ', 2)) IS NOT NULL",
    &[REGROLEOID, TEXTARRAYOID],
);
