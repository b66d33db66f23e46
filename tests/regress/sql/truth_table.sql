-- Precedence: every combination of the reasons to refuse a key, through real rows, against the rule
-- that the first of them in the order of the enum's labels wins.

SELECT vpk_set_plan('paying', 'Pro'), vpk_set_plan('free', 'Free');

-- What a key can be, and how it is presented.
CREATE TEMPORARY TABLE cases AS
    SELECT row_number() OVER () AS n, b.*
      FROM (SELECT p.presented, revoked, expired, disabled, elsewhere, limited, free
              FROM unnest('{key,nothing,blank,malformed,unknown,other environment}'::text[]) AS p (presented),
                   unnest('{f,t}'::boolean[]) AS revoked, unnest('{f,t}'::boolean[]) AS expired,
                   unnest('{f,t}'::boolean[]) AS disabled, unnest('{f,t}'::boolean[]) AS elsewhere,
                   unnest('{f,t}'::boolean[]) AS limited, unnest('{f,t}'::boolean[]) AS free
             -- Being elsewhere matters for a limited key only.
             WHERE limited OR NOT elsewhere) AS b;
CREATE TEMPORARY TABLE issued AS
    SELECT c.*, k.id, k.token
      FROM cases AS c,
           LATERAL vpk_create('Case ' || c.n, CASE WHEN c.free THEN 'free' ELSE 'paying' END,
                              CASE c.presented WHEN 'other environment' THEN 'test' ELSE 'live' END,
                              scopes => '{read}',
                              allowed_ips => CASE WHEN c.limited THEN '{192.0.2.0/24}'::cidr[] END) AS k;
SELECT count(vpk_disable(id)) AS disabled FROM issued WHERE disabled;
UPDATE vpk.keys AS k SET expires_at = now() - interval '1 hour' FROM issued AS i WHERE i.id = k.id AND i.expired;
SELECT count(vpk_revoke(id)) AS revoked FROM issued WHERE revoked;

-- What is sent. An unknown key is one that is well-formed and was never stored: the row is taken
-- away.
SELECT count(*) AS unknown FROM issued WHERE presented = 'unknown';
DELETE FROM vpk.keys AS k USING issued AS i WHERE i.id = k.id AND i.presented = 'unknown';
CREATE TEMPORARY TABLE requests AS
    SELECT i.*, s.scope,
           CASE i.presented
               WHEN 'nothing' THEN NULL
               WHEN 'blank' THEN '   '
               -- One character of the checksum is another one.
               WHEN 'malformed' THEN left(i.token, 40) || CASE right(i.token, 1) WHEN 'a' THEN 'b' ELSE 'a' END
               ELSE i.token
           END AS sent,
           CASE WHEN i.elsewhere THEN inet '198.51.100.1' WHEN i.limited THEN inet '192.0.2.1' END AS client_ip
      FROM issued AS i, unnest('{read,write,NULL}'::text[]) AS s (scope);

-- The expected answer: the least of those that apply.
CREATE TEMPORARY VIEW expected AS
    SELECT r.*,
           (SELECT min(e.status)
              FROM (VALUES (r.presented IN ('nothing', 'blank'), 'MISSING_API_KEY'::vpk.vpk_status),
                           (r.presented IN ('malformed', 'unknown', 'other environment'), 'INVALID_API_KEY'),
                           (r.revoked, 'API_KEY_REVOKED'),
                           (r.expired, 'API_KEY_EXPIRED'),
                           (r.disabled, 'API_KEY_DISABLED'),
                           (r.elsewhere, 'IP_NOT_ALLOWED'),
                           (r.free, 'PLAN_REQUIRED'),
                           (r.scope = 'write', 'INSUFFICIENT_SCOPE')) AS e (applies, status)
             WHERE e.applies) AS reason
      FROM requests AS r;

SELECT count(*) AS combinations, count(DISTINCT coalesce(reason, 'VALID')) AS different_answers FROM expected;
SELECT coalesce(reason, 'VALID') AS status, count(*) FROM expected GROUP BY 1 ORDER BY 1;

-- vpk_authenticate, that knows everything.
CREATE TEMPORARY TABLE answers AS
    SELECT e.n, e.presented, e.revoked, e.expired, e.disabled, e.elsewhere, e.free, e.scope,
           coalesce(e.reason, 'VALID') AS expected, a.status, a.http_status, a.error, a.headers,
           a.key_id IS NOT DISTINCT FROM CASE WHEN e.presented IN ('key', 'other environment') THEN e.id END AS key_as_expected
      FROM expected AS e,
           LATERAL vpk_authenticate('Bearer ' || e.sent, e.scope, e.client_ip, environment => 'live') AS a;
