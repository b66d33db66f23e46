//! The settings `vibepeak_keys.*`: their definitions, defaults and current values.

use core::ffi::{CStr, c_char, c_void};
use core::sync::atomic::{AtomicU8, Ordering};
use std::ffi::CString;
use std::time::Duration;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, GucValue, PostgresGucEnum};
use pgrx::pg_sys;

use pure::key::environment::Environments;
use pure::limits::header_fields::Fields;
use pure::limits::policy::{MAX_AMOUNT, MAX_SERVERS};

use crate::pg::ffi::unguarded;

/// `vibepeak_keys.environments` as text.
static ENVIRONMENTS_TEXT: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"live,test"));
/// The same as bits. The assign hook sets them, and every verification reads them.
static ENVIRONMENTS: AtomicU8 = AtomicU8::new(Environments::ALL.bits());

/// The environments whose keys this database accepts (`vibepeak_keys.environments`).
pub fn environments() -> Environments {
    Environments::from_bits(ENVIRONMENTS.load(Ordering::Relaxed))
}

/// `vibepeak_keys.actor`.
static ACTOR: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

/// Who acts through the role that calls, as the application says (`vibepeak_keys.actor`); empty
/// where it does not say.
pub fn actor() -> CString {
    ACTOR.get().unwrap_or_default()
}

/// `vibepeak_keys.events_kept`, in minutes.
static EVENTS_KEPT: GucSetting<i32> = GucSetting::<i32>::new(365 * 24 * 60);

/// For how long events are kept at least (`vibepeak_keys.events_kept`).
pub fn events_kept() -> Duration {
    Duration::from_secs(60 * u64::try_from(value(&EVENTS_KEPT)).unwrap_or(0))
}

/// `vibepeak_keys.redact_logs`.
static REDACT_LOGS: GucSetting<bool> = GucSetting::<bool>::new(true);
/// `vibepeak_keys.backend_cache`, in kilobytes.
static BACKEND_CACHE: GucSetting<i32> = GucSetting::<i32>::new(2_048);
/// `vibepeak_keys.usage_slots`.
static USAGE_SLOTS: GucSetting<i32> = GucSetting::<i32>::new(65_536);
/// `vibepeak_keys.rate_limit_headers`.
static RATE_LIMIT_HEADERS: GucSetting<HeaderFields> =
    GucSetting::<HeaderFields>::new(HeaderFields::Denied);
/// `vibepeak_keys.rate_limit_share`.
static RATE_LIMIT_SHARE: GucSetting<i32> = GucSetting::<i32>::new(1);
/// `vibepeak_keys.invalid_key_limit`.
static INVALID_KEY_LIMIT: GucSetting<i32> = GucSetting::<i32>::new(0);
/// `vibepeak_keys.rate_slots`.
static RATE_SLOTS: GucSetting<i32> = GucSetting::<i32>::new(131_072);
/// `vibepeak_keys.identifier_slots`.
static IDENTIFIER_SLOTS: GucSetting<i32> = GucSetting::<i32>::new(65_536);
/// `vibepeak_keys.usage_flush_interval`, in milliseconds.
static USAGE_FLUSH_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(5_000);
/// `vibepeak_keys.usage_rewrite_interval`, in milliseconds.
static USAGE_REWRITE_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(60_000);

/// `vibepeak_keys.usage_history`, in minutes.
static USAGE_HISTORY: GucSetting<i32> = GucSetting::<i32>::new(90 * 24 * 60);

/// The value of a setting that is a number or a boolean. [`GucSetting::get`] also asks which thread
/// calls, and so takes several times as long.
fn value<T: GucValue<Raw = T>>(setting: &GucSetting<T>) -> T {
    // SAFETY: only the process's one thread reads and writes it; the server does between two calls
    // (src/backend/utils/misc/guc.c).
    unsafe { setting.as_ptr().read() }
}

/// For how long usage over time is kept, in microseconds (`vibepeak_keys.usage_history`). With 0,
/// there is no history.
pub fn usage_history() -> i64 {
    i64::from(value(&USAGE_HISTORY)) * 60_000_000
}

/// Whether keys are redacted in the log and wherever statements are shown
/// (`vibepeak_keys.redact_logs`).
pub fn redact_logs() -> bool {
    value(&REDACT_LOGS)
}

/// The number of bytes that a backend may use for cached TIDs (`vibepeak_keys.backend_cache`).
pub fn backend_cache() -> usize {
    usize::try_from(value(&BACKEND_CACHE)).unwrap_or(0) * 1_024
}

