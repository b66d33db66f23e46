//! The file of pending uses and of limits, which the server writes when it stops.
//!
//! A head has the magic bytes, the version, a checksum (CRC-32) and the length of the body. The
//! body has the [`ShutdownPoint`], the labels of the statuses that are counted, the counters of
//! each database, the uses, the key of the hashes that name buckets, the buckets of accounts and
//! keys, those of identifiers, and the charges of quotas. Numbers are little-endian.
//!
//! The file names the statuses itself, so that releases with more or fewer statuses read each
//! other's files. Counts of a status that this release does not know are dropped; a status that the
//! file does not name starts at 0. Refusals of keys of a status that this release does not know are
//! dropped as well. Uses, and the numbers of flushed and dropped uses, do not depend on statuses.

use core::fmt::{self, Display};

use crate::answer::status::Status;
use crate::instant::Micros;
use crate::limits::bucket_set::Stored;
use crate::limits::id::HashKey;
use crate::limits::pending_charge::PendingCharge;
use crate::limits::restart::Buckets;
use crate::usage::slots::Pending;

const MAGIC: &[u8; 8] = b"VPKUSAGE";
/// Increased with every change of the body's format.
const VERSION: u32 = 4;
/// The version of 0.5.0 to 0.9.0: without limits, and without the status of uses.
const WITHOUT_LIMITS: u32 = 3;
/// The version of 0.4.0: without the labels.
const WITHOUT_LABELS: u32 = 2;
/// The version of 0.2.0 and 0.3.0: without the labels and the shutdown point.
const WITHOUT_SHUTDOWN_POINT: u32 = 1;
/// The statuses that versions without labels count, in the file's order.
const UNLABELLED: [Status; 12] = [
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
/// The length of the head, in bytes.
const HEAD: usize = 8 + 4 + 4 + 8;

/// The counters of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The database's OID.
    pub database: u32,
    /// When counting began.
    pub since: Micros,
    /// The number of answers of each status, in the order of [`Status::ALL`].
    pub answers: [u64; Status::COUNT],
    /// The number of uses that were written to the table.
    pub flushed: u64,
    /// The number of uses that were dropped because all slots were full.
    pub dropped: u64,
    /// The number of limits that a call passed uncounted because there was no room for a bucket.
    pub limits_unenforced: u64,
    /// When the last flush ended; 0 if there was none.
    pub flushed_at: Micros,
    /// How long the last flush took, in microseconds.
    pub flush_micros: i64,
}

/// The point at which a server was shut down, as its control file records it. A copy of the data
/// directory has another one if the copy has been started since, or was made while the server ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownPoint {
    /// The system identifier.
    pub system: u64,
    /// The timeline of the last checkpoint.
    pub timeline: u32,
    /// The WAL location of the last checkpoint.
    pub checkpoint: u64,
    /// The state of the cluster: shut down, shut down in recovery, or running (after an immediate
    /// shutdown).
    pub state: u32,
}

/// All usage data that survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageSnapshot {
    /// The counters of each database.
    pub counters: Vec<Counters>,
    /// The pending uses. Their slot numbers have no meaning here.
    pub uses: Vec<Pending>,
    /// The buckets of limits, as the time that is left until each is full.
    pub buckets: Buckets,
}

/// Why a usage file is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageFileError {
    /// It does not begin with the magic bytes.
    NotUsageFile,
    /// A release that this one does not know wrote it.
    UnsupportedVersion,
    /// Its length is not the recorded one.
    WrongLength,
    /// Its checksum is not the recorded one.
    WrongChecksum,
    /// The body ends before its last entry, or an entry cannot be one.
    Truncated,
    /// Bytes follow the last entry.
    TrailingData,
    /// The data directory is being restored from a backup.
    FromBackup,
    /// It was not written at the last shutdown of this data directory.
    OtherShutdown,
}

impl Display for UsageFileError {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            UsageFileError::NotUsageFile => "not a usage file",
            UsageFileError::UnsupportedVersion => "unsupported version",
            UsageFileError::WrongLength => "wrong length",
            UsageFileError::WrongChecksum => "wrong checksum",
            UsageFileError::Truncated => "truncated",
            UsageFileError::TrailingData => "trailing data",
            UsageFileError::FromBackup => "restored from a backup",
            UsageFileError::OtherShutdown => "written at another shutdown",
        })
    }
}

impl core::error::Error for UsageFileError {}

