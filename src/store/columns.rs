//! The columns that the library reads: names, numbers and types, as sql/tables.sql declares them.
//! Columns are only ever appended.

use pgrx::pg_sys::AttrNumber;

use crate::pg::read::catalog::Table;
use crate::pg::read::shape::{Appended, Column, Kind, Shape};

/// Declares the columns that lookups read by their numbers, in order, and the one by which they
/// find a row. Those that an update has appended follow the others.
macro_rules! read_by_number {
    ($(
        $(#[$doc:meta])*
        $table:ident by $key:ident {
            $($(#[$column_doc:meta])* $column:ident = $number:literal $name:literal $kind:ident;)+
            $(; appended with $with:literal {
                $(
                    $(#[$appended_doc:meta])*
                    $appended:ident = $at:literal $called:literal $of:ident;
                )+
            })?
        }
    )+) => {$(
        $(#[$doc])*
        pub mod $table {
            use super::*;

            $($(#[$column_doc])* pub const $column: AttrNumber = $number;)+
            $($($(#[$appended_doc])* pub const $appended: AttrNumber = $at;)+)?

            const COLUMNS: &[Column] =
                &[$(Column { name: $name, number: $number, kind: Kind::$kind }),+];

            /// What a reader of the table relies on.
            pub(super) static SHAPE: Shape = Shape {
                columns: COLUMNS,
                appended: first([$(
                    Appended {
                        columns: &[$(Column { name: $called, number: $at, kind: Kind::$of }),+],
                        made_with: $with,
                    }
                )?]),
                key: numbered(COLUMNS, $key),
            };
        }
    )+};
}

/// The column of a number.
const fn numbered(columns: &'static [Column], number: AttrNumber) -> &'static Column {
    let mut at = 0;
    while columns[at].number != number {
        at += 1;
    }
    &columns[at]
}

/// The columns that an update has appended, if one has.
const fn first<const N: usize>(appended: [Appended; N]) -> Option<Appended> {
    match appended.as_slice() {
        [Appended { columns, made_with }] => Some(Appended { columns, made_with }),
        _ => None,
    }
}

read_by_number! {
    /// Columns of vpk.keys.
    keys by KEY_HASH {
        /// Identifies the key.
        ID = 1 c"id" UUID;
        /// The SHA-256 of the token.
        KEY_HASH = 2 c"key_hash" BYTEA;
        /// The account that owns the key.
        ACCOUNT = 3 c"account" TEXT;
        /// The name of its environment.
        ENVIRONMENT = 4 c"environment" TEXT;
        /// What the key is called.
        NAME = 5 c"name" TEXT;
        /// When the key expires; null is never.
        EXPIRES_AT = 9 c"expires_at" TIMESTAMPTZ;
        /// Since when the key is disabled; null is enabled.
        DISABLED_AT = 10 c"disabled_at" TIMESTAMPTZ;
        /// When the key was revoked; null is not.
        REVOKED_AT = 11 c"revoked_at" TIMESTAMPTZ;
        /// What the key may be used for.
        SCOPES = 15 c"scopes" TEXT_ARRAY;
        /// The networks that the key may be used from; null is no limit.
        ALLOWED_IPS = 16 c"allowed_ips" CIDR_ARRAY;
        /// What the application keeps with the key.
        METADATA = 17 c"metadata" JSONB;
        ; appended with c"rate_limits" {
            /// The rate limits of the key; null is none of its own.
            RATE_LIMITS = 18 c"rate_limits" TEXT;
            /// The quotas of the key; null is none of its own.
            QUOTAS = 19 c"quotas" TEXT;
        }
    }

    /// Columns of vpk.accounts.
    accounts by ACCOUNT {
        /// The name of the account.
        ACCOUNT = 1 c"account" TEXT;
        /// The name of the account's plan.
        PLAN = 2 c"plan" TEXT;
        ; appended with c"rate_limits" {
            /// The rate limits of the account; null is none but those of its plan.
            RATE_LIMITS = 5 c"rate_limits" TEXT;
            /// The quotas of the account; null is none but those of its plan.
            QUOTAS = 6 c"quotas" TEXT;
            /// What was granted to the account beyond its quotas; null is nothing.
            QUOTA_GRANTS = 7 c"quota_grants" TEXT;
        }
    }

    /// Columns of vpk.plans.
    plans by PLAN {
        /// The name of the plan.
        PLAN = 1 c"plan" TEXT;
        /// Whether keys of accounts on the plan are accepted.
        API_ACCESS = 2 c"api_access" BOOLEAN;
        /// How many tasks of an account may run at once; null is no limit.
        CONCURRENT_TASKS = 3 c"concurrent_tasks" INTEGER;
        /// The order of the plans in messages, lowest first.
        RANK = 4 c"rank" INTEGER;
        ; appended with c"rate_limits" {
            /// The rate limits of accounts on the plan; null is none.
            RATE_LIMITS = 6 c"rate_limits" TEXT;
            /// The quotas of accounts on the plan; null is none.
            QUOTAS = 7 c"quotas" TEXT;
        }
    }

    /// Columns of vpk.quota_usage.
    quota_usage by SUBJECT {
        /// The account, or the id of the key.
        SUBJECT = 1 c"subject" TEXT;
        /// Which of them: `account` or `key`.
        KIND = 2 c"kind" TEXT;
        /// What is counted.
        METER = 3 c"meter" TEXT;
        /// The length of the period.
        SPAN = 4 c"span" TEXT;
        /// When the period began.
        PERIOD_START = 5 c"period_start" TIMESTAMPTZ;
        /// How much was used.
        USED = 6 c"used" BIGINT;
    }

    /// Columns of vpk.task_leases.
    task_leases by ACCOUNT {
        /// The account whose plan the lease counts against.
        ACCOUNT = 2 c"account" TEXT;
        /// When the lease ends.
        EXPIRES_AT = 5 c"expires_at" TIMESTAMPTZ;
    }
}

/// The name of an account or plan: the first column of both tables.
pub const NAME: AttrNumber = accounts::ACCOUNT;
const _: () = assert!(plans::PLAN == NAME);

/// What readers of a table rely on.
pub fn shape(table: Table) -> &'static Shape {
    match table {
        Table::Keys => &keys::SHAPE,
        Table::Accounts => &accounts::SHAPE,
        Table::Plans => &plans::SHAPE,
        Table::TaskLeases => &task_leases::SHAPE,
        Table::QuotaUsage => &quota_usage::SHAPE,
    }
}

/// A table, view or sequence that statements name.
pub struct Relation {
    /// Its name in the schema `vpk`.
    pub name: &'static str,
    /// What it is, as in `relkind` of `pg_class`.
    pub kind: &'static str,
    /// The columns that are taken by name alone.
    pub columns: &'static [(&'static str, Kind)],
}

/// The tables, views and sequences that statements read or write. Columns that are also read by
/// number are not repeated.
pub const BY_NAME: [Relation; 9] = [
    Relation { name: "events_id_seq", kind: "S", columns: &[] },
    Relation {
        name: "keys",
        kind: "r",
        columns: &[
            ("prefix", Kind::TEXT),
            ("hint", Kind::TEXT),
            ("created_at", Kind::TIMESTAMPTZ),
            ("revoke_reason", Kind::TEXT),
            ("rotated_from", Kind::UUID),
            ("rotated_at", Kind::TIMESTAMPTZ),
        ],
    },
    Relation {
        name: "accounts",
        kind: "r",
        columns: &[("created_at", Kind::TIMESTAMPTZ), ("pristine", Kind::BOOLEAN)],
    },
    Relation { name: "plans", kind: "r", columns: &[("pristine", Kind::BOOLEAN)] },
    Relation {
        name: "task_leases",
        kind: "r",
        columns: &[
            ("lease", Kind::UUID),
            ("key_id", Kind::UUID),
            ("started_at", Kind::TIMESTAMPTZ),
        ],
    },
    Relation {
        name: "key_usage",
        kind: "r",
        columns: &[
            ("key_id", Kind::UUID),
            ("last_used_at", Kind::TIMESTAMPTZ),
            ("uses", Kind::BIGINT),
        ],
    },
    Relation {
        name: "events",
        kind: "r",
        columns: &[
            ("id", Kind::BIGINT),
            ("occurred_at", Kind::TIMESTAMPTZ),
            ("event", Kind::TEXT),
            ("key_id", Kind::UUID),
            ("account", Kind::TEXT),
            ("role", Kind::TEXT),
            ("session_role", Kind::TEXT),
            ("details", Kind::JSONB),
        ],
    },
    Relation {
        name: "removed_defaults",
        kind: "r",
        columns: &[("relation", Kind::TEXT), ("name", Kind::TEXT)],
    },
    Relation {
        name: "key_list",
        kind: "v",
        columns: &[
            ("id", Kind::UUID),
            ("name", Kind::TEXT),
            ("account", Kind::TEXT),
            ("environment", Kind::TEXT),
            ("prefix", Kind::TEXT),
            ("hint", Kind::TEXT),
            ("created_at", Kind::TIMESTAMPTZ),
            ("last_used_at", Kind::TIMESTAMPTZ),
            ("uses", Kind::BIGINT),
            ("expires_at", Kind::TIMESTAMPTZ),
            ("revoked_at", Kind::TIMESTAMPTZ),
            ("revoke_reason", Kind::TEXT),
            ("rotated_from", Kind::UUID),
            ("state", Kind::TEXT),
        ],
    },
];

/// The same for tables and columns that a database without limits does not have: one that was not
/// updated to 0.10.0.
pub const BY_NAME_WITH_LIMITS: [Relation; 7] = [
    Relation { name: "events", kind: "r", columns: &[("actor", Kind::TEXT)] },
    Relation { name: "key_usage", kind: "r", columns: &[("uses_in_hour", Kind::BIGINT)] },
    Relation {
        name: "quota_usage",
        kind: "r",
        columns: &[("warned", Kind::BOOLEAN), ("updated_at", Kind::TIMESTAMPTZ)],
    },
    Relation {
        name: "charges",
        kind: "r",
        columns: &[
            ("account", Kind::TEXT),
            ("kind", Kind::TEXT),
            ("meter", Kind::TEXT),
            ("idempotency_key", Kind::TEXT),
            ("kept_until", Kind::TIMESTAMPTZ),
        ],
    },
    Relation {
        name: "usage_history",
        kind: "r",
        columns: &[
            ("starts_at", Kind::TIMESTAMPTZ),
            ("key_id", Kind::UUID),
            ("status", Kind::TEXT),
            ("uses", Kind::BIGINT),
        ],
    },
    Relation {
        name: "charge_history",
        kind: "r",
        columns: &[
            ("starts_at", Kind::TIMESTAMPTZ),
            ("key_id", Kind::UUID),
            ("kind", Kind::TEXT),
            ("meter", Kind::TEXT),
            ("amount", Kind::BIGINT),
        ],
    },
    Relation {
        name: "accepted_findings",
        kind: "r",
        columns: &[
            ("item", Kind::TEXT),
            ("what", Kind::TEXT),
            ("until", Kind::TIMESTAMPTZ),
            ("accepted_at", Kind::TIMESTAMPTZ),
            ("role", Kind::TEXT),
            ("session_role", Kind::TEXT),
        ],
    },
];
