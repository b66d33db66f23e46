//! What is done when the transaction ends.

use core::ffi::c_void;
use core::mem;
use core::ptr;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;

use pgrx::pg_sys::{SubTransactionId, SubXactEvent, XactEvent};

use crate::pg::ffi::allocator::vec_or_raise;
use crate::pg::ffi::guarded;
use crate::pg::ffi::per_backend::PerBackend;

/// How the transaction has ended for what was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It has committed, or was prepared: no session that commits a prepared transaction knows what
    /// was noted.
    Committed,
    /// It was rolled back, or the subtransaction was in which it was noted.
    RolledBack,
}

/// Values that the transaction has noted, for a function that runs for each of them at its end.
pub struct AtEnd<T: Copy + 'static> {
    run: fn(&T, End),
    noted: PerBackend<Vec<Noted<T>>>,
    is_registered: AtomicBool,
}

/// A value, with the subtransaction in which it was noted.
#[derive(Clone, Copy)]
struct Noted<T> {
    subtransaction: SubTransactionId,
    value: T,
}

impl<T: Copy + 'static> AtEnd<T> {
    /// Nothing is noted yet. `run` cannot raise an error, panic, or ask for memory: other sessions
    /// may have seen the commit.
    pub const fn new(run: fn(&T, End)) -> AtEnd<T> {
        let noted = PerBackend::new(Vec::new());
        AtEnd { run, noted, is_registered: AtomicBool::new(false) }
    }

    /// Notes a value. Those of a transaction are run in order.
    pub fn note(&'static self, value: T) {
        self.register();
        // SAFETY: reads a variable (src/backend/access/transam/xact.c).
        let subtransaction = unsafe { guarded::GetCurrentSubTransactionId() };
        // SAFETY: the closures use the value alone, and call nothing of the server.
        unsafe {
            let (length, room) = self.noted.with(|noted| (noted.len(), noted.capacity()));
            if length == room {
                let mut larger = vec_or_raise(2 * room + 8);
                self.noted.with(|noted| {
                    larger.append(noted);
                    *noted = larger;
                });
            }
            self.noted.with(|noted| noted.push(Noted { subtransaction, value }));
        }
    }

    /// What is noted, in order.
    pub fn noted(&'static self) -> Vec<T> {
        // SAFETY: the closure uses the value alone, and calls nothing of the server but to end the
        // session where there is no memory.
        unsafe { self.noted.with(|noted| noted.iter().map(|it| it.value).collect()) }
    }

    /// Has the server call back at the end of each transaction of this session.
    fn register(&'static self) {
        if self.is_registered.load(Relaxed) {
            return;
        }
        let argument: *mut c_void = ptr::from_ref(self).cast_mut().cast();
        // SAFETY: the callbacks stay registered, as the library stays loaded, and so does the value
        // that they get (src/backend/access/transam/xact.c). After an error one may be registered
        // twice; the second call then finds nothing.
        unsafe {
            guarded::RegisterXactCallback(Some(on_transaction_end::<T>), argument);
            guarded::RegisterSubXactCallback(Some(on_subtransaction_end::<T>), argument);
        }
        self.is_registered.store(true, Relaxed);
    }

    /// Runs what was noted, since the transaction has ended.
    fn end(&self, end: End) {
        // SAFETY: the closure uses the value alone, and calls nothing of the server.
        let noted = unsafe { self.noted.with(mem::take) };
        noted.iter().for_each(|it| (self.run)(&it.value, end));
    }

    /// Has the parent of a subtransaction take over what was noted in it. These values are the last
    /// ones: the parent notes nothing before it ends.
    fn pass_on(&self, own: SubTransactionId, parent: SubTransactionId) {
        // SAFETY: as above.
        unsafe {
            self.noted.with(|noted| {
                let last = noted.iter_mut().rev().take_while(|it| it.subtransaction == own);
                last.for_each(|it| it.subtransaction = parent);
            });
        }
    }

    /// Drops what was noted in a subtransaction, the last one first.
    fn roll_back(&self, own: SubTransactionId) {
        let is_own = |it: &mut Noted<T>| it.subtransaction == own;
        // SAFETY: as above.
        while let Some(last) = unsafe { self.noted.with(|noted| noted.pop_if(is_own)) } {
            (self.run)(&last.value, End::RolledBack);
        }
    }
}

/// Runs at the end of a transaction.
///
/// At a commit, the transaction is no longer in progress for others, and holds its locks. An error
/// would not undo the commit (src/backend/access/transam/xact.c: CommitTransaction,
/// PrepareTransaction, AbortTransaction).
///
/// # Safety
/// The server calls it, with what was registered.
unsafe extern "C-unwind" fn on_transaction_end<T: Copy + 'static>(
    event: XactEvent::Type,
    argument: *mut c_void,
) {
    let end = match event {
        XactEvent::XACT_EVENT_COMMIT | XactEvent::XACT_EVENT_PREPARE => End::Committed,
        XactEvent::XACT_EVENT_ABORT => End::RolledBack,
        _ => return,
    };
    // SAFETY: the caller's: `AtEnd::register` has given a static value of this type.
    let at_end = unsafe { &*argument.cast::<AtEnd<T>>() };
    at_end.end(end);
}

/// Runs at the end of a subtransaction.
///
/// # Safety
/// As above.
unsafe extern "C-unwind" fn on_subtransaction_end<T: Copy + 'static>(
    event: SubXactEvent::Type,
    own: SubTransactionId,
    parent: SubTransactionId,
    argument: *mut c_void,
) {
    // SAFETY: as above.
    let at_end = unsafe { &*argument.cast::<AtEnd<T>>() };
    match event {
        SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => at_end.pass_on(own, parent),
        SubXactEvent::SUBXACT_EVENT_ABORT_SUB => at_end.roll_back(own),
        _ => {}
    }
}
