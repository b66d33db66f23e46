//! What the doctor looks for in the catalogues and the tables.
//!
//! Each listing has at most the first ten lines, in order, and the number of all lines. Findings on
//! roles and their privileges concern this database only.

pub mod accepted;
pub mod additions;
pub mod alike;
pub mod changed_tables;
pub mod keys;
pub mod limits;
pub mod names;
pub mod replication;

use pgrx::pg_sys::TEXTARRAYOID;

use pure::encoding::widen;
use pure::privileges::{ADMIN_RELATIONS, NOT_FOR_ADMINS, VERIFIER_FUNCTIONS, VERIFIER_RELATIONS};

use crate::pg::call::Call;
use crate::pg::sql::statement::{Row, Statement};
use crate::pg::types::{Parameter, SqlValue, Text, TextArray};
use crate::store::listing::{Listing, listing};

/// A text array of these names.
pub(super) fn names(names: impl IntoIterator<Item = &'static str>) -> Parameter {
    Some(TextArray::new(names.into_iter()).datum())
}

/// Privileges on objects of the extension beyond those that vpk_grant_verifier, vpk_grant_admin and
/// vpk_grant_backup grant, each with its role. A role that was granted vpk_verify counts as a
/// verifier, one that may delete plans as an admin, one that may read vpk.stats as a monitor, and
/// one that may read every table and sequence as one for backups. A role that may read vpk.key_list
/// needs the functions of that view. The installation grants pg_read_all_data those of the views of
/// keys and limits. The privileges of a role that is no admin, but may call all functions that
/// admins may, are one line.
pub fn stray_grants(call: &Call) -> Listing {
    let parameters = [
        names(VERIFIER_FUNCTIONS),
        names(NOT_FOR_ADMINS),
        names(VERIFIER_RELATIONS),
        names(ADMIN_RELATIONS),
    ];
    Listing::read(call, &STRAY_GRANTS, &parameters)
}

