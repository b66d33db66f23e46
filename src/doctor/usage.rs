//! Whether uses of keys get to vpk.key_usage.

use pure::encoding::widen;

use super::finding::{Finding, counted};
use super::not_counted;
use crate::pg::server::{database, settings};
use crate::usage::stats::{self, Launcher, Stats};

const MICROS: i64 = 1_000_000;
/// How late the worker may be beyond three of its intervals, in microseconds.
const PATIENCE: i64 = 10 * MICROS;

/// How uses get to the table on this server.
pub struct Usage {
    launcher: Launcher,
    stats: Stats,
    /// The setting vibepeak_keys.usage_flush_interval, in milliseconds.
    flush_interval_ms: i64,
    in_recovery: bool,
}

impl Usage {
    /// The state of this server and database; None where uses are not noted.
    pub fn here() -> Option<Usage> {
        let (launcher, stats) = stats::launcher().zip(stats::own())?;
        Some(Usage {
            launcher,
            stats,
            flush_interval_ms: settings::usage_flush_interval().as_millis().try_into().unwrap_or(0),
            in_recovery: database::in_recovery(),
        })
    }
}

/// Whether the worker runs, and its flushes succeed. `now` is in microseconds since 2000-01-01 UTC.
pub fn worker(usage: Option<&Usage>, now: i64) -> Finding {
    const ITEM: &str = "usage_worker";
    let Some(usage) = usage else { return not_noted(ITEM) };
    let Usage { launcher, stats, flush_interval_ms, in_recovery } = usage;
    let pending = counted(stats.pending, "use is", "uses are");
    let Some(pid) = launcher.process else {
        return match (in_recovery, stats.crowded) {
            (true, false) => Finding::good(
                ITEM,
                format!(
                    "a standby: uses are kept until they are settled or it is promoted; {pending} \
                     pending"
                ),
            ),
            (true, true) => Finding::bad(
                ITEM,
                format!("a standby, and half of its usage slots are taken; {pending} pending"),
                "Hand the uses over to the primary, with vpk_pending_uses, vpk_add_uses and \
                 vpk_settle_uses, or raise vibepeak_keys.usage_slots, which takes a restart of this \
                 server.",
            ),
            (false, _) => Finding::bad(
                ITEM,
                format!("the worker is not running; {pending} pending"),
                "The server log says why it ended. The server starts it again by itself; if it does \
                 not, check whether max_worker_processes leaves room for it.",
            ),
        };
    };
    let Some(looked_at) = launcher.looked_at else {
        return Finding::unknown(
            ITEM,
            format!("the worker has not run yet; {pending} pending"),
            "Look again in a moment.",
        );
    };
    let silent = now.saturating_sub(looked_at);
    if silent > (3 * flush_interval_ms).saturating_mul(1000).saturating_add(PATIENCE) {
        return Finding::bad(
            ITEM,
            format!(
                "the worker has not run for {} s, though it should every {flush_interval_ms} ms; \
                 {pending} pending",
                silent / MICROS,
            ),
            format!("See in pg_stat_activity what process {pid} waits for."),
        );
    }
    let flushed_at = stats.last_flush.map(|flush| flush.ended_at);
    if let Some((failed_at, message)) = &stats.failure
        && flushed_at.is_none_or(|flushed_at| *failed_at > flushed_at)
    {
        let error = widen(message).replace(|character: char| !character.is_ascii(), "?");
        return Finding::bad(
            ITEM,
            format!("the last flush failed: {error}; {pending} pending"),
            "Remove the cause. Uses are kept, and the next flush that succeeds writes them.",
        );
    }
    Finding::good(ITEM, format!("the worker is running; {pending} pending"))
}

/// Whether there were usage slots for all uses.
pub fn dropped(usage: Option<&Usage>) -> Finding {
    const ITEM: &str = "usage_dropped";
    match usage.map(|usage| usage.stats.dropped_lately) {
        None => not_noted(ITEM),
        Some(0) => Finding::good(ITEM, "no use was dropped since the server started"),
        Some(dropped) => Finding::bad(
            ITEM,
            format!(
                "{} dropped since the server started, because all usage slots were taken",
                counted(dropped, "use was", "uses were")
            ),
            "Raise vibepeak_keys.usage_slots, which takes a restart of the server.",
        ),
    }
}

