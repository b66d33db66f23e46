//! Names that look alike.

use pgrx::pg_sys::TEXTOID;

use pure::characters::invisible_pattern;

use crate::pg::call::Call;
use crate::pg::sql::statement::Statement;
use crate::pg::types::{SqlValue, Text};
use crate::store::listing::{Listing, listing};

/// Pairs of accounts, and of plans, whose names differ in spelling or in characters that cannot be
/// seen alone. The encoding of the database has to be UTF8.
pub fn pairs(call: &Call) -> Listing {
    let pattern = Text::new(call, invisible_pattern().as_bytes());
    Listing::read(call, &PAIRS, &[Some(pattern.datum())])
}

/// The parameter is a regular expression for characters that cannot be seen. Names that consist of
/// ASCII are no pair among themselves. Names are shown as literals that SQL reads, with the numbers
/// of all other characters; 92 is the backslash, which a setting could make an escape.
static PAIRS: Statement = Statement::new(
    listing!(
        "WITH named AS (
        SELECT 'account' AS kind, a.account AS name,
               pg_catalog.octet_length(a.account) = pg_catalog.char_length(a.account) AS ascii
          FROM vpk.accounts AS a
        UNION ALL
        SELECT 'plan', p.plan, pg_catalog.octet_length(p.plan) = pg_catalog.char_length(p.plan)
          FROM vpk.plans AS p
    ), visible AS MATERIALIZED (
        SELECT n.kind, n.name,
               pg_catalog.normalize(pg_catalog.regexp_replace(n.name, $1, '', 'g'), 'NFC') AS part
          FROM named AS n WHERE NOT n.ascii
    ), pairs AS (
        SELECT v.kind, v.name AS one, o.name AS other
          FROM visible AS v
          JOIN visible AS o ON o.kind = v.kind AND o.part = v.part AND o.name > v.name
        UNION ALL
        SELECT v.kind, n.name, v.name
          FROM visible AS v JOIN named AS n ON n.kind = v.kind AND n.name = v.part
         WHERE n.ascii
    )
    SELECT pg_catalog.concat(p.kind, ' ', pg_catalog.string_agg(l.literal, ' and ' ORDER BY l.place))
               AS line
      FROM pairs AS p,
           LATERAL (
               SELECT n.place, pg_catalog.concat('U&''', pg_catalog.string_agg(
                          CASE WHEN c.character IN ('''', pg_catalog.chr(92))
                               THEN pg_catalog.repeat(c.character, 2)
                               WHEN c.code < 128 THEN c.character
                               WHEN c.code < 65536
                               THEN pg_catalog.chr(92)
                                    || pg_catalog.lpad(pg_catalog.to_hex(c.code), 4, '0')
                               ELSE pg_catalog.chr(92) || '+'
                                    || pg_catalog.lpad(pg_catalog.to_hex(c.code), 6, '0')
                          END, '' ORDER BY c.place), '''') AS literal
                 FROM (VALUES (1, p.one), (2, p.other)) AS n (place, name),
                      LATERAL (
                          SELECT s.place, s.character, pg_catalog.ascii(s.character) AS code
                            FROM pg_catalog.regexp_split_to_table(n.name, '')
                                 WITH ORDINALITY AS s (character, place)
                      ) AS c
                GROUP BY n.place
           ) AS l
     GROUP BY p.kind, p.one, p.other",
        order: ""
    ),
    &[TEXTOID],
);
