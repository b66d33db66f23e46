//! What is pending when the server stops, as bytes of a file: a head with version, length and
//! checksum, then of which stop it is, the counters of each database, and the uses. Numbers are
//! little-endian.

use crate::answer::status::Status;
use crate::usage::slots::Pending;

const MAGIC: &[u8; 8] = b"VPKUSAGE";
/// Goes up with every change of what follows it.
const VERSION: u32 = 2;
/// That of releases before 0.4.0: it does not tell the stop. Their last file is read once.
const WITHOUT_STOP: u32 = 1;
const HEAD: usize = 8 + 4 + 4 + 8;

/// The counters of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub database: u32,
    pub since: i64,
    pub answers: [u64; Status::ALL.len()],
    pub flushed: u64,
    pub dropped: u64,
    pub flushed_at: i64,
    pub flush_micros: i64,
}

/// A stop of a server, as its control file tells it. No copy of the server's files that has gone on from
/// there, or was taken while the server ran, tells the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownPoint {
    pub system: u64,
    pub timeline: u32,
    /// Where in the WAL the last checkpoint is.
    pub checkpoint: u64,
    /// Shut down, shut down as a standby, or running (an immediate shutdown).
    pub state: u32,
}

/// Everything that outlives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageSnapshot {
    pub counters: Vec<Counters>,
    /// The slot numbers mean nothing here.
    pub uses: Vec<Pending>,
}

/// As a file has it.
pub fn encode(snapshot: &UsageSnapshot, stop: ShutdownPoint) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(stop.system.to_le_bytes());
    body.extend(stop.timeline.to_le_bytes());
    body.extend(stop.checkpoint.to_le_bytes());
    body.extend(stop.state.to_le_bytes());
    body.extend((snapshot.counters.len() as u32).to_le_bytes());
    for counters in &snapshot.counters {
        body.extend(counters.database.to_le_bytes());
        body.extend(counters.since.to_le_bytes());
        counters.answers.iter().for_each(|answers| body.extend(answers.to_le_bytes()));
        body.extend(counters.flushed.to_le_bytes());
        body.extend(counters.dropped.to_le_bytes());
        body.extend(counters.flushed_at.to_le_bytes());
        body.extend(counters.flush_micros.to_le_bytes());
    }
    body.extend((snapshot.uses.len() as u32).to_le_bytes());
    for pending in &snapshot.uses {
        body.extend(pending.database.to_le_bytes());
        body.extend(pending.key);
        body.extend(pending.last_used_at.to_le_bytes());
        body.extend(pending.uses.to_le_bytes());
    }
    let mut file = Vec::with_capacity(HEAD + body.len());
    file.extend(MAGIC);
    file.extend(VERSION.to_le_bytes());
    file.extend(crc32fast::hash(&body).to_le_bytes());
    file.extend((body.len() as u64).to_le_bytes());
    file.extend(body);
    file
}

/// What a file has, and of which stop where it tells that; or what is wrong with it.
pub fn decode(file: &[u8]) -> Result<(UsageSnapshot, Option<ShutdownPoint>), &'static str> {
    let mut head = Reader(file);
    if head.bytes::<8>() != Some(*MAGIC) {
        return Err("it is no such file");
    }
    let version = head.u32();
    if version != Some(VERSION) && version != Some(WITHOUT_STOP) {
        return Err("it is of another version");
    }
    let checksum = head.bytes().map(u32::from_le_bytes);
    let length = head.bytes().map(u64::from_le_bytes);
    if length != Some(head.0.len() as u64) {
        return Err("its length is wrong");
    }
    if checksum != Some(crc32fast::hash(head.0)) {
        return Err("its checksum is wrong");
    }
    let mut rest = Reader(head.0);
    let found = body(&mut rest, version == Some(VERSION)).ok_or("it ends too early")?;
    if rest.0.is_empty() { Ok(found) } else { Err("it goes on after its end") }
}

