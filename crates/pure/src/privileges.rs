//! The privileges that `vpk_grant_verifier` and `vpk_grant_admin` grant. `vpk_doctor` reports all
//! others, except for those of `vpk_grant_backup`: SELECT on every table and sequence.

/// The functions that a verifier role may call.
pub const VERIFIER_FUNCTIONS: [&str; 9] = [
    "vpk_verify",
    "vpk_authenticate",
    "vpk_client_ip",
    "vpk_error",
    "vpk_rate_limit",
    "vpk_task_start",
    "vpk_task_extend",
    "vpk_task_finish",
    "status_rows",
];
/// The privileges of a verifier role on the relations in schema vpk, each as in GRANT.
pub const VERIFIER_RELATIONS: [&str; 1] = ["SELECT ON vpk.status_codes"];

/// The functions that an admin role cannot call: only the owner makes a role an admin or lets it
/// read the hashes, and the triggers and defaults call their functions themselves.
pub const NOT_FOR_ADMINS: [&str; 5] =
    ["vpk_grant_admin", "vpk_grant_backup", "plan_in_use", "check_plan", "event_actor"];
/// The privileges of an admin role on the relations in schema vpk, each as in GRANT.
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
