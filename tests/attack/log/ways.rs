//! The ways. KEY stands for a key, SOCKET for the server's folder. Two semicolons end a message;
//! what follows is sent in another.

/// A statement, and how it is sent.
pub struct Way {
    pub sql: &'static str,
    /// Values of $1 and so on, all of type text: sent in the extended protocol if there are any.
    pub parameters: &'static [&'static str],
    /// The kind of a replication connection.
    pub replication: Option<&'static str>,
    /// Rows that follow a COPY.
    pub copied: Option<&'static str>,
    /// Whether the server's own message may quote a part of the statement that begins within the
    /// key ("What is not redacted" in docs/security.md).
    pub fragment: bool,
}

const fn simple(sql: &'static str) -> Way {
    Way { sql, parameters: &[], replication: None, copied: None, fragment: false }
}

const fn quoted(sql: &'static str) -> Way {
    Way { fragment: true, ..simple(sql) }
}

const fn bound(sql: &'static str, parameters: &'static [&'static str]) -> Way {
    Way { parameters, ..simple(sql) }
}

const fn replication(kind: &'static str, sql: &'static str) -> Way {
    Way { replication: Some(kind), ..simple(sql) }
}

const fn copied(sql: &'static str, data: &'static str) -> Way {
    Way { copied: Some(data), ..simple(sql) }
}

pub const WAYS: &[Way] = &[
    // Literals, names and comments, where the server quotes them.
    simple("SELECT 'KEY'::int"),
    simple("SELECT E'KEY'::int, U&'KEY', $q$KEY$q$"),
    simple("SELECT $KEY$ 1 $KEY$::int"),
    simple("SELECT E'\\'KEY\\''::int"),
    simple("SELECT 'éKEYé'::int, '日本KEY日本'"),
    simple("SELECT KEY"),
    simple("SELECT 1 AS KEY, 2/0"),
    simple("SELECT \"KEY\" FROM pg_class"),
    simple("SELECT KEY.x FROM pg_class AS KEY"),
    simple("SELECT * FROM KEY"),
    simple("SELECT 'a' COLLATE \"KEY\""),
    simple("SELECT CAST('KEY' AS KEY)"),
    simple("SELECT vpk_verify(KEY => 'x')"),
    simple("SELECT 1/0 -- KEY"),
    simple("/* KEY */ SELECT 1/0"),
    simple("SELECT /* KEY /* KEY */ KEY */ 1/0"),
    simple("SELECT 'KEY'; SELEC 1"),
    simple("SELECT 'KEY'; SELECT 1/0"),
    simple("SELEC 'KEY'"),
    simple("BEGIN; SELECT 1/0; SELECT 'KEY'"),
    simple("SELECT current_query(), 'KEY'"),
    simple("EXPLAIN (ANALYZE, VERBOSE, SETTINGS) SELECT 'KEY' WHERE 'KEY' <> current_user"),
    // Values of another type.
    simple("SELECT to_date('KEY', 'YYYY-MM-DD'), to_timestamp('KEY', 'KEY')"),
    quoted("SELECT '\"KEY'::json"),
    quoted("SELECT '{KEY}'::jsonb"),
    quoted("SELECT '[\"KEY\" KEY]'::jsonb"),
    quoted("SELECT '{\"a\": \"KEY\", \"b\": KEY }'::jsonb"),
    quoted("SELECT '$.KEY[ KEY'::jsonpath"),
    quoted("SELECT '<a>KEY</b>'::xml"),
    quoted("SELECT ('<a>' || repeat('x', 100) || 'KEY' || repeat('y', 50) || '</b>')::xml"),
    simple("SELECT '{KEY'::text[]"),
    simple("SELECT '{1,KEY}'::int[]"),
    simple("SELECT '[KEY,KEY]'::int4range"),
    simple("SELECT 'KEY'::point, 'KEY'::inet"),
    simple("SELECT 'KEY'::vpk.vpk_status"),
    simple("SELECT 'KEY'::regclass"),
    simple("SELECT 'KEY(int)'::regprocedure"),
    simple("SELECT 'a' ~ '(KEY'"),
    simple("SELECT 'KEY'::tsquery, '(KEY'::tsquery"),
    simple("SELECT 'KEY'::uuid"),
    // Rows that a constraint refuses.
    simple("CREATE TEMP TABLE u (a text UNIQUE); INSERT INTO u VALUES ('KEY'), ('KEY')"),
    simple("CREATE TEMP TABLE u (b text, a text NOT NULL); INSERT INTO u VALUES ('KEY', NULL)"),
    simple(
        "CREATE TEMP TABLE u (b text, a text CHECK (a <> b));
         INSERT INTO u VALUES ('xxxx KEY', 'xxxx KEY')",
    ),
    simple(
        "CREATE TABLE KEY (KEY int); INSERT INTO KEY VALUES (1);
         ALTER TABLE KEY ADD CONSTRAINT KEY2 CHECK (KEY > 1); DROP TABLE KEY",
    ),
    // Messages of procedures.
    simple(
        "DO $$ BEGIN RAISE LOG '%', 'KEY'; RAISE NOTICE 'KEY'; RAISE WARNING 'KEY' USING
           DETAIL = 'KEY', HINT = 'KEY', COLUMN = 'KEY', CONSTRAINT = 'KEY', DATATYPE = 'KEY',
           TABLE = 'KEY', SCHEMA = 'KEY'; END $$",
    ),
    simple("DO $$ BEGIN RAISE LOG 'a hint' USING HINT = 'see KEY'; END $$"),
    simple("DO $$ BEGIN RAISE EXCEPTION 'an error' USING HINT = 'see KEY', DETAIL = 'of KEY'; END $$"),
    simple(
        "DO $$ BEGIN RAISE EXCEPTION 'KEY' USING COLUMN = 'KEY', CONSTRAINT = 'KEY',
           DATATYPE = 'KEY', TABLE = 'KEY', SCHEMA = 'KEY'; END $$",
    ),
    simple("DO $$ BEGIN EXECUTE 'SELECT ''KEY''::int'; END $$"),
    simple("DO $$ BEGIN EXECUTE 'SELEC ''KEY'' '; END $$"),
    simple("DO $$ DECLARE t text := 'KEY'; BEGIN EXECUTE format('SELECT %L::int', t); END $$"),
    simple("DO $$ DECLARE x int; k text := 'KEY'; BEGIN x := k; END $$"),
    simple("DO $$ BEGIN ASSERT false, 'KEY'; END $$"),
    simple(
        "DO $$ BEGIN PERFORM 1/0 WHERE 'KEY' <> ''; EXCEPTION WHEN others THEN
           RAISE LOG '% %', SQLERRM, 'KEY'; END $$",
    ),
    simple("CREATE FUNCTION KEY() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 'KEY' KEY; END $$"),
    simple(
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 'KEY'; END $$;
         SELECT f()",
    ),
    simple("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 'KEY'::int $$; SELECT f()"),
    simple(
        "CREATE FUNCTION f(t text) RETURNS text LANGUAGE sql AS $$ SELECT t || 'KEY' $$;
         SELECT f('KEY'); DROP FUNCTION f(text)",
    ),
    simple("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT KEY FRM $$"),
    simple("SELECT query_to_xml('SELECT ''KEY''::int', true, true, '')"),
    simple("SELECT * FROM ts_stat('SELECT ''KEY'' frm')"),
    // Parameters.
    bound("SELECT $1::text", &["KEY"]),
    bound("SELECT $1::int", &["KEY"]),
    bound("SELECT 1/0, $1", &["KEY"]),
    bound("SELECT 1/0, $1, $2", &["short", "a longer text with KEY in it, and more behind"]),
    bound("SELECT vpk_verify($1)", &["KEY"]),
    bound("SELECT status FROM vpk_authenticate($1)", &["Bearer KEY"]),
    bound("SELECT vpk_revoke_token($1, $2)", &["KEY", "posted as KEY"]),
    bound("SELECT vpk_create($1)", &["KEY"]),
    bound("SELECT vpk_revoke($1::uuid)", &["KEY"]),
    bound("SELECT 'KEY', $1::int", &["KEY"]),
    bound("INSERT INTO vpk.plans (plan) VALUES ($1)", &["KEY"]),
    simple("PREPARE p (text) AS SELECT $1::int; EXECUTE p('KEY')"),
    simple("PREPARE p AS SELECT 'KEY'; EXECUTE p"),
    // Utility statements.
    simple("BEGIN; DECLARE c CURSOR FOR SELECT 'KEY'; FETCH c; CLOSE c; COMMIT"),
    simple("BEGIN; DECLARE \"KEY\" CURSOR FOR SELECT 1; FETCH \"KEY\"; FETCH \"KEYx\""),
    simple("NOTIFY channel, 'KEY'; LISTEN \"KEY\""),
    simple("NOTIFY \"KEYKEYKEY\", 'KEY'"),
    simple("SET work_mem = 'KEY'"),
    simple("SET own.setting = 'KEY'; SHOW own.setting; SHOW KEY"),
    simple("SET ROLE \"KEY\""),
    simple("SET SESSION AUTHORIZATION \"KEY\""),
    simple("CREATE ROLE one PASSWORD 'KEY'; DROP ROLE one"),
    simple("CREATE ROLE \"KEY\"; DROP ROLE \"KEY\"; DROP ROLE \"KEY\""),
    simple("ALTER ROLE postgres SET own.setting = 'KEY'; ALTER ROLE postgres RESET own.setting"),
    simple("BEGIN; SELECT 1; PREPARE TRANSACTION 'KEY';; ROLLBACK PREPARED 'KEY'"),
    simple("ROLLBACK PREPARED 'KEY'"),
    simple("BEGIN; SAVEPOINT KEY; ROLLBACK TO KEY; ROLLBACK TO KEYx"),
    simple("LOAD 'KEY'"),
    simple("CREATE EXTENSION \"KEY\""),
    simple("CREATE TABLESPACE KEY LOCATION '/KEY'"),
    simple("DROP DATABASE KEY"),
    simple("COMMENT ON TABLE vpk.plans IS 'KEY'; COMMENT ON TABLE vpk.plans IS NULL"),
    simple("SELECT pg_read_file('/KEY')"),
    simple("SELECT lo_import('/KEY')"),
    simple("SELECT pg_logical_emit_message(true, 'KEY', 'KEY')"),
    simple("SELECT pg_create_logical_replication_slot('KEY', 'test_decoding')"),
    simple("SELECT pg_drop_replication_slot('KEY')"),
    simple("CREATE SUBSCRIPTION KEY CONNECTION 'host=SOCKET dbname=KEY user=KEY' PUBLICATION KEY"),
    // COPY.
    simple("COPY (SELECT 'KEY') TO '/dev/null'"),
    simple("COPY (SELECT 'KEY') TO PROGRAM 'false KEY'"),
    simple("CREATE TEMP TABLE t (a int); COPY t FROM '/nowhere/KEY'"),
    copied("COPY copied FROM STDIN", "fine\t1\nKEY\tnone\n"),
    copied("COPY copied FROM STDIN", "KEY\n"),
    copied("COPY copied FROM STDIN WITH (FORMAT csv)", "\"KEY,1\n"),
    // Other servers.
    simple("SELECT * FROM dblink('host=SOCKET user=postgres', 'SELECT ''KEY''::int') AS t (a int)"),
    simple("SELECT * FROM dblink('host=SOCKET user=postgres', 'SELECT ''KEY''') AS t (a text)"),
    simple("SELECT dblink_connect('KEY', 'host=SOCKET dbname=KEY')"),
    simple("CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (KEY 'KEY')"),
    simple(
        "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'SOCKET', dbname 'postgres');
         CREATE USER MAPPING FOR postgres SERVER s OPTIONS (user 'postgres');
         CREATE FOREIGN TABLE f (relname text) SERVER s
             OPTIONS (schema_name 'pg_catalog', table_name 'pg_class');
         SELECT * FROM f WHERE relname = 'KEY'; DROP SERVER s CASCADE",
    ),
    // Parallel workers.
    simple(
        "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
         SELECT count(*) FROM pg_class WHERE relname <> 'KEY'",
    ),
    simple(
        "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
         SELECT count(*) FROM pg_class WHERE relname = 'KEY' OR ('KEY' || relname)::int = 1",
    ),
    // The extension's own calls.
    simple("SELECT vpk_revoke('KEY')"),
    simple("SELECT vpk_authenticate('Bearer KEY', client_ip => 'KEY')"),
    simple("SELECT vpk_authenticate('KEY', scope => 'KEY', request_id => 'KEY', environment => 'KEY')"),
    simple("SELECT vpk_create('KEY')"),
    simple("SELECT vpk_create('x', account => 'KEY')"),
    simple("SELECT vpk_create('x', environment => 'KEY')"),
    simple("SELECT vpk_create('x', scopes => '{KEY}')"),
    simple("SELECT vpk_create('x', metadata => '{\"a\": \"KEY\"}')"),
    simple("SELECT vpk_create('x', expires_at => 'KEY')"),
    simple("SELECT vpk_set_plan('a', 'KEY')"),
    simple("SELECT vpk_set_plan('KEY', 'Pro')"),
    simple("SELECT vpk_revoke(id, 'KEY') FROM vpk_create('x')"),
    simple("SELECT vpk_revoke_token('KEY KEY')"),
    simple("SELECT vpk_revoke_account('KEY'), vpk_delete_account('KEY')"),
    simple("SELECT vpk_delete_account('KEY')"),
    simple("SELECT vpk_task_start('KEY', 'KEY')"),
    simple("SELECT vpk_task_start('KEY', scope => 'KEY', request_id => 'KEY', environment => 'KEY')"),
    simple("SELECT vpk_task_finish('KEY')"),
    simple("SELECT vpk_grant_verifier('KEY')"),
    simple("SELECT vpk_list('KEY')"),
    simple("SELECT vpk_list(id => 'KEY')"),
    simple("SELECT vpk_list(state => 'KEY')"),
    simple("SELECT vpk_error('KEY')"),
    simple("SELECT vpk_error('PLAN_REQUIRED', 'KEY', 'KEY')"),
    simple("SET vibepeak_keys.environments = 'KEY'"),
    simple("SET vibepeak_keys.KEY = 'KEY'"),
    simple("INSERT INTO vpk.plans (plan) VALUES ('KEY'); DELETE FROM vpk.plans WHERE plan = 'KEY'"),
    simple("UPDATE vpk.keys SET key_hash = 'KEY'; UPDATE vpk.keys SET hint = 'KEY', account = NULL"),
    // The replication protocol.
    replication("database", "IDENTIFY_SYSTEM KEY"),
    replication("database", "CREATE_REPLICATION_SLOT KEY LOGICAL test_decoding"),
    replication("database", "START_REPLICATION SLOT KEY LOGICAL 0/0 (\"KEY\" 'KEY')"),
    replication("database", "SELECT 'KEY'::int"),
    replication("database", "SHOW KEY"),
    replication("true", "CREATE_REPLICATION_SLOT \"KEY\" PHYSICAL"),
    replication("true", "BASE_BACKUP (LABEL 'KEY', TARGET 'KEY')"),
    replication("true", "BASE_BACKUP LABEL 'KEY' KEY"),
    replication("true", "READ_REPLICATION_SLOT KEY"),
    replication("true", "TIMELINE_HISTORY KEY"),
    replication("true", "DROP_REPLICATION_SLOT KEY"),
];
