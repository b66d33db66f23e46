-- What may be stored with a key: each refused with 22023 and a DETAIL or HINT, and nothing written.

-- What a statement is refused with.
CREATE FUNCTION pg_temp.refused(statement text, OUT refusal text) LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; hint text;
BEGIN
    EXECUTE statement;
    refusal := 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    refusal := SQLSTATE || ': ' || message || coalesce(E'\n  DETAIL: ' || nullif(detail, ''), '')
               || coalesce(E'\n  HINT: ' || nullif(hint, ''), '');
END
$$;
CREATE FUNCTION pg_temp.create_with(arguments text) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.refused('SELECT vpk_create(account => ''acme'', ' || arguments || ')')
$$;
CREATE FUNCTION pg_temp.named(name text) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.create_with(format('name => %L', name))
$$;
\pset format unaligned
\pset tuples_only on

SELECT vpk_set_plan('acme', 'Pro');
SELECT id, token FROM vpk_create('Key', 'acme') \gset
SELECT (SELECT count(*) FROM vpk.keys) AS keys, (SELECT count(*) FROM vpk.events) AS events,
       (SELECT count(*) FROM vpk.accounts) AS accounts \gset before_

-- Names: 1 to 255 characters, however many bytes.
SELECT pg_temp.named('');
SELECT pg_temp.named('   ');
SELECT pg_temp.named(E' \t\r\n ');
SELECT pg_temp.named(repeat('x', 256));
SELECT pg_temp.named(repeat('ü', 256));
SELECT pg_temp.named(repeat('x', 1000000));
-- No control characters, of ASCII or of Unicode.
SELECT pg_temp.named(E'a\nb');
SELECT pg_temp.named(E'a\tb');
SELECT pg_temp.named(E'a\x01b');
SELECT pg_temp.named(E'a\x1b[31mb');
SELECT pg_temp.named(E'a\x7fb');
SELECT pg_temp.named(E'a\u0085b');
SELECT count(*) || ' control characters, refused: '
       || count(*) FILTER (WHERE pg_temp.named('a' || chr(n) || 'b') LIKE '22023: invalid name%control characters%')
  FROM generate_series(1, 159) AS n WHERE n < 32 OR n > 126;
-- No key: what is listed in the clear must not be one. The refusal does not repeat it.
SELECT pg_temp.named('Key ' || :'token');
SELECT pg_temp.named(:'token');
-- The same for the other functions.
SELECT pg_temp.refused(format('SELECT vpk_update(%L, name => %L)', :'id', repeat('x', 256)));
SELECT pg_temp.refused(format('SELECT vpk_update(%L, name => %L)', :'id', :'token'));

-- Accounts: 1 to 255 characters, no control characters, no white space around them, no key.
SELECT pg_temp.refused($$SELECT vpk_set_plan('', 'Pro')$$);
SELECT pg_temp.refused($$SELECT vpk_set_plan(repeat('x', 256), 'Pro')$$);
SELECT pg_temp.refused($$SELECT vpk_set_plan(E'a\nb', 'Pro')$$);
SELECT pg_temp.refused($$SELECT vpk_set_plan(' a', 'Pro')$$);
SELECT pg_temp.refused($$SELECT vpk_set_plan('a ', 'Pro')$$);
SELECT pg_temp.refused(format('SELECT vpk_set_plan(%L, %L)', :'token', 'Pro'));
SELECT pg_temp.refused(format('SELECT vpk_create(%L, account => %L)', 'Key', ''));
SELECT pg_temp.refused(format('SELECT vpk_create(%L, account => %L)', 'Key', repeat('x', 256)));
-- An unknown account or plan is named, but not if it is a key.
SELECT pg_temp.refused($$SELECT vpk_revoke_account('nobody')$$);
SELECT pg_temp.refused($$SELECT vpk_delete_account('nobody')$$);
SELECT replace(pg_temp.refused(format('SELECT vpk_revoke_account(%L)', :'token')), left(:'token', 13), '<hint>');
SELECT pg_temp.refused($$SELECT vpk_set_plan('acme', 'Platinum')$$);
SELECT pg_temp.refused($$SELECT vpk_set_plan('acme', 'free')$$);
SELECT replace(pg_temp.refused(format('SELECT vpk_set_plan(%L, %L)', 'acme', :'token')), left(:'token', 13), '<hint>');

