//! The memory that all processes of the server share: a ledger of uses (see [`pure::usage::shared`]).
//!
//! It exists only where the library is in `shared_preload_libraries`. There are no locks of the server
//! in here: everything in it is an atomic number, and the words that guard some of them are held for a
//! few instructions that cannot fail. A process that dies there all the same (SIGKILL) makes the
//! postmaster start over with fresh memory (src/backend/postmaster/postmaster.c: HandleChildCrash).
//!
//! What is pending when the postmaster ends goes to a file, as in contrib/pg_stat_statements, and is
//! read at the next start. The file stays until the first flush is about to begin: a start that fails
//! has lost nothing, and what was flushed is not read again. On a standby that is when it is promoted, so
//! that a base backup of one has the file of the standby's last start. It counts only in the data folder
//! whose last stop it tells of.

use core::ffi::c_int;
use core::ptr;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicPtr};
use std::fs;
use std::io::{self, ErrorKind, Write};

use pgrx::pg_sys::{self, Datum};

use pure::usage::file::{self, ShutdownPoint, UsageSnapshot};
use pure::usage::shared::{Header, Ledger};
use pure::usage::slots::{Slot, Slots};

use crate::pg::background::control_file;
use crate::pg::server::settings;

/// In the data folder, beside the statistics that the server itself keeps over a restart.
const FILE: &str = "pg_stat/vibepeak_keys.usage";
const FILE_BEING_WRITTEN: &str = "pg_stat/vibepeak_keys.usage.tmp";

/// Where the memory is; null where the library was not preloaded. Set in the postmaster, whose children
/// have the same memory at the same place.
static HEADER: AtomicPtr<Header> = AtomicPtr::new(ptr::null_mut());

/// Whether the memory was started with what is in the file. The postmaster's own.
static STARTED_WITH_FILE: AtomicBool = AtomicBool::new(false);

static mut NEXT_REQUEST: pg_sys::shmem_request_hook_type = None;
static mut NEXT_STARTUP: pg_sys::shmem_startup_hook_type = None;

/// The ledger, where the library was preloaded.
pub fn ledger() -> Option<Ledger<'static>> {
    let header = HEADER.load(Relaxed);
    // SAFETY: the memory was made by `startup`, with room for as many slots as the setting says, which
    // cannot change while the server runs. It stays for the life of the process.
    unsafe {
        let header = header.as_ref()?;
        let slots = ptr::from_ref(header).byte_add(slots_offset()).cast::<Slot>();
        let slots = core::slice::from_raw_parts(slots, settings::usage_slots());
        Some(Ledger { header, slots: Slots(slots) })
    }
}

const fn slots_offset() -> usize {
    size_of::<Header>().next_multiple_of(align_of::<Slot>())
}

fn size() -> usize {
    slots_offset() + settings::usage_slots() * size_of::<Slot>()
}

