//! The machine's processors: they are kept from sleeping, and one client shares one with its server
//! process. On an idle virtual machine, waking a processor up takes many times as long as the call
//! that is measured, and on another one several times as long.

use std::env;
use std::fs;
use std::hint::black_box;
use std::os::unix::process::parent_id;
use std::process::{Child, Command, Stdio};

use crate::connection::Result;

/// One busy loop on each processor, which gives way to anything else, until this is dropped.
pub struct Awake(Vec<Child>);

impl Awake {
    pub fn keep() -> Result<Self> {
        let program = env::current_exe()?;
        let mut awake = Self(Vec::new());
        for processor in processors()? {
            let child = Command::new("taskset")
                .args(["-c", &processor.to_string(), "chrt", "--idle", "0", "nice", "-n", "19"])
                .arg(&program)
                .arg("spin")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .map_err(|error| format!("taskset and chrt (util-linux) are needed: {error}"))?;
            awake.0.push(child);
        }
        Ok(awake)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended by itself; there is nothing to do about it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Keeps one processor busy for as long as the process that started this lives.
pub fn spin() {
    let parent = parent_id();
    while parent_id() == parent {
        for number in 0..10_000_000_u32 {
            black_box(number);
        }
    }
}

/// Has processes run on one processor, or threads. Otherwise the scheduler chooses one or two for a
/// client and its server process, anew for each session: a call takes 10 µs, or 40.
pub fn share_one(processes: [u32; 2]) -> Result<()> {
    let processor = *processors()?.last().ok_or("no processor")?;
    for process in processes {
        let pinned = Command::new("taskset")
            .args(["-pc", &processor.to_string(), &process.to_string()])
            .stdout(Stdio::null())
            .status()?;
        if !pinned.success() {
            return Err(format!("taskset could not pin process {process}").into());
        }
    }
    Ok(())
}

/// The kernel's number of the calling thread.
pub fn this_thread() -> Result<u32> {
    let thread = fs::read_link("/proc/thread-self")?;
    let number = thread.file_name().ok_or("no thread")?.to_string_lossy().parse()?;
    Ok(number)
}

/// The processors that this process may run on.
fn processors() -> Result<Vec<u32>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .ok_or("no list of processors")?;
    let mut processors = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        processors.extend(first.parse::<u32>()?..=last.parse()?);
    }
    Ok(processors)
}