/// The maximum number of distinct keys that are used between flushes (`vibepeak_keys.usage_slots`).
pub fn usage_slots() -> usize {
    usize::try_from(value(&USAGE_SLOTS)).unwrap_or(0)
}

/// How many servers share each rate limit (`vibepeak_keys.rate_limit_share`).
pub fn rate_limit_share() -> u32 {
    u32::try_from(value(&RATE_LIMIT_SHARE)).unwrap_or(1)
}

/// How many requests with invalid keys may come from one address in a minute
/// (`vibepeak_keys.invalid_key_limit`); 0 is any number.
pub fn invalid_key_limit() -> u32 {
    u32::try_from(value(&INVALID_KEY_LIMIT)).unwrap_or(0)
}

/// The choices of `vibepeak_keys.rate_limit_headers`.
#[derive(Clone, Copy, PostgresGucEnum)]
enum HeaderFields {
    /// [`Fields::Denied`].
    #[name = c"denied"]
    Denied,
    /// [`Fields::Always`].
    #[name = c"always"]
    Always,
    /// [`Fields::Legacy`].
    #[name = c"legacy"]
    Legacy,
    /// [`Fields::Off`].
    #[name = c"off"]
    Off,
}

/// Which header fields tell of rate limits (`vibepeak_keys.rate_limit_headers`).
pub fn rate_limit_headers() -> Fields {
    match RATE_LIMIT_HEADERS.get() {
        HeaderFields::Denied => Fields::Denied,
        HeaderFields::Always => Fields::Always,
        HeaderFields::Legacy => Fields::Legacy,
        HeaderFields::Off => Fields::Off,
    }
}

/// For how many buckets of accounts and keys there is room (`vibepeak_keys.rate_slots`).
pub fn rate_slots() -> usize {
    usize::try_from(value(&RATE_SLOTS)).unwrap_or(0)
}

/// For how many buckets of identifiers and client addresses there is room
/// (`vibepeak_keys.identifier_slots`).
pub fn identifier_slots() -> usize {
    usize::try_from(value(&IDENTIFIER_SLOTS)).unwrap_or(0)
}

/// The time between flushes (`vibepeak_keys.usage_flush_interval`).
pub fn usage_flush_interval() -> Duration {
    Duration::from_millis(value(&USAGE_FLUSH_INTERVAL).try_into().unwrap_or(0))
}

/// For how long a flush does not write a key's row again (`vibepeak_keys.usage_rewrite_interval`).
pub fn usage_rewrite_interval() -> Duration {
    Duration::from_millis(value(&USAGE_REWRITE_INTERVAL).try_into().unwrap_or(0))
}

/// The least number of buckets: as many as share a lock.
const WAYS: i32 = pure::limits::bucket_set::WAYS as i32;

