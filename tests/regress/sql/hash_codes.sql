-- The index keeps 4 bytes of a hash, its code: keys whose codes are the same are still
-- distinguished.

-- Two hashes of one code. The code is what hash_record makes of the value, but for a constant.
SELECT sha256(convert_to('made up ' || pair[1], 'UTF8')) AS one, sha256(convert_to('made up ' || pair[2], 'UTF8')) AS other
  FROM (SELECT array_agg(i) AS pair FROM generate_series(1, 300000) AS i
         GROUP BY hash_record(ROW(sha256(convert_to('made up ' || i, 'UTF8')))) HAVING count(*) > 1
         ORDER BY 1 LIMIT 1) AS pairs \gset
SELECT :'one'::bytea <> :'other'::bytea AS different;

INSERT INTO vpk.keys (id, key_hash, account, environment, name, created_at)
VALUES (gen_random_uuid(), :'one', 'default', 'live', 'One', now());
SELECT vpk_verify_hash(:'one') AS one, vpk_verify_hash(:'other') AS other;
INSERT INTO vpk.keys (id, key_hash, account, environment, name, created_at)
VALUES (gen_random_uuid(), :'other', 'default', 'live', 'Other', now());
SELECT vpk_verify_hash(:'one') AS one, vpk_verify_hash(:'other') AS other;
UPDATE vpk.keys SET revoked_at = now() WHERE key_hash = :'one';
SELECT vpk_verify_hash(:'one') AS one, vpk_verify_hash(:'other') AS other;
SET vibepeak_keys.backend_cache = 0;
SELECT vpk_verify_hash(:'one') AS one, vpk_verify_hash(:'other') AS other;
RESET vibepeak_keys.backend_cache;
DELETE FROM vpk.keys WHERE key_hash = :'one';
SELECT vpk_verify_hash(:'one') AS one, vpk_verify_hash(:'other') AS other;

-- The codes are really the same: a look-up meets the row of the other hash, and sorts it out.
SET enable_seqscan = off;
CREATE FUNCTION pg_temp.sorted_out(hash bytea) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE format('EXPLAIN (ANALYZE, FORMAT JSON) SELECT FROM vpk.keys WHERE key_hash = %L', hash) INTO plan;
    RETURN plan -> 0 -> 'Plan' ->> 'Rows Removed by Index Recheck';
END
$$;
SELECT pg_temp.sorted_out(:'one') AS sorted_out;
RESET enable_seqscan;

-- Clean up.
DELETE FROM vpk.keys;
