-- G6: a role that may create in the extension's schema gains nothing by it. While the script runs,
-- that schema is on the search path, and an operator for just the right types would win over the
-- server's own, which takes others.
\set database :DBNAME
CREATE DATABASE regress_vpk_hostile TEMPLATE template0;
CREATE ROLE regress_vpk_mallory;
\c regress_vpk_hostile
CREATE SCHEMA hostile AUTHORIZATION regress_vpk_mallory;
SET ROLE regress_vpk_mallory;
CREATE TABLE hostile.caught (who text);
GRANT INSERT ON hostile.caught TO PUBLIC;
-- An equality for every two of the types that the script compares, each of which records its
-- caller.
DO $$
DECLARE
    l text;
    r text;
BEGIN
    FOR l, r IN
        SELECT a.t, b.t
          FROM unnest('{oid,regclass,regtype,regproc,int4,int8,int2,text,name,varchar,bpchar,"\"char\"",uuid,timestamptz,bool,jsonb}'::text[]) AS a (t),
               unnest('{oid,regclass,regtype,regproc,int4,int8,int2,text,name,varchar,bpchar,"\"char\"",uuid,timestamptz,bool,jsonb}'::text[]) AS b (t)
    LOOP
        EXECUTE format('CREATE FUNCTION hostile.equal(%s, %s) RETURNS boolean LANGUAGE plpgsql AS %L', l, r,
                       'BEGIN INSERT INTO hostile.caught VALUES (current_user); RETURN true; END');
        EXECUTE format('CREATE OPERATOR hostile.= (LEFTARG = %s, RIGHTARG = %s, FUNCTION = hostile.equal)', l, r);
        EXECUTE format('CREATE OPERATOR hostile.<> (LEFTARG = %s, RIGHTARG = %s, FUNCTION = hostile.equal)', l, r);
    END LOOP;
END $$;
RESET ROLE;
CREATE EXTENSION vibepeak_keys SCHEMA hostile;
SELECT * FROM hostile.caught;
-- And in use: every call that a caller can make finds nothing of hers either.
SET search_path = hostile, public;
SELECT hostile.vpk_set_plan('acme', 'Plus');
SELECT token, id FROM hostile.vpk_create('Key', 'acme') \gset
SELECT hostile.vpk_verify(:'token');
SELECT status FROM hostile.vpk_authenticate('Bearer ' || :'token');
SELECT count(*) FROM hostile.vpk_rotate(:'id', '1 day');
UPDATE vpk.plans SET plan = 'Plus 2' WHERE rank OPERATOR(pg_catalog.=) 30;
DELETE FROM vpk.plans WHERE rank OPERATOR(pg_catalog.=) 10;
SELECT hostile.vpk_revoke(:'id') IS NOT NULL AS revoked;
SELECT hostile.vpk_grant_verifier('regress_vpk_mallory'), hostile.vpk_grant_admin('regress_vpk_mallory');
SELECT hostile.vpk_delete_account('acme');
SELECT * FROM hostile.caught;
\c :database
DROP DATABASE regress_vpk_hostile;
DROP ROLE regress_vpk_mallory;
