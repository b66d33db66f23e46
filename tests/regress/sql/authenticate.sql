-- vpk_authenticate: from the header as it came to the answer as it goes out.

SELECT vpk_set_plan('acme', 'Pro'), vpk_set_plan('freebie', 'Free');
SELECT id, token FROM vpk_create('Backend', 'acme', scopes => '{tasks:read,tasks:write}', metadata => '{"team": "data"}',
                                 expires_at => '2999-01-01 00:00+00') \gset
SELECT token AS free, id AS free_id FROM vpk_create('Free', 'freebie', scopes => '{tasks:read}', metadata => '{"team": "data"}') \gset
SELECT token AS test FROM vpk_create('Test', 'acme', 'test') \gset

-- A valid key: everything the service needs.
SELECT status, http_status, key_id = :'id' AS key_id, key_name, account, plan, environment, scopes, metadata, expires_at,
       request_id, headers, error
  FROM vpk_authenticate('Bearer ' || :'token', request_id => 'req_abc123xyz') \gx

-- The two bodies of the API documentation, equal as jsonb.
SELECT error = '{"error": {"code": "INVALID_API_KEY",
                           "message": "The provided API key is invalid or has been revoked",
                           "request_id": "req_abc123xyz"}}'::jsonb AS as_documented
  FROM vpk_authenticate('Bearer vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ123456', request_id => 'req_abc123xyz');
SELECT error = '{"error": {"code": "PLAN_REQUIRED",
                           "message": "API access requires a Plus or Pro plan. Please upgrade your subscription.",
                           "request_id": "req_abc123xyz",
                           "details": {"current_plan": "Free", "required_plans": ["Plus", "Pro"]}}}'::jsonb AS as_documented
  FROM vpk_authenticate('Bearer ' || :'free', request_id => 'req_abc123xyz');

-- A denied key returns its account, for the caller's log, and nothing that a careless caller could
-- use.
SELECT status, http_status, key_id = :'free_id' AS key_id, key_name, account, plan, environment, scopes, metadata, expires_at,
       headers, error IS NOT NULL AS error
  FROM vpk_authenticate('Bearer ' || :'free', 'tasks:read') \gx
-- Of an unknown key there is nothing to tell.
SELECT status, http_status, key_id, key_name, account, plan, environment, scopes, metadata, expires_at
  FROM vpk_authenticate('Bearer vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ4Vi3OY') \gx

-- The header: the scheme in any case, one or more spaces, white space around the value.
SELECT c.what, a.status
  FROM (VALUES (1, 'as documented', 'Bearer ' || :'token'),
               (2, 'lower case', 'bearer ' || :'token'),
               (3, 'upper case', 'BEARER ' || :'token'),
               (4, 'mixed case', 'bEARER ' || :'token'),
               (5, 'two spaces', 'Bearer  ' || :'token'),
               (6, 'fifty spaces', 'Bearer' || repeat(' ', 50) || :'token'),
               (7, 'white space before', E' \t Bearer ' || :'token'),
               (8, 'white space after', 'Bearer ' || :'token' || E' \t '),
               (9, 'line end after', 'Bearer ' || :'token' || E'\r\n'),
               (10, 'null', NULL),
               (11, 'empty', ''),
               (12, 'blank', E' \t\r\n'),
               (13, 'scheme alone', 'Bearer'),
               (14, 'scheme and space', 'Bearer '),
               (15, 'scheme and white space', E'Bearer \t '),
               (16, 'no scheme', :'token'),
               (17, 'no space', 'Bearer' || :'token'),
               (18, 'another scheme', 'Basic dXNlcjpwYXNz'),
               (19, 'the key in another scheme', 'Basic ' || :'token'),
               (20, 'a scheme like ours', 'Bearers ' || :'token'),
               (21, 'digest', 'Digest username="a", Bearer ' || :'token'),
               (22, 'header name', 'Authorization: Bearer ' || :'token'),
               (23, 'not a key', 'Bearer x'),
               (24, 'a quoted key', 'Bearer "' || :'token' || '"'),
               (25, 'two keys', 'Bearer ' || :'token' || ' ' || :'token'),
               (26, 'two headers', 'Bearer ' || :'token' || ', Bearer ' || :'token'),
               (27, 'scheme twice', 'Bearer Bearer ' || :'token'),
               (28, 'a letter too many', 'Bearer ' || :'token' || 'a'),
               (29, 'all white space around', E' \t\n\x0b\x0c\rBearer ' || :'token' || E' \t\n\x0b\x0c\r'),
               (30, 'scheme and vertical tab', E'Bearer \x0b'),
               (31, 'a tab behind the scheme', E'Bearer\t' || :'token'),
               (32, 'a vertical tab behind the space', E'Bearer \x0b' || :'token'))
       AS c (n, what, header), LATERAL vpk_authenticate(c.header) AS a
 ORDER BY c.n;

