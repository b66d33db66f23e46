//! `vpk_doctor`: a check of the installation, item by item, with advice where one is not well.
//!
//! Texts are composed as in [`pure::encoding`]: one character per byte of the server's text.

mod finding;
mod logging;
mod usage;
mod version;

use self::finding::{Finding, counted, enumerated};
use self::usage::Usage;
use crate::pg::call::Call;
use crate::pg::redaction;
use crate::pg::server::clock;
use crate::store::doctor::{self, Listing};
use crate::store::{additions, names};
use crate::usage::stats;

/// All items, in their order.
pub fn examine(call: &Call) -> Vec<Finding> {
    let is_preloaded = stats::launcher().is_some();
    let usage = Usage::here();
    let changed = doctor::changed_tables(call);
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
        logging::redaction(redaction::scope(), &logging::settings(call)),
        privileges(call),
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
                "no role has privileges on vpk.keys",
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
                &doctor::expiring_keys(call),
                "no active key without a successor expires within 14 days",
                |keys| {
                    format!(
                        "{} within 14 days",
                        counted(keys, "active key expires", "active keys expire")
                    )
                },
                "Replace them in time with vpk_rotate, or postpone their expiry with vpk_update.",
            )
        }),
        of_tables("unused_keys", &|item| unused_keys(item, call, is_preloaded)),
        of_tables("plan_access", &|item| {
            found_none(
                item,
                &doctor::accounts_without_access(call),
                "every account with active keys is on a plan that includes API access",
                |accounts| {
                    let what = counted(accounts, "account", "accounts");
                    format!("{what} with active keys but without a plan that includes API access")
                },
                "Use vpk_set_plan to put them on a plan that includes API access, or \
                 vpk_revoke_account to revoke their keys.",
            )
        }),
        found_none(
            "publications",
            &doctor::publications(call),
            "no publication replicates the hashes in vpk.keys",
            |_| "publications that replicate the hashes in vpk.keys".to_owned(),
            "Remove vpk.keys or its column key_hash from them, unless every subscriber may have the \
             hashes.",
        ),
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
        "no role has privileges beyond those of vpk_grant_verifier and vpk_grant_admin",
        |_| "privileges beyond those of vpk_grant_verifier and vpk_grant_admin".to_owned(),
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
    found_none(
        item,
        &doctor::unused_keys(call),
        "every active key was issued or used within 90 days",
        |keys| {
            let what = counted(keys, "active key was", "active keys were");
            format!("{what} not used for 90 days")
        },
        "Use vpk_revoke to revoke keys that nobody needs.",
    )
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
        total => Finding::bad(item, format!("{}: {}", bad(total), enumerated(listing)), advice),
    }
}
