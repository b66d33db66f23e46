//! The last shutdown, as the server's control file records it.

use core::mem::offset_of;
use std::fs;

use pgrx::pg_sys::{ControlFileData, PG_CONTROL_VERSION};

use pure::usage::file::ShutdownPoint;

/// The control file, in the data directory (src/include/access/xlog_internal.h).
const FILE: &str = "global/pg_control";

/// The last shutdown that the control file records. None where the file cannot be read.
///
/// Callers call it only when nothing can be writing the file: before recovery begins, and when the
/// postmaster alone is left.
pub fn last_stop() -> Option<ShutdownPoint> {
    let file = fs::read(FILE).ok()?;
    let version =
        u32::from_ne_bytes(bytes(&file, offset_of!(ControlFileData, pg_control_version))?);
    (version == PG_CONTROL_VERSION).then_some(())?;
    let checkpoint = offset_of!(ControlFileData, checkPoint);
    let timeline = offset_of!(ControlFileData, checkPointCopy.ThisTimeLineID);
    Some(ShutdownPoint {
        system: u64::from_ne_bytes(bytes(&file, offset_of!(ControlFileData, system_identifier))?),
        timeline: u32::from_ne_bytes(bytes(&file, timeline)?),
        checkpoint: u64::from_ne_bytes(bytes(&file, checkpoint)?),
        state: u32::from_ne_bytes(bytes(&file, offset_of!(ControlFileData, state))?),
    })
}

/// The bytes at a place of the file, where it has them.
fn bytes<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..)?.first_chunk().copied()
}
