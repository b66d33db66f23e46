//! The statements that grant privileges to roles, on the schemas and the type too.

use pgrx::pg_sys::{REGROLEOID, TEXTARRAYOID, TEXTOID};

use pure::error::readable;

use crate::pg::call::Call;
use crate::pg::sql::statement::{self, Row, Statement};
use crate::pg::types::{Parameter, Role, SqlValue, Text, TextArray};

/// Functions of the extension, by their names.
#[derive(Clone, Copy)]
pub enum Functions<'names> {
    /// These.
    Only(&'names [&'static str]),
    /// All but these.
    Except(&'names [&'static str]),
}

/// What became of a grant.
pub enum Outcome {
    /// The role has the privileges.
    Granted,
    /// There is no such role.
    NoSuchRole,
    /// The role cannot reach the schema of the functions, and the extension's owner cannot grant it
    /// to. This statement of the schema's owner does it.
    NotOwnSchema(String),
}

/// What a role is to the extension.
pub struct Standing {
    /// Whether it has the privileges of the functions' owner, as every superuser has.
    pub is_owner: bool,
    /// Whether it is an admin role: it may delete plans, which EXECUTE on functions does not give.
    pub is_admin: bool,
}

/// What a role is to the extension. The functions' owner is the current role.
pub fn standing(call: &Call, role: Role) -> Standing {
    let rows = STANDING.read(call, &[Some(role.datum())]);
    let row = rows.first();
    let is = |column| row.is_some_and(|row| row.is(column));
    Standing { is_owner: is(0), is_admin: is(1) }
}

/// The role.
static STANDING: Statement = Statement::new(
    c"SELECT pg_catalog.pg_has_role($1, CURRENT_USER, 'USAGE'),
             pg_catalog.has_table_privilege($1, pg_catalog.to_regclass('vpk.plans'), 'DELETE')",
    &[REGROLEOID],
);

/// The role with exactly this name, or the one that the text means as an identifier in SQL: without
/// quotation marks, upper case is read as lower case. Raises 42704 if there is no such role.
pub fn named(call: &Call, name: Text) -> Parameter {
    NAMED.read(call, &[Some(name.datum())]).first().and_then(|row| row.parameter(0))
}

/// The name.
static NAMED: Statement = Statement::new(
    c"SELECT coalesce((SELECT r.oid::pg_catalog.regrole FROM pg_catalog.pg_roles AS r
                        WHERE r.rolname::text = $1), $1::pg_catalog.regrole)",
    &[TEXTOID],
);

/// Lets a role use the extension's schemas, its type, these functions and these relations. Each of
/// the relations is written as in GRANT, such as `SELECT ON vpk.stats`. A relation or a column that
/// the installed SQL does not have, since it is older than the library, is left out.
pub fn grant(
    call: &Call,
    role: Parameter,
    functions: Functions,
    relations: &[&'static str],
) -> Outcome {
    let names = |names: &[&'static str]| TextArray::new(names.iter().copied()).datum();
    let (only, except) = match functions {
        Functions::Only(only) => (Some(names(only)), names(&[])),
        Functions::Except(except) => (None, names(except)),
    };
    let not_own = USAGE_OF_OTHERS.read(call, &[role]);
    if let Some(statement) = not_own.first().and_then(|row| row.text(0)) {
        return Outcome::NotOwnSchema(readable(statement.bytes(call).to_vec()));
    }
    let on_functions = ON_FUNCTIONS.read(call, &[role, only, Some(except)]);
    let on_relations = ON_RELATIONS.read(call, &[role, Some(names(relations))]);
    execute(call, on_functions.iter().chain(on_relations.iter()))
}

/// Lets a role read every table and sequence of the extension.
pub fn grant_backup(call: &Call, role: Parameter) -> Outcome {
    execute(call, ON_TABLES.read(call, &[role]).iter())
}

/// Executes the statement in each row. If there is no row, the role does not exist.
fn execute<'rows>(call: &Call, rows: impl Iterator<Item = Row<'rows>>) -> Outcome {
    let statements: Vec<_> = rows
        .filter_map(|row| row.text(0))
        .map(|statement| statement.bytes(call).to_vec())
        .collect();
    if statements.is_empty() {
        return Outcome::NoSuchRole;
    }
    statement::execute_utility(call, &statements);
    Outcome::Granted
}

/// The role. The GRANT statement for the schema of the functions, where it needs somebody else.
static USAGE_OF_OTHERS: Statement = Statement::new(
    c"SELECT pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, r.rolname)
        FROM pg_catalog.pg_extension AS e
        JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace,
             pg_catalog.pg_roles AS r
       WHERE e.extname = 'vibepeak_keys' AND r.oid = $1
         AND NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE WITH GRANT OPTION')
         AND NOT pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')",
    &[REGROLEOID],
);

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
     -- Of its own, since what PUBLIC or another role has may be revoked.
     WHERE pg_catalog.has_schema_privilege(n.oid, 'USAGE WITH GRANT OPTION')
       AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(n.nspacl) AS a
                        WHERE a.grantee = g.oid AND a.privilege_type = 'USAGE')",
    &[REGROLEOID, TEXTARRAYOID, TEXTARRAYOID],
);

/// The role, the privileges. A GRANT statement in each row.
static ON_RELATIONS: Statement = Statement::new(
    c"SELECT pg_catalog.format('GRANT %s TO %I', w.privilege, r.rolname)
        FROM pg_catalog.pg_roles AS r, pg_catalog.unnest($2) AS w (privilege),
             pg_catalog.to_regclass(pg_catalog.split_part(w.privilege, ' ON ', 2)) AS c (oid),
             pg_catalog.substring(w.privilege, '[(](.*)[)]') AS n (part)
       WHERE r.oid = $1 AND c.oid IS NOT NULL
         AND (n.part IS NULL
              OR EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
                          WHERE a.attrelid = c.oid AND a.attname = n.part
                            AND NOT a.attisdropped))",
    &[REGROLEOID, TEXTARRAYOID],
);

/// The role. A GRANT statement in each row, for the schema and each table and sequence in it.
static ON_TABLES: Statement = Statement::new(
    c"SELECT pg_catalog.format('GRANT SELECT ON %s%s TO %I',
                               CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' END,
                               c.oid::pg_catalog.regclass, r.rolname)
        FROM pg_catalog.pg_extension AS e
        JOIN pg_catalog.pg_depend AS d
          ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
             AND d.deptype = 'e' AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
        JOIN pg_catalog.pg_class AS c ON c.oid = d.objid AND c.relkind IN ('r', 'S'),
             pg_catalog.pg_roles AS r
       WHERE e.extname = 'vibepeak_keys' AND r.oid = $1
       UNION ALL
      SELECT pg_catalog.format('GRANT USAGE ON SCHEMA vpk TO %I', r.rolname)
        FROM pg_catalog.pg_roles AS r WHERE r.oid = $1",
    &[REGROLEOID],
);
