-- vpk.stats: what it shows, and to whom. Nothing here depends on the library being preloaded.

-- A column for each label of vpk_status, in its order, after since; then the rest.
WITH columns AS (
    SELECT a.attname::text AS name, row_number() OVER (ORDER BY a.attnum) AS number
      FROM pg_attribute AS a
     WHERE a.attrelid = 'vpk.stats'::regclass AND a.attnum > 0 AND NOT a.attisdropped
), labels AS (
    SELECT lower(l.label::text) AS name, 1 + l.number AS number
      FROM unnest(enum_range(NULL::vpk.vpk_status)) WITH ORDINALITY AS l (label, number)
)
SELECT (SELECT c.name FROM columns AS c WHERE c.number = 1) AS first,
       (SELECT array_agg(l.name ORDER BY l.number) FROM labels AS l)
           = (SELECT array_agg(c.name ORDER BY c.number) FROM columns AS c
               WHERE c.number BETWEEN 2 AND (SELECT max(l.number) FROM labels AS l)) AS one_per_label,
       (SELECT array_agg(c.name ORDER BY c.number) FROM columns AS c
         WHERE c.number > (SELECT max(l.number) FROM labels AS l)) AS rest;

-- Each column is the counter of its label: what an answer adds to is the column of its name.
\pset null null
CREATE TEMPORARY TABLE before AS SELECT to_jsonb(s) AS stats FROM vpk.stats AS s;
SELECT token FROM vpk_create('Key') \gset
SELECT vpk_verify(:'token'), vpk_verify('no key'), vpk_verify('');
SELECT l.label
  FROM unnest(enum_range(NULL::vpk.vpk_status)) AS l (label), before AS b, vpk.stats AS s
 WHERE CASE WHEN s.since IS NULL THEN l.label IN ('VALID', 'MISSING_API_KEY', 'INVALID_API_KEY')
            ELSE to_jsonb(s) -> lower(l.label::text) <> b.stats -> lower(l.label::text) END
 ORDER BY l.label;

-- One row, preloaded or not: all of the answers, or null.
SELECT count(*) AS rows, count(*) FILTER (WHERE (s.since IS NULL) = (s.answers IS NULL)) AS consistent,
       count(*) FILTER (WHERE s.answers IS NULL OR cardinality(s.answers) = cardinality(enum_range(NULL::vpk.vpk_status))) AS complete
  FROM vpk.stats_row() AS s;
SELECT count(*) AS rows, bool_and((since IS NULL) = (valid IS NULL) AND (since IS NULL) = (uses_dropped IS NULL)) AS consistent
  FROM vpk.stats;

-- Each answer has its label beside it, and the view goes by the label: the library's order does not
-- matter, nor a label that has no column; a column without an answer is null.
SELECT count(*) FILTER (WHERE s.since IS NULL OR s.statuses = enum_range(NULL::vpk.vpk_status)::text[]) AS labelled
  FROM vpk.stats_row() AS s;
BEGIN;
CREATE OR REPLACE FUNCTION vpk.stats_row()
RETURNS TABLE (since timestamptz, answers bigint[], uses_pending bigint, uses_flushed bigint, uses_dropped bigint,
               last_flush_at timestamptz, last_flush_seconds double precision, last_error_at timestamptz,
               last_error text, statuses text[], limits_unenforced bigint)
LANGUAGE sql AS $$
    SELECT now(), '{11,12,13,14}'::bigint[], 1, 2, 3, NULL::timestamptz, NULL::float8, NULL::timestamptz, NULL::text,
           '{PLAN_REQUIRED,UNHEARD_OF,VALID,RATE_LIMITED}'::text[], 4::bigint
$$;
SELECT valid, plan_required, rate_limited, quota_exceeded, uses_pending, uses_flushed, uses_dropped, limits_unenforced FROM vpk.stats;
ROLLBACK;

-- The roles that may read it.
CREATE ROLE regress_vpk_nobody;
CREATE ROLE regress_vpk_verifier;
CREATE ROLE regress_vpk_admin;
SELECT vpk_grant_verifier('regress_vpk_verifier');
SELECT vpk_grant_admin('regress_vpk_admin');
SELECT r.rolname AS role, has_table_privilege(r.oid, 'vpk.stats', 'SELECT') AS view,
       has_any_column_privilege(r.oid, 'vpk.stats', 'SELECT') AS any_column,
       has_function_privilege(r.oid, 'vpk.stats_row()', 'EXECUTE') AS function
  FROM pg_roles AS r WHERE r.rolname IN ('regress_vpk_nobody', 'regress_vpk_verifier', 'regress_vpk_admin')
 ORDER BY r.rolname;
SET ROLE regress_vpk_admin;
SELECT count(*) FROM vpk.stats;
SELECT count(*) FROM vpk.stats_row();
SET ROLE regress_vpk_verifier;
SELECT count(*) FROM vpk.stats;
\echo :SQLSTATE
SELECT count(*) FROM vpk.stats_row();
\echo :SQLSTATE
SET ROLE regress_vpk_nobody;
SELECT count(*) FROM vpk.stats;
\echo :SQLSTATE
SELECT count(*) FROM vpk.stats_row();
\echo :SQLSTATE
RESET ROLE;

-- Clean up.
DELETE FROM vpk.keys;
DROP OWNED BY regress_vpk_nobody, regress_vpk_verifier, regress_vpk_admin;
DROP ROLE regress_vpk_nobody, regress_vpk_verifier, regress_vpk_admin;
