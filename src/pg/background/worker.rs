//! Background workers: one that has no database and starts others, and those others, which connect to
//! one database, do what is to be done there and are gone.
//!
//! A process that is connected to a database blocks its removal, its renaming and its use as a
//! template. So the first is connected to none, and the second stays for about a second at most.

use core::ffi::{CStr, c_int};
use core::sync::atomic::AtomicI32;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pgrx::PgTryBuilder;
use pgrx::bgworkers::{
    BackgroundWorker, BackgroundWorkerBuilder, BackgroundWorkerStatus, BgWorkerStartTime,
    SignalWakeFlags,
};
use pgrx::pg_sys::panic::CaughtError;
use pgrx::pg_sys::{self, Datum, Oid};

use pure::usage::exclusive;

use crate::pg::call::Call;
use crate::pg::ffi::{compat, unguarded};

/// What the two kinds of workers do; the second is given its database.
#[derive(Clone, Copy)]
pub struct EntryPoints {
    pub launcher: fn(),
    pub flusher: fn(u32),
}

static ENTRY_POINTS: OnceLock<EntryPoints> = OnceLock::new();

/// How long to wait for a lock on a table before giving way, in milliseconds, as text; and while
/// connecting: for the end of a copy of the database, or a lock on its catalogue.
const LOCK_TIMEOUT: &CStr = c"300";
const CONNECTING_LOCK_TIMEOUT: &CStr = c"1500";
/// How long a transaction in a database may take, in milliseconds.
const TRANSACTION_TIMEOUT: c_int = 1_000;

/// Asks the postmaster to keep the launcher running, from the end of recovery on. Called while the
/// postmaster loads the library.
pub(in crate::pg) fn register(programs: EntryPoints) {
    // SAFETY: reads a variable.
    let upgrading = unsafe { pg_sys::IsBinaryUpgrade };
    if !upgrading && ENTRY_POINTS.set(programs).is_ok() {
        BackgroundWorkerBuilder::new("vibepeak_keys launcher")
            .set_type("vibepeak_keys launcher")
            .set_library("vibepeak_keys")
            .set_function("vibepeak_keys_launcher")
            .enable_spi_access()
            .set_start_time(BgWorkerStartTime::RecoveryFinished)
            .set_restart_time(Some(Duration::from_secs(1)))
            .load();
    }
}

/// The entry point of the launcher.
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn vibepeak_keys_launcher(_nothing: Datum) {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM);
    BackgroundWorker::connect_worker_to_spi_by_oid(None, None);
    if let Some(programs) = ENTRY_POINTS.get() {
        (programs.launcher)();
    }
    // The postmaster forgets a worker that ends with 0 (src/backend/postmaster/bgworker.c).
    // SAFETY: ends the process.
    unsafe { pg_sys::proc_exit(1) };
}

/// The entry point of a worker in a database, which it is given by OID.
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn vibepeak_keys_flusher(database: Datum) {
    let database = Oid::from(database.value() as u32);
    // SAFETY: the protocol of a background worker (src/backend/postmaster/bgworker.c). The handler for
    // SIGTERM is the one of sessions, which waits for a place where interrupting is safe. What is set
    // here overrides what the database or the cluster has set.
    unsafe {
        compat::set_signal_handler(pg_sys::SIGTERM as c_int, unguarded::die);
        pg_sys::BackgroundWorkerUnblockSignals();
        let settings = [
            (c"search_path", c"pg_catalog, pg_temp"),
            (c"lock_timeout", CONNECTING_LOCK_TIMEOUT),
            (c"default_transaction_read_only", c"off"),
            (c"default_transaction_isolation", c"read committed"),
            (c"default_transaction_deferrable", c"off"),
            // No standby is waited for, but the disk is: what is committed here leaves the memory.
            (c"synchronous_commit", c"local"),
            (c"session_replication_role", c"origin"),
            (c"row_security", c"on"),
            (c"jit", c"off"),
        ];
        for (name, value) in settings.iter().chain(compat::WORKER_SETTINGS) {
            set(name, value);
        }
        pg_sys::BackgroundWorkerInitializeConnectionByOid(database, Oid::INVALID, 0);
        set(c"lock_timeout", LOCK_TIMEOUT);
    }
    if let Some(programs) = ENTRY_POINTS.get() {
        (programs.flusher)(database.to_u32());
    }
}

