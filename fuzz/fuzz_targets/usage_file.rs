//! The usage file (G4): any bytes are read or refused, and a written file is read as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pure::answer::status::Status;
use pure::limits::bucket_set::Stored;
use pure::limits::id::HashKey;
use pure::limits::pending_charge::PendingCharge;
use pure::limits::restart::Buckets;
use pure::usage::file::{Counters, ShutdownPoint, UsageSnapshot, decode, encode};
use pure::usage::slots::Pending;
use vibepeak_keys_fuzz::model::STATUSES;

fuzz_target!(|data: &[u8]| {
    read(data);
    // The same with a correct head, since no fuzzer guesses a checksum.
    for version in [1, 2, 3, 4] {
        read(&headed(version, data));
    }
    // And after the statuses that this release writes, which it does not guess either.
    let point = ShutdownPoint::default();
    let empty = encode(&UsageSnapshot::default(), point);
    let statuses = &empty[HEAD + POINT..empty.len() - LISTS];
    if let Some((point, rest)) = data.split_at_checked(POINT) {
        let file = headed(4, &[point, statuses, rest].concat());
        if let Ok((snapshot, Some(point))) = decode(&file) {
            assert_eq!(encode(&snapshot, point), file);
        }
    }
    written(data);
});

/// The lengths of the head and of the shutdown point after it, in bytes.
const HEAD: usize = 24;
const POINT: usize = 24;
/// The length of what follows the statuses where nothing is counted: the numbers of databases and
/// of uses, the key of the hashes, and the numbers of buckets of either kind.
const LISTS: usize = 4 + 4 + 16 + 4 + 4;

/// The content of a file that is accepted is written and read without a change.
fn read(file: &[u8]) {
    if let Ok((snapshot, point)) = decode(file) {
        let point = point.unwrap_or_default();
        assert_eq!(decode(&encode(&snapshot, point)), Ok((snapshot, Some(point))));
    }
}

fn headed(version: u32, body: &[u8]) -> Vec<u8> {
    let checksum = crc32fast::hash(body).to_le_bytes();
    let length = (body.len() as u64).to_le_bytes();
    [b"VPKUSAGE", &version.to_le_bytes()[..], &checksum, &length, body].concat()
}

/// The bits that the last word of a bucket can have: the OID of a database, and parts.
const MOST_BITS: u64 = (1 << 52) - 1;

fn written(data: &[u8]) {
    let Some((&[size, bit, ..], numbers)) = data.split_first_chunk::<4>() else { return };
    let mut numbers = numbers.as_chunks().0.iter().map(|chunk| u64::from_be_bytes(*chunk));
    let mut next = || numbers.next().unwrap_or(0);
    let counters = (0..size & 3).map(|_| Counters {
        database: next() as u32,
        since: next() as i64,
        answers: core::array::from_fn(|_| next()),
        flushed: next(),
        dropped: next(),
        limits_unenforced: next(),
        flushed_at: next() as i64,
        flush_micros: next() as i64,
    });
    let counters = counters.collect();
    let uses = (0..size >> 2 & 3).map(|_| Pending {
        slot: 0,
        database: next() as u32,
        key: core::array::from_fn(|_| next() as u8),
        status: Status::ALL[next() as usize % Status::COUNT],
        last_used_at: next() as i64,
        uses: next(),
    });
    let uses = uses.collect();
    let hash_key = HashKey(core::array::from_fn(|_| next() as u8));
    let mut stored = || Stored::from_words([next(), next(), next(), next() & MOST_BITS]);
    let mut buckets = |number: u8| (0..number & 3).filter_map(|_| stored()).collect();
    let (rates, identifiers) = (buckets(size >> 4), buckets(size >> 6));
    let mut charge = || {
        let mut words = [(); PendingCharge::WORDS].map(|()| next());
        // A database, a holder and a period, and the name of a meter.
        words[2] = words[2] & 0xffff_ffff_0000 | ((words[2] % 2) << 8) | (words[2] % 6);
        words[5..9].copy_from_slice(&[u64::from_le_bytes(*b"calls\0\0\0"), 0, 0, 0]);
        PendingCharge::from_words(words)
    };
    let charges = (0..bit >> 3 & 3).filter_map(|_| charge()).collect();
    let buckets = Buckets { hash_key, rates, identifiers, charges };
    let snapshot = UsageSnapshot { counters, uses, buckets };
    let point = ShutdownPoint {
        system: next(),
        timeline: next() as u32,
        checkpoint: next(),
        state: next() as u32,
    };
    let mut file = encode(&snapshot, point);
    let empty = encode(&UsageSnapshot::default(), point).len();
    let buckets = snapshot.buckets.rates.len() + snapshot.buckets.identifiers.len();
    let counters = snapshot.counters.len() * (52 + 8 * STATUSES);
    let length = empty
        + counters
        + snapshot.uses.len() * 40
        + buckets * 32
        + snapshot.buckets.charges.len() * 8 * PendingCharge::WORDS;
    assert_eq!(file.len(), length);
    assert_eq!(decode(&file), Ok((snapshot, Some(point))));

    // One bit anywhere.
    let at = usize::from(bit) * 7 % file.len();
    file[at] ^= 1 << (bit & 7);
    assert!(decode(&file).is_err());
}
