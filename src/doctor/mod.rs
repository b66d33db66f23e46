//! `vpk_doctor`: a check of the installation, item by item, with advice where one is not well.
//!
//! The words of most items are here; what they list is found in [`crate::store::doctor`]. Texts are
//! composed as in [`pure::encoding`]: one character per byte of the server's text.

pub mod accept;
mod finding;
mod limits;
mod logging;
mod usage;
mod version;

use pure::encoding::Encoding;

use self::finding::{Finding, counted, enumerated};
use self::limits::Limits;
use self::usage::Usage;
use crate::pg::call::Call;
use crate::pg::redaction;
use crate::pg::server::clock;
use crate::pg::types::encoding::ServerEncoding;
use crate::store::doctor::keys::{self, Sample};
use crate::store::doctor::{self, accepted, additions, alike, changed_tables, names, replication};
use crate::store::events;
use crate::store::listing::Listing;
use crate::usage::stats;

/// All items, in their order. What was accepted is well.
pub fn examine(call: &Call) -> Vec<Finding> {
    let accepted = accepted::all(call);
    found(call).into_iter().map(|finding| accept::unless_accepted(finding, &accepted)).collect()
}

/// All items, in their order, as if nothing had been accepted.
fn found(call: &Call) -> Vec<Finding> {
    let is_preloaded = stats::launcher().is_some();
    let usage = Usage::here();
    let changed = changed_tables::found(call);
    // An item whose statement reads the tables. Where they were changed, it could fail.
    let of_tables = |item, examine: &dyn Fn(&'static str) -> Finding| match changed.total {
        0 => examine(item),
        _ => Finding::unknown(
            item,
            "not checked, since the tables of the extension were changed",
            "See the item tables.",
        ),
    };
    vec![
        preloaded(is_preloaded),
        usage::worker(usage.as_ref(), clock::now().micros()),
        usage::dropped(usage.as_ref()),
        limits::rates(Limits::here().as_ref()),
        logging::redaction(redaction::scope(), &logging::settings(call)),
        privileges(call),
        found_none(
            "schema_usage",
            &doctor::unreachable_schemas(call),
            "every role that may call functions can reach their schema",
            |_| "roles that may call functions cannot reach their schema".to_owned(),
            "Call vpk_grant_verifier or vpk_grant_admin again for them, or use GRANT to grant what \
             is listed.",
        ),
        found_none(
            "tables",
            &changed,
            "the tables are as the extension made them",
            |_| "verifications and other calls fail where they use what was changed".to_owned(),
            "Undo these changes, or restore the tables from a backup.",
        ),
        found_none(
            "additions",
            &additions::of_others(call),
            "nothing was added to the extension's tables",
            |_| "a dump does not contain what was added to the extension's tables".to_owned(),
            "Drop these additions, and disable row security. Keep what you need in tables of your \
             own. With an added column, a restore of the rows fails.",
        ),
        of_tables("key_table", &|item| {
            found_none(
                item,
                &doctor::key_table_roles(call),
                "no role has privileges on vpk.keys, apart from those of vpk_grant_backup",
                |_| "privileges on vpk.keys, which contains the hashes".to_owned(),
                "Revoke them, or the membership that gives them. Use vpk.key_list to list keys \
                 without the hashes.",
            )
        }),
        found_none(
            "names",
            &names::of_others(call),
            "callers of the extension's functions find nobody else's objects by their names",
            |_| "callers of the extension's functions can find objects of others".to_owned(),
            "Drop functions, operators and casts that you do not know. Make the extension's owner \
             the owner of the schema with the functions, and revoke CREATE on it. Set a search_path \
             in which the schemas of others come last or not at all.",
        ),
        of_tables("expiring_keys", &|item| {
            found_none(
                item,
                &keys::expiring_keys(call),
                "no active key without a successor expires within 14 days",
                |keys| {
                    format!(
                        "{} within 14 days",
                        counted(keys, "active key expires", "active keys expire")
                    )
                },
                "A successor keeps the end of its key: replace them with vpk_rotate(id, expires_at \
                 => ...), or postpone their end with vpk_update(id, expires_at => ...).",
            )
        }),
        of_tables("unused_keys", &|item| unused_keys(item, call, is_preloaded)),
        of_tables("plan_access", &|item| {
            let sample = Sample::of_keys(call);
            found_none(
                item,
                &keys::accounts_without_access(call, sample),
                &format!(
                    "every account with active keys{} is on a plan that includes API access",
                    among(sample)
                ),
                |accounts| {
                    let what = counted(accounts, "account", "accounts");
                    let among = among(sample);
                    format!(
                        "{what} with active keys{among} but without a plan that includes API access"
                    )
                },
                "Use vpk_set_plan to put them on a plan that includes API access, or \
                 vpk_revoke_account to revoke their keys.",
            )
        }),
        of_tables("limits", &|item| limits::applied(item, call, is_preloaded)),
        of_tables("alike_names", &|item| alike_names(item, call)),
        found_none(
            "publications",
            &replication::publications(call),
            "no publication replicates the hashes in vpk.keys, or has only some of the tables",
            |_| {
                "publications that replicate the hashes in vpk.keys, or have only some of the tables".to_owned()
            },
            "Remove vpk.keys or its column key_hash from them. Where every subscriber may have the \
             hashes, use vpk_doctor_accept. Use ALTER PUBLICATION to add tables that are missing: \
             before PostgreSQL 18, a restore leaves them out.",
        ),
        of_tables("subscriptions", &|item| {
            found_none(
                item,
                &replication::subscriptions(call),
                "no subscription leaves a table of the extension empty or out of date",
                |_| "subscriptions that do not keep the extension's tables up to date".to_owned(),
                "Look into the server's log. For an empty table, drop the subscription, run TRUNCATE \
                 on its tables, and create it again: it copies rows only once.",
            )
        }),
        of_tables("event_ids", &|item| {
            found_none(
                item,
                &events::sequence_behind(call),
                "the sequence of the events is not behind them",
                |_| "the sequence of the events is behind them".to_owned(),
                events::HOW_TO_MOVE_SEQUENCE,
            )
        }),
        version::version(doctor::version(call).as_deref(), env!("CARGO_PKG_VERSION")),
    ]
}

