-- A key that is asked for again, since the answer was lost: one key, and an error that says which.

SELECT vpk_set_plan('acme', 'Pro'), vpk_set_plan('other', 'Pro');
SELECT id, token FROM vpk_create('Key', 'acme', idempotency_key => 'request 1') \gset
CREATE FUNCTION answer(statement text, id uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN replace(concat_ws(E'\n', SQLSTATE, SQLERRM, regexp_replace(detail, 'issued at .*', 'issued at …'), hint), id::text, '<id>');
END
$$;
SELECT answer($$SELECT id FROM vpk_create('Key', 'acme', idempotency_key => 'request 1')$$, :'id');
SELECT answer($$SELECT id FROM vpk_create('In bulk', 'acme', idempotency_key => r) FROM unnest('{a,b,a}'::text[]) AS r$$, :'id') ~ '^23505' AS twice_in_bulk;
SELECT count(*) FROM vpk_list('acme');
-- Another request, another account, and none.
SELECT count(DISTINCT k.id) FROM unnest('{request 2,request 3}'::text[]) AS r, vpk_create('Key', 'acme', idempotency_key => r) AS k;
SELECT count(*) FROM vpk_create('Key', 'other', idempotency_key => 'request 1');
SELECT count(DISTINCT k.id) FROM generate_series(1, 3) AS i, vpk_create('Key ' || i, 'acme') AS k;
SELECT details FROM vpk.events WHERE key_id = :'id';

-- A rotation: the second answer names the successor.
SELECT id AS successor FROM vpk_rotate(:'id', '1 day', idempotency_key => 'rotation') \gset
SELECT answer(format('SELECT vpk_rotate(%L, %L, idempotency_key => %L)', :'id', '1 day', 'rotation'), :'successor');
SELECT answer(format('SELECT vpk_rotate(%L)', :'id'), :'id');
SELECT details ->> 'idempotency_key' AS request, details ->> 'rotated_from' = :'id' AS rotated_from FROM vpk.events
 WHERE key_id = :'successor' AND event = 'key_created';
-- To replace it, as the hint says.
SELECT id AS replaced, token AS replacement FROM vpk_rotate(:'successor') \gset
SELECT vpk_verify(:'replacement'), vpk_verify(:'token') AS in_its_grace;

-- A key in its grace is rotated again where every successor was revoked.
SELECT answer(format('SELECT vpk_rotate(%L)', :'id'), :'id');
SELECT vpk_revoke(:'replaced') IS NOT NULL AS revoked;
SELECT token AS second, id AS second_id FROM vpk_rotate(:'id', '1 hour') \gset
SELECT vpk_verify(:'second'), vpk_verify(:'token') AS in_its_grace;
SELECT rotated_from = :'id' AS rotated_from, expires_at FROM vpk.keys WHERE id = :'second_id';
SELECT answer(format('SELECT vpk_rotate(%L)', :'id'), :'id');
-- Also where the successor was purged.
SELECT vpk_revoke(:'second_id') IS NOT NULL AS revoked;
DELETE FROM vpk.keys WHERE id = :'second_id';
SELECT count(*) FROM vpk_rotate(:'id');
SELECT answer(format('SELECT vpk_rotate(%L)', :'id'), :'id');

-- For a day.
UPDATE vpk.events SET occurred_at = occurred_at - interval '25 hours' WHERE details ? 'idempotency_key';
SELECT count(*) FROM vpk_create('Key', 'acme', idempotency_key => 'request 1');
UPDATE vpk.events SET occurred_at = occurred_at + interval '25 hours' WHERE occurred_at < now() - interval '24 hours';
-- What is rolled back was not asked.
BEGIN;
SELECT count(*) FROM vpk_create('Key', 'acme', idempotency_key => 'rolled back');
ROLLBACK;
SELECT count(*) FROM vpk_create('Key', 'acme', idempotency_key => 'rolled back');
-- What is refused.
SELECT id FROM vpk_create('Key', 'acme', idempotency_key => '');
SELECT id FROM vpk_create('Key', 'acme', idempotency_key => repeat('x', 256));
SELECT id FROM vpk_create('Key', 'acme', idempotency_key => 'vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ4Vi3OY');

SELECT vpk_delete_account('acme'), vpk_delete_account('other');
DROP FUNCTION answer(text, uuid);
