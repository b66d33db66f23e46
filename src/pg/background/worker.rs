//! Background workers. The launcher has no database and starts the others. Each of the others, a
//! flusher, connects to one database, does its work there and ends.
//!
//! A process that is connected to a database prevents DROP DATABASE, ALTER DATABASE ... RENAME and
//! the use of the database as a template. So the launcher is connected to none, and a flusher stays
//! for about a second at most.

use core::ffi::{CStr, c_int};
use core::sync::atomic::AtomicI32;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pgrx::bgworkers::{
    BackgroundWorker, BackgroundWorkerBuilder, BackgroundWorkerStatus, BgWorkerStartTime,
    SignalWakeFlags,
};
use pgrx::pg_sys::panic::{CaughtError, ErrorReportWithLevel};
use pgrx::pg_sys::{self, Datum, Oid};

use pure::usage::claim;

use crate::pg::call::Call;
use crate::pg::ffi::{compat, guard, guarded, unguarded};

/// The functions that the two kinds of workers run.
#[derive(Clone, Copy)]
pub struct EntryPoints {
    /// The launcher's.
    pub launcher: fn(Unconnected),
    /// The flusher's, with the OID of its database.
    pub flusher: fn(Connected, u32),
}

/// Proves that this process is a background worker without a database, outside of a transaction.
pub struct Unconnected(());

/// Proves that this process is a background worker that is connected to a database, outside of a
/// transaction.
pub struct Connected(());

/// The functions, once the postmaster has loaded the library.
static ENTRY_POINTS: OnceLock<EntryPoints> = OnceLock::new();

/// The longest wait for a lock on a table, in milliseconds, as text.
const LOCK_TIMEOUT: &CStr = c"300";
/// The same while the worker connects. It then waits for the end of a copy of the database, or for
/// a lock on its catalogue.
const CONNECTING_LOCK_TIMEOUT: &CStr = c"1500";
/// The longest time that a transaction in a database may take, in milliseconds.
const TRANSACTION_TIMEOUT: c_int = 1_000;

