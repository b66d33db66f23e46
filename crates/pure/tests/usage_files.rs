//! The usage files that released versions have written are read, whatever the format is now.

use pure::answer::status::Status;
use pure::limits::restart::Buckets;
use pure::usage::file::{Counters, ShutdownPoint, UsageSnapshot, decode};
use pure::usage::slots::Pending;

/// The statuses of those releases, in their order.
const STATUSES: [Status; 12] = [
    Status::Valid,
    Status::MissingApiKey,
    Status::InvalidApiKey,
    Status::ApiKeyRevoked,
    Status::ApiKeyExpired,
    Status::ApiKeyDisabled,
    Status::IpNotAllowed,
    Status::PlanRequired,
    Status::InsufficientScope,
    Status::RateLimited,
    Status::QuotaExceeded,
    Status::ConcurrencyLimitExceeded,
];

const AT_0_5_0: ShutdownPoint =
    ShutdownPoint { system: u64::MAX - 1, timeline: 3, checkpoint: 1 << 40, state: 1 };

/// What the code of each release wrote for the same two databases and two uses.
fn of_releases() -> UsageSnapshot {
    let pending = |database, key, uses| Pending {
        slot: 0,
        database,
        key: [key; 16],
        status: Status::Valid,
        last_used_at: 830_000_000_000_001,
        uses,
    };
    let counters = |database, base| {
        let mut counters = Counters {
            database,
            since: 820_000_000_000_000,
            flushed: base + 100,
            dropped: base + 200,
            flushed_at: 830_000_000_000_000,
            flush_micros: 4_321,
            ..Counters::default()
        };
        for (answers, status) in (base..).zip(STATUSES) {
            counters.answers[status as usize] = answers;
        }
        counters
    };
    UsageSnapshot {
        counters: vec![counters(16_384, 1_000), counters(16_385, 2_000)],
        uses: vec![pending(16_384, 1, 10), pending(16_385, 2, 3_000_000_000)],
        buckets: Buckets::default(),
    }
}

/// G4, G8: the file of a release before 0.4.0 is loaded at the first start after the upgrade.
#[test]
fn the_files_of_0_2_0_and_0_3_0_are_read() {
    let files: [&[u8]; 2] =
        [include_bytes!("usage_files/0.2.0.usage"), include_bytes!("usage_files/0.3.0.usage")];
    for file in files {
        assert_eq!(decode(file), Ok((of_releases(), None)));
    }
}

/// G4, G8: and so is the file of 0.4.0.
#[test]
fn the_file_of_0_4_0_is_read() {
    let file = include_bytes!("usage_files/0.4.0.usage");
    let point = ShutdownPoint {
        system: 7_300_000_000_000_000_001,
        timeline: 2,
        checkpoint: 0x1_0000_0028,
        state: 1,
    };
    assert_eq!(decode(file), Ok((of_releases(), Some(point))));
}

/// G4: and the file of 0.5.0 to 0.9.0.
#[test]
fn the_file_of_0_5_0_is_read() {
    let file = include_bytes!("usage_files/0.5.0.usage");
    let (snapshot, point) = decode(file).expect("a usage file");
    assert_eq!((&snapshot, point), (&of_releases(), Some(AT_0_5_0)));
}
