//! What the kernel tells of a process.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::connection::Result;

/// The processor time that a process has used, in nanoseconds.
pub fn processor_time(process: u32) -> Result<f64> {
    // The kernel adds up when the process goes to sleep.
    thread::sleep(Duration::from_millis(1));
    let text = fs::read_to_string(format!("/proc/{process}/schedstat"))?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}

/// The memory that is a process's own, in kB.
pub fn memory(process: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    Ok(line.ok_or("no RssAnon")?.trim().trim_end_matches(" kB").parse()?)
}

/// The processor time of a process and of its children that have ended, in ticks.
pub fn ticks(process: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field, the name, may have spaces in it.
    let (_, fields) = text.rsplit_once(')').ok_or("not the statistics of a process")?;
    let used = fields.split_whitespace().skip(11).take(4).map(str::parse::<u64>);
    used.sum::<std::result::Result<u64, _>>().map_err(Into::into)
}
