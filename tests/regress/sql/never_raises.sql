-- G2: verification answers for any argument and in any place of a statement.

SELECT vpk_set_plan('acme', 'Pro');
SELECT id, token FROM vpk_create('Key', 'acme', scopes => '{run}') \gset

-- Some 20,000 strings: every kind of character, alone and within a key; beginnings and
-- continuations of a real key; lengths around every limit; white space; what other languages would
-- choke on.
CREATE TABLE strings (n integer GENERATED ALWAYS AS IDENTITY, kind text, string text);
INSERT INTO strings (kind, string) VALUES ('nothing', NULL), ('nothing', ''), ('nothing', ' '), ('nothing', E'\t\n\r\f\x0b ');
INSERT INTO strings (kind, string) SELECT 'character', chr(n) FROM generate_series(1, 2000) AS n WHERE n NOT IN (9, 10, 11, 12, 13, 32);
INSERT INTO strings (kind, string) SELECT 'character', chr(n) FROM generate_series(2001, 1114111, 571) AS n WHERE n NOT BETWEEN 55296 AND 57343;
INSERT INTO strings (kind, string) SELECT 'in a key', overlay(:'token' placing chr(n) from n % 41 + 1) FROM generate_series(128, 5000) AS n;
INSERT INTO strings (kind, string) SELECT 'in a key', overlay(:'token' placing chr(n % 31 + 1) from n) FROM generate_series(1, 41) AS n;
INSERT INTO strings (kind, string) SELECT 'beginning', left(:'token', n) FROM generate_series(1, 40) AS n;
INSERT INTO strings (kind, string) SELECT 'end', right(:'token', n) FROM generate_series(1, 40) AS n;
INSERT INTO strings (kind, string) SELECT 'continued', :'token' || chr(n) FROM generate_series(1, 1000) AS n;
INSERT INTO strings (kind, string) SELECT 'preceded', chr(n) || :'token' FROM generate_series(1, 1000) AS n;
INSERT INTO strings (kind, string) SELECT 'repeated', repeat(:'token', n) FROM generate_series(2, 300) AS n;
INSERT INTO strings (kind, string) SELECT 'length', repeat('x', n) FROM generate_series(1, 2500) AS n;
INSERT INTO strings (kind, string) SELECT 'length', repeat('x', n) FROM generate_series(8100, 8300) AS n;
INSERT INTO strings (kind, string) SELECT 'length', repeat('ü', n) FROM generate_series(4050, 4150) AS n;
INSERT INTO strings (kind, string) SELECT 'digest', 'vpk_live_' || left(md5(n::text) || md5(n::text || 'x'), 32) FROM generate_series(1, 5000) AS n;
INSERT INTO strings (kind, string)
SELECT 'hostile', h FROM unnest(ARRAY['''', '"', '\', '\\', E'\\x00', '%s%n%d', '%00', '{}', '[', '{"a":', 'null', 'NULL', '0', '-1', 'NaN', 'Infinity',
       ''' OR 1=1 --', '"; DROP TABLE vpk.keys; --',
       '$1', '$$', '{{7*7}}', '../../etc/passwd', '<script>', 'Bearer', 'Bearer ', 'bearer x', 'Basic eDp5', 'vpk_live_', 'vpk_test_',
       'vpk_', E'\u202e' || :'token', :'token' || E'\u200b', E'\ufeff' || :'token', normalize('é', NFD), '👨‍👩‍👧‍👦', repeat('👨‍👩‍👧‍👦', 500)]) AS h;
SELECT count(*) > 19000 AS many, count(DISTINCT kind) AS kinds FROM strings;

-- None of them is the key. In vpk_verify, what is not missing is invalid.
SELECT kind, vpk_verify(string) AS status, count(*) FROM strings GROUP BY kind, status ORDER BY kind, status;
-- As the header, as the credential, and as everything else at once: an answer each time, whose
-- parts fit.
SELECT kind, a.status, count(*) FROM strings, LATERAL vpk_authenticate(string) AS a GROUP BY kind, a.status ORDER BY kind, a.status;
SELECT kind, a.status, count(*) FROM strings, LATERAL vpk_authenticate('Bearer ' || string, string, NULL, string, string) AS a
 GROUP BY kind, a.status ORDER BY kind, a.status;
