-- The data for bench/run: :keys keys of the extension, the same keys in the tables of the
-- alternatives, and tokens to verify.

CREATE EXTENSION vibepeak_keys;
CREATE EXTENSION pgcrypto;
CREATE SCHEMA bench;
ALTER DATABASE postgres SET search_path = public, bench;
SET search_path = public, bench;

-- The tokens in random order.
CREATE TABLE bench.issued AS
    SELECT c.token FROM generate_series(1, :keys) AS i, LATERAL vpk_create('key ' || i) AS c;
CREATE TABLE bench.every_key AS
    SELECT row_number() OVER (ORDER BY md5(token)) AS position, token, 'Bearer ' || token AS header
      FROM bench.issued;
ALTER TABLE bench.every_key ADD PRIMARY KEY (position);

CREATE TABLE bench.one_key AS
    SELECT i AS position, k.token, k.header
      FROM generate_series(1, 10000) AS i, bench.every_key AS k WHERE k.position = 1;
CREATE TABLE bench.keys_in_use AS
    SELECT position, token, header FROM bench.every_key WHERE position <= 10000 ORDER BY position;

ALTER TABLE bench.one_key ADD PRIMARY KEY (position);
ALTER TABLE bench.keys_in_use ADD PRIMARY KEY (position);

-- Texts of the length of a key that are not keys.
CREATE TABLE bench.malformed AS
    SELECT i AS position, t.token, 'Bearer ' || t.token AS header
      FROM generate_series(1, 10000) AS i,
           LATERAL (SELECT 'vpk_live_' || md5('malformed ' || i) AS token) AS t;
-- Keys that were deleted: well-formed, with the right checksum.
SELECT vpk_set_plan('gone', 'Pro') \g /dev/null
CREATE TABLE bench.unknown AS
    SELECT i AS position, c.token, 'Bearer ' || c.token AS header
      FROM generate_series(1, 10000) AS i, LATERAL vpk_create('gone ' || i, account => 'gone') AS c;
SELECT vpk_delete_account('gone') \g /dev/null
ALTER TABLE bench.malformed ADD PRIMARY KEY (position);
ALTER TABLE bench.unknown ADD PRIMARY KEY (position);

-- For the client that writes.
CREATE TABLE bench.work AS SELECT i AS number, 0 AS updates FROM generate_series(0, 99) AS i;
ALTER TABLE bench.work ADD PRIMARY KEY (number);

\ir competitors.sql
\ir baseline/baseline.sql

VACUUM (FREEZE, ANALYZE);
CHECKPOINT;