/// Overrides a setting in this process, whatever the database or the cluster has.
fn set(name: &CStr, value: &CStr) {
    // SAFETY: both are null-terminated strings (src/backend/utils/misc/guc.c).
    unsafe {
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
}

/// Waits until the time is over or somebody wakes this process; false when it is to end. Reloads the
/// configuration when asked to.
pub fn wait(time: Duration) -> bool {
    // SAFETY: the loop of src/backend/replication/logical/launcher.c: the flag is read before the wait
    // and the latch reset after it, so that no wake-up is lost. Flags are set by signal handlers.
    unsafe {
        if (&raw const pg_sys::ShutdownRequestPending).read_volatile() != 0 {
            return false;
        }
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        let milliseconds = time.as_millis().min(i32::MAX as u128) as _;
        pg_sys::WaitLatch(
            pg_sys::MyLatch,
            events as c_int,
            milliseconds,
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
        pg_sys::check_for_interrupts!();
        if (&raw const pg_sys::ConfigReloadPending).read_volatile() != 0 {
            (&raw mut pg_sys::ConfigReloadPending).write_volatile(0);
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
        (&raw const pg_sys::ShutdownRequestPending).read_volatile() == 0
    }
}

/// Wakes a process that waits, if it is still there.
pub fn wake(process: i32) {
    // SAFETY: the entry of a process stays where it is, also when another process takes it over, which
    // is then woken for nothing (src/backend/storage/ipc/procarray.c: BackendPidGetProc).
    unsafe {
        let found = pg_sys::BackendPidGetProc(process);
        if !found.is_null() {
            pg_sys::SetLatch(&raw mut (*found).procLatch);
        }
    }
}

/// Writes this process's number where there is none, until it ends. False where there is one.
pub fn claim(place: &'static AtomicI32) -> bool {
    // SAFETY: the place is in shared memory, which outlives the process; a callback of before_shmem_exit
    // runs however the process ends, unless it is killed, after which all memory is made anew.
    unsafe {
        let free = exclusive::claim(place, pg_sys::MyProcPid);
        if free {
            pg_sys::before_shmem_exit(Some(release_claim), Datum::from(ptr_of(place)));
        }
        free
    }
}

/// Runs it with this process's number written where there is none; None where there is one. It cannot
/// raise, asks for no memory, which might end the process, and takes no time worth mentioning.
pub fn try_exclusive<R>(place: &AtomicI32, run: impl FnOnce() -> R) -> Option<R> {
    // SAFETY: reads a variable.
    let own = unsafe { pg_sys::MyProcPid };
    exclusive::try_exclusive(place, own, run)
}

fn ptr_of(place: &'static AtomicI32) -> *mut AtomicI32 {
    core::ptr::from_ref(place).cast_mut()
}

unsafe extern "C-unwind" fn release_claim(_: c_int, place: Datum) {
    // SAFETY: `claim` passed it.
    unsafe { exclusive::release(&*place.cast_mut_ptr::<AtomicI32>()) };
}

/// What became of a worker in a database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum WorkerState {
    /// It has ended, as it may have told.
    Ended,
    /// There was no room for one (`max_worker_processes`).
    NoRoom,
    /// It took too long and was told to end.
    TooLong,
}

/// Starts a worker in a database and waits until it is gone, or has been at it for far too long.
pub fn run_in(database: u32) -> WorkerState {
    const PATIENCE: Duration = Duration::from_secs(5);
    // SAFETY: reads a variable.
    let own = unsafe { pg_sys::MyProcPid };
    let flusher = BackgroundWorkerBuilder::new("vibepeak_keys flusher")
        .set_type("vibepeak_keys flusher")
        .set_library("vibepeak_keys")
        .set_function("vibepeak_keys_flusher")
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(None)
        .set_argument(Some(Datum::from(database)))
        .set_notify_pid(own);
    // What stands for a started worker is allocated, and would stay as long as this process does.
    with_own_memory(|| {
        let Ok(worker) = flusher.load_dynamic() else { return WorkerState::NoRoom };
        let begun = Instant::now();
        while !matches!(worker.pid(), Err(BackgroundWorkerStatus::Stopped)) {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            // The postmaster wakes this process when the worker ends.
            if left.is_zero() || !wait(left) {
                worker.terminate();
                return WorkerState::TooLong;
            }
        }
        WorkerState::Ended
    })
}

/// Runs it with memory of its own, which goes when it is done.
fn with_own_memory<R: Copy>(run: impl FnOnce() -> R) -> R {
    // SAFETY: the context is nobody else's, and what is left of it is plain data. An error ends the
    // process.
    unsafe {
        let memory = pg_sys::AllocSetContextCreateExtended(
            pg_sys::TopMemoryContext,
            c"vibepeak_keys".as_ptr(),
            pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
            pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
            pg_sys::ALLOCSET_SMALL_MAXSIZE as usize,
        );
        let before = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = memory;
        let result = run();
        pg_sys::CurrentMemoryContext = before;
        pg_sys::MemoryContextDelete(memory);
        result
    }
}

/// Runs a transaction, in which statements find their memory through the call.
pub fn transaction<R>(run: impl FnOnce(&Call) -> R) -> R {
    // SAFETY: the process is connected to its database. An error ends it, and the transaction.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        unguarded::enable_timeout_after(unguarded::STATEMENT_TIMEOUT, TRANSACTION_TIMEOUT);
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let result = run(&Call::of_worker());
        pg_sys::PopActiveSnapshot();
        pg_sys::CommitTransactionCommand();
        unguarded::disable_timeout(unguarded::STATEMENT_TIMEOUT, false);
        result
    }
}

/// Runs it, and tells of the error that ends it before that goes on.
pub fn reporting_errors<R>(
    run: impl FnOnce() -> R + UnwindSafe,
    tell: impl Fn(&str) + UnwindSafe + RefUnwindSafe,
) -> R {
    PgTryBuilder::new(run)
        .catch_others(|error| {
            let (CaughtError::PostgresError(report)
            | CaughtError::ErrorReport(report)
            | CaughtError::RustPanic { ereport: report, .. }) = &error;
            tell(report.message());
            error.rethrow()
        })
        .execute()
}
