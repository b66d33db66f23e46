-- The data for bench/tasks: eight clients with an account each, and eight with one account. And
-- what people write to limit how many tasks of an account run.

CREATE EXTENSION vibepeak_keys;
CREATE SCHEMA bench;

INSERT INTO vpk.plans (plan, api_access, concurrent_tasks) VALUES ('Bench', true, 100);
SELECT vpk_set_plan(account, 'Bench')
  FROM (SELECT 'account ' || i AS account FROM generate_series(0, 7) AS i UNION ALL SELECT 'one') AS a
  \g /dev/null
CREATE TABLE bench.clients AS
    SELECT o.own_accounts, i AS number, c.account, c.id, c.token
      FROM generate_series(0, 7) AS i, (VALUES (true), (false)) AS o (own_accounts),
           LATERAL (SELECT CASE WHEN o.own_accounts THEN 'account ' || i ELSE 'one' END AS account) AS a,
           LATERAL vpk_create('key ' || i, account => a.account) AS c;

CREATE TABLE bench.plans AS SELECT plan, api_access, concurrent_tasks FROM vpk.plans;
ALTER TABLE bench.plans ADD PRIMARY KEY (plan);
CREATE TABLE bench.accounts AS SELECT account, plan FROM vpk.accounts;
ALTER TABLE bench.accounts ADD PRIMARY KEY (account);
CREATE TABLE bench.keys AS SELECT id, key_hash, account, expires_at, revoked_at FROM vpk.keys;
ALTER TABLE bench.keys ADD PRIMARY KEY (id), ADD UNIQUE (key_hash);

-- With the columns and indexes of vpk.task_leases.
CREATE TABLE bench.advisory_leases (LIKE vpk.task_leases INCLUDING ALL);
CREATE TABLE bench.serializable_leases (LIKE vpk.task_leases INCLUDING ALL);

CREATE FUNCTION bench.start_task(token text) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    found record;
    running bigint;
    started uuid;
BEGIN
    SELECT k.id, k.account, p.concurrent_tasks INTO found
      FROM bench.keys AS k JOIN bench.accounts AS a ON a.account = k.account
      JOIN bench.plans AS p ON p.plan = a.plan
     WHERE k.key_hash = sha256(token::bytea) AND p.api_access AND k.revoked_at IS NULL
       AND (k.expires_at IS NULL OR k.expires_at > now());
    IF found IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(found.account, 0));
    SELECT count(*) INTO running FROM bench.advisory_leases AS l
     WHERE l.account = found.account AND l.expires_at > now();
    IF running >= found.concurrent_tasks THEN
        RETURN NULL;
    END IF;
    INSERT INTO bench.advisory_leases (lease, account, key_id, started_at, expires_at)
    VALUES (gen_random_uuid(), found.account, found.id, now(), now() + interval '15 min')
    RETURNING lease INTO started;
    RETURN started;
END
$$;

VACUUM (FREEZE, ANALYZE);
CHECKPOINT;
