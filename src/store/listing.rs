//! The first lines of a list that may be long, for people.

use pure::encoding::widen;

use crate::pg::call::Call;
use crate::pg::sql::statement::Statement;
use crate::pg::types::Parameter;

/// The first lines of a longer list.
pub struct Listing {
    /// Lines to show, one character per byte of the server's text.
    pub lines: Vec<String>,
    /// How many lines there are in all.
    pub total: i64,
}

impl Listing {
    pub(super) fn read(call: &Call, listing: &Statement, parameters: &[Parameter]) -> Listing {
        let rows = listing.read(call, parameters);
        Listing {
            lines: rows
                .iter()
                .filter_map(|row| row.text(1))
                .map(|line| widen(line.bytes(call)))
                .collect(),
            total: rows.first().and_then(|row| row.bigint(0)).unwrap_or(0),
        }
    }
}

/// A listing. `$lines` is a query that has the column `line`; `$order` may name other columns of
/// it, which come first in the order.
macro_rules! listing {
    ($lines:literal, order: $order:literal) => {
        sql!(
            "SELECT pg_catalog.count(*) OVER (), l.line FROM (",
            $lines,
            ") AS l ORDER BY ",
            $order,
            "l.line COLLATE pg_catalog.\"C\" LIMIT 10"
        )
    };
}
pub(in crate::store) use listing;
