//! Column numbers, as sql/tables.sql numbers the columns. Columns are only ever appended.

use pgrx::pg_sys::AttrNumber;

use crate::pg::read::catalog::Table;

/// The last column of a table that is read.
pub fn last(table: Table) -> AttrNumber {
    match table {
        Table::Keys => keys::METADATA,
        Table::Accounts => accounts::PLAN,
        Table::Plans => plans::RANK,
        Table::TaskLeases => task_leases::EXPIRES_AT,
    }
}

/// The name of an account or plan: the first column of both tables.
pub const NAME: AttrNumber = 1;

/// Columns of vpk.keys.
pub mod keys {
    use super::AttrNumber;

    /// Identifies the key.
    pub const ID: AttrNumber = 1;
    /// The SHA-256 of the token.
    pub const KEY_HASH: AttrNumber = 2;
    /// The account that owns the key.
    pub const ACCOUNT: AttrNumber = 3;
    /// The name of its environment.
    pub const ENVIRONMENT: AttrNumber = 4;
    /// What the key is called.
    pub const NAME: AttrNumber = 5;
    /// When the key expires; null is never.
    pub const EXPIRES_AT: AttrNumber = 9;
    /// Since when the key is disabled; null is enabled.
    pub const DISABLED_AT: AttrNumber = 10;
    /// When the key was revoked; null is not.
    pub const REVOKED_AT: AttrNumber = 11;
    /// What the key may be used for.
    pub const SCOPES: AttrNumber = 15;
    /// The networks that the key may be used from; null is no limit.
    pub const ALLOWED_IPS: AttrNumber = 16;
    /// What the application keeps with the key.
    pub const METADATA: AttrNumber = 17;
}

/// Columns of vpk.accounts.
pub mod accounts {
    use super::AttrNumber;

    /// The name of the account's plan.
    pub const PLAN: AttrNumber = 2;
}

/// Columns of vpk.plans.
pub mod plans {
    use super::AttrNumber;

    /// Whether keys of accounts on the plan are accepted.
    pub const API_ACCESS: AttrNumber = 2;
    /// How many tasks of an account may run at once; null is no limit.
    pub const CONCURRENT_TASKS: AttrNumber = 3;
    /// The order of the plans in messages, lowest first.
    pub const RANK: AttrNumber = 4;
}

/// Columns of vpk.task_leases.
pub mod task_leases {
    use super::AttrNumber;

    /// When the lease ends.
    pub const EXPIRES_AT: AttrNumber = 5;
}
