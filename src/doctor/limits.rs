//! Whether limits are enforced, and applied as they are written.

use super::finding::{Finding, counted};
use super::{among, found_none, not_counted};
use crate::limits::{Room, room};
use crate::pg::call::Call;
use crate::pg::server::time_zone;
use crate::store::doctor::keys::Sample;
use crate::store::doctor::limits;
use crate::store::limits::exist;
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
        return not_counted(ITEM, "limits that are not enforced are not counted");
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

/// The finding on all of them; those of keys are those of a sample where there are many keys.
pub fn applied(item: &'static str, call: &Call, is_preloaded: bool) -> Finding {
    if !exist(call) {
        return Finding::good(item, "this database has no rate limits and quotas yet");
    }
    let sample = Sample::of_keys(call);
    let good = format!("every rate limit and quota{} is applied as it is written", among(sample));
    if !is_preloaded {
        return found_none(
            item,
            &limits::limited(call, sample),
            &good,
            |_| {
                "rate limits and quotas are not enforced, since the library is not preloaded"
                    .to_owned()
            },
            "Add vibepeak_keys to shared_preload_libraries, and restart the server.",
        );
    }
    let is_gone = |name: &[u8]| str::from_utf8(name).ok().and_then(time_zone::named).is_none();
    found_none(
        item,
        &limits::not_as_written(call, sample, is_gone),
        &good,
        |_| {
            "what cannot be read is not enforced, and UTC takes the place of a time zone that is \
             gone"
                .to_owned()
        },
        "Set the limits again: with vpk_set_rate_limit and vpk_set_quota, or as the owner of the \
         table, in its columns rate_limits and quotas.",
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
