//! Whether rate limits and quotas are applied as they are written.

use super::finding::Finding;
use super::{among, found_none};
use crate::pg::call::Call;
use crate::pg::server::time_zone;
use crate::store::doctor::keys::Sample;
use crate::store::doctor::limits;
use crate::store::limits::exist;

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