SELECT count(*) AS judged,
       count(*) FILTER (WHERE (a.status = 'VALID') <> (string IS NULL OR string = 'run')) AS by_scope,
       count(*) FILTER (WHERE a.error #>> '{error,code}' IS DISTINCT FROM nullif(a.status, 'VALID')::text
                           OR a.error #>> '{error,request_id}' <> a.request_id
                           OR NOT a.request_id ~ '^[ -~]{1,128}$'
                           OR a.headers::text ~ '[^ -~]') AS unfit
  FROM strings, LATERAL vpk_authenticate('Bearer ' || :'token', string, '192.0.2.1', string) AS a;
SELECT a.status, count(*) FROM strings, LATERAL vpk_authenticate('Bearer ' || :'token', environment => string) AS a GROUP BY a.status ORDER BY a.status;
SELECT vpk_verify_hash(convert_to(string, 'UTF8')) AS status, count(*) FROM strings GROUP BY status ORDER BY status;
SELECT count(*) AS bodies FROM strings WHERE vpk_error('PLAN_REQUIRED', string, string) #>> '{error,code}' = 'PLAN_REQUIRED';
SELECT t.status, count(*) FROM strings, LATERAL vpk_task_start(string) AS t GROUP BY t.status ORDER BY t.status;

-- 100 MB and more.
SELECT vpk_verify(repeat('x', 100 * 1024 * 1024));
SELECT vpk_verify(:'token' || repeat('x', 100 * 1024 * 1024));
SELECT vpk_verify(repeat(' ', 100 * 1024 * 1024));
SELECT status FROM vpk_authenticate('Bearer ' || repeat('x', 100 * 1024 * 1024));
SELECT status FROM vpk_authenticate(repeat('x', 100 * 1024 * 1024));
SELECT status FROM vpk_authenticate('Bearer ' || :'token', repeat('x', 100 * 1024 * 1024), NULL, repeat('x', 100 * 1024 * 1024));
SELECT status FROM vpk_authenticate('Bearer ' || :'token', environment => repeat('x', 100 * 1024 * 1024));
SELECT vpk_verify_hash(convert_to(repeat('x', 100 * 1024 * 1024), 'UTF8'));
SELECT vpk_error('INVALID_API_KEY', repeat('x', 100 * 1024 * 1024)) #>> '{error,request_id}' LIKE 'req\_%' AS made;
SELECT status FROM vpk_task_start(repeat('x', 100 * 1024 * 1024));

-- Values as tables hold them: short, compressed in the row, compressed and plain outside of it.
CREATE TABLE stored (n integer, plain text, main text, external text, extended text);
ALTER TABLE stored ALTER plain SET STORAGE PLAIN, ALTER main SET STORAGE MAIN, ALTER external SET STORAGE EXTERNAL;
INSERT INTO stored
SELECT n, CASE WHEN length(v) < 5000 THEN v END, v, v, v
  FROM (VALUES (1, :'token'), (2, ''), (3, NULL), (4, repeat('x', 100)), (5, repeat(' ', 3000)), (6, :'token' || repeat('x', 3000)),
               (7, repeat('x', 10 * 1024 * 1024)), (8, repeat(' ', 10 * 1024 * 1024)), (9, repeat(' ', 4000) || 'Bearer ' || :'token' || repeat(' ', 4000)))
       AS v (n, v);
SELECT n, vpk_verify(plain) AS plain, vpk_verify(main) AS main, vpk_verify(external) AS external, vpk_verify(extended) AS extended FROM stored ORDER BY n;
SELECT n, p.status AS plain, m.status AS main, e.status AS external, x.status AS extended
  FROM stored, vpk_authenticate(plain) AS p, vpk_authenticate(main) AS m, vpk_authenticate(external) AS e, vpk_authenticate(extended) AS x ORDER BY n;
-- A key whose own columns are large.
SELECT token AS large FROM vpk_create('Large', 'acme', scopes => (SELECT array_agg(md5(n::text)) FROM generate_series(1, 100) AS n),
                                      allowed_ips => (SELECT array_agg(('10.' || n || '.0.0/16')::cidr) FROM generate_series(0, 255) AS n),
                                      metadata => (SELECT jsonb_object_agg(n, md5(n::text)) FROM generate_series(1, 300) AS n)) \gset
