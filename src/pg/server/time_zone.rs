//! The server's time zones.

use core::ffi::CStr;
use core::ptr;
use std::ffi::CString;

use pgrx::pg_sys;

use pure::instant::Micros;
use pure::limits::quota_period::Zone;

use crate::pg::ffi::{guarded, unguarded};

const MICROS: Micros = 1_000_000;

/// A time zone that this session has loaded. It stays for as long as the session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NamedZone(*mut pg_sys::pg_tz);

/// The time zone of a name, in upper or lower case; None where the server has none, or one with
/// leap seconds. Reads files at the first call in a session, so it is not for each verification.
pub fn named(name: &str) -> Option<NamedZone> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is null-terminated, and not kept. The zone is null or in a table that stays
    // until the process ends (src/timezone/pgtz.c: pg_tzset).
    let zone = unsafe { guarded::pg_tzset(name.as_ptr()) };
    // SAFETY: the zone is not null.
    (!zone.is_null() && unsafe { unguarded::pg_tz_acceptable(zone) }).then_some(NamedZone(zone))
}

impl NamedZone {
    /// Its name, as the server spells it.
    pub fn name(self) -> &'static str {
        // SAFETY: the zone has a null-terminated name, which stays as it does
        // (src/timezone/pgtz.h: TZname).
        let name = unsafe { CStr::from_ptr(unguarded::pg_get_timezone_name(self.0)) };
        name.to_str().unwrap_or_default()
    }
}

/// Times that the server cannot represent are those of UTC.
impl Zone for NamedZone {
    fn to_local(&self, instant: Micros) -> Micros {
        let mut west = 0;
        let Some(_) = fields(instant, Some((&mut west, *self))) else { return instant };
        instant.saturating_sub(Micros::from(west) * MICROS)
    }

    fn to_instant(&self, local: Micros) -> Micros {
        let Some(mut fields) = fields(local, None) else { return local };
        // SAFETY: reads and writes the structure alone (src/backend/utils/adt/datetime.c).
        let west = unsafe { unguarded::DetermineTimeZoneOffset(&mut fields, self.0) };
        local.saturating_add(Micros::from(west) * MICROS)
    }
}

/// The year, month, day and time of an instant: those that clocks in a zone show, with the seconds
/// that it is west of UTC, or those of UTC. None where it is out of the server's range.
fn fields(instant: Micros, shown: Option<(&mut i32, NamedZone)>) -> Option<pg_sys::pg_tm> {
    let mut fields = pg_sys::pg_tm::default();
    let mut micros = 0;
    let (west, zone) = match shown {
        Some((west, NamedZone(zone))) => (ptr::from_mut(west), zone),
        None => (ptr::null_mut(), ptr::null_mut()),
    };
    // SAFETY: writes to what it is given, and to neither where that is null. Without `west` it does
    // not convert, and looks at no zone (src/backend/utils/adt/timestamp.c).
    let result = unsafe {
        unguarded::timestamp2tm(instant, west, &mut fields, &mut micros, ptr::null_mut(), zone)
    };
    (result == 0).then_some(fields)
}
