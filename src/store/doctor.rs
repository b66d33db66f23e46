//! Statements that look for what is not as it should be.
//!
//! Each of the listings returns the first ten lines to show, in order, and beside each how many there
//! are in all. What is said of roles and their rights is of this database.

use pgrx::pg_sys::TEXTARRAYOID;

use pure::encoding::widen;

use crate::pg::call::Call;
use crate::pg::sql::statement::Statement;
use crate::pg::types::Parameter;

/// Lines to show, one character per byte, and how many there are in all.
pub struct Listing {
    pub lines: Vec<String>,
    pub total: i64,
}

/// Runs one of the listings.
pub fn list(call: &Call, listing: &Statement, parameters: &[Parameter]) -> Listing {
    let rows = listing.read(call, parameters);
    Listing {
        lines: rows
            .iter()
            .filter_map(|row| row.text(1))
            .map(|line| widen(line.bytes(call)))
            .collect(),
        total: rows.first().and_then(|row| row.bigint(0)).unwrap_or(0),
    }
}

/// A statement whose result has the column `line`, and maybe others by which it is in order.
macro_rules! listing {
    ($order:literal, $lines:literal, $types:expr) => {
        Statement::new(
            match core::ffi::CStr::from_bytes_with_nul(
                concat!(
                    "SELECT pg_catalog.count(*) OVER (), l.line FROM (",
                    $lines,
                    ") AS l ORDER BY ",
                    $order,
                    "l.line COLLATE pg_catalog.\"C\" LIMIT 10\0"
                )
                .as_bytes(),
            ) {
                Ok(sql) => sql,
                Err(_) => panic!("a null inside"),
            },
            $types,
        )
    };
}

/// Functions of verifiers, functions that no admin calls, what verifiers and what admins use of
/// relations. Who was granted anything else on what the extension made. A verifier is who was granted
/// vpk_verify, an admin who was granted vpk_grant_verifier, a monitor who may read vpk.stats. What is shown is quoted as the caller's
/// settings have it, and so is not what is compared.
pub static STRAY_GRANTS: Statement = listing!(
    "",
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
        SELECT CASE p.prorettype WHEN 'pg_catalog.trigger'::pg_catalog.regtype THEN 'trigger'
                                 ELSE 'function' END AS kind,
               p.proname::text AS name, p.oid::pg_catalog.regprocedure::text AS object, NULL AS part,
               p.proowner AS owner,
               coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner)) AS acl
          FROM members AS m
          JOIN pg_catalog.pg_proc AS p
            ON m.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = m.objid
        UNION ALL
        SELECT 'relation', r.name,
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
               pg_catalog.bool_or(r.name = 'vpk_grant_verifier') AS admin,
               pg_catalog.bool_or(r.plain = 'SELECT ON vpk.stats') AS monitor
          FROM rights AS r WHERE r.grantee <> 0 GROUP BY r.grantee
    )
    SELECT DISTINCT pg_catalog.format(
               '%s: %s%s',
               CASE r.grantee WHEN 0 THEN 'PUBLIC'
                    ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(r.grantee)) END,
               r.granted, CASE WHEN r.is_grantable THEN ' WITH GRANT OPTION' END) AS line
      FROM rights AS r LEFT JOIN known AS k ON k.grantee = r.grantee
     WHERE r.is_grantable
        OR (CASE r.kind
                WHEN 'function' THEN (k.verifier AND r.name = ANY ($1))
                                  OR (k.admin AND r.name <> ALL ($2))
                                  OR (k.monitor AND r.name = 'stats_row')
                WHEN 'relation' THEN (k.verifier AND r.plain = ANY ($3))
                                  OR (k.admin AND r.plain = ANY ($4))
                                  OR (k.monitor AND r.plain = 'SELECT ON vpk.stats')
                WHEN 'name' THEN r.granted LIKE 'USAGE ON %' AND (k.verifier OR k.admin)
                                OR r.granted = 'USAGE ON schema vpk' AND k.monitor
            END) IS NOT TRUE",
    &[TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID]
);

/// Which roles have rights on vpk.keys, of their own or as members of others: not its owner, nor
/// superusers, nor the roles that the server brings along.
pub static KEY_TABLE_ROLES: Statement = listing!(
    "",
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
    )
    SELECT pg_catalog.format('%s: %s', r.role,
                             pg_catalog.string_agg(r.privilege, ', ' ORDER BY r.privilege)) AS line
      FROM roles AS r GROUP BY r.role",
    &[]
);