-- The answer's headers: a challenge with every 401 (RFC 9110), with the code of RFC 6750 where a
-- credential was presented; none with a success.
\pset format unaligned
SELECT status, http_status, headers FROM vpk_authenticate(NULL);
SELECT status, http_status, headers FROM vpk_authenticate('Basic dXNlcjpwYXNz');
SELECT status, http_status, headers FROM vpk_authenticate('Token x');
SELECT status, http_status, headers FROM vpk_authenticate('Bearer x');
-- A key that does not follow "Bearer " is missing; the header says why, and the body what it always
-- says.
SELECT status, http_status, headers, error #- '{error,request_id}' AS error FROM vpk_authenticate(:'token');
SELECT count(*) AS bare, count(DISTINCT a.headers) AS headers, count(*) FILTER (WHERE a.headers ->> 'WWW-Authenticate' LIKE '%Bearer and a space%') AS explained,
       count(*) FILTER (WHERE a.headers::text LIKE '%vpk\_%') AS with_key
  FROM unnest(ARRAY['', 'Token ', 'Basic ', E'Bearer\t', E'Bearer\x0b', 'Bearer:', 'Bearer', 'ApiKey key=', repeat(' ', 8000)]) AS p (prefix),
       LATERAL vpk_authenticate(p.prefix || :'token') AS a;
SELECT status, http_status, headers FROM vpk_authenticate('Bearer ' || :'token', scope => 'admin');
SELECT status, http_status, headers FROM vpk_authenticate('Bearer ' || :'token', scope => E'ad" , realm="\\');
SELECT status, http_status, headers FROM vpk_authenticate('Bearer ' || :'free');
SELECT status, http_status, headers FROM vpk_authenticate('Bearer ' || :'token');
\pset format aligned

-- The request id: echoed where it is 1 to 128 characters of printable ASCII, else made.
SELECT c.what, a.request_id = c.id AS echoed, a.request_id ~ '^req_[0-9A-Za-z]{24}$' AS made,
       a.error #>> '{error,request_id}' = a.request_id AS same_in_body
  FROM (VALUES (1, 'of the documentation', 'req_abc123xyz'), (2, 'a UUID', 'c0ffee00-0000-4000-8000-000000000000'),
               (3, 'one character', 'x'), (4, '128', repeat('x', 128)), (5, 'printable', '!"#$%&''()*+,-./:;<=>?@[\]^_`{|}~'),
               (6, '129', repeat('x', 129)), (7, 'long', repeat('x', 1000000)), (8, 'null', NULL), (9, 'empty', ''),
               (10, 'line end', E'a\nSet-Cookie: b'), (11, 'tab', E'a\tb'), (12, 'delete', E'a\x7f'),
               (13, 'not ASCII', 'ä'), (14, 'the key itself', :'token'), (15, 'a key inside', 'id=' || :'token' || ';'))
       AS c (n, what, id), LATERAL vpk_authenticate('Bearer x', request_id => c.id) AS a
 ORDER BY c.n;
SELECT count(DISTINCT a.request_id) AS different
  FROM generate_series(1, 100) AS n, LATERAL vpk_authenticate('Bearer ' || n) AS a;
-- Also with a valid key.
SELECT request_id FROM vpk_authenticate('Bearer ' || :'token', request_id => 'req_abc123xyz');
SELECT request_id ~ '^req_[0-9A-Za-z]{24}$' AS made FROM vpk_authenticate('Bearer ' || :'token');

-- Scopes: judged when the caller names one, as a whole, case and all.
SELECT c.scope, a.status
  FROM (VALUES (1, NULL), (2, 'tasks:read'), (3, 'tasks:write'), (4, 'tasks'), (5, 'TASKS:READ'), (6, 'tasks:read '),
               (7, 'tasks:read tasks:write'), (8, ''), (9, '*'), (10, 'admin')) AS c (n, scope),
       LATERAL vpk_authenticate('Bearer ' || :'token', c.scope) AS a
 ORDER BY c.n;
