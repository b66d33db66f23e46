//! A finding on one item, and its wording.

use crate::store::doctor::Listing;

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
}

impl Finding {
    /// The item is well.
    pub(super) fn good(item: &'static str, detail: impl Into<String>) -> Finding {
        Finding { item, ok: Some(true), detail: detail.into(), advice: None }
    }

    /// The item is not well, and the advice says what to do.
    pub(super) fn bad(
        item: &'static str,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        let (detail, advice) = (detail.into(), Some(advice.into()));
        Finding { item, ok: Some(false), detail, advice }
    }

    /// Whether the item is well is not known.
    pub(super) fn unknown(
        item: &'static str,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        Finding { ok: None, ..Finding::bad(item, detail, advice) }
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