/// The parameters are the functions of verifiers, the functions that admins may not call, and the
/// privileges of verifiers and of admins on relations. Names that are shown are quoted by the
/// caller's settings; names that are compared are not quoted.
static STRAY_GRANTS: Statement = Statement::new(
    listing!(
        "WITH members AS (
        SELECT d.classid, d.objid
          FROM pg_catalog.pg_depend AS d
          JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
         WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
           AND d.deptype = 'e' AND e.extname = 'vibepeak_keys'
    ), relations AS (
        SELECT c.oid, c.relkind, c.relowner, c.relacl, n.nspname || '.' || c.relname AS name
          FROM members AS m
          JOIN pg_catalog.pg_class AS c
            ON m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = m.objid
          JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'v', 'S')
    ), objects AS (
        SELECT CASE WHEN p.prorettype = 'pg_catalog.trigger'::pg_catalog.regtype THEN 'trigger'
                    WHEN p.pronamespace = 'vpk'::pg_catalog.regnamespace THEN 'inner function'
                    ELSE 'function' END AS kind,
               p.proname::text AS name, p.oid::pg_catalog.regprocedure::text AS object, NULL AS part,
               p.proowner AS owner,
               coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner)) AS acl
          FROM members AS m
          JOIN pg_catalog.pg_proc AS p
            ON m.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = m.objid
        UNION ALL
        SELECT CASE WHEN r.relkind IN ('r', 'S') THEN 'table' ELSE 'relation' END, r.name,
               CASE r.relkind WHEN 'S' THEN 'sequence ' ELSE '' END || r.oid::pg_catalog.regclass::text,
               NULL, r.relowner, r.relacl
          FROM relations AS r
        UNION ALL
        SELECT 'relation', r.name, r.oid::pg_catalog.regclass::text, a.attname, r.relowner, a.attacl
          FROM relations AS r JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid
         WHERE NOT a.attisdropped
        UNION ALL
        SELECT 'name', NULL, 'type ' || t.oid::pg_catalog.regtype::text, NULL, t.typowner,
               coalesce(t.typacl, pg_catalog.acldefault('T', t.typowner))
          FROM members AS m
          JOIN pg_catalog.pg_type AS t
            ON m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND t.oid = m.objid
         WHERE t.typtype = 'e'
        UNION ALL
        SELECT 'name', NULL, 'schema ' || pg_catalog.quote_ident(n.nspname), NULL, n.nspowner, n.nspacl
          FROM members AS m
          JOIN pg_catalog.pg_namespace AS n
            ON m.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND n.oid = m.objid
    ), rights AS (
        SELECT o.kind, o.name, a.grantee, a.is_grantable,
               pg_catalog.concat(a.privilege_type, ' (' || o.part || ')', ' ON ', o.name) AS plain,
               pg_catalog.concat(a.privilege_type, ' (' || pg_catalog.quote_ident(o.part) || ')',
                                 ' ON ', o.object) AS granted
          FROM objects AS o, LATERAL pg_catalog.aclexplode(o.acl) AS a
         WHERE a.grantee <> o.owner
    ), known AS (
        SELECT r.grantee, pg_catalog.bool_or(r.name = 'vpk_verify') AS verifier,
               pg_catalog.bool_or(r.plain = 'DELETE ON vpk.plans') AS admin,
               pg_catalog.bool_or(r.plain = 'SELECT ON vpk.stats') AS monitor,
               pg_catalog.bool_or(r.plain LIKE 'SELECT%ON vpk.key_list') AS lister,
               (SELECT pg_catalog.count(*) FROM relations AS t WHERE t.relkind IN ('r', 'S'))
                   = pg_catalog.count(DISTINCT r.name)
                         FILTER (WHERE r.kind = 'table' AND r.plain = 'SELECT ON ' || r.name)
                   AS backup
          FROM rights AS r WHERE r.grantee <> 0 GROUP BY r.grantee
    ), blanket AS (
        SELECT r.grantee
          FROM rights AS r
         WHERE r.kind = 'function' AND r.name <> ALL ($2)
           AND r.grantee NOT IN (SELECT k.grantee FROM known AS k WHERE k.admin)
         GROUP BY r.grantee
        HAVING pg_catalog.count(DISTINCT r.granted)
                   = (SELECT pg_catalog.count(*) FROM objects AS o
                       WHERE o.kind = 'function' AND o.name <> ALL ($2))
    )
    SELECT DISTINCT pg_catalog.format(
               '%s: %s%s',
               CASE r.grantee WHEN 0 THEN 'PUBLIC'
                    ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(r.grantee)) END,
               CASE WHEN r.kind = 'function' AND r.grantee IN (TABLE blanket)
                    THEN 'EXECUTE ON all functions, to issue, change, revoke and delete every key'
                    ELSE r.granted END,
               CASE WHEN r.is_grantable THEN ' WITH GRANT OPTION' END) AS line
      FROM rights AS r LEFT JOIN known AS k ON k.grantee = r.grantee
     WHERE r.is_grantable
        OR r.kind = 'function' AND r.grantee IN (TABLE blanket)
        OR (CASE WHEN r.kind LIKE '%function'
                 THEN (k.verifier AND r.name = ANY ($1))
                   OR (k.admin AND r.name <> ALL ($2))
                   OR ((k.verifier OR k.admin) AND r.name = 'vpk_charge')
                   OR (k.monitor AND r.name = 'stats_row')
                   OR (k.lister AND r.name IN ('current_uses', 'current_last_use'))
                   OR (r.grantee = 'pg_read_all_data'::pg_catalog.regrole
                       AND r.name IN ('current_uses', 'current_last_use', 'rate_limit_rows',
                                      'quota_rows'))
                 WHEN r.kind IN ('table', 'relation')
                 THEN (k.verifier AND r.plain = ANY ($3))
                   OR (k.admin AND r.plain = ANY ($4))
                   OR (k.monitor AND r.plain = 'SELECT ON vpk.stats')
                   OR (k.backup AND r.kind = 'table' AND r.plain = 'SELECT ON ' || r.name)
                 WHEN r.kind = 'name'
                 THEN r.granted LIKE 'USAGE ON %' AND (k.verifier OR k.admin)
                   OR r.granted = 'USAGE ON schema vpk' AND (k.monitor OR k.backup)
            END) IS NOT TRUE",
        order: ""
    ),
    &[TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID],
);