/// Has the postmaster keep the launcher running, from the end of recovery on. Called while the
/// postmaster loads the library.
pub(in crate::pg) fn register(entry_points: EntryPoints) {
    // SAFETY: reads a variable (src/backend/utils/init/globals.c).
    let upgrading = unsafe { pg_sys::IsBinaryUpgrade };
    if !upgrading && ENTRY_POINTS.set(entry_points).is_ok() {
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

/// The entry point of the launcher. The server calls it, once, in a process that it has started for
/// this.
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
extern "C-unwind" fn vibepeak_keys_launcher(_nothing: Datum) {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM);
    BackgroundWorker::connect_worker_to_spi_by_oid(None, None);
    if let Some(entry_points) = ENTRY_POINTS.get() {
        guard::passing_errors(|| (entry_points.launcher)(Unconnected(())));
    }
    // The postmaster does not start a worker again that ends with 0
    // (src/backend/postmaster/bgworker.c).
    // SAFETY: the function ends the process (src/backend/storage/ipc/ipc.c).
    unsafe { pg_sys::proc_exit(1) };
}

/// The entry point of a flusher, with the OID of its database. The server calls it, once, in a
/// process that it has started for this.
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
extern "C-unwind" fn vibepeak_keys_flusher(database: Datum) {
    let database = Oid::from(database.value() as u32);
    // SAFETY: the protocol of a background worker (src/backend/postmaster/bgworker.c). The handler
    // of SIGTERM is that of sessions, which may run at any time: the process then ends at the next
    // place where it checks for interrupts (src/backend/tcop/postgres.c: die).
    unsafe {
        compat::set_signal_handler(pg_sys::SIGTERM as c_int, unguarded::die);
        pg_sys::BackgroundWorkerUnblockSignals();
        let settings = [
            (c"search_path", c"pg_catalog, pg_temp"),
            (c"lock_timeout", CONNECTING_LOCK_TIMEOUT),
            (c"default_transaction_read_only", c"off"),
            (c"default_transaction_isolation", c"read committed"),
            (c"default_transaction_deferrable", c"off"),
            // The commit waits for the disk, since the uses then leave the shared memory, and for
            // no standby.
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
    if let Some(entry_points) = ENTRY_POINTS.get() {
        guard::passing_errors(|| (entry_points.flusher)(Connected(()), database.to_u32()));
    }
}

/// Sets a setting in this process, and overrides the values of the database and the cluster.
fn set(name: &CStr, value: &CStr) {
    // SAFETY: both are null-terminated strings (src/backend/utils/misc/guc.c: SetConfigOption).
    unsafe {
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
}

/// Waits until the time is over or another process wakes this one. False when the server asks the
/// process to end. Reloads the configuration when the server asks for that.
pub fn wait(time: Duration) -> bool {
    // SAFETY: the loop of src/backend/replication/logical/launcher.c. The flag is read before the
    // wait and the latch is reset after it, so that no wake-up is lost. Signal handlers set the
    // flags, which is why they are read as volatile (src/backend/postmaster/interrupt.c).
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
    // SAFETY: the entry of a process stays in its place. Another process can take it over, which
    // then wakes for nothing (src/backend/storage/ipc/procarray.c: BackendPidGetProc).
    unsafe {
        let found = pg_sys::BackendPidGetProc(process);
        if !found.is_null() {
            pg_sys::SetLatch(&raw mut (*found).procLatch);
        }
    }
}

/// Writes this process's pid to `place`, where there is none, until the process ends. False where
/// there is one.
pub fn claim(place: &'static AtomicI32) -> bool {
    // SAFETY: reads a variable, and registers a callback with its argument, a static place. The
    // server runs it however the process ends (src/backend/storage/ipc/ipc.c: before_shmem_exit).
    // Where the process is killed, the postmaster makes all shared memory anew.
    unsafe {
        let free = claim::claim(place, pg_sys::MyProcPid);
        if free {
            pg_sys::before_shmem_exit(Some(release_claim), Datum::from(ptr_of(place)));
        }
        free
    }
}

/// Runs `run` while this process's pid is in `place`. None where another pid is there.
///
/// `run` must not raise an error, must not allocate, which could end the process, and must be
/// short.
pub fn try_exclusive<R>(place: &AtomicI32, run: impl FnOnce() -> R) -> Option<R> {
    // SAFETY: reads a variable (src/backend/utils/init/globals.c).
    let own = unsafe { pg_sys::MyProcPid };
    claim::try_exclusive(place, own, run)
}

/// A place as the argument of a callback.
fn ptr_of(place: &'static AtomicI32) -> *mut AtomicI32 {
    core::ptr::from_ref(place).cast_mut()
}

/// Removes the pid that [`claim`] has written.
///
/// # Safety
/// The argument is the one that [`claim`] has registered.
unsafe extern "C-unwind" fn release_claim(_: c_int, place: Datum) {
    // SAFETY: the caller's: the place is static.
    unsafe { claim::release(&*place.cast_mut_ptr::<AtomicI32>()) };
}

/// What became of a flusher.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum WorkerState {
    /// It has ended. It has reported its error, if there was one.
    Ended,
    /// The server had no free slot for a worker (`max_worker_processes`).
    NoRoom,
    /// It took too long, and was asked to end.
    TooLong,
}

/// Starts a flusher in a database, and waits until it has ended or has taken far too long.
pub fn run_in(database: u32) -> WorkerState {
    // SAFETY: reads a variable (src/backend/utils/init/globals.c).
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
    // The server allocates a handle for a started worker, which would stay as long as this process.
    // SAFETY: the context is new, and nothing in it is used once it is deleted: a state is plain
    // data. After an error the process ends (src/backend/utils/mmgr/mcxt.c, aset.c).
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
        let state = start_and_wait(flusher);
        pg_sys::CurrentMemoryContext = before;
        pg_sys::MemoryContextDelete(memory);
        state
    }
}

/// Starts a worker, and waits until it has ended or has taken far too long.
fn start_and_wait(worker: BackgroundWorkerBuilder) -> WorkerState {
    const PATIENCE: Duration = Duration::from_secs(5);
    let Ok(worker) = worker.load_dynamic() else { return WorkerState::NoRoom };
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
}

impl Connected {
    /// Runs `run` in a transaction, and commits. The call stands for the transaction's memory,
    /// which nothing in the result can be in: a datum is not `Send`.
    pub fn transaction<R: Send>(&mut self, run: impl FnOnce(&Call) -> R) -> R {
        // SAFETY: the process is connected to a database and in no transaction. The call is used
        // within the transaction (src/backend/access/transam/xact.c,
        // src/backend/utils/time/snapmgr.c, src/backend/utils/misc/timeout.c). After an error the
        // process ends, and the transaction with it.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            unguarded::enable_timeout_after(unguarded::STATEMENT_TIMEOUT, TRANSACTION_TIMEOUT);
            guarded::StartTransactionCommand();
            guarded::PushActiveSnapshot(guarded::GetTransactionSnapshot());
            let result = run(&Call::of_worker());
            guarded::PopActiveSnapshot();
            guarded::CommitTransactionCommand();
            unguarded::disable_timeout(unguarded::STATEMENT_TIMEOUT, false);
            result
        }
    }
}

/// Runs `run`. Where an error ends it, passes the message to `report` and raises the error again.
pub fn reporting_errors<R>(run: impl FnOnce() -> R, report: impl Fn(&str)) -> R {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|unwound| {
        if let Some(message) = guard::server_error_message(&unwound) {
            report(&message);
        } else if let Some(error) = unwound.downcast_ref::<ErrorReportWithLevel>() {
            report(error.message());
        } else if let Some(CaughtError::PostgresError(error)) = unwound.downcast_ref() {
            report(error.message());
        } else {
            report("the library has a fault");
        }
        resume_unwind(unwound)
    })
}
