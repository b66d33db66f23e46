//! A finding on one item, and its wording.

use crate::store::listing::Listing;

/// A finding on one item: a row of `vpk_doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The name of the item.
    pub item: &'static str,
    /// Whether it is well; None is not known.
    pub ok: Option<bool>,
    /// What was found.
    pub detail: String,
    /// What to do; None where the item is well.
    pub advice: Option<String>,
    /// The entries that the detail lists; empty where it lists none.
    pub entries: Vec<String>,
    /// How many more entries there are, which the detail leaves out.
    pub unlisted: i64,
}

impl Finding {
    /// The item is well.
    pub(super) fn good(item: &'static str, detail: impl Into<String>) -> Finding {
        let detail = detail.into();
        Finding { item, ok: Some(true), detail, advice: None, entries: Vec::new(), unlisted: 0 }
    }

    /// The item is not well, and the advice says what to do.
    pub(super) fn bad(
        item: &'static str,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        Finding { ok: Some(false), advice: Some(advice.into()), ..Finding::good(item, detail) }
    }

    /// Whether the item is well is not known.
    pub(super) fn unknown(
        item: &'static str,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        Finding { ok: None, ..Finding::bad(item, detail, advice) }
    }

    /// What can be accepted of it: the entries that it lists, or else its detail.
    pub(super) fn parts(&self) -> impl Iterator<Item = &str> {
        let detail = self.entries.is_empty().then_some(&self.detail);
        self.entries.iter().chain(detail).map(String::as_str)
    }
}

/// A number with its noun and verb, such as `1 key is` or `2 keys are`.
pub(super) fn counted(number: i64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// The lines of a listing, and how many it leaves out.
pub(super) fn enumerated(listing: &Listing) -> String {
    let shown = listing.lines.join("; ");
    match listing.total - listing.lines.len() as i64 {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}