-- Environments.
SELECT pg_temp.create_with($$name => 'Key', environment => 'Live'$$);
SELECT pg_temp.create_with($$name => 'Key', environment => ''$$);

-- Metadata: an object, of at most 16 kB, without a key.
SELECT pg_temp.create_with($$name => 'Key', metadata => '[1]'$$);
SELECT pg_temp.create_with($$name => 'Key', metadata => '"text"'$$);
SELECT pg_temp.create_with($$name => 'Key', metadata => '1'$$);
SELECT pg_temp.create_with($$name => 'Key', metadata => 'null'$$);
SELECT pg_temp.create_with($$name => 'Key', metadata => jsonb_build_object('a', repeat('x', 16384 - 8))$$);
SELECT pg_temp.create_with($$name => 'Key', metadata => jsonb_build_object('a', repeat('x', 1000000))$$);
SELECT pg_temp.create_with(format('name => ''Key'', metadata => jsonb_build_object(%L, %L)', 'a', :'token'));
SELECT pg_temp.create_with(format('name => ''Key'', metadata => jsonb_build_object(%L, %L)', :'token', 'a'));
SELECT pg_temp.refused(format($$SELECT vpk_update(%L, metadata => '[]')$$, :'id'));

-- Scopes: tokens of RFC 6749, so that they can stand in a header.
SELECT pg_temp.create_with($$name => 'Key', scopes => '{""}'$$);
SELECT pg_temp.create_with($$name => 'Key', scopes => '{"a b"}'$$);
SELECT pg_temp.create_with($$name => 'Key', scopes => ARRAY['a"b']$$);
SELECT pg_temp.create_with($$name => 'Key', scopes => ARRAY['a\b']$$);
SELECT pg_temp.create_with($$name => 'Key', scopes => ARRAY[E'a\nb']$$);
SELECT pg_temp.create_with($$name => 'Key', scopes => '{ä}'$$);
SELECT pg_temp.create_with($$name => 'Key', scopes => '{a,NULL}'$$);
SELECT pg_temp.create_with($$name => 'Key', scopes => ARRAY[repeat('x', 256)]$$);
SELECT pg_temp.create_with($$name => 'Key', scopes => array_fill('a'::text, '{101}')$$);
SELECT pg_temp.create_with(format('name => ''Key'', scopes => ARRAY[%L]', :'token'));

-- Addresses.
SELECT pg_temp.create_with($$name => 'Key', allowed_ips => '{192.0.2.0/24,NULL}'$$);
SELECT pg_temp.create_with($$name => 'Key', allowed_ips => array_fill('192.0.2.0/24'::cidr, '{257}')$$);

-- Nothing of all that was written.
SELECT (SELECT count(*) FROM vpk.keys) - :before_keys AS keys, (SELECT count(*) FROM vpk.events) - :before_events AS events,
       (SELECT count(*) FROM vpk.accounts) - :before_accounts AS accounts;
SELECT name, scopes, metadata FROM vpk.keys WHERE id = :'id';

-- Every refusal is 22023 with a DETAIL or HINT, null included: what is not is listed here.
SELECT replace(replace(statement, :'token', '<token>'), :'id', '<id>'), pg_temp.refused(statement)
  FROM unnest(ARRAY[
           'SELECT vpk_create(NULL)', $$SELECT vpk_create('Key', NULL)$$, $$SELECT vpk_create('Key', environment => NULL)$$,
           $$SELECT vpk_create('Key', scopes => NULL)$$, $$SELECT vpk_create('Key', metadata => NULL)$$,
           'SELECT vpk_revoke(NULL)', 'SELECT vpk_revoke_account(NULL)', 'SELECT vpk_rotate(NULL)',
           format('SELECT vpk_rotate(%L, NULL)', :'id'), format('SELECT vpk_rotate(%L, %L)', :'id', '-1 s'),
           'SELECT vpk_update(NULL)', 'SELECT vpk_disable(NULL)', 'SELECT vpk_enable(NULL)', 'SELECT vpk_purge(NULL)',
           'SELECT vpk_delete_account(NULL)', $$SELECT vpk_set_plan(NULL, 'Pro')$$, $$SELECT vpk_set_plan('acme', NULL)$$,
           'SELECT vpk_list(max_rows => -1)', 'SELECT vpk_grant_verifier(NULL)', 'SELECT vpk_grant_admin(NULL)',
           'SELECT vpk_grant_verifier(4294967295::oid::regrole)',
           format('SELECT vpk_task_start(%L, ttl => NULL)', :'token'), format('SELECT vpk_task_start(%L, ttl => %L)', :'token', '0'),
           -- Beyond the last instant that there is.
           format('SELECT vpk_rotate(%L, %L)', :'id', '300000 years'), format('SELECT vpk_task_start(%L, ttl => %L)', :'token', '300000 years'),
           'SELECT vpk_task_extend(gen_random_uuid(), ''300000 years'')'])
       AS statement
 WHERE pg_temp.refused(statement) !~ '^22023: .*\n  (DETAIL|HINT): ';

