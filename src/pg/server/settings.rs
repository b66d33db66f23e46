//! Settings.

use core::ffi::{CStr, c_char, c_void};
use core::sync::atomic::{AtomicU8, Ordering};
use std::ffi::CString;
use std::time::Duration;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;

use pure::key::environment::Environments;

static ENVIRONMENTS_TEXT: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"live,test"));
/// The same, as bits: kept by the assign hook, read at every verification.
static ENVIRONMENTS: AtomicU8 = AtomicU8::new(Environments::ALL.bits());

/// The environments whose keys this database accepts (`vibepeak_keys.environments`).
pub fn environments() -> Environments {
    Environments::from_bits(ENVIRONMENTS.load(Ordering::Relaxed))
}

static REDACT_LOGS: GucSetting<bool> = GucSetting::<bool>::new(true);
static BACKEND_CACHE: GucSetting<i32> = GucSetting::<i32>::new(2_048);
static USAGE_SLOTS: GucSetting<i32> = GucSetting::<i32>::new(65_536);
static USAGE_FLUSH_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(5_000);

/// Whether keys are masked in the log and wherever statements are shown (`vibepeak_keys.redact_logs`).
pub fn redact_logs() -> bool {
    REDACT_LOGS.get()
}

/// How many bytes a backend may use to remember where rows are, and as many again to remember what keys
/// are: each half of `vibepeak_keys.backend_cache`.
pub fn cache_share() -> usize {
    usize::try_from(BACKEND_CACHE.get()).unwrap_or(0) * 1_024 / 2
}

/// How many different keys can be in use between two flushes (`vibepeak_keys.usage_slots`).
pub fn usage_slots() -> usize {
    usize::try_from(USAGE_SLOTS.get()).unwrap_or(0)
}

/// How often uses are brought to their table (`vibepeak_keys.usage_flush_interval`).
pub fn usage_flush_interval() -> Duration {
    Duration::from_millis(USAGE_FLUSH_INTERVAL.get().try_into().unwrap_or(0))
}

/// Makes the settings known to the server. Called once, at load.
pub(in crate::pg) fn define(preloading: bool) {
    // What is fixed at start can only be defined then. Elsewhere it means nothing, but a line for it in
    // the configuration must not bring a warning to every session.
    let at_start = if preloading { GucContext::Postmaster } else { GucContext::Sighup };
    GucRegistry::define_bool_guc(
        c"vibepeak_keys.redact_logs",
        c"Mask API keys in the log and wherever statements are shown.",
        c"Keys in statements, parameters and messages are shown as vpk_live_aBcD****.",
        &REDACT_LOGS,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"vibepeak_keys.backend_cache",
        c"How much memory a session may use to remember keys.",
        c"Each key in use takes 80 bytes. 0 remembers nothing: every verification goes through the index.",
        &BACKEND_CACHE,
        0,
        1_048_576,
        GucContext::Userset,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_int_guc(
        c"vibepeak_keys.usage_slots",
        c"How many different keys can be in use between two flushes.",
        c"Each takes 64 bytes of shared memory. When half of them are taken, a flush begins early.",
        &USAGE_SLOTS,
        64,
        16_777_216,
        at_start,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"vibepeak_keys.usage_flush_interval",
        c"How often uses of keys are brought to vpk.key_usage.",
        c"A crash of the server loses what was noted since the last time.",
        &USAGE_FLUSH_INTERVAL,
        100,
        3_600_000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    // SAFETY: the hooks have the signatures of src/include/utils/guc.h, and cannot panic.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"vibepeak_keys.environments",
            c"The environments whose API keys are accepted.",
            c"A comma-separated list of live and test. Keys of other environments are INVALID_API_KEY.",
            &ENVIRONMENTS_TEXT,
            GucContext::Suset,
            GucFlags::from_bits_retain(pg_sys::GUC_LIST_INPUT as i32),
            Some(check_environments),
            Some(assign_environments),
            None,
        );
        pg_sys::MarkGUCPrefixReserved(c"vibepeak_keys".as_ptr());
    }
}

unsafe fn parse(value: *const c_char) -> Option<Environments> {
    // SAFETY: the value is a null-terminated string, or null.
    let value = (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })?;
    Environments::parse(value.to_bytes())
}

unsafe extern "C-unwind" fn check_environments(
    value: *mut *mut c_char,
    _: *mut *mut c_void,
    _: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: a check hook is given the place of the new value (src/backend/utils/misc/guc.c), and
    // may leave a detail, which is freed with the error's memory.
    unsafe {
        let known = parse(*value).is_some();
        if !known {
            pg_sys::GUC_check_errdetail_string =
                pg_sys::pstrdup(c"The environments are \"live\" and \"test\".".as_ptr());
        }
        known
    }
}

unsafe extern "C-unwind" fn assign_environments(value: *const c_char, _: *mut c_void) {
    // SAFETY: an assign hook is given a value that passed the check.
    let environments = unsafe { parse(value) }.unwrap_or(Environments::ALL);
    ENVIRONMENTS.store(environments.bits(), Ordering::Relaxed);
}
