//! The limit of invalid keys from one client address, by `vibepeak_keys.invalid_key_limit`.

use pure::limits::bucket::Bucket;
use pure::limits::bucket_sets::Counted;
use pure::limits::id::HolderName;
use pure::limits::policy::Policy;
use pure::limits::rate_decision::{Limit, Verdict};
use pure::request::network::Network;

use crate::limits::decide::Decision;
use crate::pg::background::shmem;
use crate::pg::server::{clock, database, settings};
use crate::usage;

/// The name of the limit in an answer.
pub const NAME: &str = "invalid-keys";

/// How many bytes of an IPv6 address are counted together, a /64: who has one address of such a
/// network has all of them.
const V6_NETWORK_BYTES: usize = 8;

/// Counts a request with an invalid key that comes from an address. A decision if too many have
/// come from there; None if not, or if nothing limits them. Calls nothing of the server.
pub fn charge(client: Network) -> Option<Decision<'static>> {
    let amount = settings::invalid_key_limit();
    let sets = shmem::identifier_sets().filter(|_| amount > 0)?;
    let (key, database) = (shmem::hash_key()?, database::own());
    let policy = Policy::new(amount.into(), 60, None).ok()?;
    let counted = match &client {
        Network::V4(address, _) => &address[..],
        Network::V6(address, _) => &address[..V6_NETWORK_BYTES],
    };
    let id = key.holder(database, HolderName::Client(counted)).only_bucket();
    let limit = Limit { rate: policy.rate(1), bucket: Bucket::FULL };
    let mut counted = [Counted::new(id, limit)];
    let decided = sets.charge(database, &mut counted, 1, clock::monotonic);
    if decided.unstored > 0 {
        usage::note_unenforced(decided.unstored);
    }
    let ([counted], verdict, now) = (counted, decided.verdict, decided.now);
    (verdict != Verdict::Passes).then(|| Decision::of_address(policy, counted, verdict, now))
}
