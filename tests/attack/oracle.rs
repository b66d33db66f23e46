//! What the documentation says that a call answers, as SQL over the tables. It shares no code with
//! the extension: it reads docs/reference.md ("Statuses", "vpk_authenticate") and nothing else.

use crate::attack::Attack;
use crate::support::known::run;
use crate::support::{Client, GenericClient, report, value};

/// The schema `oracle`. Its functions read the rows themselves, never through an index on the hash.
const SCHEMA: &str = r#"
CREATE SCHEMA oracle;

-- "::ffff:192.0.2.17 counts as 192.0.2.17".
CREATE FUNCTION oracle.admits(networks cidr[], client inet) RETURNS boolean LANGUAGE sql AS $$
    SELECT EXISTS (SELECT FROM unnest(networks) AS network
                    WHERE CASE WHEN client <<= '::ffff:0:0/96'
                               THEN replace(host(client), '::ffff:', '')::inet
                               ELSE client END <<= network)
$$;

-- "If several of them apply, the answer is the first one in this order."
CREATE FUNCTION oracle.status(token text, client inet, scope text, wanted text, accepted text)
RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN token IS NULL OR btrim(token) = '' THEN 'MISSING_API_KEY'
    ELSE coalesce((SELECT CASE
        WHEN k.environment <> ALL (string_to_array(accepted, ',')) THEN 'INVALID_API_KEY'
        WHEN k.environment <> wanted THEN 'INVALID_API_KEY'
        WHEN k.revoked_at IS NOT NULL THEN 'API_KEY_REVOKED'
        WHEN k.expires_at <= clock_timestamp() THEN 'API_KEY_EXPIRED'
        WHEN k.disabled_at IS NOT NULL THEN 'API_KEY_DISABLED'
        WHEN k.allowed_ips IS NOT NULL AND NOT oracle.admits(k.allowed_ips, client)
            THEN 'IP_NOT_ALLOWED'
        WHEN p.api_access IS NOT TRUE THEN 'PLAN_REQUIRED'
        WHEN scope IS NOT NULL AND scope <> ALL (k.scopes) THEN 'INSUFFICIENT_SCOPE'
        ELSE 'VALID' END
      FROM vpk.keys AS k
      LEFT JOIN vpk.accounts AS a ON a.account || '' = k.account
      LEFT JOIN vpk.plans AS p ON p.plan || '' = a.plan
     WHERE k.key_hash || '' = sha256(convert_to(token, 'UTF8'))), 'INVALID_API_KEY') END
$$;

-- The columns of vpk_authenticate that follow from the tables.
CREATE FUNCTION oracle.response(token text, client inet, scope text, wanted text, accepted text)
RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT jsonb_build_array(s.status,
               CASE WHEN s.status = 'VALID' THEN 200
                    WHEN s.status IN ('IP_NOT_ALLOWED', 'PLAN_REQUIRED', 'INSUFFICIENT_SCOPE') THEN 403
                    ELSE 401 END,
               k.id, k.account, v.name, a.plan, v.environment, v.scopes, v.metadata,
               CASE WHEN v.expires_at IS NOT NULL
                    THEN LEAST(v.expires_at, '9999-12-31 00:00:00+00') END,
               s.status <> 'VALID')::text
      FROM (SELECT oracle.status(token, client, scope, wanted, accepted)) AS s (status)
      LEFT JOIN vpk.keys AS k ON k.key_hash || '' = sha256(convert_to(token, 'UTF8'))
            AND s.status NOT IN ('MISSING_API_KEY', 'INVALID_API_KEY')
      LEFT JOIN vpk.keys AS v ON v.id = k.id AND s.status = 'VALID'
      LEFT JOIN vpk.accounts AS a ON a.account || '' = v.account
$$;
"#;

/// The columns of an answer of vpk_authenticate, as `oracle.response` has them.
pub const RESPONSE: &str = "jsonb_build_array(r.status, r.http_status,
    CASE WHEN r.status <> 'INVALID_API_KEY' THEN r.key_id END,
    CASE WHEN r.status <> 'INVALID_API_KEY' THEN r.account END, r.key_name, r.plan,
    r.environment, r.scopes, r.metadata, r.expires_at, r.error IS NOT NULL)::text";

