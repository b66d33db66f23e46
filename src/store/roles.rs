//! Statements that find out what a role is to be granted.

use pgrx::pg_sys::{REGROLEOID, TEXTARRAYOID};

use crate::pg::sql::statement::Statement;

/// Role, functions (null: all but those of the second list), functions left out. The statements that
/// let the role use the extension's schemas, its type and these functions.
pub static OF_FUNCTIONS: Statement = Statement::new(
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
    SELECT pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO %s', p.oid::pg_catalog.regprocedure, g.name)
      FROM members AS m
      JOIN pg_catalog.pg_proc AS p
        ON m.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = m.objid,
           grantee AS g
     WHERE p.prorettype <> 'pg_catalog.trigger'::pg_catalog.regtype
       AND CASE WHEN $2 IS NULL THEN p.proname::text <> ALL ($3) ELSE p.proname::text = ANY ($2) END
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

/// Role, what to grant on relations of the schema vpk, as in GRANT, one relation each. The statements; none
/// for a relation that the installed SQL, which may be older than the library, does not have.
pub static OF_RELATIONS: Statement = Statement::new(
    c"SELECT pg_catalog.format('GRANT %s TO %I', w.what, r.rolname)
        FROM pg_catalog.pg_roles AS r, pg_catalog.unnest($2) AS w (what)
       WHERE r.oid = $1
         AND pg_catalog.to_regclass(pg_catalog.split_part(w.what, ' ON ', 2)) IS NOT NULL",
    &[REGROLEOID, TEXTARRAYOID],
);
