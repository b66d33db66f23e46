//! What was found of one item, and how it is worded.

use crate::store::doctor::Listing;

/// What was found of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub item: &'static str,
    /// None is not known.
    pub ok: Option<bool>,
    pub detail: String,
    /// What to do, where there is something to do.
    pub advice: Option<String>,
}

impl Finding {
    pub(super) fn good(item: &'static str, detail: impl Into<String>) -> Finding {
        Finding { item, ok: Some(true), detail: detail.into(), advice: None }
    }

    pub(super) fn bad(
        item: &'static str,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        let (detail, advice) = (detail.into(), Some(advice.into()));
        Finding { item, ok: Some(false), detail, advice }
    }

    pub(super) fn unknown(
        item: &'static str,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        Finding { ok: None, ..Finding::bad(item, detail, advice) }
    }
}

pub(super) fn counted(number: i64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

pub(super) fn enumerated(listing: &Listing) -> String {
    let shown = listing.lines.join("; ");
    match listing.total - listing.lines.len() as i64 {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}
