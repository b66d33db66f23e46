//! The machine, and what else it did meanwhile.

use std::fs;
use std::path::Path;
use std::process;

use crate::connection::{Connection, Result};
use crate::process::ticks;

/// The machine and the server in one line.
pub fn description(database: &mut Connection) -> Result<String> {
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let value = |name: &str| {
        let line = processors.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(": ")).map_or("", |(_, value)| value).trim()
    };
    let kind = if value("flags").split(' ').any(|flag| flag == "hypervisor") {
        "A virtual machine"
    } else {
        "A machine"
    };
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = system
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or("Linux", |name| name.trim_matches('"'));
    let version = database.value("SELECT split_part(version(), ' ', 2)")?;
    Ok(format!(
        "{kind} with {count} processors ({}),\n{system}, PostgreSQL {version}",
        value("model name")
    ))
}

/// What processors and processes have used up to an instant, in ticks.
pub struct Usage {
    all: u64,
    busy: u64,
    stolen: u64,
    /// Of this program, its busy loops and the server.
    own: u64,
}

impl Usage {
    pub fn now(server: &Path) -> Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().ok_or("no processors")?;
        let fields = line
            .split_whitespace()
            .skip(1)
            .map(str::parse)
            .collect::<std::result::Result<Vec<u64>, _>>()?;
        // user nice system idle iowait irq softirq steal; the rest is counted in user already.
        let [user, nice, system, idle, iowait, irq, softirq, stolen, ..] = fields[..] else {
            return Err("not the statistics of processors".into());
        };
        let file = fs::read_to_string(server.join("data/postmaster.pid"))?;
        let postmaster = file.lines().next().unwrap_or_default().parse()?;
        Ok(Self {
            all: user + nice + system + idle + iowait + irq + softirq + stolen,
            busy: user + nice + system,
            stolen,
            own: ticks(process::id())? + ticks(postmaster)?,
        })
    }

    /// What others have used since then, in percent of all processors: other programs here, and
    /// other machines on the same hardware.
    pub fn of_others_since(&self, before: &Self) -> (f64, f64) {
        let all = (self.all - before.all).max(1) as f64;
        let busy = (self.busy - before.busy).saturating_sub(self.own - before.own);
        (busy as f64 * 100.0 / all, (self.stolen - before.stolen) as f64 * 100.0 / all)
    }
}