fn body(reader: &mut Reader, tells_stop: bool) -> Option<(UsageSnapshot, Option<ShutdownPoint>)> {
    let mut stop = None;
    if tells_stop {
        stop = Some(ShutdownPoint {
            system: reader.u64()?,
            timeline: reader.u32()?,
            checkpoint: reader.u64()?,
            state: reader.u32()?,
        });
    }
    let mut snapshot = UsageSnapshot::default();
    for _ in 0..reader.u32()? {
        let mut counters =
            Counters { database: reader.u32()?, since: reader.i64()?, ..Counters::default() };
        for answers in &mut counters.answers {
            *answers = reader.u64()?;
        }
        counters.flushed = reader.u64()?;
        counters.dropped = reader.u64()?;
        counters.flushed_at = reader.i64()?;
        counters.flush_micros = reader.i64()?;
        snapshot.counters.push(counters);
    }
    for _ in 0..reader.u32()? {
        snapshot.uses.push(Pending {
            slot: 0,
            database: reader.u32()?,
            key: reader.bytes()?,
            last_used_at: reader.i64()?,
            uses: reader.u64()?,
        });
    }
    Some((snapshot, stop))
}

struct Reader<'file>(&'file [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
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

    fn sample() -> UsageSnapshot {
        let pending = |database, key, uses| Pending {
            slot: 0,
            database,
            key: [key; 16],
            last_used_at: i64::from(database) * 1_000_000,
            uses,
        };
        let counters = |database| Counters {
            database,
            since: 3,
            answers: core::array::from_fn(|at| at as u64),
            flushed: 4,
            dropped: 5,
            flushed_at: 6,
            flush_micros: 7,
        };
        UsageSnapshot {
            counters: vec![counters(5), counters(9)],
            uses: vec![pending(5, 1, 10), pending(9, 2, u64::MAX)],
        }
    }

    const STOP: ShutdownPoint =
        ShutdownPoint { system: u64::MAX - 1, timeline: 3, checkpoint: 1 << 40, state: 1 };

    #[test]
    fn what_is_written_is_read() {
        for snapshot in [sample(), UsageSnapshot::default()] {
            assert_eq!(decode(&encode(&snapshot, STOP)), Ok((snapshot, Some(STOP))));
        }
    }

    /// G4, G8: the file that a release before 0.4.0 has left counts at the start that follows the upgrade.
    #[test]
    fn a_file_without_a_stop_is_read() {
        let mut file = encode(&sample(), STOP);
        let body = file.split_off(HEAD).split_off(8 + 4 + 8 + 4);
        file.truncate(8);
        file.extend(1_u32.to_le_bytes());
        file.extend(crc32fast::hash(&body).to_le_bytes());
        file.extend((body.len() as u64).to_le_bytes());
        file.extend(body);
        assert_eq!(decode(&file), Ok((sample(), None)));
        file[8] = 3;
        assert_eq!(decode(&file), Err("it is of another version"));
    }

    /// Every byte counts: a file that was cut or changed anywhere is refused.
    #[test]
    fn damage_is_seen() {
        let file = encode(&sample(), STOP);
        for length in 0..file.len() {
            assert!(decode(&file[..length]).is_err(), "cut at {length}");
        }
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 0x10;
            assert!(decode(&changed).is_err(), "changed at {at}");
        }
    }

    /// Also where head and checksum were made for what is there.
    #[test]
    fn nothing_stands_behind_the_end() {
        let mut file = encode(&sample(), STOP);
        file.push(0);
        let (checksum, length) = (crc32fast::hash(&file[HEAD..]), (file.len() - HEAD) as u64);
        file[12..16].copy_from_slice(&checksum.to_le_bytes());
        file[16..HEAD].copy_from_slice(&length.to_le_bytes());
        assert_eq!(decode(&file), Err("it goes on after its end"));
    }
}
