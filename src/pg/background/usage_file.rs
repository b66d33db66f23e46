//! The file with the uses that were pending when the server stopped, and with what was used of
//! limits. Its bytes are in [`pure::usage::file`].
//!
//! The postmaster writes it as the last thing that it does and reads it at the next start, as
//! contrib/pg_stat_statements does. The file stays until the first flush is about to begin: so a
//! start that fails loses nothing, and no use is flushed twice. On a standby, the first flush comes
//! after promotion; a base backup of a standby thus contains the file of the standby's last start.
//!
//! The file is loaded only by the data directory that wrote it at its last shutdown.

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;
use std::fs;
use std::io::{self, ErrorKind, Write};

use pure::limits::restart::Limits;
use pure::usage::file::{self, ShutdownPoint, UsageFileError, UsageSnapshot};
use pure::usage::shared::Ledger;

use crate::pg::background::control_file;
use crate::pg::server::clock;

/// In the data directory, next to the statistics that the server itself keeps over a restart.
const FILE: &str = "pg_stat/vibepeak_keys.usage";
const FILE_BEING_WRITTEN: &str = "pg_stat/vibepeak_keys.usage.tmp";

/// Whether the memory was started with the content of the file. Only the postmaster uses it.
static LOADED: AtomicBool = AtomicBool::new(false);

/// Whether the postmaster has had memory before. Only the postmaster uses it.
static STARTED: AtomicBool = AtomicBool::new(false);

/// Loads the file into memory without entries, if there is a file that counts here.
///
/// Its buckets are loaded at the start of the server only. After a crash of a process they would be
/// those of that start, and are full instead.
pub(in crate::pg) fn load(ledger: Ledger, limits: Limits) {
    LOADED.store(false, Relaxed);
    let is_first = !STARTED.swap(true, Relaxed);
    let file = match fs::read(FILE) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => {
            pgrx::log!("vibepeak_keys: could not read file \"{FILE}\": {error}");
            return;
        }
    };
    let decoded = file::decode(&file);
    match decoded.and_then(|(snapshot, point)| check_origin(point).map(|()| snapshot)) {
        Ok(snapshot) => {
            ledger.import(&snapshot);
            let kept = match is_first {
                true => snapshot.buckets,
                false => snapshot.buckets.without_buckets(),
            };
            limits.import(&kept, clock::monotonic());
            LOADED.store(true, Relaxed);
        }
        Err(error) => pgrx::log!("vibepeak_keys: file \"{FILE}\" is ignored: {error}"),
    }
}

/// Checks that the server continues from the shutdown at which the file was written. On any other
/// server, the original flushes these uses, and the WAL brings them from there.
fn check_origin(point: Option<ShutdownPoint>) -> Result<(), UsageFileError> {
    // Both files exist until recovery has begun with them, or has ended.
    let restored = ["backup_label", "recovery.signal"];
    if restored.iter().any(|name| fs::exists(name).unwrap_or(true)) {
        return Err(UsageFileError::FromBackup);
    }
    let Some(point) = point else { return Ok(()) };
    match control_file::last_stop() {
        // A copy has the original's system identifier. If it differs, pg_upgrade has made the data
        // directory, and somebody has put the file there.
        Some(last) if last == point || last.system != point.system => Ok(()),
        _ => Err(UsageFileError::OtherShutdown),
    }
}

/// Removes the file. Returns false if that failed: nothing may be flushed then, or it would be
/// counted twice.
pub fn forget() -> bool {
    let removed = fs::remove_file(FILE).and_then(|()| fs::File::open("pg_stat")?.sync_all());
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            pgrx::log!("vibepeak_keys: could not remove file \"{FILE}\": {error}");
            false
        }
        _ => true,
    }
}

/// Writes the file when no other process of the server is left: with what the ledger holds or, if
/// that cannot be trusted, with what the memory was started with.
pub(in crate::pg) fn save(ledger: Ledger, limits: Limits, clean: bool) {
    let held = || {
        let buckets = limits.export(clock::monotonic())?;
        Some(UsageSnapshot { buckets, ..ledger.export()? })
    };
    let Some(snapshot) = clean.then(held).flatten().or_else(loaded) else {
        return;
    };
    let Some(point) = control_file::last_stop() else {
        pgrx::log!("vibepeak_keys: pending uses are lost: could not read the control file");
        return;
    };
    if let Err(error) = write(&file::encode(&snapshot, point)) {
        pgrx::log!("vibepeak_keys: could not write file \"{FILE}\": {error}");
    }
}

/// What the memory was started with. As long as the file is there, nothing of it has been flushed.
/// It is written anew even so: a start that fails in recovery has changed the control file. Its
/// buckets are not kept, since calls may have changed them.
fn loaded() -> Option<UsageSnapshot> {
    LOADED.load(Relaxed).then_some(())?;
    let (snapshot, _) = file::decode(&fs::read(FILE).ok()?).ok()?;
    Some(UsageSnapshot { buckets: snapshot.buckets.clone().without_buckets(), ..snapshot })
}

/// Replaces the file.
fn write(contents: &[u8]) -> io::Result<()> {
    // The postmaster's umask, which follows the data directory, decides who else may read the file
    // (src/backend/utils/init/miscinit.c: checkDataDir).
    let mut file = fs::File::create(FILE_BEING_WRITTEN)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(FILE_BEING_WRITTEN, FILE)?;
    fs::File::open("pg_stat")?.sync_all()
}
