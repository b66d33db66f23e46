-- From 0.2.0 to 0.3.0: keys are found by a hash index.
\echo Use "ALTER EXTENSION vibepeak_keys UPDATE TO '0.3.0'" to load this file. \quit

ALTER TABLE vpk.keys
    DROP CONSTRAINT keys_key_hash_key,
    ADD CONSTRAINT keys_key_hash_excl EXCLUDE USING hash (key_hash WITH OPERATOR(pg_catalog.=))
        WITH (fillfactor = 50);