/// Defines the settings. Called once, when the library is loaded.
pub(in crate::pg) fn define(preloading: bool) {
    // A setting that is fixed at the start of the server can only be defined then. Elsewhere it has
    // no effect, but a line for it in the configuration must not cause a warning in every session.
    let at_start = || if preloading { GucContext::Postmaster } else { GucContext::Sighup };
    GucRegistry::define_bool_guc(
        c"vibepeak_keys.redact_logs",
        c"Redacts API keys in the server log and wherever statements are shown.",
        c"Keys in statements, parameters and messages are shown as vpk_live_aBcD****.",
        &REDACT_LOGS,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"vibepeak_keys.backend_cache",
        c"Sets the maximum memory each session uses to cache where rows are.",
        c"Each key, account or plan takes 16 bytes. With 0, each verification reads the indexes.",
        &BACKEND_CACHE,
        0,
        1_048_576,
        GucContext::Userset,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_int_guc(
        c"vibepeak_keys.usage_slots",
        c"Sets the maximum number of distinct keys used between flushes.",
        c"Each takes 72 bytes of shared memory. When half of them are used, a flush begins early.",
        &USAGE_SLOTS,
        64,
        16_777_216,
        at_start(),
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"vibepeak_keys.rate_limit_headers",
        c"Sets which header fields of an answer tell of rate limits and quotas.",
        c"denied, always or off, or legacy for X-RateLimit-*. Retry-After does not depend on it.",
        &RATE_LIMIT_HEADERS,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"vibepeak_keys.rate_limit_share",
        c"Sets the number of servers that share each rate limit.",
        c"Each allows the amount and the burst, divided by this number. Nothing is coordinated.",
        &RATE_LIMIT_SHARE,
        1,
        MAX_SERVERS as i32,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"vibepeak_keys.invalid_key_limit",
        c"Sets how many requests with invalid keys may come from one address in a minute.",
        c"More are RATE_LIMITED instead of INVALID_API_KEY. A key that exists is not counted. 0 is no limit.",
        &INVALID_KEY_LIMIT,
        0,
        MAX_AMOUNT as i32,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"vibepeak_keys.rate_slots",
        c"Sets the number of buckets that rate limits of accounts and keys may have at a time.",
        c"Each takes 37 bytes of shared memory, and quotas 64 more. A bucket takes one from a call until it is full again.",
        &RATE_SLOTS,
        WAYS,
        16_777_216,
        at_start(),
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"vibepeak_keys.identifier_slots",
        c"Sets the number of buckets that vpk_rate_limit may have at a time.",
        c"Each takes 37 bytes of shared memory. A bucket takes one from a call until it is full again.",
        &IDENTIFIER_SLOTS,
        WAYS,
        16_777_216,
        at_start(),
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"vibepeak_keys.usage_flush_interval",
        c"Sets the time between flushes of key usage to vpk.key_usage.",
        c"A crash loses at most the uses of one such interval, and of keys in constant use those of one rewrite interval before it.",
        &USAGE_FLUSH_INTERVAL,
        100,
        3_600_000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"vibepeak_keys.usage_rewrite_interval",
        c"Sets the time for which flushes do not write the row of a key in vpk.key_usage again.",
        c"Lists show the uses since then, and a crash loses them. 0 writes all uses at each flush.",
        &USAGE_REWRITE_INTERVAL,
        0,
        3_600_000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"vibepeak_keys.usage_history",
        c"Sets the time for which usage over time is kept.",
        c"Hours of the last 8 days, and days before, for vpk_usage. 0 keeps no history.",
        &USAGE_HISTORY,
        0,
        10 * 366 * 24 * 60,
        GucContext::Sighup,
        GucFlags::UNIT_MIN,
    );
    GucRegistry::define_int_guc(
        c"vibepeak_keys.events_kept",
        c"Sets the time for which events are kept at least.",
        c"vpk_purge_events removes no event that is younger.",
        &EVENTS_KEPT,
        2 * 24 * 60,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_MIN,
    );
    GucRegistry::define_string_guc(
        c"vibepeak_keys.actor",
        c"Sets who acts through the role that calls, for the events of its calls.",
        c"The application sets it, for example for one transaction with SET LOCAL.",
        &ACTOR,
        GucContext::Userset,
        GucFlags::default(),
    );
    // SAFETY: the hooks have the signatures of src/include/utils/guc.h, and cannot panic. The
    // prefix is a null-terminated string (src/backend/utils/misc/guc.c).
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"vibepeak_keys.environments",
            c"Sets the environments whose API keys are accepted.",
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

/// The environments that a value of the setting names.
///
/// # Safety
/// The value is a null-terminated string, or null.
unsafe fn parse(value: *const c_char) -> Option<Environments> {
    // SAFETY: the caller's.
    let value = (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })?;
    Environments::parse(value.to_bytes())
}

/// Checks a new value, and leaves a detail for the error.
///
/// # Safety
/// The server calls it with the place of the new value.
unsafe extern "C-unwind" fn check_environments(
    value: *mut *mut c_char,
    _: *mut *mut c_void,
    _: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: the caller's: the new value is a null-terminated string, or null. The detail is for
    // the error that the server reports next, and is freed with the memory context that is current
    // now (src/backend/utils/misc/guc.c: call_string_check_hook). pstrdup returns new memory or
    // raises an error, past frames without destructors.
    unsafe {
        let known = parse(*value).is_some();
        if !known {
            pg_sys::GUC_check_errdetail_string =
                unguarded::pstrdup(c"The environments are \"live\" and \"test\".".as_ptr());
        }
        known
    }
}

/// Takes over a new value.
///
/// # Safety
/// The server calls it with a value that has passed the check.
unsafe extern "C-unwind" fn assign_environments(value: *const c_char, _: *mut c_void) {
    // SAFETY: the caller's: the value is a null-terminated string, or null
    // (src/backend/utils/misc/guc.c).
    let environments = unsafe { parse(value) }.unwrap_or(Environments::ALL);
    ENVIRONMENTS.store(environments.bits(), Ordering::Relaxed);
}
