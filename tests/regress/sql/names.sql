-- G6: names of the extension that lead to objects of somebody else. The item names of vpk_doctor
-- finds every way, and CREATE EXTENSION warns of those that are there already.

\set database :DBNAME
CREATE ROLE regress_vpk_mallory;
CREATE ROLE regress_vpk_owner;
CREATE ROLE regress_vpk_superuser SUPERUSER;
CREATE DATABASE regress_vpk_names TEMPLATE template0;
\c regress_vpk_names
CREATE SCHEMA keys;
CREATE EXTENSION vibepeak_keys SCHEMA keys;

-- The finding. The calls are qualified and the status is compared as text, so nothing below can
-- mislead this test.
CREATE FUNCTION pg_temp.names(OUT ok boolean, OUT detail text) LANGUAGE sql AS $$
    SELECT d.ok, d.detail FROM keys.vpk_doctor() AS d WHERE d.item = 'names'
$$;
SELECT * FROM pg_temp.names() \gx

-- In public, in a superuser's database that nobody has changed, all is well too.
BEGIN;
DROP EXTENSION vibepeak_keys;
CREATE EXTENSION vibepeak_keys SCHEMA public;
SELECT ok FROM public.vpk_doctor() WHERE item = 'names';
ROLLBACK;

-- A schema that somebody else owns or may create in. Superusers, and the extension's owner, are
-- nobody else.
BEGIN;
GRANT CREATE ON SCHEMA keys TO regress_vpk_superuser;
ALTER SCHEMA keys OWNER TO regress_vpk_superuser;
SELECT * FROM pg_temp.names() \gx
GRANT CREATE ON SCHEMA keys TO regress_vpk_mallory;
GRANT CREATE ON SCHEMA keys TO PUBLIC;
SELECT * FROM pg_temp.names() \gx
ALTER SCHEMA keys OWNER TO regress_vpk_owner;
SELECT * FROM pg_temp.names() \gx
UPDATE pg_extension SET extowner = 'regress_vpk_owner'::regrole WHERE extname = 'vibepeak_keys';
SELECT * FROM pg_temp.names() \gx
ROLLBACK;
-- The same of the schema of the tables, which some functions are in.
BEGIN;
ALTER SCHEMA vpk OWNER TO regress_vpk_mallory;
SELECT * FROM pg_temp.names() \gx
ROLLBACK;
-- pg_database_owner is the database's owner.
BEGIN;
ALTER SCHEMA keys OWNER TO pg_database_owner;
SELECT ok FROM pg_temp.names();
ALTER DATABASE regress_vpk_names OWNER TO regress_vpk_owner;
SELECT * FROM pg_temp.names() \gx
ALTER SCHEMA keys OWNER TO CURRENT_USER;
SELECT ok FROM pg_temp.names();
GRANT CREATE ON SCHEMA keys TO pg_database_owner;
SELECT * FROM pg_temp.names() \gx
ROLLBACK;

-- A function with the name of one of the extension's, in any schema: it is called for another type,
-- before another schema, or makes a call ambiguous.
GRANT CREATE ON DATABASE regress_vpk_names TO regress_vpk_mallory;
GRANT CREATE ON SCHEMA keys TO regress_vpk_mallory;
SET ROLE regress_vpk_mallory;
CREATE SCHEMA evil;
CREATE FUNCTION evil.vpk_authenticate(text) RETURNS text LANGUAGE sql AS 'SELECT ''caught''';
CREATE FUNCTION keys.vpk_verify(varchar) RETURNS text LANGUAGE sql AS 'SELECT ''VALID''';
CREATE FUNCTION keys.vpk_revoke(uuid, integer DEFAULT 1) RETURNS timestamptz LANGUAGE sql AS 'SELECT now()';
CREATE FUNCTION evil.stats_row() RETURNS integer LANGUAGE sql AS 'SELECT 1';
RESET ROLE;
REVOKE CREATE ON SCHEMA keys FROM regress_vpk_mallory;
SELECT keys.vpk_verify('garbage'::varchar) AS planted, keys.vpk_verify('garbage'::varchar::text) AS with_a_cast;
SELECT keys.vpk_revoke('018f0000-0000-7000-8000-000000000000');
SELECT * FROM pg_temp.names() \gx
DROP FUNCTION evil.vpk_authenticate(text), keys.vpk_verify(varchar), keys.vpk_revoke(uuid, integer), evil.stats_row();
SELECT ok FROM pg_temp.names();

