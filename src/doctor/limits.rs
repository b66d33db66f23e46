//! Whether limits are enforced.

use super::finding::{Finding, counted};
use crate::limits::{Room, room};
use crate::usage::stats;

/// The limits of this server.
pub struct Limits {
    /// How many limits calls have passed uncounted since the server started.
    unenforced: i64,
    room: Room,
}

impl Limits {
    /// Those of this database and server; None where nothing is limited.
    pub fn here() -> Option<Limits> {
        let (stats, room) = stats::own().zip(room())?;
        Some(Limits { unenforced: stats.unenforced_lately, room })
    }
}

/// Whether there was room for the buckets of all limits.
pub fn rates(limits: Option<&Limits>) -> Finding {
    const ITEM: &str = "rate_limits";
    let Some(Limits { unenforced, room }) = limits else {
        return Finding::unknown(
            ITEM,
            "limits that are not enforced are not counted",
            "See the item preloaded.",
        );
    };
    if *unenforced == 0 {
        return Finding::good(ITEM, "every limit was enforced since the server started");
    }
    let Room { rates, identifiers } = room;
    Finding::bad(
        ITEM,
        format!(
            "{} not enforced since the server started, because there was no room to count the call",
            counted(*unenforced, "limit was", "limits were")
        ),
        format!(
            "Raise vibepeak_keys.rate_slots, for limits of accounts and keys (now {} of {} are \
             taken), or vibepeak_keys.identifier_slots, for vpk_rate_limit (now {} of {}). Either \
             takes a restart of the server.",
            rates.taken, rates.total, identifiers.taken, identifiers.total
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Slots;

    #[test]
    fn a_limit_that_was_not_enforced_is_told_with_what_to_set() {
        let found = |unenforced| {
            let rates_of = Slots { total: 62, taken: 3 };
            let identifiers = Slots { total: 31, taken: 31 };
            rates(Some(&Limits { unenforced, room: Room { rates: rates_of, identifiers } }))
        };
        assert_eq!(found(0).ok, Some(true));
        let finding = found(1);
        assert_eq!(finding.ok, Some(false));
        assert_eq!(
            finding.detail,
            "1 limit was not enforced since the server started, because there was no room to count \
             the call"
        );
        let advice = finding.advice.expect("advice");
        assert!(advice.contains("vibepeak_keys.rate_slots") && advice.contains("3 of 62"));
        assert!(advice.contains("vibepeak_keys.identifier_slots") && advice.contains("31 of 31"));
        assert!(found(2).detail.starts_with("2 limits were not enforced"));
        assert_eq!(rates(None).ok, None);
    }
}
