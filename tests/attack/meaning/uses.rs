//! What is made of a text with a key, KEY, and where it can be read afterwards.

/// A kind of use.
pub struct Use {
    pub name: &'static str,
    pub steps: &'static [Step],
}

pub enum Step {
    /// One statement.
    Do(&'static str),
    /// Several statements, which may fail.
    Together(&'static str),
    /// A query, and what its value has to contain. "folded" is the key in lower case.
    Gives(&'static str, &'static str),
    /// A statement that is prepared once and run often with the parameter y: it gives the key and
    /// that. What makes its plan invalid runs in between.
    Prepared(&'static str, &'static str),
}

use Step::{Do, Gives, Prepared, Together};

const fn used(name: &'static str, steps: &'static [Step]) -> Use {
    Use { name, steps }
}

/// A function that gives the key. The first call differs from later ones.
const FIRST: Step = Gives("SELECT f()", "KEY");
const AGAIN: Step = FIRST;

pub const USES: &[Use] = &[
    used("a literal", &[Gives("SELECT 'KEY'::text", "KEY"), Gives("SELECT 'KEY'::text", "KEY")]),
    used(
        "an SQL function",
        &[
            Do("CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'KEY'::text $$"),
            Gives("SELECT prosrc FROM pg_proc WHERE proname = 'f'", "KEY"),
            FIRST,
            AGAIN,
        ],
    ),
    used(
        "a PL/pgSQL function",
        &[
            Do("CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'KEY'; END $$"),
            Gives("SELECT pg_get_functiondef('f'::regproc)", "KEY"),
            FIRST,
            AGAIN,
        ],
    ),
    used(
        "a function with a parsed body",
        &[
            Do("CREATE FUNCTION f() RETURNS text BEGIN ATOMIC SELECT 'KEY'::text; END"),
            Gives("SELECT pg_get_functiondef('f'::regproc)", "KEY"),
            FIRST,
        ],
    ),
    used(
        "a function that returns an expression",
        &[Do("CREATE FUNCTION f() RETURNS text RETURN 'KEY'::text"), FIRST, AGAIN],
    ),
    used(
        "dynamic statements",
        &[
            Do("CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $$ DECLARE r text; BEGIN
                  EXECUTE 'SELECT ''KEY''' INTO r; EXECUTE 'SELECT $1' INTO r USING r; RETURN r;
                END $$"),
            FIRST,
            AGAIN,
        ],
    ),
    used(
        "a cursor of a function",
        &[
            Do("CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $$
                DECLARE c refcursor; r text; BEGIN
                  OPEN c FOR EXECUTE 'SELECT ''KEY'''; FETCH c INTO r; CLOSE c; RETURN r;
                END $$"),
            FIRST,
            AGAIN,
        ],
    ),
    used(
        "a function that goes on after an error",
        &[
            Do("CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $$ DECLARE r text; BEGIN
                  BEGIN EXECUTE 'SELECT ''KEY''::int'; EXCEPTION WHEN others THEN
                    EXECUTE 'SELECT ''KEY''::text' INTO r; END;
                  RETURN r;
                END $$"),
            FIRST,
            AGAIN,
        ],
    ),
    used(
        "a view",
        &[
            Do("CREATE VIEW v AS SELECT 'KEY'::text AS k, \"KEY\".relname FROM pg_class AS \"KEY\""),
            Gives("SELECT k FROM v LIMIT 1", "KEY"),
            Gives("SELECT pg_get_viewdef('v')", "KEY"),
        ],
    ),
    used(
        "a default, and the name of a column",
        &[
            Do("CREATE TABLE t (a text DEFAULT 'KEY', KEY int)"),
            Do("INSERT INTO t DEFAULT VALUES"),
            Gives("SELECT a FROM t", "KEY"),
            Gives(
                "SELECT attname::text FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum = 2",
                "folded",
            ),
        ],
    ),
    used(
        "a rule",
        &[
            Do("CREATE TABLE t (a text)"),
            Do("INSERT INTO t VALUES ('')"),
            Do("CREATE RULE r AS ON DELETE TO t DO INSTEAD UPDATE t SET a = 'xKEY'"),
            Do("DELETE FROM t"),
            Gives("SELECT a FROM t", "xKEY"),
        ],
    ),
    used(
        "a constraint, an index, a policy and statistics",
        &[
            Do("CREATE TABLE t (a text)"),
            Do("ALTER TABLE t ADD CHECK (a <> 'KEYz')"),
            Do("CREATE INDEX i ON t ((a || 'KEY'))"),
            Do("CREATE POLICY p ON t USING (a = 'KEY')"),
            Do("CREATE STATISTICS s ON (a || 'KEY'), a FROM t"),
            Do("COMMENT ON TABLE t IS 'KEY'"),
            Gives(
                "SELECT pg_get_constraintdef(oid) FROM pg_constraint
                  WHERE conrelid = 't'::regclass AND contype = 'c'",
                "KEYz",
            ),
            Gives("SELECT pg_get_indexdef('i'::regclass)", "KEY"),
            Gives(
                "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = 't'::regclass",
                "KEY",
            ),
            Gives(
                "SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext
                  WHERE stxrelid = 't'::regclass",
                "KEY",
            ),
            Gives("SELECT obj_description('t'::regclass)", "KEY"),
        ],
    ),
    used(
        "a trigger",
        &[
            Do("CREATE TABLE t (a text)"),
            Do("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                  NEW.a := NEW.a || TG_ARGV[0] || 'KEY'; RETURN NEW; END $$"),
            Do("CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW
                WHEN (NEW.a <> 'KEY') EXECUTE FUNCTION f('KEY')"),
            Do("INSERT INTO t VALUES ('x')"),
            Gives("SELECT a FROM t", "xKEYKEY"),
            Gives("SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'r'", "KEY"),
        ],
    ),
    used(
        "tables from queries",
        &[
            Do("CREATE TABLE one AS SELECT 'KEY'::text AS k"),
            Gives("SELECT k FROM one", "KEY"),
            Do("SELECT 'KEY'::text AS k INTO two"),
            Gives("SELECT k FROM two", "KEY"),
            Do("CREATE MATERIALIZED VIEW m AS SELECT 'KEY'::text AS k"),
            Do("REFRESH MATERIALIZED VIEW m"),
            Gives("SELECT k FROM m", "KEY"),
            Do("DO $$ BEGIN CREATE TABLE three AS SELECT 'KEY'::text AS k; END $$"),
            Gives("SELECT k FROM three", "KEY"),
        ],
    ),
    used(
        "PREPARE and EXECUTE",
        &[
            Do("CREATE TABLE t (a text)"),
            Do("INSERT INTO t VALUES ('')"),
            Do("PREPARE p AS SELECT 'KEY'::text, count(*) FROM t GROUP BY 1"),
            Gives("EXECUTE p", "KEY"),
            Do("ALTER TABLE t ADD COLUMN b int"),
            Gives("EXECUTE p", "KEY"),
            Do("DISCARD PLANS"),
            Gives("EXECUTE p", "KEY"),
            Do("CREATE TABLE u AS EXECUTE p"),
            Gives("SELECT * FROM u", "KEY"),
            Do("DEALLOCATE p"),
        ],
    ),
    used(
        "a prepared statement",
        &[
            Do("CREATE TABLE t (a text)"),
            Do("INSERT INTO t VALUES ('')"),
            Prepared(
                "SELECT 'KEY'::text || $1, count(*) FROM t GROUP BY 1",
                "ALTER TABLE t ADD COLUMN IF NOT EXISTS b int; ALTER TABLE t DROP COLUMN b",
            ),
            Prepared("SELECT 'KEY'::text || $1, count(*) FROM t GROUP BY 1", "DISCARD PLANS"),
        ],
    ),
    used(
        "a prepared utility statement, in a procedure that runs it twice",
        &[
            Do("CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN
                  FOR i IN 1..2 LOOP
                    CREATE TABLE t AS SELECT 'KEY'::text AS k;
                    IF i = 1 THEN DROP TABLE t; END IF;
                    COMMIT;
                  END LOOP;
                END $$"),
            Do("CALL p()"),
            Gives("SELECT k FROM t", "KEY"),
        ],
    ),
    used(
        "several statements in one message",
        &[
            Together(
                "SELECT 1; CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'KEY'::text $$;
                 SELECT f(); DO $$ BEGIN PERFORM 'KEY'; END $$;
                 CREATE TABLE t AS SELECT f() || 'KEY' AS k",
            ),
            FIRST,
            Gives("SELECT k FROM t", "KEYKEY"),
        ],
    ),
    used(
        "after an error",
        &[
            Together("SELECT 'KEY'::int"),
            Gives("SELECT 'KEY'::text", "KEY"),
            Do("BEGIN"),
            Do("SAVEPOINT a"),
            Together("SELECT 'KEY'::int"),
            Do("ROLLBACK TO a"),
            Gives("SELECT 'KEY'::text", "KEY"),
            Do("COMMIT"),
        ],
    ),
    used(
        "a cursor",
        &[
            Do("BEGIN"),
            Do("DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT 'KEY' || g FROM generate_series(1, 3) AS g"),
            Gives("FETCH c", "KEY1"),
            Do("COMMIT"),
            Gives("FETCH c", "KEY2"),
            Gives("FETCH PRIOR c", "KEY1"),
            Do("CLOSE c"),
        ],
    ),
    used(
        "settings and names",
        &[
            Do("SET own.setting = 'KEY'"),
            Gives("SHOW own.setting", "KEY"),
            Do("CREATE TABLE \"KEY\" (a int)"),
            Gives("SELECT relname::text FROM pg_class WHERE relname = 'KEY'", "KEY"),
            Gives("SELECT count(*) || 'KEY' FROM \"KEY\"", "0KEY"),
        ],
    ),
    used(
        "parallel workers",
        &[
            Do("SET parallel_setup_cost = 0"),
            Do("SET parallel_tuple_cost = 0"),
            Do("SET min_parallel_table_scan_size = 0"),
            Gives("SELECT max(relname::text || 'KEY') FROM pg_class", "KEY"),
            Do("RESET ALL"),
        ],
    ),
    used(
        "a long text, and one in other letters",
        &[
            Gives("SELECT 'é日本 KEY 日本é'::text", "é日本 KEY 日本é"),
            Gives("SELECT repeat('x', 3000) || 'KEY' || repeat('y', 3000)", "xKEYy"),
        ],
    ),
];