-- The largest that is accepted: white space around a name does not count, white space within it
-- stays.
SELECT pg_temp.named('x'), pg_temp.named('  ' || repeat('ü', 255) || E'\n'), pg_temp.named('Großer Schlüssel 🔑 "quoted" \ 100%');
SELECT length(name), name LIKE ' %' OR name LIKE E'%\n' AS blank_around FROM vpk.keys WHERE account = 'acme' AND name LIKE '%üü%';
SELECT name FROM vpk.keys WHERE account = 'acme' AND name LIKE 'G%';
SELECT pg_temp.create_with($$name => 'Key', metadata => jsonb_build_object('a', repeat('x', 16384 - 9))$$);
SELECT max(length(metadata::text)) FROM vpk.keys WHERE account = 'acme';
SELECT pg_temp.create_with($$name => 'Key', scopes => array_fill(repeat('x', 255), '{100}')$$);
SELECT pg_temp.create_with($$name => 'Key', scopes => '{!#$%&''()*+-./:;<=>?@[]^_`|~,"{}"}'$$);
SELECT pg_temp.create_with($$name => 'Key', allowed_ips => array_fill('192.0.2.0/24'::cidr, '{256}')$$);
SELECT pg_temp.refused($$SELECT vpk_set_plan(repeat('ü', 255), 'Pro')$$), pg_temp.refused($$SELECT vpk_set_plan('a "b"', 'Pro')$$);
SELECT pg_temp.refused($$SELECT vpk_create('Key', 'a "b"')$$), pg_temp.refused($$SELECT vpk_create('Key', 'A "b"')$$);
-- White space of Unicode does not count either.
SELECT name = 'Key' AS trimmed FROM vpk_create(E'\u00a0\u2003Key\u3000', 'acme');

-- The reason of a revocation is never refused, since that is urgent: what is too much is not kept.
CREATE FUNCTION pg_temp.kept(reason text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    key uuid := k.id FROM vpk_create('Key', 'acme') AS k;
BEGIN
    PERFORM vpk_revoke(key, reason);
    RETURN revoke_reason FROM vpk.keys WHERE id = key;
END
$$;
SELECT pg_temp.kept('  leaked ') AS trimmed, pg_temp.kept('   ') IS NULL AS blank, pg_temp.kept('') IS NULL AS empty;
SELECT pg_temp.kept(repeat('ü', 1000)) = repeat('ü', 1000) AS kept, pg_temp.kept(repeat('ü', 1001)) = repeat('ü', 1000) AS cut,
       length(pg_temp.kept(repeat('x', 10000000))) AS cut;
-- A key in it is redacted, wherever it stands and wherever the text is cut.
SELECT replace(pg_temp.kept('it is ' || :'token' || '.'), left(:'token', 13), '<hint>');
SELECT count(*) AS cuts, count(*) FILTER (WHERE position(substr(:'token', 10, 5) IN pg_temp.kept(repeat('x', n) || :'token')) > 0) AS showing_more_than_the_hint
  FROM generate_series(955, 1000) AS n;

-- Clean up.
SELECT vpk_delete_account('acme'), vpk_delete_account(repeat('ü', 255)), vpk_delete_account('a "b"');