-- An operator that takes a status, or any type; the second kind is preferred to the server's own
-- for a literal. A comparison of the status as text finds neither.
CREATE FUNCTION evil.yes(vpk.vpk_status, vpk.vpk_status) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR evil.= (LEFTARG = vpk.vpk_status, RIGHTARG = vpk.vpk_status, FUNCTION = evil.yes);
SET search_path = evil;
SELECT keys.vpk_verify('garbage') = 'VALID' AS planted, keys.vpk_verify('garbage')::text = 'VALID' AS as_text;
RESET search_path;
SELECT * FROM pg_temp.names() \gx
DROP OPERATOR evil.= (vpk.vpk_status, vpk.vpk_status);
CREATE FUNCTION evil.yes(anyenum, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR evil.= (LEFTARG = anyenum, RIGHTARG = text, FUNCTION = evil.yes);
SET search_path = evil;
SELECT keys.vpk_verify('garbage') = 'VALID' AS planted, keys.vpk_verify('garbage')::text = 'VALID' AS as_text;
RESET search_path;
SELECT * FROM pg_temp.names() \gx
DROP OPERATOR evil.= (anyenum, text);
CREATE DOMAIN evil.status AS vpk.vpk_status;
CREATE FUNCTION evil.yes(evil.status, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR evil.<> (LEFTARG = evil.status, RIGHTARG = text, FUNCTION = evil.yes);
SET search_path = evil;
SELECT keys.vpk_verify('garbage') <> 'INVALID_API_KEY' AS planted, keys.vpk_verify('garbage')::text <> 'INVALID_API_KEY' AS as_text;
RESET search_path;
SELECT * FROM pg_temp.names() \gx
DROP OPERATOR evil.<> (evil.status, text);
-- On either side, and by each name of a comparison.
CREATE FUNCTION evil.yes(text, vpk.vpk_status) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION evil.yes(text, anyenum) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR evil.@@@ (LEFTARG = text, RIGHTARG = vpk.vpk_status, FUNCTION = evil.yes);
CREATE OPERATOR evil.<> (LEFTARG = text, RIGHTARG = anyenum, FUNCTION = evil.yes);
CREATE OPERATOR evil.< (LEFTARG = text, RIGHTARG = anyenum, FUNCTION = evil.yes);
CREATE OPERATOR evil.<= (LEFTARG = text, RIGHTARG = anyenum, FUNCTION = evil.yes);
CREATE OPERATOR evil.> (LEFTARG = text, RIGHTARG = anyenum, FUNCTION = evil.yes);
CREATE OPERATOR evil.>= (LEFTARG = text, RIGHTARG = anyenum, FUNCTION = evil.yes);
SELECT * FROM pg_temp.names() \gx
DROP OPERATOR evil.@@@ (text, vpk.vpk_status), evil.<> (text, anyenum), evil.< (text, anyenum), evil.<= (text, anyenum), evil.> (text, anyenum), evil.>= (text, anyenum);
-- Other operators for any type are found by other names, and a row of a table is no status.
CREATE FUNCTION evil.yes(vpk.accounts, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR evil.= (LEFTARG = vpk.accounts, RIGHTARG = text, FUNCTION = evil.yes);
CREATE OPERATOR evil.@@@ (LEFTARG = anyenum, RIGHTARG = text, FUNCTION = evil.yes);
SELECT ok FROM pg_temp.names();
DROP OPERATOR evil.@@@ (anyenum, text), evil.= (vpk.accounts, text);

-- A cast to or from the status. From the status to text, only the owner of the status can make one.
CREATE FUNCTION evil.cast_to(integer) RETURNS vpk.vpk_status LANGUAGE sql AS 'SELECT ''VALID''::vpk.vpk_status';
CREATE FUNCTION evil.cast_from(vpk.vpk_status) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE CAST (integer AS vpk.vpk_status) WITH FUNCTION evil.cast_to(integer) AS IMPLICIT;
CREATE CAST (vpk.vpk_status AS boolean) WITH FUNCTION evil.cast_from(vpk.vpk_status) AS IMPLICIT;
SELECT * FROM pg_temp.names() \gx
DROP CAST (integer AS vpk.vpk_status);
DROP CAST (vpk.vpk_status AS boolean);
SELECT ok FROM pg_temp.names();
GRANT USAGE ON SCHEMA vpk TO regress_vpk_mallory;
GRANT USAGE ON TYPE vpk.vpk_status TO regress_vpk_mallory;
SET ROLE regress_vpk_mallory;
CREATE CAST (vpk.vpk_status AS text) WITH INOUT AS IMPLICIT;
RESET ROLE;

-- A search_path that has somebody else's schema before ours: of the database, of a role, of both.
ALTER DATABASE regress_vpk_names SET search_path = evil, keys;
SELECT * FROM pg_temp.names() \gx
-- Behind ours, without ours, and the caller's own schema are no finding; nor is a superuser's.
CREATE SCHEMA ours;
ALTER DATABASE regress_vpk_names SET search_path = keys, evil;
ALTER ROLE regress_vpk_owner SET search_path = evil, public;
ALTER ROLE regress_vpk_owner IN DATABASE regress_vpk_names SET search_path = "$user", ours, pg_temp, pg_catalog, keys;
SELECT ok FROM pg_temp.names();
-- What a role's own setting puts first is no finding where the schema is the role's.
ALTER ROLE regress_vpk_mallory SET search_path = evil, keys;
SELECT ok FROM pg_temp.names();
ALTER ROLE regress_vpk_owner SET search_path = evil, keys;
ALTER ROLE regress_vpk_owner IN DATABASE regress_vpk_names SET search_path = evil, keys;
SELECT * FROM pg_temp.names() \gx
ALTER ROLE regress_vpk_owner RESET search_path;
ALTER ROLE regress_vpk_mallory RESET search_path;
-- Names in quotes, and a schema that does not exist yet.
CREATE SCHEMA "Odd, ""name""";
GRANT CREATE ON SCHEMA "Odd, ""name""" TO PUBLIC;
SELECT set_config('search_path', '"Odd, ""name""", EVIL, later, "", keys', false);
ALTER ROLE regress_vpk_owner IN DATABASE regress_vpk_names SET search_path FROM CURRENT;
RESET search_path;
SELECT * FROM pg_temp.names() \gx
REVOKE CREATE ON DATABASE regress_vpk_names FROM regress_vpk_mallory;
ALTER ROLE regress_vpk_owner IN DATABASE regress_vpk_names SET search_path = later, keys;
SELECT ok FROM pg_temp.names();
-- The owner of a database may create schemas in it. What PUBLIC may do, everybody may.
BEGIN;
ALTER ROLE regress_vpk_owner IN DATABASE regress_vpk_names RESET search_path;
ALTER DATABASE regress_vpk_names SET search_path = later, "Odd, ""name""", keys;
ALTER DATABASE regress_vpk_names OWNER TO regress_vpk_owner;
UPDATE pg_database SET datacl = NULL WHERE datname = 'regress_vpk_names';
SELECT * FROM pg_temp.names() \gx
ROLLBACK;
-- Another setting with the same names in it.
ALTER DATABASE regress_vpk_names SET x.elsewhere = 'evil, keys';
SELECT ok FROM pg_temp.names();
ALTER DATABASE regress_vpk_names RESET x.elsewhere;
-- Of another database.
ALTER ROLE regress_vpk_owner IN DATABASE regress_vpk_names RESET search_path;
ALTER ROLE regress_vpk_owner IN DATABASE :"database" SET search_path = evil, keys;
SELECT ok FROM pg_temp.names();
ALTER ROLE regress_vpk_owner IN DATABASE :"database" RESET search_path;
ALTER DATABASE regress_vpk_names RESET search_path;

-- CREATE EXTENSION warns, whatever the schema is called.
SET client_min_messages = error;
DROP SCHEMA evil CASCADE;
DROP EXTENSION vibepeak_keys;
CREATE SCHEMA "Evil keys" AUTHORIZATION regress_vpk_mallory;
RESET client_min_messages;
CREATE EXTENSION vibepeak_keys SCHEMA "Evil keys";
SELECT detail FROM "Evil keys".vpk_doctor() WHERE item = 'names';

\c :database
DROP DATABASE regress_vpk_names;
DROP ROLE regress_vpk_mallory, regress_vpk_owner, regress_vpk_superuser;
