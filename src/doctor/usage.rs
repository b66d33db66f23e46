//! Whether uses get to where they belong.

use super::finding::{Finding, counted};
use super::runtime::Usage;

const MICROS: i64 = 1_000_000;
/// How long the worker may be late, over three of its intervals.
const PATIENCE: i64 = 10 * MICROS;

/// Whether the worker is alive, comes round, and gets its work done.
pub fn worker(usage: Option<&Usage>, now: i64) -> Finding {
    const ITEM: &str = "usage_worker";
    let Some(usage) = usage else { return not_noted(ITEM) };
    let pending = counted(usage.pending, "use is", "uses are");
    let Some(pid) = usage.worker_pid else {
        return match (usage.in_recovery, usage.crowded) {
            (true, false) => Finding::good(
                ITEM,
                format!(
                    "a standby: uses are kept until they are settled or it is promoted; {pending} pending"
                ),
            ),
            (true, true) => Finding::bad(
                ITEM,
                format!("a standby, and half of its room for uses is taken; {pending} pending"),
                "Bring them to the primary, with vpk_pending_uses, vpk_add_uses and vpk_settle_uses, \
                 or raise vibepeak_keys.usage_slots, which takes a restart of this server.",
            ),
            (false, _) => Finding::bad(
                ITEM,
                format!("the worker is not running; {pending} pending"),
                "The server log says why it ended. The server starts it again by itself; where it \
                 does not, see whether max_worker_processes leaves room for it.",
            ),
        };
    };
    let Some(round_at) = usage.round_at else {
        return Finding::unknown(
            ITEM,
            format!("the worker has not come round yet; {pending} pending"),
            "Look again in a moment.",
        );
    };
    let silent = now.saturating_sub(round_at);
    if silent > (3 * usage.flush_interval_ms).saturating_mul(1000).saturating_add(PATIENCE) {
        return Finding::bad(
            ITEM,
            format!(
                "the worker has not come round for {} s, though it should every {} ms; {pending} pending",
                silent / MICROS,
                usage.flush_interval_ms
            ),
            format!("See in pg_stat_activity what process {pid} waits for."),
        );
    }
    if usage.last_error_at.is_some_and(|at| usage.last_flush_at.is_none_or(|flush| at > flush)) {
        let error = usage.last_error.as_deref().unwrap_or("unknown error");
        let error = error.replace(|character: char| !character.is_ascii(), "?");
        return Finding::bad(
            ITEM,
            format!("the last flush failed: {error}; {pending} pending"),
            "Remove the cause. Uses are kept, and the next flush that succeeds brings them.",
        );
    }
    Finding::good(ITEM, format!("the worker is alive and comes round; {pending} pending"))
}

/// Whether the buffer had room for all of them.
pub fn dropped(usage: Option<&Usage>) -> Finding {
    const ITEM: &str = "usage_dropped";
    match usage {
        None => not_noted(ITEM),
        Some(Usage { dropped: 0, .. }) => {
            Finding::good(ITEM, "no use was dropped since the server started")
        }
        Some(usage) => Finding::bad(
            ITEM,
            format!(
                "{} dropped since the server started, for want of room",
                counted(usage.dropped, "use was", "uses were")
            ),
            "Raise vibepeak_keys.usage_slots, which takes a restart of the server.",
        ),
    }
}

fn not_noted(item: &'static str) -> Finding {
    Finding::unknown(item, "the use of keys is not noted", "See the item preloaded.")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 800_000_000 * MICROS;

    fn alive() -> Usage {
        Usage {
            worker_pid: Some(4711),
            round_at: Some(NOW),
            flush_interval_ms: 2_000,
            pending: 3,
            crowded: false,
            dropped: 0,
            last_error: None,
            last_error_at: None,
            last_flush_at: Some(NOW),
            in_recovery: false,
        }
    }

    fn judged(usage: &Usage) -> (Option<bool>, String) {
        let finding = worker(Some(usage), NOW);
        assert_eq!(finding.item, "usage_worker");
        assert_eq!(finding.advice.is_none(), finding.ok == Some(true));
        (finding.ok, finding.detail)
    }

    #[test]
    fn a_worker_at_work() {
        let (ok, detail) = judged(&alive());
        assert_eq!(
            (ok, &*detail),
            (Some(true), "the worker is alive and comes round; 3 uses are pending")
        );
        let one = Usage { pending: 1, last_flush_at: None, ..alive() };
        assert!(judged(&one).1.ends_with("; 1 use is pending"));
    }

    #[test]
    fn no_worker() {
        let gone = Usage { worker_pid: None, ..alive() };
        let (ok, detail) = judged(&gone);
        assert_eq!((ok, &*detail), (Some(false), "the worker is not running; 3 uses are pending"));
        let standby = Usage { in_recovery: true, ..gone };
        let (ok, detail) = judged(&standby);
        assert_eq!(ok, Some(true));
        assert!(
            detail.starts_with("a standby: uses are kept until they are settled or it is promoted"),
            "{detail}"
        );
        let (ok, detail) = judged(&Usage { crowded: true, ..standby });
        assert_eq!(ok, Some(false));
        assert!(
            detail.ends_with("half of its room for uses is taken; 3 uses are pending"),
            "{detail}"
        );
        assert_eq!(worker(None, NOW).ok, None);
        assert!(worker(None, NOW).advice.is_some());
    }

    #[test]
    fn a_worker_that_is_late() {
        let limit = 3 * 2 * MICROS + PATIENCE;
        assert_eq!(judged(&Usage { round_at: Some(NOW - limit), ..alive() }).0, Some(true));
        let late = Usage { round_at: Some(NOW - limit - 1), ..alive() };
        let (ok, detail) = judged(&late);
        assert_eq!(ok, Some(false));
        assert!(detail.contains("for 16 s, though it should every 2000 ms"), "{detail}");
        assert!(worker(Some(&late), NOW).advice.is_some_and(|advice| advice.contains("4711")));
        assert_eq!(judged(&Usage { round_at: None, ..alive() }).0, None);
    }

    #[test]
    fn a_flush_that_failed() {
        let failed = Usage {
            last_error: Some("it is f\u{fc}ll".to_owned()),
            last_error_at: Some(NOW),
            ..alive()
        };
        assert_eq!(judged(&failed).0, Some(true), "the flush at the same instant was after it");
        for last_flush_at in [None, Some(NOW - 1)] {
            let Usage { last_error, .. } = alive();
            assert_eq!(last_error, None);
            let failed = Usage {
                last_error: Some("it is f\u{fc}ll".to_owned()),
                last_error_at: Some(NOW),
                last_flush_at,
                ..alive()
            };
            let (ok, detail) = judged(&failed);
            assert_eq!(ok, Some(false));
            assert!(detail.starts_with("the last flush failed: it is f?ll; "), "{detail}");
        }
    }

    #[test]
    fn uses_that_were_dropped() {
        let none = "no use was dropped since the server started";
        assert_eq!(dropped(Some(&alive())), Finding::good("usage_dropped", none));
        let finding = dropped(Some(&Usage { dropped: 1, ..alive() }));
        assert_eq!(finding.ok, Some(false));
        assert_eq!(finding.detail, "1 use was dropped since the server started, for want of room");
        assert!(finding.advice.is_some());
        assert_eq!(dropped(None).ok, None);
    }
}
