-- All that the server's catalogues say of the extension, a fact a row: object, property, value.
-- What is the same by another spelling is the same here: access rights are those in force, not how
-- they are stored, and numbers of objects are replaced by names.
WITH extension AS (
    SELECT e.* FROM pg_extension AS e WHERE e.extname = 'vibepeak_keys'
), members AS (
    SELECT d.classid, d.objid
      FROM pg_depend AS d JOIN extension AS e ON d.refobjid = e.oid
     WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
), functions AS (
    SELECT p.*, p.oid::regprocedure::text AS name
      FROM pg_proc AS p JOIN members AS m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
), relations AS (
    SELECT c.*, c.oid::regclass::text AS name
      FROM pg_class AS c JOIN members AS m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
), types AS (
    SELECT t.*, t.oid::regtype::text AS name
      FROM pg_type AS t JOIN members AS m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
     WHERE t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND t.typrelid IN (SELECT c.oid FROM pg_class AS c WHERE c.relkind = 'c')
), schemas AS (
    SELECT n.*, n.nspname::text AS name
      FROM pg_namespace AS n JOIN members AS m ON m.classid = 'pg_namespace'::regclass AND m.objid = n.oid
), attributes AS (
    SELECT a.*, r.name || '.' || a.attname AS name, r.relowner,
           row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS number
      FROM pg_attribute AS a JOIN relations AS r ON r.oid = a.attrelid
     WHERE a.attnum > 0 AND NOT a.attisdropped AND r.relkind <> 'S'
), rights (object, class, oid, sub, owner, kind, acl) AS (
    SELECT 'function ' || name, 'pg_proc'::regclass, oid, 0, proowner, 'f'::"char", proacl FROM functions
    UNION ALL
    SELECT 'relation ' || name, 'pg_class'::regclass, oid, 0, relowner, CASE relkind WHEN 'S' THEN 's'::"char" ELSE 'r'::"char" END, relacl FROM relations
    UNION ALL
    SELECT 'column ' || name, 'pg_class'::regclass, attrelid, attnum, relowner, 'c'::"char", attacl FROM attributes
    UNION ALL
    SELECT 'type ' || name, 'pg_type'::regclass, oid, 0, typowner, 'T'::"char", typacl FROM types
    UNION ALL
    SELECT 'schema ' || name, 'pg_namespace'::regclass, oid, 0, nspowner, 'n'::"char", nspacl FROM schemas
), facts (object, facts) AS (
    SELECT 'extension', jsonb_build_object(
               'version', e.extversion, 'schema', e.extnamespace::regnamespace, 'relocatable', e.extrelocatable,
               'owner', e.extowner::regrole, 'comment', obj_description(e.oid, 'pg_extension'))
      FROM extension AS e
    UNION ALL
    SELECT 'extension', jsonb_build_object('dumped ' || c.relation::regclass, coalesce(c.condition, ''))
      FROM extension AS e, unnest(e.extconfig, e.extcondition) AS c (relation, condition)
    UNION ALL
    -- Of whatever kind, also where nothing below knows more of it.
    SELECT 'extension', jsonb_build_object('member ' || pg_describe_object(m.classid, m.objid, 0), true)
      FROM members AS m
    UNION ALL
    SELECT 'extension', jsonb_build_object('requires ' || pg_describe_object(d.refclassid, d.refobjid, 0), true)
      FROM pg_depend AS d JOIN extension AS e ON d.classid = 'pg_extension'::regclass AND d.objid = e.oid
    UNION ALL
    SELECT 'function ' || p.name, jsonb_build_object(
               'arguments', pg_get_function_arguments(p.oid), 'result', pg_get_function_result(p.oid),
               'kind', p.prokind, 'language', (SELECT l.lanname FROM pg_language AS l WHERE l.oid = p.prolang),
               'source', p.prosrc, 'library', p.probin, 'body', pg_get_function_sqlbody(p.oid),
               'volatility', p.provolatile, 'strict', p.proisstrict, 'parallel', p.proparallel,
               'definer', p.prosecdef, 'leakproof', p.proleakproof, 'cost', p.procost, 'rows', p.prorows,
               'set', p.proretset, 'support', p.prosupport::regproc, 'settings', p.proconfig,
               'owner', p.proowner::regrole, 'comment', obj_description(p.oid, 'pg_proc'))
      FROM functions AS p
    UNION ALL
    SELECT 'relation ' || c.name, jsonb_build_object(
               'kind', c.relkind, 'persistence', c.relpersistence, 'options', c.reloptions,
               'toast options', (SELECT t.reloptions FROM pg_class AS t WHERE t.oid = c.reltoastrelid),
               'access method', (SELECT a.amname FROM pg_am AS a WHERE a.oid = c.relam),
               'tablespace', c.reltablespace, 'row security', c.relrowsecurity, 'forced', c.relforcerowsecurity,
               'replica identity', c.relreplident, 'owner', c.relowner::regrole,
               'comment', obj_description(c.oid, 'pg_class'),
               'definition', CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END)
      FROM relations AS c
    UNION ALL
    SELECT 'column ' || a.name, jsonb_build_object(
               'number', a.number, 'type', format_type(a.atttypid, a.atttypmod), 'not null', a.attnotnull,
               'collation', (SELECT a.attcollation::regcollation WHERE a.attcollation <> 0),
               'default', (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef AS d
                            WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum),
               'identity', a.attidentity, 'generated', a.attgenerated, 'storage', a.attstorage,
               'compression', a.attcompression, 'statistics', nullif(a.attstattarget, -1),
               -- Some servers note in each column when it was made; that is not the extension's.
               'options', (SELECT array_agg(o.option ORDER BY o.option) FROM unnest(a.attoptions) AS o (option)
                            WHERE o.option NOT LIKE 'pg\_attver=%'),
               'comment', col_description(a.attrelid, a.attnum))
      FROM attributes AS a
    UNION ALL
    SELECT 'sequence ' || c.name, to_jsonb(s) - '{seqrelid,seqtypid}'::text[] || jsonb_build_object(
               'type', s.seqtypid::regtype,
               'owned by', (SELECT pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid) FROM pg_depend AS d
                             WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')))
      FROM relations AS c JOIN pg_sequence AS s ON s.seqrelid = c.oid
    UNION ALL
    SELECT 'constraint ' || c.conname || ' on ' || coalesce(r.name, t.name), jsonb_build_object(
               'definition', pg_get_constraintdef(c.oid), 'comment', obj_description(c.oid, 'pg_constraint'))
      FROM pg_constraint AS c
      LEFT JOIN relations AS r ON r.oid = c.conrelid
      LEFT JOIN types AS t ON t.oid = c.contypid
     WHERE coalesce(r.name, t.name) IS NOT NULL
    UNION ALL
    SELECT 'index ' || i.indexrelid::regclass, jsonb_build_object(
               'definition', pg_get_indexdef(i.indexrelid), 'valid', i.indisvalid, 'clustered', i.indisclustered,
               'replica identity', i.indisreplident, 'comment', obj_description(i.indexrelid, 'pg_class'))
      FROM pg_index AS i JOIN relations AS r ON r.oid = i.indrelid
    UNION ALL
    SELECT 'trigger ' || t.tgname || ' on ' || r.name, jsonb_build_object(
               'definition', pg_get_triggerdef(t.oid), 'enabled', t.tgenabled,
               'comment', obj_description(t.oid, 'pg_trigger'))
      FROM pg_trigger AS t JOIN relations AS r ON r.oid = t.tgrelid
     WHERE NOT t.tgisinternal
    UNION ALL
    SELECT 'rule ' || w.rulename || ' on ' || r.name, jsonb_build_object(
               'definition', pg_get_ruledef(w.oid), 'enabled', w.ev_enabled)
      FROM pg_rewrite AS w JOIN relations AS r ON r.oid = w.ev_class
     WHERE r.relkind <> 'v'
    UNION ALL
    SELECT 'policy ' || p.polname || ' on ' || r.name, jsonb_build_object(
               'command', p.polcmd, 'permissive', p.polpermissive, 'roles', p.polroles::regrole[],
               'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid))
      FROM pg_policy AS p JOIN relations AS r ON r.oid = p.polrelid
    UNION ALL
    SELECT 'type ' || t.name, jsonb_build_object(
               'kind', t.typtype, 'owner', t.typowner::regrole, 'comment', obj_description(t.oid, 'pg_type'),
               'labels', (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum AS e WHERE e.enumtypid = t.oid))
      FROM types AS t
    UNION ALL
    SELECT 'schema ' || n.name, jsonb_build_object(
               'owner', n.nspowner::regrole, 'comment', obj_description(n.oid, 'pg_namespace'))
      FROM schemas AS n
    UNION ALL
    -- The rights in force, and those that a dump takes for granted.
    SELECT r.object, jsonb_build_object(x.property,
               jsonb_agg(format('%s to %s by %s%s', a.privilege_type,
                                CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                                a.grantor::regrole, CASE WHEN a.is_grantable THEN ' with grant option' END)
                         ORDER BY a.privilege_type, a.grantee::regrole::text, a.grantor::regrole::text, a.is_grantable))
      FROM rights AS r
      LEFT JOIN pg_init_privs AS i ON i.classoid = r.class AND i.objoid = r.oid AND i.objsubid = r.sub
     CROSS JOIN LATERAL (VALUES ('rights', r.acl), ('initial rights', i.initprivs)) AS x (property, acl)
     CROSS JOIN LATERAL aclexplode(coalesce(x.acl, acldefault(r.kind, r.owner))) AS a
     GROUP BY r.object, x.property
)
SELECT format('%s | %s | %s', f.object, x.key, coalesce(x.value, 'none')) AS fact
  FROM facts AS f, jsonb_each_text(f.facts) AS x
 ORDER BY 1
