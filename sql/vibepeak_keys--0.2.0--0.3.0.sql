-- From 0.2.0 to 0.3.0: a smaller index on the hash.
\echo Use "ALTER EXTENSION vibepeak_keys UPDATE TO '0.3.0'" to load this file. \quit

ALTER TABLE vpk.keys DROP CONSTRAINT keys_key_hash_key;
CREATE UNIQUE INDEX keys_key_hash_idx ON vpk.keys (pg_catalog.substr(key_hash, 1, 15));
