-- The objects of the extension, as users see and depend on them: names, argument names, result
-- columns and labels are final, and later versions only append.

-- The objects. From PostgreSQL 17 on, row and array types are listed as members too.
SELECT pg_describe_object(d.classid, d.objid, 0) AS object
  FROM pg_depend AS d
  JOIN pg_extension AS e ON e.oid = d.refobjid
 WHERE d.refclassid = 'pg_extension'::regclass
   AND d.deptype = 'e'
   AND e.extname = 'vibepeak_keys'
   AND NOT EXISTS (SELECT FROM pg_type AS t
                    WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid
                      AND t.typtype <> 'e')
 ORDER BY 1;

-- The extension owns its schema, and cannot be moved.
SELECT n.nspname AS schema, e.extrelocatable AS relocatable
  FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
 WHERE e.extname = 'vibepeak_keys';
ALTER EXTENSION vibepeak_keys SET SCHEMA pg_catalog;
DROP SCHEMA vpk CASCADE;

-- The functions.
CREATE TEMPORARY VIEW member_functions AS
    SELECT p.*, p.oid::regprocedure::text AS function
      FROM pg_proc AS p
      JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
      JOIN pg_extension AS e ON e.oid = d.refobjid
     WHERE d.refclassid = 'pg_extension'::regclass
       AND d.deptype = 'e'
       AND e.extname = 'vibepeak_keys';

\pset format unaligned
SELECT proname AS function, pg_get_function_arguments(oid) AS arguments
  FROM member_functions
 WHERE prorettype <> 'trigger'::regtype
 ORDER BY proname COLLATE "C", pg_get_function_arguments(oid) COLLATE "C";
SELECT proname AS function, pg_get_function_result(oid) AS result
  FROM member_functions
 ORDER BY proname COLLATE "C";
\pset format aligned

-- Verification is volatile (each row is judged anew), not strict (null has an answer), and runs
-- with the caller's privileges; a function that runs SQL is SECURITY DEFINER and sets its
-- search_path.
SELECT proname AS function, provolatile AS volatility, proisstrict AS strict,
       proparallel AS parallel, prosecdef AS definer, proretset AS rows, prorows AS estimate,
       proconfig AS settings
  FROM member_functions
 ORDER BY proname COLLATE "C";

-- The labels, in the order in which they win.
SELECT unnest(enum_range(NULL::vpk.vpk_status)) AS status;

-- The columns of tables and views.
SELECT c.relname AS relation, a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type,
       a.attnotnull AS required, pg_get_expr(d.adbin, d.adrelid) AS "default"
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_attribute AS a ON a.attrelid = c.oid
  LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE n.nspname = 'vpk' AND c.relkind IN ('r', 'v') AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY c.relname COLLATE "C", a.attnum;
SELECT c.conrelid::regclass AS "table", c.conname AS "constraint", pg_get_constraintdef(c.oid) AS definition
  FROM pg_constraint AS c
 WHERE c.connamespace = 'vpk'::regnamespace AND c.contype <> 'n'
 ORDER BY c.conrelid::regclass::text COLLATE "C", c.conname COLLATE "C";

-- The settings. What is fixed at start is defined also where the library is not preloaded.
SELECT vpk_verify(NULL) AS loaded;
SELECT name, vartype AS type, unit, boot_val AS "default", min_val AS least, max_val AS most
  FROM pg_settings
 WHERE name LIKE 'vibepeak\_keys.%'
 ORDER BY name COLLATE "C";

-- Every public object has a comment.
SELECT pg_describe_object(d.classid, d.objid, 0) AS without_comment
  FROM pg_depend AS d
  JOIN pg_extension AS e ON e.oid = d.refobjid
 WHERE d.refclassid = 'pg_extension'::regclass
   AND d.deptype = 'e'
   AND e.extname = 'vibepeak_keys'
   AND d.classid <> 'pg_language'::regclass
   AND obj_description(d.objid, d.classid::regclass::name) IS NULL
   AND NOT EXISTS (SELECT FROM pg_type AS t
                    WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid
                      AND t.typtype <> 'e')
   AND NOT EXISTS (SELECT FROM pg_proc AS p
                    WHERE d.classid = 'pg_proc'::regclass AND p.oid = d.objid
                      AND p.prorettype = 'trigger'::regtype)
   AND NOT EXISTS (SELECT FROM pg_class AS c
                    WHERE d.classid = 'pg_class'::regclass AND c.oid = d.objid
                      AND c.relkind = 'S')
 ORDER BY 1;
SELECT a.attrelid::regclass AS "table", a.attname AS column_without_comment
  FROM pg_attribute AS a
  JOIN pg_class AS c ON c.oid = a.attrelid
 WHERE c.relnamespace = 'vpk'::regnamespace AND c.relkind = 'r'
   AND c.relname <> 'removed_defaults'
   AND a.attnum > 0 AND NOT a.attisdropped
   AND col_description(a.attrelid, a.attnum) IS NULL
 ORDER BY 1, a.attnum;

-- The installed library is of the version that the extension says.
SELECT extversion FROM pg_extension WHERE extname = 'vibepeak_keys';
