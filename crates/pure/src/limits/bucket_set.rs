//! A few buckets in memory that processes share, and the lock that guards them. See
//! [`crate::limits::bucket_sets`].

use crate::limits::bucket::{Bucket, Nanos};
use crate::spin::SpinLock;
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicU32, AtomicU64};

/// How many buckets a set has room for: with the lock, their tags fill two cache lines. In larger
/// sets, fewer calls find no room, since the buckets of accounts come in clumps.
pub const WAYS: usize = 31;

/// Identifies a bucket, by hashes that nobody can foresee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BucketId {
    /// The hash of the holder. All buckets of the holder have it.
    pub holder: u64,
    /// The hash of the holder and the policy.
    pub policy: u64,
}

/// Some buckets and their lock. All zeroes are an empty set.
#[repr(C, align(64))]
#[derive(Default)]
pub struct Set {
    /// Held while a bucket is read or changed.
    pub(super) lock: SpinLock,
    /// A part of each bucket's id; 0 is a free place.
    tags: [AtomicU32; WAYS],
    places: [Place; WAYS],
}

#[cfg(not(all(loom, test)))]
const _: () = assert!(size_of::<Set>() == 18 * 64);

/// A bucket with its id and its database.
#[derive(Default)]
#[repr(C)]
struct Place {
    id: [AtomicU64; 2],
    /// The bucket, with the database as its tag: see [`Bucket::to_words`].
    words: [AtomicU64; 2],
}

/// A bucket in the memory, as it outlives a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The database, by OID.
    pub database: u32,
    /// Identifies the bucket.
    pub id: BucketId,
    /// The bucket.
    pub bucket: Bucket,
}

impl Set {
    /// The place where a bucket is likely to be: any, if it has none. A look without the lock.
    pub(super) fn likely(&self, id: BucketId) -> u8 {
        self.find(id).and_then(|at| at.try_into().ok()).unwrap_or(0)
    }

    /// A bucket by its id, if it has a place. The caller holds the lock.
    pub(super) fn bucket(&self, id: BucketId, likely: u8) -> Option<Bucket> {
        self.find_from(likely, id).map(|at| self.places[at].stored().bucket)
    }

    /// Stores a bucket in its place or, if it is not full, in a free one. Returns false if none is
    /// free. The caller holds the lock.
    pub(super) fn store(&self, stored: Stored, likely: u8, now: Nanos) -> bool {
        let Stored { id, bucket, .. } = stored;
        let at = match self.find_from(likely, id) {
            Some(at) => at,
            None if bucket.is_full(now) => return true,
            None => match self.free(id, now) {
                Some(at) => at,
                None => return false,
            },
        };
        self.tags[at].store(tag(id), Relaxed);
        self.places[at].set(stored);
        true
    }

    /// Takes the buckets of a holder out of the set. The caller holds the lock, as `each` does,
    /// which may store a bucket of another holder.
    pub(super) fn take(&self, holder: u64, each: impl Fn(Stored)) {
        for (tag, place) in self.tags.iter().zip(&self.places) {
            if tag.load(Relaxed) != 0 && place.id().holder == holder {
                tag.store(0, Relaxed);
                each(place.stored());
            }
        }
    }

    /// Stores what was taken from a bucket on top of what was taken from one that is there. Where
    /// no place is free, it is forgotten. The caller holds the lock.
    pub(super) fn add(&self, stored: Stored, now: Nanos) {
        let before = self.bucket(stored.id, 0).unwrap_or_default();
        self.store(Stored { bucket: before.with(stored.bucket, now), ..stored }, 0, now);
    }

    /// Forgets a bucket. Returns whether it was not full. The caller holds the lock.
    pub(super) fn forget(&self, id: BucketId, now: Nanos) -> bool {
        let Some(at) = self.find(id) else { return false };
        self.tags[at].store(0, Relaxed);
        !self.places[at].stored().bucket.is_full(now)
    }

    /// Forgets the buckets of some databases. The caller holds the lock.
    pub(super) fn forget_databases(&self, is_dropped: impl Fn(u32) -> bool) {
        for (tag, place) in self.tags.iter().zip(&self.places) {
            if is_dropped(place.stored().database) {
                tag.store(0, Relaxed);
            }
        }
    }

    /// The buckets that are not full.
    pub(super) fn used(&self, now: Nanos) -> impl Iterator<Item = Stored> {
        let places = self.tags.iter().zip(&self.places);
        let stored = places.filter(|(tag, _)| tag.load(Relaxed) != 0).map(|(_, it)| it.stored());
        stored.filter(move |stored| !stored.bucket.is_full(now))
    }

    fn find(&self, id: BucketId) -> Option<usize> {
        from_home(id, WAYS).find(|at| self.is_at(*at, id))
    }

    /// The same, with a look at a place first.
    fn find_from(&self, likely: u8, id: BucketId) -> Option<usize> {
        let likely = usize::from(likely);
        if self.is_at(likely, id) { Some(likely) } else { self.find(id) }
    }

    fn is_at(&self, at: usize, id: BucketId) -> bool {
        self.tags.get(at).is_some_and(|it| it.load(Relaxed) == tag(id))
            && self.places.get(at).is_some_and(|it| it.id() == id)
    }

    /// A free place for a bucket.
    fn free(&self, id: BucketId, now: Nanos) -> Option<usize> {
        let unused = from_home(id, WAYS).find(|at| self.tags[*at].load(Relaxed) == 0);
        unused.or_else(|| self.places.iter().position(|place| place.stored().bucket.is_full(now)))
    }
}

impl Place {
    fn id(&self) -> BucketId {
        let [holder, policy] = [0, 1].map(|half| self.id[half].load(Relaxed));
        BucketId { holder, policy }
    }

    fn stored(&self) -> Stored {
        let words = [0, 1].map(|word| self.words[word].load(Relaxed));
        Stored::of(self.id(), words)
    }

    fn set(&self, stored: Stored) {
        let to = self.id.iter().chain(&self.words);
        to.zip(stored.to_words()).for_each(|(to, from)| to.store(from, Relaxed));
    }
}

impl Stored {
    /// It as four words.
    pub const fn to_words(self) -> [u64; 4] {
        let [first, second] = self.bucket.to_words(self.database as u64);
        [self.id.holder, self.id.policy, first, second]
    }

    /// The one that has these four words. None if there is none.
    pub fn from_words(words: [u64; 4]) -> Option<Stored> {
        let [holder, policy, first, second] = words;
        let stored = Stored::of(BucketId { holder, policy }, [first, second]);
        (stored.to_words() == words).then_some(stored)
    }

    const fn of(id: BucketId, words: [u64; 2]) -> Stored {
        let (database, bucket) = Bucket::from_words(words);
        #[expect(clippy::cast_possible_truncation, reason = "it was an OID")]
        let database = database as u32;
        Stored { database, id, bucket }
    }
}

/// The places of a set, in the order in which an id is looked for: most are in the first.
pub(super) fn from_home(id: BucketId, places: usize) -> impl Iterator<Item = usize> {
    let home = (id.policy >> 32) as u32 as usize % places;
    (home..places).chain(0..home)
}

/// The part of an id that stands for it in the first cache line of a set. Never 0.
#[expect(clippy::cast_possible_truncation, reason = "a part of it")]
const fn tag(id: BucketId) -> u32 {
    id.policy as u32 | 1
}
