-- Verification inside transactions: by the clock, on the latest state, and without a write (G1,
-- G3).

SELECT vpk_set_plan('acme', 'Pro');

-- A key made earlier in the same transaction verifies, in every isolation level.
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT token FROM vpk_create('Key', 'acme') \gset
SELECT vpk_verify(:'token');
ROLLBACK;
SELECT vpk_verify(:'token');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT token FROM vpk_create('Key', 'acme') \gset
SELECT vpk_verify(:'token');
ROLLBACK;
SELECT vpk_verify(:'token');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT token FROM vpk_create('Key', 'acme') \gset
SELECT vpk_verify(:'token');
COMMIT;
SELECT vpk_verify(:'token');

-- Made in the same statement, by a function or a subquery.
SELECT vpk_verify(k.token) FROM vpk_create('Key', 'acme') AS k;
SELECT vpk_verify((SELECT k.token FROM vpk_create('Key', 'acme') AS k));
WITH k AS MATERIALIZED (SELECT token FROM vpk_create('Key', 'acme')) SELECT vpk_verify(token) FROM k;
DO $$
DECLARE
    made record;
BEGIN
    SELECT * INTO made FROM vpk_create('Key', 'acme');
    ASSERT vpk_verify(made.token) = 'VALID';
    PERFORM vpk_revoke(made.id);
    ASSERT vpk_verify(made.token) = 'API_KEY_REVOKED';
END
$$;

-- Savepoints: what is rolled back was never there.
BEGIN;
SAVEPOINT s;
SELECT token AS inner FROM vpk_create('Inner', 'acme') \gset
SELECT vpk_verify(:'inner');
ROLLBACK TO s;
SELECT vpk_verify(:'inner');
SAVEPOINT t;
SELECT id, token AS kept FROM vpk_create('Kept', 'acme') \gset
RELEASE t;
SAVEPOINT u;
SELECT vpk_revoke(:'id') IS NOT NULL AS revoked;
SELECT vpk_verify(:'kept');
ROLLBACK TO u;
SELECT vpk_verify(:'kept');
COMMIT;
SELECT vpk_verify(:'inner') AS inner, vpk_verify(:'kept') AS kept;