/// Roles that may call functions of the extension and cannot reach their schema, each with what it
/// lacks.
pub fn unreachable_schemas(call: &Call) -> Listing {
    Listing::read(call, &UNREACHABLE_SCHEMAS, &[])
}

static UNREACHABLE_SCHEMAS: Statement = Statement::new(
    listing!(
        "SELECT DISTINCT pg_catalog.format(
               '%I: USAGE ON SCHEMA %I', pg_catalog.pg_get_userbyid(a.grantee), n.nspname) AS line
       FROM pg_catalog.pg_extension AS e
       JOIN pg_catalog.pg_depend AS d
         ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
            AND d.deptype = 'e' AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
       JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
       JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace,
            LATERAL pg_catalog.aclexplode(p.proacl) AS a
      WHERE e.extname = 'vibepeak_keys' AND a.grantee <> 0
        AND NOT pg_catalog.has_schema_privilege(a.grantee, n.oid, 'USAGE')",
        order: ""
    ),
    &[],
);

/// Roles with privileges on vpk.keys, granted to them or to roles that they are members of. The
/// table's owner, superusers and the server's predefined roles are left out, and so is what a role
/// has that may read every table and sequence of the extension, as one for backups does.
pub fn key_table_roles(call: &Call) -> Listing {
    Listing::read(call, &KEY_TABLE_ROLES, &[])
}

static KEY_TABLE_ROLES: Statement = Statement::new(
    listing!(
        "WITH keys AS (
        SELECT c.oid, c.relowner, c.relacl, pg_catalog.acldefault('r', c.relowner) AS all_rights
          FROM pg_catalog.pg_class AS c WHERE c.oid = 'vpk.keys'::pg_catalog.regclass
    ), holders AS (
        SELECT r.oid, a.privilege_type AS privilege
          FROM pg_catalog.pg_roles AS r, keys AS k,
               LATERAL pg_catalog.aclexplode(k.all_rights) AS a
         WHERE CASE WHEN a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
                    THEN pg_catalog.has_any_column_privilege(r.oid, k.oid, a.privilege_type)
                    ELSE pg_catalog.has_table_privilege(r.oid, k.oid, a.privilege_type) END
    ), relations AS (
        SELECT c.oid, c.relacl
          FROM pg_catalog.pg_extension AS e
          JOIN pg_catalog.pg_depend AS d
            ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
               AND d.deptype = 'e' AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
          JOIN pg_catalog.pg_class AS c ON c.oid = d.objid AND c.relkind IN ('r', 'S')
         WHERE e.extname = 'vibepeak_keys'
    ), backups AS (
        SELECT a.grantee AS oid
          FROM relations AS r, LATERAL pg_catalog.aclexplode(r.relacl) AS a
         WHERE a.privilege_type = 'SELECT' AND a.grantee <> 0
         GROUP BY a.grantee
        HAVING pg_catalog.count(DISTINCT r.oid) = (SELECT pg_catalog.count(*) FROM relations)
    ), public AS (
        SELECT a.privilege_type AS privilege
          FROM keys AS k, LATERAL pg_catalog.aclexplode(k.relacl) AS a WHERE a.grantee = 0
        UNION
        SELECT a.privilege_type
          FROM keys AS k JOIN pg_catalog.pg_attribute AS c ON c.attrelid = k.oid,
               LATERAL pg_catalog.aclexplode(c.attacl) AS a
         WHERE a.grantee = 0
    ), roles AS (
        SELECT 'PUBLIC' AS role, p.privilege FROM public AS p
        UNION
        SELECT pg_catalog.quote_ident(r.rolname), h.privilege
          FROM keys AS k, pg_catalog.pg_roles AS r
          JOIN holders AS h ON pg_catalog.pg_has_role(r.oid, h.oid, 'MEMBER')
         WHERE NOT r.rolsuper AND r.oid <> k.relowner AND r.rolname !~ '^pg_'
           AND h.privilege NOT IN (SELECT p.privilege FROM public AS p)
           AND NOT (h.privilege = 'SELECT'
                    AND EXISTS (SELECT FROM backups AS b
                                 WHERE pg_catalog.pg_has_role(r.oid, b.oid, 'MEMBER')))
    )
    SELECT pg_catalog.format('%s: %s', r.role,
                             pg_catalog.string_agg(r.privilege, ', ' ORDER BY r.privilege)) AS line
      FROM roles AS r GROUP BY r.role",
        order: ""
    ),
    &[],
);

