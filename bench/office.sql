-- The data for bench/office: :keys keys, made up, in accounts of different sizes: "one" with 1 key,
-- "thousandth", "hundredth" and "tenth" with that part of all keys, the rest in 100,000 accounts.
-- Of 1000 keys, 20 are revoked, 20 have expired, 50 have an end to come. One in 20,000 is disabled.
-- A tenth has been used.

CREATE EXTENSION vibepeak_keys;
CREATE SCHEMA bench;

-- The indexes are made when the rows are there, which takes a tenth of the time.
CREATE TABLE bench.indexes AS
    SELECT i.indrelid::regclass AS relation, i.indexrelid::regclass::text AS name, c.conname,
           CASE WHEN c.conname IS NULL THEN pg_get_indexdef(i.indexrelid)
                ELSE format('ALTER TABLE %s ADD CONSTRAINT %I %s', i.indrelid::regclass, c.conname,
                            pg_get_constraintdef(c.oid)) END AS definition
      FROM pg_index AS i LEFT JOIN pg_constraint AS c ON c.conindid = i.indexrelid
     WHERE i.indrelid IN ('vpk.keys'::regclass, 'vpk.events'::regclass);
SELECT CASE WHEN conname IS NULL THEN format('DROP INDEX %s', name)
            ELSE format('ALTER TABLE %s DROP CONSTRAINT %I', relation, conname) END
  FROM bench.indexes \gexec

INSERT INTO vpk.accounts (account, plan, pristine)
    SELECT 'account ' || i, CASE WHEN i % 100 = 0 THEN 'Free' ELSE 'Pro' END, false
      FROM generate_series(1, 100000) AS i
    UNION ALL VALUES ('one', 'Pro', false), ('thousandth', 'Pro', false), ('hundredth', 'Pro', false),
                     ('tenth', 'Pro', false);

-- Issued in the last two years, in the order of their ids.
INSERT INTO vpk.keys (id, key_hash, account, environment, name, prefix, hint, created_at, expires_at,
                      disabled_at, revoked_at)
SELECT (lpad(to_hex((extract(epoch FROM t.created_at) * 1000)::bigint), 12, '0') || '7'
        || substr(md5(i::text), 1, 19))::uuid,
       sha256(convert_to('made up ' || i, 'UTF8')),
       CASE WHEN i = :keys / 2 THEN 'one'
            WHEN i % 1000 = 7 THEN 'thousandth'
            WHEN i % 100 = 11 THEN 'hundredth'
            WHEN i % 10 = 3 THEN 'tenth'
            ELSE 'account ' || 1 + abs(hashint8(i)::bigint) % 100000 END,
       'live', 'key ' || i, 'vpk_live', 'vpk_live_' || substr(md5(i::text), 1, 4), t.created_at,
       CASE WHEN t.fate < 20 THEN t.created_at + (now() - t.created_at) * t.share
            WHEN t.fate < 70 THEN now() + interval '2 years' * t.share END,
       CASE WHEN t.rare = 0 THEN now() END,
       CASE WHEN t.fate BETWEEN 100 AND 119 THEN t.created_at + (now() - t.created_at) * t.share END
  FROM generate_series(1, :keys) AS i,
       LATERAL (SELECT now() - interval '2 years' * (1 - i / (:keys + 1.0)) AS created_at,
                       abs(hashint8extended(i, 1)) % 1000 AS fate,
                       abs(hashint8extended(i, 2)) % 1000 / 1000.0 AS share,
                       abs(hashint8extended(i, 3)) % 20000 AS rare) AS t;
INSERT INTO vpk.events (occurred_at, event, key_id, account, role, session_role)
    SELECT created_at, 'key_created', id, account, 'postgres', 'postgres' FROM vpk.keys;
INSERT INTO vpk.key_usage (key_id, last_used_at, uses)
    SELECT id, created_at + (now() - created_at) * 0.99, 1000
      FROM vpk.keys WHERE abs(hashtextextended(name, 4)) % 10 = 0;

SET maintenance_work_mem = '1GB';
SELECT definition FROM bench.indexes ORDER BY name \gexec
VACUUM (FREEZE, ANALYZE);

CREATE TABLE bench.measured (
    place bigint GENERATED ALWAYS AS IDENTITY, name text, milliseconds numeric, processor numeric,
    rows bigint, buffers bigint, temporary bigint, wal bigint
);
CREATE TABLE bench.plans (name text PRIMARY KEY, nodes text);

-- Runs a statement, which is undone each time, and notes what it took: not the first time, and then
-- so many times.
CREATE FUNCTION bench.measure(name text, statement text, rounds integer) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    plan jsonb;
    used bigint;
BEGIN
    FOR round IN 0 .. rounds LOOP
        BEGIN
            used := cpu_ns();
            EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, WAL, TIMING OFF, FORMAT JSON) ' || statement INTO plan;
            used := cpu_ns() - used;
            RAISE SQLSTATE 'BENCH';
        EXCEPTION WHEN SQLSTATE 'BENCH' THEN NULL;
        END;
        CONTINUE WHEN round = 0;
        plan := plan -> 0;
        INSERT INTO bench.measured (name, milliseconds, processor, rows, buffers, temporary, wal)
        SELECT measure.name, (plan ->> 'Execution Time')::numeric, used / 1e6, (p ->> 'Actual Rows')::numeric,
               (p ->> 'Shared Hit Blocks')::bigint + (p ->> 'Shared Read Blocks')::bigint,
               (p ->> 'Temp Read Blocks')::bigint + (p ->> 'Temp Written Blocks')::bigint,
               (p ->> 'WAL Bytes')::bigint
          FROM (SELECT plan -> 'Plan') AS of (p);
    END LOOP;
END
$$;
CHECKPOINT;