/// Active keys without a successor that expire within two weeks, the first first.
pub static EXPIRING_KEYS: Statement = listing!(
    "l.expires_at, ",
    "SELECT pg_catalog.format('\"%s\" (%s)', l.name, coalesce(l.hint, l.id::text)) AS line,
            l.expires_at
       FROM vpk.key_list AS l JOIN vpk.keys AS k ON k.id = l.id
      WHERE l.state = 'active' AND k.rotated_at IS NULL
        AND l.expires_at <= pg_catalog.clock_timestamp() + interval '14 days'",
    &[]
);

/// Active keys that have not been used for 90 days, the longest unused first.
pub static UNUSED_KEYS: Statement = listing!(
    "l.used_at, ",
    "SELECT pg_catalog.format('\"%s\" (%s)', l.name, coalesce(l.hint, l.id::text)) AS line,
            coalesce(l.last_used_at, l.created_at) AS used_at
       FROM vpk.key_list AS l
      WHERE l.state = 'active'
        AND coalesce(l.last_used_at, l.created_at)
            < pg_catalog.clock_timestamp() - interval '90 days'",
    &[]
);

/// Accounts with active keys that are refused for their plan.
pub static ACCOUNTS_WITHOUT_ACCESS: Statement = listing!(
    "",
    "SELECT CASE WHEN a.account IS NULL
                 THEN pg_catalog.format('\"%s\" (there is no such account)', o.account)
                 WHEN p.plan IS NULL
                 THEN pg_catalog.format('\"%s\" (there is no plan \"%s\")', o.account, a.plan)
                 ELSE pg_catalog.format('\"%s\" (plan \"%s\")', o.account, a.plan) END AS line
       FROM (SELECT DISTINCT l.account FROM vpk.key_list AS l WHERE l.state = 'active') AS o
       LEFT JOIN vpk.accounts AS a ON a.account = o.account
       LEFT JOIN vpk.plans AS p ON p.plan = a.plan
      WHERE p.api_access IS NOT TRUE",
    &[]
);

/// Publications that the hashes are part of: a list of columns can leave them out.
pub static PUBLICATIONS: Statement = listing!(
    "",
    "SELECT DISTINCT pg_catalog.quote_ident(p.pubname) AS line
       FROM pg_catalog.pg_publication_tables AS p
      WHERE p.schemaname = 'vpk' AND p.tablename = 'keys' AND 'key_hash' = ANY (p.attnames)",
    &[]
);

/// The version of the extension in this database.
pub fn version(call: &Call) -> Option<String> {
    let rows = VERSION.read(call, &[]);
    rows.first().and_then(|row| row.text(0)).map(|version| widen(version.bytes(call)))
}

static VERSION: Statement = Statement::new(
    c"SELECT e.extversion FROM pg_catalog.pg_extension AS e WHERE e.extname = 'vibepeak_keys'",
    &[],
);

/// Names. What these settings are here and now, and what they are for roles and databases that have
/// a value of their own: name, value, and for whom, null for the running session.
pub static SETTINGS: Statement = Statement::new(
    c"SELECT s.name, s.setting, NULL
        FROM pg_catalog.pg_settings AS s WHERE s.name = ANY ($1)
      UNION ALL
      SELECT o.name, o.value,
             pg_catalog.concat_ws(' in ', 'role ' || pg_catalog.quote_ident(r.rolname),
                                  'database ' || pg_catalog.quote_ident(d.datname))
        FROM pg_catalog.pg_db_role_setting AS s
        JOIN pg_catalog.unnest(s.setconfig) AS c (setting) ON true
        JOIN LATERAL (SELECT pg_catalog.split_part(c.setting, '=', 1) AS name,
                             pg_catalog.substr(c.setting, pg_catalog.strpos(c.setting, '=') + 1)
                                 AS value) AS o ON o.name = ANY ($1)
        LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
        LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
       WHERE s.setdatabase = 0 OR d.datname = pg_catalog.current_database()
       ORDER BY 1, 3 NULLS FIRST",
    &[TEXTARRAYOID],
);