/// The version of the extension in this database, one character per byte.
pub fn version(call: &Call) -> Option<String> {
    let rows = VERSION.read(call, &[]);
    rows.first().and_then(|row| row.text(0)).map(|version| widen(version.bytes(call)))
}

static VERSION: Statement = Statement::new(
    c"SELECT e.extversion FROM pg_catalog.pg_extension AS e WHERE e.extname = 'vibepeak_keys'",
    &[],
);

/// The value of a setting, somewhere. Texts have one character per byte.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The name of the setting.
    pub name: String,
    /// Its value, as pg_settings shows it or as it was set.
    pub value: String,
    /// The role or database that the value was set for, empty for all; None for the running
    /// session.
    pub set_for: Option<String>,
}

/// The values of these settings: in the running session, and where they were set for roles and
/// databases.
pub fn settings(call: &Call, settings: &[&'static str]) -> Vec<Setting> {
    let rows = SETTINGS.read(call, &[names(settings.iter().copied())]);
    let text = |text: Text| widen(text.bytes(call));
    let running = rows.iter().filter_map(|row| {
        Some(Setting { name: text(row.text(0)?), value: text(row.text(1)?), set_for: None })
    });
    let mut found: Vec<Setting> = running.collect();
    for set in set_for_roles(call) {
        if settings.iter().any(|name| name.as_bytes() == set.name) {
            let (name, value) = (widen(set.name), widen(set.value));
            found.push(Setting { name, value, set_for: Some(text(set.set_for)) });
        }
    }
    found.sort_by(|one, other| (&one.name, &one.set_for).cmp(&(&other.name, &other.set_for)));
    found
}

static SETTINGS: Statement = Statement::new(
    c"SELECT s.name, s.setting FROM pg_catalog.pg_settings AS s WHERE s.name = ANY ($1)",
    &[TEXTARRAYOID],
);

/// A value that was set for a role or database.
struct SetForRole<'call> {
    /// The OIDs of the database and the role, 0 for all of them.
    oids: [Text; 2],
    /// The role or database, empty for all.
    set_for: Text,
    /// The name of the setting.
    name: &'call [u8],
    /// Its value.
    value: &'call [u8],
}

/// The values of all settings that were set for roles and databases.
///
/// The catalogue has them in the encoding of the database where they were set. So the server's
/// functions must not read them here: they raise an error where a text is invalid.
fn set_for_roles(call: &Call) -> Vec<SetForRole<'_>> {
    let rows = SET_FOR_ROLES.read(call, &[]);
    let of_row = |row: Row| {
        let (database, role) = (row.text(0)?, row.text(1)?);
        Some(([database, role], row.text(2)?, row.text_array(3)?.elements(call)))
    };
    rows.iter()
        .filter_map(of_row)
        .flat_map(|(oids, set_for, settings)| {
            settings.iter().flatten().filter_map(move |setting| {
                let at = setting.iter().position(|byte| *byte == b'=')?;
                Some(SetForRole { oids, set_for, name: &setting[..at], value: &setting[at + 1..] })
            })
        })
        .collect()
}

static SET_FOR_ROLES: Statement = Statement::new(
    c"SELECT s.setdatabase::pg_catalog.text, s.setrole::pg_catalog.text,
             pg_catalog.concat_ws(' in ', 'role ' || pg_catalog.quote_ident(r.rolname),
                                  'database ' || pg_catalog.quote_ident(d.datname)),
             s.setconfig
        FROM pg_catalog.pg_db_role_setting AS s
        LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
        LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
       WHERE s.setdatabase = 0 OR d.datname = pg_catalog.current_database()",
    &[],
);