-- A key expires by the clock, not by the start of the transaction, and from the very instant on.
BEGIN;
SELECT id, token FROM vpk_create('Brief', 'acme', expires_at => clock_timestamp() + interval '1 hour') \gset
SELECT vpk_verify(:'token');
UPDATE vpk.keys SET expires_at = clock_timestamp() WHERE id = :'id';
SELECT vpk_verify(:'token');
COMMIT;
-- Within one statement too.
SELECT id, token FROM vpk_create('Brief', 'acme', expires_at => clock_timestamp() + interval '1 hour') \gset
CREATE FUNCTION pg_temp.ends_soon(id uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE vpk.keys AS k SET expires_at = clock_timestamp() + interval '0.1 s' WHERE k.id = ends_soon.id;
    PERFORM pg_sleep(0.2);
END
$$;
SELECT n, vpk_verify(:'token'), CASE n WHEN 1 THEN pg_temp.ends_soon(:'id') END AS ends FROM generate_series(1, 2) AS n;
-- Never before its instant, and never valid from it on.
DO $$
DECLARE
    made record; before timestamptz; ends timestamptz; status vpk.vpk_status; valid integer := 0;
BEGIN
    FOR n IN 1..20 LOOP
        SELECT * INTO made FROM vpk_create('Exact', 'acme');
        UPDATE vpk.keys SET expires_at = clock_timestamp() + interval '20 ms' WHERE id = made.id RETURNING expires_at INTO ends;
        LOOP
            before := clock_timestamp();
            status := vpk_verify(made.token);
            EXIT WHEN status = 'API_KEY_EXPIRED';
            ASSERT status = 'VALID', status;
            ASSERT before < ends, 'valid after its end';
            valid := valid + 1;
        END LOOP;
        ASSERT clock_timestamp() >= ends, 'expired before its end';
    END LOOP;
    ASSERT valid > 0, 'never valid';
END
$$;

-- An expiry is taken by the clock too: the transaction's start may lie before it.
BEGIN;
SELECT pg_sleep(0.02);
SELECT vpk_create('Late', 'acme', expires_at => now() + interval '0.01 s');
\echo :SQLSTATE
ROLLBACK;

-- Read-only transactions.
SELECT token, id FROM vpk_create('Key', 'acme') \gset
BEGIN READ ONLY;
SELECT vpk_verify(:'token'), vpk_verify('x'), vpk_verify_hash(sha256(:'token'::bytea));
SELECT status, plan FROM vpk_authenticate('Bearer ' || :'token');
SELECT vpk_error('PLAN_REQUIRED', 'r', 'acme') IS NOT NULL AS body;
SELECT count(*) FROM vpk.status_codes;
SELECT count(*) > 0 AS listed FROM vpk_list('acme');
SELECT pg_current_xact_id_if_assigned() IS NULL AS no_transaction_id;
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;
SELECT vpk_verify(:'token');
COMMIT;
-- What changes something says that it cannot.
\set ON_ERROR_ROLLBACK on
BEGIN READ ONLY;
SELECT vpk_create('Key', 'acme');
\echo :SQLSTATE
\set VERBOSITY terse
SELECT count(*) FROM generate_series(1, 3) AS g, vpk_create('Key ' || g, 'acme');
SELECT vpk_revoke(:'id');
SELECT vpk_revoke_token(:'token');
SELECT vpk_revoke_account('acme');
SELECT vpk_rotate(:'id');
SELECT vpk_update(:'id', name => 'Other');
SELECT vpk_disable(:'id');
SELECT vpk_enable(:'id');
SELECT vpk_set_plan('acme', 'Free');
SELECT vpk_delete_account('acme');
SELECT vpk_purge(now());
SELECT vpk_task_start(:'token');
SELECT vpk_task_finish(:'id');
SELECT vpk_add_uses(:'id', now(), 1);
SELECT vpk_grant_verifier('pg_monitor');
SELECT vpk_grant_admin('pg_monitor');
ROLLBACK;
\set ON_ERROR_ROLLBACK off
\set VERBOSITY default
SELECT vpk_verify(:'token');

-- After an error the transaction is as any other.
BEGIN;
SELECT 1 / 0;
SELECT vpk_verify(:'token');
\echo :SQLSTATE
ROLLBACK;
SELECT vpk_verify(:'token');

-- A cursor's later rows are judged when they are fetched.
BEGIN;
DECLARE c CURSOR FOR SELECT n, vpk_verify(:'token') FROM generate_series(1, 3) AS n;
FETCH c;
SELECT vpk_disable(:'id') IS NOT NULL AS disabled;
FETCH c;
SELECT vpk_enable(:'id');
FETCH c;
COMMIT;
-- Of one WITH HOLD, when the transaction ends.
BEGIN;
DECLARE h CURSOR WITH HOLD FOR SELECT vpk_verify(:'token') FROM generate_series(1, 2) AS n;
COMMIT;
SELECT vpk_disable(:'id') IS NOT NULL AS disabled;
FETCH ALL FROM h;
CLOSE h;
SELECT vpk_enable(:'id');

-- Prepared statements, generic and custom.
PREPARE verify (text) AS SELECT vpk_verify($1);
SET plan_cache_mode = force_generic_plan;
EXECUTE verify(:'token');
EXECUTE verify(NULL);
SELECT vpk_revoke(:'id') IS NOT NULL AS revoked;
EXECUTE verify(:'token');
SET plan_cache_mode = force_custom_plan;
EXECUTE verify(:'token');
RESET plan_cache_mode;
DEALLOCATE verify;

-- Vacuumed, rewritten, reindexed: the same answers.
SELECT token, id FROM vpk_create('Moved', 'acme') \gset
SELECT vpk_verify(:'token');
VACUUM FULL vpk.keys, vpk.accounts, vpk.plans;
SELECT vpk_verify(:'token');
CLUSTER vpk.keys USING keys_account_idx;
SELECT vpk_verify(:'token');
REINDEX TABLE vpk.keys;
SELECT vpk_verify(:'token');
REINDEX TABLE CONCURRENTLY vpk.keys;
SELECT vpk_verify(:'token');
ALTER TABLE vpk.keys SET WITHOUT CLUSTER;

-- Clean up.
SELECT vpk_delete_account('acme') > 0 AS deleted;
