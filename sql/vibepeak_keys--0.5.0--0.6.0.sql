-- From 0.5.0 to 0.6.0.
\echo Use "ALTER EXTENSION vibepeak_keys UPDATE TO '0.6.0'" to load this file. \quit

-- The item names of vpk_doctor.
ALTER FUNCTION @extschema@.vpk_doctor() ROWS 12;
