//! What the parts that live outside of tables say of themselves.

use pure::encoding::widen;

use crate::pg::redaction::{self, Redaction};
use crate::pg::server::{database, settings};
use crate::usage::stats;

/// The running library.
pub struct Runtime {
    pub preloaded: bool,
    /// Where keys in what the server logs are masked.
    pub redaction: Redaction,
    /// None where no use is noted.
    pub usage: Option<Usage>,
}

/// Uses on their way to vpk.key_usage. Instants are microseconds since 2000-01-01 UTC.
pub struct Usage {
    /// The process of the worker that brings them there.
    pub worker_pid: Option<i32>,
    /// When it last came round, whether there was something to do or not.
    pub round_at: Option<i64>,
    pub flush_interval_ms: i64,
    pub pending: i64,
    /// Whether half of the room for them is taken.
    pub crowded: bool,
    /// Since the server started.
    pub dropped: i64,
    pub last_error: Option<String>,
    pub last_error_at: Option<i64>,
    pub last_flush_at: Option<i64>,
    pub in_recovery: bool,
}

/// What is known of the library that runs here.
pub fn runtime() -> Runtime {
    let launcher = stats::launcher();
    let usage = launcher.zip(stats::own()).map(|(launcher, stats)| Usage {
        worker_pid: launcher.process,
        round_at: launcher.looked_at,
        flush_interval_ms: settings::usage_flush_interval().as_millis().try_into().unwrap_or(0),
        pending: stats.pending,
        crowded: stats.crowded,
        dropped: stats.dropped_lately,
        last_error: stats.failure.as_ref().map(|(_, message)| widen(message)),
        last_error_at: stats.failure.map(|(at, _)| at),
        last_flush_at: stats.last_flush.map(|flush| flush.ended_at),
        in_recovery: database::in_recovery(),
    });
    Runtime { preloaded: launcher.is_some(), redaction: redaction::scope(), usage }
}