/// Asks the postmaster for the memory. Called while it loads the library.
pub(in crate::pg) fn request() {
    // SAFETY: hooks are set while libraries are preloaded, and call the one that was there before
    // (src/backend/utils/init/miscinit.c: process_shmem_requests).
    unsafe {
        NEXT_REQUEST = pg_sys::shmem_request_hook;
        pg_sys::shmem_request_hook = Some(on_request);
        NEXT_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(on_startup);
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_request() {
    // SAFETY: as in `request`.
    unsafe {
        if let Some(next) = NEXT_REQUEST {
            next();
        }
        pg_sys::RequestAddinShmemSpace(size());
    }
}

/// Runs in the postmaster, at its start and again after a crash of one of its children.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_startup() {
    // SAFETY: as in `request`. The postmaster is alone here: children that run this, which would need
    // AddinShmemInitLock, exist on Windows only. ShmemInitStruct returns memory of that size, aligned
    // to a cache line (src/backend/storage/ipc/shmem.c), and all zeroes are a ledger without entries.
    // Callbacks are forgotten when they have run, and children forget the postmaster's
    // (src/backend/storage/ipc/ipc.c: shmem_exit, on_exit_reset).
    unsafe {
        if let Some(next) = NEXT_STARTUP {
            next();
        }
        const { assert!(align_of::<Slot>() <= 64 && align_of::<Header>() <= 64) };
        let mut found = false;
        let memory = pg_sys::ShmemInitStruct(c"vibepeak_keys".as_ptr(), size(), &mut found);
        if !found {
            memory.cast::<u8>().write_bytes(0, size());
        }
        HEADER.store(memory.cast(), Relaxed);
        pg_sys::on_shmem_exit(Some(on_postmaster_exit), Datum::null());
    }
    restore();
}

/// Goes on from the file, if there is one.
fn restore() {
    let Some(ledger) = ledger() else { return };
    STARTED_WITH_FILE.store(false, Relaxed);
    let snapshot = match fs::read(FILE) {
        Ok(file) => file::decode(&file).and_then(|(snapshot, stop)| own(stop).map(|()| snapshot)),
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => {
            pgrx::log!("vibepeak_keys: could not read file \"{FILE}\": {error}");
            return;
        }
    };
    match snapshot {
        Ok(snapshot) => {
            ledger.import(&snapshot);
            STARTED_WITH_FILE.store(true, Relaxed);
        }
        Err(reason) => pgrx::log!("vibepeak_keys: file \"{FILE}\" is ignored: {reason}"),
    }
}

/// Whether the file is of the stop from which this start goes on. Elsewhere, what was pending is for the
/// original to flush, and comes from there in the WAL.
fn own(stop: Option<ShutdownPoint>) -> Result<(), &'static str> {
    // Both are there until recovery has begun with them, and has ended.
    let restored = ["backup_label", "recovery.signal"];
    if restored.iter().any(|name| fs::exists(name).unwrap_or(true)) {
        return Err("it came with a backup");
    }
    let Some(stop) = stop else { return Ok(()) };
    match control_file::last_stop() {
        // A copy has the original's identifier. With another one, pg_upgrade has made the folder, and
        // somebody has put the file there.
        Some(last) if last == stop || last.system != stop.system => Ok(()),
        _ => Err("it is of another stop"),
    }
}

/// Removes the file. False where that failed: nothing may be flushed then, or it would count again.
pub fn forget_file() -> bool {
    let removed = fs::remove_file(FILE).and_then(|()| fs::File::open("pg_stat")?.sync_all());
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            pgrx::log!("vibepeak_keys: could not remove file \"{FILE}\": {error}");
            false
        }
        _ => true,
    }
}

/// The last thing that the postmaster does, when no other process is left.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_postmaster_exit(code: c_int, _nothing: Datum) {
    let Some(ledger) = ledger() else { return };
    // After a crash the memory is not to be trusted. An immediate shutdown ends processes anywhere: a
    // flush may have committed what the memory still has, a slot may be half written.
    let whole = code == 0 && ledger.header.flusher.load(Relaxed) == 0;
    let Some(snapshot) = whole.then(|| ledger.export()).flatten().or_else(started_with) else {
        return;
    };
    let Some(stop) = control_file::last_stop() else {
        pgrx::log!(
            "vibepeak_keys: uses that are pending are lost: the control file cannot be read"
        );
        return;
    };
    if let Err(error) = keep(&file::encode(&snapshot, stop)) {
        pgrx::log!("vibepeak_keys: could not write file \"{FILE}\": {error}");
    }
}

/// What the memory was started with, of which nothing was flushed as long as the file is there. A start
/// that fails in recovery has written to the control file all the same, so that this is another stop.
fn started_with() -> Option<UsageSnapshot> {
    STARTED_WITH_FILE.load(Relaxed).then_some(())?;
    let (snapshot, _) = file::decode(&fs::read(FILE).ok()?).ok()?;
    Some(snapshot)
}

fn keep(contents: &[u8]) -> io::Result<()> {
    // Who may read it besides the server is for the postmaster's umask to say, which follows the data folder
    // (src/backend/utils/init/miscinit.c: checkDataDir).
    let mut file = fs::File::create(FILE_BEING_WRITTEN)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(FILE_BEING_WRITTEN, FILE)?;
    fs::File::open("pg_stat")?.sync_all()
}