SELECT count(*) AS judged, count(*) FILTER (WHERE status <> expected) AS mismatches FROM answers;
SELECT * FROM answers WHERE status <> expected ORDER BY n, scope LIMIT 20;
-- Status, HTTP status, body and challenge belong together.
SELECT count(*) AS mismatches
  FROM answers AS a JOIN vpk.status_codes AS c ON c.status = a.status
 WHERE a.http_status <> c.http_status
    OR (a.error IS NULL) <> (a.status = 'VALID')
    OR a.error #>> '{error,code}' <> a.status::text
    OR a.error #>> '{error,message}' <> c.message
    OR (a.headers ? 'WWW-Authenticate') <> (a.http_status = 401 OR a.status = 'INSUFFICIENT_SCOPE')
    OR NOT a.key_as_expected;

-- vpk_verify, that knows neither address nor scope nor the environment asked for.
CREATE TEMPORARY VIEW verified AS
    SELECT e.n, e.presented, e.revoked, e.expired, e.disabled, e.limited, e.free, vpk_verify(e.sent) AS status,
           (SELECT coalesce(min(r.status), 'VALID')
              FROM (VALUES (e.presented IN ('nothing', 'blank'), 'MISSING_API_KEY'::vpk.vpk_status),
                           (e.presented IN ('malformed', 'unknown'), 'INVALID_API_KEY'),
                           (e.revoked, 'API_KEY_REVOKED'), (e.expired, 'API_KEY_EXPIRED'),
                           (e.disabled, 'API_KEY_DISABLED'), (e.limited, 'IP_NOT_ALLOWED'),
                           (e.free, 'PLAN_REQUIRED')) AS r (applies, status)
             WHERE r.applies) AS expected
      FROM issued AS i JOIN expected AS e ON e.n = i.n AND e.scope IS NULL;
SELECT count(*) AS judged, count(*) FILTER (WHERE status <> expected) AS mismatches FROM verified;
SELECT * FROM verified WHERE status <> expected ORDER BY n LIMIT 20;

-- vpk_verify_hash, by what is stored.
SELECT count(*) AS judged,
       count(*) FILTER (WHERE vpk_verify_hash(sha256(convert_to(e.sent, 'UTF8')), e.client_ip)
                              <> coalesce(CASE WHEN e.presented = 'blank' THEN 'INVALID_API_KEY'
                                               WHEN e.presented = 'other environment' THEN
                                                   (SELECT min(r.status)
                                                      FROM (VALUES (e.revoked, 'API_KEY_REVOKED'::vpk.vpk_status), (e.expired, 'API_KEY_EXPIRED'),
                                                                   (e.disabled, 'API_KEY_DISABLED'), (e.elsewhere, 'IP_NOT_ALLOWED'),
                                                                   (e.free, 'PLAN_REQUIRED')) AS r (applies, status)
                                                     WHERE r.applies)
                                               ELSE e.reason END, 'VALID')) AS mismatches
  FROM expected AS e WHERE e.scope IS NULL;

-- vpk_task_start gives the same refusals; what it would start is not part of this.
BEGIN;
UPDATE vpk.plans SET concurrent_tasks = NULL WHERE plan = 'Pro';
SELECT count(*) AS judged,
       count(*) FILTER (WHERE t.status
                              <> coalesce(CASE WHEN e.presented = 'other environment' THEN
                                                   (SELECT min(r.status)
                                                      FROM (VALUES (e.revoked, 'API_KEY_REVOKED'::vpk.vpk_status), (e.expired, 'API_KEY_EXPIRED'),
                                                                   (e.disabled, 'API_KEY_DISABLED'), (e.elsewhere, 'IP_NOT_ALLOWED'),
                                                                   (e.free, 'PLAN_REQUIRED'), (e.scope = 'write', 'INSUFFICIENT_SCOPE')) AS r (applies, status)
                                                     WHERE r.applies)
                                               ELSE e.reason END, 'VALID')) AS mismatches,
       count(*) FILTER (WHERE (t.lease IS NULL) = (t.status = 'VALID') OR (t.error IS NULL) <> (t.status = 'VALID')) AS inconsistent
  FROM expected AS e, LATERAL vpk_task_start(e.sent, client_ip => e.client_ip, scope => e.scope) AS t;
ROLLBACK;

-- Clean up.
SELECT vpk_delete_account('paying'), vpk_delete_account('free');