/// The bytes of the file for a snapshot that is taken at a shutdown.
pub fn encode(snapshot: &UsageSnapshot, point: ShutdownPoint) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(point.system.to_le_bytes());
    body.extend(point.timeline.to_le_bytes());
    body.extend(point.checkpoint.to_le_bytes());
    body.extend(point.state.to_le_bytes());
    body.extend(count_of(Status::ALL));
    for status in Status::ALL {
        body.extend(count_of(status.label().as_bytes()));
        body.extend(status.label().as_bytes());
    }
    body.extend(count_of(&snapshot.counters));
    for counters in &snapshot.counters {
        body.extend(counters.database.to_le_bytes());
        body.extend(counters.since.to_le_bytes());
        counters.answers.iter().for_each(|answers| body.extend(answers.to_le_bytes()));
        body.extend(counters.flushed.to_le_bytes());
        body.extend(counters.dropped.to_le_bytes());
        body.extend(counters.flushed_at.to_le_bytes());
        body.extend(counters.flush_micros.to_le_bytes());
        body.extend(counters.limits_unenforced.to_le_bytes());
    }
    body.extend(count_of(&snapshot.uses));
    for pending in &snapshot.uses {
        body.extend(pending.database.to_le_bytes());
        body.extend(pending.key);
        body.extend((pending.status as u32).to_le_bytes());
        body.extend(pending.last_used_at.to_le_bytes());
        body.extend(pending.uses.to_le_bytes());
    }
    body.extend(snapshot.buckets.hash_key.0);
    for buckets in [&snapshot.buckets.rates, &snapshot.buckets.identifiers] {
        body.extend(count_of(buckets));
        buckets
            .iter()
            .for_each(|stored| body.extend(stored.to_words().map(u64::to_le_bytes).as_flattened()));
    }
    body.extend(count_of(&snapshot.buckets.charges));
    for charge in &snapshot.buckets.charges {
        body.extend(charge.to_words().map(u64::to_le_bytes).as_flattened());
    }
    let mut file = Vec::with_capacity(HEAD + body.len());
    file.extend(MAGIC);
    file.extend(VERSION.to_le_bytes());
    file.extend(crc32fast::hash(&body).to_le_bytes());
    file.extend((body.len() as u64).to_le_bytes());
    file.extend(body);
    file
}

/// The number of entries in a list. Tallies and slots in shared memory are far fewer than 2^32.
fn count_of<T>(list: &[T]) -> [u8; 4] {
    u32::try_from(list.len()).unwrap_or(u32::MAX).to_le_bytes()
}

/// Reads a file that this release or an earlier one wrote, or a later one in the same version of
/// the format. Only 0.4.0 and later record the shutdown point.
pub fn decode(file: &[u8]) -> Result<(UsageSnapshot, Option<ShutdownPoint>), UsageFileError> {
    let mut head = Reader(file);
    if head.bytes::<8>() != Some(*MAGIC) {
        return Err(UsageFileError::NotUsageFile);
    }
    let version = head
        .u32()
        .filter(|version| (WITHOUT_SHUTDOWN_POINT..=VERSION).contains(version))
        .ok_or(UsageFileError::UnsupportedVersion)?;
    let checksum = head.u32();
    let length = head.u64();
    if length != Some(head.0.len() as u64) {
        return Err(UsageFileError::WrongLength);
    }
    if checksum != Some(crc32fast::hash(head.0)) {
        return Err(UsageFileError::WrongChecksum);
    }
    let mut rest = head;
    let found = body(&mut rest, version).ok_or(UsageFileError::Truncated)?;
    if rest.0.is_empty() { Ok(found) } else { Err(UsageFileError::TrailingData) }
}