fn preloaded(preloaded: bool) -> Finding {
    const ITEM: &str = "preloaded";
    match preloaded {
        true => Finding::good(ITEM, "the server loaded the library when it started"),
        false => Finding::bad(
            ITEM,
            "the server was started without the library: each session loads it separately",
            "Add vibepeak_keys to shared_preload_libraries, and restart the server.",
        ),
    }
}

fn privileges(call: &Call) -> Finding {
    found_none(
        "privileges",
        &doctor::stray_grants(call),
        "no role has privileges beyond those of vpk_grant_verifier, vpk_grant_admin and \
         vpk_grant_backup",
        |_| {
            "privileges beyond those of vpk_grant_verifier, vpk_grant_admin and vpk_grant_backup"
                .to_owned()
        },
        "Use REVOKE to remove privileges that you did not mean to grant.",
    )
}

fn unused_keys(item: &'static str, call: &Call, uses_are_noted: bool) -> Finding {
    if !uses_are_noted {
        return Finding::unknown(
            item,
            "the use of keys is not noted, since the library is not preloaded",
            "See the item preloaded.",
        );
    }
    let sample = Sample::of_keys(call);
    found_none(
        item,
        &keys::unused_keys(call, sample),
        &format!("every active key{} was issued or used within 90 days", among(sample)),
        |keys| {
            let what = counted(keys, "active key", "active keys");
            let were = if keys == 1 { "was" } else { "were" };
            format!("{what}{} {were} not used for 90 days", among(sample))
        },
        "Use vpk_revoke to revoke keys that nobody needs.",
    )
}

/// Says of keys that they are those of a sample, where they are.
fn among(sample: Sample) -> String {
    sample.percent().map_or_else(String::new, |percent| format!(" in a sample of {percent} %"))
}

fn alike_names(item: &'static str, call: &Call) -> Finding {
    if !ServerEncoding.is_utf8() {
        return Finding::good(
            item,
            "names are not compared, since the encoding of this database is not UTF8",
        );
    }
    found_none(
        item,
        &alike::pairs(call),
        "no two accounts or plans have names that look alike",
        |pairs| format!("{} that look alike", counted(pairs, "pair of names", "pairs of names")),
        "Find out which name of a pair is meant. Use vpk_delete_account to delete the other account, \
         or delete the other plan from vpk.plans. Names can be passed to SQL as they are shown.",
    )
}

/// A finding on an item of this server's counters, of which this database has none; `uncounted`
/// says what that means where the library is not preloaded.
fn not_counted(item: &'static str, uncounted: &str) -> Finding {
    match stats::launcher() {
        None => Finding::unknown(item, uncounted, "See the item preloaded."),
        Some(_) => Finding::unknown(
            item,
            "other databases have all counters of this server; uses and limits do not depend on them",
            "Drop databases that are not needed: their counters become free.",
        ),
    }
}

/// A finding on an item that is well where the listing is empty.
fn found_none(
    item: &'static str,
    listing: &Listing,
    good: &str,
    bad: impl FnOnce(i64) -> String,
    advice: &str,
) -> Finding {
    match listing.total {
        0 => Finding::good(item, good),
        total => Finding {
            entries: listing.lines.clone(),
            unlisted: total - listing.lines.len() as i64,
            ..Finding::bad(item, format!("{}: {}", bad(total), enumerated(listing)), advice)
        },
    }
}