/// Makes the schema in a database.
pub fn create(client: &mut Client) {
    run(client, SCHEMA);
}

/// What must hold of the tables at any time when each change is made by the functions alone: the
/// name of what is wrong, and a query for how often it is. Each reads its tables once: a part
/// leaves hundreds of thousands of keys, and no index finds the successors of one.
const HELD: &[(&str, &str)] = &[
    (
        "keys without exactly one event of their making",
        "SELECT count(*)::text FROM vpk.keys AS k
           LEFT JOIN (SELECT key_id, count(*) AS number FROM vpk.events
                       WHERE event = 'key_created' GROUP BY key_id) AS e ON e.key_id = k.id
          WHERE e.number IS DISTINCT FROM 1",
    ),
    (
        "revoked keys without exactly one event of their revocation",
        "SELECT count(*)::text FROM vpk.keys AS k
           LEFT JOIN (SELECT key_id, count(*) AS number FROM vpk.events
                       WHERE event = 'key_revoked'
                          OR event = 'key_rotated' AND details ? 'revoked_at'
                       GROUP BY key_id) AS e ON e.key_id = k.id
          WHERE k.revoked_at IS NOT NULL AND e.number IS DISTINCT FROM 1",
    ),
    (
        "events of a revocation of keys that are not revoked",
        "SELECT count(*)::text FROM vpk.keys AS k WHERE k.revoked_at IS NULL AND EXISTS
           (SELECT FROM vpk.events AS e WHERE e.key_id = k.id AND e.event = 'key_revoked')",
    ),
    (
        "keys whose latest event does not say whether they are disabled",
        "SELECT count(*)::text FROM vpk.keys AS k
           LEFT JOIN (SELECT DISTINCT ON (key_id) key_id, event FROM vpk.events
                       WHERE event IN ('key_disabled', 'key_enabled')
                       ORDER BY key_id, id DESC) AS e ON e.key_id = k.id
          WHERE k.rotated_from IS NULL
            AND (k.disabled_at IS NOT NULL) <> coalesce(e.event = 'key_disabled', false)",
    ),
    (
        "keys of accounts that are not there",
        "SELECT count(*)::text FROM vpk.keys AS k
          WHERE NOT EXISTS (SELECT FROM vpk.accounts AS a WHERE a.account = k.account)",
    ),
    (
        "leases of accounts that are not there",
        "SELECT count(*)::text FROM vpk.task_leases AS l
          WHERE NOT EXISTS (SELECT FROM vpk.accounts AS a WHERE a.account = l.account)",
    ),
    (
        "rotated keys without a successor, or with two that were not revoked",
        "SELECT count(*)::text FROM vpk.keys AS k
           LEFT JOIN (SELECT rotated_from, count(*) FILTER (WHERE revoked_at IS NULL) AS valid
                        FROM vpk.keys WHERE rotated_from IS NOT NULL
                       GROUP BY rotated_from) AS s ON s.rotated_from = k.id
          WHERE (k.rotated_at IS NOT NULL) <> (s.rotated_from IS NOT NULL) OR s.valid > 1",
    ),
];

/// What does not hold of the tables. Each question is a step of the part.
pub fn broken(attack: &Attack, client: &mut impl GenericClient) -> Vec<String> {
    let found = HELD.iter().map(|(what, sql)| {
        let number = value(client, sql, &[]);
        attack.step();
        (what, number)
    });
    found
        .filter(|(_, number)| number != "0")
        .map(|(what, number)| format!("{number} {what}"))
        .collect()
}

/// The SQLSTATE of an error, and what the server said. An error that ends a session, or says that
/// something is broken, is never one that a client has to expect.
pub fn error(error: &postgres::Error) -> Result<String, String> {
    match error.code().map(|code| code.code()) {
        Some(code) if !["XX", "58", "57P0", "53"].iter().any(|class| code.starts_with(class)) => {
            Ok(code.to_owned())
        }
        _ => Err(report(error)),
    }
}