fn body(reader: &mut Reader, version: u32) -> Option<(UsageSnapshot, Option<ShutdownPoint>)> {
    let mut point = None;
    if version > WITHOUT_SHUTDOWN_POINT {
        point = Some(ShutdownPoint {
            system: reader.u64()?,
            timeline: reader.u32()?,
            checkpoint: reader.u64()?,
            state: reader.u32()?,
        });
    }
    let mut statuses = UNLABELLED.map(Some).to_vec();
    if version > WITHOUT_LABELS {
        statuses.clear();
        for _ in 0..reader.u32()? {
            let length = reader.u32()?;
            statuses.push(Status::from_label(reader.slice(usize::try_from(length).ok()?)?));
        }
    }
    let mut snapshot = UsageSnapshot::default();
    for _ in 0..reader.u32()? {
        let mut counters =
            Counters { database: reader.u32()?, since: reader.i64()?, ..Counters::default() };
        for status in &statuses {
            let answers = reader.u64()?;
            if let Some(status) = status {
                counters.answers[*status as usize] = answers;
            }
        }
        counters.flushed = reader.u64()?;
        counters.dropped = reader.u64()?;
        counters.flushed_at = reader.i64()?;
        counters.flush_micros = reader.i64()?;
        if version > WITHOUT_LIMITS {
            counters.limits_unenforced = reader.u64()?;
        }
        snapshot.counters.push(counters);
    }
    for _ in 0..reader.u32()? {
        let (database, key) = (reader.u32()?, reader.bytes()?);
        let mut status = Some(Status::Valid);
        if version > WITHOUT_LIMITS {
            status = *statuses.get(usize::try_from(reader.u32()?).ok()?)?;
        }
        let (last_used_at, uses) = (reader.i64()?, reader.u64()?);
        if let Some(status) = status {
            snapshot.uses.push(Pending { slot: 0, database, key, status, last_used_at, uses });
        }
    }
    if version > WITHOUT_LIMITS {
        snapshot.buckets = Buckets {
            hash_key: HashKey(reader.bytes()?),
            rates: buckets(reader)?,
            identifiers: buckets(reader)?,
            charges: charges(reader)?,
        };
    }
    Some((snapshot, point))
}

fn buckets(reader: &mut Reader) -> Option<Vec<Stored>> {
    let mut buckets = Vec::new();
    for _ in 0..reader.u32()? {
        let words = [reader.u64()?, reader.u64()?, reader.u64()?, reader.u64()?];
        buckets.push(Stored::from_words(words)?);
    }
    Some(buckets)
}

fn charges(reader: &mut Reader) -> Option<Vec<PendingCharge>> {
    let mut charges = Vec::new();
    for _ in 0..reader.u32()? {
        let mut words = [0; PendingCharge::WORDS];
        for word in &mut words {
            *word = reader.u64()?;
        }
        charges.push(PendingCharge::from_words(words)?);
    }
    Some(charges)
}

/// The bytes that have not been read yet.
struct Reader<'file>(&'file [u8]);

