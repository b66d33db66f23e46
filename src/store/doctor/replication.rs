//! What logical replication does with the extension's tables.

use crate::pg::call::Call;
use crate::pg::sql::statement::Statement;
use crate::store::listing::{Listing, listing};

/// Publications that include the hashes of keys: a column list can leave the hashes out. And those
/// that lack some of the tables that a subscriber needs to verify, as after a restore: before
/// PostgreSQL 18, pg_dump leaves out to which publications an extension's tables belong.
pub fn publications(call: &Call) -> Listing {
    Listing::read(call, &PUBLICATIONS, &[])
}

static PUBLICATIONS: Statement = Statement::new(
    listing!(
        "SELECT pg_catalog.concat(
               pg_catalog.quote_ident(p.pubname),
               CASE WHEN p.hashes THEN ' replicates the hashes' END,
               CASE WHEN p.hashes AND p.missing IS NOT NULL THEN ' and' END,
               ' lacks ' || p.missing) AS line
       FROM (SELECT t.pubname, pg_catalog.bool_or(t.tablename = 'keys') AS hashes,
                    (SELECT pg_catalog.string_agg('vpk.' || n.name, ', ' ORDER BY n.place)
                       FROM pg_catalog.unnest('{keys,accounts,plans}'::text[])
                            WITH ORDINALITY AS n (name, place)
                      WHERE n.name <> ALL (pg_catalog.array_agg(t.tablename::text))) AS missing
               FROM pg_catalog.pg_publication_tables AS t
              WHERE t.schemaname = 'vpk' AND t.tablename IN ('keys', 'accounts', 'plans')
              GROUP BY t.pubname
             HAVING pg_catalog.bool_and(t.tablename <> 'keys' OR 'key_hash' = ANY (t.attnames))
            ) AS p
      WHERE p.hashes OR p.missing IS NOT NULL
      UNION ALL
     SELECT pg_catalog.quote_ident(p.pubname) || ' has no table'
       FROM pg_catalog.pg_publication AS p
      WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_publication_tables AS t
                         WHERE t.pubname = p.pubname)",
        order: ""
    ),
    &[],
);

/// Tables of the extension that a subscription of this database does not keep up to date: the first
/// copy is not complete, the subscription is disabled, or a table that has rows wherever the
/// extension is in use has none.
pub fn subscriptions(call: &Call) -> Listing {
    Listing::read(call, &SUBSCRIPTIONS, &[])
}

static SUBSCRIPTIONS: Statement = Statement::new(
    listing!(
        "SELECT pg_catalog.format('%I: %s %s', s.subname, c.oid::pg_catalog.regclass,
                              CASE WHEN NOT s.subenabled THEN 'is not updated, since it is disabled'
                                   WHEN r.srsubstate <> 'r' THEN 'is not copied completely'
                                   ELSE 'is empty' END) AS line
       FROM pg_catalog.pg_subscription_rel AS r
       JOIN pg_catalog.pg_subscription AS s ON s.oid = r.srsubid
       JOIN pg_catalog.pg_class AS c ON c.oid = r.srrelid
      WHERE c.relnamespace = 'vpk'::pg_catalog.regnamespace
        AND (NOT s.subenabled OR r.srsubstate <> 'r'
             OR CASE c.relname WHEN 'keys' THEN NOT EXISTS (SELECT FROM vpk.keys)
                               WHEN 'accounts' THEN NOT EXISTS (SELECT FROM vpk.accounts)
                               WHEN 'plans' THEN NOT EXISTS (SELECT FROM vpk.plans)
                               ELSE false END)",
        order: ""
    ),
    &[],
);
