//! What a role is given, and so what nobody is to hold beside it.

/// What a service that verifies keys calls.
pub const VERIFIER_FUNCTIONS: [&str; 7] = [
    "vpk_verify",
    "vpk_authenticate",
    "vpk_error",
    "vpk_task_start",
    "vpk_task_extend",
    "vpk_task_finish",
    "status_rows",
];
/// What it uses of the relations in schema vpk, each as in GRANT.
pub const VERIFIER_RELATIONS: [&str; 1] = ["SELECT ON vpk.status_codes"];

/// What an admin cannot call: making more admins is the owner's, and the triggers call for themselves.
pub const NOT_FOR_ADMINS: [&str; 2] = ["vpk_grant_admin", "plan_in_use"];
/// What an admin uses of the relations in schema vpk, each as in GRANT.
pub const ADMIN_RELATIONS: [&str; 15] = [
    "SELECT ON vpk.status_codes",
    "SELECT ON vpk.key_list",
    "SELECT ON vpk.stats",
    "SELECT ON vpk.accounts",
    "SELECT ON vpk.plans",
    "SELECT ON vpk.events",
    "INSERT (plan) ON vpk.plans",
    "INSERT (api_access) ON vpk.plans",
    "INSERT (concurrent_tasks) ON vpk.plans",
    "INSERT (rank) ON vpk.plans",
    "UPDATE (plan) ON vpk.plans",
    "UPDATE (api_access) ON vpk.plans",
    "UPDATE (concurrent_tasks) ON vpk.plans",
    "UPDATE (rank) ON vpk.plans",
    "DELETE ON vpk.plans",
];