impl<'file> Reader<'file> {
    fn slice(&mut self, length: usize) -> Option<&'file [u8]> {
        let (first, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(first)
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.slice(N)?.first_chunk().copied()
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.bytes().map(i64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::applicable::Holder;
    use crate::limits::bucket::Bucket;
    use crate::limits::bucket_set::BucketId;
    use crate::limits::name::Name;
    use crate::limits::quota_decision::Counts;
    use crate::limits::quota_period::Span;

    fn sample() -> UsageSnapshot {
        let pending = |database, key, uses| Pending {
            slot: 0,
            database,
            key: [key; 16],
            status: Status::Valid,
            last_used_at: i64::from(database) * 1_000_000,
            uses,
        };
        let counters = |database| Counters {
            database,
            since: 3,
            answers: core::array::from_fn(|at| at as u64),
            flushed: 4,
            dropped: 5,
            limits_unenforced: 8,
            flushed_at: 6,
            flush_micros: 7,
        };
        let stored = |holder| Stored {
            database: u32::MAX,
            id: BucketId { holder, policy: u64::MAX },
            bucket: Bucket::from_words([u64::MAX - 1, 999_999]).1,
        };
        let meter = Name::parse(b"tokens_of_a_name_with_32_letters").expect("a name");
        let (holder, span) = (Holder::Key, Span::Total);
        let counts = Counts { holder, meter, span, period_start: i64::MIN };
        let charge = |amount| PendingCharge {
            at: (0, 0),
            id: BucketId { holder: 7, policy: u64::MAX },
            database: u32::MAX,
            key: core::array::from_fn(|at| at as u8),
            counts,
            amount,
            charged: 10,
            warn_from: 9,
            base: 11,
            base_at: 0,
            key_missed: Default::default(),
        };
        let buckets = Buckets {
            hash_key: HashKey([3; 16]),
            rates: vec![stored(1), stored(2)],
            identifiers: vec![stored(u64::MAX)],
            charges: vec![charge(1), charge(i64::MIN)],
        };
        UsageSnapshot {
            counters: vec![counters(5), counters(9)],
            uses: vec![
                pending(5, 1, 10),
                pending(9, 2, u64::MAX),
                Pending { status: Status::RateLimited, ..pending(9, 2, 3) },
            ],
            buckets,
        }
    }

    const POINT: ShutdownPoint =
        ShutdownPoint { system: u64::MAX - 1, timeline: 3, checkpoint: 1 << 40, state: 1 };

    /// Gives a body its head.
    fn with_head(version: u32, body: &[u8]) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend(version.to_le_bytes());
        file.extend(crc32fast::hash(body).to_le_bytes());
        file.extend((body.len() as u64).to_le_bytes());
        file.extend(body);
        file
    }

    #[test]
    fn a_written_file_is_read_as_it_was() {
        for snapshot in [sample(), UsageSnapshot::default()] {
            assert_eq!(decode(&encode(&snapshot, POINT)), Ok((snapshot, Some(POINT))));
        }
    }

    #[test]
    fn an_unknown_version_is_refused() {
        for version in [0, VERSION + 1, u32::MAX] {
            let file = with_head(version, &encode(&sample(), POINT)[HEAD..]);
            assert_eq!(decode(&file), Err(UsageFileError::UnsupportedVersion));
        }
    }

    /// A body of the current version without uses, with one database and these statuses.
    fn with_statuses(statuses: &[(&str, u64)]) -> Vec<u8> {
        let mut body = vec![0; 24];
        body.extend(count_of(statuses));
        for (label, _) in statuses {
            body.extend(count_of(label.as_bytes()));
            body.extend(label.as_bytes());
        }
        body.extend(1_u32.to_le_bytes());
        body.extend(5_u32.to_le_bytes());
        body.extend(6_i64.to_le_bytes());
        statuses.iter().for_each(|(_, answers)| body.extend(answers.to_le_bytes()));
        [7_u64, 8, 9, 10, 11].iter().for_each(|number| body.extend(number.to_le_bytes()));
        body.extend(0_u32.to_le_bytes());
        body.extend([0; 16 + 3 * 4]);
        with_head(VERSION, &body)
    }

    /// Another release may know more statuses, fewer, or put them in another order.
    #[test]
    fn answers_are_read_by_their_label() {
        let file = with_statuses(&[("API_KEY_REVOKED", 3), ("NOT_KNOWN_YET", 99), ("VALID", 2)]);
        let (snapshot, _) = decode(&file).expect("a usage file");
        let mut expected = Counters {
            database: 5,
            since: 6,
            flushed: 7,
            dropped: 8,
            flushed_at: 9,
            flush_micros: 10,
            limits_unenforced: 11,
            ..Counters::default()
        };
        expected.answers[Status::Valid as usize] = 2;
        expected.answers[Status::ApiKeyRevoked as usize] = 3;
        assert_eq!(snapshot.counters, [expected]);
    }

    /// A cut or changed file is refused, wherever the damage is.
    #[test]
    fn damage_is_detected() {
        let file = encode(&sample(), POINT);
        for length in 0..file.len() {
            assert!(decode(&file[..length]).is_err(), "cut at {length}");
        }
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 0x10;
            assert!(decode(&changed).is_err(), "changed at {at}");
        }
    }

    /// Even if the checksum is right: the word of a bucket has the OID of its database in 32 bits.
    #[test]
    fn a_bucket_that_cannot_be_is_refused() {
        let mut file = encode(&sample(), POINT);
        let charges = 8 * PendingCharge::WORDS;
        let end = file.len() - 2 * charges - 4;
        assert_eq!(file[end - 2..end], [0x0f, 0], "the highest bits of the OID");
        file[end - 1] = 1;
        let refused =
            |body: &[u8]| decode(&with_head(VERSION, body)) == Err(UsageFileError::Truncated);
        assert!(refused(&file[HEAD..]));
        // Nor can a charge be of a period that no release knows.
        file[end - 1] = 0;
        assert!(!refused(&file[HEAD..]));
        let span = file.len() - charges + 16;
        assert_eq!(file[span], Span::Total as u8);
        file[span] += 1;
        assert!(refused(&file[HEAD..]));
    }

    /// Even if the head and the checksum match the longer body.
    #[test]
    fn a_body_of_another_length_is_refused() {
        let body = &encode(&sample(), POINT)[HEAD..];
        let longer = with_head(VERSION, &[body, &[0]].concat());
        assert_eq!(decode(&longer), Err(UsageFileError::TrailingData));
        let shorter = with_head(VERSION, &body[..body.len() - 1]);
        assert_eq!(decode(&shorter), Err(UsageFileError::Truncated));
    }
}
