-- vpk_rate_limit: what is refused, and who may call it. What it answers takes the library
-- preloaded, and is in tests/cluster/limits.

-- Null says nothing of who is limited, or of how much.
SELECT * FROM vpk_rate_limit(NULL, 1, '1 second');
SELECT * FROM vpk_rate_limit('a', NULL, '1 second');
SELECT * FROM vpk_rate_limit('a', 1, NULL);

-- The bounds.
SELECT * FROM vpk_rate_limit('a', 0, '1 second');
SELECT * FROM vpk_rate_limit('a', 1000001, '1 second');
SELECT * FROM vpk_rate_limit('a', 1, '1 second', 0);
SELECT * FROM vpk_rate_limit('a', 1, '1 second', 1000001);
SELECT * FROM vpk_rate_limit('a', 1, '0 seconds');
SELECT * FROM vpk_rate_limit('a', 1, '-1 second');
SELECT * FROM vpk_rate_limit('a', 1, '0.5 seconds');
SELECT * FROM vpk_rate_limit('a', 1, '1.5 seconds');
SELECT * FROM vpk_rate_limit('a', 1, '31 days 1 second');
SELECT * FROM vpk_rate_limit('a', 1, '1 month');
SELECT * FROM vpk_rate_limit('a', 1, '1 day', 367);

-- Nobody but verifiers, admins and the owner may call it.
CREATE ROLE regress_vpk_limiter;
CREATE ROLE regress_vpk_limiting_admin;
SELECT has_function_privilege(r.name, f.oid, 'EXECUTE') AS before, r.name
  FROM (VALUES ('regress_vpk_limiter'), ('regress_vpk_limiting_admin')) AS r (name), pg_proc AS f
 WHERE f.proname = 'vpk_rate_limit' ORDER BY r.name;
SET ROLE regress_vpk_limiter;
SELECT * FROM vpk_rate_limit('a', 1, '1 second');
RESET ROLE;
SELECT vpk_grant_verifier('regress_vpk_limiter'), vpk_grant_admin('regress_vpk_limiting_admin');
SELECT has_function_privilege(r.name, f.oid, 'EXECUTE') AS granted, r.name
  FROM (VALUES ('regress_vpk_limiter'), ('regress_vpk_limiting_admin')) AS r (name), pg_proc AS f
 WHERE f.proname = 'vpk_rate_limit' ORDER BY r.name;

-- One row is expected.
SELECT p.prorows, p.provolatile, p.prosecdef, p.proparallel FROM pg_proc AS p WHERE p.proname = 'vpk_rate_limit';

-- Clean up.
DROP OWNED BY regress_vpk_limiter, regress_vpk_limiting_admin;
DROP ROLE regress_vpk_limiter, regress_vpk_limiting_admin;
