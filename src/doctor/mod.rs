//! `vpk_doctor`: what is well, what is not, and what to do about it.
//!
//! Texts are composed as in [`pure::encoding`]: one character per byte of the server's text.

mod finding;
mod logging;
mod runtime;
mod usage;
mod version;

use pure::privileges::{ADMIN_RELATIONS, NOT_FOR_ADMINS, VERIFIER_FUNCTIONS, VERIFIER_RELATIONS};

use self::finding::{Finding, counted, enumerated};
use crate::pg::call::Call;
use crate::pg::server::clock;
use crate::pg::sql::statement::Statement;
use crate::pg::types::Parameter;
use crate::pg::types::{SqlValue, TextArray};
use crate::store::doctor::{self, Listing};

/// All items, in their order.
pub fn examine(call: &Call) -> Vec<Finding> {
    let runtime = runtime::runtime();
    vec![
        preloaded(runtime.preloaded),
        usage::worker(runtime.usage.as_ref(), clock::now().micros()),
        usage::dropped(runtime.usage.as_ref()),
        logging::redaction(runtime.redaction, &logging::settings(call)),
        privileges(call),
        found_none(
            call,
            "key_table",
            &doctor::KEY_TABLE_ROLES,
            "no role has rights on vpk.keys",
            |_| "rights on vpk.keys, where the hashes are".to_owned(),
            "Revoke them, or the membership that they come with. Without the hashes, keys are listed \
             by vpk.key_list.",
        ),
        found_none(
            call,
            "expiring_keys",
            &doctor::EXPIRING_KEYS,
            "no active key without a successor expires within 14 days",
            |keys| {
                format!(
                    "{} within 14 days",
                    counted(keys, "active key expires", "active keys expire")
                )
            },
            "Replace them in time with vpk_rotate, or put their end off with vpk_update.",
        ),
        unused_keys(call, runtime.preloaded),
        found_none(
            call,
            "plan_access",
            &doctor::ACCOUNTS_WITHOUT_ACCESS,
            "every account with active keys is on a plan with API access",
            |accounts| {
                let what = counted(accounts, "account", "accounts");
                format!(
                    "{what} with active keys that are refused, for want of a plan with API access"
                )
            },
            "Use vpk_set_plan to put them on a plan with API access, or vpk_revoke_account to revoke \
             their keys.",
        ),
        found_none(
            call,
            "publications",
            &doctor::PUBLICATIONS,
            "no publication replicates the hashes in vpk.keys",
            |_| "publications that replicate the hashes in vpk.keys".to_owned(),
            "Leave vpk.keys out, or its column key_hash, unless every subscriber is to have the hashes.",
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
            "the server was started without the library: each session loads it for itself",
            "Add vibepeak_keys to shared_preload_libraries, and restart the server.",
        ),
    }
}

fn privileges(call: &Call) -> Finding {
    let list = |names: &[&'static str]| Some(TextArray::new(names.iter().copied()).datum());
    let parameters = [
        list(&VERIFIER_FUNCTIONS),
        list(&NOT_FOR_ADMINS),
        list(&VERIFIER_RELATIONS),
        list(&ADMIN_RELATIONS),
    ];
    found_none_of(
        "privileges",
        &doctor::list(call, &doctor::STRAY_GRANTS, &parameters),
        "no role has rights beyond those of vpk_grant_verifier and vpk_grant_admin",
        |_| "rights beyond those of vpk_grant_verifier and vpk_grant_admin".to_owned(),
        "Use REVOKE to take back what is not meant to be.",
    )
}

fn unused_keys(call: &Call, use_is_noted: bool) -> Finding {
    const ITEM: &str = "unused_keys";
    if !use_is_noted {
        return Finding::unknown(
            ITEM,
            "where the library is not preloaded, the use of keys is not noted",
            "See the item preloaded.",
        );
    }
    found_none(
        call,
        ITEM,
        &doctor::UNUSED_KEYS,
        "every active key was issued or used within 90 days",
        |keys| {
            let what = counted(keys, "active key was", "active keys were");
            format!("{what} not used for 90 days")
        },
        "Revoke with vpk_revoke what nobody needs.",
    )
}

/// It is well where the listing is empty.
fn found_none(
    call: &Call,
    item: &'static str,
    listing: &Statement,
    good: &str,
    bad: impl FnOnce(i64) -> String,
    advice: &str,
) -> Finding {
    const NO_PARAMETERS: &[Parameter] = &[];
    found_none_of(item, &doctor::list(call, listing, NO_PARAMETERS), good, bad, advice)
}

fn found_none_of(
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
