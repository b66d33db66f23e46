//! By which names somebody else's objects can take the place of the extension's.

use pgrx::pg_sys::TEXTARRAYOID;

use super::set_for_roles;
use crate::pg::call::Call;
use crate::pg::sql::statement::Statement;
use crate::pg::types::encoding::shown_here;
use crate::pg::types::{SqlValue, Text, TextArray};
use crate::store::listing::{Listing, listing};

/// Objects of others that a call of the extension's functions can find, and ways to plant some: who
/// may create in the schemas of the functions, functions of their names, operators and casts that
/// take a status, and settings of search_path. Superusers and the extension's owner are nobody
/// else, and pg_database_owner is the owner of this database.
pub fn of_others(call: &Call) -> Listing {
    let mut paths = set_for_roles(call);
    paths.retain(|set| set.name == b"search_path");
    let array = |text: &dyn Fn(usize) -> Text| {
        Some(TextArray::of((0..paths.len()).map(text).collect()).datum())
    };
    let parameters = [
        array(&|at| paths[at].oids[0]),
        array(&|at| paths[at].oids[1]),
        array(&|at| Text::new(call, &shown_here(paths[at].value.to_vec()))),
    ];
    Listing::read(call, &OF_OTHERS, &parameters)
}

/// The parameters are the values of search_path that were set for roles and databases: the OIDs of
/// database and role, and the value.
///
/// A comparison for any type can win over the server's own for enums. If a search_path has a schema
/// that does not exist, a role that may create schemas in the database can create it. A role's own
/// schema in its own setting deceives only that role.
static OF_OTHERS: Statement = Statement::new(
    listing!(
        "WITH extension AS (
        SELECT e.oid, e.extowner AS owner, d.datdba, d.datacl
          FROM pg_catalog.pg_extension AS e, pg_catalog.pg_database AS d
         WHERE e.extname = 'vibepeak_keys' AND d.datname = pg_catalog.current_database()
    ), members AS (
        SELECT d.classid, d.objid
          FROM pg_catalog.pg_depend AS d JOIN extension AS e ON e.oid = d.refobjid
         WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
    ), functions AS (
        SELECT p.proname AS name, n.nspname AS schema
          FROM members AS m
          JOIN pg_catalog.pg_proc AS p
            ON m.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = m.objid
          JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    ), statuses AS (
        SELECT t.oid
          FROM members AS m
          JOIN pg_catalog.pg_type AS t
            ON m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
           AND m.objid IN (t.oid, t.typbasetype)
         WHERE t.typtype IN ('e', 'd')
    ), paths AS (
        SELECT s.setdatabase, s.setrole, w.place,
               coalesce(pg_catalog.replace(w.parts[1], '\"\"', '\"'),
                        pg_catalog.lower(w.parts[2] COLLATE pg_catalog.\"C\"))::name AS schema
          FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]),
                          pg_catalog.unnest($2::pg_catalog.oid[]),
                          pg_catalog.unnest($3)) AS s (setdatabase, setrole, path),
               LATERAL pg_catalog.regexp_matches(
                   s.path, '\"((?:[^\"]|\"\")*)\"|([^[:space:],\"]+)', 'g')
                   WITH ORDINALITY AS w (parts, place)
    ), schemas AS (
        SELECT n.nspname AS schema, n.nspowner AS owner, n.nspacl AS acl
          FROM pg_catalog.pg_namespace AS n
        UNION ALL
        SELECT DISTINCT p.schema, e.datdba, e.datacl
          FROM paths AS p, extension AS e
         WHERE p.schema !~ '^(pg_|$)'
           AND p.schema NOT IN (SELECT n.nspname FROM pg_catalog.pg_namespace AS n)
    ), creators AS (
        SELECT DISTINCT s.schema, r.role, r.role = r.owner AS owns
          FROM extension AS e, schemas AS s,
               LATERAL (SELECT s.owner UNION ALL
                        SELECT a.grantee FROM pg_catalog.aclexplode(s.acl) AS a
                         WHERE a.privilege_type = 'CREATE') AS a (role),
               LATERAL (SELECT CASE a.role WHEN d.role THEN e.datdba ELSE a.role END AS role,
                               CASE s.owner WHEN d.role THEN e.datdba ELSE s.owner END AS owner
                          FROM (SELECT 'pg_database_owner'::pg_catalog.regrole::oid) AS d (role)
                       ) AS r
         WHERE r.role <> e.owner
           AND r.role NOT IN (SELECT u.oid FROM pg_catalog.pg_roles AS u WHERE u.rolsuper)
    )
    SELECT pg_catalog.format(
               CASE WHEN c.owns THEN 'schema %I, which belongs to %s'
                    ELSE 'schema %I, in which %s may create objects' END,
               c.schema,
               CASE c.role WHEN 0 THEN 'PUBLIC'
                    ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(c.role)) END) AS line
      FROM creators AS c WHERE c.schema IN (SELECT f.schema FROM functions AS f)
    UNION ALL
    SELECT 'function ' || p.oid::pg_catalog.regprocedure::text
      FROM pg_catalog.pg_proc AS p
     WHERE p.proname IN (SELECT f.name FROM functions AS f WHERE f.schema <> 'vpk')
       AND ('pg_catalog.pg_proc'::pg_catalog.regclass, p.oid) NOT IN (TABLE members)
    UNION ALL
    SELECT 'operator ' || o.oid::pg_catalog.regoperator::text
      FROM pg_catalog.pg_operator AS o
     WHERE o.oprnamespace <> 'pg_catalog'::pg_catalog.regnamespace
       AND (o.oprleft IN (TABLE statuses) OR o.oprright IN (TABLE statuses)
            OR o.oprname IN ('=', '<>', '<', '<=', '>', '>=')
               AND EXISTS (SELECT FROM pg_catalog.pg_type AS t
                            WHERE t.oid IN (o.oprleft, o.oprright) AND t.typtype = 'p'))
       AND ('pg_catalog.pg_operator'::pg_catalog.regclass, o.oid) NOT IN (TABLE members)
    UNION ALL
    SELECT pg_catalog.format('cast from %s to %s', c.castsource::pg_catalog.regtype,
                             c.casttarget::pg_catalog.regtype)
      FROM pg_catalog.pg_cast AS c
     WHERE (c.castsource IN (TABLE statuses) OR c.casttarget IN (TABLE statuses))
       AND ('pg_catalog.pg_cast'::pg_catalog.regclass, c.oid) NOT IN (TABLE members)
    UNION ALL
    SELECT DISTINCT pg_catalog.format(
               'search_path of %s, which has %I before %I',
               coalesce(nullif(pg_catalog.concat_ws(
                   ' in ', 'role ' || pg_catalog.quote_ident(r.rolname),
                   'database ' || pg_catalog.quote_ident(d.datname)), ''), 'all roles'),
               p.schema, f.schema)
      FROM paths AS p
      JOIN paths AS o ON o.setdatabase = p.setdatabase AND o.setrole = p.setrole
                     AND o.place > p.place
      JOIN functions AS f ON f.schema = o.schema
      LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = p.setrole
      LEFT JOIN pg_catalog.pg_database AS d ON d.oid = p.setdatabase
     WHERE p.schema <> '$user'
       AND EXISTS (SELECT FROM creators AS c
                    WHERE c.schema = p.schema AND (c.role = 0 OR c.role <> p.setrole))",
        order: ""
    ),
    &[TEXTARRAYOID; 3],
);
