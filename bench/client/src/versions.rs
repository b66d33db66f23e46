//! Two versions of the extension, each on a server with the same keys, in turns.

use std::path::Path;
use std::time::Duration;

use crate::cells::{self, Group};
use crate::competitors::VERIFY;
use crate::connection::{Connection, Result};
use crate::inside;
use crate::load::{self, Pool};
use crate::processors::Awake;
use crate::statistics::{median, turns};

/// The groups that are compared: those in which verifications of keys meet, over the wire.
fn groups() -> Vec<Group> {
    let compared = |group: &Group| group.awake && group.tokens.are_keys();
    cells::all().into_iter().filter(compared).collect()
}

/// Prints a table with the calls a second of both versions, and their ratio; then the processor
/// time of such a call in the server's processes, which other load of the machine disturbs less;
/// then that of a call inside the server.
pub fn report(base: &Path, new: &Path, rounds: usize, time: Duration) -> Result<()> {
    let servers = [base, new];
    let mut controls = [Connection::open(base)?, Connection::open(new)?];
    let mut processor_times = Vec::new();
    heading("calls a second");
    for group in groups() {
        let mut pools = Vec::new();
        for control in &mut controls {
            pools.push(Pool::read(control, group.tokens, &VERIFY)?);
        }
        let mut per_second: [Vec<f64>; 2] = Default::default();
        let mut processor_time: [Vec<f64>; 2] = Default::default();
        let _awake = Awake::keep()?;
        for round in 0..rounds {
            for turn in turns(2, round) {
                let control = &mut controls[turn];
                let outcome =
                    load::run(servers[turn], control, &group, &VERIFY, &pools[turn], time)?;
                per_second[turn].push(outcome.per_second);
                processor_time[turn].push(outcome.processor_time);
                control.query("VACUUM vpk.key_usage, bench.work")?;
            }
        }
        row(&group.to_string(), &per_second[0], &per_second[1], 0);
        processor_times.push((group, processor_time));
    }
    heading("processor time of the server's processes, ns");
    for (group, [base, new]) in processor_times {
        row(&group.to_string(), &base, &new, 0);
    }
    heading("processor time inside the server, ns");
    for (name, costs) in inside::costs_of_versions(servers, rounds)? {
        row(name, &costs[0], &costs[1], 1);
    }
    Ok(())
}

fn heading(what: &str) {
    println!(
        "\n| {what} | base | new | new / base | lowest | highest |\n|---|--:|--:|--:|--:|--:|"
    );
}

fn row(name: &str, base: &[f64], new: &[f64], digits: usize) {
    let ratios: Vec<f64> = base.iter().zip(new).map(|(base, new)| new / base).collect();
    let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    println!(
        "| {name} | {:.digits$} | {:.digits$} | {:.3} | {lowest:.3} | {highest:.3} |",
        median(base),
        median(new),
        median(&ratios),
    );
}