fn not_noted(item: &'static str) -> Finding {
    not_counted(item, "the use of keys is not noted")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::stats::Flush;

    const NOW: i64 = 800_000_000 * MICROS;

    /// A server whose worker has just flushed, changed by `change`.
    fn usage(change: impl FnOnce(&mut Usage)) -> Usage {
        let mut usage = Usage {
            launcher: Launcher { process: Some(4711), looked_at: Some(NOW) },
            stats: Stats {
                since: 0,
                answers: Vec::new(),
                pending: 3,
                crowded: false,
                flushed: 0,
                dropped: 0,
                dropped_lately: 0,
                unenforced: 0,
                unenforced_lately: 0,
                last_flush: Some(Flush { ended_at: NOW, micros: 1 }),
                failure: None,
            },
            flush_interval_ms: 2_000,
            in_recovery: false,
        };
        change(&mut usage);
        usage
    }

    /// What is found, and how it is worded.
    fn found(usage: &Usage) -> (Option<bool>, String) {
        let finding = worker(Some(usage), NOW);
        assert_eq!(finding.item, "usage_worker");
        assert_eq!(finding.advice.is_none(), finding.ok == Some(true));
        (finding.ok, finding.detail)
    }

    #[test]
    fn a_worker_that_runs_is_well() {
        let (ok, detail) = found(&usage(|_| ()));
        assert_eq!((ok, &*detail), (Some(true), "the worker is running; 3 uses are pending"));
        let one = usage(|usage| {
            usage.stats.pending = 1;
            usage.stats.last_flush = None;
        });
        assert!(found(&one).1.ends_with("; 1 use is pending"));
    }

    #[test]
    fn a_worker_that_does_not_run_is_not_well_except_on_a_standby() {
        let (ok, detail) = found(&usage(|usage| usage.launcher.process = None));
        assert_eq!((ok, &*detail), (Some(false), "the worker is not running; 3 uses are pending"));
        let standby = |crowded| {
            usage(|usage| {
                usage.launcher.process = None;
                usage.in_recovery = true;
                usage.stats.crowded = crowded;
            })
        };
        let (ok, detail) = found(&standby(false));
        assert_eq!(ok, Some(true));
        assert!(
            detail.starts_with("a standby: uses are kept until they are settled or it is promoted"),
            "{detail}"
        );
        let (ok, detail) = found(&standby(true));
        assert_eq!(ok, Some(false));
        assert!(
            detail.ends_with("half of its usage slots are taken; 3 uses are pending"),
            "{detail}"
        );
        assert_eq!(worker(None, NOW).ok, None);
        assert!(worker(None, NOW).advice.is_some());
    }

    #[test]
    fn a_worker_that_is_late_is_not_well() {
        let looked_at = |looked_at| usage(|usage| usage.launcher.looked_at = looked_at);
        let limit = 3 * 2 * MICROS + PATIENCE;
        assert_eq!(found(&looked_at(Some(NOW - limit))).0, Some(true));
        let late = looked_at(Some(NOW - limit - 1));
        let (ok, detail) = found(&late);
        assert_eq!(ok, Some(false));
        assert!(detail.contains("for 16 s, though it should every 2000 ms"), "{detail}");
        assert!(worker(Some(&late), NOW).advice.is_some_and(|advice| advice.contains("4711")));
        assert_eq!(found(&looked_at(None)).0, None);
    }

    #[test]
    fn a_flush_that_failed_after_the_last_success_is_not_well() {
        let failed = |flushed_at: Option<i64>| {
            usage(|usage| {
                usage.stats.last_flush = flushed_at.map(|ended_at| Flush { ended_at, micros: 1 });
                usage.stats.failure = Some((NOW, b"it is f\xfcll".to_vec()));
            })
        };
        let (ok, _) = found(&failed(Some(NOW)));
        assert_eq!(ok, Some(true), "the flush at the same instant was after it");
        for flushed_at in [None, Some(NOW - 1)] {
            let (ok, detail) = found(&failed(flushed_at));
            assert_eq!(ok, Some(false));
            assert!(detail.starts_with("the last flush failed: it is f?ll; "), "{detail}");
        }
    }

    #[test]
    fn uses_that_were_dropped_are_counted() {
        let none = "no use was dropped since the server started";
        assert_eq!(dropped(Some(&usage(|_| ()))), Finding::good("usage_dropped", none));
        let finding = dropped(Some(&usage(|usage| usage.stats.dropped_lately = 1)));
        assert_eq!(finding.ok, Some(false));
        assert_eq!(
            finding.detail,
            "1 use was dropped since the server started, because all usage slots were taken"
        );
        assert!(finding.advice.is_some());
        assert_eq!(dropped(None).ok, None);
    }
}
