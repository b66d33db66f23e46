//! Atomic numbers, from the core library, or from loom while it checks all interleavings of some
//! tests (see tools/test/loom).

#[cfg(not(all(loom, test)))]
pub use core::{
    hint::spin_loop,
    sync::atomic::{
        AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize,
        fence,
    },
};
#[cfg(not(all(loom, test)))]
pub use std::thread::yield_now;

#[cfg(all(loom, test))]
pub use loom::{
    hint::spin_loop,
    sync::atomic::{
        AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize,
        fence,
    },
    thread::yield_now,
};

pub use core::sync::atomic::Ordering;
