//! The file that uses are snapshot in between two runs of the server (G4): any bytes are read or refused,
//! and what is read is what was written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pure::usage::file::{Counters, UsageSnapshot, ShutdownPoint, decode, encode};
use pure::usage::slots::Pending;
use vibepeak_keys_fuzz::model::STATUSES;

fuzz_target!(|data: &[u8]| {
    read(data);
    // The same behind a head that fits, since no fuzzer guesses a checksum.
    for version in [1, 2] {
        read(&headed(version, data));
    }
    written(data);
});

/// A content has one form only.
fn read(file: &[u8]) {
    if let Ok((snapshot, Some(stop))) = decode(file) {
        assert_eq!(encode(&snapshot, stop), file);
    }
}

fn headed(version: u32, body: &[u8]) -> Vec<u8> {
    let checksum = crc32fast::hash(body).to_le_bytes();
    let length = (body.len() as u64).to_le_bytes();
    [b"VPKUSAGE", &version.to_le_bytes()[..], &checksum, &length, body].concat()
}

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
        flushed_at: next() as i64,
        flush_micros: next() as i64,
    });
    let counters = counters.collect();
    let uses = (0..size >> 2 & 3).map(|_| Pending {
        slot: 0,
        database: next() as u32,
        key: core::array::from_fn(|_| next() as u8),
        last_used_at: next() as i64,
        uses: next(),
    });
    let snapshot = UsageSnapshot { counters, uses: uses.collect() };
    let stop =
        ShutdownPoint { system: next(), timeline: next() as u32, checkpoint: next(), state: next() as u32 };
    let mut file = encode(&snapshot, stop);
    let length = 56 + snapshot.counters.len() * (44 + 8 * STATUSES) + snapshot.uses.len() * 36;
    assert_eq!(file.len(), length);
    assert_eq!(decode(&file), Ok((snapshot, Some(stop))));

    // One bit anywhere.
    let at = usize::from(bit) * 7 % file.len();
    file[at] ^= 1 << (bit & 7);
    assert!(decode(&file).is_err());
}