SELECT status FROM vpk_authenticate('Bearer ' || :'test', scope => 'tasks:read');
SELECT status FROM vpk_authenticate('Bearer ' || :'token', scope => repeat('x', 1000000));

-- Addresses: IPv4, IPv6, and IPv4 in the form that a dual-stack listener gives it.
SELECT token AS limited FROM vpk_create('Limited', 'acme', allowed_ips => '{192.0.2.0/24,198.51.100.7,2001:db8::/32}') \gset
SELECT c.ip, a.status
  FROM (VALUES (1, inet '192.0.2.0'), (2, '192.0.2.255'), (3, '192.0.3.0'), (4, '192.0.1.255'), (5, '198.51.100.7'),
               (6, '198.51.100.8'), (7, '2001:db8::'), (8, '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff'), (9, '2001:db9::'),
               (10, '::ffff:192.0.2.7'), (11, '::ffff:192.0.3.7'), (12, '::192.0.2.7'), (13, '127.0.0.1'), (14, '::1'),
               (15, '192.0.2.7/32'), (16, '192.0.2.0/25'), (17, '192.0.2.0/23'), (18, '0.0.0.0/0'), (19, '::/0'), (20, NULL))
       AS c (n, ip), LATERAL vpk_authenticate('Bearer ' || :'limited', client_ip => c.ip) AS a
 ORDER BY c.n;
SELECT token AS mapped FROM vpk_create('Mapped', 'acme', allowed_ips => '{::ffff:192.0.2.0/120}') \gset
SELECT token AS v4 FROM vpk_create('All of IPv4', 'acme', allowed_ips => '{0.0.0.0/0}') \gset
SELECT c.ip, m.status AS mapped, v4.status AS v4
  FROM (VALUES (1, inet '192.0.2.7'), (2, '::ffff:192.0.2.7'), (3, '192.0.3.7'), (4, '2001:db8::1'), (5, NULL)) AS c (n, ip),
       LATERAL vpk_authenticate('Bearer ' || :'mapped', client_ip => c.ip) AS m,
       LATERAL vpk_authenticate('Bearer ' || :'v4', client_ip => c.ip) AS v4
 ORDER BY c.n;
-- A key without a limit does not care.
SELECT status FROM vpk_authenticate('Bearer ' || :'token', client_ip => '203.0.113.1');

-- The environment asked for: a key of another environment is invalid in any state.
SELECT c.environment, l.status AS live, t.status AS test
  FROM (VALUES (1, NULL), (2, 'live'), (3, 'test'), (4, 'LIVE'), (5, 'staging'), (6, '')) AS c (n, environment),
       LATERAL vpk_authenticate('Bearer ' || :'token', environment => c.environment) AS l,
       LATERAL vpk_authenticate('Bearer ' || :'test', environment => c.environment) AS t
 ORDER BY c.n;
SELECT status, error #>> '{error,message}' AS message
  FROM vpk_authenticate('Bearer ' || :'free', environment => 'test');

-- Each other refusal, with its body.
SELECT vpk_disable(:'id') IS NOT NULL AS disabled;
SELECT status, http_status, account, plan, error #- '{error,request_id}' AS error FROM vpk_authenticate('Bearer ' || :'token') \gx
UPDATE vpk.keys SET expires_at = now() - interval '1 day' WHERE id = :'id';
SELECT status, http_status, account, plan, error #- '{error,request_id}' AS error FROM vpk_authenticate('Bearer ' || :'token') \gx
SELECT vpk_revoke(:'id') IS NOT NULL AS revoked;
SELECT status, http_status, account, plan, error #- '{error,request_id}' AS error FROM vpk_authenticate('Bearer ' || :'token') \gx
SELECT status, http_status, account, plan, error #- '{error,request_id}' AS error FROM vpk_authenticate('Bearer ' || :'limited') \gx
SELECT status, http_status, account, plan, error #- '{error,request_id}' AS error FROM vpk_authenticate('Bearer ' || :'test', scope => 'admin') \gx
SELECT status, http_status, account, plan, error #- '{error,request_id}' AS error FROM vpk_authenticate('') \gx

-- Clean up.
SELECT vpk_delete_account('acme'), vpk_delete_account('freebie');