SELECT status, cardinality(scopes) AS scopes, (SELECT count(*) FROM jsonb_object_keys(metadata)) AS metadata
  FROM vpk_authenticate('Bearer ' || :'large', md5('100'), '10.255.1.1');
SELECT vpk_verify(:'large');

-- In READ ONLY transactions of every isolation level, thousands at once.
BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;
SELECT vpk_verify(:'token'), (SELECT count(DISTINCT vpk_verify(string)) FROM strings) AS answers;
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT vpk_verify(:'token'), (SELECT count(DISTINCT vpk_verify(string)) FROM strings) AS answers;
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT vpk_verify(:'token'), (SELECT count(DISTINCT vpk_verify(string)) FROM strings) AS answers;
COMMIT;

-- In parallel workers, where a wrapper of the user's own is wrongly labelled.
CREATE FUNCTION verify_wrongly_labelled(token text) RETURNS vpk.vpk_status LANGUAGE plpgsql PARALLEL SAFE AS 'BEGIN RETURN vpk_verify(token); END';
CREATE FUNCTION authenticate_wrongly_labelled(token text) RETURNS vpk.vpk_status LANGUAGE plpgsql PARALLEL SAFE AS
    'BEGIN RETURN (SELECT a.status FROM vpk_authenticate(token, ''run'', NULL, token) AS a); END';
CREATE FUNCTION error_wrongly_labelled(account text) RETURNS jsonb LANGUAGE plpgsql PARALLEL SAFE AS
    'BEGIN RETURN vpk_error(''PLAN_REQUIRED'', NULL, account); END';
CREATE TABLE presented AS SELECT CASE n % 4 WHEN 0 THEN :'token' WHEN 1 THEN 'x' WHEN 2 THEN NULL ELSE 'Bearer ' || :'token' END AS token FROM generate_series(1, 4000) AS n;
ANALYZE presented;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
SET max_parallel_workers_per_gather = 2;
CREATE FUNCTION pg_temp.plan_has(part text, statement text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN ' || statement LOOP
        IF position(part IN line) > 0 THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN false;
END
$$;
SELECT pg_temp.plan_has('Gather', 'SELECT verify_wrongly_labelled(token) AS status, count(*) FROM presented GROUP BY status') AS parallel,
       pg_temp.plan_has('Gather', 'SELECT vpk_verify(token) AS status, count(*) FROM presented GROUP BY status') AS parallel_unwrapped;
SELECT verify_wrongly_labelled(token) AS status, count(*) FROM presented GROUP BY status ORDER BY status;
SELECT authenticate_wrongly_labelled(token) AS status, count(*) FROM presented GROUP BY status ORDER BY status;
SELECT error_wrongly_labelled('acme') #>> '{error,details,current_plan}' AS plan, count(*) FROM presented GROUP BY plan;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT verify_wrongly_labelled(token) AS status, count(*) FROM presented GROUP BY status ORDER BY status;
COMMIT;
SELECT vpk_revoke(:'id') IS NOT NULL AS revoked;
SELECT verify_wrongly_labelled(token) AS status, count(*) FROM presented GROUP BY status ORDER BY status;

-- In a trigger, a check, a default, an index expression's place, a rule: wherever a function can
-- stand.
CREATE TABLE wherever (token text, status vpk.vpk_status DEFAULT vpk_verify('x'), CHECK (vpk_verify(token) <> 'VALID'));
INSERT INTO wherever (token) VALUES ('x'), (NULL), (:'token') RETURNING status, vpk_verify(token);
UPDATE wherever SET status = vpk_verify(token) RETURNING status;
SELECT count(*) FROM wherever WHERE vpk_verify(token) = 'API_KEY_REVOKED';
COPY (SELECT vpk_verify(token) FROM wherever) TO STDOUT;

-- Clean up.
DROP TABLE strings, stored, presented, wherever;
DROP FUNCTION verify_wrongly_labelled(text), authenticate_wrongly_labelled(text), error_wrongly_labelled(text);
SELECT vpk_delete_account('acme');
